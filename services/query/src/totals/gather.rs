//! Asks the shards for the groups of all tenants of a group, many at once, within a bound for all of them together.

use crate::merge;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, Query};
use daybook_contracts::totals::{Absent, Member, Totals};
use daybook_domain::ids::{Partition, TenantId};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Tenants in one question to a shard: the log waits for the answer.
const TENANTS_AT_ONCE: usize = 64;
/// Questions to shards under way at once for one question about a group.
const QUESTIONS_AT_ONCE: usize = 8;
/// Most bytes of groups, encoded, that one question merges. Of those that are under way when it is full, each may add a message.
const MAX_BYTES: usize = 32 << 20;

/// What the shards say of the tenants. `ask` asks the shard of a partition for some of its tenants, and says how many bytes the reply
/// took; `newest` says which revision of the view is the newest, if it can.
///
/// # Errors
/// When the question does not fit the view: after the first reply that has a definition, unless a newer one is known that another
/// partition may have. [`AskErrorCode::TooLarge`] when the groups take more than [`MAX_BYTES`]. Errors of shards, but for those that
/// concern some tenants alone: such tenants are absent.
pub(super) async fn gather<'a>(
    query: &Query,
    tenants: &BTreeSet<TenantId>,
    partitions: u16,
    ask: impl Fn(Partition, Vec<TenantId>) -> BoxFuture<'a, Asked<(Totals, usize)>> + Sync,
    newest: impl Fn() -> BoxFuture<'a, Option<u64>> + Sync,
) -> Asked<Vec<Totals>> {
    let shared = Shared {
        query,
        left: AtomicUsize::new(MAX_BYTES),
        checked: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let asks: Vec<_> = chunks(tenants, partitions)
        .into_iter()
        .map(|(partition, tenants)| of_chunk(&shared, &ask, &newest, partition, tenants).boxed())
        .collect();
    let mut replies = futures::stream::iter(asks).buffer_unordered(QUESTIONS_AT_ONCE);
    let (mut parts, mut failure) = (Vec::new(), None);
    while let Some(reply) = replies.next().await {
        match reply {
            _ if failure.is_some() => {}
            Ok(more) => parts.extend(more),
            // What is under way still ends, and nothing else begins: a question that is broken off would count as silence of its
            // shard, and three of them open the breaker of a partition for everyone.
            Err(error) => {
                shared.is_over.store(true, Ordering::Relaxed);
                parts.clear();
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok(parts), Err)
}

/// The tenants, as many as are asked for at once, with their partition.
fn chunks(tenants: &BTreeSet<TenantId>, partitions: u16) -> Vec<(Partition, Vec<TenantId>)> {
    let mut of_partitions: BTreeMap<Partition, Vec<TenantId>> = BTreeMap::new();
    for tenant in tenants {
        of_partitions.entry(Partition::of(tenant.as_str(), partitions)).or_default().push(tenant.clone());
    }
    let chunks = of_partitions
        .iter()
        .flat_map(|(partition, tenants)| tenants.chunks(TENANTS_AT_ONCE).map(|tenants| (*partition, tenants.to_vec())));
    chunks.collect()
}

/// What all replies to one question have in common.
struct Shared<'q> {
    query: &'q Query,
    /// Bytes that they may still take together.
    left: AtomicUsize,
    /// The newest revision of the view with which the question was checked; 0 before the first.
    checked: AtomicU64,
    /// Nothing more is to be asked.
    is_over: AtomicBool,
}

impl Shared<'_> {
    fn take(&self, bytes: usize) -> Asked<()> {
        let take = |left: usize| left.checked_sub(bytes);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(too_large()),
        }
    }

    /// Checks that the question fits the view as this part has it.
    ///
    /// # Errors
    /// When it does not, and there is no newer revision that it may fit.
    async fn check<'a>(&self, part: &Totals, newest: &(impl Fn() -> BoxFuture<'a, Option<u64>> + Sync)) -> Asked<()> {
        let Some((view, kind)) = &part.definition else { return Ok(()) };
        if self.checked.fetch_max(view.revision, Ordering::Relaxed) >= view.revision {
            return Ok(());
        }
        let Err(error) = merge::check(self.query, view, kind) else { return Ok(()) };
        match newest().await {
            Some(newest) if newest <= view.revision => Err(error),
            _ => Ok(()),
        }
    }
}

