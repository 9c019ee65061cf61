//! The actor of one partition: applies batches, hands effects on, answers questions, checkpoints.
//!
//! A checkpoint at position X is committed only after every output up to X is written: so after any crash the log is
//! replayed from a point before the first output that may be missing, and the outbox passes over the ones that are
//! there.

use crate::checkpoints::Place;
use crate::feed::{Fed, feed};
use crate::freshness::{self, Level};
use crate::live::Feeds;
use crate::outputs::{Maker, Recorded};
use crate::pages::{self, Fetched, Sharer};
use crate::questions::{Question, Questions, SLICE, listen};
use crate::reclaim::Reclaiming;
use crate::replies::Replies;
use crate::saving::{Saved, Saving, Slot, Turn};
use crate::shedding::Shedding;
use crate::sweep::{SWEEP_INTERVAL, SWEEPER, sweep_in_time};
use crate::tasks::{essential, essential_until_done};
use crate::{backfill, checkpoints, retention, upkeep};
use compact_str::CompactString;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, DayState, Position, ShardQuestion};
use daybook_contracts::bundle::Said;
use daybook_contracts::log::{Batch, Record};
use daybook_contracts::members::Part;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant as Stamp;
use daybook_machine::backfill::Found;
use daybook_machine::remembered::upkeep::Kept;
use daybook_machine::{Odd, PartitionState};
use daybook_runtime::membership::Readiness;
use daybook_runtime::outbox::Outbox;
use daybook_runtime::process::Context;
use daybook_runtime::reader::Reader;
use daybook_runtime::retention::Retention;
use daybook_runtime::telemetry;
use daybook_runtime::{log, memory};
use opentelemetry::trace::SpanContext;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Shards that run the same partition share its questions.
const QUEUE_GROUP: &str = "shard";

/// How often things are done, and how much of a processor a backfill takes.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    pub checkpoint: Duration,
    pub live: Duration,
    pub snapshot: Duration,
    pub log_retention: Retention,
    pub backfill_duty_percent: u8,
    /// Bytes that entities of closed days may take in this process; a part of its memory unless set.
    pub closed_days: Option<u64>,
}

