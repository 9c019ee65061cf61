//! Asks the shards, each partition behind its circuit breaker.

use crate::archive::decode;
use crate::asking::Asking;
use crate::breaker::{Admission, Breaker, Position};
use async_nats::client::Request;
use bytes::Bytes;
use daybook_contracts::ask::{Answer, AskError, AskErrorCode, Asked, ShardQuestion};
use daybook_contracts::figures::Figures;
use daybook_domain::ids::{Partition, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::connection::Connection;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The shards of all partitions, as query sees them.
pub struct Shards {
    connection: Connection,
    timeout: Duration,
    /// By partition.
    breakers: Mutex<Vec<Breaker>>,
}

impl Shards {
    /// Each question waits `timeout` at most.
    pub fn new(connection: Connection, timeout: Duration) -> Self {
        let breakers = Partition::all(connection.partitions).map(|_| Breaker::default()).collect();
        Self { connection, timeout, breakers: Mutex::new(breakers) }
    }

    /// What the shard says about a view.
    ///
    /// # Errors
    /// Those of the shard, and those of [`Shards::ask`].
    pub async fn view(&self, asking: &Asking) -> Asked<Answer> {
        let Asking { tenant, view, query } = asking.clone();
        self.ask(&asking.tenant, &ShardQuestion::View { tenant, view, query }).await
    }

    /// The groups behind a view's figures, from one day to another, both included.
    ///
    /// # Errors
    /// Those of the shard, and those of [`Shards::ask`].
    pub async fn figures(&self, asking: &Asking, from: Date, to: Date) -> Asked<Figures> {
        let (tenant, view) = (asking.tenant.clone(), asking.view.clone());
        let reply = self.request(&asking.tenant, &ShardQuestion::Figures { tenant, view, from, to }).await?;
        if reply.first() == Some(&b'{') {
            // Anything but an error in that place is unreadable, too.
            read::<IgnoredAny>(&reply)?;
        }
        decode(&reply).map_err(|error| internal(format!("the shard's figures cannot be read: {error}")))
    }

    /// The answer of the shard that runs the tenant's partition.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when none replies in time, or none did for a while; those of the shard.
    pub async fn ask<T: DeserializeOwned>(&self, tenant: &TenantId, question: &ShardQuestion) -> Asked<T> {
        read(&self.request(tenant, question).await?)
    }

    async fn request(&self, tenant: &TenantId, question: &ShardQuestion) -> Asked<Bytes> {
        let partition = Partition::of(tenant.as_str(), self.connection.partitions);
        let unavailable = |why: String| {
            AskError::new(AskErrorCode::Unavailable, format!("no shard answers for tenant {tenant}: {why}"))
                .hint("sealed days can be asked for by date")
        };
        let Some(passage) = self.admit(partition) else {
            return Err(unavailable("none did lately; it is looked for every few seconds".to_owned()));
        };
        let payload = serde_json::to_vec(question).expect("questions are plain values");
        let request = Request::new().payload(payload.into()).timeout(Some(self.timeout));
        match self.connection.client.send_request(self.connection.subjects.shard(partition), request).await {
            Ok(reply) => {
                passage.replied();
                Ok(reply.payload)
            }
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    fn admit(&self, partition: Partition) -> Option<Passage<'_>> {
        let admission = self.with_breaker(partition, |breaker| breaker.admit(Instant::now()));
        (admission != Admission::Refuse).then_some(Passage { shards: self, partition, admission, replied: false })
    }

    /// Does something with a breaker, and tells of it when that moves it.
    fn with_breaker<T>(&self, partition: Partition, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breakers = self.lock();
        let breaker = &mut breakers[usize::from(partition.0)];
        let before = breaker.position();
        let outcome = act(breaker);
        let after = breaker.position();
        if before != after {
            match (before, after) {
                (Position::Closed, _) => tracing::warn!(%partition, "no shard answers; serving without it"),
                (_, Position::Closed) => tracing::info!(%partition, "the shard answers again"),
                (_, Position::HalfOpen) => tracing::info!(%partition, "trying whether the shard answers"),
                (_, Position::Open) => tracing::info!(%partition, "the shard still does not answer"),
            }
            metrics::counter!("daybook_breaker_transitions_total", "to" => after.as_str()).increment(1);
            let is_open = if after == Position::Closed { 0.0 } else { 1.0 };
            metrics::gauge!("daybook_breaker_open", "partition" => partition.to_string()).set(is_open);
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question on its way past the breaker. Dropped without a reply, for whatever reason, it counts as silence: so a probe
/// always has an outcome.
struct Passage<'a> {
    shards: &'a Shards,
    partition: Partition,
    admission: Admission,
    replied: bool,
}

impl Passage<'_> {
    fn replied(mut self) {
        self.replied = true;
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.shards.with_breaker(self.partition, |breaker| match self.replied {
            true => breaker.replied(),
            false => breaker.silent(self.admission, Instant::now()),
        });
    }
}

fn read<T: DeserializeOwned>(reply: &[u8]) -> Asked<T> {
    serde_json::from_slice::<Asked<T>>(reply)
        .map_err(|error| internal(format!("the shard's answer cannot be read: {error}")))?
}

fn internal(message: String) -> AskError {
    AskError::new(AskErrorCode::Internal, message)
}
