//! A replica of a partition: aggregator-shard's actor as steps around the real [`PartitionState`]. Feed, outbox,
//! checkpoints, snapshots, trimming and backfills are tasks of their own there; here each is one kind of step, taken in any
//! order. How it begins is in [`crate::opening`].

use crate::broker::Stream;
use crate::fault::Fault;
use crate::marks;
use crate::mutation::Mutation;
use crate::opening::{Reach, open};
use crate::outbox::Outbox;
use crate::settings::{Place, Shell, Violation};
use crate::snapshots::{self, Next, Trimming, Upload};
use crate::store::Store;
use aggregator_shard::outputs::{Maker, Recorded};
use aggregator_shard::reclaim::Reclaim;
use daybook_contracts::ask::ViewProgress;
use daybook_contracts::log::{Batch, Event, Record, Restate};
use daybook_domain::catalogue::{Definition, Earliest, Removal, View};
use daybook_domain::ids::{LogSeq, Name, Partition};
use daybook_machine::PartitionState;
use daybook_machine::backfill::Found;
use daybook_machine::checkpoint::RestoreError;
use daybook_machine::remembered::upkeep::Kept;
use daybook_machine::residency::PageId;
use daybook_runtime::log::Logged;
use daybook_runtime::outbox::Task;
use daybook_runtime::store::Changes;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Days are small: so some pages are stored in their day's head, and some by themselves; in some runs all of them, so that they can leave
/// memory.
const SMALL_PAGE_BYTES: [usize; 2] = [0, 150];
/// How often a replica restates days by its own clock, with a mutation only.
const RESTATE_EVERY_MS: i64 = 6 * 3_600_000;

/// Batches that wait at most, as in the real feed.
const AHEAD: usize = 4;
/// It stands still once in so many turns.
const PAUSE_ONE_IN: usize = 50;
/// For how many turns at most.
const MAX_PAUSE: usize = 80;
/// How often it looks for another's snapshot before it goes on with what it has: longer than any fault lasts.
const PATIENCE: usize = 400;

/// A replica.
pub struct Replica {
    pub partition: Partition,
    /// Which of the replicas, from 0.
    pub number: usize,
    store: Store,
    running: Option<Box<Running>>,
    /// For how many more turns it stands still.
    paused: usize,
}

struct Running {
    state: PartitionState,
    /// The last batch that was handed over by the feed.
    fed: LogSeq,
    /// The last message that was read, which may be none of ingest's.
    passed: LogSeq,
    waiting: VecDeque<(Recorded, Batch)>,
    /// The alerts of the last batch.
    raised: blake3::Hasher,
    /// Pages that the first of them needs, as they were read from the store.
    fetched: Option<Vec<(PageId, Vec<u8>)>>,
    /// What came of a piece of the upkeep of remembered ids, and is not in place yet.
    kept: Option<Kept>,
    outbox: Outbox,
    maker: Maker,
    checkpoint: Option<Checkpoint>,
    checkpointed: LogSeq,
    upload: Option<Upload>,
    /// When the last snapshot was due, by how long the broker had run.
    snapshot_at: Duration,
    /// The position of the newest snapshot, as far as is known.
    snapshotted: LogSeq,
    trimming: Option<Trimming>,
    /// Which pieces of snapshots were named when it looked last.
    reclaim: Reclaim,
    /// The position of a batch that waits for another's snapshot, and how often that was looked for.
    short_of: Option<(LogSeq, usize)>,
    was_level: bool,
    scratch: Option<Scratch>,
    adding: bool,
    /// What was said already, for a mutation.
    said: BTreeSet<(Name, String)>,
    /// When it restated days by its own clock last, in milliseconds: with a mutation only.
    restated: i64,
}

/// A checkpoint that waits for the outputs before it.
struct Checkpoint {
    position: LogSeq,
    outputs: u64,
    changes: Changes,
    /// Whether a snapshot of it is due, and nothing waits for a backfill in it.
    snapshot: Option<bool>,
}

/// A second machine that reads the log for views that came later.
struct Scratch {
    state: PartitionState,
    base: LogSeq,
    /// The last batch that was read; none before it is known where to begin.
    last: Option<LogSeq>,
    /// From which position on it reads, where the log is trimmed.
    since: Option<LogSeq>,
}

