//! The actor of one partition: it hands its [`Replica`] what comes, and carries out what the replica decides.
//!
//! A checkpoint at position X is committed only after every output up to X is written: so after any crash the log is
//! replayed from a point before the first output that may be missing, and the outbox passes over the ones that are
//! there.

use crate::answering::Answering;
use crate::checkpoints::Place;
use crate::feed::feed;
use crate::messages::{Carried, Message};
use crate::pages::{self, Sharer};
use crate::questions::{Question, listen};
use crate::reclaim::Reclaiming;
use crate::replica::{Action, Fed, Input, Moment, Replica, Settings};
use crate::saving::Pace;
use crate::storing::{Slot, Storing, Turn};
use crate::sweep::{SWEEP_INTERVAL, SWEEPER, sweep_in_time};
use crate::tasks::{essential, essential_until_done};
use crate::{backfill, checkpoints, retention, upkeep};
use compact_str::CompactString;
use daybook_contracts::log::Record;
use daybook_contracts::members::Part;
use daybook_domain::ids::Partition;
use daybook_machine::Odd;
use daybook_runtime::membership::Readiness;
use daybook_runtime::outbox::Outbox;
use daybook_runtime::process::Context;
use daybook_runtime::reader::Reader;
use daybook_runtime::retention::Retention;
use daybook_runtime::{log, memory, telemetry};
use opentelemetry::trace::SpanContext;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, MessagingErr, SpawnErr};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;
use tokio::sync::Mutex;
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

impl Intervals {
    fn pace(&self) -> Pace {
        Pace { checkpoint: self.checkpoint, snapshot: self.snapshot }
    }

    fn settings(&self) -> Settings {
        Settings {
            pace: self.pace(),
            patience: 2 * self.snapshot,
            rows_at_once: pages::ROWS_AT_ONCE,
            slack: pages::SLACK,
        }
    }
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

struct State {
    context: Context,
    partition: Partition,
    readiness: Readiness,
    replica: Replica,
    /// Where the replica's clock begins.
    begun: Instant,
    /// What came with the batches that the replica has, in their order.
    carried: VecDeque<Carried>,
    storing: Storing,
    /// For the checkpoint that is being begun, if it has one.
    slot: Option<Slot>,
    outbox: Outbox,
    /// Of the memory for closed days.
    sharer: Sharer,
    answering: Answering,
    intervals: Intervals,
    /// When the bucket of snapshots is swept next, if it is by this partition.
    sweep_at: Instant,
    reclaiming: Arc<Mutex<Reclaiming>>,
    backfill_progress: Arc<AtomicU8>,
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
        let position = state.position();
        let reader = Reader::new(connection, subjects.events_stream(), subjects.events(partition), position.0 + 1);
        let to_any = connection.client.queue_subscribe(subjects.shard(partition), QUEUE_GROUP.to_owned()).await?;
        let to_this = connection.client.subscribe(subjects.shard_at(partition, &instance)).await?;
        let is_level = log::end(connection, partition).await?.position() <= position;
        tracing::info!(%partition, %position, is_level, "aggregating");
        let heard = reader.heard();
        let feed = feed(reader, position, connection.clone(), outbox.clone(), myself.clone());
        let listen = listen(futures::stream::select(to_any, to_this), connection.clone(), asking(myself.clone()));
        let tasks = vec![essential("feed", feed, myself.get_cell()), essential("questions", listen, myself.get_cell())];
        // Each is asked for again when it has been dealt with: what takes long must not pile up.
        myself.send_after(intervals.checkpoint, || Message::CheckpointDue);
        myself.send_after(intervals.live, || Message::Tick);
        myself.send_after(intervals.snapshot, || Message::TrimDue);
        let (begun, backfill_progress) = (Instant::now(), Arc::<AtomicU8>::default());
        let stored_bytes = store.live_bytes().unwrap_or_default();
        let subjects = subjects.clone();
        let replica = Replica::new(partition, subjects, state, stored_bytes, intervals.settings(), Duration::ZERO);
        let progress = backfill_progress.clone();
        let mut state = State {
            answering: Answering::new(connection.clone(), outbox.clone(), heard, progress, begun),
            replica,
            begun,
            carried: VecDeque::new(),
            storing: Storing::new(partition, store, intervals.pace()),
            slot: None,
            sharer,
            intervals,
            sweep_at: Instant::now(),
            reclaiming: Arc::default(),
            backfill_progress,
            history: place.folder.with_extension("history"),
            context,
            partition,
            readiness,
            outbox,
            tasks,
            _outbox_guard: outbox_stop.drop_guard(),
        };
        if is_level {
            state.replica.reach(Duration::ZERO);
        }
        state.tell();
        state.go_on(&myself)?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Fed { fed, carried } => {
                state.carried.push_back(carried);
                state.hear(Input::Fed(fed), &myself)?;
            }
            Message::PassedOver { pending, permit } => {
                state.hear(Input::PassedOver { pending }, &myself)?;
                drop(permit);
            }
            Message::Heard(input) => state.hear(input, &myself)?,
            Message::Failed(error) => return Err(error),
            Message::Ask(questions) => state.answering.take(questions, &mut state.replica, &myself).await,
            Message::Answer => state.answering.go_on(&mut state.replica, &myself).await,
            Message::CheckpointDue => {
                let next = match state.storing.turn() {
                    Turn::Now(slot) => {
                        state.take_turn(slot, false)?;
                        state.go_on(&myself)?;
                        state.intervals.checkpoint
                    }
                    Turn::In(pause) => pause,
                };
                myself.send_after(next, || Message::CheckpointDue);
            }
            Message::Tick => {
                state.hear(Input::Tick, &myself)?;
                state.answering.push_updates(&mut state.replica).await;
                myself.send_after(state.intervals.live, || Message::Tick);
            }
            Message::TrimDue => state.begin_trim(&myself),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        // Questions are not answered from here on, and the last checkpoint takes its time.
        state.readiness.lost();
        Ok(state.storing.last(&mut state.replica, state.begun.elapsed(), &state.outbox).await?)
    }
}

