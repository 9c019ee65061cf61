//! A process that runs a hunt. Several share its teams out; each of them knows the whole game.
//!
//! - [`log`]: the stream that is the truth, and appends to it on a condition; [`replaced`]: why another one is refused; [`state`]: what
//!   processes share beside it; [`carrying`]: an ask, from the decision to the log; [`changing`]: other rules, and the reveal of the
//!   ranking;
//! - [`follower`]: reads the log into the [`World`]; [`teams`]: an actor for each team that this process owns; [`waiting`]: how many
//!   asks may wait; [`members`]: who else runs, and who owns what; [`publisher`]: events to Daybook; [`ranking`]: rankings from it;
//! - [`tokens`]: who is who; [`clock`]: what time it is; [`traces`]: from a submission to the ranking that moved; [`supervisor`]: keeps
//!   the actors running.
//!
//! **What a crash leaves.** A record is in the log or it is not, and everything else follows from the log.
//!
//! | crash between | then |
//! | --- | --- |
//! | taking a submission and appending it | nothing was written; the sender gets no reply, sends it again, and it is judged then |
//! | appending and replying | the sender sends it again and gets the verdict of the record |
//! | appending and learning so | the next append fails on its condition; the engine reads on, finds the record and replies from it |
//! | appending and publishing to Daybook | the next publisher reads the log from the last mark on and publishes what follows |
//! | publishing and moving the mark | the same events again: Daybook counts an id and version once |
//! | appending rules and defining them in Daybook | whoever publishes next defines the rules of the log |
//! | two owners of a team, also paused ones | one of two appends behind the same record fails, reads on and judges again |

pub mod carrying;
pub mod changing;
pub mod clock;
pub mod daybook;
pub mod follower;
pub mod log;
pub mod members;
pub mod publisher;
pub mod ranking;
pub mod replaced;
pub mod state;
pub mod supervisor;
pub mod teams;
pub mod tokens;
pub mod traces;
pub mod waiting;

use crate::game::{Refusal, World};
use async_nats::jetstream::{self, kv};
use clock::Seen;
use log::Log;
use ranking::Ranking;
use replaced::Replaced;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard};
use std::time::Duration;
use supervisor::{Child, Supervisor};
use tokens::Secret;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use traces::{Awaited, Pending};
use waiting::Places;

/// How long a start may take until the whole log is read.
const FIRST_READ_LIMIT: Duration = Duration::from_secs(120);
/// How long actors get to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the parts of a process share.
pub struct Node {
    /// Tells this process from the others.
    pub name: String,
    pub hunt: String,
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
    pub log: Log,
    /// What processes share beside the log.
    pub bucket: kv::Store,
    pub secret: Secret,
    pub stop: CancellationToken,
    /// Why this process can no longer go on, and that it is so.
    lost: OnceLock<String>,
    is_lost: CancellationToken,
    world: RwLock<World>,
    position: watch::Sender<u64>,
    pub seen: Seen,
    /// For asks that wait.
    pub places: Places,
    /// Events that may not have arrived in Daybook yet.
    pub outbox: Mutex<Outbox>,
    /// Events that have arrived, until a ranking includes them.
    pub awaited: Mutex<Awaited>,
    /// The teams that this process owns.
    pub owned: RwLock<HashMap<String, teams::TeamHandle>>,
    /// Processes that live, with this one.
    pub members: watch::Sender<Vec<String>>,
    pub ranking: watch::Sender<Arc<Ranking>>,
}

/// Events by the position that caused them, oldest first.
#[derive(Default)]
pub struct Outbox {
    /// Everything up to here has arrived.
    pub published: u64,
    pub waiting: VecDeque<Pending>,
}

impl Outbox {
    /// Forgets what has arrived.
    pub fn arrived(&mut self, position: u64) {
        self.published = self.published.max(position);
        while self.waiting.front().is_some_and(|first| first.position <= self.published) {
            self.waiting.pop_front();
        }
        metrics::gauge!("hunt_events_waiting").set(self.waiting.len() as f64);
    }
}