/// What a step did that is to be checked.
pub enum Stepped {
    Nothing,
    Applied(LogSeq),
    /// It goes on with a view that was made of another part of the log than that of others.
    Apart,
}

/// The actor ends, to begin again.
struct Ended;

impl Replica {
    pub fn new(partition: Partition, number: usize) -> Self {
        Self { partition, number, store: Store::default(), running: None, paused: 0 }
    }

    /// Ends; the store stays.
    pub fn crash(&mut self) {
        self.running = None;
    }

    /// Whether it does nothing at its turn.
    pub fn stands_still(&mut self, shell: &mut Shell) -> bool {
        if self.paused == 0 && shell.strikes(Fault::Pause, PAUSE_ONE_IN) {
            self.paused = shell.random.below(MAX_PAUSE);
            shell.trace.note(|| format!("replica {}/{}: stands still", self.partition, self.number));
        }
        // A pause ends with the faults.
        self.paused = if shell.settings.faults.has(Fault::Pause) { self.paused.saturating_sub(1) } else { 0 };
        self.paused > 0
    }

    /// A hash of the alerts that the last batch made.
    pub fn raised(&self) -> Option<blake3::Hash> {
        self.running.as_ref().map(|running| running.raised.finalize())
    }

    /// The state, while it runs.
    pub fn state(&mut self) -> Option<&mut PartitionState> {
        self.running.as_mut().map(|running| &mut running.state)
    }

    /// How the views stand, as it answers day-manager.
    pub fn views(&self) -> Option<Vec<ViewProgress>> {
        self.running.as_ref().map(|running| running.state.views(0))
    }

    /// Why it is not at rest at the end of the log, if it is not.
    pub fn unrest(&self, end: u64) -> Option<String> {
        let Some(running) = &self.running else { return Some("it is down".to_owned()) };
        let position = running.state.position().0;
        match () {
            () if position != end => Some(format!("it is at batch {position} of {end}")),
            () if !running.outbox.is_empty() => Some("outputs wait".to_owned()),
            () => running.state.views(0).iter().find(|view| view.pending.is_some()).map(|view| format!("{view:?}")),
        }
    }

    /// One step.
    ///
    /// # Errors
    /// When what it makes is not what is there, or its store is not what a commit left.
    pub fn step(&mut self, shell: &mut Shell) -> Result<Stepped, Violation> {
        let Some(running) = &mut self.running else {
            self.start(shell)?;
            return Ok(Stepped::Nothing);
        };
        let partition = self.partition;
        let outcome = match shell.random.below(17) {
            0..3 => running.feed(shell, partition),
            3..6 => running.apply(shell, self.number, partition, &self.store),
            6..10 => {
                running.outbox.step(shell)?;
                Ok(Stepped::Nothing)
            }
            10..13 => running.save(shell, partition, &mut self.store),
            13 => {
                running.evict(shell, 1);
                running.keep_up(shell, &self.store).map(|()| {
                    if running.was_level || !running.waiting.is_empty() {
                        running.begin_backfill();
                    }
                    Stepped::Nothing
                })
            }
            14..16 => running.keep_up(shell, &self.store).and_then(|()| running.backfill(shell, partition)),
            _ => {
                running.trim(shell, partition);
                Ok(Stepped::Nothing)
            }
        };
        outcome.or_else(|Ended| {
            shell.trace.note(|| format!("replica {partition}/{}: ends", self.number));
            self.crash();
            Ok(Stepped::Nothing)
        })
    }

    fn start(&mut self, shell: &mut Shell) -> Result<(), Violation> {
        let name = format!("{}/{}", self.partition, self.number);
        let limit = closed_bytes(shell, self.number);
        let Some(state) = open(shell, self.partition, &name, &mut self.store, limit)? else { return Ok(()) };
        let small = SMALL_PAGE_BYTES[shell.settings.seed as usize % SMALL_PAGE_BYTES.len()];
        let mut state = state.with_small_pages(small).with_small_ids().with_small_summaries();
        if !shell.settings.seed.is_multiple_of(4) {
            // Runs are short, and few days close in them.
            state = state.with_open_days_limited();
        }
        // A snapshot that was taken over is all in memory.
        state.limit_closed(limit);
        state.keep_digests();
        let position = state.position();
        shell.trace.note(|| format!("replica {name}: begins at {position}"));
        let mut fed = position;
        if fed > LogSeq(0) && shell.breaks(Mutation::FeedSkipsBatch) {
            fed = shell.broker.next_batch(self.partition, fed.0 + 1).map_or(fed, |(position, _)| position);
        }
        self.running = Some(Box::new(Running {
            was_level: position >= Reach::of(&shell.broker, self.partition).end,
            state,
            fed,
            passed: fed,
            waiting: VecDeque::new(),
            raised: blake3::Hasher::new(),
            fetched: None,
            kept: None,
            outbox: Outbox::default(),
            maker: Maker::default(),
            checkpoint: None,
            checkpointed: position,
            upload: None,
            snapshot_at: shell.broker.elapsed(),
            snapshotted: LogSeq(0),
            trimming: None,
            reclaim: Reclaim::default(),
            short_of: None,
            scratch: None,
            adding: false,
            said: BTreeSet::new(),
            restated: 0,
        }));
        Ok(())
    }
}

