//! Days that no shard answers for alone: older than it keeps, or all of them while it is away.

use crate::archive::{Archive, Decoded};
use crate::asking::Asking;
use crate::found::{AnswerSource, FoundAnswer};
use crate::merge::roll_up;
use crate::sealed::{Empty, Sealed, check_alike, from_report, read};
use crate::shard::Shards;
use daybook_contracts::ask::{
    Answer, AsOf, AskError, AskErrorCode, Asked, DaySelector, DayState, Days, Query, ShardQuestion,
};
use daybook_contracts::figures::Figures;
use daybook_contracts::report::Coverage;
use daybook_domain::time::Date;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often the days are read again because they changed meanwhile, or were too many for the shard.
const MAX_ROUNDS: u32 = 4;
/// Pause before another round: a new version of a report takes about so long to be written.
const SETTLING: Duration = Duration::from_millis(50);

/// The days of which the shard has let go out of their streams, the others from the shard, all rolled up.
///
/// When those that it keeps are too many for a message, only its open days are taken from it, and of the closed ones
/// their sealed figures, provided that they are the versions that it had before and after.
///
/// # Errors
/// Those of the shard and of reading the streams; [`AskErrorCode::UnknownDay`] when nothing is left of the days.
pub async fn beyond_the_shard(
    shards: &Shards,
    archive: &Archive,
    asking: &Asking,
    expired: AskError,
) -> Asked<FoundAnswer> {
    let mut share = Share::Kept;
    for round in 0..MAX_ROUNDS {
        if round > 0 {
            tokio::time::sleep(SETTLING).await;
        }
        let kept = kept_days(shards, asking).await?;
        let Some(wanted) = Wanted::of(&kept, &asking.query.days, share) else {
            return Err(AskError { code: AskErrorCode::UnknownDay, ..expired });
        };
        let (from, to) = (wanted.from, wanted.to);
        let older = async {
            let owner = archive.owners.now(&asking.tenant).await?;
            read(archive, (asking, owner), from, to.min(wanted.shard_from.plus(-1)), from == to).await
        };
        let newer = newer_days(shards, asking, &kept, from.max(wanted.shard_from), to);
        let (sealed, newer) = match tokio::join!(older, newer) {
            (Ok(sealed), Ok(newer)) => (sealed, newer),
            (_, Err(error)) if error.code == AskErrorCode::Expired => continue,
            (_, Err(error)) if error.code == AskErrorCode::TooLarge && share == Share::Kept => {
                share = Share::Open;
                continue;
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        // A replica that is behind may still be with an earlier tenant of the id.
        if newer.as_ref().and_then(|newer| newer.generation).is_some_and(|newer| newer != sealed.generation) {
            continue;
        }
        if share == Share::Open {
            let after = kept_days(shards, asking).await?;
            if !are_newest(&sealed, &kept, &wanted) || !are_newest(&sealed, &after, &wanted) {
                continue;
            }
        }
        let as_of =
            newer.as_ref().map_or(kept.as_of, |newer| AsOf { log: newer.figures.log, inbox: newer.figures.inbox });
        if let Some(report) = sealed.report {
            // Nothing changes a day any more that the shard has let go of: it is as current as the shard.
            let answer = from_report(asking, report)?;
            return Ok(FoundAnswer::made(Answer { as_of, ..answer }, AnswerSource::Report));
        }
        let freshness_ms = newer.as_ref().map_or(0, |newer| newer.freshness_ms);
        let mut parts: Vec<Side> = sealed.days.into_iter().map(Side::Sealed).collect();
        parts.extend(newer.map(|newer| Side::Live(Box::new(newer.figures))));
        if parts.is_empty() && !sealed.empty.is_empty() {
            // Days without groups do not say what the view computes. The shard's do; not one of their groups is wanted.
            let mut definition = shards.figures(asking, wanted.kept_from, wanted.kept_from).await?;
            definition.days.clear();
            parts.push(Side::Live(Box::new(definition)));
        }
        return match merged(asking, sealed.generation, (from, to), parts, sealed.empty).await? {
            Some(answer) => Ok(FoundAnswer::made(Answer { as_of, freshness_ms, ..answer }, AnswerSource::Figures)),
            None => Err(AskError { code: AskErrorCode::UnknownDay, ..expired }),
        };
    }
    Err(AskError::new(AskErrorCode::Unavailable, "the days changed while they were read")
        .hint("ask again in a moment, or for fewer days"))
}

async fn kept_days(shards: &Shards, asking: &Asking) -> Asked<Days> {
    let question = ShardQuestion::Days { tenant: asking.tenant.clone() };
    shards.ask(&asking.tenant, &question).await
}

/// Which days are taken from the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// All that it keeps.
    Kept,
    /// From the first one on that is not closed.
    Open,
}

/// The days that are asked for, against those that the shard keeps.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    from: Date,
    to: Date,
    kept_from: Date,
    /// The first day that is taken from the shard, if it is asked for.
    shard_from: Date,
}

