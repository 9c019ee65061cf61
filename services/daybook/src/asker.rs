//! Requests of commands to the query service. They need no more than a client of one tenant has: requests on
//! `daybook.query.<tenant>.<view>`, and no JetStream.

use crate::sealed::Sealed;
use async_nats::client::RequestErrorKind;
use async_nats::service::NATS_SERVICE_ERROR_CODE;
use async_nats::{Client, Message, Request, Subscriber};
use bytes::Bytes;
use daybook_contracts::alert::Alert;
use daybook_contracts::ask::{Answer, AskError, AskErrorCode, Asked, DAYS_VIEW, Days, Query};
use daybook_contracts::lists::{
    ALERTS_VIEW, AlertList, AlertsQuery, DatesQuery, MAX_LIST_ROWS, REJECTS_VIEW, REPORT_VIEW, REPORTS_VIEW,
    RejectList, RejectsQuery, ReportEntry, ReportList, ReportQuery, VIEWS_VIEW, ViewList,
};
use daybook_contracts::reject::Reject;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use daybook_runtime::connection::{BrokerOptions, Connection, connect};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for a reply. The query service answers or refuses most requests within eight seconds.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// After which time without a reply a copy of the request is sent. Most replies come within milliseconds.
const COPY_AFTER: Duration = Duration::from_secs(1);

/// The newest alerts of a tenant.
pub struct NewestAlerts {
    /// Oldest first.
    pub alerts: Vec<Alert>,
    pub has_older: bool,
    /// The cursor of those that come later.
    pub newer: String,
}

/// A client of the query service.
#[derive(Clone)]
pub struct Asker {
    client: Client,
    subjects: Subjects,
}

impl Asker {
    /// Connects, and asks nothing yet.
    ///
    /// # Errors
    /// No server answers, or it refuses the user.
    pub async fn connect(options: &BrokerOptions) -> anyhow::Result<Self> {
        Ok(Self::new(&connect(options, "daybook-cli").await?))
    }

    pub fn new(connection: &Connection) -> Self {
        Self { client: connection.client.clone(), subjects: connection.subjects.clone() }
    }

    /// The figures of a view.
    ///
    /// # Errors
    /// Those of the query service.
    pub async fn query(&self, tenant: &TenantId, view: &str, query: &Query) -> Asked<Answer> {
        self.ask(tenant, view, query).await
    }

