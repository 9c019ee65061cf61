//! The actor that sequences one partition: it reads INBOX, feeds the sequencer and appends what it cuts, one batch at
//! a time. While a batch is being appended, the next one is gathered.

use crate::fence::{self, Standing};
use crate::quota::Rates;
use crate::sequencer::{Cut, Inbound, Marks, Sequencer};
use bytes::Bytes;
use daybook_contracts::event::Encoding;
use daybook_contracts::headers;
use daybook_contracts::members::Part;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::append::{Appended, append, last_message};
use daybook_runtime::connection::Connection;
use daybook_runtime::membership::Readiness;
use daybook_runtime::process::Context;
use daybook_runtime::reader::{Delivered, Reader, read_through};
use daybook_runtime::telemetry;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// How long a step waits for a first message before the actor looks at its mailbox again.
const IDLE: Duration = Duration::from_millis(250);
/// Most producers' traces that a batch is linked to.
const MAX_TRACES: usize = 16;

/// Starts the sequencer of `partition` as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(
    context: Context,
    partition: Partition,
    linger: Duration,
    default_rates: Rates,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let arguments = Arguments { context, partition, linger, default_rates };
    let (actor, _) = Actor::spawn_linked(None, PartitionActor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

struct PartitionActor;

struct Arguments {
    context: Context,
    partition: Partition,
    linger: Duration,
    /// For tenants that have no rates of their own.
    default_rates: Rates,
}

/// The one message: gather and append once more.
struct Step;

struct State {
    context: Context,
    partition: Partition,
    linger: Duration,
    subject: String,
    /// The sequence in EVENTS of the partition's last batch, 0 for none: the fence.
    last: u64,
    reader: Reader,
    sequencer: Sequencer,
    /// Gathered while the batch before it was appended.
    gathered: Option<Gathered>,
    readiness: Readiness,
}

/// A batch with the traces of those who published what is in it.
struct Gathered {
    cut: Cut,
    traces: Vec<opentelemetry::Context>,
}

impl Actor for PartitionActor {
    type Msg = Step;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Step>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { context, partition, linger, default_rates } = arguments;
        let readiness = Readiness::begin(&context, partition, format!("ingest {partition}"));
        let connection = &context.connection;
        let subject = connection.subjects.events(partition);
        let (last, marks) = log_end(connection, partition).await;
        let definitions = definitions(connection, partition, marks.catalog).await;
        let sequencer =
            Sequencer::new(connection.subjects.clone(), marks, definitions).with_default_rates(default_rates);
        let (stream, filters) = (connection.subjects.inbox_stream(), connection.subjects.inbox_of(partition));
        let reader = Reader::with_filters(connection, stream, filters, marks.through.next());
        tracing::info!(%partition, log = last, inbox = %marks.through.inbox, "sequencing");
        myself.cast(Step)?;
        let state = State { context, partition, linger, subject, last, reader, sequencer, gathered: None, readiness };
        state.tell();
        state.readiness.reached();
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Step>, Step: Step, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.step().await?;
        // What is gathered and not appended when this process ends is read again by the next owner.
        if !state.context.leave.is_cancelled() {
            // It fails only when this actor is to end.
            let _ = myself.cast(Step);
        }
        Ok(())
    }
}

impl State {
    /// Tells the others how far this partition is.
    fn tell(&self) {
        let (log, inbox) = (LogSeq(self.last), self.sequencer.marks().through.whole());
        let lag = self.reader.pending();
        self.context.board.update(self.partition, |part| {
            *part = Part { log, inbox, lag, ..std::mem::take(part) };
        });
        metrics::gauge!("daybook_ingest_lag_messages", "partition" => self.partition.to_string()).set(lag as f64);
    }

    /// Appends what was gathered, and gathers meanwhile.
    async fn step(&mut self) -> Result<(), ActorProcessingErr> {
        let Some(gathered) = self.gathered.take() else {
            let patience = Instant::now() + IDLE;
            tokio::select! {
                gathered = gather(&mut self.reader, &mut self.sequencer, self.linger, patience) => self.gathered = gathered,
                () = self.context.leave.cancelled() => {}
            }
            return Ok(());
        };
        let append = append_batch(&self.context.connection, &self.subject, self.last, gathered);
        let gather = gather(&mut self.reader, &mut self.sequencer, self.linger, Instant::now());
        let (appended, gathered) = tokio::join!(append, gather);
        self.last = appended?;
        self.tell();
        self.gathered = gathered;
        Ok(())
    }
}