/// A row as it was committed last.
///
/// # Errors
/// When it is damaged.
///
/// # Panics
/// When it is not in the store though nothing is damaged there.
fn read(shell: &mut Shell, store: &Store, key: &[u8]) -> Result<Vec<u8>, Ended> {
    store.read(shell, key).ok_or_else(|| {
        assert!(store.doubt(), "a row that is read is in the store");
        shell.reach(Place::Doubted);
        Ended
    })
}

/// How many bytes entities of closed days may take in memory: nothing, little, or all of them, and something else in the other
/// replica.
fn closed_bytes(shell: &Shell, number: usize) -> Option<u64> {
    [None, Some(0), Some(1_000)][(shell.settings.seed as usize + number) % 3]
}

impl Running {
    fn feed(&mut self, shell: &mut Shell, partition: Partition) -> Result<Stepped, Ended> {
        if self.waiting.len() >= AHEAD {
            return Ok(Stepped::Nothing);
        }
        let Some(message) = shell.broker.next(Stream::Events, partition, self.passed.0 + 1) else {
            self.was_level |= self.waiting.is_empty();
            return Ok(Stepped::Nothing);
        };
        let Ok(Logged { follows, mut batch, .. }) = Logged::read(message.message()) else {
            self.passed = LogSeq(message.sequence);
            if shell.breaks(Mutation::ApplyForeign) {
                self.fed = self.passed;
            }
            return Ok(Stepped::Nothing);
        };
        if follows != self.fed && !shell.breaks(Mutation::FeedOverGap) {
            shell.reach(Place::Gap);
            return Err(Ended);
        }
        self.fed = LogSeq(message.sequence);
        self.passed = self.fed;
        if shell.breaks(Mutation::ForgetDuplicates) {
            self.forget_duplicates(&mut batch);
        }
        if shell.breaks(Mutation::ForgetGroupQuotas) {
            for record in &mut batch.records {
                if let Record::Define(Definition::Tenant(tenant)) = record {
                    tenant.quotas.groups = None;
                }
            }
        }
        if shell.breaks(Mutation::ForgetLateChanges) {
            for record in &mut batch.records {
                if let Record::Define(Definition::View(view)) = record
                    && let Some(newest) = view.late_changes.pop()
                {
                    (view.late, view.late_changes) = (newest.late, Vec::new());
                }
            }
        }
        if shell.breaks(Mutation::RankByLatestTime) {
            for record in &mut batch.records {
                if let Record::Define(Definition::View(View { ranking: Some(ranking), .. })) = record {
                    ranking.earliest = Earliest::LatestTime;
                }
            }
        }
        self.waiting.push_back((Recorded { position: self.fed, stored_at: message.stored_at }, batch));
        Ok(Stepped::Nothing)
    }

    fn forget_duplicates(&mut self, batch: &mut Batch) {
        for record in &mut batch.records {
            if let Record::Events(events) = record {
                let kind = events.kind.clone();
                let said = |event: &Event| format!("{} {:?}", events.tenant, Event { index: 0, ..event.clone() });
                events.events.retain(|event| event.id.is_none() || self.said.insert((kind.clone(), said(event))));
            }
        }
    }

