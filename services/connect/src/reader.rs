//! The actor that reads one source: it takes messages, has them translated, publishes what they make, and acknowledges them once
//! that is durable.
//!
//! After a crash between two of these steps the messages are delivered again, and make the same events with the same ids and versions.

use crate::arrival::{ArrivedMessage, SourceTrouble};
use crate::catalogue::{DefinitionsWatch, KnownDefinitions};
use crate::in_flight::{InFlight, MAX_BATCH_MESSAGES};
use crate::pace::Pace;
use crate::publisher::{Blocked, InboxPublisher};
use crate::reading::{SeenPosition, SourceReading};
use crate::sources::SourceSpec;
use crate::standing::SourceTeller;
use crate::translation::Translator;
use daybook_mapping::{MappingName, RecordMapper};
use daybook_runtime::backoff::Backoff;
use daybook_runtime::process::Context;
use daybook_runtime::telemetry;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a step waits for a first message before the actor looks at its mailbox again.
const IDLE: Duration = Duration::from_millis(250);
/// How long the definitions may take to be read before that is told as a trouble.
const FIRST_CATALOGUE: Duration = Duration::from_secs(2);
/// How often the source's broker is told of messages that wait for their turn. It waits 10 s for that, of which a message may have
/// spent some in the client's buffer.
const HOLD: Duration = Duration::from_secs(3);
/// How often the source is asked how far it is.
const LOOK: Duration = Duration::from_secs(2);
/// Traces of foreign messages that a batch is linked to.
const MAX_LINKS: usize = 8;
/// How long messages of core subjects get to be published when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Pauses while a source cannot be read or INBOX takes nothing.
const PAUSES: Backoff = Backoff::new(FIRST_PAUSE, Duration::from_secs(2));
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Starts the reader of `source` as a child of `supervisor`. It hurries to an end once `context.leave` is cancelled.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(
    context: Context,
    source: Arc<SourceSpec>,
    catalogue: DefinitionsWatch,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let arguments = Arguments { context, source, catalogue };
    let (actor, _) = Actor::spawn_linked(None, ReaderActor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

struct ReaderActor;

struct Arguments {
    context: Context,
    source: Arc<SourceSpec>,
    catalogue: DefinitionsWatch,
}

/// The one message: take and publish once more.
struct Step;

struct State {
    context: Context,
    source: Arc<SourceSpec>,
    catalogue: DefinitionsWatch,
    publisher: InboxPublisher,
    standing: SourceTeller,
    /// Made of the newest catalogue; nothing while the mapping cannot be used.
    translator: Option<Arc<Translator>>,
    reading: Option<SourceReading>,
    /// Where the source's position was seen last.
    seen: Option<SeenPosition>,
    /// The mapping, with its kind, that the source was opened with.
    opened_with: Option<MappingName>,
    acknowledging: Acknowledging,
    batch: InFlight,
    pace: Pace,
    looked: Instant,
    /// When the broker heard last that the messages of the batch wait.
    held: Instant,
    pauses: Backoff,
}

/// Whether the source's broker takes acknowledgements. Only a confirmed one shows that: the broker drops others silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acknowledging {
    /// None of this reading was confirmed yet.
    Unknown,
    Works,
    /// It did not confirm the last one that was to be confirmed.
    Fails,
}

impl Actor for ReaderActor {
    type Msg = Step;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Step>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { context, source, catalogue } = arguments;
        let standing = SourceTeller::begin(context.board.clone(), &source.name);
        let publisher = InboxPublisher::new(&context.connection);
        let pace = Pace::of(source.events_per_second, Instant::now());
        myself.cast(Step)?;
        Ok(State {
            context,
            source,
            catalogue,
            publisher,
            standing,
            translator: None,
            reading: None,
            seen: None,
            opened_with: None,
            acknowledging: Acknowledging::Unknown,
            batch: InFlight::default(),
            pace,
            looked: Instant::now(),
            held: Instant::now(),
            pauses: PAUSES,
        })
    }

    async fn handle(&self, myself: ActorRef<Step>, Step: Step, state: &mut State) -> Result<(), ActorProcessingErr> {
        match state.step().await {
            Ok(()) => state.pauses.reset(),
            Err(trouble) => {
                state.standing.trouble(&trouble);
                state.rest().await;
            }
        }
        if !state.context.leave.is_cancelled() {
            // It fails only when this actor is to end.
            let _ = myself.cast(Step);
        }
        Ok(())
    }

    /// Gives back what is not durable, so that whoever reads the source next gets it at once rather than after 10 s.
    async fn post_stop(&self, _: ActorRef<Step>, state: &mut State) -> Result<(), ActorProcessingErr> {
        if !state.batch.is_stored() {
            if tokio::time::timeout(LAST_WORDS, state.finish()).await.is_err() {
                let (source, messages) = (&state.source.name, state.batch.len());
                tracing::warn!(%source, messages, "the process ends before all that was heard is durable; it is lost");
            }
            return Ok(());
        }
        let batch = std::mem::take(&mut state.batch);
        for arrival in batch.into_unfinished() {
            arrival.give_back().await;
        }
        if let Some(mut reading) = state.reading.take() {
            while let Some(arrival) = reading.next_buffered() {
                arrival.give_back().await;
            }
        }
        Ok(())
    }
}