/// Brings questions to the actor, or returns them when it has ended.
fn asking(actor: ActorRef<Message>) -> impl Fn(Vec<Question>) -> Result<(), Vec<Question>> {
    move |questions| match actor.cast(Message::Ask(questions)) {
        Err(MessagingErr::SendErr(Message::Ask(unsent))) => Err(unsent),
        _ => Ok(()),
    }
}

impl State {
    fn moment(&self) -> Moment {
        Moment {
            now: self.begun.elapsed(),
            closed_bytes: self.sharer.bytes(),
            is_ample: memory::is_ample(),
            is_full: memory::is_full(),
        }
    }

    /// Hands something to the replica, and does what follows.
    ///
    /// # Errors
    /// When the replica cannot go on: what is in the folder is looked at when the actor begins again.
    fn hear(&mut self, input: Input, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        // What the store gave may not be what was committed.
        self.replica.handle(input, self.moment()).inspect_err(|_| self.storing.store().doubt())?;
        self.go_on(myself)
    }

    fn go_on(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        while let Some(action) = self.replica.next(self.moment())? {
            self.carry_out(action, myself)?;
        }
        self.slot = None;
        Ok(())
    }

    fn carry_out(&mut self, action: Action, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let partition = self.partition;
        match action {
            Action::Apply(fed) => {
                let Carried { trace, permit } = self.carried.pop_front().expect("something comes with each batch");
                self.apply(fed, trace);
                drop(permit);
            }
            Action::Fetch(pages) => {
                let work = pages::fetch(self.storing.store().clone(), pages, myself.clone());
                self.begin("fetch of pages", work, myself);
            }
            Action::BeginBackfill { scratch, base } => {
                let task = backfill::Task {
                    connection: self.context.connection.clone(),
                    partition,
                    folder: self.history.clone(),
                    duty_percent: self.intervals.backfill_duty_percent,
                    progress: self.backfill_progress.clone(),
                };
                tracing::info!(%partition, %base, "backfilling");
                self.begin("backfill", backfill::run(task, *scratch, base, myself.clone()), myself);
            }
            Action::BeginUpkeep(piece) => {
                let work = upkeep::run(partition, self.storing.store().clone(), piece, myself.clone());
                self.begin("upkeep of ids", work, myself);
            }
            Action::AwaitSnapshot { position, patience } => {
                tracing::warn!(%partition, %position, "a view was made of another part of the log; waiting for a snapshot");
                let connection = self.context.connection.clone();
                let work = backfill::wait_for_snapshot(connection, partition, position, patience, myself.clone());
                self.begin("look for a snapshot", work, myself);
            }
            Action::BeginCheckpoint => self.begin_checkpoint(myself),
            Action::AskForTurn => {
                if let Some(slot) = Slot::take() {
                    self.take_turn(Some(slot), true)?;
                }
            }
            // It fails only when this actor is to end.
            Action::Later(input) => drop(myself.cast(Message::Heard(input))),
            Action::Reached => {
                tracing::info!(%partition, position = %self.replica.position(), "level with the log");
                self.readiness.reached();
            }
            Action::Tell => self.tell(),
            Action::Evicted(rows) => metrics::counter!("daybook_shard_rows_evicted_total").increment(rows as u64),
        }
        Ok(())
    }

