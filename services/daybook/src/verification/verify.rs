//! Compares what the log makes with what REPORTS has.

use super::difference::{Difference, What};
use super::paths::first_difference;
use super::replay::{Broken, Replay, Trimmed};
use super::stored::{ForeignList, Key, StoredReport, StoredReports, missing};
use anyhow::Context as _;
use async_nats::jetstream::stream::RawMessageErrorKind;
use daybook_contracts::ask::{POSITION_VIEW, Position};
use daybook_contracts::log::{Batch, Record};
use daybook_domain::ids::{LogSeq, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::removal::Purge;
use daybook_machine::{Effect, SealedReport};
use daybook_runtime::append::stream_handle;
use daybook_runtime::backoff::retry;
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::read_all;
use indicatif::ProgressBar;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most differences that are kept, with what differs; more are counted. The first one is what to look into.
pub const MAX_DIFFERENCES: usize = 1_000;
/// Most reports of each other outcome that are named; more are counted.
const MAX_NAMED: usize = 10_000;
/// How long a shard may take to say whether it has written everything.
const SHARD_PATIENCE: Duration = Duration::from_secs(2);
/// Batches between two looks at the progress bar.
const PROGRESS_STEP: u64 = 16;

/// Which reports are verified.
#[derive(Clone, Debug)]
pub enum Scope {
    /// One day of one tenant, all versions.
    Day(TenantId, Date),
    /// Every report of these tenants.
    Tenants(BTreeSet<TenantId>),
    /// Every report.
    All,
}

impl Scope {
    fn has(&self, tenant: &TenantId, date: Date) -> bool {
        match self {
            Self::Day(one, day) => one == tenant && *day == date,
            Self::Tenants(tenants) => tenants.contains(tenant),
            Self::All => true,
        }
    }

    fn partitions(&self, count: u16) -> BTreeSet<Partition> {
        match self {
            Self::Day(tenant, _) => [Partition::of(tenant.as_str(), count)].into(),
            Self::Tenants(tenants) => tenants.iter().map(|tenant| Partition::of(tenant.as_str(), count)).collect(),
            Self::All => Partition::all(count).collect(),
        }
    }
}

/// One version of a report, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    pub tenant: TenantId,
    pub date: Date,
    pub version: u64,
    /// The batch that sealed it, as far as known.
    pub position: Option<LogSeq>,
    pub hash: Option<String>,
    /// Why it is not verified, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reports by name, as many as are kept, and how many there are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct List {
    pub count: u64,
    pub named: Vec<Named>,
}

impl List {
    fn add(&mut self, named: Named) {
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(named);
        }
    }
}

/// What a verification of one partition came to.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionOutcome {
    pub partition: Partition,
    /// The last batch that was replayed.
    pub through: LogSeq,
    pub batches: u64,
    pub events: u64,
    pub verified: u64,
    /// Why it was not replayed to its end.
    pub broken: Option<String>,
    /// Whether that is for the log's retention, and nothing is amiss.
    pub broken_by_retention: bool,
    /// Where the replay had to begin, when the log is trimmed.
    pub trimmed: Option<Trimmed>,
}

/// What a verification came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    pub partitions: Vec<PartitionOutcome>,
    /// Versions that the log makes byte for byte, with nothing else amiss.
    pub verified: List,
    /// Versions that the log makes and the shard has yet to write.
    pub not_written: List,
    /// Versions that the log, as far as it is there, cannot prove or disprove.
    pub not_verifiable: List,
    /// Versions that rest on a part of the log that its retention has deleted. Nothing is amiss with them, as far as can
    /// be told.
    pub no_longer_verifiable: List,
    /// Messages among the reports that no shard wrote. Nothing rests on them.
    pub foreign: ForeignList,
    /// Of the lowest partition and position first.
    pub differences: Vec<Difference>,
    /// How many there are, of which `differences` has at most [`MAX_DIFFERENCES`].
    pub differences_count: u64,
    pub seconds: f64,
}

impl Verification {
    /// Whether the log was replayed to its end, and every version was verified or is yet to be written.
    pub fn is_sound(&self) -> bool {
        !self.is_amiss() && self.no_longer_verifiable.count == 0 && self.partitions.iter().all(|p| p.broken.is_none())
    }

    /// Whether more is amiss than that retention has deleted a part of the log.
    pub fn is_amiss(&self) -> bool {
        let is_damaged = |partition: &PartitionOutcome| partition.broken.is_some() && !partition.broken_by_retention;
        self.differences_count > 0 || self.not_verifiable.count > 0 || self.partitions.iter().any(is_damaged)
    }
}

