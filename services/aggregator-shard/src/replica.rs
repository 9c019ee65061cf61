//! The core of a replica of a partition: it takes the batches of the log and decides what each has to wait for, which pages of closed
//! days come and go, and when checkpoints, backfills and the upkeep of ids begin. No clock and no I/O: whoever drives it hands an
//! [`Input`] in, carries out each [`Action`] that there is then, one after the other, and only then hands the next one in, unless it
//! is the answer to an action.

use crate::outputs::{Maker, Recorded};
use crate::saving::{Checkpoint, Pace, Saved, Saving};
use daybook_contracts::log::Batch;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{LogSeq, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::PartitionState;
use daybook_machine::backfill::Found;
use daybook_machine::checkpoint::RestoreError;
use daybook_machine::remembered::upkeep::{Kept, Upkeep};
use daybook_machine::residency::PageId;
use daybook_runtime::outbox::Task;
use daybook_runtime::store::StoreError;
use daybook_runtime::written::NotWritten;
use opentelemetry::trace::SpanContext;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Ids that wait to be stored, beyond which no further piece of upkeep begins: 20 MB or so, which the next checkpoint writes.
const MAX_UNSAVED_IDS: u64 = 1 << 20;
/// A checkpoint is made before its time at most so many times in an interval.
const EARLY_CHECKPOINTS: u32 = 4;

/// Settings of a replica.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub pace: Pace,
    /// How long a batch waits for another's snapshot.
    pub patience: Duration,
    /// Rows that leave memory at once.
    pub rows_at_once: usize,
    /// Bytes beyond twice their part that closed days may take until the next checkpoint.
    pub slack: u64,
}

/// The time, and the memory that there is.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By a clock that never goes back.
    pub now: Duration,
    /// The part of memory, in bytes, that closed days of the partition may take; `None` where nothing limits it.
    pub closed_bytes: Option<u64>,
    pub is_ample: bool,
    pub is_full: bool,
}

/// A batch of the log.
#[derive(Debug)]
pub struct Fed {
    pub position: LogSeq,
    /// When the broker stored it.
    pub stored_at: Instant,
    pub batch: Batch,
    /// Batches that stood behind it in the log when it was read.
    pub pending: u64,
}

/// Something that a replica hears.
#[derive(Debug)]
pub enum Input {
    /// The next batch of the log, or why it cannot be read.
    Fed(Result<Fed, NotWritten>),
    /// A message of the log was passed over, behind which so many stood.
    PassedOver { pending: u64 },
    /// Time to see what there is to do beside the log.
    Tick,
    /// A checkpoint may be made, either because its time has come or because it was asked for before.
    Turn { is_early: bool },
    /// The changes of the checkpoint under way are on disk.
    Committed,
    /// The checkpoint under way has ended.
    Saved(Saved),
    /// The pages that were to be fetched, as they are stored.
    Fetched(Vec<(PageId, Vec<u8>)>),
    /// Have some more of closed days leave memory.
    Evict,
    /// What came of a piece of the upkeep of remembered ids; `None` if there was no memory for it.
    Kept(Option<Kept>),
    /// A scratch has read the log.
    BackfillRead(Box<Found>),
    /// Add some more of what it found.
    AddBackfill,
    /// A scratch missed batches that were trimmed while it read.
    BackfillLost,
    /// A scratch was given up because memory is full.
    BackfillTooLarge,
    /// There was no snapshot to begin again with for as long as was to be waited.
    NoSnapshot,
}

