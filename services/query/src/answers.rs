//! Finds the answer to a question about a view: one of a moment ago, one that is being asked for, the shard's, or what
//! can be said without the shard.

use crate::archive::Archive;
use crate::asking::Asking;
use crate::cache::Cache;
use crate::flight::{FlightRole, Flights};
use crate::found::{AnswerSource, FoundAnswer, Held};
use crate::gate::Gate;
use crate::generations::Owner;
use crate::groups::Groups;
use crate::lists::Lists;
use crate::ranges::{beyond_the_shard, sealed_days};
use crate::shard::Shards;
use crate::shedding::shed_staleness;
use crate::totals;
use crate::turns::Turns;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::catalogue::TenantGroup;
use daybook_runtime::connection::Connection;
use daybook_runtime::membership::Members;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

/// Most answers that are kept, for reuse and for when a shard is away.
const MAX_KEPT_ANSWERS: usize = 10_000;
/// Most bytes in memory of the answers that are kept, roughly.
const MAX_KEPT_BYTES: usize = 128 << 20;
/// How often the same question is asked for somebody who needs later figures: the first time it may have been under way
/// when the asker came, the second time it was not.
const MAX_FLIGHTS: u32 = 2;
/// Different questions of all tenants under way at once, most of which wait at a gate and take a few kilobytes: room for three
/// tenants with as many as `--max-questions-per-tenant` can be, and another.
const MAX_UNDER_WAY: usize = 4_096;

/// An answer, and when it came.
#[derive(Clone)]
struct Kept {
    held: Held,
    at: Instant,
}

impl Kept {
    /// As it is now.
    fn found(&self, now: Instant, source: AnswerSource) -> Asked<FoundAnswer> {
        let age_ms = u64::try_from(now.duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        Ok(FoundAnswer { held: self.held.aged(age_ms, source == AnswerSource::Stale)?, source })
    }
}

/// Answers questions about views.
pub struct Answers {
    pub shards: Shards,
    pub archive: Archive,
    pub lists: Lists,
    pub groups: Groups,
    pub connection: Connection,
    /// Counts what is asked: those who join count as the one that they join.
    pub turns: Arc<Turns>,
    max_staleness: Duration,
    kept: Mutex<Cache<String, Kept>>,
    /// Through the shard.
    asking: Flights<Asked<FoundAnswer>>,
    /// Without it.
    reading: Flights<Asked<Option<FoundAnswer>>>,
    /// Whose answers are given while the shard is away.
    looking: Flights<Asked<Owner>>,
    /// Where groups take turns.
    gate_of_totals: Gate,
}

impl Answers {
    /// A shard gets `shard_timeout` for a reply; an answer is given again for `max_staleness` after it came; each tenant may ask
    /// `max_of_a_tenant` different things at once.
    pub fn new(
        connection: Connection,
        shards: Receiver<Members>,
        shard_timeout: Duration,
        max_staleness: Duration,
        max_of_a_tenant: u16,
    ) -> Self {
        Self {
            turns: Turns::new(MAX_UNDER_WAY, usize::from(max_of_a_tenant), connection.partitions),
            shards: Shards::new(connection.clone(), shards, shard_timeout),
            connection: connection.clone(),
            lists: Lists::new(connection.clone()),
            groups: Groups::new(connection.clone()),
            archive: Archive::new(connection),
            max_staleness,
            kept: Mutex::new(Cache::new(MAX_KEPT_ANSWERS, MAX_KEPT_BYTES)),
            asking: Flights::default(),
            reading: Flights::default(),
            looking: Flights::default(),
            gate_of_totals: Gate::new(totals::OF_TOTALS),
        }
    }

    /// The figures of a tenant, or of a group of tenants.
    ///
    /// # Errors
    /// With a stable code, when there is no answer.
    pub async fn figures(self: &Arc<Self>, asking: Asking) -> Asked<FoundAnswer> {
        if let Some(group) = self.groups.known(&asking.tenant).await? {
            return self.totals(asking, &group).await;
        }
        match self.answer(asking.clone()).await {
            Err(error) if may_be_of_a_group(error.code) => match self.groups.find(&asking.tenant).await {
                Ok(Some(group)) => self.totals(asking, &group).await,
                _ => Err(error),
            },
            answered => answered,
        }
    }

