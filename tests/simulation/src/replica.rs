//! A replica of a partition: aggregator-shard's actor as steps around the real [`PartitionState`]. Feed, outbox,
//! checkpoints and backfills are tasks of their own there; here each is one kind of step, taken in any order.

use crate::broker::Stream;
use crate::mutation::Mutation;
use crate::outbox::Outbox;
use crate::settings::{Shell, Violation};
use crate::store::Store;
use aggregator_shard::outputs::Maker;
use aggregator_shard::state::PartitionState;
use aggregator_shard::state::backfill::Found;
use daybook_contracts::ask::ViewProgress;
use daybook_contracts::log::{Batch, Event, Record};
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{LogSeq, Name, Partition};
use daybook_runtime::store::Changes;
use std::collections::{BTreeSet, VecDeque};

/// Batches that wait at most, as in the real feed.
const AHEAD: usize = 4;

/// A replica.
pub struct Replica {
    pub partition: Partition,
    /// Which of the replicas, from 0.
    pub number: usize,
    store: Store,
    running: Option<Box<Running>>,
}

struct Running {
    state: PartitionState,
    /// The last batch that was handed over by the feed.
    fed: u64,
    waiting: VecDeque<(LogSeq, Batch)>,
    outbox: Outbox,
    maker: Maker,
    checkpoint: Option<Checkpoint>,
    checkpointed: LogSeq,
    was_level: bool,
    scratch: Option<Scratch>,
    adding: bool,
    /// What was said already, for a mutation.
    said: BTreeSet<(Name, String)>,
}

/// A checkpoint that waits for the outputs before it.
struct Checkpoint {
    position: LogSeq,
    outputs: u64,
    changes: Changes,
}

/// A second machine that reads the log for views that came later.
struct Scratch {
    state: PartitionState,
    base: u64,
    next: u64,
}

/// What a step did that is to be checked.
pub enum Stepped {
    Nothing,
    Restored,
    Applied(LogSeq),
}

impl Replica {
    pub fn new(partition: Partition, number: usize) -> Self {
        Self { partition, number, store: Store::default(), running: None }
    }

    /// Ends; the store stays.
    pub fn crash(&mut self) {
        self.running = None;
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
            return Ok(Stepped::Restored);
        };
        match shell.random.below(16) {
            0..3 => running.feed(shell, self.partition),
            3..6 => return Ok(running.apply(shell, self.number)),
            6..10 => running.outbox.step(shell)?,
            10..13 => match running.checkpoint.take() {
                Some(checkpoint) => {
                    if !running.commit(shell, checkpoint, &mut self.store) {
                        self.crash();
                    }
                }
                None => running.begin_checkpoint(),
            },
            13 => {
                if running.was_level || !running.waiting.is_empty() {
                    running.begin_backfill();
                }
            }
            _ => running.backfill(shell, self.partition),
        }
        Ok(Stepped::Nothing)
    }

    fn start(&mut self, shell: &mut Shell) -> Result<(), Violation> {
        let name = format!("{}/{}", self.partition, self.number);
        let rows = self.store.open(shell, &name)?;
        let end = shell.broker.newest(Stream::Events, self.partition).map_or(0, |message| message.sequence);
        let mut state = match PartitionState::restore(self.partition, rows) {
            Ok(Some(state)) if state.position().0 <= end => state,
            other => {
                if let Err(error) = other {
                    shell.trace.note(|| format!("replica {name}: wiped: {error}"));
                }
                self.store.wipe();
                PartitionState::new(self.partition)
            }
        };
        state.keep_digests();
        let position = state.position();
        shell.trace.note(|| format!("replica {name}: begins at {position}"));
        let mut fed = position.0;
        if fed > 0 && shell.breaks(Mutation::FeedSkipsBatch) {
            let skipped = shell.broker.next(Stream::Events, self.partition, fed + 1);
            fed = skipped.map_or(fed, |message| message.sequence);
        }
        self.running = Some(Box::new(Running {
            state,
            fed,
            waiting: VecDeque::new(),
            outbox: Outbox::default(),
            maker: Maker::default(),
            checkpoint: None,
            checkpointed: position,
            was_level: position.0 >= end,
            scratch: None,
            adding: false,
            said: BTreeSet::new(),
        }));
        Ok(())
    }
}