/// Takes messages in until a batch is full, or `linger` after the first one. `None` when nothing came until `patience`.
async fn gather(
    reader: &mut Reader,
    sequencer: &mut Sequencer,
    linger: Duration,
    patience: Instant,
) -> Option<Gathered> {
    let mut traces = Vec::new();
    let mut deadline = patience;
    while !sequencer.is_full() {
        let waiting = sequencer.is_empty();
        let message = match reader.next_buffered() {
            Some(message) => message,
            None => match tokio::time::timeout_at(deadline, reader.next()).await {
                Ok(message) => message,
                Err(_) => break,
            },
        };
        if traces.len() < MAX_TRACES {
            traces.extend(telemetry::context_of(&message.headers));
        }
        take(sequencer, &message);
        if waiting {
            deadline = Instant::now() + linger;
        }
    }
    sequencer.cut().map(|cut| Gathered { cut, traces })
}

fn take(sequencer: &mut Sequencer, message: &Delivered) {
    let is_msgpack = message.headers.get(headers::CONTENT_TYPE).is_some_and(|value| value.as_str() == headers::MSGPACK);
    let source = message.headers.get(headers::STREAM_SOURCE).and_then(|value| headers::source_sequence(value.as_str()));
    sequencer.take(Inbound {
        sequence: message.sequence,
        subject: message.subject.as_str(),
        encoding: if is_msgpack { Encoding::MessagePack } else { Encoding::Json },
        source_sequence: source,
        stored_at: message.stored_at,
        payload: &message.payload,
    });
}

/// Appends a batch behind `last` and returns its sequence.
///
/// # Errors
/// When another owner appended meanwhile: this one must begin again from the log.
async fn append_batch(
    connection: &Connection,
    subject: &str,
    last: u64,
    gathered: Gathered,
) -> Result<u64, ActorProcessingErr> {
    let Gathered { cut, traces } = gathered;
    let records = cut.batch.records.len();
    let span = tracing::info_span!("ingest", subject, records, inbox = cut.marks.through.inbox.0);
    if let Some((first, others)) = traces.split_first() {
        telemetry::set_parent(&span, first);
        others.iter().for_each(|other| telemetry::link(&span, other));
    }
    let payload = Bytes::from(cut.batch.encode());
    let mut headers = fence::headers(last, cut.marks);
    telemetry::inject(&span, &mut headers);
    metrics::counter!("daybook_ingest_batches_total").increment(1);
    metrics::counter!("daybook_ingest_records_total").increment(records as u64);
    metrics::counter!("daybook_ingest_bytes_total").increment(payload.len() as u64);
    let started = Instant::now();
    let mut pause = Duration::from_millis(20);
    let outcome = async {
        loop {
            match append(connection, subject, last, headers.clone(), payload.clone()).await {
                Appended::At(sequence) => return Ok(sequence),
                Appended::Conflict => {}
                Appended::Unclear(error) => {
                    tracing::warn!(subject, %error, "an append's fate is unclear; looking at the log");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
            // The log says what happened.
            let stream = connection.subjects.events_stream();
            let end = last_message(connection, &stream, subject).await;
            let end = end.as_ref().map(|end| (end.sequence, &end.headers, &*end.payload));
            match fence::standing(last, &payload, end) {
                Standing::Absent => {}
                Standing::Stored(sequence) => return Ok(sequence),
                Standing::Lost => {
                    return Err(ActorProcessingErr::from(
                        "another owner appended to this partition; reading the log again",
                    ));
                }
            }
        }
    }
    .instrument(span)
    .await;
    metrics::histogram!("daybook_ingest_append_seconds").record(started.elapsed().as_secs_f64());
    outcome
}

/// The sequence of the partition's last batch and how far it reaches.
pub(crate) async fn log_end(connection: &Connection, partition: Partition) -> (u64, Marks) {
    let (stream, subject) = (connection.subjects.events_stream(), connection.subjects.events(partition));
    match last_message(connection, &stream, &subject).await {
        None => (0, Marks::default()),
        Some(message) => (message.sequence, fence::marks_of(&message.headers)),
    }
}

/// The definitions of `partition` that stand in CATALOG up to the sequence `through`.
async fn definitions(connection: &Connection, partition: Partition, through: u64) -> Vec<Definition> {
    let (stream, filter) = (connection.subjects.catalog_stream(), connection.subjects.catalog_of(partition));
    // An event of a tenant that is missing here would be refused for good.
    let found = read_through(connection, stream, filter, through).await;
    found.iter().filter_map(|message| serde_json::from_slice(&message.payload).ok()).collect()
}
