//! The reserved views: a tenant's days, and how far its figures reach.

use crate::answers::Answers;
use daybook_contracts::ask::{AsOf, AskErrorCode, Asked, DayAccount, DayState, Days, Position, ShardQuestion};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;

/// The days that the shard keeps, and before them those of which only reports are left.
///
/// # Errors
/// Those of the shard but for its being away, and when the reports cannot be read in time.
pub async fn days(answers: &Answers, tenant: TenantId) -> Asked<Days> {
    let question = ShardQuestion::Days { tenant: tenant.clone() };
    let (mut live, kept_from) = match answers.shards.ask::<Days>(&tenant, &question).await {
        Ok(days) => {
            let first = days.days.first().map_or(Date::MAX, |day| day.date);
            (days, first)
        }
        Err(error) if error.code == AskErrorCode::Unavailable => {
            let as_of = AsOf { log: Default::default(), inbox: Default::default() };
            (Days { tenant: tenant.clone(), days: Vec::new(), as_of }, Date::MAX)
        }
        Err(error) => return Err(error),
    };
    let reports = answers.archive.reports(&tenant).await?.into_iter();
    let mut days: Vec<DayAccount> = reports
        .filter(|report| report.date < kept_from)
        .map(|report| DayAccount {
            date: report.date,
            day: DayState::Closed,
            opens_at: Some(report.day.opens_at),
            closes_at: Some(report.day.closes_at),
            report: Some(report.version),
            account: report.dispositions,
            as_reported: true,
        })
        .collect();
    days.append(&mut live.days);
    Ok(Days { days, ..live })
}

/// How far the figures of the tenant's partition reach.
///
/// # Errors
/// Those of the shard.
pub async fn position(answers: &Answers, tenant: &TenantId) -> Asked<Position> {
    answers.shards.ask(tenant, &ShardQuestion::Position).await
}