/// Starts the actor of `partition` as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(
    context: Context,
    partition: Partition,
    place: Place,
    intervals: Intervals,
    instance: CompactString,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let arguments = Arguments { context, partition, place, intervals, instance };
    let (actor, _) = Actor::spawn_linked(None, PartitionActor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

struct PartitionActor;

struct Arguments {
    context: Context,
    partition: Partition,
    place: Place,
    intervals: Intervals,
    /// The name by which this process is asked, rather than any that runs the partition.
    instance: CompactString,
}

/// What the actor is told.
pub enum Message {
    Apply(Box<Fed>),
    /// A message of the log was passed over, behind which so many stood.
    PassedOver {
        pending: u64,
        permit: OwnedSemaphorePermit,
    },
    /// Questions that arrived together.
    Ask(Vec<Question>),
    /// Answer for a while.
    Answer,
    CheckpointDue,
    /// What the checkpoint under way changes is on disk.
    Committed,
    CheckpointDone(Saved),
    /// Time to tell listeners what changed, and to see whether a view is to be backfilled.
    Tick,
    /// A scratch has read the log.
    BackfillRead(Box<Found>),
    /// Add some more of what it found.
    AddBackfill,
    /// A scratch missed batches that were trimmed while it read.
    BackfillLost,
    /// A scratch was given up because memory is full.
    BackfillTooLarge,
    /// Time to remove what is over its retention.
    TrimDue,
    /// Pages of closed days that waiting batches need.
    Fetched(Fetched),
    /// Have some more of closed days leave memory.
    Evict,
    /// What came of a piece of the upkeep of remembered ids.
    Kept(upkeep::Outcome),
}

/// What a batch has to wait for.
enum Lack {
    /// A view that it takes into force is to be backfilled.
    View,
    /// A snapshot in which that view is what it was found to be.
    Snapshot,
    /// Pages of closed days are to come back.
    Pages,
}

struct State {
    context: Context,
    partition: Partition,
    readiness: Readiness,
    state: PartitionState,
    saving: Saving,
    outbox: Outbox,
    maker: Maker,
    /// When the state was last known to be level with the log.
    level_at: Option<Instant>,
    is_level: bool,
    /// When the log was last heard of.
    heard: watch::Receiver<Instant>,
    /// Batches that stood behind the last one applied when it was read.
    pending: u64,
    /// Batches that wait for what the first of them [lacks](Lack); at most as many as are fed ahead.
    waiting: VecDeque<Fed>,
    /// Pages that waiting batches need are on their way from the store.
    is_fetching: bool,
    /// A [`Message::Evict`] is in the mailbox.
    is_evicting: bool,
    /// What came of upkeep while pages were on their way: it is put in place when they have come.
    kept: Option<Kept>,
    /// When a checkpoint was last begun for the memory's sake.
    stored_early_at: Option<Instant>,
    /// Of the memory for closed days.
    sharer: Sharer,
    /// The position of a batch that waits for another's snapshot, and since when.
    short_of: Option<(LogSeq, Instant)>,
    questions: Questions,
    feeds: Feeds,
    shedding: Shedding,
    intervals: Intervals,
    /// When the bucket of snapshots is swept next, if it is by this partition.
    sweep_at: Instant,
    reclaiming: Arc<Mutex<Reclaiming>>,
    backfill_progress: Arc<AtomicU8>,
    /// The last backfill did not fit into memory: the next one begins when memory is ample.
    backfill_needs_memory: bool,
    /// Where a backfill of a trimmed log unpacks a snapshot.
    history: PathBuf,
    tasks: Vec<JoinHandle<()>>,
    /// Ends the outbox with the actor.
    _outbox_guard: DropGuard,
}

impl Drop for State {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Actor for PartitionActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { context, partition, place, intervals, instance } = arguments;
        let readiness = context.begin(partition);
        let connection = &context.connection;
        let sharer = Sharer::new(intervals.closed_days);
        let (store, state) = checkpoints::open(connection, partition, &place, sharer.bytes()).await?;
        let outbox_stop = CancellationToken::new();
        let outbox = Outbox::start(connection.clone(), outbox_stop.clone());
        let subjects = &connection.subjects;
        let from = state.position().0 + 1;
        let reader = Reader::new(connection, subjects.events_stream(), subjects.events(partition), from);
        let to_any = connection.client.queue_subscribe(subjects.shard(partition), QUEUE_GROUP.to_owned()).await?;
        let to_this = connection.client.subscribe(subjects.shard_at(partition, &instance)).await?;
        let is_level = log::end(connection, partition).await?.position() <= state.position();
        tracing::info!(%partition, position = %state.position(), is_level, "aggregating");
        let heard = reader.heard();
        let tasks = vec![
            essential(
                "feed",
                feed(reader, state.position(), connection.clone(), outbox.clone(), myself.clone()),
                myself.clone(),
            ),
            essential(
                "questions",
                listen(futures::stream::select(to_any, to_this), connection.clone(), myself.clone()),
                myself.clone(),
            ),
        ];
        // Each is asked for again when it has been dealt with: what takes long must not pile up.
        myself.send_after(intervals.checkpoint, || Message::CheckpointDue);
        myself.send_after(intervals.live, || Message::Tick);
        myself.send_after(intervals.snapshot, || Message::TrimDue);
        // An inbox of the client's is a name that no other run has.
        let run = connection.client.new_inbox().replace("_INBOX.", "");
        let state = State {
            questions: Questions::default(),
            feeds: Feeds::new(run),
            shedding: Shedding::default(),
            waiting: VecDeque::new(),
            is_fetching: false,
            is_evicting: false,
            kept: None,
            stored_early_at: None,
            sharer,
            short_of: None,
            pending: 0,
            intervals,
            sweep_at: Instant::now(),
            reclaiming: Arc::default(),
            backfill_progress: Arc::default(),
            backfill_needs_memory: false,
            history: place.folder.with_extension("history"),
            saving: Saving::new(partition, store, &state, intervals),
            context,
            partition,
            readiness,
            state,
            outbox,
            maker: Maker::default(),
            level_at: is_level.then(Instant::now),
            is_level,
            heard,
            tasks,
            _outbox_guard: outbox_stop.drop_guard(),
        };
        state.tell();
        if is_level {
            state.readiness.reached();
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Apply(fed) => {
                state.waiting.push_back(*fed);
                state.apply_waiting(&myself)
            }
            Message::PassedOver { pending, permit } => {
                state.stands(pending);
                drop(permit);
                Ok(())
            }
            Message::Ask(questions) => {
                state.take_questions(questions, &myself).await;
                Ok(())
            }
            Message::Answer => {
                state.answer_questions(&myself).await;
                Ok(())
            }
            Message::CheckpointDue => {
                let next = match state.saving.turn() {
                    Turn::Now(slot) => {
                        state.state.forget_indexes();
                        state.begin_checkpoint(slot, myself.clone());
                        state.intervals.checkpoint
                    }
                    Turn::In(pause) => pause,
                };
                myself.send_after(next, || Message::CheckpointDue);
                Ok(())
            }
            Message::Committed => {
                state.saving.committed();
                state.evict(&myself);
                Ok(())
            }
            Message::CheckpointDone(saved) => {
                state.saving.done(saved)?;
                state.evict(&myself);
                Ok(())
            }
            Message::Fetched(fetched) => state.bring_back(fetched, &myself),
            Message::Kept(outcome) => state.take_kept(outcome?, &myself),
            Message::Evict => {
                state.is_evicting = false;
                state.evict(&myself);
                Ok(())
            }
            Message::Tick => {
                state.evict(&myself);
                state.begin_upkeep(&myself);
                state.tell();
                state.begin_backfill(&myself);
                state.push_updates().await;
                myself.send_after(state.intervals.live, || Message::Tick);
                Ok(())
            }
            Message::BackfillRead(found) => {
                state.state.finish_backfill(*found);
                // It fails only when this actor is to end, here and below.
                let _ = myself.cast(Message::AddBackfill);
                Ok(())
            }
            Message::BackfillLost => {
                state.state.give_up_backfill();
                state.begin_backfill(&myself);
                Ok(())
            }
            Message::BackfillTooLarge => {
                state.state.give_up_backfill();
                state.backfill_needs_memory = true;
                Ok(())
            }
            Message::TrimDue => {
                state.begin_trim(&myself);
                Ok(())
            }
            Message::AddBackfill => {
                if state.state.add_backfill() {
                    let _ = myself.cast(Message::AddBackfill);
                }
                state.apply_waiting(&myself)
            }
        }
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        // Questions are not answered from here on, and the last checkpoint takes its time.
        state.readiness.lost();
        Ok(state.saving.last(&mut state.state, &state.outbox).await?)
    }
}

