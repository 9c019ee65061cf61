//! Keeps a set of actors running: one that fails or ends is started again after a pause that grows with its failures.
//! They start side by side: one that takes long to begin holds up no other.

use crate::backoff::Backoff;
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pauses before the restarts of an actor that fails again and again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(10));
/// An actor that ran for so long before it failed has no failures in a row.
const STEADY: Duration = Duration::from_secs(30);
/// How long children that are just beginning get to notice that they are not to, and then those that run to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

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
    /// A child has begun, or could not.
    Started(usize, Result<ActorCell, String>),
    /// Run exactly these children, by their indices.
    Run(BTreeSet<usize>),
    /// Children that end from now on are not started again, nor begin; answers when that is so and none is just beginning.
    Stop(RpcReplyPort<()>),
}

/// What a supervisor knows of its children.
pub struct State {
    children: Vec<Child>,
    /// Those that are on their way to run.
    starting: HashMap<usize, AbortHandle>,
    running: HashMap<ActorId, (ActorCell, usize, Instant)>,
    /// Why children ended of which it was not known yet that they had begun; empty when none is starting.
    ended_early: HashMap<ActorId, String>,
    pauses: Vec<Backoff>,
    /// Those that are to run.
    wanted: BTreeSet<usize>,
    stopping: bool,
    /// Whom to tell that none is starting any more.
    stopped: Option<RpcReplyPort<()>>,
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
        Ok(State {
            starting: HashMap::new(),
            running: HashMap::new(),
            ended_early: HashMap::new(),
            pauses: vec![PAUSES; children.len()],
            children,
            wanted,
            stopping: false,
            stopped: None,
        })
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
                // One that waits for memory would never start, and keep what it has read.
                let unwanted = state.starting.iter().filter(|(index, _)| !wanted.contains(index));
                unwanted.for_each(|(_, start)| start.abort());
                state.wanted = wanted;
                for (cell, index, _) in state.running.values().filter(|(_, index, _)| !state.wanted.contains(index)) {
                    state.let_go(cell, *index);
                }
            }
            Message::Start(index) => {
                if !state.stopping && state.wanted.contains(&index) && !state.runs(index) {
                    state.start(&myself, index);
                }
            }
            Message::Started(index, outcome) => state.started(&myself, index, outcome),
            Message::Stop(reply) => {
                state.stopping = true;
                state.starting.values().for_each(AbortHandle::abort);
                state.stopped = Some(reply);
                state.answer_stop();
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
        match state.running.remove(&who.get_id()) {
            Some((_, index, started)) => state.ended(&myself, index, started.elapsed(), &why),
            None if state.starting.is_empty() => {}
            None => {
                state.ended_early.insert(who.get_id(), why);
            }
        }
        Ok(())
    }
}

impl State {
    fn runs(&self, index: usize) -> bool {
        self.starting.contains_key(&index) || self.running.values().any(|(_, running, _)| *running == index)
    }

    fn start(&mut self, myself: &ActorRef<Message>, index: usize) {
        let start = tokio::spawn((self.children[index].start)(myself.get_cell()));
        self.starting.insert(index, start.abort_handle());
        let myself = myself.clone();
        tokio::spawn(async move {
            let outcome = match start.await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            // It fails only when the supervisor has ended, and its children with it.
            let _ = myself.cast(Message::Started(index, outcome));
        });
    }

    fn started(&mut self, myself: &ActorRef<Message>, index: usize, outcome: Result<ActorCell, String>) {
        self.starting.remove(&index);
        match outcome {
            Ok(cell) => match self.ended_early.remove(&cell.get_id()) {
                Some(why) => self.ended(myself, index, Duration::ZERO, &why),
                None => {
                    if !self.wanted.contains(&index) {
                        self.let_go(&cell, index);
                    }
                    self.running.insert(cell.get_id(), (cell, index, Instant::now()));
                }
            },
            Err(why) => self.ended(myself, index, Duration::ZERO, &why),
        }
        if self.starting.is_empty() {
            self.ended_early.clear();
        }
        self.answer_stop();
    }

    fn answer_stop(&mut self) {
        if self.starting.is_empty()
            && let Some(reply) = self.stopped.take()
        {
            let _ = reply.send(());
        }
    }

    /// It is not to run here any more: it deals with what it has been sent, and ends.
    fn let_go(&self, cell: &ActorCell, index: usize) {
        tracing::info!(actor = self.children[index].label, "is run elsewhere now");
        let _ = cell.drain();
    }

    fn ended(&mut self, myself: &ActorRef<Message>, index: usize, ran: Duration, why: &str) {
        // One that was to end may have become wanted again meanwhile.
        if self.stopping || !self.wanted.contains(&index) {
            return;
        }
        if ran >= STEADY {
            self.pauses[index].reset();
        }
        self.restart_later(myself, index, why);
    }