impl Wanted {
    /// `None` of a season, or when no days are kept.
    fn of(kept: &Days, days: &DaySelector, share: Share) -> Option<Self> {
        let (first, last) = (kept.days.first()?, kept.days.last()?);
        let newest = |state: DayState| kept.days.iter().rev().find(|day| day.day == state).map(|day| day.date);
        let today = newest(DayState::Open).or_else(|| newest(DayState::Closed)).unwrap_or(first.date);
        let (from, to) = days.range(today)?;
        let shard_from = match share {
            Share::Kept => first.date,
            Share::Open => {
                let open = kept.days.iter().find(|day| day.day != DayState::Closed);
                open.map_or(last.date.next(), |day| day.date)
            }
        };
        Some(Self { from, to, kept_from: first.date, shard_from })
    }
}

/// Whether what was read of closed days is what the shard has for them.
fn are_newest(sealed: &Sealed, kept: &Days, wanted: &Wanted) -> bool {
    let versions: BTreeMap<Date, u32> = sealed.versions().collect();
    let last = wanted.to.min(wanted.shard_from.plus(-1));
    let mut days = kept.days.iter().filter(|day| (wanted.from..=last).contains(&day.date));
    days.all(|day| day.report.is_some() && versions.get(&day.date).copied() == day.report)
}

/// The answer out of sealed days alone; `None` when one of them is not sealed, or cannot be told.
///
/// # Errors
/// Those of reading the streams.
pub async fn sealed_days(archive: &Archive, asking: &Asking) -> Asked<Option<FoundAnswer>> {
    let owner = archive.owners.now(&asking.tenant).await?;
    let days = &asking.query.days;
    let today = match days {
        // Named by themselves, whichever day is open.
        DaySelector::Date(_) | DaySelector::Range(..) => Date::MAX,
        _ => match archive.today((&asking.tenant, owner)).await? {
            Some(today) => today,
            None => return Ok(None),
        },
    };
    let Some((from, to)) = days.range(today) else { return Ok(None) };
    // The open day has no report, so it is never taken for a sealed one. Of the days before a sealed one, those without
    // a report do not exist.
    let sealed = match read(archive, (asking, owner), to, to, from == to).await? {
        last if !last.has_last => return Ok(None),
        last if from == to => last,
        _ => read(archive, (asking, owner), from, to, from == to).await?,
    };
    let Sealed { generation, days, empty, report, .. } = sealed;
    if let Some(report) = report {
        return from_report(asking, report).map(|answer| Some(FoundAnswer::made(answer, AnswerSource::Report)));
    }
    let parts = days.into_iter().map(Side::Sealed).collect();
    let answer = merged(asking, generation, (from, to), parts, empty).await?;
    Ok(answer.map(|answer| FoundAnswer::made(answer, AnswerSource::Figures)))
}

