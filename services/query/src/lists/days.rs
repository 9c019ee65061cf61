//! A tenant's days with the accounts of their events: the days that the shard keeps, and older days, which only have
//! their reports.

use super::dates::Window;
use super::sealed::Page;
use crate::answers::Answers;
use daybook_contracts::ask::{AsOf, AskErrorCode, Asked, DAYS_VIEW, DayAccount, DayState, Days, ShardQuestion};
use daybook_contracts::lists::{DatesQuery, ReportEntry};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use tokio::time::Instant;

/// One page of the days. `asked_at` is when the request came.
///
/// # Errors
/// A wrong request; the errors of the shard, except that it is away; those of [`Lists::in_turn`].
///
/// [`Lists::in_turn`]: super::Lists::in_turn
pub async fn days(answers: &Answers, tenant: &TenantId, query: &DatesQuery, asked_at: Instant) -> Asked<Days> {
    let window = Window::new(tenant, DAYS_VIEW, query)?;
    let question = ShardQuestion::Days { tenant: tenant.clone() };
    let live = match answers.shards.ask::<Days>(tenant, &question).await {
        Ok(days) => days,
        Err(error) if error.code == AskErrorCode::Unavailable => {
            let as_of = AsOf { log: Default::default(), inbox: Default::default() };
            Days { tenant: tenant.clone(), days: Vec::new(), as_of, next: None }
        }
        Err(error) => return Err(error),
    };
    let kept_from = live.days.first().map(|day| day.date);
    let (mut rows, mut next) = live_page(live.days, &window);
    if next.is_none() {
        let older = kept_from.map_or_else(|| window.clone(), |first| window.before(first));
        // A page that is full already asks for no row, but whether one is left.
        let (lists, limit) = (&answers.lists, window.limit - rows.len());
        let reading = async {
            let owner = answers.archive.owners.now(tenant).await?;
            Ok(lists.sealed.page((tenant, owner), &older, limit, asked_at).await)
        };
        let Page { entries, next: left } = lists.in_turn(tenant, reading).await?;
        rows.extend(entries.iter().map(|entry| as_reported(entry)));
        next = left;
    }
    rows.reverse();
    Ok(Days { tenant: tenant.clone(), days: rows, as_of: live.as_of, next: next.map(|date| window.cursor(date)) })
}

/// The days of the window that the shard keeps, the newest first, and the newest of those that are left.
fn live_page(days: Vec<DayAccount>, window: &Window) -> (Vec<DayAccount>, Option<Date>) {
    let Some(dates) = window.dates() else { return (Vec::new(), None) };
    let mut days: Vec<DayAccount> = days.into_iter().rev().filter(|day| dates.contains(&day.date)).collect();
    let next = days.get(window.limit).map(|day| day.date);
    days.truncate(window.limit);
    (days, next)
}

/// A day as its report has it.
fn as_reported(entry: &ReportEntry) -> DayAccount {
    DayAccount {
        date: entry.date,
        day: DayState::Closed,
        opens_at: Some(entry.day.opens_at),
        closes_at: Some(entry.day.closes_at),
        report: Some(entry.version),
        account: entry.dispositions,
        as_reported: true,
        restating: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::report::Account;

    fn day(date: &str) -> DayAccount {
        DayAccount {
            date: date.parse().unwrap(),
            day: DayState::Open,
            opens_at: None,
            closes_at: None,
            report: None,
            account: Account::default(),
            as_reported: false,
            restating: false,
        }
    }

    #[test]
    fn the_days_of_a_shard_are_cut_into_pages_too() {
        let shown = |query: &DatesQuery| {
            let window = Window::new(&TenantId::new("acme").unwrap(), DAYS_VIEW, query).unwrap();
            let (days, next) = live_page(["2024-03-01", "2024-03-02", "2024-03-03"].map(day).into(), &window);
            let dates: Vec<String> = days.iter().map(|day| day.date.to_string()).collect();
            (dates.join(" "), next.map(|date| date.to_string()))
        };
        let all = DatesQuery::default();
        assert_eq!(shown(&all), ("2024-03-03 2024-03-02 2024-03-01".to_owned(), None));
        let two = DatesQuery { limit: Some(2), ..all.clone() };
        assert_eq!(shown(&two), ("2024-03-03 2024-03-02".to_owned(), Some("2024-03-01".to_owned())));
        let early = DatesQuery { to: Some("2024-03-02".parse().unwrap()), limit: Some(2), ..all };
        assert_eq!(shown(&early), ("2024-03-02 2024-03-01".to_owned(), None));
    }
}
