//! Metrics and dimensions looked up in the view, and what may not be asked together.

use super::wrong;
use daybook_contracts::ask::{AskError, Asked, DaySelector, Query};
use daybook_domain::ids::Name;
use daybook_domain::nearest::nearest;
use daybook_domain::plan::Plan;

/// Most names that a hint lists.
const MAX_LISTED_NAMES: usize = 12;

/// A feed is of the whole view on the newest day: with `watch` nothing else may be asked for.
pub(super) fn check_watch(query: &Query) -> Asked<()> {
    if !query.watch {
        return Ok(());
    }
    let asked = [
        ("days", query.days != DaySelector::Today),
        ("metrics", query.metrics.is_some()),
        ("dimensions", query.dimensions.is_some()),
        ("where", query.filter.is_some()),
        ("grain", query.grain != Query::default().grain),
        ("order", !query.order.is_empty()),
        ("limit", query.limit.is_some()),
        ("cursor", query.cursor.is_some()),
        ("rank", query.rank.is_some()),
    ];
    let asked: Vec<_> = asked.into_iter().filter(|(_, asked)| *asked).map(|(field, _)| field).collect();
    if asked.is_empty() {
        return Ok(());
    }
    Err(wrong("watch", "a feed is of the whole view on the newest day; nothing else can be asked for with it")
        .hint(format!("leave out {}", asked.join(", "))))
}

/// Positions of the metrics asked for, in the order asked.
pub(super) fn metrics(query: &Query, plan: &Plan) -> Asked<Vec<usize>> {
    let known: Vec<&Name> = plan.view.metrics.iter().map(|metric| &metric.name).collect();
    let Some(asked) = &query.metrics else {
        return Ok((0..known.len()).collect());
    };
    if asked.is_empty() {
        return Err(wrong("metrics", "no metric is asked for").hint(format!(
            "leave the field out to get all of them; {}",
            listed("metric", known.iter().map(|n| n.as_str()))
        )));
    }
    positions(asked, &known, "metrics", "metric")
}

/// Positions in `group_by` of the dimensions asked for, in the order asked.
pub(super) fn dimensions(query: &Query, plan: &Plan) -> Asked<Vec<usize>> {
    let known: Vec<&Name> = plan.view.group_by.iter().collect();
    match &query.dimensions {
        None => Ok((0..known.len()).collect()),
        Some(asked) => positions(asked, &known, "dimensions", "dimension"),
    }
}

fn positions(asked: &[Name], known: &[&Name], field: &str, what: &str) -> Asked<Vec<usize>> {
    let mut positions = Vec::with_capacity(asked.len().min(known.len()));
    for (index, name) in asked.iter().enumerate() {
        let field = || format!("{field}[{index}]");
        let Some(position) = known.iter().position(|other| *other == name) else {
            return Err(unknown(field(), what, name.as_str(), known.iter().map(|name| name.as_str())));
        };
        if positions.contains(&position) {
            return Err(wrong(field(), format!("the {what} {name} is asked for twice")).hint("name each once"));
        }
        positions.push(position);
    }
    Ok(positions)
}

/// The error for a name that is none of `known`.
pub(super) fn unknown<'a>(
    field: String,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> AskError {
    let hint = match nearest(name, known.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => listed(what, known),
    };
    wrong(field, format!("unknown {what} {name:?}")).hint(hint)
}

/// What names there are, for a hint.
pub(super) fn listed<'a>(what: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let shown: Vec<_> = names.clone().take(MAX_LISTED_NAMES).collect();
    match names.count() {
        0 => format!("the view has no {what}"),
        1 => format!("the {what} is {}", shown[0]),
        all if all > shown.len() => format!("the {what}s are {}, …", shown.join(", ")),
        _ => format!("the {what}s are {}", shown.join(", ")),
    }
}