/// Figures that the shard keeps, and how level it is with the log.
struct Newer {
    figures: Figures,
    freshness_ms: u64,
    /// That of their tenant, where the shard told it.
    generation: Option<u32>,
}

/// What the shard keeps of the days; `None` when it keeps none of them.
///
/// # Errors
/// Those of the shard; [`AskErrorCode::Expired`] when it has let go of a day that it kept.
async fn newer_days(shards: &Shards, asking: &Asking, kept: &Days, from: Date, to: Date) -> Asked<Option<Newer>> {
    if from > to {
        return Ok(None);
    }
    // Figures do not say how fresh they are; an answer of one row does.
    let glance = Query { days: DaySelector::Date(to), limit: Some(1), ..Query::default() };
    let glance = Asking { query: glance, ..asking.clone() };
    let (figures, glance) = tokio::join!(shards.figures(asking, from, to), shards.view(&glance));
    let figures = figures?;
    let first = figures.days.first().map(|day| day.day.date);
    if kept
        .days
        .iter()
        .map(|day| day.date)
        .find(|date| (from..=to).contains(date))
        .is_some_and(|kept| Some(kept) != first)
    {
        return Err(AskError::new(AskErrorCode::Expired, "the shard has let go of a day meanwhile"));
    }
    let generation = glance.as_ref().ok().map(|glance| glance.brief().generation);
    let freshness_ms = match figures.days.iter().all(|day| day.closed) {
        true => 0,
        false => glance?.brief().freshness_ms,
    };
    Ok(Some(Newer { figures, freshness_ms, generation }))
}

/// Figures from either side.
enum Side {
    Sealed(Arc<Decoded>),
    Live(Box<Figures>),
}

impl Side {
    fn figures(&self) -> &Figures {
        match self {
            Self::Sealed(decoded) => &decoded.figures,
            Self::Live(figures) => figures,
        }
    }
}

/// The answer out of figures in order of their days; `None` when there are none.
async fn merged(
    asking: &Asking,
    generation: u32,
    range: (Date, Date),
    parts: Vec<Side>,
    empty: Vec<Empty>,
) -> Asked<Option<Answer>> {
    if parts.is_empty() {
        return Ok(None);
    }
    let asking = asking.clone();
    // Many days take a while: not on a thread that answers others.
    let merging = tokio::task::spawn_blocking(move || {
        let figures: Vec<&Figures> = parts.iter().map(Side::figures).collect();
        merge(&asking, generation, range, &figures, &empty)
    });
    let outcome = merging.await;
    outcome
        .map_err(|error| AskError::new(AskErrorCode::Internal, format!("the days could not be merged: {error}")))?
        .map(Some)
}

fn merge(
    asking: &Asking,
    generation: u32,
    (from, to): (Date, Date),
    figures: &[&Figures],
    empty: &[Empty],
) -> Asked<Answer> {
    let Some(newest) = figures.last() else {
        return Err(AskError::new(AskErrorCode::Internal, "there are no figures to merge"));
    };
    check_alike(figures.iter().copied(), newest)?;
    let page = roll_up(&asking.query, figures)?;
    let days = || figures.iter().flat_map(|figures| &figures.days);
    let versions = days().filter_map(|day| day.version).chain(empty.iter().map(|day| day.version));
    let is_closed = days().all(|day| day.closed);
    Ok(Answer {
        tenant: asking.tenant.clone(),
        generation,
        view: asking.view.clone(),
        from,
        to,
        day: if is_closed { DayState::Closed } else { DayState::Open },
        rows: page.rows,
        total: page.total,
        next: page.next,
        as_of: rests_on(figures, empty),
        freshness_ms: 0,
        stale: false,
        coverage: coverage(days().map(|day| &day.coverage).chain(empty.iter().map(|day| &day.coverage))),
        definition: newest.view.revision,
        report: if from == to { versions.max() } else { None },
        feed: None,
    })
}