    /// Begins work whose end the replica hears of.
    fn begin(
        &mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
        myself: &ActorRef<Message>,
    ) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(essential_until_done(name, work, myself.get_cell()));
    }

    /// Tells the others how this partition stands.
    fn tell(&self) {
        let (state, saved) = (self.replica.state(), self.replica.saving().position());
        let as_of = state.as_of();
        let behind = self.replica.since_level(self.begun.elapsed()).filter(|_| !self.replica.is_level());
        let part = Part {
            log: as_of.log,
            inbox: as_of.inbox,
            lag: self.replica.pending(),
            lag_ms: behind.unwrap_or_default().as_millis() as u64,
            checkpoint: saved,
            digests: state.digests(),
            store_bytes: self.storing.disk_bytes(),
            closed_pages_out: state.closed_residence().0 as u64,
            bundles: true,
            ..Part::default()
        };
        self.context.board.set(self.partition, part);
    }

    fn apply(&mut self, fed: Fed, trace: Option<SpanContext>) {
        let started = Instant::now();
        let (position, stored_at, pending) = (fed.position, fed.stored_at, fed.pending);
        let (records, through) = (fed.batch.records.len(), fed.batch.through);
        let span = tracing::info_span!("apply", partition = self.partition.0, position = position.0, records);
        if let Some(trace) = &trace {
            telemetry::set_parent(&span, trace);
        }
        let _entered = span.enter();
        if trace.is_some() {
            self.note_traces(&fed.batch.records, &telemetry::context_in(&span));
        }
        self.answering.end_removed(&fed.batch.records);
        for task in self.replica.apply(fed, self.begun.elapsed()) {
            self.outbox.put(task, stored_at);
        }
        self.tell_notes();
        let partition = self.partition.to_string();
        metrics::counter!("daybook_shard_batches_total").increment(1);
        metrics::counter!("daybook_shard_records_total").increment(records as u64);
        metrics::gauge!("daybook_shard_lag_batches", "partition" => partition.clone()).set(pending as f64);
        metrics::gauge!("daybook_shard_inbox_sequence", "partition" => partition).set(through.inbox.0 as f64);
        metrics::histogram!("daybook_shard_apply_seconds").record(started.elapsed().as_secs_f64());
    }

    fn note_traces(&mut self, records: &[Record], trace: &SpanContext) {
        for record in records {
            if let Record::Events(events) = record {
                for event in &events.events {
                    self.replica.note_trace(&events.tenant, event.date, trace);
                }
            }
        }
    }

    /// Counts and logs what the machine noted of the last batch.
    fn tell_notes(&self) {
        let notes = self.replica.state().notes();
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

    /// Removes what is over its retention, and asks for it again when that is done. While a view or season waits for a
    /// backfill, which the snapshots may not say yet, no snapshot goes. Pieces go that none names any more, and now and then what
    /// broken-off snapshots left.
    fn begin_trim(&mut self, myself: &ActorRef<Message>) {
        let is_due = !self.replica.state().needs_history();
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

    /// Tells the replica that it may make a checkpoint.
    fn take_turn(&mut self, slot: Option<Slot>, is_early: bool) -> Result<(), ActorProcessingErr> {
        self.show_sizes();
        self.storing.look();
        self.slot = slot;
        Ok(self.replica.handle(Input::Turn { is_early }, self.moment())?)
    }

    fn begin_checkpoint(&mut self, myself: &ActorRef<Message>) {
        let (slot, now) = (self.slot.take(), self.begun.elapsed());
        let Self { storing, replica, outbox, context, .. } = self;
        let work = storing.begin(slot, replica, now, outbox, &context.connection, myself.clone());
        if let Some(work) = work {
            self.begin("checkpoint", work, myself);
        }
    }

    /// Shows, as metrics, what the partition holds.
    fn show_sizes(&self) {
        let state = self.replica.state();
        let (sizes, (ids, id_bytes), (out, closed_bytes)) =
            (state.sizes(), state.remembered(), state.closed_residence());
        let (feeds, backlog) = (self.answering.feeds(), self.outbox.backlog());
        let partition = self.partition.to_string();
        metrics::gauge!("daybook_shard_tenants", "partition" => partition.clone()).set(sizes.tenants as f64);
        metrics::gauge!("daybook_shard_days", "partition" => partition.clone()).set(sizes.days as f64);
        metrics::gauge!("daybook_shard_entities", "partition" => partition.clone()).set(sizes.entities as f64);
        metrics::gauge!("daybook_shard_groups", "partition" => partition.clone()).set(sizes.groups as f64);
        metrics::gauge!("daybook_shard_remembered_ids", "partition" => partition.clone()).set(ids as f64);
        metrics::gauge!("daybook_shard_remembered_bytes", "partition" => partition.clone()).set(id_bytes as f64);
        metrics::gauge!("daybook_shard_closed_pages_out", "partition" => partition.clone()).set(out as f64);
        metrics::gauge!("daybook_shard_closed_bytes", "partition" => partition.clone()).set(closed_bytes as f64);
        metrics::gauge!("daybook_live_feeds", "partition" => partition.clone()).set(feeds as f64);
        metrics::gauge!("daybook_outbox_backlog", "partition" => partition).set(backlog as f64);
    }
}