/// Verifies the reports in scope.
///
/// # Errors
/// When a stored report cannot be fetched again.
pub async fn verify(connection: &Connection, scope: Scope, bar: &ProgressBar) -> anyhow::Result<Verification> {
    let began = tokio::time::Instant::now();
    let filter = match &scope {
        Scope::Day(tenant, _) => connection.subjects.reports_of(tenant.as_str()),
        Scope::Tenants(tenants) if tenants.len() == 1 => {
            connection.subjects.reports_of(tenants.first().expect("there is one").as_str())
        }
        Scope::Tenants(_) | Scope::All => connection.subjects.reports_of("*"),
    };
    // Before the log: a report is written after its batch, so every one of these has its batch in the log that follows.
    let stored = StoredReports::read(connection, filter, bar).await;
    let mut verifier = Verifier {
        connection: connection.clone(),
        scope,
        stored,
        outcome: Verification::default(),
        missing: BTreeSet::new(),
    };
    verifier.outcome.foreign = std::mem::take(&mut verifier.stored.foreign);
    for partition in verifier.scope.partitions(connection.partitions) {
        verifier.partition(partition, bar).await?;
    }
    verifier.check_stored();
    let mut outcome = verifier.finish();
    outcome.seconds = began.elapsed().as_secs_f64();
    bar.finish_and_clear();
    Ok(outcome)
}

/// A version that the log makes and REPORTS did not have when it was read.
struct Unwritten {
    key: Key,
    version: u64,
    position: LogSeq,
    hash: String,
}

impl Unwritten {
    fn goes_with(&self, purge: &Purge) -> bool {
        self.key.tenant == purge.tenant && self.key.generation <= purge.generation
    }
}

struct Verifier {
    connection: Connection,
    scope: Scope,
    stored: StoredReports,
    outcome: Verification,
    /// What was said to be missing already.
    missing: BTreeSet<(Key, u64)>,
}

impl Verifier {
    async fn partition(&mut self, partition: Partition, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut replay = Replay::start(&self.connection, partition).await?;
        bar.set_length(replay.end().0);
        bar.set_position(0);
        bar.set_message(format!("replaying partition {partition} of {}", self.connection.partitions));
        let mut outcome = PartitionOutcome {
            partition,
            through: replay.state.position(),
            batches: 0,
            events: 0,
            verified: 0,
            broken: None,
            broken_by_retention: false,
            trimmed: replay.trimmed,
        };
        let mut unwritten = Vec::new();
        let broken = loop {
            let (position, batch) = match replay.next().await {
                Ok(Some(next)) => next,
                Ok(None) if replay.is_empty() => break Some(Broken::Empty(partition)),
                Ok(None) => break None,
                Err(broken) => break Some(broken),
            };
            let events = count_events(&batch);
            let effects = match replay.apply(position, batch).await {
                Ok(effects) => effects,
                Err(broken) => break Some(broken),
            };
            (outcome.through, outcome.batches, outcome.events) =
                (position, outcome.batches + 1, outcome.events + events);
            for effect in effects {
                match effect {
                    Effect::Report(report) if self.scope.has(&report.tenant, report.date) => {
                        unwritten.extend(self.compare(position, replay.stored_at, &report).await?);
                    }
                    // What is not there was deleted with its tenant.
                    Effect::Purge(purge) => unwritten.retain(|unwritten: &Unwritten| !unwritten.goes_with(&purge)),
                    Effect::Report(_) | Effect::Rejects { .. } | Effect::Alerts { .. } => {}
                }
            }
            if outcome.batches.is_multiple_of(PROGRESS_STEP) {
                bar.set_position(position.0);
            }
        };
        // The machine may be large; what follows does not need it.
        drop(replay);
        for unwritten in unwritten {
            self.look_again(unwritten).await;
        }
        self.judge_unseen(partition, broken.as_ref(), outcome.trimmed);
        if let Some(broken) = broken.filter(|broken| !matches!(broken, Broken::Empty(_))) {
            outcome.broken_by_retention = broken.is_trimmed();
            outcome.broken = Some(broken.to_string());
        }
        self.outcome.partitions.push(outcome);
        Ok(())
    }

