//! Follows the definitions that mappings need: kinds, and the zones of tenants.

use daybook_domain::catalogue::{Definition, Kind, Removal};
use daybook_domain::ids::Name;
use daybook_mapping::Zones;
use daybook_runtime::definitions::DefinitionsReader;
use daybook_runtime::process::Context;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a step waits for a definition before the actor looks at its mailbox again.
const IDLE: Duration = Duration::from_millis(500);

/// What is defined. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KnownDefinitions {
    pub kinds: Arc<Vec<Kind>>,
    pub zones: Arc<Zones>,
}

/// The newest catalogue; `None` until all of it has been read once. With half of it, sound records would be rejects.
pub type DefinitionsWatch = watch::Receiver<Option<KnownDefinitions>>;

/// Starts the actor as a child of `supervisor`. It tells `newest` of every change.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(
    context: Context,
    newest: Arc<watch::Sender<Option<KnownDefinitions>>>,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, DefinitionsActor, Arguments { context, newest }, supervisor).await?;
    Ok(actor.get_cell())
}

struct DefinitionsActor;

struct Arguments {
    context: Context,
    newest: Arc<watch::Sender<Option<KnownDefinitions>>>,
}

/// The one message: read what is there once more.
struct Step;

struct State {
    context: Context,
    newest: Arc<watch::Sender<Option<KnownDefinitions>>>,
    reader: DefinitionsReader,
    kinds: BTreeMap<Name, Kind>,
    zones: Zones,
}

impl Actor for DefinitionsActor {
    type Msg = Step;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Step>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { context, newest } = arguments;
        let reader = DefinitionsReader::open(&context.connection, &["kind"]).await;
        let mut state = State { context, newest, reader, kinds: BTreeMap::new(), zones: Zones::default() };
        state.tell();
        myself.cast(Step)?;
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Step>, Step: Step, state: &mut State) -> Result<(), ActorProcessingErr> {
        if let Ok(read) = tokio::time::timeout(IDLE, state.reader.next()).await {
            state.take(read?);
            while let Some(read) = state.reader.next_buffered() {
                state.take(read?);
            }
            state.tell();
        }
        if !state.context.leave.is_cancelled() {
            // It fails only when this actor is to end.
            let _ = myself.cast(Step);
        }
        Ok(())
    }
}

impl State {
    fn take(&mut self, definition: Option<Definition>) {
        match definition {
            Some(Definition::Kind(kind)) => drop(self.kinds.insert(kind.name.clone(), kind)),
            Some(Definition::Tenant(tenant)) => self.zones.define(&tenant.id, &tenant.calendar),
            // Events of a removed tenant are rejects, so its zone may stay.
            Some(Definition::Removal(Removal::Kind { name, .. })) => drop(self.kinds.remove(&name)),
            _ => {}
        }
    }

    /// Tells of what is defined, once everything that was there at the beginning has been read.
    fn tell(&mut self) {
        if !self.reader.is_level() {
            return;
        }
        let kinds = Arc::new(self.kinds.values().cloned().collect());
        self.newest.send_replace(Some(KnownDefinitions { kinds, zones: Arc::new(self.zones.clone()) }));
    }
}
