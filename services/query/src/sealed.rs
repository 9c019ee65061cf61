//! Sealed days out of their streams: which of them are there, and whether they can be merged.

use crate::archive::{Archive, Decoded, Left};
use crate::asking::Asking;
use crate::generations::Owner;
use daybook_contracts::ask::{Answer, AsOf, AskError, AskErrorCode, Asked, DayState};
use daybook_contracts::figures::Figures;
use daybook_contracts::report::{Coverage, Report};
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::ids::Name;
use daybook_domain::time::Date;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// Days that are read at once for one question: enough to hide the way to the broker.
const READ_AT_ONCE: usize = 16;
/// Most bytes in memory of the figures that one question merges.
const MAX_MERGED_BYTES: usize = 512 << 20;

/// What there is of a run of days.
#[derive(Debug, Default)]
pub struct Sealed {
    /// That of the tenant whose days they are.
    pub generation: u32,
    /// In order of their days; not of days that have no groups.
    pub days: Vec<Arc<Decoded>>,
    /// Days of whose groups there are none, in order.
    pub empty: Vec<Empty>,
    /// Instead, the report of the one day that was asked for.
    pub report: Option<Report>,
    /// Whether there is something of the last day.
    pub has_last: bool,
}

/// A sealed day on which the view has no group: it has a report, and no figures.
#[derive(Debug)]
pub struct Empty {
    pub date: Date,
    pub version: u32,
    pub coverage: Coverage,
    pub as_of: AsOf,
}

impl Sealed {
    /// Which versions of which days were read.
    pub fn versions(&self) -> impl Iterator<Item = (Date, u32)> {
        let figures = self.days.iter().flat_map(|decoded| &decoded.figures.days);
        let figures = figures.filter_map(|day| Some((day.day.date, day.version?)));
        let empty = self.empty.iter().map(|day| (day.date, day.version));
        figures.chain(empty).chain(self.report.iter().map(|report| (report.date, report.version)))
    }
}

/// One day.
enum Day {
    Figures(Arc<Decoded>),
    Empty(Empty),
    Report(Box<Report>),
    /// It does not exist, stands before the tenant's first report, or is not sealed.
    Nothing,
}

/// The sealed days from one to another, both included; `is_alone` when the question is for one day and no other.
///
/// # Errors
/// When one has a report, but no figures that could be merged, or they are too many, or the broker does not answer;
/// [`AskErrorCode::PastRetention`] when one was sealed and is no more: what is left would be a smaller sum.
pub async fn read(
    archive: &Archive,
    (asking, owner): (&Asking, Owner),
    from: Date,
    to: Date,
    is_alone: bool,
) -> Asked<Sealed> {
    let dates = (from.as_days()..=to.as_days()).map(Date::from_days);
    let mut days = futures::stream::iter(dates)
        .map(|date| async move { Ok::<_, AskError>((date, day(archive, (asking, owner), date, is_alone).await?)) })
        .buffered(READ_AT_ONCE);
    let mut sealed = Sealed { generation: owner.generation(), ..Sealed::default() };
    let (mut bytes, mut without) = (0, Vec::new());
    while let Some((date, day)) = days.try_next().await? {
        sealed.has_last = !matches!(day, Day::Nothing);
        match day {
            Day::Nothing => without.push(date),
            Day::Empty(day) => sealed.empty.push(day),
            Day::Report(report) => sealed.report = Some(*report),
            Day::Figures(decoded) => {
                bytes += decoded.bytes;
                if bytes > MAX_MERGED_BYTES {
                    let message =
                        format!("the figures from {from} to {date} alone are more than can be merged at once");
                    return Err(AskError::new(AskErrorCode::TooLarge, message).hint("ask for fewer days"));
                }
                sealed.days.push(decoded);
            }
        }
    }
    if !without.is_empty()
        && let Some(date) = archive.deleted((&asking.tenant, owner), &without).await?
    {
        let message = format!("the report of {date} is over its retention and was deleted");
        let error = AskError::new(AskErrorCode::PastRetention, message);
        return Err(if is_alone { error } else { error.hint("ask for later days") });
    }
    Ok(sealed)
}