impl State {
    /// Applies the batches that are here, up to one that has to wait.
    fn apply_waiting(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        // What the batch in front waits for changes only when it comes.
        if self.is_fetching {
            self.stand_still();
            return Ok(());
        }
        while let Some(fed) = self.waiting.pop_front() {
            let Fed { position, stored_at, batch, pending, trace, permit } = fed;
            let batch = batch?;
            if let Some(lack) = self.lack(position, &batch, myself) {
                self.waiting.push_front(Fed { position, stored_at, batch: Ok(batch), pending, trace, permit });
                match lack {
                    Lack::View => self.begin_backfill(myself),
                    Lack::Snapshot => {}
                    Lack::Pages => self.fetch(myself),
                }
                self.stand_still();
                return Ok(());
            }
            self.apply(position, stored_at, batch, pending, trace);
            drop(permit);
        }
        Ok(())
    }

    /// What is not here that the batch at `position` needs.
    fn lack(&mut self, position: LogSeq, batch: &Batch, myself: &ActorRef<Message>) -> Option<Lack> {
        if self.state.awaits_backfill(batch) {
            return Some(Lack::View);
        }
        if self.state.differs_in_history(batch) && !self.has_waited_for_snapshot(position, myself) {
            return Some(Lack::Snapshot);
        }
        (!self.state.needs(batch).is_empty()).then_some(Lack::Pages)
    }

    /// Fetches the pages that the batches here need, all at once. Before, pages leave for which there is no room: while some are on their
    /// way none does.
    fn fetch(&mut self, myself: &ActorRef<Message>) {
        self.evict(myself);
        self.is_fetching = true;
        let batches = self.waiting.iter().filter_map(|fed| fed.batch.as_ref().ok());
        let needs = batches.flat_map(|batch| self.state.needs(batch)).collect();
        let work = pages::fetch(self.saving.store().clone(), needs, myself.clone());
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(essential_until_done("fetch of pages", work, myself.clone()));
    }