impl Running {
    fn feed(&mut self, shell: &mut Shell, partition: Partition) {
        if self.waiting.len() >= AHEAD {
            return;
        }
        let Some(message) = shell.broker.next(Stream::Events, partition, self.fed + 1) else {
            self.was_level |= self.waiting.is_empty();
            return;
        };
        self.fed = message.sequence;
        let mut batch = Batch::decode(&message.payload).expect("ingest appends batches");
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
        self.waiting.push_back((LogSeq(message.sequence), batch));
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

    fn apply(&mut self, shell: &mut Shell, number: usize) -> Stepped {
        let Some((position, mut batch)) = self.waiting.pop_front() else { return Stepped::Nothing };
        if self.state.awaits_backfill(&batch) && !shell.breaks(Mutation::ActivateUnmade) {
            self.waiting.push_front((position, batch));
            self.begin_backfill();
            return Stepped::Nothing;
        }
        let is_activation = |record: &Record| matches!(record, Record::Define(Definition::Activation(_)));
        if shell.breaks(Mutation::ActivateUnmade) && self.state.awaits_backfill(&batch) {
            // The real core refuses to: this replica goes on without the view.
            batch.records.retain(|record| !is_activation(record));
        }
        if shell.breaks(Mutation::ReplicaOrder) && number == 1 {
            batch.records.reverse();
        }
        let effects = self.state.apply(position, batch);
        for effect in effects {
            for output in self.maker.outputs(&shell.broker.subjects, position, effect) {
                self.outbox.put(output);
            }
        }
        Stepped::Applied(position)
    }

    fn begin_checkpoint(&mut self) {
        if self.state.position() == self.checkpointed {
            return;
        }
        self.checkpoint = Some(Checkpoint {
            position: self.state.position(),
            outputs: self.outbox.accepted(),
            changes: self.state.checkpoint(),
        });
    }

    /// Commits if the outputs before it are written, and tells whether it lived through that.
    fn commit(&mut self, shell: &mut Shell, checkpoint: Checkpoint, store: &mut Store) -> bool {
        if self.outbox.written() < checkpoint.outputs && !shell.breaks(Mutation::CheckpointBeforeOutputs) {
            self.checkpoint = Some(checkpoint);
            return true;
        }
        let Checkpoint { position, changes, .. } = checkpoint;
        let is_whole = store.commit(shell, &changes);
        shell.trace.note(|| format!("replica: checkpoint at {position}, whole {is_whole}"));
        self.checkpointed = position;
        is_whole
    }

    fn begin_backfill(&mut self) {
        if !self.state.wants_backfill() {
            return;
        }
        let state = self.state.begin_backfill();
        self.scratch = Some(Scratch { state, base: self.state.position().0, next: 1 });
    }

    /// The scratch reads one batch, or some of what it has found is added.
    fn backfill(&mut self, shell: &mut Shell, partition: Partition) {
        if self.adding {
            self.adding = self.state.add_backfill();
            return;
        }
        let Some(mut scratch) = self.scratch.take() else { return };
        let through = match () {
            () if shell.breaks(Mutation::BackfillBaseEarly) => scratch.base.saturating_sub(1),
            () if shell.breaks(Mutation::BackfillBaseLate) => {
                let beyond = shell.broker.next(Stream::Events, partition, scratch.base + 1);
                beyond.map_or(scratch.base, |message| message.sequence)
            }
            () => scratch.base,
        };
        for _ in 0..=shell.random.below(8) {
            let message = shell.broker.next(Stream::Events, partition, scratch.next);
            let Some(message) = message.filter(|message| message.sequence <= through) else {
                shell.trace.note(|| format!("replica {partition}: a backfill has read the log up to {through}"));
                self.state.finish_backfill(Found::of(scratch.state, None));
                self.adding = true;
                return;
            };
            scratch.next = message.sequence + 1;
            let batch = Batch::decode(&message.payload).expect("ingest appends batches");
            let _ = scratch.state.apply(LogSeq(message.sequence), batch);
        }
        self.scratch = Some(scratch);
    }
}