    fn apply(
        &mut self,
        shell: &mut Shell,
        number: usize,
        partition: Partition,
        store: &Store,
    ) -> Result<Stepped, Ended> {
        let Some((recorded, mut batch)) = self.waiting.pop_front() else { return Ok(Stepped::Nothing) };
        let position = recorded.position;
        if self.state.awaits_backfill(&batch) && !shell.breaks(Mutation::ActivateUnmade) {
            self.waiting.push_front((recorded, batch));
            self.begin_backfill();
            return Ok(Stepped::Nothing);
        }
        let mut stepped = Stepped::Applied(position);
        if self.state.differs_in_history(&batch) && !shell.breaks(Mutation::ActivateOtherHistory) {
            if !self.has_waited_for_snapshot(shell, partition, position)? {
                self.waiting.push_front((recorded, batch));
                return Ok(Stepped::Nothing);
            }
            shell.trace.note(|| format!("replica {partition}/{number}: goes on at {position} with what it has"));
            stepped = Stepped::Apart;
        }
        if !self.has_pages(shell, store, &batch)? {
            self.waiting.push_front((recorded, batch));
            return Ok(Stepped::Nothing);
        }
        if shell.breaks(Mutation::KeepRemoved) {
            let is_removal =
                |record: &Record| matches!(record, Record::Define(Definition::Removal(Removal::Tenant { .. })));
            batch.records.retain(|record| !is_removal(record));
        }
        let is_activation = |record: &Record| matches!(record, Record::Define(Definition::Activation(_)));
        if shell.breaks(Mutation::ActivateUnmade) && self.state.awaits_backfill(&batch) {
            // The real core refuses to: this replica goes on without the view.
            batch.records.retain(|record| !is_activation(record));
        }
        if shell.breaks(Mutation::ReplicaOrder) && number == 1 {
            batch.records.reverse();
        }
        if shell.breaks(Mutation::RestateByOwnClock) && number == 1 {
            batch.records.retain(|record| !matches!(record, Record::Restate(_)));
            if shell.now.as_millis() / RESTATE_EVERY_MS != self.restated / RESTATE_EVERY_MS {
                self.restated = shell.now.as_millis();
                batch.records.push(Record::Restate(Restate { tenant: None }));
            }
        }
        let effects = self.state.apply(position, batch);
        self.raised = blake3::Hasher::new();
        for effect in effects {
            for task in self.maker.tasks(&shell.broker.subjects, recorded, effect) {
                let Task::Write(mut output) = task else { unreachable!("the simulation purges nothing") };
                if Stream::named(&shell.broker.subjects, &output.stream) == Some(Stream::Alerts) {
                    self.raised.update(&output.payload);
                }
                if shell.breaks(Mutation::ForgetGeneration) {
                    output.position = u64::from(output.position as u32);
                }
                self.outbox.put(output);
            }
        }
        Ok(stepped)
    }

    /// Whether the pages that the batch needs are here. Those that are not are read at one step and come back at a later one.
    ///
    /// # Errors
    /// When one is damaged.
    ///
    /// # Panics
    /// When one that is out is not in the store as it went.
    fn has_pages(&mut self, shell: &mut Shell, store: &Store, batch: &Batch) -> Result<bool, Ended> {
        for (page, stored) in self.fetched.take().into_iter().flatten() {
            self.state.supply(&page, &stored).expect("a page comes back as it went");
        }
        let mut needs = self.state.needs(batch);
        if shell.breaks(Mutation::ForgetPage) {
            needs.pop_last();
        }
        if needs.is_empty() {
            return Ok(true);
        }
        shell.reach(Place::Fetched);
        if needs.iter().any(|page| matches!(page, PageId::Hashes { .. })) {
            shell.reach(Place::Hashes);
        }
        let mut fetched = Vec::new();
        for page in needs {
            let stored = read(shell, store, &page.key())?;
            fetched.push((page, stored));
        }
        self.fetched = Some(fetched);
        Ok(false)
    }

    /// A step of the upkeep of remembered ids: a piece is done at one, and put in place at a later one.
    ///
    /// # Errors
    /// When a row that it reads is damaged.
    ///
    /// # Panics
    /// When one is not in the store as it went.
    fn keep_up(&mut self, shell: &mut Shell, store: &Store) -> Result<(), Ended> {
        if let Some(kept) = self.kept.take() {
            match self.fetched {
                Some(_) => self.kept = Some(kept),
                None => self.state.end_upkeep(kept),
            }
            return Ok(());
        }
        let Some(upkeep) = self.state.begin_upkeep() else { return Ok(()) };
        if !upkeep.keys().is_empty() {
            shell.reach(Place::KeptUp);
        }
        let rows: Vec<Vec<u8>> = upkeep.keys().iter().map(|key| read(shell, store, key)).collect::<Result<_, _>>()?;
        let mut rows = rows.into_iter();
        let read =
            |keys: Vec<Vec<u8>>| -> Result<Vec<Vec<u8>>, RestoreError> { Ok(rows.by_ref().take(keys.len()).collect()) };
        self.kept = Some(upkeep.run(read).expect("rows are as they went"));
        Ok(())
    }

