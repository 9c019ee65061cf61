//! The closed days of a tenant. The first reading takes a consumer on the broker and a while, so requests at the same time
//! share it, and few are under way at once. Closed days are kept between requests, because markers are never dropped; new
//! markers are asked of the stream's leader one by one. A reading reaches as far as the leader did when it began, so a day
//! that is missing here never closed.

use crate::cache::Cache;
use crate::flight::{FlightRole, Flights};
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::ids::TenantId;
use daybook_domain::time::{Date, Instant};
use daybook_runtime::append::next_message;
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::{Delivered, read_all};
use daybook_runtime::written::{self, Message};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Readings under way at once; further ones wait.
const MAX_READINGS: usize = 4;
/// How long an asker waits for a reading. It is not broken off then, for it takes its consumer away at its end.
const READING_DEADLINE: Duration = Duration::from_secs(10);
/// How often something is read for one asker: the first time it may have been under way when the asker came.
const MAX_FLIGHTS: u32 = 2;
/// New markers since the last reading that are read one by one. With more, all are read again.
const MAX_NEW: usize = 64;
/// Most tenants whose closed days are kept.
const MAX_KEPT_TENANTS: usize = 10_000;
/// Most bytes in memory of the closed days that are kept.
const MAX_KEPT_BYTES: usize = 32 << 20;

/// A day that has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub date: Date,
    /// When the broker stored that.
    pub stored_at: Instant,
    /// That of the tenant whose day it was.
    pub generation: u32,
}

/// The closed days of a tenant, as of one reading.
#[derive(Clone, Debug, Default)]
struct Read {
    days: Arc<Vec<Closed>>,
    /// The sequence in the stream up to which all markers of the tenant are included.
    through: u64,
}

/// The closed days of tenants, and readings of them that are under way.
pub struct History {
    connection: Connection,
    room: Arc<Semaphore>,
    closed: Flights<Read>,
    kept: Arc<Mutex<Cache<TenantId, Read>>>,
}

impl History {
    pub fn new(connection: Connection) -> Self {
        let room = Arc::new(Semaphore::new(MAX_READINGS));
        let kept = Arc::new(Mutex::new(Cache::new(MAX_KEPT_TENANTS, MAX_KEPT_BYTES)));
        Self { connection, room, closed: Flights::default(), kept }
    }

    /// The days of the tenant that have closed, in the order in which they did.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when they cannot be read in time.
    pub async fn closed(&self, tenant: &TenantId) -> Asked<Arc<Vec<Closed>>> {
        let begin = || {
            let (connection, room, kept) = (self.connection.clone(), self.room.clone(), self.kept.clone());
            let tenant = tenant.clone();
            async move {
                let _permit = room.acquire_owned().await;
                let known = lock(&kept).get(&tenant);
                let read = match known {
                    Some(known) => catch_up(&connection, &tenant, known).await,
                    None => None,
                };
                let read = match read {
                    Some(read) => read,
                    None => read_from_the_beginning(&connection, &tenant).await,
                };
                lock(&kept).put(tenant, read.clone(), read.days.len() * size_of::<Closed>());
                read
            }
        };
        read("the days that have closed", &self.closed, tenant, begin).await.map(|read| read.days)
    }
}

/// Adds the days that have closed since. Returns `None` when they are too many to be read one by one.
async fn catch_up(connection: &Connection, tenant: &TenantId, known: Read) -> Option<Read> {
    let (stream, subject) = (connection.subjects.days_stream(), connection.subjects.day_closed(tenant.as_str()));
    let (mut new, mut through) = (Vec::new(), known.through);
    for _ in 0..MAX_NEW {
        match next_message(connection, &stream, &subject, through + 1).await {
            Some(message) => {
                through = message.sequence;
                new.extend(closed_day(connection, (&message).into(), message.sequence, message.stored_at));
            }
            None if new.is_empty() => return Some(Read { through, ..known }),
            None => {
                let days = known.days.iter().copied().chain(new).collect();
                return Some(Read { days: Arc::new(days), through });
            }
        }
    }
    None
}

async fn read_from_the_beginning(connection: &Connection, tenant: &TenantId) -> Read {
    let (stream, subject) = (connection.subjects.days_stream(), connection.subjects.day_closed(tenant.as_str()));
    let markers = read_all(connection, stream, subject, 1).await;
    let closed = |marker: &Delivered| closed_day(connection, marker.into(), marker.sequence, marker.stored_at);
    let days = markers.iter().filter_map(closed).collect();
    Read { days: Arc::new(days), through: markers.last().map_or(0, |marker| marker.sequence) }
}

/// The closed day of a marker; `None` when day-manager did not write it.
fn closed_day(connection: &Connection, message: Message<'_>, sequence: u64, stored_at: Instant) -> Option<Closed> {
    match written::marker(&connection.subjects, message) {
        Ok(marker) => Some(Closed { date: marker.day.date, stored_at, generation: marker.generation }),
        Err(why) => {
            connection.foreign.note(&connection.subjects.days_stream(), sequence, message.subject, &why);
            None
        }
    }
}

fn lock(kept: &Mutex<Cache<TenantId, Read>>) -> MutexGuard<'_, Cache<TenantId, Read>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
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
            if part == FlightRole::Asked || flight == MAX_FLIGHTS {
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