    /// Goes on with the batches that waited for pages.
    ///
    /// # Errors
    /// When they could not be read, or are not what was stored: what is in the folder is looked at when the actor begins again.
    fn bring_back(&mut self, fetched: Fetched, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        self.is_fetching = false;
        if let Some(kept) = self.kept.take() {
            self.state.end_upkeep(kept);
        }
        for (page, stored) in fetched? {
            self.state.supply(&page, &stored).inspect_err(|_| self.saving.store().doubt())?;
        }
        self.apply_waiting(myself)?;
        self.evict(myself);
        let is_early = self.stored_early_at.is_none_or(|at| at.elapsed() >= self.intervals.checkpoint / 4);
        if is_early
            && self.saving.is_settled()
            && self.sharer.is_exceeded(self.state.closed_residence().1)
            && let Some(slot) = Slot::take()
        {
            // What has changed can leave only once it is stored.
            self.stored_early_at = Some(Instant::now());
            self.begin_checkpoint(Some(slot), myself.clone());
        }
        Ok(())
    }

    /// Has closed days leave memory that take too much of it, if all that was handed out to be stored is stored. Nothing leaves while pages
    /// are on their way: what the batch in front needs could go before the rest of it has come.
    fn evict(&mut self, myself: &ActorRef<Message>) {
        if self.is_fetching {
            return;
        }
        self.state.limit_closed(self.sharer.bytes());
        if self.saving.is_settled() {
            self.state.stored();
        }
        let rows = self.state.evict(pages::ROWS_AT_ONCE);
        if rows > 0 {
            metrics::counter!("daybook_shard_rows_evicted_total").increment(rows as u64);
        }
        if rows >= pages::ROWS_AT_ONCE && !self.is_evicting {
            // The rest goes behind what is in the mailbox.
            self.is_evicting = myself.cast(Message::Evict).is_ok();
        }
    }

    /// Begins a piece of the upkeep of remembered ids, if there is something to do and room for it.
    fn begin_upkeep(&mut self, myself: &ActorRef<Message>) {
        if self.kept.is_some() || memory::is_full() || self.state.unsaved_ids() > upkeep::MAX_UNSAVED_IDS {
            return;
        }
        let Some(piece) = self.state.begin_upkeep() else { return };
        let work = upkeep::run(self.partition, self.saving.store().clone(), piece, myself.clone());
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(essential_until_done("upkeep of ids", work, myself.clone()));
    }

    /// Puts what came of a piece of upkeep in place, and begins the next one. Rows that are on their way from the store must not go before they
    /// have come.
    fn take_kept(&mut self, kept: Option<Kept>, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        match kept {
            None => self.state.give_up_upkeep(),
            Some(kept) if self.is_fetching => self.kept = Some(kept),
            Some(kept) => {
                self.state.end_upkeep(kept);
                self.begin_upkeep(myself);
            }
        }
        Ok(())
    }

    /// The figures stand still until what waits can be applied.
    fn stand_still(&mut self) {
        self.is_level = false;
        self.pending = self.pending.max(self.waiting.len() as u64);
        self.tell();
    }

    /// Whether nobody has put a snapshot on the broker, for long enough, in which the view that the batch at `position` takes
    /// into force is what it was found to be. Such a snapshot is gone on from: the actor ends, and begins again with it.
    fn has_waited_for_snapshot(&mut self, position: LogSeq, myself: &ActorRef<Message>) -> bool {
        let patience = 2 * self.intervals.snapshot;
        if let Some((_, since)) = self.short_of.filter(|(of, _)| *of == position) {
            return since.elapsed() >= patience;
        }
        self.short_of = Some((position, Instant::now()));
        tracing::warn!(partition = %self.partition, %position, "a view was made of another part of the log; waiting for a snapshot");
        let (connection, partition, actor) = (self.context.connection.clone(), self.partition, myself.clone());
        let work = backfill::wait_for_snapshot(connection, partition, position, patience, actor);
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(essential_until_done("look for a snapshot", work, myself.clone()));
        false
    }