/// Something that has to be done.
#[derive(Debug)]
pub enum Action {
    /// Apply the batch: [`Replica::apply`].
    Apply(Fed),
    /// Read these pages from the store, for [`Input::Fetched`].
    Fetch(BTreeSet<PageId>),
    /// Read the log up to the base into the scratch, for [`Input::BackfillRead`], or [`Input::BackfillLost`] or
    /// [`Input::BackfillTooLarge`] when that cannot be done.
    BeginBackfill { scratch: Box<PartitionState>, base: LogSeq },
    /// Do this piece, for [`Input::Kept`].
    BeginUpkeep(Upkeep),
    /// Look for a snapshot at this position or behind it in which nothing waits for a backfill. When there is one, this replica ends,
    /// and begins again with that; when there is none for so long, [`Input::NoSnapshot`].
    AwaitSnapshot { position: LogSeq, patience: Duration },
    /// Begin a checkpoint if there is memory for it: [`Replica::begin_checkpoint`].
    BeginCheckpoint,
    /// See whether a checkpoint may be made before its time, for an early [`Input::Turn`].
    AskForTurn,
    /// Hand this in behind what else has come meanwhile.
    Later(Input),
    /// The figures are level with the log for the first time.
    Reached,
    /// The others may be told how the partition stands.
    Tell,
    /// So many rows of closed days have left memory.
    Evicted(usize),
}