/// What all of the days rest on, at least.
fn rests_on(figures: &[&Figures], empty: &[Empty]) -> AsOf {
    let all = figures.iter().map(|figures| AsOf { log: figures.log, inbox: figures.inbox });
    let all = all.chain(empty.iter().map(|day| day.as_of));
    let least = |one: AsOf, other: AsOf| AsOf { log: one.log.min(other.log), inbox: one.inbox.min(other.inbox) };
    all.reduce(least).unwrap_or(AsOf { log: Default::default(), inbox: Default::default() })
}

/// Complete when every day is; else what the day says that reaches back least.
pub fn coverage<'a>(days: impl Iterator<Item = &'a Coverage>) -> Coverage {
    let since = |coverage: &Coverage| match coverage {
        Coverage::Complete | Coverage::Missing { .. } => None,
        Coverage::Partial { from, .. } | Coverage::Capped { from, .. } => Some(*from),
    };
    days.max_by_key(|coverage| since(coverage)).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::tests::{asking, figures};
    use daybook_contracts::ask::DayAccount;
    use daybook_domain::catalogue::{Direction, Earliest, RankedBy, Ranking, Ties};
    use daybook_domain::ids::{InboxSeq, LogSeq};
    use daybook_domain::plan::Plan;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn kept(days: &[(&str, DayState)]) -> Days {
        let account = |(day, state): &(&str, DayState)| DayAccount {
            date: date(day),
            day: *state,
            opens_at: None,
            closes_at: None,
            report: None,
            account: Default::default(),
            as_reported: false,
            restating: false,
        };
        Days {
            tenant: asking(Query::default()).tenant,
            days: days.iter().map(account).collect(),
            as_of: AsOf { log: LogSeq(1), inbox: InboxSeq(1) },
            next: None,
        }
    }

    #[test]
    fn today_is_the_newest_open_day_of_the_shard() {
        use DayState::{Closed, Open, Upcoming};
        let days =
            kept(&[("2013-03-08", Closed), ("2013-03-09", Open), ("2013-03-10", Open), ("2013-03-11", Upcoming)]);
        let wanted = Wanted::of(&days, &DaySelector::Last(7), Share::Kept).unwrap();
        assert_eq!((wanted.from, wanted.to), (date("2013-03-04"), date("2013-03-10")));
        assert_eq!((wanted.kept_from, wanted.shard_from), (date("2013-03-08"), date("2013-03-08")));
        let wanted = Wanted::of(&days, &DaySelector::Last(7), Share::Open).unwrap();
        assert_eq!(wanted.shard_from, date("2013-03-09"));
        let closed = kept(&[("2013-03-08", Closed), ("2013-03-09", Closed)]);
        let wanted = Wanted::of(&closed, &DaySelector::Yesterday, Share::Open).unwrap();
        assert_eq!((wanted.from, wanted.shard_from), (date("2013-03-08"), date("2013-03-10")), "nothing is open");
        assert_eq!(Wanted::of(&days, &DaySelector::Season("hunt".parse().unwrap()), Share::Kept), None);
        assert_eq!(Wanted::of(&kept(&[]), &DaySelector::Today, Share::Kept), None);
    }

    #[test]
    fn sealed_figures_stand_for_the_shard_s_in_the_same_version_only() {
        use DayState::{Closed, Open};
        let mut days = kept(&[("2013-03-08", Closed), ("2013-03-09", Closed), ("2013-03-10", Open)]);
        let decoded = |date: &str| Arc::new(Decoded { figures: figures(date, 1), bytes: 0 });
        let as_of = days.as_of;
        let empty = Empty { date: date("2013-03-09"), version: 2, coverage: Coverage::Complete, as_of };
        let sealed = Sealed {
            days: vec![decoded("2013-03-07"), decoded("2013-03-08")],
            empty: vec![empty],
            ..Sealed::default()
        };
        let wanted = Wanted::of(&days, &DaySelector::Last(7), Share::Open).unwrap();
        assert!(!are_newest(&sealed, &days, &wanted), "the shard has not sealed them");
        (days.days[0].report, days.days[1].report) = (Some(1), Some(2));
        assert!(are_newest(&sealed, &days, &wanted));
        days.days[1].report = Some(3);
        assert!(!are_newest(&sealed, &days, &wanted), "it has sealed another version");
        let only_eighth = Wanted { to: date("2013-03-08"), ..wanted };
        assert!(are_newest(&sealed, &days, &only_eighth), "of a day that is not asked for");
        assert!(!are_newest(&Sealed::default(), &days, &only_eighth), "nothing was read");
    }

    #[test]
    fn the_least_of_what_days_cover_and_rest_on_is_told() {
        let (mut one, two) = (figures("2013-03-09", 1), figures("2013-03-10", 1));
        (one.log, one.inbox) = (LogSeq(4), InboxSeq(30));
        assert_eq!(rests_on(&[&one, &two], &[]), AsOf { log: LogSeq(4), inbox: InboxSeq(20) });
        let as_of = AsOf { log: LogSeq(7), inbox: InboxSeq(3) };
        let empty = Empty { date: date("2013-03-08"), version: 1, coverage: Coverage::Complete, as_of };
        assert_eq!(rests_on(&[&one, &two], &[empty]), AsOf { log: LogSeq(4), inbox: InboxSeq(3) });

        let partial = |from: u64| Coverage::Partial { from: LogSeq(from), reason: "backfill".into() };
        assert_eq!(coverage([Coverage::Complete, partial(5), partial(9), partial(7)].iter()), partial(9));
        assert_eq!(coverage([Coverage::Complete].iter()), Coverage::Complete);
        assert_eq!(coverage([].iter()), Coverage::Complete);
    }

    #[test]
    fn days_of_another_definition_are_refused_before_they_are_merged() {
        let (mut one, two) = (figures("2013-03-09", 1), figures("2013-03-10", 1));
        one.view.group_by.clear();
        let range = (date("2013-03-09"), date("2013-03-10"));
        let error = merge(&asking(Query::default()), 0, range, &[&one, &two], &[]).unwrap_err();
        assert!(error.code == AskErrorCode::UnknownDay && error.message.contains("2013-03-09"), "{error}");
    }

    /// Among equals, a former ranking meant another one by `earliest`: what the hint says is answered.
    #[test]
    fn days_of_both_meanings_of_earliest_are_asked_for_apart() {
        let ranked = |day: &str, earliest| {
            let mut figures = figures(day, 1);
            let by = vec![RankedBy { metric: figures.view.metrics[0].name.clone(), direction: Direction::Desc }];
            figures.view.ranking = Some(Ranking { by, ties: Ties::Competition, earliest });
            let plan = Plan::compile(&figures.view, &figures.kind).unwrap();
            let group = &mut figures.days[0].groups[0];
            let own = std::mem::replace(&mut group.cells, plan.zero());
            own.into_iter().enumerate().for_each(|(place, cell)| group.cells[place] = cell);
            figures
        };
        let days = [
            ranked("2013-03-09", Earliest::LatestTime),
            ranked("2013-03-10", Earliest::LatestTime),
            ranked("2013-03-11", Earliest::Reached),
        ];
        let merged = |from: usize, through: usize| {
            let day = |place: usize| days[place].days[0].day.date;
            let parts: Vec<&Figures> = days[from..=through].iter().collect();
            merge(&asking(Query::default()), 0, (day(from), day(through)), &parts, &[])
        };
        let error = merged(0, 2).unwrap_err();
        assert_eq!(error.code, AskErrorCode::UnknownDay);
        assert_eq!(
            error.hint.as_deref(),
            Some("ask for each stretch of days of one meaning by itself; the report of each day names the revision")
        );
        assert_eq!(merged(0, 1).unwrap().rows.len(), 1);
        assert_eq!(merged(2, 2).unwrap().rows.len(), 1);
    }
}