    /// Tells the others how this partition stands.
    fn tell(&self) {
        let as_of = self.state.as_of();
        let part = Part {
            log: as_of.log,
            inbox: as_of.inbox,
            lag: self.pending,
            lag_ms: self.level_at.filter(|_| !self.is_level).map_or(0, |at| at.elapsed().as_millis() as u64),
            checkpoint: self.saving.position(),
            digests: self.state.digests(),
            store_bytes: self.saving.disk_bytes(),
            closed_pages_out: self.state.closed_residence().0 as u64,
            bundles: true,
            ..Part::default()
        };
        self.context.board.set(self.partition, part);
    }

    fn apply(&mut self, position: LogSeq, stored_at: Stamp, batch: Batch, pending: u64, trace: Option<SpanContext>) {
        let started = Instant::now();
        let records = batch.records.len();
        let span = tracing::info_span!("apply", partition = self.partition.0, position = position.0, records);
        if let Some(trace) = &trace {
            telemetry::set_parent(&span, trace);
        }
        let _entered = span.enter();
        if trace.is_some() {
            self.note_traces(&batch.records, &telemetry::context_in(&span));
        }
        let through = batch.through;
        self.feeds.end_removed(&batch.records);
        let effects = self.state.apply(position, batch);
        let recorded = Recorded { position, stored_at };
        for effect in effects {
            for task in self.maker.tasks(&self.context.connection.subjects, recorded, effect) {
                self.outbox.put(task, stored_at);
            }
        }
        self.tell_notes();
        self.stands(pending);
        let partition = self.partition.to_string();
        metrics::counter!("daybook_shard_batches_total").increment(1);
        metrics::counter!("daybook_shard_records_total").increment(records as u64);
        metrics::gauge!("daybook_shard_lag_batches", "partition" => partition.clone()).set(pending as f64);
        metrics::gauge!("daybook_shard_inbox_sequence", "partition" => partition).set(through.inbox.0 as f64);
        metrics::histogram!("daybook_shard_apply_seconds").record(started.elapsed().as_secs_f64());
    }

    /// Counts and logs what the machine noted of the last batch.
    fn tell_notes(&self) {
        let notes = self.state.notes();
        for (code, events) in &notes.refused {
            metrics::counter!("daybook_shard_rejects_total", "code" => code.as_str()).increment(*events);
        }
        if notes.filled > 0 {
            metrics::counter!("daybook_views_capped_total").increment(notes.filled);
        }
        for odd in &notes.odd {
            match odd {
                Odd::DayOfNobody { .. } => tracing::debug!("passed over: {odd}"),
                _ => tracing::error!("passed over: {odd}"),
            }
        }
    }

    /// Takes note that so many messages stand behind what was read of the log last.
    fn stands(&mut self, pending: u64) {
        self.is_level = pending == 0 && self.waiting.is_empty();
        if self.is_level {
            if self.level_at.is_none() {
                tracing::info!(partition = %self.partition, position = %self.state.position(), "level with the log");
                self.readiness.reached();
            }
            self.level_at = Some(Instant::now());
        }
        self.pending = pending;
        self.tell();
    }

    /// Starts a backfill if one is wanted and none is under way.
    fn begin_backfill(&mut self, myself: &ActorRef<Message>) {
        // A shard that is far behind would begin with a base that is far behind.
        if !self.state.wants_backfill() || (self.level_at.is_none() && self.waiting.is_empty()) {
            return;
        }
        if self.backfill_needs_memory && !memory::is_ample() {
            return;
        }
        self.backfill_needs_memory = false;
        let base = self.state.position();
        let scratch = self.state.begin_backfill();
        let task = backfill::Task {
            connection: self.context.connection.clone(),
            partition: self.partition,
            folder: self.history.clone(),
            duty_percent: self.intervals.backfill_duty_percent,
            progress: self.backfill_progress.clone(),
        };
        tracing::info!(partition = %self.partition, %base, "backfilling");
        let work = backfill::run(task, scratch, base, myself.clone());
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(essential_until_done("backfill", work, myself.clone()));
    }

