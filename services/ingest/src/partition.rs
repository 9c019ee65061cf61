//! The actor that sequences one partition: it reads INBOX, feeds the sequencer and appends what it cuts, one batch at
//! a time. While a batch is being appended, the next one is gathered.

use crate::fence::{self, Standing, Tip};
use crate::links::Links;
use crate::quota::Rates;
use crate::sequencer::{Cut, Inbound, Sequencer, Stop};
use bytes::Bytes;
use daybook_contracts::event::Encoding;
use daybook_contracts::headers::{self, Source};
use daybook_contracts::members::Part;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::Partition;
use daybook_runtime::append::{Appended, append, last_message, next_message};
use daybook_runtime::connection::Connection;
use daybook_runtime::log::{self, Logged};
use daybook_runtime::membership::Readiness;
use daybook_runtime::process::Context;
use daybook_runtime::reader::{Delivered, Reader, read_through};
use daybook_runtime::written::{self, NotWritten};
use daybook_runtime::{memory, telemetry};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// How long a step waits for a first message before the actor looks at its mailbox again.
const IDLE: Duration = Duration::from_millis(250);
/// How often the restatements that are due are looked for: a look goes through all tenants that wait for one.
const LOOK: Duration = Duration::from_millis(50);

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
    /// Behind what the next batch is appended.
    tip: Tip,
    reader: Reader,
    sequencer: Sequencer,
    /// Where the clock of restatements begins.
    begun: Instant,
    /// When the restatements that are due were looked for last.
    looked: Instant,
    /// Gathered while the batch before it was appended.
    gathered: Option<Gathered>,
    /// Why nothing further may be taken in.
    stop: Option<Stop>,
    readiness: Readiness,
}

/// A batch with the traces of those who published what is in it.
struct Gathered {
    cut: Cut,
    links: Links,
}

impl Actor for PartitionActor {
    type Msg = Step;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Step>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { context, partition, linger, default_rates } = arguments;
        let readiness = context.begin(partition);
        let connection = &context.connection;
        let subject = connection.subjects.events(partition);
        let end = log::end(connection, partition).await?;
        let (tip, marks) = (Tip::from(&end), end.marks());
        let definitions = definitions(connection, partition, marks.catalog).await?;
        let sequencer =
            Sequencer::new(connection.subjects.clone(), marks, definitions).with_default_rates(default_rates);
        let (stream, filters) = (connection.subjects.inbox_stream(), connection.subjects.inbox_of(partition));
        let reader = Reader::with_filters(connection, stream, filters, marks.through.next());
        tracing::info!(%partition, log = %tip.batch, inbox = %marks.through.inbox, "sequencing");
        myself.cast(Step)?;
        let (gathered, stop, begun) = (None, None, Instant::now());
        let looked = begun;
        let state = State {
            context,
            partition,
            linger,
            subject,
            tip,
            reader,
            sequencer,
            begun,
            looked,
            gathered,
            stop,
            readiness,
        };
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
        let (log, inbox) = (self.tip.batch, self.sequencer.marks().through.whole());
        let lag = self.reader.pending();
        self.context.board.update(self.partition, |part| {
            *part = Part { log, inbox, lag, ..std::mem::take(part) };
        });
        metrics::gauge!("daybook_ingest_lag_messages", "partition" => self.partition.to_string()).set(lag as f64);
    }

    /// Appends what was gathered, and gathers meanwhile.
    async fn step(&mut self) -> Result<(), ActorProcessingErr> {
        // INBOX is the buffer while there is no memory for more.
        let leave = self.context.leave.clone();
        tokio::select! {
            () = memory::room() => {}
            () = leave.cancelled() => return Ok(()),
        }
        let Some(gathered) = self.gathered.take() else {
            if let Some(stop) = self.stop.take() {
                return Err(stop.into());
            }
            let patience = Instant::now() + IDLE;
            tokio::select! {
                gathered = self.gather(patience) => self.gathered = gathered,
                () = leave.cancelled() => {}
            }
            return Ok(());
        };
        let (connection, subject, tip) = (self.context.connection.clone(), self.subject.clone(), self.tip);
        let append = append_batch(&connection, &subject, tip, gathered);
        let (appended, gathered) = tokio::join!(append, self.gather(Instant::now()));
        self.tip = appended?;
        self.tell();
        self.gathered = gathered;
        Ok(())
    }

    /// Takes messages in until a batch is full, or `linger` after the first one; then, now and then, the restatements that are
    /// due. Returns `None` when there is nothing to append: nothing came until `patience`, or nothing further may be taken in.
    async fn gather(&mut self, patience: Instant) -> Option<Gathered> {
        let Self { reader, sequencer, linger, stop, context, begun, looked, .. } = self;
        let mut links = Links::default();
        let mut deadline = patience;
        while !sequencer.is_full() && stop.is_none() {
            let waiting = sequencer.is_empty();
            let message = match reader.next_buffered() {
                Some(message) => message,
                None => match tokio::time::timeout_at(deadline, reader.next()).await {
                    Ok(message) => message,
                    Err(_) => break,
                },
            };
            if let Some(trace) = telemetry::context_of(&message.headers) {
                links.note(context.connection.subjects.parse_inbox(&message.subject), trace);
            }
            *stop = take(sequencer, &message).err();
            note_foreign(&context.connection, sequencer, &message);
            if waiting {
                deadline = Instant::now() + *linger;
            }
        }
        if looked.elapsed() >= LOOK {
            *looked = Instant::now();
            sequencer.restate(begun.elapsed());
        }
        sequencer.cut().map(|cut| Gathered { cut, links })
    }
}

