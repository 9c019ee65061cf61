//! Requests to the query service, as any client of a tenant makes them.

use crate::problem::{Code, Problem};
use async_nats::client::RequestErrorKind;
use async_nats::service::NATS_SERVICE_ERROR_CODE;
use async_nats::{Client, Message, Request};
use bytes::Bytes;
use daybook_contracts::ask::AskError;
use daybook_contracts::lists::{VIEWS_VIEW, ViewEntry, ViewList};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use daybook_runtime::backoff::Backoff;
use daybook_runtime::connection::Connection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for a reply. The query service answers or refuses most requests within eight seconds.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a question waits here for figures that do not reach its `at_least` yet.
const NOT_YET_PATIENCE: Duration = Duration::from_secs(2);
/// Pauses before such a question is asked again.
const NOT_YET_PAUSES: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(250));

/// Asks the query service.
#[derive(Clone)]
pub(crate) struct Asker {
    client: Client,
    subjects: Subjects,
}

impl Asker {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self { client: connection.client.clone(), subjects: connection.subjects.clone() }
    }

    /// The reply to a question about a view, or about a reserved one such as `~days`.
    ///
    /// # Errors
    /// Those of the query service; [`Code::Unavailable`] when it is away.
    pub(crate) async fn ask(&self, tenant: &TenantId, view: &str, body: Bytes) -> Result<Message, Problem> {
        let subject = self.subjects.query(tenant.as_str(), view);
        let request = Request::new().payload(body).timeout(Some(REQUEST_DEADLINE));
        let reply = match self.client.send_request(subject, request).await {
            Ok(reply) => reply,
            Err(error) => return Err(silence(error.kind())),
        };
        let is_error = reply.headers.as_ref().is_some_and(|headers| headers.get(NATS_SERVICE_ERROR_CODE).is_some());
        if !is_error {
            return Ok(reply);
        }
        Err(decode::<AskError>(&reply.payload)?.into())
    }

    /// The answer to a question as a value.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        view: &str,
        question: &impl Serialize,
    ) -> Result<T, Problem> {
        let body = serde_json::to_vec(question).expect("a question is plain values");
        decode(&self.ask(tenant, view, body.into()).await?.payload)
    }

    /// The views that the tenant can ask for.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) async fn views(&self, tenant: &TenantId) -> Result<Vec<ViewEntry>, Problem> {
        let list: ViewList = self.read(tenant, VIEWS_VIEW, &serde_json::Map::new()).await?;
        Ok(list.views)
    }

    /// As [`ask`](Self::ask); waits up to two seconds for figures that are on their way.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) async fn ask_patiently(&self, tenant: &TenantId, view: &str, body: Bytes) -> Result<Message, Problem> {
        let deadline = Instant::now() + NOT_YET_PATIENCE;
        let mut backoff = NOT_YET_PAUSES;
        loop {
            let answered = self.ask(tenant, view, body.clone()).await;
            if !matches!(&answered, Err(problem) if problem.code == Code::NotYet) {
                return answered;
            }
            let pause = backoff.next_pause();
            if Instant::now() + pause >= deadline {
                return answered;
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// An answer of the query service, or a part of one, as a value.
///
/// # Errors
/// [`Code::Internal`] when it has another form.
pub(crate) fn decode<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(answer).map_err(|error| {
        Problem::new(Code::Internal, format!("an answer of the query service cannot be read: {error}"))
    })
}

fn silence(why: RequestErrorKind) -> Problem {
    let detail = match why {
        RequestErrorKind::NoResponders => "no query service runs",
        RequestErrorKind::TimedOut => "the query service did not answer in time",
        _ => "the broker cannot be reached",
    };
    Problem::new(Code::Unavailable, detail).hint("ask again; questions change nothing")
}