async fn day(archive: &Archive, (asking, owner): (&Asking, Owner), date: Date, is_alone: bool) -> Asked<Day> {
    let (tenant, view) = ((&asking.tenant, owner), &asking.view);
    if let Left::Figures(figures) = archive.figures(tenant, date, view).await? {
        return Ok(Day::Figures(figures));
    }
    let Some(report) = archive.report(tenant, date).await? else { return Ok(Day::Nothing) };
    // Of a day with groups there were figures: a replica that has none may only be late.
    let has_groups = report.views.get(view).is_some_and(|view| view.groups > 0);
    let left = match has_groups {
        true => archive.figures_for_certain(tenant, date, view).await,
        false => Ok(Left::Nothing),
    };
    match (left, only_report(asking, report, is_alone)) {
        (Ok(Left::Figures(figures)), _) => Ok(Day::Figures(figures)),
        // The report alone may be enough.
        (Err(error), Err(_)) => Err(error),
        (Ok(Left::Nothing), Err(error)) if error.code == AskErrorCode::TooLarge => {
            let message = format!("the figures of {date} are over their retention and were deleted");
            Err(AskError { code: AskErrorCode::PastRetention, message, ..error })
        }
        (_, outcome) => outcome,
    }
}

/// What a report is good for where there are no figures.
fn only_report(asking: &Asking, report: Report, is_alone: bool) -> Asked<Day> {
    let date = report.date;
    let Some(view) = report.views.get(&asking.view) else {
        let message = format!("the report of {date} has no view {}", asking.view);
        return Err(match is_alone {
            true => AskError::new(AskErrorCode::UnknownView, message)
                .hint(format!("it has {}", report.views.keys().map(Name::as_str).collect::<Vec<_>>().join(", "))),
            false => AskError::new(AskErrorCode::UnknownDay, message)
                .hint("the view may be younger than that day: ask for later ones"),
        });
    };
    // A view of a finer grain has its pieces of time there, which a question would have added up.
    let is_by_day = view.rows.first().is_none_or(|row| row.get("time").is_none());
    if is_alone && asking.is_plain() && is_by_day {
        return Ok(Day::Report(Box::new(report)));
    }
    if view.groups == 0 {
        let as_of = rests_on(&report);
        return Ok(Day::Empty(Empty { date, version: report.version, coverage: report.coverage, as_of }));
    }
    let message =
        format!("the figures of {date} were too large to be kept, and the day has left the shard or it is away");
    Err(AskError::new(AskErrorCode::TooLarge, message).hint(format!(
        "leave {date} out, or ask for it alone without metrics, dimensions, where, grain, order and rank: its report has \
         the first rows"
    )))
}

/// Checks that figures add up with the newest ones.
///
/// # Errors
/// [`AskErrorCode::UnknownDay`] that names the first day whose figures were made with another definition.
pub fn check_alike<'a>(days: impl IntoIterator<Item = &'a Figures>, newest: &Figures) -> Asked<()> {
    let is_alike = |figures: &&'a Figures| are_alike((&figures.view, &figures.kind), (&newest.view, &newest.kind));
    let dates_of = |figures: &'a Figures| figures.days.iter().map(|day| day.day.date);
    let mut others = days.into_iter().filter(|figures| !is_alike(figures));
    match others.next() {
        None => Ok(()),
        Some(other) => {
            let date = dates_of(other).next().map_or_else(|| "a day".to_owned(), |date| date.to_string());
            let message = format!(
                "the figures of {date} were made with revision {} of view {}, which computes something else than revision {}",
                other.view.revision, newest.view.name, newest.view.revision
            );
            let hint =
                "ask for each stretch of days of one meaning by itself; the report of each day names the revision"
                    .to_owned();
            Err(AskError::new(AskErrorCode::UnknownDay, message).hint(hint))
        }
    }
}

