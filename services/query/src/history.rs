//! What is read of a tenant as a whole: the accounts of its sealed days, and which days have closed. That takes a consumer
//! on the broker and a while, so those who ask at the same time share a reading, and few are under way at once. A reading
//! reaches as far as the stream's leader did when it began, whichever replica the consumer is on: from a day that is missing
//! here it is concluded that it never was.

use crate::flight::{Flights, Part};
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, DayAccount, DayState};
use daybook_contracts::report::Account;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::ids::TenantId;
use daybook_domain::time::{Date, Instant};
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::{read_all, read_newest_written};
use daybook_runtime::written::{self, NotWritten};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Readings under way at once; further ones wait.
const MAX_READINGS: usize = 4;
/// How long an asker waits for a reading. It is not broken off then, for it takes its consumer away at its end.
const READING_DEADLINE: Duration = Duration::from_secs(10);
/// How often something is read for one asker: the first time it may have been under way when the asker came.
const MAX_FLIGHTS: u32 = 2;

/// A day that has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub date: Date,
    /// When the broker stored that.
    pub stored_at: Instant,
}

/// What a report says of its day; its figures are passed over.
#[derive(Deserialize)]
struct Head {
    date: Date,
    day: BusinessDay,
    version: u32,
    dispositions: Account,
}

impl From<Head> for DayAccount {
    fn from(head: Head) -> Self {
        Self {
            date: head.date,
            day: DayState::Closed,
            opens_at: Some(head.day.opens_at),
            closes_at: Some(head.day.closes_at),
            report: Some(head.version),
            account: head.dispositions,
            as_reported: true,
        }
    }
}

/// Readings under way, by tenant.
pub struct History {
    connection: Connection,
    room: Arc<Semaphore>,
    sealed: Flights<Arc<Vec<DayAccount>>>,
    closed: Flights<Arc<Vec<Closed>>>,
}

impl History {
    pub fn new(connection: Connection) -> Self {
        let room = Arc::new(Semaphore::new(MAX_READINGS));
        Self { connection, room, sealed: Flights::default(), closed: Flights::default() }
    }

    /// The sealed days of the tenant whose reports are there, by date, as their newest versions have them.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when they cannot be read in time.
    pub async fn sealed(&self, tenant: &TenantId) -> Asked<Arc<Vec<DayAccount>>> {
        let subjects = &self.connection.subjects;
        let begin = || {
            let (connection, room) = (self.connection.clone(), self.room.clone());
            let (stream, filter) = (subjects.reports_stream(), subjects.reports_of(tenant.as_str()));
            async move {
                let _permit = room.acquire_owned().await;
                // One that a newer version wrote is left out.
                let heads = read_newest_written(&connection, stream, filter, |message| {
                    match written::report::<Head>(&connection.subjects, message) {
                        Err(NotWritten::Unreadable(_)) => Ok(None),
                        read => read.map(Some),
                    }
                });
                let heads = heads.await.unwrap_or_default().into_iter().filter_map(|(_, newest)| newest.found?.value);
                let mut days: Vec<DayAccount> = heads.map(DayAccount::from).collect();
                days.sort_by_key(|day| day.date);
                Arc::new(days)
            }
        };
        read("the reports", &self.sealed, tenant, begin).await
    }

    /// The days of the tenant that have closed, in the order in which they did.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when they cannot be read in time.
    pub async fn closed(&self, tenant: &TenantId) -> Asked<Arc<Vec<Closed>>> {
        let subjects = &self.connection.subjects;
        let begin = || {
            let (connection, room) = (self.connection.clone(), self.room.clone());
            let (stream, filter) = (subjects.days_stream(), subjects.day_closed(tenant.as_str()));
            async move {
                let _permit = room.acquire_owned().await;
                let markers = read_all(&connection, stream, filter, 1).await;
                let closed = markers.iter().filter_map(|message| {
                    let marker = written::marker(&connection.subjects, message.into()).ok()?;
                    Some(Closed { date: marker.day.date, stored_at: message.stored_at })
                });
                Arc::new(closed.collect())
            }
        };
        read("the days that have closed", &self.closed, tenant, begin).await
    }
}

/// What is read from now on, or after the asker came.
async fn read<T, F>(what: &str, flights: &Flights<T>, tenant: &TenantId, begin: impl Fn() -> F) -> Asked<T>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let reading = async {
        for flight in 1.. {
            let (outcome, part) = flights.share(tenant.to_string(), &begin).await;
            if part == Part::Asked || flight == MAX_FLIGHTS {
                return outcome;
            }
        }
        unreachable!("the last flight has an outcome")
    };
    match tokio::time::timeout(READING_DEADLINE, reading).await {
        Ok(Some(outcome)) => Ok(outcome),
        Ok(None) => Err(AskError::new(AskErrorCode::Internal, format!("{what} could not be read; the log says more"))),
        Err(_) => Err(AskError::new(AskErrorCode::Unavailable, format!("{what} cannot be read in time"))),
    }
}