    /// Tells listeners what changed, unless the shard is far behind the log.
    async fn push_updates(&mut self) {
        self.feeds.expire(&mut self.state, Instant::now());
        let sheds = self.shedding.judge(self.pending);
        if self.feeds.is_empty() {
            return;
        }
        if sheds {
            metrics::counter!("daybook_shed_total", "what" => "live").increment(self.feeds.len() as u64);
            return;
        }
        let connection = &self.context.connection;
        for update in self.feeds.updates(&mut self.state) {
            let subject = connection.subjects.live(update.tenant.as_str(), update.view.as_str());
            // An update that cannot be sent is a gap in the feed's sequence.
            let _ = connection.client.publish(subject, json(&update).into()).await;
        }
    }

    fn note_traces(&mut self, records: &[Record], trace: &SpanContext) {
        for record in records {
            if let Record::Events(events) = record {
                for event in &events.events {
                    self.maker.note(&events.tenant, event.date, trace);
                }
            }
        }
    }

    /// Has questions wait for their turns. While any wait, one [`Message::Answer`] is in the mailbox.
    async fn take_questions(&mut self, questions: Vec<Question>, myself: &ActorRef<Message>) {
        let is_first = self.questions.is_empty();
        let mut refused = Replies::default();
        for question in questions {
            if let Err(refusal) = self.questions.push(question) {
                let (to, why) = *refusal;
                refused.refuse(to, why);
            }
        }
        refused.send(&self.context.connection.client).await;
        if is_first && !self.questions.is_empty() && myself.cast(Message::Answer).is_err() {
            self.answer_questions(myself).await;
        }
    }

    /// Answers questions for a [`SLICE`]; all of them when the actor is ending, for nothing comes behind it then. What is answered in
    /// a slice is sent at its end, or before an answer that may take long.
    async fn answer_questions(&mut self, myself: &ActorRef<Message>) {
        let mut questions = std::mem::take(&mut self.questions);
        let mut replies = Replies::default();
        let mut until = Instant::now() + SLICE;
        loop {
            let next = questions.answer_next(|asked| {
                if matches!(asked, Ok(ShardQuestion::Totals { .. } | ShardQuestion::Figures { .. })) {
                    let (ready, client) = (std::mem::take(&mut replies), self.context.connection.client.clone());
                    tokio::spawn(async move { ready.send(&client).await });
                }
                self.answer(asked)
            });
            let Some((to, said)) = next else { break };
            replies.put(to, said);
            if Instant::now() >= until && !questions.is_empty() {
                if myself.cast(Message::Answer).is_ok() {
                    break;
                }
                std::mem::take(&mut replies).send(&self.context.connection.client).await;
                until = Instant::now() + SLICE;
            }
        }
        self.questions = questions;
        replies.send(&self.context.connection.client).await;
    }

    /// The answer to a question: JSON, or MessagePack where it is figures.
    fn answer(&mut self, question: Result<ShardQuestion, serde_json::Error>) -> Said {
        let always = matches!(question, Ok(ShardQuestion::Position | ShardQuestion::Views) | Err(_));
        if self.level_at.is_none() && !always {
            let error = AskError::new(AskErrorCode::Unavailable, "the shard is catching up with the log");
            return refusal(error.hint("sealed days can be asked for by date"));
        }
        match question {
            Ok(ShardQuestion::View { tenant, view, query }) => {
                let answer = match query.watch {
                    true => self
                        .state
                        .check(&tenant, &view, &query)
                        .and_then(|()| self.feeds.watch(&mut self.state, &tenant, &view, Instant::now())),
                    false => self.state.view(&tenant, &view, &query),
                };
                match answer {
                    Ok(mut answer) => {
                        if answer.day != DayState::Closed {
                            answer.freshness_ms = self.freshness_ms();
                        }
                        Said::view(&answer)
                    }
                    Err(error) => refusal(error),
                }
            }
            Ok(ShardQuestion::Figures { tenant, view, from, to }) => {
                match self.state.figures(&tenant, &view, from, to) {
                    Ok(figures) => Said::Reply(figures.encode().into()),
                    Err(error) => refusal(error),
                }
            }
            Ok(ShardQuestion::Totals { tenants, view, days, .. }) => match self.state.totals(&tenants, &view, &days) {
                Ok(totals) => Said::Reply(totals.finish(self.freshness_ms()).into()),
                Err(error) => refusal(error),
            },
            Ok(ShardQuestion::Days { tenant }) => reply(&self.state.days(&tenant)),
            Ok(ShardQuestion::ViewsOf { tenant, .. }) => reply(&self.state.views_for(&tenant)),
            Ok(ShardQuestion::Position) => {
                reply(&Asked::Ok(Position { as_of: self.state.as_of(), outputs_waiting: self.outbox.backlog() }))
            }
            Ok(ShardQuestion::Views) => {
                reply(&Asked::Ok(self.state.views(self.backfill_progress.load(Ordering::Relaxed))))
            }
            Err(error) => refusal(
                AskError::new(AskErrorCode::BadRequest, format!("the question cannot be read: {error}"))
                    .hint("query and aggregator-shard may be of different versions"),
            ),
        }
    }