impl State {
    /// One round; each part of it ends within seconds, so that the actor can.
    async fn step(&mut self) -> Result<(), SourceTrouble> {
        self.hold().await;
        let translator = self.follow_catalogue().await?;
        if self.looked.elapsed() >= LOOK {
            self.look().await?;
        }
        if self.batch.is_empty() {
            if self.reading.is_none() {
                self.open(translator.mapping()).await?;
            }
            let gathered = self.gather().await;
            if let Err(trouble) = gathered {
                self.reading = None;
                // What came before the failure is published first.
                if self.batch.is_empty() {
                    return Err(trouble);
                }
            }
        }
        self.publish(&translator).await?;
        if self.acknowledging != Acknowledging::Fails {
            self.standing.well();
        }
        Ok(())
    }

    /// Opens the source. Messages of an earlier reading are durable by now.
    async fn open(&mut self, mapping: MappingName) -> Result<(), SourceTrouble> {
        let leave = self.context.leave.clone();
        let opened = tokio::select! {
            opened = SourceReading::open(&self.source, &self.context.connection, &mapping, self.seen.as_ref()) => opened?,
            () = leave.cancelled() => return Ok(()),
        };
        self.opened_with = Some(mapping);
        if self.acknowledging == Acknowledging::Works {
            self.acknowledging = Acknowledging::Unknown;
        }
        self.seen = opened.seen();
        self.batch = InFlight::of(opened.mark());
        self.reading = Some(opened);
        self.look().await
    }

    /// The mapping, compiled anew when definitions have changed.
    async fn follow_catalogue(&mut self) -> Result<Arc<Translator>, SourceTrouble> {
        if let Some(translator) = &self.translator
            && !self.catalogue.has_changed().unwrap_or(false)
        {
            return Ok(translator.clone());
        }
        // At the beginning it takes a moment.
        let known = tokio::time::timeout(FIRST_CATALOGUE, self.catalogue.wait_for(Option::is_some)).await;
        let Some(KnownDefinitions { kinds, zones }) = known.ok().and_then(|known| known.ok()?.clone()) else {
            return Err(SourceTrouble::told("the definitions have not been read yet".to_owned()));
        };
        let SourceSpec { mapping, tenant, tenants, .. } = &*self.source;
        self.translator = None;
        let found = RecordMapper::find(&kinds, mapping, zones, tenant.clone());
        let mapper = found.map_err(|error| SourceTrouble::told(error.to_string()))?;
        let translator = Arc::new(Translator::new(mapper, tenants.clone()));
        // Ids of facts begin with the mark of a reading of a stream, which tells mappings apart.
        if self.batch.is_stored() && self.opened_with.as_ref() != Some(&translator.mapping()) {
            self.reading = None;
        }
        self.translator = Some(translator.clone());
        Ok(translator)
    }

    /// Takes the messages that are there; waits for the first one a moment.
    async fn gather(&mut self) -> Result<(), SourceTrouble> {
        let Self { reading, batch, context, .. } = self;
        let Some(reading) = reading else { return Ok(()) };
        let first = tokio::select! {
            first = tokio::time::timeout(IDLE, reading.next()) => first,
            () = context.leave.cancelled() => return Ok(()),
        };
        let Ok(first) = first else { return Ok(()) };
        batch.push(first?);
        self.held = Instant::now();
        // While acknowledgements fail, every message comes again: one is enough to try with.
        if self.acknowledging != Acknowledging::Fails {
            self.take_buffered();
        }
        Ok(())
    }

