//! How a tenant's day stands. Pure.

use crate::questions::day::{Figures, figures};
use daybook_contracts::ask::{DayAccount, DayState, Days};
use daybook_domain::catalogue::Tenant;
use daybook_domain::time::Instant;
use std::time::Duration;

/// How much later than due a day may close before it is called overdue: day-manager writes its marker, and a shard applies it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a day stands; what needs somebody's eye first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It should have closed.
    Overdue,
    /// The shard is away.
    Unknown,
    /// Past its cut-off, or its report is being made.
    Closing,
    /// Late events changed it, and a further version will come.
    Restating,
    Open,
    Sealed,
    Final,
    Upcoming,
    /// The tenant has no day yet.
    None,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Unknown => "unknown",
            Self::Closing => "closing",
            Self::Restating => "restating",
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Final => "final",
            Self::Upcoming => "upcoming",
            Self::None => "no day yet",
        }
    }

    /// What the word means.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Overdue => "The day should have closed. Does day-manager run?",
            Self::Unknown => "No shard answers: the newest report is known, but not whether there is news.",
            Self::Closing => "The day is past its cut-off, or its report is being made.",
            Self::Restating => "Late events changed the day. A further version of its report will come.",
            Self::Open => "The day goes on.",
            Self::Sealed => "The report has all that is known. A late event can still bring a further version.",
            Self::Final => "Nothing can change the figures any more.",
            Self::Upcoming => "The day has not begun.",
            Self::None => "The tenant has no business day yet.",
        }
    }
}

/// How one day stands at `now`.
pub(super) fn of_day(day: &DayAccount, days: &Days, tenant: &Tenant, now: Instant) -> State {
    match figures(day, days.as_of) {
        Figures::Upcoming => State::Upcoming,
        Figures::Open => match day.closes_at.filter(|_| tenant.is_by_system_clock()) {
            // A named clock stands still until somebody moves it: nothing is overdue by it.
            Some(closes_at) if now >= closes_at.after(Duration::from_millis(tenant.grace_ms)).after(PATIENCE) => {
                State::Overdue
            }
            Some(closes_at) if now >= closes_at => State::Closing,
            _ => State::Open,
        },
        Figures::Closing => State::Closing,
        Figures::Restating => State::Restating,
        Figures::Sealed => State::Sealed,
        Figures::Final => State::Final,
        Figures::Unknown => State::Unknown,
    }
}

/// The day that people call today: the newest open one, else the newest that closed.
pub(super) fn today(days: &Days) -> Option<&DayAccount> {
    let newest = |state: DayState| days.days.iter().rev().find(move |day| day.day == state);
    newest(DayState::Open).or_else(|| newest(DayState::Closed))
}

/// The newest day with a report.
pub(super) fn newest_report(days: &Days) -> Option<&DayAccount> {
    days.days.iter().rev().find(|day| day.report.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::AsOf;
    use daybook_contracts::report::Account;
    use daybook_domain::ids::{InboxSeq, LogSeq};

    fn tenant(clock: &str) -> Tenant {
        let json = format!(r#"{{"id":"T","calendar":[],"grace_ms":60000,"first_day":"2024-03-01","clock":"{clock}"}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn day(date: &str, state: DayState, report: Option<u32>) -> DayAccount {
        DayAccount {
            date: date.parse().unwrap(),
            day: state,
            opens_at: Some(format!("{date}T00:00:00Z").parse().unwrap()),
            closes_at: Some(format!("{date}T23:00:00Z").parse().unwrap()),
            report,
            account: Account::default(),
            as_reported: false,
            restating: false,
        }
    }

    fn days(days: Vec<DayAccount>) -> Days {
        let as_of = AsOf { log: LogSeq(1), inbox: InboxSeq(1) };
        Days { tenant: "T".parse().unwrap(), days, as_of, next: None }
    }

    #[test]
    fn a_day_is_overdue_when_grace_and_patience_are_over() {
        let all = days(vec![day("2024-03-01", DayState::Open, None)]);
        let at = |time: &str, clock: &str| {
            of_day(&all.days[0], &all, &tenant(clock), format!("2024-03-01T{time}Z").parse().unwrap())
        };
        assert_eq!(at("22:59:59", "system"), State::Open);
        assert_eq!(at("23:00:00", "system"), State::Closing);
        assert_eq!(at("23:01:04", "system"), State::Closing);
        assert_eq!(at("23:01:05", "system"), State::Overdue);
        assert_eq!(at("23:59:59", "flights"), State::Open);
    }

    #[test]
    fn today_is_the_newest_open_day_else_the_newest_closed() {
        use DayState::{Closed, Open, Upcoming};
        let date = |all: &Days| today(all).map(|day| day.date.to_string());
        let both = days(vec![
            day("2024-03-01", Closed, Some(2)),
            day("2024-03-02", Open, None),
            day("2024-03-03", Upcoming, None),
        ]);
        assert_eq!(date(&both).as_deref(), Some("2024-03-02"));
        assert_eq!(newest_report(&both).and_then(|day| day.report), Some(2));
        assert_eq!(date(&days(vec![day("2024-03-01", Closed, None)])).as_deref(), Some("2024-03-01"));
        assert_eq!(date(&days(vec![day("2024-03-03", Upcoming, None)])), None);
    }
}
