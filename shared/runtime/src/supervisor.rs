//! Keeps a set of actors running: one that fails or ends is started again after a pause that grows with its failures.

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pause before the first restart of an actor; it doubles with each further failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause before a restart.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// An actor that ran for so long before it failed has no failures in a row.
const STEADY: Duration = Duration::from_secs(30);
/// How long children get to end before they are killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long the supervisor may be busy starting a child before the others are stopped all the same.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How to start one child, linked to the supervisor it is given.
pub struct Child {
    pub label: String,
    pub start: Box<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>,
}

impl Child {
    /// `start` spawns the actor linked to the cell it gets.
    pub fn new<F, Fut>(label: impl Into<String>, start: F) -> Self
    where
        F: Fn(ActorCell) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ActorCell, SpawnErr>> + Send + 'static,
    {
        Self { label: label.into(), start: Box::new(move |cell| Box::pin(start(cell))) }
    }
}

/// The actor; see [`run`].
pub struct Supervisor;

/// Messages of a supervisor to itself.
pub enum Message {
    Start(usize),
    /// Run exactly these children, by their indices.
    Run(BTreeSet<usize>),
    /// Children that end from now on are not started again; answers when that is so.
    Stop(RpcReplyPort<()>),
}

/// What a supervisor knows of its children.
pub struct State {
    children: Vec<Child>,
    running: HashMap<ActorId, (ActorCell, usize, Instant)>,
    failures: Vec<u32>,
    /// Those that are to run.
    wanted: BTreeSet<usize>,
    stopping: bool,
}

impl Actor for Supervisor {
    type Msg = Message;
    type State = State;
    type Arguments = (Vec<Child>, BTreeSet<usize>);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (children, wanted): (Vec<Child>, BTreeSet<usize>),
    ) -> Result<State, ActorProcessingErr> {
        for index in &wanted {
            myself.cast(Message::Start(*index))?;
        }
        Ok(State { failures: vec![0; children.len()], running: HashMap::new(), children, wanted, stopping: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Run(wanted) => {
                for index in wanted.difference(&state.wanted) {
                    myself.cast(Message::Start(*index))?;
                }
                for (cell, index, _) in state.running.values().filter(|(_, index, _)| !wanted.contains(index)) {
                    tracing::info!(actor = state.children[*index].label, "is run elsewhere now");
                    // It deals with what it has been sent, and ends.
                    let _ = cell.drain();
                }
                state.wanted = wanted;
            }
            Message::Start(index) if state.stopping || !state.wanted.contains(&index) || state.runs(index) => {}
            Message::Start(index) => match (state.children[index].start)(myself.get_cell()).await {
                Ok(cell) => {
                    state.running.insert(cell.get_id(), (cell, index, Instant::now()));
                }
                Err(error) => state.restart_later(&myself, index, &error.to_string()),
            },
            Message::Stop(reply) => {
                state.stopping = true;
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match event {
            SupervisionEvent::ActorFailed(who, error) => (who, error.to_string()),
            SupervisionEvent::ActorTerminated(who, _, reason) => (who, reason.unwrap_or_else(|| "it ended".to_owned())),
            _ => return Ok(()),
        };
        if let Some((_, index, started)) = state.running.remove(&who.get_id())
            && !state.stopping
        {
            if !state.wanted.contains(&index) {
                return Ok(());
            }
            // It was to end, and has become wanted again meanwhile.
            if started.elapsed() >= STEADY {
                state.failures[index] = 0;
            }
            state.restart_later(&myself, index, &why);
        }
        Ok(())
    }
}

impl State {
    fn runs(&self, index: usize) -> bool {
        self.running.values().any(|(_, running, _)| *running == index)
    }

    fn restart_later(&mut self, myself: &ActorRef<Message>, index: usize, why: &str) {
        let failures = &mut self.failures[index];
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow((*failures).min(16))).min(MAX_PAUSE);
        *failures += 1;
        tracing::warn!(actor = self.children[index].label, why, ?pause, "an actor failed; it will be started again");
        metrics::counter!("daybook_actor_restarts_total").increment(1);
        myself.send_after(pause, move || Message::Start(index));
    }
}

/// Runs `children` until `stop` is cancelled, then lets each end after what it is doing and has been sent.
///
/// # Errors
/// When the supervisor itself cannot be started.
pub async fn run(children: Vec<Child>, stop: CancellationToken) -> Result<(), SpawnErr> {
    let all = (0..children.len()).collect();
    let (_sender, wanted) = watch::channel(all);
    run_wanted(children, wanted, stop).await
}

/// As [`run`], but of the children only those whose indices are `wanted`, as that changes.
///
/// # Errors
/// When the supervisor itself cannot be started.
pub async fn run_wanted(
    children: Vec<Child>,
    mut wanted: watch::Receiver<BTreeSet<usize>>,
    stop: CancellationToken,
) -> Result<(), SpawnErr> {
    let first = wanted.borrow_and_update().clone();
    let (supervisor, handle) = Actor::spawn(None, Supervisor, (children, first)).await?;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Ok(()) = wanted.changed() => {
                let _ = supervisor.cast(Message::Run(wanted.borrow_and_update().clone()));
            }
        }
    }
    let _ = supervisor.call(Message::Stop, Some(STOP_PATIENCE)).await;
    supervisor.get_cell().drain_children_and_wait(Some(STOP_DEADLINE)).await;
    supervisor.stop(None);
    let mut handle = handle;
    if tokio::time::timeout(STOP_DEADLINE, &mut handle).await.is_err() {
        // It is held up by a child that waits for the broker before it has even begun.
        supervisor.kill();
        let _ = handle.await;
    }
    Ok(())
}