    fn restart_later(&mut self, myself: &ActorRef<Message>, index: usize, why: &str) {
        let pause = self.pauses[index].next_pause();
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
    let _ = supervisor.call(Message::Stop, Some(STOP_DEADLINE)).await;
    supervisor.get_cell().drain_children_and_wait(Some(STOP_DEADLINE)).await;
    supervisor.stop(None);
    let _ = handle.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Semaphore;

    /// Begins when it gets a permit, and adds itself to those that run.
    struct Waiter;

    impl Actor for Waiter {
        type Msg = ();
        type State = Arc<AtomicU32>;
        type Arguments = (Arc<Semaphore>, Arc<AtomicU32>);

        async fn pre_start(
            &self,
            _: ActorRef<()>,
            (permits, runs): (Arc<Semaphore>, Arc<AtomicU32>),
        ) -> Result<Arc<AtomicU32>, ActorProcessingErr> {
            permits.acquire().await?.forget();
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(runs)
        }

        async fn handle(&self, _: ActorRef<()>, (): (), _: &mut Arc<AtomicU32>) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn post_stop(&self, _: ActorRef<()>, runs: &mut Arc<AtomicU32>) -> Result<(), ActorProcessingErr> {
            runs.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    }

    fn child(permits: &Arc<Semaphore>, runs: &Arc<AtomicU32>) -> Child {
        let arguments = (permits.clone(), runs.clone());
        Child::new("waiter", move |supervisor| {
            let arguments = arguments.clone();
            async move { Ok(Actor::spawn_linked(None, Waiter, arguments, supervisor).await?.0.get_cell()) }
        })
    }

    async fn until(runs: &AtomicU32, wanted: u32) {
        while runs.load(Ordering::SeqCst) != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn one_that_waits_to_begin_holds_up_neither_the_others_nor_the_end() {
        let (never, at_once) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(8)));
        let runs = Arc::new(AtomicU32::new(0));
        let children = vec![child(&never, &runs), child(&at_once, &runs), child(&never, &runs), child(&at_once, &runs)];
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(children, stop.clone()));
        until(&runs, 2).await;
        let before = Instant::now();
        stop.cancel();
        running.await.unwrap().unwrap();
        assert!(before.elapsed() < STOP_DEADLINE);
        assert_eq!(runs.load(Ordering::SeqCst), 0, "each has ended in its own way");
    }

    #[tokio::test]
    async fn one_that_is_unwanted_before_it_has_begun_is_given_up_and_begins_again_when_wanted() {
        let (permits, runs) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
        let (wanted, receiver) = watch::channel(BTreeSet::from([0]));
        let stop = CancellationToken::new();
        let running = tokio::spawn(run_wanted(vec![child(&permits, &runs)], receiver, stop.clone()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        wanted.send_replace(BTreeSet::new());
        tokio::time::sleep(Duration::from_millis(50)).await;
        permits.add_permits(1);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!((permits.available_permits(), runs.load(Ordering::SeqCst)), (1, 0), "it did not begin");
        wanted.send_replace(BTreeSet::from([0]));
        until(&runs, 1).await;
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    /// Fails as soon as it has begun, the first few times.
    struct Brief;

    impl Actor for Brief {
        type Msg = ();
        type State = Arc<AtomicU32>;
        type Arguments = Arc<AtomicU32>;

        async fn pre_start(
            &self,
            _: ActorRef<()>,
            starts: Arc<AtomicU32>,
        ) -> Result<Arc<AtomicU32>, ActorProcessingErr> {
            Ok(starts)
        }

        async fn post_start(&self, _: ActorRef<()>, starts: &mut Arc<AtomicU32>) -> Result<(), ActorProcessingErr> {
            match starts.fetch_add(1, Ordering::SeqCst) {
                0..20 => Err("on purpose".into()),
                _ => Ok(()),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_that_ends_before_it_is_known_to_have_begun_is_started_again() {
        let starts = Arc::new(AtomicU32::new(0));
        // So many that some end while others start; with pauses that grow, none is started twenty times.
        let brief = |starts: &Arc<AtomicU32>| {
            let starts = starts.clone();
            Child::new("brief", move |supervisor| {
                let starts = starts.clone();
                async move { Ok(Actor::spawn_linked(None, Brief, starts, supervisor).await?.0.get_cell()) }
            })
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run((0..8).map(|_| brief(&starts)).collect(), stop.clone()));
        until(&starts, 28).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(starts.load(Ordering::SeqCst), 28, "each runs once");
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}