    /// Lets go of pages of closed days, of so many rows at most.
    fn evict(&mut self, shell: &mut Shell, rows: usize) {
        if self.state.evict(rows) > 0 {
            shell.reach(Place::Evicted);
        }
    }

    /// Whether there was no snapshot for long enough in which the view is in force that the batch at `position` takes into
    /// force.
    ///
    /// # Errors
    /// When there is one: it begins again with that.
    fn has_waited_for_snapshot(
        &mut self,
        shell: &mut Shell,
        partition: Partition,
        position: LogSeq,
    ) -> Result<bool, Ended> {
        let newest = snapshots::list(&shell.broker, partition).pop();
        if newest.is_some_and(|newest| newest.is_whole && newest.position >= position) {
            return Err(Ended);
        }
        let looks = self.short_of.filter(|(of, _)| *of == position).map_or(0, |(_, looks)| looks);
        if looks == 0 {
            shell.reach(Place::Waited);
        }
        self.short_of = Some((position, looks + 1));
        Ok(looks >= PATIENCE)
    }

    /// A step of a checkpoint, or of the snapshot behind it.
    fn save(&mut self, shell: &mut Shell, partition: Partition, store: &mut Store) -> Result<Stepped, Ended> {
        if let Some(upload) = &mut self.upload {
            match upload.step(shell, store) {
                Next::Goes => return Ok(Stepped::Nothing),
                Next::Done => self.snapshotted = self.snapshotted.max(upload.newest()),
                Next::Damaged => {
                    assert!(store.doubt(), "a row that was committed is in the store");
                    return Err(Ended);
                }
                // The next try may succeed.
                Next::Unclear => {}
            }
            self.upload = None;
        } else if let Some(checkpoint) = self.checkpoint.take() {
            self.commit(shell, partition, checkpoint, store)?;
        } else {
            self.begin_checkpoint(shell);
            if shell.breaks(Mutation::EvictUnstored) {
                self.state.stored();
                self.evict(shell, usize::MAX);
            }
        }
        Ok(Stepped::Nothing)
    }

    fn begin_checkpoint(&mut self, shell: &Shell) {
        let (position, now) = (self.state.position(), shell.broker.elapsed());
        let is_snapshot_due = now - self.snapshot_at >= snapshots::INTERVAL && position > self.snapshotted;
        if position == self.checkpointed && !is_snapshot_due {
            return;
        }
        let snapshot = is_snapshot_due.then(|| {
            self.snapshot_at = now;
            !self.state.needs_history()
        });
        let (outputs, mut changes) = (self.outbox.accepted(), self.state.checkpoint());
        if shell.breaks(Mutation::ForgetMarks) {
            marks::forget(&mut changes);
        }
        if shell.breaks(Mutation::ForgetHash) {
            marks::forget_hash(&mut changes);
        }
        self.checkpoint = Some(Checkpoint { position, outputs, changes, snapshot });
    }

    /// Commits if the outputs before it are written.
    ///
    /// # Errors
    /// When the commit broke off, and the process with it.
    fn commit(
        &mut self,
        shell: &mut Shell,
        partition: Partition,
        checkpoint: Checkpoint,
        store: &mut Store,
    ) -> Result<(), Ended> {
        if self.outbox.written() < checkpoint.outputs && !shell.breaks(Mutation::CheckpointBeforeOutputs) {
            self.checkpoint = Some(checkpoint);
            return Ok(());
        }
        let Checkpoint { position, changes, snapshot, .. } = checkpoint;
        let is_whole = store.commit(shell, &changes);
        shell.trace.note(|| format!("replica: checkpoint at {position}, whole {is_whole}"));
        self.checkpointed = position;
        if !is_whole {
            return Err(Ended);
        }
        self.state.stored();
        self.evict(shell, usize::MAX);
        self.upload = snapshot.map(|is_whole| Upload::new(shell, partition, position, is_whole));
        Ok(())
    }