/// The same metrics over the same groups, whatever was late for them, of the same sort of events and of measures counted in the same unit.
/// A kind that was removed may have come again with another mode: accumulators of facts and of entities differ.
pub fn are_alike((view, kind): (&View, &Kind), (other, of): (&View, &Kind)) -> bool {
    let same_scales = kind
        .measures
        .iter()
        .all(|measure| of.measure(measure.name.as_str()).is_none_or(|index| of.measures[index].scale == measure.scale));
    view.adds_up_with(other) && kind.mode == of.mode && same_scales
}

/// The view's rows in a report that [`read`] found fit to answer.
///
/// # Errors
/// When it has no such view.
pub fn from_report(asking: &Asking, report: Report) -> Asked<Answer> {
    let Some(view) = report.views.get(&asking.view) else {
        let message = format!("the report of {} has no view {}", report.date, asking.view);
        return Err(AskError::new(AskErrorCode::UnknownView, message));
    };
    let limit = asking.query.limit.map_or(usize::MAX, |limit| limit as usize);
    Ok(Answer {
        tenant: asking.tenant.clone(),
        generation: report.generation,
        view: asking.view.clone(),
        from: report.date,
        to: report.date,
        day: DayState::Closed,
        rows: view.rows.iter().take(limit).cloned().collect(),
        total: view.total,
        next: None,
        as_of: rests_on(&report),
        freshness_ms: 0,
        stale: false,
        coverage: report.coverage,
        definition: report.definitions.views.get(&asking.view).copied().unwrap_or(0),
        report: Some(report.version),
        feed: None,
    })
}

