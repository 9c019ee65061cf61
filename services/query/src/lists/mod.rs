//! Lists that a tenant's client reads without JetStream: days, reports, rejects and alerts.
//!
//! Follow a request: [`Lists::in_turn`] lets one of each tenant read at a time ([`lanes`]). [`dates`] and [`cursor`] say
//! which rows a page holds. [`sealed`] knows which days have a report, and keeps that in an [`index`] between requests;
//! [`document`] judges whether a message is a report. [`days`] joins them with the days that the shard keeps. [`report`]
//! finds one version. [`rejects`] has pages of rejects and of alerts: [`walk`] goes through their streams, in either direction
//! ([`subject`]), until a [`reject_page`] is full. Every reader skips messages that no service wrote.

pub mod cursor;
pub mod dates;
pub mod days;
pub mod document;
pub mod index;
pub mod lanes;
pub mod reject_page;
pub mod rejects;
pub mod report;
pub mod sealed;
pub mod subject;
mod walk;

use crate::lists::lanes::Lanes;
use crate::lists::sealed::Sealed;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_contracts::lists::MAX_LIST_ROWS;
use daybook_domain::ids::TenantId;
use daybook_runtime::connection::Connection;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Longest time of a request, including the wait for its turn: less than the ten seconds that clients wait for a reply.
const DEADLINE: Duration = Duration::from_secs(8);
/// Longest time that one page keeps reading. The page ends with the rows that it has by then.
const READING_TIME: Duration = Duration::from_secs(3);
/// Most bytes of messages that one page reads from the broker: a few of the largest ones.
const READING_BYTES: usize = 8 << 20;

/// The readings of lists: whose turn it is, and what is known from earlier ones.
pub struct Lists {
    connection: Connection,
    lanes: Arc<Lanes>,
    pub sealed: Sealed,
}

impl Lists {
    pub fn new(connection: Connection) -> Self {
        Self { sealed: Sealed::new(connection.clone()), lanes: Arc::default(), connection }
    }

    /// Longest message that the broker takes, in bytes.
    pub fn max_payload(&self) -> usize {
        self.connection.client.max_payload()
    }

    /// The outcome of `reading`, which begins when it is the tenant's turn.
    ///
    /// # Errors
    /// [`AskErrorCode::Busy`] when too many requests of the tenant wait or the turn does not come in time;
    /// [`AskErrorCode::Unavailable`] when the reading does not end in time; those of the reading.
    pub async fn in_turn<T>(&self, tenant: &TenantId, reading: impl Future<Output = Asked<T>>) -> Asked<T> {
        let deadline = Instant::now() + DEADLINE;
        let place = self.lanes.enter(tenant)?;
        let Ok(_turn) = timeout_at(deadline, place.turn()).await else {
            let message = "other requests for lists and reports have not ended in time";
            return Err(AskError::new(AskErrorCode::Busy, message).hint("wait for answers before asking for more"));
        };
        timeout_at(deadline, reading).await.unwrap_or_else(|_| {
            let message = "the streams cannot be read in time";
            Err(AskError::new(AskErrorCode::Unavailable, message).hint("ask again in a moment"))
        })
    }
}

/// The amount that a page may still read from the broker.
struct Budget {
    bytes: usize,
    until: Instant,
}

impl Budget {
    fn new() -> Self {
        Self { bytes: READING_BYTES, until: Instant::now() + READING_TIME }
    }

    /// Counts a message that was read.
    fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn is_spent(&self) -> bool {
        self.bytes == 0 || Instant::now() >= self.until
    }
}

/// The most rows of a page.
///
/// # Errors
/// [`AskErrorCode::BadRequest`] for `limit`, when it is not 1 to [`MAX_LIST_ROWS`].
fn row_limit(limit: Option<u32>, default: u32) -> Asked<usize> {
    match limit.unwrap_or(default) {
        limit @ 1..=MAX_LIST_ROWS => Ok(limit as usize),
        limit => {
            let message = format!("a page has 1 to {MAX_LIST_ROWS} rows, not {limit}");
            Err(AskError::new(AskErrorCode::BadRequest, message).field("limit"))
        }
    }
}
