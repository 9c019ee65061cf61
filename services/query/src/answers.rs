//! Finds the answer to one question: from the shard, or from a sealed report.

use async_nats::jetstream::stream::DirectGetErrorKind;
use daybook_contracts::ask::{
    Answer, AsOf, AskError, AskErrorCode, Asked, DAYS_VIEW, DayAccount, DaySelector, DayState, Days, POSITION_VIEW,
    Query, ShardQuestion,
};
use daybook_contracts::report::Report;
use daybook_domain::ids::{Name, Partition, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::append::stream_handle;
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::read_last_per_subject;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::time::Duration;

/// How long reading a tenant's reports may take.
const REPORTS_DEADLINE: Duration = Duration::from_secs(10);

/// The answer to the question on `tenant` and `view`, the tokens of its subject, in JSON.
///
/// # Errors
/// With a stable code, when there is no answer.
pub async fn answer(
    connection: &Connection,
    tenant: &str,
    view: &str,
    body: &[u8],
    timeout: Duration,
) -> Asked<Vec<u8>> {
    let tenant = TenantId::new(tenant).map_err(|error| bad_request(format!("the tenant {error}")))?;
    if view == DAYS_VIEW {
        return days(connection, tenant, timeout).await.map(|days| json(&days));
    }
    if view == POSITION_VIEW {
        let position = ask_shard::<Box<RawValue>>(connection, &tenant, &ShardQuestion::Position, timeout).await?;
        return Ok(position.get().as_bytes().to_vec());
    }
    let view = Name::new(view).map_err(|error| bad_request(format!("the view {error}")))?;
    let query: Query = match body {
        [] => Query::default(),
        body => {
            serde_json::from_slice(body).map_err(|error| bad_request(format!("the request cannot be read: {error}")))?
        }
    };
    let question = ShardQuestion::View { tenant: tenant.clone(), view: view.clone(), query: query.clone() };
    match (ask_shard::<Box<RawValue>>(connection, &tenant, &question, timeout).await, query.days) {
        (Ok(answer), _) => Ok(answer.get().as_bytes().to_vec()),
        (Err(error), DaySelector::Date(date)) if may_be_sealed(&error) => {
            match from_report(connection, &tenant, &view, date).await? {
                Some(answer) if query.at_least.is_none_or(|wanted| wanted <= answer.as_of.inbox) => Ok(json(&answer)),
                _ => Err(error),
            }
        }
        (Err(error), _) => Err(error),
    }
}

/// Whether a sealed report can help where the shard does not.
fn may_be_sealed(error: &AskError) -> bool {
    matches!(error.code, AskErrorCode::Unavailable | AskErrorCode::UnknownDay)
}

async fn ask_shard<T: DeserializeOwned>(
    connection: &Connection,
    tenant: &TenantId,
    question: &ShardQuestion,
    timeout: Duration,
) -> Asked<T> {
    let partition = Partition::of(tenant.as_str(), connection.partitions);
    let request = connection.client.request(connection.subjects.shard(partition), json(question).into());
    let unavailable = |why: &str| {
        AskError::new(AskErrorCode::Unavailable, format!("no shard answers for tenant {tenant}: {why}"))
            .hint("sealed days can be asked for by date".to_owned())
    };
    let reply = match tokio::time::timeout(timeout, request).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Err(unavailable(&error.to_string())),
        Err(_) => return Err(unavailable(&format!("nothing within {timeout:?}"))),
    };
    serde_json::from_slice::<Asked<T>>(&reply.payload)
        .map_err(|error| internal(format!("the shard's answer cannot be read: {error}")))?
}

/// The view's rows in the newest sealed report of the day.
async fn from_report(connection: &Connection, tenant: &TenantId, view: &Name, date: Date) -> Asked<Option<Answer>> {
    let Some(report) = newest_report(connection, tenant, date).await? else { return Ok(None) };
    let Some(rows) = report.views.get(view) else {
        return Err(AskError::new(AskErrorCode::UnknownView, format!("the report of {date} has no view {view}"))
            .hint(format!("it has {}", report.views.keys().map(Name::as_str).collect::<Vec<_>>().join(", "))));
    };
    Ok(Some(Answer {
        tenant: tenant.clone(),
        view: view.clone(),
        from: date,
        to: date,
        next: None,
        stale: false,
        feed: None,
        day: DayState::Closed,
        rows: rows.rows.clone(),
        total: rows.total,
        as_of: AsOf { log: report.log.through, inbox: report.log.inbox_through },
        freshness_ms: 0,
        coverage: report.coverage,
        definition: report.definitions.views.get(view).copied().unwrap_or(0),
        report: Some(report.version),
    }))
}

async fn newest_report(connection: &Connection, tenant: &TenantId, date: Date) -> Asked<Option<Report>> {
    let subjects = &connection.subjects;
    let failed =
        |error: String| AskError::new(AskErrorCode::Unavailable, format!("the reports cannot be read: {error}"));
    let stream =
        stream_handle(connection, &subjects.reports_stream()).await.map_err(|error| failed(error.to_string()))?;
    match stream.direct_get_last_for_subject(subjects.report(tenant, date)).await {
        Ok(message) => serde_json::from_slice(&message.payload)
            .map(Some)
            .map_err(|error| internal(format!("the report of {date} cannot be read: {error}"))),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The days that the shard keeps, and before them those of which only reports are left.
async fn days(connection: &Connection, tenant: TenantId, timeout: Duration) -> Asked<Days> {
    let question = ShardQuestion::Days { tenant: tenant.clone() };
    let live = ask_shard::<Days>(connection, &tenant, &question, timeout).await;
    let (mut days, kept_from) = match live {
        Ok(days) => {
            let first = days.days.first().map_or(Date::MAX, |day| day.date);
            (days, first)
        }
        Err(error) if error.code == AskErrorCode::Unavailable => {
            let days = Days {
                tenant: tenant.clone(),
                days: Vec::new(),
                as_of: AsOf { log: Default::default(), inbox: Default::default() },
            };
            (days, Date::MAX)
        }
        Err(error) => return Err(error),
    };
    let subjects = &connection.subjects;
    let reading = read_last_per_subject(connection, subjects.reports_stream(), subjects.reports_of(tenant.as_str()));
    let reports = tokio::time::timeout(REPORTS_DEADLINE, reading)
        .await
        .map_err(|_| AskError::new(AskErrorCode::Unavailable, "the reports cannot be read in time".to_owned()))?;
    let mut sealed: Vec<DayAccount> = reports
        .iter()
        .filter_map(|message| serde_json::from_slice::<Report>(&message.payload).ok())
        .filter(|report| report.date < kept_from)
        .map(|report| DayAccount {
            date: report.date,
            day: DayState::Closed,
            opens_at: Some(report.day.opens_at),
            closes_at: Some(report.day.closes_at),
            report: Some(report.version),
            account: report.dispositions,
        })
        .collect();
    sealed.sort_by_key(|day| day.date);
    sealed.append(&mut days.days);
    Ok(Days { days: sealed, ..days })
}

fn bad_request(message: String) -> AskError {
    AskError::new(AskErrorCode::BadRequest, message)
}

fn internal(message: String) -> AskError {
    AskError::new(AskErrorCode::Internal, message)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("answers are plain values")
}
