//! One version of a sealed report, byte for byte.

use super::document::Document;
use super::sealed::newest;
use super::subject::SubjectReader;
use crate::answers::Answers;
use crate::generations::Owner;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, Days, ShardQuestion};
use daybook_contracts::lists::{ReportEntry, ReportQuery};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a report waits for the shard to say whether a further version is to come: a report is there without a shard, too.
const PATIENCE: Duration = Duration::from_millis(500);

/// The version that is asked for, or the newest.
///
/// # Errors
/// [`AskErrorCode::UnknownDay`] when there is none; [`AskErrorCode::PastRetention`] when there was.
async fn report(answers: &Answers, tenant: &TenantId, query: &ReportQuery) -> Asked<Document> {
    let Some(date) = query.date else {
        let error = AskError::new(AskErrorCode::BadRequest, "a report is asked for by its business day");
        return Err(error.field("date").hint("name the day as in \"2024-03-01\""));
    };
    let reader = answers.lists.sealed.reader(tenant, date);
    let owner = answers.archive.owners.now(tenant).await?;
    let is_its_own = |document: &Document| owner.has(document.entry.generation);
    let first_look = reader.last_of_any_replica().await.and_then(|message| reader.read(&message, Document::read));
    let first_look = first_look.filter(is_its_own);
    let found = match (first_look, query.version) {
        (Some(document), None) => return Ok(document),
        (Some(document), Some(version)) if version <= document.entry.version => Some(document),
        // Only the leader can say that something is absent.
        _ => newest(&reader).await.filter(is_its_own),
    };
    let Some(newest) = found else { return Err(absent(answers, (tenant, owner), date).await) };
    match query.version {
        Some(version) if version != newest.entry.version => of_version(&reader, newest, version).await,
        _ => Ok(newest),
    }
}

/// The version that is asked for, and whether a further one is to come: of the newest, as far as the shard says so.
///
/// # Errors
/// Those of [`report`].
pub async fn report_and_prospect(
    answers: &Arc<Answers>,
    tenant: &TenantId,
    query: &ReportQuery,
) -> Asked<(Document, bool)> {
    // Older versions have been superseded already.
    let is_newest = query.version.is_none();
    let live = async { if is_newest { live_days(answers.clone(), tenant.clone()).await } else { None } };
    let (document, live) = tokio::join!(report(answers, tenant, query), live);
    let document = document?;
    let is_restating = live.is_some_and(|days| is_restating(&days, &document.entry));
    Ok((document, is_restating))
}

/// What a shard says of days, if it answers within [`PATIENCE`].
async fn live_days(answers: Arc<Answers>, tenant: TenantId) -> Option<Days> {
    // A question that is broken off counts as one without an answer, so it goes on when nobody waits for it any more.
    let asking = tokio::spawn(async move {
        let question = ShardQuestion::Days { tenant: tenant.clone() };
        answers.shards.ask::<Days>(&tenant, &question).await
    });
    timeout(PATIENCE, asking).await.ok()?.ok()?.ok()
}

/// Whether a further version of the report is to come, for late events have changed the day since.
fn is_restating(days: &Days, newest: &ReportEntry) -> bool {
    let day = days.days.iter().find(|day| day.date == newest.date);
    // A version may be made and not be written yet.
    day.is_some_and(|day| day.restating || day.report > Some(newest.version))
}

/// The error for a day without a report.
async fn absent(answers: &Answers, (tenant, owner): (&TenantId, Owner), date: Date) -> AskError {
    match answers.archive.deleted((tenant, owner), &[date]).await {
        Ok(Some(_)) => {
            let message = format!("the report of {date} is over its retention and was deleted");
            AskError::new(AskErrorCode::PastRetention, message).hint("`~reports` lists those that are kept")
        }
        Ok(None) => {
            let message = format!("there is no sealed report of {date} for {tenant}");
            AskError::new(AskErrorCode::UnknownDay, message)
                .field("date")
                .hint("`~days` lists the days; a report is sealed when its day closes")
        }
        Err(error) => error,
    }
}

/// An older version than the newest one, by bisection: versions of a day have growing sequences.
async fn of_version(reader: &SubjectReader<'_>, newest: Document, version: u32) -> Asked<Document> {
    let end = newest.sequence;
    let missing = |code, what: String| Err(AskError::new(code, what).field("version"));
    let (date, generation) = (newest.entry.date, newest.entry.generation);
    // Behind those of removed tenants of the id.
    let wanted = (generation, version);
    if version == 0 || version > newest.entry.version {
        let versions = newest.entry.version;
        return missing(AskErrorCode::UnknownDay, format!("{date} has no version {version}; the newest is {versions}"));
    }
    // The version is at or behind `low`, and before `high`.
    let (mut low, mut high) = (1, end);
    while low < high {
        let middle = low + (high - low) / 2;
        match first_report(reader, middle, high).await {
            None => high = middle,
            Some(document) if (document.entry.generation, document.entry.version) == wanted => return Ok(document),
            Some(document) if (document.entry.generation, document.entry.version) < wanted => {
                low = document.sequence + 1
            }
            Some(_) => high = middle,
        }
    }
    let message = format!("version {version} of {date} is over its retention and was deleted");
    missing(AskErrorCode::PastRetention, message)
}

/// The first report of the day at or after `from` and before `end`.
async fn first_report(reader: &SubjectReader<'_>, from: u64, end: u64) -> Option<Document> {
    let mut from = from;
    loop {
        let message = reader.next(from).await.filter(|message| message.sequence < end)?;
        if let Some(document) = reader.read(&message, Document::read) {
            return Some(document);
        }
        from = message.sequence + 1;
    }
}
