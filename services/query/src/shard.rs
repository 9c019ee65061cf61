//! Asks the shards, each partition behind its circuit breaker.

use crate::archive::{check_groups, decode};
use crate::asking::Asking;
use crate::breaker::{Admission, Breaker, BreakerPosition, FIRST_PAUSE};
use crate::courier::{Courier, Unanswered};
use crate::found::Held;
use crate::gate::{Gate, OF_A_SHARD};
use crate::shedding::{STRAINED_QUESTIONS, are_behind};
use async_nats::Subject;
use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use compact_str::CompactString;
use daybook_contracts::ask::{AsOf, AskError, AskErrorCode, Asked, ShardQuestion};
use daybook_contracts::bundle::{Brief, Said};
use daybook_contracts::figures::Figures;
use daybook_contracts::lists::ViewList;
use daybook_contracts::members::Heartbeat;
use daybook_contracts::totals::Totals;
use daybook_domain::ids::{Partition, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::connection::Connection;
use daybook_runtime::membership::Members;
use serde::Deserialize;
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
    courier: Courier,
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
    /// Each question waits `timeout` at most. Made in a runtime.
    pub fn new(connection: Connection, members: Receiver<Members>, timeout: Duration) -> Self {
        let breakers = Partition::all(connection.partitions).map(|_| Breaker::default()).collect();
        let gates = Partition::all(connection.partitions).map(|_| Gate::new(OF_A_SHARD)).collect();
        let courier = Courier::start(connection.client.clone(), timeout);
        let turn = AtomicUsize::new(0);
        Self { connection, courier, members, timeout, breakers: Mutex::new(breakers), turn, gates }
    }

    /// Whether the shards that run the tenant's partition are behind the log, or many questions would be answered before the
    /// tenant's. Those of a flood are not before another tenant's.
    pub fn are_strained(&self, tenant: &TenantId) -> bool {
        let partition = Partition::of(tenant.as_str(), self.connection.partitions);
        self.gates[usize::from(partition.0)].ahead_of(tenant) >= STRAINED_QUESTIONS
            || are_behind(self.members.borrow().values(), partition)
    }

    /// What the shard says about a view, as it wrote it.
    ///
    /// # Errors
    /// Those of the shard, and those of [`Shards::ask`].
    pub async fn view(&self, asking: &Asking) -> Asked<Held> {
        let Asking { tenant, view, query } = asking.clone();
        let question = ShardQuestion::View { tenant, view, query: Box::new(query) };
        read_view(self.say(&asking.tenant, &question).await?)
    }

    /// The groups behind a view's figures, from one day to another, both included.
    ///
    /// # Errors
    /// Those of the shard, and those of [`Shards::ask`].
    pub async fn figures(&self, asking: &Asking, from: Date, to: Date) -> Asked<Figures> {
        let (tenant, view) = (asking.tenant.clone(), asking.view.clone());
        let reply = self.request(&asking.tenant, &ShardQuestion::Figures { tenant, view, from, to }).await?;
        check_error(&reply)?;
        decode(&reply).map_err(|error| internal(format!("the shard's figures cannot be read: {error}")))
    }

    /// The groups behind a view's figures for tenants of one partition, and how many bytes they took. The question takes its turn
    /// among those of `group`.
    ///
    /// # Errors
    /// Those of the shard, and those of [`Shards::ask`].
    pub async fn totals(
        &self,
        partition: Partition,
        group: &TenantId,
        question: &ShardQuestion,
    ) -> Asked<(Totals, usize)> {
        let reply = self.request_of_group(partition, group, question).await?;
        check_error(&reply)?;
        let totals = decode_totals(&reply);
        Ok((totals.map_err(|why| internal(format!("the shard's totals cannot be read: {why}")))?, reply.len()))
    }

    /// The answer of the shard that runs the tenant's partition.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when none replies in time, or none did for a while; [`AskErrorCode::Busy`] when too many
    /// questions of the tenant wait; those of the shard.
    pub async fn ask<T: DeserializeOwned>(&self, tenant: &TenantId, question: &ShardQuestion) -> Asked<T> {
        read(&self.request(tenant, question).await?)
    }

    /// The views that a tenant may ask for, for a group of tenants: the question takes its turn among those of the group.
    ///
    /// # Errors
    /// As [`Shards::ask`].
    pub async fn views_for_group(&self, group: &TenantId, tenant: &TenantId) -> Asked<ViewList> {
        let question = ShardQuestion::ViewsOf { tenant: tenant.clone(), group: Some(group.clone()) };
        let partition = Partition::of(tenant.as_str(), self.connection.partitions);
        read(&self.request_of_group(partition, group, &question).await?)
    }

    async fn request(&self, tenant: &TenantId, question: &ShardQuestion) -> Asked<Bytes> {
        Ok(self.say(tenant, question).await?.alone())
    }

    async fn say(&self, tenant: &TenantId, question: &ShardQuestion) -> Asked<Said> {
        let partition = Partition::of(tenant.as_str(), self.connection.partitions);
        let said = self.request_of(partition, tenant, question).await?;
        said.map_err(|why| unavailable(&format!("tenant {tenant}"), &why))
    }

    async fn request_of_group(&self, partition: Partition, group: &TenantId, question: &ShardQuestion) -> Asked<Bytes> {
        let said = self.request_of(partition, group, question).await?;
        said.map(Said::alone).map_err(|why| unavailable(&format!("partition {partition}"), &why))
    }

    /// The reply of the shard that runs a partition, or why there is none. The question takes its turn among those of `asker`, a
    /// tenant or a group of tenants.
    ///
    /// # Errors
    /// [`AskErrorCode::Busy`] when too many questions of the asker wait.
    async fn request_of(
        &self,
        partition: Partition,
        asker: &TenantId,
        question: &ShardQuestion,
    ) -> Asked<Result<Said, String>> {
        // Before the breaker: what is known of the shard may be another thing when the turn has come.
        let _pass = self.gates[usize::from(partition.0)].pass(asker).await?;
        let Some(passage) = self.admit(partition) else {
            return Ok(Err("none did lately; it is looked for every few seconds".to_owned()));
        };
        Ok(self.send(passage, question).await)
    }

    /// Asks the shards behind open breakers whether they are back, as soon as the pause of each is over, so that a breaker
    /// closes also when nobody has a question. Never ends.
    pub async fn probe(&self) {
        loop {
            tokio::time::sleep(FIRST_PAUSE).await;
            let is_open =
                |partition: &Partition| self.lock()[usize::from(partition.0)].position() == BreakerPosition::Open;
            let open = Partition::all(self.connection.partitions).filter(is_open);
            let passages: Vec<Passage<'_>> = open.filter_map(|partition| self.admit(partition)).collect();
            futures::future::join_all(passages.into_iter().map(|passage| self.send(passage, &ShardQuestion::Position)))
                .await;
        }
    }

    /// Sends a question to the replicas, one after the other, until one replies that serves; or says why none does.
    async fn send(&self, passage: Passage<'_>, question: &ShardQuestion) -> Result<Said, String> {
        let partition = passage.partition;
        let question = Bytes::from(serde_json::to_vec(question).expect("questions are plain values"));
        let (mut failure, mut tries) = (String::new(), 0);
        let mut caught_up_by_none = None;
        for address in self.addresses(partition) {
            let is_last = matches!(address, Address::Any(_));
            match self.carry(address, question.clone()).await {
                Ok(said) => {
                    if is_last || !is_unavailable(&said) {
                        passage.replied();
                        return Ok(said);
                    }
                    // It has begun again and catches up with the log; another may serve.
                    caught_up_by_none = Some(said);
                }
                Err(unanswered) => {
                    // Where nobody listens any more nothing was waited for.
                    tries += usize::from(unanswered != Unanswered::NobodyListens);
                    failure = unanswered.to_string();
                    if tries == TRIES {
                        break;
                    }
                }
            }
        }
        match caught_up_by_none {
            Some(said) => {
                passage.replied();
                Ok(said)
            }
            None => Err(failure),
        }
    }

    /// What is said at one address: to a question among others where bundles are taken, else to one that travels alone.
    async fn carry(&self, address: Address, question: Bytes) -> Result<Said, Unanswered> {
        let to = match address {
            Address::Bundles(to) => match self.courier.ask(to.clone(), question.clone()).await {
                // Without the courier a question goes alone.
                Err(Unanswered::Unsent(_)) => to,
                outcome => return outcome,
            },
            Address::One(to) | Address::Any(to) => to,
        };
        let request = Request::new().payload(question).timeout(Some(self.timeout));
        match self.connection.client.send_request(to, request).await {
            Ok(reply) => Ok(Said::Reply(reply.payload)),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => Unanswered::NobodyListens,
                RequestErrorKind::TimedOut => Unanswered::Late,
                _ => Unanswered::Unsent(error.to_string()),
            }),
        }
    }

    /// Whom to ask, one after the other: the replicas that serve the partition, in turn, then whoever listens. For those
    /// that crashed are taken for serving until they have been silent for a while, and may be more than those that live.
    fn addresses(&self, partition: Partition) -> Vec<Address> {
        let subjects = &self.connection.subjects;
        let members = self.members.borrow();
        let serving: Vec<&Heartbeat> = serving(&members, partition).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..serving.len()).map(|index| serving[(turn + index) % serving.len()]);
        let address = |member: &Heartbeat| {
            let to = subjects.shard_at(partition, &member.instance).into();
            // A shard of an earlier build does not say that it takes them.
            let takes_bundles = member.parts.get(&partition).is_some_and(|part| part.bundles);
            if takes_bundles { Address::Bundles(to) } else { Address::One(to) }
        };
        in_turn.map(address).chain([Address::Any(subjects.shard(partition).into())]).collect()
    }

    fn admit(&self, partition: Partition) -> Option<Passage<'_>> {
        let admission = self.with_breaker(partition, |breaker| {
            let now = Instant::now();
            if breaker.position() == BreakerPosition::Open {
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
                (BreakerPosition::Closed, _) => tracing::warn!(%partition, "no shard answers; serving without it"),
                (_, BreakerPosition::Closed) => tracing::info!(%partition, "the shard answers again"),
                (_, BreakerPosition::HalfOpen) => tracing::info!(%partition, "trying whether the shard answers"),
                (_, BreakerPosition::Open) => tracing::info!(%partition, "the shard still does not answer"),
            }
            metrics::counter!("daybook_breaker_transitions_total", "to" => after.as_str()).increment(1);
            let is_open = if after == BreakerPosition::Closed { 0.0 } else { 1.0 };
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
                if breaker.position() == BreakerPosition::Closed {
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

/// Where a question can be asked.
enum Address {
    /// A replica that takes bundles of questions.
    Bundles(Subject),
    /// A replica that takes one question at a time.
    One(Subject),
    /// Whichever listens.
    Any(Subject),
}

/// Whether a shard says that it cannot answer now.
fn is_unavailable(said: &Said) -> bool {
    const SHORT: usize = 4_096;
    let Said::Reply(reply) = said else { return false };
    reply.len() < SHORT
        && serde_json::from_slice::<Asked<IgnoredAny>>(reply)
            .is_ok_and(|reply| reply.is_err_and(|error| error.code == AskErrorCode::Unavailable))
}

/// What a shard says about a view. A text that came among others is copied: the message of all of them need not be kept.
fn read_view(said: Said) -> Asked<Held> {
    /// What query has to know, out of the answer itself: an earlier build says it nowhere else.
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        generation: u32,
        as_of: AsOf,
        freshness_ms: u64,
    }
    match said {
        Said::View(brief, text) => Ok(Held::Written(brief, Bytes::copy_from_slice(&text))),
        Said::Reply(reply) => {
            let text = read::<Box<RawValue>>(&reply)?;
            let Head { generation, as_of, freshness_ms } = serde_json::from_str(text.get()).map_err(unreadable)?;
            let brief = Brief { generation, as_of, freshness_ms };
            Ok(Held::Written(brief, Bytes::copy_from_slice(text.get().as_bytes())))
        }
    }
}

/// The error that a reply is instead of MessagePack: it begins as an object of JSON.
fn check_error(reply: &[u8]) -> Asked<()> {
    match reply.first() {
        // Anything but an error in that place is unreadable, too.
        Some(b'{') => read::<IgnoredAny>(reply).map(|_| ()),
        _ => Ok(()),
    }
}

/// Totals whose groups fit their definition.
fn decode_totals(reply: &[u8]) -> Result<Totals, String> {
    let mut totals = Totals::decode(reply).map_err(|error| error.to_string())?;
    let found = totals.members.iter_mut().filter_map(|member| member.found.as_mut().ok());
    let mut days = found.flat_map(|figures| &mut figures.days).map(|day| (day.day.date, &mut day.groups[..]));
    match &totals.definition {
        Some((view, kind)) => check_groups(view, kind, days)?,
        None if days.next().is_some() => return Err("they do not say what they are made with".to_owned()),
        None => {}
    }
    Ok(totals)
}

fn read<T: DeserializeOwned>(reply: &[u8]) -> Asked<T> {
    serde_json::from_slice::<Asked<T>>(reply).map_err(unreadable)?
}

fn unreadable(error: serde_json::Error) -> AskError {
    internal(format!("the shard's answer cannot be read: {error}"))
}

fn unavailable(of: &str, why: &str) -> AskError {
    AskError::new(AskErrorCode::Unavailable, format!("no shard answers for {of}: {why}"))
        .hint("sealed days can be asked for by date")
}

fn internal(message: String) -> AskError {
    AskError::new(AskErrorCode::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::found::tests::{answer, written};
    use crate::sealed::tests::figures;
    use daybook_contracts::ask::DayState;
    use daybook_contracts::totals::{Encoder, GroupRef, MemberDayRef, MemberFiguresRef};
    use daybook_domain::accumulator::Accumulator;
    use daybook_domain::ids::{InboxSeq, LogSeq};

    #[test]
    fn totals_that_do_not_fit_their_definition_are_not_merged() {
        let made = figures("2013-03-10", 3);
        let (day, group) = (&made.days[0], &made.days[0].groups[0]);
        let written = |is_defined: bool, cells: &[Accumulator]| {
            let mut encoder = Encoder::at(LogSeq(1), InboxSeq(1));
            if is_defined {
                encoder.define(&made.view, &made.kind);
            }
            let groups = vec![GroupRef { piece: 0, dims: &group.dims, cells }];
            let days = vec![MemberDayRef { day: day.day, coverage: &day.coverage, groups }];
            let figures = MemberFiguresRef { from: day.day.date, to: day.day.date, day: DayState::Open, days };
            encoder.found(&TenantId::new("ATL").unwrap(), &figures, 1_000).unwrap();
            decode_totals(&encoder.finish(0))
        };
        assert!(written(true, &group.cells).is_ok());
        let refused = [
            written(false, &group.cells),
            written(true, &[]),
            written(true, &[Accumulator::Extremes(Default::default())]),
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
    }
    #[test]
    fn a_view_is_read_alike_alone_and_out_of_a_bundle() {
        for generation in [0, 3] {
            let answer = daybook_contracts::ask::Answer { generation, ..answer(2) };
            let Held::Written(brief, text) = written(&answer) else { panic!("it is written") };
            let bundled = Said::View(brief, text.clone());
            for said in [bundled.clone(), Said::Reply(bundled.alone())] {
                let Held::Written(found, held) = read_view(said).unwrap() else { panic!("it is written") };
                assert_eq!((found, held), (brief, text.clone()));
            }
        }
        let error = AskError::new(AskErrorCode::UnknownDay, "no");
        let refused = Said::Reply(serde_json::to_vec(&Asked::<()>::Err(error.clone())).unwrap().into());
        assert_eq!(read_view(refused).unwrap_err(), error);
        assert_eq!(read_view(Said::Reply("{\"Ok\":{}}".into())).unwrap_err().code, AskErrorCode::Internal);
    }

    #[test]
    fn only_a_shards_word_that_it_cannot_answer_is_taken_for_one() {
        let error =
            |code| Said::Reply(serde_json::to_vec(&Asked::<()>::Err(AskError::new(code, "no"))).unwrap().into());
        assert!(is_unavailable(&error(AskErrorCode::Unavailable)));
        assert!(!is_unavailable(&error(AskErrorCode::NotYet)) && !is_unavailable(&Said::Reply("?".into())));
    }
}