    fn freshness_ms(&self) -> u64 {
        let connection = self.context.connection.client.connection_state();
        freshness::milliseconds(Level {
            since: self.level_at.map(|at| at.elapsed()),
            is_level: self.is_level,
            is_connected: connection == async_nats::connection::State::Connected,
            heard: self.heard.borrow().elapsed(),
        })
    }

    /// Removes what is over its retention, and asks for it again when that is done. While a view or season waits for a
    /// backfill, which the snapshots may not say yet, no snapshot goes. Pieces go that none names any more, and now and then what
    /// broken-off snapshots left.
    fn begin_trim(&mut self, myself: &ActorRef<Message>) {
        let is_due = !self.state.needs_history();
        let sweeps = self.partition == SWEEPER && Instant::now() >= self.sweep_at;
        if sweeps {
            self.sweep_at = Instant::now() + SWEEP_INTERVAL;
        }
        let (connection, partition) = (self.context.connection.clone(), self.partition);
        let (retention, interval, myself) = (self.intervals.log_retention, self.intervals.snapshot, myself.clone());
        let reclaiming = self.reclaiming.clone();
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(tokio::spawn(async move {
            retention::tidy(&connection, partition, is_due.then_some(retention), &reclaiming).await;
            if sweeps {
                sweep_in_time(&connection).await;
            }
            myself.send_after(interval, || Message::TrimDue);
        }));
    }

    fn begin_checkpoint(&mut self, slot: Option<Slot>, myself: ActorRef<Message>) {
        let sizes = self.state.sizes();
        let partition = self.partition.to_string();
        metrics::gauge!("daybook_shard_tenants", "partition" => partition.clone()).set(sizes.tenants as f64);
        metrics::gauge!("daybook_shard_days", "partition" => partition.clone()).set(sizes.days as f64);
        metrics::gauge!("daybook_shard_entities", "partition" => partition.clone()).set(sizes.entities as f64);
        metrics::gauge!("daybook_shard_groups", "partition" => partition.clone()).set(sizes.groups as f64);
        let (ids, bytes) = self.state.remembered();
        metrics::gauge!("daybook_shard_remembered_ids", "partition" => partition.clone()).set(ids as f64);
        metrics::gauge!("daybook_shard_remembered_bytes", "partition" => partition.clone()).set(bytes as f64);
        let (out, bytes) = self.state.closed_residence();
        metrics::gauge!("daybook_shard_closed_pages_out", "partition" => partition.clone()).set(out as f64);
        metrics::gauge!("daybook_shard_closed_bytes", "partition" => partition.clone()).set(bytes as f64);
        metrics::gauge!("daybook_live_feeds", "partition" => partition.clone()).set(self.feeds.len() as f64);
        metrics::gauge!("daybook_outbox_backlog", "partition" => partition).set(self.outbox.backlog() as f64);
        let connection = &self.context.connection;
        if let Some(work) = self.saving.begin(slot, &mut self.state, &self.outbox, connection, myself.clone()) {
            self.tasks.retain(|task| !task.is_finished());
            self.tasks.push(essential_until_done("checkpoint", work, myself));
        }
    }
}

fn json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("answers are plain values")
}

fn reply(answer: &impl Serialize) -> Said {
    Said::Reply(json(answer).into())
}

fn refusal(error: AskError) -> Said {
    reply(&Err::<(), _>(error))
}