    /// Listens to the rows of a view that change.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn live(&self, tenant: &TenantId, view: &str) -> anyhow::Result<Subscriber> {
        Ok(self.client.subscribe(self.subjects.live(tenant.as_str(), view)).await?)
    }

    /// The views that the tenant may ask for.
    ///
    /// # Errors
    /// Those of the query service.
    pub async fn views(&self, tenant: &TenantId) -> Asked<ViewList> {
        self.ask(tenant, VIEWS_VIEW, &()).await
    }

    /// All days of a tenant, with their accounts.
    ///
    /// # Errors
    /// Those of the query service.
    pub async fn days(&self, tenant: &TenantId) -> Asked<Days> {
        let page = |query: DatesQuery| async move { self.ask::<Days>(tenant, DAYS_VIEW, &query).await };
        let mut all = page(DatesQuery::default()).await?;
        while let Some(cursor) = all.next.take() {
            let mut older = page(DatesQuery { cursor: Some(cursor), ..DatesQuery::default() }).await?;
            older.days.append(&mut all.days);
            (all.days, all.next) = (older.days, older.next);
        }
        Ok(all)
    }

    /// The newest versions of the tenant's reports from one day to another, in order of their dates.
    ///
    /// # Errors
    /// Those of the query service.
    pub async fn reports(&self, tenant: &TenantId, from: Date, to: Date) -> Asked<Vec<ReportEntry>> {
        let mut query = DatesQuery { from: Some(from), to: Some(to), limit: Some(MAX_LIST_ROWS), cursor: None };
        let mut newest_first = Vec::new();
        loop {
            let page: ReportList = self.ask(tenant, REPORTS_VIEW, &query).await?;
            newest_first.extend(page.reports.into_iter().rev());
            query.cursor = page.next;
            if query.cursor.is_none() {
                newest_first.reverse();
                return Ok(newest_first);
            }
        }
    }

    /// One version of a report, the newest when none is named. Its bytes have the hash that comes with them.
    ///
    /// # Errors
    /// Those of the query service; [`AskErrorCode::Internal`] when the bytes do not have the hash.
    pub async fn report(&self, tenant: &TenantId, date: Date, version: Option<u32>) -> Asked<Sealed> {
        let reply = self.reply(tenant, REPORT_VIEW, &ReportQuery { date: Some(date), version }).await?;
        Sealed::read(reply.headers.as_ref(), reply.payload)
            .map_err(|error| internal(format!("the report of {date} is of no use: {error}")))
    }

    /// The newest `count` rejects of a tenant, oldest first, and whether there are older ones.
    ///
    /// # Errors
    /// Those of the query service.
    pub async fn rejects(&self, tenant: &TenantId, count: usize) -> Asked<(Vec<Reject>, bool)> {
        let (mut newest_first, mut cursor) = (Vec::new(), None);
        loop {
            let limit = u32::try_from(count - newest_first.len()).unwrap_or(u32::MAX).min(MAX_LIST_ROWS);
            let query = RejectsQuery { limit: Some(limit.max(1)), cursor };
            let page: RejectList = self.ask(tenant, REJECTS_VIEW, &query).await?;
            newest_first.extend(page.rejects.into_iter().rev());
            cursor = page.next;
            if cursor.is_none() || newest_first.len() >= count {
                let has_older = cursor.is_some() || newest_first.len() > count;
                newest_first.truncate(count);
                newest_first.reverse();
                return Ok((newest_first, has_older));
            }
        }
    }

    /// The newest `count` alerts of a tenant.
    ///
    /// # Errors
    /// Those of the query service.
    pub async fn alerts(&self, tenant: &TenantId, count: usize) -> Asked<NewestAlerts> {
        let (mut newest_first, mut cursor, mut newer) = (Vec::new(), None, None);
        loop {
            let limit = u32::try_from(count - newest_first.len()).unwrap_or(u32::MAX).min(MAX_LIST_ROWS);
            let query = AlertsQuery { limit: Some(limit.max(1)), cursor };
            let page: AlertList = self.ask(tenant, ALERTS_VIEW, &query).await?;
            newest_first.extend(page.alerts.into_iter().rev());
            let newer = newer.get_or_insert(page.newer).clone();
            cursor = page.next;
            if cursor.is_none() || newest_first.len() >= count {
                let has_older = cursor.is_some() || newest_first.len() > count;
                newest_first.truncate(count);
                newest_first.reverse();
                return Ok(NewestAlerts { alerts: newest_first, has_older, newer });
            }
        }
    }

    /// The alerts behind a place, oldest first: as many as fit a page.
    ///
    /// # Errors
    /// Those of the query service.
    pub async fn alerts_behind(&self, tenant: &TenantId, place: &str) -> Asked<AlertList> {
        let query = AlertsQuery { limit: Some(MAX_LIST_ROWS), cursor: Some(place.to_owned()) };
        self.ask(tenant, ALERTS_VIEW, &query).await
    }

    async fn ask<T: DeserializeOwned>(&self, tenant: &TenantId, view: &str, body: &impl Serialize) -> Asked<T> {
        let reply = self.reply(tenant, view, body).await?;
        serde_json::from_slice(&reply.payload).map_err(unreadable)
    }

    /// The reply to a request, if it is no refusal.
    async fn reply(&self, tenant: &TenantId, view: &str, body: &impl Serialize) -> Asked<Message> {
        let body = serde_json::to_vec(body).map_err(|error| {
            AskError::new(AskErrorCode::BadRequest, format!("the request cannot be written: {error}"))
        })?;
        let subject = self.subjects.query(tenant.as_str(), view);
        let reply = self.first_reply(&subject, body.into()).await.map_err(|why| unanswered(&subject, tenant, why))?;
        let refused = reply.headers.as_ref().is_some_and(|headers| headers.get(NATS_SERVICE_ERROR_CODE).is_some());
        if refused {
            return Err(serde_json::from_slice(&reply.payload).map_err(unreadable)?);
        }
        Ok(reply)
    }

    /// Sends a request, and a copy of it whenever [`COPY_AFTER`] is over without a reply: the broker also gives its share of them to
    /// a query process that stands still. The first reply counts.
    async fn first_reply(&self, subject: &str, body: Bytes) -> Result<Message, RequestErrorKind> {
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let mut due = tokio::time::interval(COPY_AFTER);
        let mut copies = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = due.tick() => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let request = Request::new().payload(body.clone()).timeout(Some(left));
                    copies.push(self.client.send_request(subject.to_owned(), request));
                }
                Some(reply) = copies.next() => match reply {
                    Ok(reply) => return Ok(reply),
                    Err(error) if copies.is_empty() => return Err(error.kind()),
                    Err(_) => {}
                },
            }
        }
    }
}

/// The error for a request without a reply.
fn unanswered(subject: &str, tenant: &TenantId, why: RequestErrorKind) -> AskError {
    let (message, hint) = match why {
        RequestErrorKind::NoResponders => (
            format!("nobody answers {subject}"),
            format!("is the query service running, and are these credentials for tenant {tenant}?"),
        ),
        RequestErrorKind::TimedOut => (
            format!("no answer on {subject} within {REQUEST_DEADLINE:?}"),
            format!(
                "the broker drops requests that a user may not make, without a word: are these credentials for tenant \
                 {tenant}? If so, ask again"
            ),
        ),
        other => (format!("no answer on {subject}: {other}"), "is the broker there?".to_owned()),
    };
    AskError::new(AskErrorCode::Unavailable, message).hint(hint)
}

fn unreadable(error: serde_json::Error) -> AskError {
    internal(format!("unreadable answer: {error}; the query service may be of another version"))
}

fn internal(message: String) -> AskError {
    AskError::new(AskErrorCode::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_with_what_it_may_mean() {
        let acme = TenantId::new("acme").unwrap();
        for kind in [RequestErrorKind::NoResponders, RequestErrorKind::TimedOut] {
            let error = unanswered("daybook.query.acme.sales", &acme, kind);
            assert_eq!(error.code, AskErrorCode::Unavailable);
            assert!(error.message.contains("daybook.query.acme.sales"), "{error}");
            assert!(error.hint.unwrap().contains("credentials for tenant acme"));
        }
    }
}