fn rests_on(report: &Report) -> AsOf {
    AsOf { log: report.log.through, inbox: report.log.inbox_through }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use daybook_contracts::ask::Query;
    use daybook_contracts::figures::{DayFigures, FORMAT, GroupFigures};
    use daybook_contracts::report::{Definitions, Figure, LogRange, Row, ViewRows};
    use daybook_domain::accumulator::Accumulator;
    use daybook_domain::calendar::BusinessDay;
    use daybook_domain::catalogue::{Dimension, Kind, Measure, Metric, Mode, View, only_final};
    use daybook_domain::ids::{InboxSeq, LogSeq, Partition, TenantId};
    use daybook_domain::time::Instant;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn business_day(date: &str) -> BusinessDay {
        let opens_at: Instant = format!("{date}T00:00:00Z").parse().unwrap();
        BusinessDay {
            date: date.parse().unwrap(),
            opens_at,
            closes_at: opens_at.after(std::time::Duration::from_secs(86_400)),
        }
    }

    /// So many flights of one carrier on a sealed day.
    pub(crate) fn figures(date: &str, flights: i64) -> Figures {
        let metric = Metric { name: name("flights"), value: "count".into(), filter: None, status: only_final() };
        Figures {
            format: FORMAT,
            view: View::new(name("carriers"), name("flight"), vec![name("carrier")], vec![metric]),
            kind: Kind {
                name: name("flight"),
                mode: Mode::Entity,
                dimensions: vec![Dimension { name: name("carrier"), field: None }],
                measures: vec![Measure { name: name("delay"), scale: 0 }],
                revision: 1,
                mappings: Vec::new(),
                remember: None,
            },
            log: LogSeq(10),
            inbox: InboxSeq(20),
            days: vec![DayFigures {
                day: business_day(date),
                closed: true,
                version: Some(1),
                coverage: Coverage::Complete,
                groups: vec![GroupFigures {
                    piece: 0,
                    dims: Box::new([Some("B6".into())]),
                    cells: Box::new([Accumulator::Count(flights)]),
                }],
            }],
        }
    }

    pub(crate) fn asking(query: Query) -> Asking {
        Asking { tenant: TenantId::new("ATL").unwrap(), view: name("carriers"), query }
    }

    fn report(columns: &[&str]) -> Report {
        let row = || Row(columns.iter().map(|column| (name(column), Figure::integer(1))).collect());
        Report {
            generation: 0,
            ended_at: None,
            tenant: TenantId::new("ATL").unwrap(),
            date: "2013-03-10".parse().unwrap(),
            version: 3,
            day: business_day("2013-03-10"),
            dispositions: Default::default(),
            coverage: Coverage::Complete,
            views: [(
                name("carriers"),
                ViewRows { rows: vec![row(), row()], total: 5, groups: 5, ..ViewRows::default() },
            )]
            .into(),
            definitions: Definitions { views: [(name("carriers"), 7)].into(), ..Definitions::default() },
            log: LogRange { partition: Partition(0), from: LogSeq(1), through: LogSeq(9), inbox_through: InboxSeq(8) },
            supersedes: None,
            changes: Vec::new(),
            changes_omitted: 0,
        }
    }

    #[test]
    fn a_report_answers_for_its_day_alone_as_it_stands() {
        let plain = asking(Query { limit: Some(1), ..Query::default() });
        let Ok(Day::Report(found)) = only_report(&plain, report(&["carrier", "flights"]), true) else { panic!() };
        let answer = from_report(&plain, *found).unwrap();
        assert_eq!((answer.rows.len(), answer.total, answer.report, answer.definition), (1, 5, Some(3), 7));
        assert_eq!((answer.as_of.log, answer.as_of.inbox, answer.freshness_ms), (LogSeq(9), InboxSeq(8), 0));

        let code = |asking: &Asking, columns: &[&str], is_alone| match only_report(asking, report(columns), is_alone) {
            Ok(_) => None,
            Err(error) => Some((error.code, error.message.contains("2013-03-10"))),
        };
        let filtered = asking(Query { filter: Some("carrier = 'B6'".into()), ..Query::default() });
        assert_eq!(code(&filtered, &["carrier"], true), Some((AskErrorCode::TooLarge, true)));
        assert_eq!(code(&plain, &["carrier"], false), Some((AskErrorCode::TooLarge, true)));
        assert_eq!(code(&plain, &["time", "carrier"], true), Some((AskErrorCode::TooLarge, true)), "of a finer grain");
        let mut nothing = report(&["carrier"]);
        nothing.views.insert(name("carriers"), ViewRows::default());
        let Ok(Day::Empty(empty)) = only_report(&plain, nothing, false) else { panic!() };
        assert_eq!((empty.version, empty.as_of.log), (3, LogSeq(9)));

        let other = Asking { view: name("other"), ..plain };
        assert_eq!(code(&other, &["carrier"], true), Some((AskErrorCode::UnknownView, true)));
        assert_eq!(code(&other, &["carrier"], false), Some((AskErrorCode::UnknownDay, true)));
    }

    #[test]
    fn figures_of_another_definition_are_not_merged() {
        let newest = figures("2013-03-11", 1);
        let mut before = figures("2013-03-10", 1);
        before.view.revision = 4;
        before.kind.measures.push(Measure { name: name("distance"), scale: 3 });
        check_alike([&before, &newest], &newest).unwrap();

        let mut other = before.clone();
        other.view.metrics[0].filter = Some("carrier = 'B6'".into());
        let error = check_alike([&newest, &other], &newest).unwrap_err();
        assert_eq!(error.code, AskErrorCode::UnknownDay);
        assert!(error.message.contains("2013-03-10") && error.message.contains("revision 4"), "{error}");

        let mut rescaled = before.clone();
        rescaled.kind.measures[0].scale = 1;
        assert!(check_alike([&rescaled], &newest).is_err(), "tenths do not add up with units");

        let mut of_facts = before;
        of_facts.kind.mode = Mode::Fact;
        assert!(check_alike([&of_facts], &newest).is_err(), "facts are kept in other accumulators");
    }
}