    /// Compares a version that the log makes with what stands under its number; gives it back when nothing does.
    async fn compare(
        &mut self,
        position: LogSeq,
        stored_at: Option<Instant>,
        made: &SealedReport,
    ) -> anyhow::Result<Option<Unwritten>> {
        let key = Key { tenant: made.tenant.clone(), generation: made.generation, date: made.date };
        let version = u64::from(made.version);
        let reports = self.stored.days.entry(key.clone()).or_default();
        let greatest = reports.iter().map(|report| report.version).max().unwrap_or(0);
        let mut found = Vec::new();
        let mut is_there = false;
        for report in reports.iter_mut().filter(|report| report.version == version) {
            (is_there, report.is_reproduced) = (true, true);
            if report.hash.to_hex().as_str() == made.hash {
                continue;
            }
            let place = if self.outcome.differences.len() + found.len() < MAX_DIFFERENCES {
                let stored = payload(&self.connection, report.sequence).await?;
                What::bytes(first_difference(&stored, &made.payload))
            } else {
                // It is only counted.
                What::Bytes { path: "$".to_owned(), stored: String::new(), reproduced: String::new() }
            };
            let difference = report.difference(&key, place);
            found.push(Difference { position: Some(position), ..difference });
        }
        found.into_iter().for_each(|difference| self.note(difference));
        if is_there {
            return Ok(None);
        }
        // Older than what REPORTS still has: it was deleted by its retention.
        if stored_at < self.stored.gone_before {
            return Ok(None);
        }
        if version < greatest {
            self.note_missing(&key, version, Some(position));
            return Ok(None);
        }
        Ok(Some(Unwritten { key, version, position, hash: made.hash.clone() }))
    }

    /// The newest versions may be under way still: whether they are, only the shard knows.
    async fn look_again(&mut self, unwritten: Unwritten) {
        let Unwritten { key, version, position, hash } = unwritten;
        // Asked first: what it has written by now is there when REPORTS is read after that.
        let has_written = self.has_written(&key.tenant, position).await;
        let subject = self.connection.subjects.report(&key.tenant, key.date);
        let stream = self.connection.subjects.reports_stream();
        let since = read_all(&self.connection, stream, subject, self.stored.end + 1).await;
        let named = Named {
            tenant: key.tenant.clone(),
            date: key.date,
            version,
            position: Some(position),
            hash: Some(hash.clone()),
            reason: None,
        };
        let found = since
            .iter()
            .filter_map(|message| StoredReport::of(&self.connection.subjects, message))
            .map(|(_, report)| report)
            .find(|report| report.version == version);
        match found {
            Some(mut report) => {
                report.is_reproduced = true;
                if report.hash.to_hex().as_str() != hash {
                    let stored = format!("hash {}", report.hash.to_hex());
                    let what = What::Bytes { path: "$".to_owned(), stored, reproduced: format!("hash {hash}") };
                    let difference = report.difference(&key, what);
                    self.note(difference);
                }
                self.stored.days.entry(key).or_default().push(report);
            }
            None if has_written => self.note_missing(&key, version, Some(position)),
            None => self.outcome.not_written.add(named),
        }
    }

    /// Whether the shard has written every output up to the position. A shard that does not answer may have some.
    async fn has_written(&self, tenant: &TenantId, position: LogSeq) -> bool {
        let subject = self.connection.subjects.query(tenant.as_str(), POSITION_VIEW);
        let request = async_nats::Request::new().payload("null".into()).timeout(Some(SHARD_PATIENCE));
        let reply = self.connection.client.send_request(subject, request).await.ok();
        let answer = reply.and_then(|reply| serde_json::from_slice::<Position>(&reply.payload).ok());
        answer.is_some_and(|answer| answer.as_of.log >= position && answer.outputs_waiting == 0)
    }

    /// Says what is to be said of the stored versions that the replay did not come to.
    fn judge_unseen(&mut self, partition: Partition, broken: Option<&Broken>, trimmed: Option<Trimmed>) {
        let count = self.connection.partitions;
        let mut unfounded = Vec::new();
        for (key, reports) in &mut self.stored.days {
            if Partition::of(key.tenant.as_str(), count) != partition || !self.scope.has(&key.tenant, key.date) {
                continue;
            }
            for report in reports.iter_mut().filter(|report| !report.is_reproduced) {
                let is_before =
                    |trimmed: &Trimmed| report.position().is_some_and(|through| through <= trimmed.snapshot);
                if let Some(trimmed) = trimmed.filter(is_before) {
                    let reason = format!("the log begins at {}", trimmed.begins);
                    self.outcome.no_longer_verifiable.add(named(key, report, reason));
                    continue;
                }
                let reaches = |broken: &&Broken| report.position().is_none_or(|through| through >= broken.position());
                match broken.filter(reaches) {
                    Some(broken) => {
                        let reason = reason_of(broken, report.head.as_ref().ok().map(|head| head.log.from));
                        let list = match broken.is_trimmed() {
                            true => &mut self.outcome.no_longer_verifiable,
                            false => &mut self.outcome.not_verifiable,
                        };
                        list.add(named(key, report, reason));
                    }
                    None => {
                        report.is_unfounded = true;
                        unfounded.push(report.difference(key, What::Unfounded));
                    }
                }
            }
        }
        unfounded.into_iter().for_each(|difference| self.note(difference));
    }