/// What the shard of some tenants says of them; nothing once the question is over. Where it is too long for a message, fewer are asked
/// for at once.
async fn of_chunk<'a>(
    shared: &Shared<'_>,
    ask: &(impl Fn(Partition, Vec<TenantId>) -> BoxFuture<'a, Asked<(Totals, usize)>> + Sync),
    newest: &(impl Fn() -> BoxFuture<'a, Option<u64>> + Sync),
    partition: Partition,
    tenants: Vec<TenantId>,
) -> Asked<Vec<Totals>> {
    let (mut waiting, mut parts) = (vec![tenants], Vec::new());
    while let Some(tenants) = waiting.pop() {
        if shared.is_over.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        match ask(partition, tenants.clone()).await {
            Ok((totals, bytes)) => {
                shared.take(bytes)?;
                shared.check(&totals, newest).await?;
                parts.push(totals);
            }
            Err(error) if error.code == AskErrorCode::TooLarge && tenants.len() > 1 => {
                let (one, other) = tenants.split_at(tenants.len() / 2);
                waiting.extend([other.to_vec(), one.to_vec()]);
            }
            Err(AskError { code, message, .. }) if is_of_tenants(code) => {
                let absent = |tenant| Member { tenant, found: Err(Absent { code, why: message.clone() }) };
                let members = tenants.into_iter().map(absent).collect();
                parts.push(Totals { members, ..Totals::at(Default::default(), Default::default()) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(parts)
}

/// Whether an error concerns the tenants that were asked for, and not the question.
fn is_of_tenants(code: AskErrorCode) -> bool {
    matches!(code, AskErrorCode::Unavailable | AskErrorCode::Busy | AskErrorCode::TooLarge)
}

fn too_large() -> AskError {
    AskError::new(AskErrorCode::TooLarge, format!("the tenants' groups take more than {MAX_BYTES} bytes"))
        .hint("ask for fewer days, a view with fewer dimensions, or smaller groups of tenants")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::tests::figures;
    use daybook_contracts::ask::DayState;
    use daybook_contracts::totals::MemberFigures;
    use daybook_domain::ids::{InboxSeq, LogSeq};
    use daybook_domain::time::Date;
    use std::sync::Mutex;

    const MIB: usize = 1 << 20;
    /// Two partitions, so that there are several chunks.
    const PARTITIONS: u16 = 2;

    fn tenants(count: usize) -> BTreeSet<TenantId> {
        (0..count).map(|number| TenantId::new(&format!("t{number}")).unwrap()).collect()
    }

    /// Shards that answer, each after a moment, and count what they are asked.
    #[derive(Default)]
    struct Counted {
        begun: AtomicUsize,
        ended: AtomicUsize,
        bytes: AtomicUsize,
        looks: AtomicUsize,
        asked: Mutex<Vec<usize>>,
    }

    impl Counted {
        fn ask<'a>(
            &'a self,
            answer: impl Fn(&[TenantId]) -> Asked<(Totals, usize)> + Sync + 'a,
        ) -> impl Fn(Partition, Vec<TenantId>) -> BoxFuture<'a, Asked<(Totals, usize)>> + Sync + 'a {
            move |_, tenants| {
                self.begun.fetch_add(1, Ordering::Relaxed);
                self.asked.lock().unwrap().push(tenants.len());
                let answer = answer(&tenants);
                async move {
                    tokio::task::yield_now().await;
                    self.ended.fetch_add(1, Ordering::Relaxed);
                    self.bytes.fetch_add(answer.as_ref().map_or(0, |(_, bytes)| *bytes), Ordering::Relaxed);
                    answer
                }
                .boxed()
            }
        }

        /// CATALOG has that revision.
        fn newest<'a>(&'a self, revision: Option<u64>) -> impl Fn() -> BoxFuture<'a, Option<u64>> + Sync + 'a {
            move || {
                self.looks.fetch_add(1, Ordering::Relaxed);
                async move { revision }.boxed()
            }
        }

        fn counts(&self) -> [usize; 2] {
            [&self.begun, &self.ended].map(|count| count.load(Ordering::Relaxed))
        }
    }

    /// All tenants have figures, by that revision of the view.
    fn found(tenants: &[TenantId], revision: u64) -> Totals {
        let (date, mut made) = (Date::from_days(0), figures("2013-03-10", 1));
        made.view.revision = revision;
        let found = || Ok(MemberFigures { from: date, to: date, day: DayState::Open, days: Vec::new() });
        let members = tenants.iter().map(|tenant| Member { tenant: tenant.clone(), found: found() }).collect();
        Totals { definition: Some((made.view, made.kind)), members, ..Totals::at(LogSeq(1), InboxSeq(1)) }
    }

    fn too_large_together() -> AskError {
        AskError::new(AskErrorCode::TooLarge, "together")
    }

    #[tokio::test]
    async fn all_replies_to_a_question_share_one_room() {
        // Tenants of one MiB each, who do not fit a message together.
        let shards = Counted::default();
        let ask = shards.ask(|tenants| match tenants {
            [_] => Ok((found(tenants, 1), MIB)),
            _ => Err(too_large_together()),
        });
        let gathered = gather(&Query::default(), &tenants(600), PARTITIONS, ask, shards.newest(Some(1))).await;
        assert_eq!(gathered.unwrap_err().code, AskErrorCode::TooLarge);
        let bytes = shards.bytes.load(Ordering::Relaxed);
        assert!((MAX_BYTES..=MAX_BYTES + QUESTIONS_AT_ONCE * MIB).contains(&bytes), "{bytes}");
        let [begun, ended] = shards.counts();
        assert_eq!(begun, ended, "none was broken off");
    }

    #[tokio::test]
    async fn a_question_that_does_not_fit_the_view_fails_with_the_first_reply() {
        let wrong = Query { filter: Some("shop = 'x'".into()), ..Query::default() };
        let shards = Counted::default();
        let ask = shards.ask(|tenants| Ok((found(tenants, 1), 10)));
        let gathered = gather(&wrong, &tenants(1_000), PARTITIONS, ask, shards.newest(Some(1))).await;
        assert_eq!(gathered.unwrap_err().field.as_deref(), Some("where"));
        let [begun, ended] = shards.counts();
        assert!(begun <= QUESTIONS_AT_ONCE && ended == begun, "{begun} begun, {ended} ended");
        assert_eq!(shards.looks.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_question_may_fit_a_revision_that_another_partition_has() {
        let by_carrier = Query { filter: Some("carrier = 'B6'".into()), ..Query::default() };
        let newer = TenantId::new("t7").unwrap();
        // The old revision has no carrier.
        let answer = |tenants: &[TenantId]| {
            let mut totals = found(tenants, if tenants.contains(&newer) { 2 } else { 1 });
            if let Some((view, _)) = &mut totals.definition
                && view.revision == 1
            {
                view.group_by.clear();
            }
            Ok((totals, 10))
        };
        let count = chunks(&tenants(1_000), PARTITIONS).len();
        for (newest, is_asked_all) in [(Some(2), true), (None, true), (Some(1), false)] {
            let shards = Counted::default();
            let gathered =
                gather(&by_carrier, &tenants(1_000), PARTITIONS, shards.ask(answer), shards.newest(newest)).await;
            assert_eq!(gathered.map_or(0, |parts| parts.len()) == count, is_asked_all, "{newest:?}");
        }
    }

    #[tokio::test]
    async fn a_tenant_that_is_too_large_alone_is_absent() {
        let large = TenantId::new("t7").unwrap();
        let shards = Counted::default();
        let ask = shards.ask(|tenants| match tenants.contains(&large) {
            true => Err(too_large_together()),
            false => Ok((found(tenants, 1), 10)),
        });
        let all = tenants(20);
        let parts = gather(&Query::default(), &all, 1, ask, shards.newest(Some(1))).await.unwrap();
        let members: BTreeMap<_, _> =
            parts.into_iter().flat_map(|part| part.members).map(|m| (m.tenant, m.found)).collect();
        assert_eq!(members.keys().collect::<Vec<_>>(), all.iter().collect::<Vec<_>>());
        let absent: Vec<_> =
            members.into_iter().filter_map(|(tenant, found)| Some((tenant, found.err()?.code))).collect();
        assert_eq!(absent, [(large, AskErrorCode::TooLarge)]);
        assert_eq!(shards.asked.lock().unwrap()[0], 20, "all together at first");
    }

    #[tokio::test]
    async fn an_error_of_the_question_is_the_error_of_all() {
        let shards = Counted::default();
        let ask = shards.ask(|_| Err(AskError::new(AskErrorCode::BadRequest, "wrong")));
        let gathered = gather(&Query::default(), &tenants(1_000), PARTITIONS, ask, shards.newest(Some(1))).await;
        assert_eq!(gathered.unwrap_err().code, AskErrorCode::BadRequest);
        let [begun, ended] = shards.counts();
        assert!(begun <= QUESTIONS_AT_ONCE && ended == begun, "{begun} begun, {ended} ended");
    }
}