fn take(sequencer: &mut Sequencer, message: &Delivered) -> Result<(), Stop> {
    let header = |name| message.headers.get(name).map(|value: &async_nats::HeaderValue| value.as_str());
    let all = message.headers.iter().filter_map(|(name, values)| Some((name.as_ref(), values.first()?.as_str())));
    let is_msgpack = headers::content_type(all).is_some_and(headers::is_msgpack);
    sequencer.take(Inbound {
        sequence: message.sequence,
        subject: message.subject.as_str(),
        encoding: if is_msgpack { Encoding::MessagePack } else { Encoding::Json },
        source: header(headers::STREAM_SOURCE).and_then(Source::parse),
        unmapped: header(headers::UNMAPPED),
        named: header(headers::SUBJECT),
        stored_at: message.stored_at,
        payload: &message.payload,
    })
}

/// Notes that the message was one that no service wrote, if it was.
fn note_foreign(connection: &Connection, sequencer: &mut Sequencer, message: &Delivered) {
    if let Some(why) = sequencer.passed_over() {
        let why = NotWritten::Foreign(why.into());
        connection.foreign.note(&connection.subjects.inbox_stream(), message.sequence, &message.subject, &why);
    }
}

/// Appends a batch behind `tip` and returns the tip then.
///
/// # Errors
/// When another owner appended meanwhile: this one must begin again from the log.
async fn append_batch(
    connection: &Connection,
    subject: &str,
    mut tip: Tip,
    gathered: Gathered,
) -> Result<Tip, ActorProcessingErr> {
    let Gathered { cut, links } = gathered;
    let records = cut.batch.records.len();
    let span = tracing::info_span!("ingest", subject, records, inbox = cut.marks.through.inbox.0);
    links.contexts().for_each(|context| telemetry::link(&span, context));
    let payload = Bytes::from(cut.batch.encode());
    let mut headers = log::headers_of(tip.batch, cut.marks);
    telemetry::inject(&span, &mut headers);
    metrics::counter!("daybook_ingest_batches_total").increment(1);
    metrics::counter!("daybook_ingest_records_total").increment(records as u64);
    metrics::counter!("daybook_ingest_bytes_total").increment(payload.len() as u64);
    let started = Instant::now();
    let mut pause = Duration::from_millis(20);
    let outcome = async {
        loop {
            match append(connection, subject, tip.end, headers.clone(), payload.clone()).await {
                Appended::At(sequence) => return Ok(Tip::at(sequence)),
                Appended::Conflict => {}
                Appended::Unclear(error) => {
                    tracing::warn!(subject, %error, "an append's fate is unclear; looking at the log");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
            match standing(connection, subject, tip, &payload).await {
                Standing::Absent(further) => tip = further,
                Standing::Stored(tip) => return Ok(tip),
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

/// What the log says became of an append.
async fn standing(connection: &Connection, subject: &str, mut tip: Tip, payload: &[u8]) -> Standing {
    let stream = connection.subjects.events_stream();
    let last = last_message(connection, &stream, subject).await;
    if let Some(standing) = fence::at_end(tip, last.map(|last| last.sequence)) {
        return standing;
    }
    while let Some(message) = next_message(connection, &stream, subject, tip.end + 1).await {
        let read = Logged::read((&message).into());
        match fence::behind(tip, payload, message.sequence, &message.payload, &read) {
            Standing::Absent(further) => tip = further,
            standing => return standing,
        }
        if let Err(why) = read {
            connection.foreign.note(&stream, message.sequence, subject, &why);
        }
    }
    Standing::Absent(tip)
}

/// The definitions of `partition` that stand in CATALOG up to the sequence `through`.
///
/// # Errors
/// When one cannot be read: an event of a tenant that is missing here would be refused for good.
async fn definitions(
    connection: &Connection,
    partition: Partition,
    through: u64,
) -> Result<Vec<Definition>, ActorProcessingErr> {
    let (stream, filter) = (connection.subjects.catalog_stream(), connection.subjects.catalog_of(partition));
    let mut definitions = Vec::new();
    for message in read_through(connection, stream.clone(), filter, through).await {
        match written::definition(&connection.subjects, (&message).into()) {
            Ok((_, definition)) => definitions.push(definition),
            Err(why @ NotWritten::Foreign(_)) => {
                connection.foreign.note(&stream, message.sequence, &message.subject, &why);
            }
            Err(why) => {
                let (subject, sequence) = (&message.subject, message.sequence);
                return Err(format!("the definition on {subject} at {sequence} of {stream}: {why}").into());
            }
        }
    }
    Ok(definitions)
}