    /// Takes the messages that are there, as many as have room in the batch.
    fn take_buffered(&mut self) {
        while self.batch.len() < MAX_BATCH_MESSAGES
            && let Some(arrival) = self.reading.as_mut().and_then(SourceReading::next_buffered)
        {
            self.batch.push(arrival);
        }
    }

    /// Tells the source's broker of messages that wait for their turn or for INBOX; it would deliver them again. Those in the client's
    /// buffer wait as long.
    async fn hold(&mut self) {
        if !self.batch.is_stored() || self.batch.is_empty() || self.held.elapsed() < HOLD {
            return;
        }
        self.held = Instant::now();
        if self.acknowledging != Acknowledging::Fails {
            self.take_buffered();
        }
        for arrival in self.batch.unfinished() {
            arrival.hold().await;
        }
    }

    /// Publishes everything that the batch makes, as fast as the pace allows, and acknowledges what is durable.
    async fn publish(&mut self, translator: &Translator) -> Result<(), SourceTrouble> {
        while !self.batch.is_empty() {
            let wait = self.pace.wait(Instant::now());
            if !wait.is_zero() {
                // The next step goes on: the actor must be able to end meanwhile.
                tokio::time::sleep(wait.min(IDLE)).await;
                return Ok(());
            }
            self.publish_some(translator, self.pace.burst()).await?;
        }
        Ok(())
    }

    /// Publishes what the next messages make, about `most` events, and acknowledges them.
    async fn publish_some(&mut self, translator: &Translator, most: u64) -> Result<(), SourceTrouble> {
        let span = tracing::info_span!("connect", source = %self.source.name, messages = self.batch.len());
        let traces =
            self.batch.arrived().filter_map(|arrival: &ArrivedMessage| telemetry::context_of(&arrival.headers));
        traces.take(MAX_LINKS).for_each(|trace| telemetry::link(&span, &trace));
        let tally = self.batch.translate(translator, most);
        self.standing.count(tally);
        self.pace.published(tally.events + tally.unmapped, Instant::now());
        self.publisher.publish(&mut self.batch.queue, &span).await.map_err(|Blocked(trouble)| trouble)?;
        self.acknowledge().await
    }

    /// Acknowledges what is durable. For the first message of a reading it waits for the broker's confirmation: if the broker takes no
    /// acknowledgement, the same messages come for ever, and only the operator can help.
    async fn acknowledge(&mut self) -> Result<(), SourceTrouble> {
        let durable = self.batch.durable();
        let mut rest = durable.iter();
        if self.acknowledging != Acknowledging::Works
            && let Some(first) = rest.next()
        {
            if let Err(trouble) = first.acknowledge_for_certain().await {
                self.acknowledging = Acknowledging::Fails;
                self.reading = None;
                return Err(trouble);
            }
            self.acknowledging = Acknowledging::Works;
        }
        for arrival in rest {
            arrival.acknowledge().await;
        }
        Ok(())
    }

    /// Publishes what was heard on core subjects, at once and all of it: nobody would hear it again. It ends when that is durable.
    async fn finish(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.stop_listening();
        }
        loop {
            self.take_buffered();
            if self.batch.is_empty() {
                let Some(reading) = &mut self.reading else { return };
                match reading.next().await {
                    Ok(arrival) => self.batch.push(arrival),
                    Err(_) => return,
                }
            }
            if let Err(trouble) = self.publish_the_last().await {
                self.standing.trouble(&trouble);
                tokio::time::sleep(FIRST_PAUSE).await;
            }
        }
    }

    async fn publish_the_last(&mut self) -> Result<(), SourceTrouble> {
        let translator = self.follow_catalogue().await?;
        while !self.batch.is_empty() {
            self.publish_some(&translator, u64::MAX).await?;
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), SourceTrouble> {
        self.looked = Instant::now();
        let Some(reading) = &mut self.reading else { return Ok(()) };
        match reading.look().await {
            Ok(progress) => {
                self.seen = reading.seen();
                self.standing.progress(progress);
                Ok(())
            }
            Err(trouble) => {
                self.reading = None;
                Err(trouble)
            }
        }
    }

    /// Waits before the next try.
    async fn rest(&mut self) {
        let leave = self.context.leave.clone();
        tokio::select! {
            () = tokio::time::sleep(self.pauses.next_pause()) => {}
            () = leave.cancelled() => {}
        }
    }
}
