//! A replica of a partition as steps: it hands the real core what the model broker and its store say, and carries out what the core
//! decides. What are tasks of their own around aggregator-shard's actor, such as feed, outbox, checkpoints, fetches and backfills, are
//! steps here, taken in any order; what they say comes to the core by a mailbox. How a replica begins is in [`crate::opening`].

use crate::broker::Stream;
use crate::fault::Fault;
use crate::marks;
use crate::mutation::Mutation;
use crate::opening::open;
use crate::outbox::Outbox;
use crate::scratch::{Scratch, Scratched};
use crate::settings::{Place, Violation};
use crate::shell::Shell;
use crate::snapshots::{self, Next, Trimming, Upload};
use crate::store::{Commit, Store};
use crate::tampering::Tampering;
use aggregator_shard::opening::makes_up_for_the_log;
use aggregator_shard::reclaim::Reclaim;
use aggregator_shard::replica::{Action, Fed, Input, Moment, Replica as Core, Settings};
use aggregator_shard::saving::{Checkpoint, Pace, Saved};
use aggregator_shard::succession::Succession;
use daybook_contracts::ask::ViewProgress;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_machine::checkpoint::RestoreError;
use daybook_machine::remembered::upkeep::Upkeep;
use daybook_machine::residency::PageId;
use daybook_runtime::log::Logged;
use daybook_runtime::outbox::Task;
use daybook_runtime::store::StoreError;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Days are small: so some pages are stored in their day's head, and some by themselves; in some runs all of them, so that they can leave
/// memory.
const SMALL_PAGE_BYTES: [usize; 2] = [0, 150];
/// Rows that leave memory at once: in some runs few, so that something happens between them.
const ROWS_AT_ONCE: [usize; 3] = [1, 20_000, 20_000];