impl Node {
    /// Connects to the hunt, reads its log and runs this process's share of it, until it is stopped.
    ///
    /// # Errors
    /// When the broker or the hunt is not there.
    pub async fn start(client: async_nats::Client, hunt: &str, is_serving: bool) -> anyhow::Result<Running> {
        let jetstream = jetstream::new(client.clone());
        let log = Log::open(&jetstream, hunt).await?;
        let bucket = state::bucket(&jetstream, hunt).await?;
        let published = state::check(&bucket, hunt, &log).await?;
        let secret = Secret::get(&bucket).await?;
        let name = format!("{}-{}", std::process::id(), tokens::random_text(8)?);
        let node = Arc::new(Self {
            members: watch::Sender::new(vec![name.clone()]),
            name,
            hunt: hunt.to_owned(),
            client,
            jetstream,
            log,
            bucket,
            secret,
            stop: CancellationToken::new(),
            lost: OnceLock::new(),
            is_lost: CancellationToken::new(),
            world: RwLock::default(),
            position: watch::Sender::new(0),
            seen: Seen::default(),
            places: Places::default(),
            outbox: Mutex::new(Outbox { published, waiting: VecDeque::new() }),
            awaited: Mutex::default(),
            owned: RwLock::default(),
            ranking: watch::Sender::default(),
        });
        let mut children = vec![Child::new("follower", &node, follower::spawn)];
        if is_serving {
            children.push(Child::new("members", &node, members::spawn));
            children.push(Child::new("publisher", &node, publisher::spawn));
            children.push(Child::new("ranking", &node, ranking::spawn));
        }
        let end = node.log.end().await?;
        let supervisor = Supervisor::start(children).await?;
        let running = Running { node: node.clone(), supervisor };
        anyhow::ensure!(
            node.reached(end, FIRST_READ_LIMIT).await,
            "the log of the hunt {hunt} could not be read within {FIRST_READ_LIMIT:?}"
        );
        Ok(running)
    }

    /// The game as far as this process knows it.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until the game includes this position of the log; false when that takes too long.
    pub async fn reached(&self, position: u64, limit: Duration) -> bool {
        let mut watch = self.position.subscribe();
        let reached = watch.wait_for(|reached| *reached >= position);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// The sequence of the last record of the log. Gives up when the stream is gone or holds another log.
    ///
    /// # Errors
    /// When it is, and when the broker does not answer.
    pub async fn end(&self) -> anyhow::Result<u64> {
        let end = self.log.end().await;
        if let Err(error) = &end
            && error.is::<Replaced>()
        {
            self.give_up(error);
        }
        end
    }

    /// Ends the work of this process: what it would do from here on could be wrong.
    pub fn give_up(&self, error: &anyhow::Error) {
        let _ = self.lost.set(format!("{error:#}"));
        self.is_lost.cancel();
    }

    /// Waits until this process cannot go on; returns why.
    pub async fn lost(&self) -> String {
        self.is_lost.cancelled().await;
        self.lost.get().cloned().unwrap_or_default()
    }

    /// Whether this process may still take asks.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it gave up.
    pub fn is_usable(&self) -> Result<(), Refusal> {
        if self.lost.get().is_some() { Err(Refusal::Unavailable) } else { Ok(()) }
    }

    /// Follows the position of the game.
    pub fn positions(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// The process that has something to do: each decides the same from who lives. A wrong answer costs time, never exactness.
    pub fn owner_of(&self, what: &str) -> String {
        let weight = |member: &&String| *blake3::hash(format!("{member}|{what}").as_bytes()).as_bytes();
        self.members.borrow().iter().max_by_key(weight).cloned().unwrap_or_default()
    }

    /// Whether this process is to do it.
    pub fn owns(&self, what: &str) -> bool {
        self.owner_of(what) == self.name
    }
}

/// A process that runs; it ends with [`Running::stop`].
pub struct Running {
    pub node: Arc<Node>,
    supervisor: Supervisor,
}

impl Running {
    /// Ends it in good order.
    pub async fn stop(self) {
        members::leave(&self.node).await;
        self.node.stop.cancel();
        self.supervisor.stop(STOP_LIMIT).await;
    }
}