    /// A step of removing what is over its retention, and pieces that no snapshot names. While a view waits for a backfill no
    /// snapshot goes.
    fn trim(&mut self, shell: &mut Shell, partition: Partition) {
        let mut trimming = match self.trimming.take() {
            Some(trimming) => trimming,
            None => Trimming::new(shell, self.state.needs_history()),
        };
        let next = trimming.step(shell, partition, &mut self.reclaim);
        self.trimming = matches!(next, Next::Goes).then_some(trimming);
    }

    fn begin_backfill(&mut self) {
        if !self.state.wants_backfill() {
            return;
        }
        let (base, state) = (self.state.position(), self.state.begin_backfill());
        self.scratch = Some(Scratch { state, base, last: None, since: None });
    }

    /// The scratch looks where to begin, or reads some batches, or some of what it has found is added.
    fn backfill(&mut self, shell: &mut Shell, partition: Partition) -> Result<Stepped, Ended> {
        if self.adding {
            self.adding = self.state.add_backfill();
            return Ok(Stepped::Nothing);
        }
        let Some(scratch) = &mut self.scratch else { return Ok(Stepped::Nothing) };
        match scratch.step(shell, partition) {
            Scratched::Goes => {}
            Scratched::Behind => return Err(Ended),
            Scratched::Lost => {
                shell.reach(Place::Lost);
                shell.trace.note(|| format!("replica {partition}: a backfill is lost"));
                self.scratch = None;
                self.state.give_up_backfill();
            }
            Scratched::Found => {
                let Scratch { state, since, base, .. } = self.scratch.take().expect("seen above");
                shell.trace.note(|| format!("replica {partition}: a backfill has read up to {base}, since {since:?}"));
                self.state.finish_backfill(Found::of(state, since));
                self.adding = true;
            }
        }
        Ok(Stepped::Nothing)
    }
}

enum Scratched {
    Goes,
    /// It has read everything up to its base.
    Found,
    /// It has to begin again, with a later base.
    Lost,
    /// Another's snapshot is ahead of its base, and waits for no backfill.
    Behind,
}

impl Scratch {
    fn step(&mut self, shell: &mut Shell, partition: Partition) -> Scratched {
        let Some(mut last) = self.last else { return self.begin(shell, partition) };
        let through = match () {
            () if shell.breaks(Mutation::BackfillBaseEarly) => LogSeq(self.base.0.saturating_sub(1)),
            () if shell.breaks(Mutation::BackfillBaseLate) => {
                let beyond = shell.broker.next_batch(partition, self.base.0 + 1);
                beyond.map_or(self.base, |(position, _)| position)
            }
            () => self.base,
        };
        for _ in 0..=shell.random.below(8) {
            let Some((position, logged)) = shell.broker.next_batch(partition, last.0 + 1) else {
                return Scratched::Found;
            };
            if last >= through {
                return Scratched::Found;
            }
            if logged.follows != last {
                return Scratched::Lost;
            }
            if position > through {
                return Scratched::Found;
            }
            let _ = self.state.apply(position, logged.batch);
            last = position;
            self.last = Some(last);
        }
        Scratched::Goes
    }

    /// Begins with the log, or, where that is trimmed, with the oldest snapshot that it goes on from.
    fn begin(&mut self, shell: &mut Shell, partition: Partition) -> Scratched {
        let reach = Reach::of(&shell.broker, partition);
        if !reach.is_trimmed() {
            self.last = Some(LogSeq(0));
            return Scratched::Goes;
        }
        let known = snapshots::try_list(shell, partition).unwrap_or_default();
        for position in known.iter().map(|snapshot| snapshot.position).filter(|at| reach.reaches(*at)) {
            let Ok((_, before)) = snapshots::fetch(shell, partition, position) else { continue };
            if position > self.base {
                break;
            }
            if !shell.breaks(Mutation::BackfillFromNothing) {
                self.state.begin_with(before);
            }
            shell.reach(Place::Seeded);
            (self.last, self.since) = (Some(position), Some(LogSeq(position.0 + 1)));
            return Scratched::Goes;
        }
        match known.last() {
            Some(newest) if newest.is_whole && newest.position > self.base => Scratched::Behind,
            _ => Scratched::Lost,
        }
    }
}