/// A replica cannot go on, and must begin again with what is stored.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error(transparent)]
    Unreadable(#[from] NotWritten),
    /// A page is not the one that went.
    #[error(transparent)]
    Damaged(#[from] RestoreError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something that a batch needs and that is not here.
enum Lack {
    /// A view that it takes into force is to be backfilled.
    View,
    /// A snapshot in which that view is what it was found to be.
    Snapshot,
    /// Pages of closed days are to come back.
    Pages,
}

/// A replica of a partition.
///
/// # Invariants
/// Batches are applied in the order in which they are fed. While pages are on their way, none leaves memory, and nothing is put in place that
/// removes one from the store. A checkpoint has changes of one position, and stands behind all outputs up to it.
pub struct Replica {
    settings: Settings,
    state: PartitionState,
    saving: Saving,
    subjects: Subjects,
    maker: Maker,
    /// How many outputs were made.
    outputs: u64,
    /// Batches that wait for what the first of them [lacks](Lack); at most as many as are fed ahead.
    waiting: VecDeque<Result<Fed, NotWritten>>,
    /// The first of them is to be looked at.
    is_to_go_on: bool,
    /// Batches that stood behind the last one applied when it was read.
    pending: u64,
    /// When the state was last known to be level with the log.
    level_at: Option<Duration>,
    is_level: bool,
    /// Pages that waiting batches need are on their way from the store.
    is_fetching: bool,
    /// Pages have come, and the batches that needed them are not applied yet.
    has_fetched: bool,
    /// An [`Input::Evict`] is to come.
    is_evicting: bool,
    /// What came of upkeep while pages were on their way: it is put in place when they have come.
    kept: Option<Kept>,
    /// When a checkpoint was last asked for before its time.
    stored_early_at: Option<Duration>,
    /// The position of a batch that waits for another's snapshot, and since when.
    short_of: Option<(LogSeq, Duration)>,
    /// The last backfill did not fit into memory: the next one begins when memory is ample.
    backfill_needs_memory: bool,
    actions: VecDeque<Action>,
}

impl Replica {
    /// A replica that goes on from a state which is stored, in so many bytes.
    pub fn new(
        partition: Partition,
        subjects: Subjects,
        state: PartitionState,
        stored_bytes: u64,
        settings: Settings,
        now: Duration,
    ) -> Self {
        Self {
            saving: Saving::new(partition, &state, stored_bytes, settings.pace, now),
            settings,
            state,
            subjects,
            maker: Maker::default(),
            outputs: 0,
            waiting: VecDeque::new(),
            is_to_go_on: false,
            pending: 0,
            level_at: None,
            is_level: false,
            is_fetching: false,
            has_fetched: false,
            is_evicting: false,
            kept: None,
            stored_early_at: None,
            short_of: None,
            backfill_needs_memory: false,
            actions: VecDeque::new(),
        }
    }

    pub fn state(&self) -> &PartitionState {
        &self.state
    }

    /// The state, to answer from.
    pub fn state_mut(&mut self) -> &mut PartitionState {
        &mut self.state
    }

    /// The last batch that was applied.
    pub fn position(&self) -> LogSeq {
        self.state.position()
    }

    /// How the checkpoints are.
    pub fn saving(&self) -> &Saving {
        &self.saving
    }

    /// Batches that stood behind the last one applied when it was read.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Whether the state has every batch of the log, as far as is known: none waits here, and none followed when the log was last read.
    pub fn is_level(&self) -> bool {
        self.is_level
    }

    /// Whether the state was ever level with the log.
    pub fn has_been_level(&self) -> bool {
        self.level_at.is_some()
    }

    /// The time since the state was last known to be level with the log; `None` when it has not been yet.
    pub fn since_level(&self, now: Duration) -> Option<Duration> {
        self.level_at.map(|at| now.saturating_sub(at))
    }

    /// Takes something in.
    ///
    /// # Errors
    /// When it cannot go on.
    pub fn handle(&mut self, input: Input, moment: Moment) -> Result<(), Stop> {
        match input {
            Input::Fed(fed) => {
                self.waiting.push_back(fed);
                self.is_to_go_on = true;
            }
            Input::PassedOver { pending } => self.stands(pending, moment.now),
            Input::Tick => {
                self.evict(moment);
                self.begin_upkeep(moment);
                self.actions.push_back(Action::Tell);
                self.begin_backfill(moment);
            }
            Input::Turn { is_early } => {
                match is_early {
                    true => self.stored_early_at = Some(moment.now),
                    false => self.state.forget_indexes(),
                }
                if self.saving.is_due(&self.state, moment.now) {
                    self.actions.push_back(Action::BeginCheckpoint);
                }
            }
            Input::Committed => {
                self.saving.committed();
                self.evict(moment);
            }
            Input::Saved(saved) => {
                self.saving.saved(saved, moment.now)?;
                self.evict(moment);
            }
            Input::Fetched(pages) => self.bring_back(pages)?,
            Input::Evict => {
                self.is_evicting = false;
                self.evict(moment);
            }
            Input::Kept(kept) => self.take_kept(kept, moment),
            Input::BackfillRead(found) => {
                self.state.finish_backfill(*found);
                self.actions.push_back(Action::Later(Input::AddBackfill));
            }
            Input::AddBackfill => {
                if self.state.add_backfill() {
                    self.actions.push_back(Action::Later(Input::AddBackfill));
                }
                self.is_to_go_on = true;
            }
            Input::BackfillLost => {
                self.state.give_up_backfill();
                self.begin_backfill(moment);
            }
            Input::BackfillTooLarge => {
                self.state.give_up_backfill();
                self.backfill_needs_memory = true;
            }
            Input::NoSnapshot => self.is_to_go_on = true,
        }
        Ok(())
    }

    /// The next thing to be done, `None` if there is nothing until something is heard.
    ///
    /// # Errors
    /// When the next batch cannot be read.
    pub fn next(&mut self, moment: Moment) -> Result<Option<Action>, Stop> {
        if self.actions.is_empty() && self.is_to_go_on {
            self.go_on(moment)?;
        }
        if self.actions.is_empty() && std::mem::take(&mut self.has_fetched) {
            self.end_fetch(moment);
        }
        Ok(self.actions.pop_front())
    }

    /// Takes note that the state is level with the log.
    pub fn reach(&mut self, now: Duration) {
        if self.level_at.is_none() {
            self.actions.push_back(Action::Reached);
        }
        (self.is_level, self.level_at) = (true, Some(now));
    }

    /// Applies a batch, which [`Action::Apply`] has handed out, and returns the outputs that follow from it.
    pub fn apply(&mut self, fed: Fed, now: Duration) -> Vec<Task> {
        let Fed { position, stored_at, batch, pending } = fed;
        let effects = self.state.apply(position, batch);
        let recorded = Recorded { position, stored_at };
        let (maker, subjects) = (&mut self.maker, &self.subjects);
        let tasks: Vec<Task> = effects.into_iter().flat_map(|effect| maker.tasks(subjects, recorded, effect)).collect();
        self.outputs += tasks.len() as u64;
        self.stands(pending, now);
        tasks
    }

    /// Takes note that `trace` has to do with the day.
    pub fn note_trace(&mut self, tenant: &TenantId, date: Date, trace: &SpanContext) {
        self.maker.note(tenant, date, trace);
    }

    /// Has the batch in front handed out, or else what it waits for.
    fn go_on(&mut self, moment: Moment) -> Result<(), Stop> {
        // What the batch in front waits for changes only when it comes.
        if self.is_fetching {
            self.stand_still();
            return Ok(());
        }
        let Some(fed) = self.waiting.pop_front() else {
            self.is_to_go_on = false;
            return Ok(());
        };
        let fed = fed?;
        let Some(lack) = self.lack(&fed, moment) else {
            self.actions.push_back(Action::Apply(fed));
            return Ok(());
        };
        self.waiting.push_front(Ok(fed));
        match lack {
            Lack::View => self.begin_backfill(moment),
            Lack::Snapshot => {}
            Lack::Pages => self.fetch(moment),
        }
        self.stand_still();
        Ok(())
    }

    fn lack(&mut self, fed: &Fed, moment: Moment) -> Option<Lack> {
        if self.state.awaits_backfill(&fed.batch) {
            return Some(Lack::View);
        }
        if self.state.differs_in_history(&fed.batch) && !self.has_waited_for_snapshot(fed.position, moment.now) {
            return Some(Lack::Snapshot);
        }
        (!self.state.needs(&fed.batch).is_empty()).then_some(Lack::Pages)
    }

    /// The figures stand still until what waits can be applied.
    fn stand_still(&mut self) {
        self.is_to_go_on = false;
        self.is_level = false;
        self.pending = self.pending.max(self.waiting.len() as u64);
        self.actions.push_back(Action::Tell);
    }

    /// Takes note that so many messages stand behind what was read of the log last.
    fn stands(&mut self, pending: u64, now: Duration) {
        self.is_level = pending == 0 && self.waiting.is_empty();
        if self.is_level {
            self.reach(now);
        }
        self.pending = pending;
        self.actions.push_back(Action::Tell);
    }

    /// Whether the batch at `position` has waited long enough for another replica's snapshot, in which its view was made from the
    /// part of the log that the activation names. The first call for a position asks for that snapshot.
    fn has_waited_for_snapshot(&mut self, position: LogSeq, now: Duration) -> bool {
        let patience = self.settings.patience;
        if let Some((_, since)) = self.short_of.filter(|(of, _)| *of == position) {
            return now.saturating_sub(since) >= patience;
        }
        self.short_of = Some((position, now));
        self.actions.push_back(Action::AwaitSnapshot { position, patience });
        false
    }

    /// Asks for all pages that the waiting batches need, in one fetch. Evicts first, because nothing is evicted while pages are on
    /// their way.
    fn fetch(&mut self, moment: Moment) {
        self.evict(moment);
        self.is_fetching = true;
        let batches = self.waiting.iter().filter_map(|fed| fed.as_ref().ok());
        let needs = batches.flat_map(|fed| self.state.needs(&fed.batch)).collect();
        self.actions.push_back(Action::Fetch(needs));
    }

    /// Takes pages back, and goes on with the batches that waited for them.
    fn bring_back(&mut self, pages: Vec<(PageId, Vec<u8>)>) -> Result<(), Stop> {
        self.is_fetching = false;
        if let Some(kept) = self.kept.take() {
            self.state.end_upkeep(kept);
        }
        for (page, stored) in pages {
            self.state.supply(&page, &stored)?;
        }
        (self.has_fetched, self.is_to_go_on) = (true, true);
        Ok(())
    }

    /// The batches that waited for pages are applied. What has changed of these can leave only once it is stored.
    fn end_fetch(&mut self, moment: Moment) {
        self.evict(moment);
        let interval = self.settings.pace.checkpoint / EARLY_CHECKPOINTS;
        let is_early = self.stored_early_at.is_none_or(|at| moment.now.saturating_sub(at) >= interval);
        if is_early && self.saving.is_settled() && self.is_exceeded(moment) {
            self.actions.push_back(Action::AskForTurn);
        }
    }

    /// Whether closed days take so much more than their part that what has changed of them is stored before its time.
    fn is_exceeded(&self, moment: Moment) -> bool {
        let bytes = self.state.closed_residence().1;
        let most = |part: u64| part.saturating_mul(2).saturating_add(self.settings.slack);
        moment.closed_bytes.is_some_and(|part| bytes > most(part))
    }

    /// Evicts closed days that take too much memory. While a checkpoint is not on disk, evicts only pages of ids that came back. Evicts
    /// nothing while pages are on their way: a page that the first batch needs could go before its other pages come.
    fn evict(&mut self, moment: Moment) {
        if self.is_fetching {
            return;
        }
        self.state.limit_closed(moment.closed_bytes);
        if self.saving.is_settled() {
            self.state.stored();
        }
        let rows = self.state.evict(self.settings.rows_at_once);
        if rows > 0 {
            self.actions.push_back(Action::Evicted(rows));
        }
        if rows >= self.settings.rows_at_once && !self.is_evicting {
            self.is_evicting = true;
            self.actions.push_back(Action::Later(Input::Evict));
        }
    }

    /// Begins a piece of the upkeep of remembered ids, if there is something to do and room for it.
    fn begin_upkeep(&mut self, moment: Moment) {
        if self.kept.is_some() || moment.is_full || self.state.unsaved_ids() > MAX_UNSAVED_IDS {
            return;
        }
        let piece = self.state.begin_upkeep();
        self.actions.extend(piece.map(Action::BeginUpkeep));
    }

    /// Puts what came of a piece of upkeep in place, and begins the next one. Rows that are on their way from the store must not go before they
    /// have come.
    fn take_kept(&mut self, kept: Option<Kept>, moment: Moment) {
        match kept {
            None => self.state.give_up_upkeep(),
            Some(kept) if self.is_fetching => self.kept = Some(kept),
            Some(kept) => {
                self.state.end_upkeep(kept);
                self.begin_upkeep(moment);
            }
        }
    }

    /// Begins a backfill if one is wanted and none is under way.
    fn begin_backfill(&mut self, moment: Moment) {
        // A shard that is far behind would begin with a base that is far behind.
        if !self.state.wants_backfill() || (self.level_at.is_none() && self.waiting.is_empty()) {
            return;
        }
        if self.backfill_needs_memory && !moment.is_ample {
            return;
        }
        self.backfill_needs_memory = false;
        let (base, scratch) = (self.state.position(), Box::new(self.state.begin_backfill()));
        self.actions.push_back(Action::BeginBackfill { scratch, base });
    }

    /// How many rows a checkpoint has, and about how many bytes of memory it takes.
    pub fn checkpoint_needs(&self) -> (u64, u64) {
        let rows = self.state.unsaved_rows();
        (rows, self.saving.memory(rows))
    }

    /// Begins a checkpoint: when its outputs are written and its changes on disk, [`Input::Committed`], and then [`Input::Saved`].
    pub fn begin_checkpoint(&mut self, now: Duration) -> Checkpoint {
        self.saving.begin(&mut self.state, self.outputs, now)
    }

    /// Whether there is something to be saved, and nothing is being saved.
    pub fn has_unsaved(&self) -> bool {
        self.saving.has_unsaved(&self.state)
    }
}

#[cfg(test)]
mod tests;
