//! Closing a day by hand, before its cut-off or its grace has passed.
//!
//! The markers are those that the schedule would have had later, and each is published once: so whatever ends half-way
//! leaves a sequence that the schedule goes on with, and a repeated request publishes what is missing.

use super::Schedule;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_domain::calendar::{BusinessDay, CalendarTable};
use daybook_domain::catalogue::{Boundary, Tenant};
use daybook_domain::ids::TenantId;
use daybook_domain::time::{Date, Instant};
use std::time::Duration;

/// The markers by which a day is closed by hand, to be published in the order of the fields, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// What the schedule has due anyway, in its order.
    pub due: Vec<DayMarker>,
    /// The opening of the next day, unless it is open already.
    pub opened: Option<DayMarker>,
    /// The closes of the days before it whose grace has not ended, and last of the day itself.
    pub closed: Vec<DayMarker>,
}

impl Closing {
    /// All of them, in order.
    pub fn into_markers(self) -> Vec<DayMarker> {
        self.due.into_iter().chain(self.opened).chain(self.closed).collect()
    }
}

/// Why a day cannot be closed by hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    #[error("there is no tenant {0}")]
    UnknownTenant(TenantId),
    /// It is closed already.
    #[error("{date} of {tenant} was closed{}; days are never reopened", when(.closed_at, .by_hand))]
    Closed {
        tenant: TenantId,
        date: Date,
        /// Known of the last closed day only.
        closed_at: Option<Instant>,
        by_hand: bool,
    },
    /// It does not exist, or has not been opened.
    #[error("{date} of {tenant} is not open; {}", open(.newest))]
    NotOpen {
        tenant: TenantId,
        date: Date,
        /// The newest day that is open.
        newest: Option<Date>,
    },
    /// It was opened early, because the day before it was closed by hand.
    #[error("{date} of {tenant} {}; it can be closed from then on", begun(.begins_at, .opens_at))]
    NotBegun {
        tenant: TenantId,
        date: Date,
        /// As [`begins_at`] says.
        begins_at: Instant,
        /// By the calendar.
        opens_at: Instant,
    },
    /// The next day is not in the published calendar.
    #[error("the day after {date} of {tenant} is not published yet; try again in a moment")]
    NotPublished { tenant: TenantId, date: Date },
}

fn when(closed_at: &Option<Instant>, by_hand: &bool) -> String {
    let by_hand = if *by_hand { " by hand" } else { "" };
    closed_at.map_or_else(String::new, |at| format!("{by_hand} at {at}"))
}

/// Says of a day whose opening by the calendar is still to come when it begins, or has begun by a boundary.
pub fn begun(begins_at: &Instant, opens_at: &Instant) -> String {
    match begins_at < opens_at {
        true => {
            format!(
                "has taken events since {begins_at}, the boundary of the day before, but opens by the calendar only at {opens_at}"
            )
        }
        false => format!("begins only at {opens_at}"),
    }
}

/// From when on events belong to a day: from the boundary of the day before, if it has one, else from the day's opening by the
/// calendar.
pub fn begins_at(tenant: &Tenant, table: &CalendarTable, day: &BusinessDay) -> Instant {
    let is_before = |boundary: &&Boundary| {
        boundary.date < day.date && table.day_from(boundary.date.next()).is_some_and(|next| next.date == day.date)
    };
    tenant.boundaries.iter().find(is_before).map_or(day.opens_at, |boundary| boundary.at.min(day.opens_at))
}

fn open(newest: &Option<Date>) -> String {
    newest.map_or_else(|| "no day is".to_owned(), |date| format!("the newest open day is {date}"))
}