/// Batches that wait at most, as in the real feed.
const AHEAD: usize = 4;
/// Most things of its mailbox that it hears at one step.
const MAX_HEARD: usize = 4;
/// It stands still once in so many turns.
const PAUSE_ONE_IN: usize = 50;
/// For how many turns at most.
const MAX_PAUSE: usize = 80;
/// How long a batch waits for another's snapshot, by the broker's clock: longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(1_600);
/// Between two checkpoints, by the broker's clock: what those that fail or come early go by.
const CHECKPOINT: Duration = Duration::from_secs(2);
/// Memory is short once in so many times.
const LOW_ONE_IN: usize = 6;

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
    partition: Partition,
    number: usize,
    core: Core,
    /// What the core has not heard yet.
    mailbox: VecDeque<Input>,
    /// It has heard something, and not all that follows is done.
    is_busy: bool,
    /// Batches that were fed and are not applied.
    ahead: usize,
    /// The last batch that was handed over by the feed.
    fed: LogSeq,
    /// The last message that was read, which may be none of ingest's.
    passed: LogSeq,
    /// The alerts of the last batch.
    raised: blake3::Hasher,
    /// Pages that are on their way from the store.
    fetching: Option<BTreeSet<PageId>>,
    upkeep: Option<Upkeep>,
    outbox: Outbox,
    /// A checkpoint that waits for the outputs before it.
    checkpoint: Option<Checkpoint>,
    /// A snapshot of the last one on its way to the broker.
    upload: Option<(Upload, Saved)>,
    trimming: Option<Trimming>,
    /// Which pieces of snapshots were named when it looked last.
    reclaim: Reclaim,
    /// The position of a batch that waits for another's snapshot, and for how long.
    awaited: Option<(LogSeq, Duration)>,
    scratch: Option<Scratch>,
    tampering: Tampering,
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
        self.running.as_mut().map(|running| running.core.state_mut())
    }

    /// How the views stand, as it answers day-manager.
    pub fn views(&self) -> Option<Vec<ViewProgress>> {
        self.running.as_ref().map(|running| running.core.state().views(0))
    }

    /// Why it is not at rest at the end of the log, if it is not.
    pub fn unrest(&self, end: u64) -> Option<String> {
        let Some(running) = &self.running else { return Some("it is down".to_owned()) };
        let state = running.core.state();
        match () {
            () if state.position().0 != end => Some(format!("it is at batch {} of {end}", state.position())),
            () if !running.outbox.is_empty() => Some("outputs wait".to_owned()),
            () => state.views(0).iter().find(|view| view.pending.is_some()).map(|view| format!("{view:?}")),
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
        let outcome = match shell.random.below(22) {
            0..3 => running.feed(shell),
            3..7 => Ok(running.hear(shell)),
            7..11 => {
                running.outbox.step(shell)?;
                Ok(Stepped::Nothing)
            }
            11..14 => running.save(shell, &mut self.store),
            14..16 => {
                running.tell(Input::Tick);
                Ok(Stepped::Nothing)
            }
            16..19 => running.read(shell, &self.store).map(|()| Stepped::Nothing),
            19..21 => running.look_back(shell),
            _ => {
                running.trim(shell);
                Ok(Stepped::Nothing)
            }
        };
        outcome.or_else(|Ended| {
            shell.trace.note(|| format!("replica {}/{}: ends", self.partition, self.number));
            self.crash();
            Ok(Stepped::Nothing)
        })
    }

    fn start(&mut self, shell: &mut Shell) -> Result<(), Violation> {
        let Self { partition, number, .. } = *self;
        let name = format!("{partition}/{number}");
        let seed = shell.settings.seed as usize;
        let limit = closed_bytes(shell, number);
        let Some(state) = open(shell, partition, &name, &mut self.store, limit)? else { return Ok(()) };
        let mut state = state
            .with_small_pages(SMALL_PAGE_BYTES[seed % SMALL_PAGE_BYTES.len()])
            .with_small_ids()
            .with_small_summaries();
        if !seed.is_multiple_of(4) {
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
            fed = shell.broker.next_batch(partition, fed.0 + 1).map_or(fed, |(position, _)| position);
        }
        let settings = Settings {
            pace: Pace { checkpoint: CHECKPOINT, snapshot: snapshots::INTERVAL },
            patience: if shell.breaks(Mutation::ActivateOtherHistory) { Duration::ZERO } else { PATIENCE },
            rows_at_once: ROWS_AT_ONCE[(seed / 2) % ROWS_AT_ONCE.len()],
            slack: 0,
        };
        let now = shell.broker.elapsed();
        let mut core = Core::new(partition, shell.broker.subjects.clone(), state, 0, settings, now);
        if position >= shell.broker.log_end(partition).position() {
            core.reach(now);
        }
        self.running = Some(Box::new(Running {
            partition,
            number,
            core,
            mailbox: VecDeque::new(),
            is_busy: true,
            ahead: 0,
            fed,
            passed: fed,
            raised: blake3::Hasher::new(),
            fetching: None,
            upkeep: None,
            outbox: Outbox::default(),
            checkpoint: None,
            upload: None,
            trimming: None,
            reclaim: Reclaim::default(),
            awaited: None,
            scratch: None,
            tampering: Tampering::default(),
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
    [None, Some(0), Some(1_000), Some(0)][(shell.settings.seed as usize + number) % 4]
}

impl Running {
    fn moment(&self, shell: &mut Shell) -> Moment {
        Moment {
            now: shell.broker.elapsed(),
            closed_bytes: closed_bytes(shell, self.number),
            is_ample: !shell.strikes(Fault::LowMemory, LOW_ONE_IN),
            is_full: shell.strikes(Fault::LowMemory, LOW_ONE_IN),
        }
    }

    /// Puts something in the mailbox that need not be there twice.
    fn tell(&mut self, input: Input) {
        let is_same = |other: &Input| std::mem::discriminant(other) == std::mem::discriminant(&input);
        if !self.mailbox.iter().any(is_same) {
            self.mailbox.push_back(input);
        }
    }

    /// Reads a message of the log.
    ///
    /// # Errors
    /// When the log does not go on with it.
    fn feed(&mut self, shell: &mut Shell) -> Result<Stepped, Ended> {
        if self.ahead >= AHEAD {
            return Ok(Stepped::Nothing);
        }
        let Some(message) = shell.broker.next(Stream::Events, self.partition, self.passed.0 + 1).cloned() else {
            return Ok(Stepped::Nothing);
        };
        let newest = shell.broker.newest(Stream::Events, self.partition).map_or(0, |newest| newest.sequence);
        let pending = newest.saturating_sub(message.sequence);
        self.passed = LogSeq(message.sequence);
        let last = match Logged::read(message.message()) {
            Ok(logged) if shell.breaks(Mutation::FeedOverGap) => logged.follows,
            _ => self.fed,
        };
        let mut batch = match Succession::of(message.message(), last) {
            Succession::Next(batch) => batch,
            Succession::Gap { .. } => {
                shell.reach(Place::Gap);
                return Err(Ended);
            }
            Succession::Foreign(_) => {
                if shell.breaks(Mutation::ApplyForeign) {
                    self.fed = self.passed;
                }
                self.mailbox.push_back(Input::PassedOver { pending });
                return Ok(Stepped::Nothing);
            }
            Succession::Unreadable(why) => unreachable!("ingest is of this version: {why}"),
        };
        self.fed = self.passed;
        self.tampering.fed(shell, self.core.state(), &mut batch);
        let fed = Fed { position: self.fed, stored_at: message.stored_at, batch, pending };
        self.mailbox.push_back(Input::Fed(Ok(fed)));
        self.ahead += 1;
        Ok(Stepped::Nothing)
    }

    /// Hands the core some of what is in the mailbox, and does what follows, up to a batch that is applied.
    fn hear(&mut self, shell: &mut Shell) -> Stepped {
        let expected = "a page comes back as it went, and every batch can be read";
        for _ in 0..=shell.random.below(MAX_HEARD) {
            if !self.is_busy {
                let Some(input) = self.mailbox.pop_front() else { break };
                let moment = self.moment(shell);
                self.core.handle(input, moment).expect(expected);
                self.is_busy = true;
            }
            loop {
                let moment = self.moment(shell);
                let Some(action) = self.core.next(moment).expect(expected) else { break };
                if let Some(stepped) = self.carry_out(action, shell) {
                    return stepped;
                }
            }
            self.is_busy = false;
        }
        Stepped::Nothing
    }

    fn carry_out(&mut self, action: Action, shell: &mut Shell) -> Option<Stepped> {
        match action {
            Action::Apply(fed) => return Some(self.apply(fed, shell)),
            Action::Fetch(pages) => {
                shell.reach(Place::Fetched);
                self.fetching = Some(pages);
            }
            Action::BeginBackfill { scratch, base } => self.scratch = Some(Scratch::new(*scratch, base)),
            Action::BeginUpkeep(piece) => self.upkeep = Some(piece),
            Action::AwaitSnapshot { position, patience } => {
                shell.reach(Place::Waited);
                self.awaited = Some((position, shell.broker.elapsed() + patience));
            }
            Action::BeginCheckpoint => self.begin_checkpoint(shell),
            Action::AskForTurn => {
                let moment = self.moment(shell);
                if shell.random.one_in(2) {
                    self.core.handle(Input::Turn { is_early: true }, moment).expect("a turn can be taken");
                }
            }
            Action::Later(input) => self.mailbox.push_back(input),
            Action::Evicted(_) => shell.reach(Place::Evicted),
            Action::Reached | Action::Tell => {}
        }
        None
    }

    fn apply(&mut self, mut fed: Fed, shell: &mut Shell) -> Stepped {
        let (position, number) = (fed.position, self.number);
        let is_apart =
            self.core.state().differs_in_history(&fed.batch) && !shell.breaks(Mutation::ActivateOtherHistory);
        if is_apart {
            let partition = self.partition;
            shell.trace.note(|| format!("replica {partition}/{number}: goes on at {position} with what it has"));
        }
        self.tampering.applied(shell, number, &mut fed.batch);
        self.ahead -= 1;
        self.raised = blake3::Hasher::new();
        for task in self.core.apply(fed, shell.broker.elapsed()) {
            let Task::Write(mut output) = task else { unreachable!("the simulation purges nothing") };
            if Stream::named(&shell.broker.subjects, &output.stream) == Some(Stream::Alerts) {
                self.raised.update(&output.payload);
            }
            if shell.breaks(Mutation::ForgetGeneration) {
                output.position = u64::from(output.position as u32);
            }
            self.outbox.put(output);
        }
        if is_apart { Stepped::Apart } else { Stepped::Applied(position) }
    }

    /// Reads from the store: the pages that are to come back, or what a piece of upkeep needs.
    ///
    /// # Errors
    /// When one is damaged.
    ///
    /// # Panics
    /// When a row is not in the store as it went.
    fn read(&mut self, shell: &mut Shell, store: &Store) -> Result<(), Ended> {
        if let Some(mut pages) = self.fetching.take() {
            if shell.breaks(Mutation::ForgetPage) {
                pages.pop_last();
            }
            if pages.iter().any(|page| matches!(page, PageId::Hashes { .. })) {
                shell.reach(Place::Hashes);
            }
            let mut read = |page: PageId| Ok((page.clone(), read(shell, store, &page.key())?));
            self.mailbox.push_back(Input::Fetched(pages.into_iter().map(&mut read).collect::<Result<_, _>>()?));
        }
        let Some(upkeep) = self.upkeep.take() else { return Ok(()) };
        if shell.strikes(Fault::LowMemory, LOW_ONE_IN) {
            self.mailbox.push_back(Input::Kept(None));
            return Ok(());
        }
        if !upkeep.keys().is_empty() {
            shell.reach(Place::KeptUp);
        }
        let rows: Vec<Vec<u8>> = upkeep.keys().iter().map(|key| read(shell, store, key)).collect::<Result<_, _>>()?;
        let mut rows = rows.into_iter();
        let read =
            |keys: Vec<Vec<u8>>| -> Result<Vec<Vec<u8>>, RestoreError> { Ok(rows.by_ref().take(keys.len()).collect()) };
        let kept = upkeep.run(read).expect("rows are as they went");
        self.mailbox.push_back(Input::Kept(Some(kept)));
        Ok(())
    }

    /// A step of a checkpoint, or of the snapshot behind it.
    fn save(&mut self, shell: &mut Shell, store: &mut Store) -> Result<Stepped, Ended> {
        if let Some((mut upload, mut saved)) = self.upload.take() {
            match upload.step(shell, store) {
                Next::Goes => {
                    self.upload = Some((upload, saved));
                    return Ok(Stepped::Nothing);
                }
                Next::Done => saved.snapshot = Some(upload.newest()),
                Next::Damaged => {
                    assert!(store.doubt(), "a row that was committed is in the store");
                    shell.reach(Place::Doubted);
                    return Err(Ended);
                }
                // The next try may succeed.
                Next::Unclear => {}
            }
            self.mailbox.push_back(Input::Saved(saved));
        } else if let Some(checkpoint) = self.checkpoint.take() {
            self.commit(shell, checkpoint, store)?;
        } else {
            self.tell(Input::Turn { is_early: false });
        }
        Ok(Stepped::Nothing)
    }

    fn begin_checkpoint(&mut self, shell: &mut Shell) {
        if shell.strikes(Fault::LowMemory, LOW_ONE_IN) {
            return;
        }
        let mut checkpoint = self.core.begin_checkpoint(shell.broker.elapsed());
        if shell.breaks(Mutation::ForgetMarks) {
            marks::forget(Arc::make_mut(&mut checkpoint.changes));
        }
        if shell.breaks(Mutation::ForgetHash) {
            marks::forget_hash(Arc::make_mut(&mut checkpoint.changes));
        }
        self.checkpoint = Some(checkpoint);
        if shell.breaks(Mutation::EvictUnstored) {
            self.core.state_mut().stored();
            self.core.state_mut().evict(usize::MAX);
        }
    }

    /// Commits if the outputs before it are written.
    ///
    /// # Errors
    /// When the commit broke off, and the process with it.
    fn commit(&mut self, shell: &mut Shell, checkpoint: Checkpoint, store: &mut Store) -> Result<(), Ended> {
        if self.outbox.written() < checkpoint.outputs && !shell.breaks(Mutation::CheckpointBeforeOutputs) {
            self.checkpoint = Some(checkpoint);
            return Ok(());
        }
        let Checkpoint { position, mut changes, snapshot, .. } = checkpoint;
        let commit = store.commit(shell, &changes);
        shell.trace.note(|| format!("replica: checkpoint at {position}, {commit:?}"));
        let outcome = match commit {
            Commit::Whole => Ok(()),
            Commit::Torn => return Err(Ended),
            Commit::Refused => Err(StoreError::Locked(PathBuf::new())),
        };
        if outcome.is_err() && shell.breaks(Mutation::ForgetUnsaved) {
            changes = Arc::default();
        }
        if outcome.is_ok() {
            self.mailbox.push_back(Input::Committed);
        }
        let snapshot = snapshot.filter(|_| outcome.is_ok());
        let saved = Saved { position, changes, outcome, snapshot: None };
        match snapshot {
            Some(due) => {
                let upload = Upload::new(shell, self.partition, position, due.is_whole);
                self.upload = Some((upload, saved));
            }
            None => self.mailbox.push_back(Input::Saved(saved)),
        }
        Ok(())
    }

    /// A step of removing what is over its retention, and pieces that no snapshot names. While a view waits for a backfill no
    /// snapshot goes.
    fn trim(&mut self, shell: &mut Shell) {
        let mut trimming = match self.trimming.take() {
            Some(trimming) => trimming,
            None => Trimming::new(shell, self.core.state().needs_history()),
        };
        let next = trimming.step(shell, self.partition, &mut self.reclaim);
        self.trimming = matches!(next, Next::Goes).then_some(trimming);
    }

    /// The scratch looks where to begin, or reads some batches; and it is looked for another's snapshot.
    ///
    /// # Errors
    /// When it is to begin again with that.
    fn look_back(&mut self, shell: &mut Shell) -> Result<Stepped, Ended> {
        let partition = self.partition;
        if let Some((position, until)) = self.awaited {
            let newest = snapshots::list(&shell.broker, partition).pop();
            if makes_up_for_the_log(newest.as_ref(), position) && !shell.breaks(Mutation::ActivateOtherHistory) {
                return Err(Ended);
            }
            if shell.broker.elapsed() >= until {
                self.awaited = None;
                self.mailbox.push_back(Input::NoSnapshot);
            }
        }
        let Some(mut scratch) = self.scratch.take() else { return Ok(Stepped::Nothing) };
        if shell.strikes(Fault::LowMemory, LOW_ONE_IN * 2) {
            self.mailbox.push_back(Input::BackfillTooLarge);
            return Ok(Stepped::Nothing);
        }
        match scratch.step(shell, partition) {
            Scratched::Goes => self.scratch = Some(scratch),
            Scratched::Behind => return Err(Ended),
            Scratched::Lost => {
                shell.reach(Place::Lost);
                shell.trace.note(|| format!("replica {partition}: a backfill is lost"));
                self.mailbox.push_back(Input::BackfillLost);
            }
            Scratched::Read => {
                let found = scratch.found(shell, partition);
                self.mailbox.push_back(Input::BackfillRead(Box::new(found)));
            }
        }
        Ok(Stepped::Nothing)
    }
}