    /// The figures of all tenants of a group. Those who ask the same at the same time share them, as with a tenant's.
    async fn totals(self: &Arc<Self>, asking: Asking, group: &Arc<TenantGroup>) -> Asked<FoundAnswer> {
        totals::check(&asking)?;
        // A group that has changed is another one.
        let key = format!("{} {}", group.revision, asking.key());
        let now = Instant::now();
        if let Some(kept) = self.lock().get(&key).filter(|kept| now.duration_since(kept.at) < self.max_staleness) {
            return kept.found(now, AnswerSource::Cache);
        }
        let begin = || {
            let (answers, asking, group, key) = (self.clone(), asking.shared(), group.clone(), key.clone());
            async move {
                let _turn = answers.turns.begin(asking.tenant.as_str())?;
                let through = (&answers.gate_of_totals, &answers.shards);
                let found = totals::totals(through, &answers.connection, asking, &group).await?;
                answers.keep(key, &found);
                Ok(found)
            }
        };
        let (outcome, part) = self.asking.share(key.clone(), begin).await;
        let found = outcome.unwrap_or_else(|| Err(panicked()))?;
        Ok(match part {
            FlightRole::Asked => found,
            FlightRole::Joined => FoundAnswer { source: AnswerSource::Shared, ..found },
        })
    }

    /// # Errors
    /// With a stable code, when there is no answer.
    pub async fn answer(self: &Arc<Self>, asking: Asking) -> Asked<FoundAnswer> {
        if asking.query.watch {
            return self.watch(asking).await;
        }
        let key = asking.key();
        for flight in 1..=MAX_FLIGHTS {
            if let Some(found) = self.recent(&key, &asking) {
                return found;
            }
            let begin = || self.clone().fetch(key.clone(), asking.shared());
            let (outcome, part) = self.asking.share(key.clone(), begin).await;
            return match outcome.unwrap_or_else(|| Err(panicked())) {
                Ok(found) if asking.is_reached_by(found.as_of()) => Ok(match part {
                    FlightRole::Asked => found,
                    FlightRole::Joined => FoundAnswer { source: AnswerSource::Shared, ..found },
                }),
                // It may have been answered before the asker came.
                Ok(_) if part == FlightRole::Joined && flight < MAX_FLIGHTS => continue,
                Ok(found) => Err(asking.not_yet(found.as_of())),
                Err(error) if error.code == AskErrorCode::Unavailable => self.without_shard(key, &asking, error).await,
                // What is not known yet may be known where the asker wants the figures to reach: the shard can tell.
                Err(error) if error.code.number() == NOT_FOUND && asking.query.at_least.is_some() => {
                    let _turn = self.turns.begin(asking.tenant.as_str())?;
                    self.of_shard(&asking).await
                }
                Err(error) => Err(error),
            };
        }
        unreachable!("the last flight always has an outcome")
    }

    /// An answer to the same question that is recent enough to be given again: longer while the shard is strained.
    fn recent(&self, key: &String, asking: &Asking) -> Option<Asked<FoundAnswer>> {
        let kept = self.lock().get(key)?;
        let now = Instant::now();
        let age = now.duration_since(kept.at);
        let brief = kept.held.brief();
        let is_its_own = self.archive.owners.may_own(&asking.tenant, brief.generation);
        if !is_its_own || !asking.is_reached_by(brief.as_of) {
            return None;
        }
        if age < self.max_staleness {
            return Some(kept.found(now, AnswerSource::Cache));
        }
        let sheds = asking.query.accept_stale
            && age < shed_staleness(self.max_staleness)
            && self.shards.are_strained(&asking.tenant);
        sheds.then(|| {
            metrics::counter!("daybook_shed_total", "what" => "freshness").increment(1);
            kept.found(now, AnswerSource::Cache)
        })
    }

    /// The snapshot that a feed continues. All listeners of a view share its feed, and those who ask at the same time the
    /// snapshot. It must not be older than the asker's listening: of the flight that was under way when he came, nothing is taken.
    async fn watch(self: &Arc<Self>, asking: Asking) -> Asked<FoundAnswer> {
        let key = asking.key();
        for flight in 1..=MAX_FLIGHTS {
            let begin = || {
                let (answers, asking) = (self.clone(), asking.shared());
                async move {
                    let _turn = answers.turns.begin(asking.tenant.as_str())?;
                    answers.of_shard(&asking).await
                }
            };
            let (outcome, part) = self.asking.share(key.clone(), begin).await;
            if part == FlightRole::Joined && flight < MAX_FLIGHTS {
                continue;
            }
            let found = outcome.unwrap_or_else(|| Err(panicked()))?;
            return Ok(match part {
                FlightRole::Asked => found,
                FlightRole::Joined => FoundAnswer { source: AnswerSource::Shared, ..found },
            });
        }
        unreachable!("the last flight always has an outcome")
    }

    async fn of_shard(&self, asking: &Asking) -> Asked<FoundAnswer> {
        let held = self.shards.view(asking).await?;
        self.archive.owners.heard_of(&asking.tenant, held.brief().generation)?;
        Ok(FoundAnswer { held, source: AnswerSource::Shard })
    }

