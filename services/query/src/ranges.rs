//! Days that no shard answers for alone: older than it keeps, or all of them while it is away.

use crate::answers::{Found, Source};
use crate::archive::{Archive, Decoded};
use crate::asking::Asking;
use crate::merge::roll_up;
use crate::sealed::{Sealed, check_alike, from_report, read};
use crate::shard::Shards;
use daybook_contracts::ask::{
    Answer, AsOf, AskError, AskErrorCode, Asked, DaySelector, DayState, Days, Query, ShardQuestion,
};
use daybook_contracts::figures::Figures;
use daybook_contracts::report::Coverage;
use daybook_domain::time::Date;
use std::sync::Arc;

/// How often the shard may let go of another day between two questions to it: it does so once a business day.
const MAX_ROUNDS: u32 = 3;

/// The days of which the shard has let go out of their streams, the others from the shard, all rolled up.
///
/// # Errors
/// Those of the shard and of reading the streams; [`AskErrorCode::UnknownDay`] when nothing is left of the days.
pub async fn beyond_the_shard(shards: &Shards, archive: &Archive, asking: &Asking, expired: AskError) -> Asked<Found> {
    for _ in 0..MAX_ROUNDS {
        let question = ShardQuestion::Days { tenant: asking.tenant.clone() };
        let kept: Days = shards.ask(&asking.tenant, &question).await?;
        let Some((kept_from, from, to)) = kept_and_wanted(&kept, &asking.query.days) else {
            return Err(AskError { code: AskErrorCode::UnknownDay, ..expired });
        };
        let last_older = to.min(kept_from.plus(-1));
        if last_older < from {
            // It let go of them after it was asked what it keeps: not as the days stand now.
            continue;
        }
        let older = read(archive, asking, from, last_older);
        let newer = newer_days(shards, asking, from.max(kept_from), to);
        let (sealed, newer) = match tokio::join!(older, newer) {
            (Ok(sealed), Ok(newer)) => (sealed, newer),
            (_, Err(error)) if error.code == AskErrorCode::Expired => continue,
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if let Some(report) = sealed.report {
            let answer = from_report(asking, report)?;
            // Nothing changes a day any more that the shard has let go of.
            return Ok(Found::new(Answer { as_of: kept.as_of, ..answer }, Source::Report));
        }
        let as_of =
            newer.as_ref().map_or(kept.as_of, |newer| AsOf { log: newer.figures.log, inbox: newer.figures.inbox });
        let freshness_ms = newer.as_ref().map_or(0, |newer| newer.freshness_ms);
        let days =
            sealed.days.into_iter().map(Part::Sealed).chain(newer.map(|newer| Part::Live(Box::new(newer.figures))));
        return match merged(asking, (from, to), days.collect()).await? {
            Some(answer) => Ok(Found::new(Answer { as_of, freshness_ms, ..answer }, Source::Figures)),
            None => Err(AskError { code: AskErrorCode::UnknownDay, ..expired }),
        };
    }
    Err(AskError::new(AskErrorCode::Unavailable, "the days that are kept changed while they were read")
        .hint("ask again in a moment"))
}

/// The answer out of sealed days alone; `None` when one of them is not sealed, or cannot be told.
///
/// # Errors
/// Those of reading the streams.
pub async fn sealed_days(archive: &Archive, asking: &Asking) -> Asked<Option<Found>> {
    let days = &asking.query.days;
    let today = match days {
        // Named by themselves, whichever day is open.
        DaySelector::Date(_) | DaySelector::Range(..) => Date::MAX,
        _ => match archive.today(&asking.tenant).await? {
            Some(today) => today,
            None => return Ok(None),
        },
    };
    let Some((from, to)) = days.range(today) else { return Ok(None) };
    // The open day has no report, so it is never taken for a sealed one. Of the days before a sealed one, those without
    // a report do not exist.
    let sealed = match read(archive, asking, to, to).await? {
        last if !last.has_last => return Ok(None),
        last if from == to => last,
        _ => read(archive, asking, from, to).await?,
    };
    let Sealed { days, report, .. } = sealed;
    if let Some(report) = report {
        return from_report(asking, report).map(|answer| Some(Found::new(answer, Source::Report)));
    }
    let answer = merged(asking, (from, to), days.into_iter().map(Part::Sealed).collect()).await?;
    Ok(answer.map(|answer| Found::new(answer, Source::Figures)))
}

/// The first day that is kept, and the first and the last that are asked for. `None` of a season, or of no days.
fn kept_and_wanted(kept: &Days, wanted: &DaySelector) -> Option<(Date, Date, Date)> {
    let kept_from = kept.days.first()?.date;
    let newest = |state: DayState| kept.days.iter().rev().find(|day| day.day == state).map(|day| day.date);
    let today = newest(DayState::Open).or_else(|| newest(DayState::Closed)).unwrap_or(kept_from);
    let (from, to) = wanted.range(today)?;
    Some((kept_from, from, to))
}

/// Figures that the shard keeps, and how level it is with the log.
struct Newer {
    figures: Figures,
    freshness_ms: u64,
}

/// What the shard keeps of the days; `None` when it keeps none of them.
async fn newer_days(shards: &Shards, asking: &Asking, from: Date, to: Date) -> Asked<Option<Newer>> {
    if from > to {
        return Ok(None);
    }
    // Figures do not say how fresh they are; an answer of one row does.
    let glance = Query { days: DaySelector::Date(to), limit: Some(1), ..Query::default() };
    let glance = Asking { query: glance, ..asking.clone() };
    let (figures, glance) = tokio::join!(shards.figures(asking, from, to), shards.view(&glance));
    let figures = figures?;
    let freshness_ms = match figures.days.iter().all(|day| day.closed) {
        true => 0,
        false => glance?.freshness_ms,
    };
    Ok(Some(Newer { figures, freshness_ms }))
}

/// Figures from either side.
enum Part {
    Sealed(Arc<Decoded>),
    Live(Box<Figures>),
}

impl Part {
    fn figures(&self) -> &Figures {
        match self {
            Self::Sealed(decoded) => &decoded.figures,
            Self::Live(figures) => figures,
        }
    }
}

/// The answer out of figures in order of their days; `None` when there are none.
async fn merged(asking: &Asking, range: (Date, Date), parts: Vec<Part>) -> Asked<Option<Answer>> {
    if parts.is_empty() {
        return Ok(None);
    }
    let asking = asking.clone();
    // Many days take a while: not on a thread that answers others.
    let merging = tokio::task::spawn_blocking(move || {
        let figures: Vec<&Figures> = parts.iter().map(Part::figures).collect();
        merge(&asking, range, &figures)
    });
    let outcome = merging.await;
    outcome
        .map_err(|error| AskError::new(AskErrorCode::Internal, format!("the days could not be merged: {error}")))?
        .map(Some)
}

fn merge(asking: &Asking, (from, to): (Date, Date), figures: &[&Figures]) -> Asked<Answer> {
    let Some(newest) = figures.last() else {
        return Err(AskError::new(AskErrorCode::Internal, "there are no figures to merge"));
    };
    check_alike(figures.iter().copied(), newest)?;
    let page = roll_up(&asking.query, figures)?;
    let days = || figures.iter().flat_map(|figures| &figures.days);
    let is_closed = days().all(|day| day.closed);
    Ok(Answer {
        tenant: asking.tenant.clone(),
        view: asking.view.clone(),
        from,
        to,
        day: if is_closed { DayState::Closed } else { DayState::Open },
        rows: page.rows,
        total: page.total,
        next: page.next,
        as_of: rests_on(figures),
        freshness_ms: 0,
        stale: false,
        coverage: coverage(days().map(|day| &day.coverage)),
        definition: newest.view.revision,
        report: if from == to { newest.days.last().and_then(|day| day.version) } else { None },
        feed: None,
    })
}

/// What all of the figures rest on, at least.
fn rests_on(figures: &[&Figures]) -> AsOf {
    let log = figures.iter().map(|figures| figures.log).min().unwrap_or_default();
    let inbox = figures.iter().map(|figures| figures.inbox).min().unwrap_or_default();
    AsOf { log, inbox }
}

/// Complete when every day is; else what the day says that reaches back least.
fn coverage<'a>(days: impl Iterator<Item = &'a Coverage>) -> Coverage {
    let since = |coverage: &Coverage| match coverage {
        Coverage::Complete => None,
        Coverage::Partial { from, .. } => Some(*from),
    };
    days.max_by_key(|coverage| since(coverage)).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::tests::{asking, figures};
    use daybook_contracts::ask::DayAccount;
    use daybook_domain::ids::{InboxSeq, LogSeq};

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
        };
        Days {
            tenant: asking(Query::default()).tenant,
            days: days.iter().map(account).collect(),
            as_of: AsOf { log: LogSeq(1), inbox: InboxSeq(1) },
        }
    }

    #[test]
    fn today_is_the_newest_open_day_of_the_shard() {
        use DayState::{Closed, Open, Upcoming};
        let days =
            kept(&[("2013-03-08", Closed), ("2013-03-09", Open), ("2013-03-10", Open), ("2013-03-11", Upcoming)]);
        let wanted = kept_and_wanted(&days, &DaySelector::Last(7));
        assert_eq!(wanted, Some((date("2013-03-08"), date("2013-03-04"), date("2013-03-10"))));
        let closed = kept(&[("2013-03-08", Closed), ("2013-03-09", Closed)]);
        let wanted = kept_and_wanted(&closed, &DaySelector::Yesterday);
        assert_eq!(wanted, Some((date("2013-03-08"), date("2013-03-08"), date("2013-03-08"))));
        assert_eq!(kept_and_wanted(&days, &DaySelector::Season("hunt".parse().unwrap())), None);
        assert_eq!(kept_and_wanted(&kept(&[]), &DaySelector::Today), None);
    }

    #[test]
    fn the_least_of_what_days_cover_and_rest_on_is_told() {
        let (mut one, two) = (figures("2013-03-09", 1), figures("2013-03-10", 1));
        (one.log, one.inbox) = (LogSeq(4), InboxSeq(30));
        assert_eq!(rests_on(&[&one, &two]), AsOf { log: LogSeq(4), inbox: InboxSeq(20) });

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
        let error = merge(&asking(Query::default()), range, &[&one, &two]).unwrap_err();
        assert!(error.code == AskErrorCode::UnknownDay && error.message.contains("2013-03-09"), "{error}");
    }
}
