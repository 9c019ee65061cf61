//! How the rows of an answer are ranked, if they are.

use super::{names, wrong};
use crate::order::SortKey;
use compact_str::CompactString;
use daybook_contracts::ask::{Asked, MAX_AROUND, Pieces, Query, RankQuery};
use daybook_domain::catalogue::{Direction, MAX_RANKED_BY, Ties};
use daybook_domain::plan::Plan;

/// A ranking of the rows of an answer.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    pub(super) key: SortKey,
    pub(super) ties: Ties,
    /// Only this member and its neighbours.
    pub(super) member: Option<Vec<Option<CompactString>>>,
    /// As asked, at most [`MAX_AROUND`].
    pub(super) around: usize,
}

/// The ranking asked for; without one, the view's, where rows are members: they have dimensions and are not divided.
pub(super) fn ranking(query: &Query, plan: &Plan, dimensions: &[usize]) -> Asked<Option<Ranking>> {
    let Some(rank) = &query.rank else {
        let members = query.grain == Pieces::Total && !dimensions.is_empty();
        return Ok(plan.ranking.as_ref().filter(|_| members).map(|own| Ranking {
            key: SortKey::ranking(&own.by, own.earlier.is_some(), dimensions),
            ties: own.ties,
            member: None,
            around: 0,
        }));
    };
    let (by, is_earliest) = criteria(rank, plan)?;
    if dimensions.is_empty() {
        let hint = if plan.view.group_by.is_empty() {
            "the view has no dimensions, so there is nobody to rank".to_owned()
        } else {
            names::listed("dimension", plan.view.group_by.iter().map(|name| name.as_str()))
        };
        return Err(wrong("rank", "the members of a ranking are told apart by a dimension at least").hint(hint));
    }
    if query.grain != Pieces::Total {
        let message = format!("members are ranked over all that is asked for, not by {}", query.grain.as_str());
        return Err(wrong("rank", message).hint("use grain total, or leave out rank"));
    }
    if !query.order.is_empty() {
        return Err(wrong("order", "a ranking has an order of its own").hint("leave out either order or rank"));
    }
    check_member(rank, plan, dimensions)?;
    Ok(Some(Ranking {
        key: SortKey::ranking(&by, is_earliest, dimensions),
        ties: rank.ties.or(plan.ranking.as_ref().map(|own| own.ties)).unwrap_or_default(),
        member: rank.member.clone(),
        around: rank.around as usize,
    }))
}

type Criteria = (Vec<(usize, Direction)>, bool);

/// By which metrics, and whether the earlier is before among equals.
fn criteria(rank: &RankQuery, plan: &Plan) -> Asked<Criteria> {
    let metrics = plan.view.metrics.iter().map(|metric| metric.name.as_str());
    if rank.by.is_empty() {
        let Some(own) = &plan.ranking else {
            return Err(wrong("rank.by", format!("the view {} has no ranking", plan.view.name))
                .hint(format!("name one or more metrics; {}", names::listed("metric", metrics))));
        };
        return Ok((own.by.clone(), own.earlier.is_some()));
    }
    if rank.by.len() > MAX_RANKED_BY {
        return Err(wrong("rank.by", format!("{} metrics to rank by", rank.by.len()))
            .hint(format!("use at most {MAX_RANKED_BY}")));
    }
    let mut by: Vec<(usize, Direction)> = Vec::with_capacity(rank.by.len());
    for (index, criterion) in rank.by.iter().enumerate() {
        let name = criterion.metric.as_str();
        let field = || format!("rank.by[{index}]");
        let Some(position) = plan.metric(name) else {
            return Err(names::unknown(field(), "metric", name, metrics));
        };
        if by.iter().any(|(before, _)| *before == position) {
            return Err(wrong(field(), format!("it is ranked by {name} already")).hint("name each metric once"));
        }
        by.push((position, criterion.direction));
    }
    Ok((by, false))
}

fn check_member(rank: &RankQuery, plan: &Plan, dimensions: &[usize]) -> Asked<()> {
    if rank.around > MAX_AROUND {
        return Err(wrong("rank.around", format!("{} neighbours on either side", rank.around))
            .hint(format!("use at most {MAX_AROUND}")));
    }
    let names: Vec<_> = dimensions.iter().map(|position| plan.view.group_by[*position].as_str()).collect();
    match &rank.member {
        None if rank.around > 0 => Err(wrong("rank.around", "neighbours of no member")
            .hint(format!("name the member in rank.member by its {}", names.join(", ")))),
        Some(member) if member.len() != dimensions.len() => {
            let message = format!("{} values, where a member has {}", member.len(), dimensions.len());
            Err(wrong("rank.member", message).hint(format!("give the values of {}, in this order", names.join(", "))))
        }
        _ => Ok(()),
    }
}