    fn keep(&self, key: String, found: &FoundAnswer) {
        let bytes = key.len() + size_of::<Kept>() + found.held.bytes_in_memory();
        self.lock().put(key, Kept { held: found.held.clone(), at: Instant::now() }, bytes);
    }

    /// Asks the shard, and the streams for what it has let go of; keeps the answer.
    async fn fetch(self: Arc<Self>, key: String, asking: Asking) -> Asked<FoundAnswer> {
        let _turn = self.turns.begin(asking.tenant.as_str())?;
        let found = match self.of_shard(&asking).await {
            Ok(found) => found,
            Err(error) if error.code == AskErrorCode::Expired => {
                beyond_the_shard(&self.shards, &self.archive, &asking, error).await?
            }
            Err(error) => return Err(error),
        };
        self.keep(key, &found);
        Ok(found)
    }

    /// The last known answer, else that of sealed days, else `away`: why the shard does not answer.
    async fn without_shard(self: &Arc<Self>, key: String, asking: &Asking, away: AskError) -> Asked<FoundAnswer> {
        let kept = self.last_known(&key, asking).await;
        if let Some(kept) = &kept
            && asking.query.accept_stale
        {
            return kept.found(Instant::now(), AnswerSource::Stale);
        }
        let begin = || {
            let (answers, asking) = (self.clone(), asking.shared());
            async move {
                let _turn = answers.turns.begin(asking.tenant.as_str())?;
                sealed_days(&answers.archive, &asking).await
            }
        };
        let (outcome, _) = self.reading.share(key, begin).await;
        match outcome.unwrap_or_else(|| Err(panicked())) {
            Ok(Some(found)) if asking.is_reached_by(found.as_of()) => Ok(found),
            // A day's report may be older than the view: the shard would know.
            Err(error) if error.code == AskErrorCode::UnknownView => Err(away.hint(error.to_string())),
            // What is wrong with the question is worth more than that the shard is away.
            Err(error) if error.code != AskErrorCode::Unavailable => Err(error),
            _ if kept.is_some() => Err(away.hint("there are last known figures: ask with `accept_stale`")),
            _ => Err(away),
        }
    }

    /// The last known answer, unless it is of an earlier tenant of the id: the shard cannot tell.
    async fn last_known(self: &Arc<Self>, key: &String, asking: &Asking) -> Option<Kept> {
        let kept = self.lock().get(key).filter(|kept| asking.is_reached_by(kept.held.brief().as_of))?;
        let begin = || {
            let (answers, tenant) = (self.clone(), asking.tenant.clone());
            async move { answers.archive.owners.now(&tenant).await }
        };
        let (owner, _) = self.looking.share(asking.tenant.to_string(), begin).await;
        let owner = owner.and_then(Result::ok)?;
        owner.has(kept.held.brief().generation).then_some(kept)
    }

    fn lock(&self) -> MutexGuard<'_, Cache<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of every error that says that something is not known.
const NOT_FOUND: usize = 404;

/// Whether a shard may say this of a group's id. No tenant has it, the shard of its partition may be away, and one that is to reach a
/// position looks at that first.
fn may_be_of_a_group(code: AskErrorCode) -> bool {
    matches!(code, AskErrorCode::UnknownTenant | AskErrorCode::Unavailable | AskErrorCode::NotYet)
}

fn panicked() -> AskError {
    AskError::new(AskErrorCode::Internal, "the question could not be worked on; the log says more")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;
    use crate::found::tests::{answer, written};
    use daybook_contracts::ask::Answer;

    #[test]
    fn a_kept_answer_ages() {
        let at = Instant::now();
        let kept = Kept { held: written(&answer(1)), at };
        let read = |after: Duration, source| {
            let found = kept.found(at + after, source).unwrap();
            let read: Answer = serde_json::from_slice(&found.encode(Encoding::Json).unwrap()).unwrap();
            assert_eq!((found.held.brief().freshness_ms, found.source), (read.freshness_ms, source));
            (read.freshness_ms, read.stale)
        };
        assert_eq!(read(Duration::ZERO, AnswerSource::Cache), (3, false));
        assert_eq!(read(Duration::from_millis(15), AnswerSource::Cache), (18, false));
        assert_eq!(read(Duration::from_secs(60), AnswerSource::Stale), (60_003, true));
        assert_eq!(read(Duration::ZERO, AnswerSource::Stale), (3, true), "whatever its age");
        assert_eq!(read(Duration::ZERO, AnswerSource::Cache), (3, false), "what is kept stays as it came");
    }
}