impl Schedule {
    /// The markers that close `date` of a tenant at `now`, the instant of its clock. What the schedule has due by then
    /// comes first; days before `date` that are still open for their grace close with it. Nothing is changed: the
    /// markers are to be published and then observed.
    ///
    /// # Errors
    /// When the tenant is not known, or the day is closed, not open, has not begun, or is the last of the table.
    pub fn close_by_hand(&self, tenant: &TenantId, date: Date, now: Instant) -> Result<Closing, CloseError> {
        let known = self.get(tenant).zip(self.table(tenant));
        let (progress, table) = known.ok_or_else(|| CloseError::UnknownTenant(tenant.clone()))?;
        let mut progress = progress.clone();
        let mut due = Vec::new();
        while let Some((due_at, edge, day)) = progress.next(table).filter(|(due_at, ..)| *due_at <= now) {
            due.push(progress.marker(table, edge, day, due_at));
            progress.note(edge, day.date, due_at);
        }
        let newest = progress.opened();
        let not_open = || CloseError::NotOpen { tenant: tenant.clone(), date, newest };
        let day = table.day(date).filter(|_| date >= progress.tenant.first_day).ok_or_else(not_open)?;
        if progress.closed() >= Some(date) {
            let closed_at = progress.closed_due_at.filter(|_| progress.closed() == Some(date));
            let regular = day.closes_at.after(Duration::from_millis(progress.tenant.grace_ms));
            let by_hand = closed_at.is_some_and(|closed_at| closed_at < regular);
            return Err(CloseError::Closed { tenant: tenant.clone(), date, closed_at, by_hand });
        }
        if newest < Some(date) {
            return Err(not_open());
        }
        if now < day.opens_at {
            let (begins_at, opens_at) = (begins_at(&progress.tenant, table, &day), day.opens_at);
            return Err(CloseError::NotBegun { tenant: tenant.clone(), date, begins_at, opens_at });
        }
        let next = table.day_from(date.next());
        let next = next.ok_or_else(|| CloseError::NotPublished { tenant: tenant.clone(), date })?;
        let opened = (newest < Some(next.date)).then(|| progress.marker(table, Edge::Opened, next, now));
        let mut closed = Vec::new();
        while let Some(unclosed) = progress.unclosed(table).filter(|unclosed| unclosed.date <= date) {
            closed.push(progress.marker(table, Edge::Closed, unclosed, now));
            progress.note(Edge::Closed, unclosed.date, now);
        }
        Ok(Closing { due, opened, closed })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Observed;
    use super::*;
    use Edge::{Closed, Opened};
    use daybook_domain::catalogue::CalendarRule;
    use daybook_domain::ids::Name;
    use std::sync::Arc;

    const HOUR: i64 = 3_600_000;

    fn hour(hour: i64) -> Instant {
        Instant::from_millis(hour * HOUR)
    }

    fn id() -> TenantId {
        TenantId::new("a").unwrap()
    }

    fn day(number: i32) -> Date {
        Date::from_days(number)
    }

    /// A tenant with a grace of `grace` hours, whose days begin at these hours.
    fn schedule(grace: i64, hours: &[i64]) -> Schedule {
        bounded(grace, hours, Vec::new())
    }

    /// The same, with days that end at boundaries.
    fn bounded(grace: i64, hours: &[i64], boundaries: Vec<Boundary>) -> Schedule {
        let name = |text: &str| Name::new(text).unwrap();
        let table = CalendarTable {
            name: name("table"),
            revision: 1,
            tzdb: "test".into(),
            first: day(0),
            cutoffs: hours.iter().copied().map(hour).collect(),
            offsets: Vec::new(),
        };
        let tenant = Tenant {
            generation: 0,
            boundaries,
            alerts: Default::default(),
            id: id(),
            name: None,
            calendar: vec![CalendarRule {
                from: day(0),
                zone: "Etc/UTC".into(),
                cutoff_minutes: 0,
                named_by: Default::default(),
            }],
            grace_ms: (grace * HOUR) as u64,
            first_day: day(0),
            clock: name("system"),
            revision: 1,
            table: None,
            seasons: Vec::new(),
            quotas: Default::default(),
            restate_after_ms: None,
            max_ahead_ms: None,
        };
        let mut schedule = Schedule::new();
        schedule.define(tenant, Arc::new(table)).unwrap();
        schedule
    }

    fn short(markers: &[DayMarker]) -> Vec<(Edge, i32, i64)> {
        let short = |marker: &DayMarker| (marker.edge, marker.day.date.as_days(), marker.due_at.as_millis() / HOUR);
        markers.iter().map(short).collect()
    }

    fn observe(schedule: &mut Schedule, markers: &[DayMarker]) {
        assert!(markers.iter().all(|marker| schedule.observe(marker) == Observed::Applied));
    }

    /// Publishes all that is due, and says what it was.
    fn run(schedule: &mut Schedule, now: i64) -> Vec<(Edge, i32, i64)> {
        let mut published = Vec::new();
        loop {
            let due = schedule.due(&Name::new("system").unwrap(), hour(now), 9);
            if due.is_empty() {
                return published;
            }
            observe(schedule, &due);
            published.extend(short(&due));
        }
    }

    fn close(schedule: &mut Schedule, date: i32, now: i64) -> Vec<(Edge, i32, i64)> {
        let markers = schedule.close_by_hand(&id(), day(date), hour(now)).unwrap().into_markers();
        observe(schedule, &markers);
        short(&markers)
    }

    fn refused(schedule: &Schedule, date: i32, now: i64) -> String {
        schedule.close_by_hand(&id(), day(date), hour(now)).unwrap_err().to_string()
    }

    #[test]
    fn the_next_day_opens_early_and_lasts_until_its_own_cutoff() {
        let mut schedule = schedule(2, &[0, 24, 24, 48, 72, 96]);
        run(&mut schedule, 10);
        assert_eq!(close(&mut schedule, 0, 12), [(Opened, 2, 12), (Closed, 0, 12)]);
        assert_eq!(run(&mut schedule, 47), []);
        assert_eq!(run(&mut schedule, 60), [(Opened, 3, 48), (Closed, 2, 50)]);
    }

    #[test]
    fn days_in_their_grace_close_first_and_open_days_are_not_opened_again() {
        let mut one = schedule(12, &[0, 24, 48, 72, 96]);
        run(&mut one, 30);
        assert_eq!(close(&mut one, 0, 30), [(Closed, 0, 30)]);
        assert_eq!(run(&mut one, 50), [(Opened, 2, 48)]);

        let mut both = schedule(12, &[0, 24, 48, 72, 96]);
        run(&mut both, 30);
        assert_eq!(close(&mut both, 1, 30), [(Opened, 2, 30), (Closed, 0, 30), (Closed, 1, 30)]);
        assert_eq!(run(&mut both, 72), [(Opened, 3, 72)]);
        assert_eq!(run(&mut both, 84), [(Closed, 2, 84)]);
    }

    #[test]
    fn what_is_due_comes_first() {
        let mut schedule = schedule(0, &[0, 24, 48, 72, 96]);
        let all = [(Opened, 0, 0), (Opened, 1, 24), (Closed, 0, 24), (Opened, 2, 30), (Closed, 1, 30)];
        assert_eq!(close(&mut schedule, 1, 30), all);
    }

    #[test]
    fn half_a_closing_is_finished_by_a_repeated_request_or_by_the_schedule() {
        let mut half = schedule(1, &[0, 24, 48, 72, 96]);
        run(&mut half, 10);
        let opened = half.close_by_hand(&id(), day(0), hour(12)).unwrap().opened.unwrap();
        observe(&mut half, std::slice::from_ref(&opened));
        assert_eq!(close(&mut half, 0, 13), [(Closed, 0, 13)]);

        let mut left = schedule(1, &[0, 24, 48, 72, 96]);
        run(&mut left, 10);
        observe(&mut left, &[opened]);
        assert_eq!(run(&mut left, 48), [(Closed, 0, 25), (Opened, 2, 48)]);
    }

    #[test]
    fn refusals_say_why() {
        let mut schedule = schedule(2, &[0, 24, 24, 48, 72]);
        let stranger = TenantId::new("z").unwrap();
        let error = schedule.close_by_hand(&stranger, day(0), hour(9)).unwrap_err().to_string();
        assert_eq!(error, "there is no tenant z");
        assert_eq!(refused(&schedule, 0, -1), "1970-01-01 of a is not open; no day is");
        run(&mut schedule, 10);
        assert_eq!(refused(&schedule, 2, 12), "1970-01-03 of a is not open; the newest open day is 1970-01-01");
        assert_eq!(refused(&schedule, 1, 12), "1970-01-02 of a is not open; the newest open day is 1970-01-01");
        assert_eq!(refused(&schedule, -1, 12), "1969-12-31 of a is not open; the newest open day is 1970-01-01");
        close(&mut schedule, 0, 12);
        let again = "1970-01-01 of a was closed by hand at 1970-01-01T12:00:00Z; days are never reopened";
        assert_eq!(refused(&schedule, 0, 13), again);
        let early = "1970-01-03 of a begins only at 1970-01-02T00:00:00Z; it can be closed from then on";
        assert_eq!(refused(&schedule, 2, 13), early);
        run(&mut schedule, 50);
        let regular = "1970-01-03 of a was closed at 1970-01-03T02:00:00Z; days are never reopened";
        assert_eq!(refused(&schedule, 2, 51), regular);
        assert_eq!(refused(&schedule, 0, 51), "1970-01-01 of a was closed; days are never reopened");
        assert!(refused(&schedule, 1, 51).starts_with("1970-01-02 of a is not open"));
        let last = "the day after 1970-01-04 of a is not published yet; try again in a moment";
        assert_eq!(refused(&schedule, 3, 51), last);
    }

    #[test]
    fn a_day_that_began_at_a_boundary_waits_for_its_opening_by_the_calendar() {
        // Day 1 does not exist.
        let mut schedule = bounded(2, &[0, 24, 24, 48, 72], vec![Boundary { date: day(0), at: hour(12) }]);
        run(&mut schedule, 10);
        close(&mut schedule, 0, 12);
        let early = "1970-01-03 of a has taken events since 1970-01-01T12:00:00Z, the boundary of the day before, but opens by the \
                     calendar only at 1970-01-02T00:00:00Z; it can be closed from then on";
        assert_eq!(refused(&schedule, 2, 13), early);
        assert_eq!(close(&mut schedule, 2, 24), [(Opened, 3, 24), (Closed, 2, 24)]);
    }
}
