//! The actor of one partition: it hands its [`Owner`] what comes in INBOX, and carries out what the owner asks of the log.

use crate::links::Links;
use crate::owner::{Answer, Begun, NextMessage, Owner, Progress, Request, Settings};
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
use futures::FutureExt;
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// How long a step waits for something to do before the actor looks at its mailbox again.
const IDLE: Duration = Duration::from_millis(250);

/// Starts the actor of `partition` as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub(crate) async fn spawn(
    context: Context,
    partition: Partition,
    settings: Settings,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let arguments = (context, partition, settings);
    let (actor, _) = Actor::spawn_linked(None, PartitionActor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

struct PartitionActor;

/// The one message: gather and append once more.
struct Step;

struct State {
    context: Context,
    partition: Partition,
    reader: Reader,
    owner: Owner,
    /// Where the owner's clock begins.
    begun: Instant,
    /// The traces of those who published what is in the batch at hand.
    links: Links,
    sending: Option<Sending>,
    readiness: Readiness,
}

/// The batch that is being appended.
struct Sending {
    span: Span,
    begun: Instant,
    /// The request under way.
    asked: BoxFuture<'static, Answer>,
}

impl Actor for PartitionActor {
    type Msg = Step;
    type State = State;
    type Arguments = (Context, Partition, Settings);

    async fn pre_start(
        &self,
        myself: ActorRef<Step>,
        (context, partition, settings): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let readiness = context.begin(partition);
        let connection = &context.connection;
        let subjects = &connection.subjects;
        let end = log::end(connection, partition).await?;
        let definitions = definitions(connection, partition, end.marks().catalog).await?;
        let owner = Owner::new(subjects.clone(), &end, definitions, settings);
        let through = owner.marks().through;
        let (stream, filters) = (subjects.inbox_stream(), subjects.inbox_of(partition));
        let reader = Reader::with_filters(connection, stream, filters, through.next());
        tracing::info!(%partition, log = %owner.position(), inbox = %through.inbox, "sequencing");
        myself.cast(Step)?;
        let (links, sending, begun) = (Links::default(), None, Instant::now());
        let state = State { context, partition, reader, owner, begun, links, sending, readiness };
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
        let (log, inbox) = (self.owner.position(), self.owner.marks().through.whole());
        let lag = self.reader.pending();
        self.context.board.update(self.partition, |part| {
            *part = Part { log, inbox, lag, ..std::mem::take(part) };
        });
        metrics::gauge!("daybook_ingest_lag_messages", "partition" => self.partition.to_string()).set(lag as f64);
    }

    /// Takes messages in, and appends what is due. Returns when a batch is in the log, or there was none to append for a while; never
    /// in the middle of an append.
    async fn step(&mut self) -> Result<(), ActorProcessingErr> {
        // INBOX is the buffer while there is no memory for more.
        let leave = self.context.leave.clone();
        tokio::select! {
            () = memory::room() => {}
            () = leave.cancelled() => return Ok(()),
        }
        let patience = Instant::now() + IDLE;
        loop {
            if self.sending.is_none()
                && let Some(begun) = self.owner.tick(self.begun.elapsed())?
            {
                self.begin(begun);
            }
            let is_free = self.sending.is_none();
            let until = self.owner.due().map_or(patience, |due| patience.min(self.begun + due));
            tokio::select! {
                // A request is on its way before more is taken in.
                biased;
                answer = answer(&mut self.sending) => {
                    if self.heard(answer)? {
                        return Ok(());
                    }
                }
                () = leave.cancelled(), if is_free => return Ok(()),
                message = self.reader.next(), if self.owner.takes_more() => self.take_in(message),
                () = tokio::time::sleep_until(until), if is_free => {
                    if until == patience {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes a message in, and those that are here already.
    fn take_in(&mut self, message: Delivered) {
        let Self { context, reader, owner, links, begun, .. } = self;
        let Connection { subjects, foreign, .. } = &context.connection;
        let now = begun.elapsed();
        let mut next = Some(message);
        while let Some(message) = next {
            if let Some(trace) = telemetry::context_of(&message.headers) {
                links.note(subjects.parse_inbox(&message.subject), trace);
            }
            if let Some(why) = owner.take(message.sequence, message.stored_at, (&message).into(), now) {
                let why = NotWritten::Foreign(why.into());
                foreign.note(&subjects.inbox_stream(), message.sequence, &message.subject, &why);
            }
            next = if owner.takes_more() { reader.next_buffered() } else { None };
        }
    }

    /// Begins to append a batch.
    fn begin(&mut self, batch: Begun) {
        let Begun { request, records, bytes, through, rejected } = batch;
        let subject = self.context.connection.subjects.events(self.partition);
        let span = tracing::info_span!("ingest", subject, records, inbox = through.inbox.0);
        std::mem::take(&mut self.links).contexts().for_each(|context| telemetry::link(&span, context));
        metrics::counter!("daybook_ingest_batches_total").increment(1);
        metrics::counter!("daybook_ingest_records_total").increment(records as u64);
        metrics::counter!("daybook_ingest_bytes_total").increment(bytes as u64);
        for (code, events) in rejected {
            metrics::counter!("daybook_ingest_rejects_total", "code" => code.as_str()).increment(events);
        }
        let asked = self.ask(request, &span);
        self.sending = Some(Sending { span, begun: Instant::now(), asked });
    }

    fn ask(&self, mut request: Request, span: &Span) -> BoxFuture<'static, Answer> {
        if let Request::Append { headers, .. } = &mut request {
            telemetry::inject(span, headers);
        }
        let connection = self.context.connection.clone();
        carry_out(connection, self.partition, request).instrument(span.clone()).boxed()
    }

    /// Takes an answer in, and asks what follows. Returns whether the batch is in the log.
    ///
    /// # Errors
    /// When another owner appended meanwhile: this one must begin again from the log.
    fn heard(&mut self, answer: Answer) -> Result<bool, ActorProcessingErr> {
        let Sending { span, begun, .. } = self.sending.take().expect("an answer is of a batch");
        let progress = self.owner.answered(answer);
        if let Progress::Ask(request) = progress {
            let asked = self.ask(request, &span);
            self.sending = Some(Sending { span, begun, asked });
            return Ok(false);
        }
        metrics::histogram!("daybook_ingest_append_seconds").record(begun.elapsed().as_secs_f64());
        if matches!(progress, Progress::Lost) {
            return Err("another owner appended to this partition; reading the log again".into());
        }
        self.tell();
        Ok(true)
    }
}

/// The answer to the request under way; none ever comes without one.
async fn answer(sending: &mut Option<Sending>) -> Answer {
    match sending {
        Some(sending) => (&mut sending.asked).await,
        None => std::future::pending().await,
    }
}

async fn carry_out(connection: Connection, partition: Partition, request: Request) -> Answer {
    let (stream, subject) = (connection.subjects.events_stream(), connection.subjects.events(partition));
    match request {
        Request::Append { expected, headers, payload } => {
            match append(&connection, &subject, expected, headers, payload).await {
                Appended::At(sequence) => Answer::Appended(sequence),
                Appended::Conflict => Answer::Conflict,
                Appended::Unclear(error) => {
                    tracing::warn!(subject, %error, "an append's fate is unclear; looking at the log");
                    Answer::Unclear
                }
            }
        }
        Request::End { pause } => {
            tokio::time::sleep(pause).await;
            let last = last_message(&connection, &stream, &subject).await;
            Answer::End(last.map(|last| last.sequence))
        }
        Request::Next(from) => {
            let Some(message) = next_message(&connection, &stream, &subject, from).await else {
                return Answer::Next(None);
            };
            let read = Logged::read((&message).into());
            if let Err(why @ NotWritten::Foreign(_)) = &read {
                connection.foreign.note(&stream, message.sequence, &subject, why);
            }
            Answer::Next(Some(NextMessage { sequence: message.sequence, payload: message.payload, read }))
        }
    }
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