    /// Checks what needs no log.
    fn check_stored(&mut self) {
        let mut stored = std::mem::take(&mut self.stored);
        let mut found = Vec::new();
        stored.check(|key, difference| {
            // Of a day's neighbours only their common border matters.
            let is_border = matches!(difference.what, What::Contiguity { .. });
            let is_next =
                matches!(&self.scope, Scope::Day(tenant, date) if *tenant == key.tenant && date.next() == key.date);
            if self.scope.has(&key.tenant, key.date) || (is_border && is_next) {
                found.push((key.clone(), difference));
            }
        });
        self.stored = stored;
        for (key, difference) in found {
            match difference.what {
                What::Missing => self.note_missing(&key, difference.version, None),
                _ => self.note(difference),
            }
        }
    }

    fn note_missing(&mut self, key: &Key, version: u64, position: Option<LogSeq>) {
        if self.missing.insert((key.clone(), version)) {
            self.note(missing(key, version, position));
        }
    }

    fn note(&mut self, difference: Difference) {
        self.outcome.differences_count += 1;
        if self.outcome.differences.len() < MAX_DIFFERENCES {
            self.outcome.differences.push(difference);
        }
    }

    fn finish(mut self) -> Verification {
        let count = self.connection.partitions;
        let mut verified: BTreeMap<Partition, u64> = BTreeMap::new();
        for (key, reports) in &self.stored.days {
            for report in reports.iter().filter(|report| report.is_reproduced && report.differences == 0) {
                *verified.entry(Partition::of(key.tenant.as_str(), count)).or_default() += 1;
                self.outcome.verified.add(Named {
                    tenant: key.tenant.clone(),
                    date: key.date,
                    version: report.version,
                    position: report.position(),
                    hash: report.header.clone(),
                    reason: None,
                });
            }
        }
        for outcome in &mut self.outcome.partitions {
            outcome.verified = verified.get(&outcome.partition).copied().unwrap_or(0);
        }
        let order = |difference: &Difference| {
            let partition = TenantId::new(&difference.tenant).ok().map(|tenant| Partition::of(tenant.as_str(), count));
            // What has no position of its own, such as a version that is not there, goes before what does not tell more.
            let what = matches!(difference.what, What::Repeated | What::Chain { .. });
            (partition, difference.position.unwrap_or(LogSeq(u64::MAX)), what)
        };
        self.outcome.differences.sort_by_key(order);
        self.outcome
    }
}

fn named(key: &Key, report: &StoredReport, reason: String) -> Named {
    Named {
        tenant: key.tenant.clone(),
        date: key.date,
        version: report.version,
        position: report.position(),
        hash: report.header.clone(),
        reason: Some(reason),
    }
}

/// Why a report that reaches over a broken place cannot be verified.
fn reason_of(broken: &Broken, from: Option<LogSeq>) -> String {
    match (broken, from) {
        (Broken::Hole { position, follows, .. }, Some(from)) if from < *position && *follows > LogSeq(0) => {
            format!("its range begins at {from}; {broken}")
        }
        _ => broken.to_string(),
    }
}

fn count_events(batch: &Batch) -> u64 {
    let count = |record: &Record| match record {
        Record::Events(events) => events.events.len() as u64,
        Record::Rejected(reject) => reject.events(),
        Record::Day(_) | Record::Define(_) | Record::Restate(_) => 0,
    };
    batch.records.iter().map(count).sum()
}

/// The exact bytes of a stored report.
async fn payload(connection: &Connection, sequence: u64) -> anyhow::Result<bytes::Bytes> {
    let stream = connection.subjects.reports_stream();
    let fetch = retry("fetch a report again", || async {
        match stream_handle(connection, &stream).await?.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    fetch.await.with_context(|| format!("message {sequence} of {stream} was deleted meanwhile"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::log::{FORMAT, Through};
    use daybook_contracts::reject::{Code, Original, Reject, Span};
    use daybook_domain::ids::InboxSeq;

    #[test]
    fn the_events_of_a_batch_are_those_that_were_published() {
        let reject = |span| {
            Record::Rejected(Reject {
                code: Code::QuotaEvents,
                reason: "r".into(),
                tenant: "acme".into(),
                kind: "order".into(),
                inbox: InboxSeq(1),
                index: 0,
                field: None,
                date: None,
                original: Original::new(b""),
                span,
            })
        };
        let records = vec![reject(None), reject(Some(Span { events: 50_000, last: InboxSeq(9) }))];
        let through = Through { inbox: InboxSeq(9), events: 0 };
        assert_eq!(count_events(&Batch { format: FORMAT, through, records }), 50_001);
    }
}
