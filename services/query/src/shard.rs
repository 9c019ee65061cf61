//! Asks the shards, each partition behind its circuit breaker.

use crate::archive::decode;
use crate::asking::Asking;
use crate::breaker::{Admission, Breaker, Position};
use crate::gate::Gate;
use crate::shedding::{STRAINED_QUESTIONS, are_behind};
use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use compact_str::CompactString;
use daybook_contracts::ask::{Answer, AskError, AskErrorCode, Asked, ShardQuestion};
use daybook_contracts::figures::Figures;
use daybook_contracts::members::Heartbeat;
use daybook_domain::ids::{Partition, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::connection::Connection;
use daybook_runtime::membership::Members;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

/// Replicas that are waited for before the question is given up.
const TRIES: usize = 2;

/// The shards of all partitions, as query sees them.
pub struct Shards {
    connection: Connection,
    /// The processes of aggregator-shard that are known to live.
    members: Receiver<Members>,
    timeout: Duration,
    /// By partition.
    breakers: Mutex<Vec<Breaker>>,
    /// Counts questions, so that replicas take turns.
    turn: AtomicUsize,
    /// By partition.
    gates: Vec<Gate>,
}

impl Shards {
    /// Each question waits `timeout` at most.
    pub fn new(connection: Connection, members: Receiver<Members>, timeout: Duration) -> Self {
        let breakers = Partition::all(connection.partitions).map(|_| Breaker::default()).collect();
        let gates = Partition::all(connection.partitions).map(|_| Gate::default()).collect();
        Self { connection, members, timeout, breakers: Mutex::new(breakers), turn: AtomicUsize::new(0), gates }
    }

    /// Whether the shards that run the tenant's partition are behind the log, or many questions would be answered before the
    /// tenant's. Those of a flood are not before another tenant's.
    pub fn are_strained(&self, tenant: &TenantId) -> bool {
        let partition = Partition::of(tenant.as_str(), self.connection.partitions);
        self.gates[usize::from(partition.0)].ahead_of(tenant) >= STRAINED_QUESTIONS
            || are_behind(self.members.borrow().values(), partition)
    }

    /// What the shard says about a view, the rows as it wrote them.
    ///
    /// # Errors
    /// Those of the shard, and those of [`Shards::ask`].
    pub async fn view(&self, asking: &Asking) -> Asked<Answer<Box<RawValue>>> {
        let Asking { tenant, view, query } = asking.clone();
        self.ask(&asking.tenant, &ShardQuestion::View { tenant, view, query: Box::new(query) }).await
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
    /// [`AskErrorCode::Unavailable`] when none replies in time, or none did for a while; [`AskErrorCode::Busy`] when too many
    /// questions of the tenant wait; those of the shard.
    pub async fn ask<T: DeserializeOwned>(&self, tenant: &TenantId, question: &ShardQuestion) -> Asked<T> {
        read(&self.request(tenant, question).await?)
    }

    async fn request(&self, tenant: &TenantId, question: &ShardQuestion) -> Asked<Bytes> {
        let partition = Partition::of(tenant.as_str(), self.connection.partitions);
        let unavailable = |why: String| {
            AskError::new(AskErrorCode::Unavailable, format!("no shard answers for tenant {tenant}: {why}"))
                .hint("sealed days can be asked for by date")
        };
        // Before the breaker: what is known of the shard may be another thing when the turn has come.
        let _pass = self.gates[usize::from(partition.0)].pass(tenant).await?;
        let Some(passage) = self.admit(partition) else {
            return Err(unavailable("none did lately; it is looked for every few seconds".to_owned()));
        };
        let payload = serde_json::to_vec(question).expect("questions are plain values");
        let (mut failure, mut tries) = (String::new(), 0);
        let to_any = self.connection.subjects.shard(partition);
        let mut caught_up_by_none = None;
        for subject in self.addresses(partition) {
            let request = Request::new().payload(payload.clone().into()).timeout(Some(self.timeout));
            let is_last = subject == to_any;
            match self.connection.client.send_request(subject, request).await {
                Ok(reply) => {
                    let may_be_last = is_last || !is_unavailable(&reply.payload);
                    if may_be_last {
                        passage.replied();
                        return Ok(reply.payload);
                    }
                    // It has begun again and catches up with the log; another may serve.
                    caught_up_by_none = Some(reply.payload);
                }
                Err(error) => {
                    // Where nobody listens any more nothing was waited for.
                    tries += usize::from(error.kind() != RequestErrorKind::NoResponders);
                    failure = error.to_string();
                    if tries == TRIES {
                        break;
                    }
                }
            }
        }
        match caught_up_by_none {
            Some(reply) => {
                passage.replied();
                Ok(reply)
            }
            None => Err(unavailable(failure)),
        }
    }

    /// Whom to ask, one after the other: the replicas that serve the partition, in turn, then whoever listens. For those
    /// that crashed are taken for serving until they have been silent for a while, and may be more than those that live.
    fn addresses(&self, partition: Partition) -> Vec<String> {
        let subjects = &self.connection.subjects;
        let members = self.members.borrow();
        let serving: Vec<&Heartbeat> = serving(&members, partition).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..serving.len()).map(|index| serving[(turn + index) % serving.len()]);
        in_turn
            .map(|member| subjects.shard_at(partition, &member.instance))
            .chain([subjects.shard(partition)])
            .collect()
    }

    fn admit(&self, partition: Partition) -> Option<Passage<'_>> {
        let admission = self.with_breaker(partition, |breaker| {
            let now = Instant::now();
            if breaker.position() == Position::Open {
                breaker.served_by(self.serving(partition), now);
            }
            breaker.admit(now)
        });
        (admission != Admission::Refuse).then(|| Passage { shards: self, partition, admission, replied: false })
    }

    /// The replicas that serve a partition, by what they told last.
    fn serving(&self, partition: Partition) -> BTreeSet<CompactString> {
        serving(&self.members.borrow(), partition).map(|member| member.instance.clone()).collect()
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
            false => {
                let now = Instant::now();
                // Those that have come while a probe was under way were not asked by it.
                if breaker.position() == Position::Closed {
                    breaker.served_by(self.shards.serving(self.partition), now);
                }
                breaker.silent(self.admission, now);
            }
        });
    }
}

fn serving(members: &Members, partition: Partition) -> impl Iterator<Item = &Heartbeat> {
    members.values().filter(move |member| member.parts.get(&partition).is_some_and(|part| part.ready))
}

/// Whether the reply says that the shard cannot answer now.
fn is_unavailable(reply: &[u8]) -> bool {
    const SHORT: usize = 4_096;
    reply.len() < SHORT
        && serde_json::from_slice::<Asked<IgnoredAny>>(reply)
            .is_ok_and(|reply| reply.is_err_and(|error| error.code == AskErrorCode::Unavailable))
}

fn read<T: DeserializeOwned>(reply: &[u8]) -> Asked<T> {
    serde_json::from_slice::<Asked<T>>(reply)
        .map_err(|error| internal(format!("the shard's answer cannot be read: {error}")))?
}

fn internal(message: String) -> AskError {
    AskError::new(AskErrorCode::Internal, message)
}
