//! One day: `GET /v1/tenants/{tenant}/days/{date}`, with a word on how far its figures can be relied on.

use crate::http::{Call, Reply};
use crate::problem::{Code, Problem};
use axum::http::StatusCode;
use daybook_contracts::ask::{AsOf, DAYS_VIEW, DayAccount, DayState, Days};
use daybook_contracts::lists::DatesQuery;
use daybook_domain::ids::TenantId;
use serde::Serialize;

/// How far the figures of a day can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Figures {
    /// The day has not begun.
    Upcoming,
    /// The day goes on.
    Open,
    /// The day is closed, and its first report is being made.
    Closing,
    /// Late events have changed the day, and a further version of its report will come.
    Restating,
    /// The newest report has all that is known. A late event can still bring a further version.
    Sealed,
    /// Nothing can change the figures any more.
    Final,
    /// The shard is away: the newest report is known, but not whether there is news.
    Unknown,
}

/// The answer.
#[derive(Debug, Serialize)]
struct OneDay {
    tenant: TenantId,
    figures: Figures,
    #[serde(flatten)]
    day: DayAccount,
    as_of: AsOf,
}

/// Judges a day. `as_of` is that of the answer: 0 while no shard answers.
pub(crate) fn figures(day: &DayAccount, as_of: AsOf) -> Figures {
    let is_away = as_of.log.0 == 0 && as_of.inbox.0 == 0 && day.as_reported;
    match day.day {
        DayState::Upcoming => Figures::Upcoming,
        DayState::Open => Figures::Open,
        DayState::Closed if is_away => Figures::Unknown,
        DayState::Closed if day.restating => Figures::Restating,
        DayState::Closed if day.report.is_none() => Figures::Closing,
        // The shard keeps a day for as long as it takes corrections.
        DayState::Closed if day.as_reported => Figures::Final,
        DayState::Closed => Figures::Sealed,
    }
}

/// Answers with the day.
///
/// # Errors
/// Those of the query service; [`Code::UnknownDay`].
pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let (tenant, date) = (call.tenant()?, call.date()?);
    let question = DatesQuery { from: Some(date), to: Some(date), limit: Some(1), cursor: None };
    let days: Days = call.state.asker.read(&tenant, DAYS_VIEW, &question).await?;
    let Some(day) = days.days.into_iter().find(|day| day.date == date) else {
        return Err(Problem::new(Code::UnknownDay, format!("{tenant} has no day {date}, or none yet")).field("date"));
    };
    let one = OneDay { tenant, figures: figures(&day, days.as_of), day, as_of: days.as_of };
    let body = serde_json::to_string(&one).expect("an answer is plain values");
    Ok(Reply::json(StatusCode::OK, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::report::Account;
    use daybook_domain::ids::{InboxSeq, LogSeq};

    #[test]
    fn the_word_says_how_far_figures_can_be_relied_on() {
        let here = AsOf { log: LogSeq(7), inbox: InboxSeq(9) };
        let away = AsOf { log: LogSeq(0), inbox: InboxSeq(0) };
        let day = |day: DayState, report: Option<u32>, as_reported: bool, restating: bool| DayAccount {
            date: "2024-03-01".parse().unwrap(),
            day,
            opens_at: None,
            closes_at: None,
            report,
            account: Account::default(),
            as_reported,
            restating,
        };
        use DayState::{Closed, Open, Upcoming};
        for (day, as_of, word) in [
            (day(Upcoming, None, false, false), here, Figures::Upcoming),
            (day(Open, None, false, false), here, Figures::Open),
            (day(Closed, None, false, false), here, Figures::Closing),
            (day(Closed, Some(1), false, false), here, Figures::Sealed),
            (day(Closed, Some(1), false, true), here, Figures::Restating),
            (day(Closed, Some(2), true, false), here, Figures::Final),
            (day(Closed, Some(2), true, false), away, Figures::Unknown),
        ] {
            assert_eq!(figures(&day, as_of), word, "{day:?}");
        }
    }
}
