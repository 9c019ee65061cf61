//! Who else runs a service, and which partitions are whose.
//!
//! Membership decides who bothers to run what, and nothing else: two that run the same partition do no harm, for the
//! log is fenced and outputs are written once. So it may be late or wrong, and is kept simple: every process tells of
//! itself on the broker, a silent one is taken for gone, and [`assignment`] is a function of who is there.

pub mod assignment;
mod owned;

pub use owned::{Sharing, run_owned};

use crate::clock;
use crate::connection::Connection;
use compact_str::{CompactString, ToCompactString};
use daybook_contracts::members::{HEARTBEAT, Heartbeat, LOSS, Part};
use daybook_domain::ids::Partition;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a process that has come listens before it takes the others for known: they answer at once.
const HELLO: Duration = Duration::from_millis(250);
/// Most members of one service.
const MAX_MEMBERS: usize = 1_024;

/// What this process runs, for others to know. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board {
    parts: Arc<Mutex<BTreeMap<Partition, Part>>>,
}

impl Board {
    /// Tells how a partition stands.
    pub fn set(&self, partition: Partition, part: Part) {
        self.lock().insert(partition, part);
    }

    /// Changes what is told of a partition.
    pub fn update(&self, partition: Partition, change: impl FnOnce(&mut Part)) {
        change(self.lock().entry(partition).or_default());
    }

    /// The partition is not run here any more.
    pub fn remove(&self, partition: Partition) {
        self.lock().remove(&partition);
    }

    fn parts(&self) -> BTreeMap<Partition, Part> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Partition, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every live process of a service, by instance.
pub type Members = BTreeMap<CompactString, Heartbeat>;

/// A place among the processes of a service. Dropping it says farewell.
pub struct Membership {
    pub instance: CompactString,
    members: watch::Receiver<Members>,
    stop: CancellationToken,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Membership {
    /// Joins the processes of `service`, and returns once those that are there have had time to tell so.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn join(
        connection: &Connection,
        service: &'static str,
        version: &'static str,
        board: Board,
    ) -> Result<Self, async_nats::SubscribeError> {
        // An inbox of the client's is a name that no other has.
        let instance = connection.client.new_inbox().replace("_INBOX.", "").to_compact_string();
        let heard = connection.client.subscribe(connection.subjects.members(service)).await?;
        let own = Heartbeat {
            service: service.into(),
            instance: instance.clone(),
            version: version.into(),
            host: host(),
            pid: std::process::id(),
            started_at: clock::now(),
            joining: true,
            leaving: false,
            parts: BTreeMap::new(),
        };
        let (sender, members) = watch::channel(Members::from([(instance.clone(), own.clone())]));
        let stop = CancellationToken::new();
        let connection = connection.clone();
        let task = Task {
            connection,
            service,
            own: Some(own),
            board,
            sender,
            heard_at: BTreeMap::new(),
            looked_at: Instant::now(),
        };
        tokio::spawn(task.run(heard, stop.clone()));
        tokio::time::sleep(HELLO).await;
        Ok(Self { instance, members, stop })
    }

    /// The live processes of a service that this one does not belong to, from what they tell of themselves. It ends with
    /// the receiver.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn observe(
        connection: &Connection,
        service: &'static str,
    ) -> Result<watch::Receiver<Members>, async_nats::SubscribeError> {
        let heard = connection.client.subscribe(connection.subjects.members(service)).await?;
        let (sender, members) = watch::channel(Members::new());
        let (connection, board) = (connection.clone(), Board::default());
        let task = Task {
            connection,
            service,
            own: None,
            board,
            sender,
            heard_at: BTreeMap::new(),
            looked_at: Instant::now(),
        };
        tokio::spawn(task.run(heard, CancellationToken::new()));
        Ok(members)
    }

    /// Whether this is the one of the live processes that acts where one is enough.
    pub fn leads(&self) -> bool {
        let members = self.members.borrow();
        let names: Vec<&str> = members.keys().map(|name| name.as_str()).collect();
        let owners = assignment::owners(&names, 1, 1);
        owners[0].first().is_none_or(|leader| names[*leader] == self.instance)
    }

    /// The live processes, this one included, and word of every change.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.clone()
    }
}

struct Task {
    connection: Connection,
    service: &'static str,
    /// None for one that only listens.
    own: Option<Heartbeat>,
    board: Board,
    sender: watch::Sender<Members>,
    heard_at: BTreeMap<CompactString, Instant>,
    /// When it was looked who is silent.
    looked_at: Instant,
}

impl Task {
    async fn run(mut self, mut heard: async_nats::Subscriber, stop: CancellationToken) {
        self.tell().await;
        if let Some(own) = &mut self.own {
            own.joining = false;
        }
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.sender.closed() => break,
                _ = beat.tick() => {
                    self.tell().await;
                    self.forget_silent();
                }
                message = heard.next() => match message {
                    Some(message) => self.hear(&message.payload).await,
                    None => break,
                },
            }
        }
        if let Some(own) = &mut self.own {
            own.leaving = true;
        }
        self.board = Board::default();
        self.tell().await;
        let _ = self.connection.client.flush().await;
    }

    async fn tell(&mut self) {
        let Some(own) = &mut self.own else { return };
        own.parts = self.board.parts();
        let subject = self.connection.subjects.members(self.service);
        let payload = serde_json::to_vec(own).expect("a heartbeat is plain values");
        // One that is lost is followed by another.
        let _ = self.connection.client.publish(subject, payload.into()).await;
        let own = own.clone();
        self.put(own);
    }

    async fn hear(&mut self, payload: &[u8]) {
        let Some(heartbeat) = Heartbeat::decode(payload) else { return };
        if self.own.as_ref().is_some_and(|own| own.instance == heartbeat.instance) {
            return;
        }
        if heartbeat.leaving {
            self.heard_at.remove(&heartbeat.instance);
            self.sender.send_if_modified(|members| members.remove(&heartbeat.instance).is_some());
            return;
        }
        let is_news = !self.heard_at.contains_key(&heartbeat.instance);
        if is_news && self.heard_at.len() >= MAX_MEMBERS {
            tracing::warn!(service = self.service, "more than {MAX_MEMBERS} processes; the rest is not known here");
            return;
        }
        self.heard_at.insert(heartbeat.instance.clone(), Instant::now());
        let joining = heartbeat.joining;
        self.put(heartbeat);
        if joining {
            self.tell().await;
        }
    }

    /// Those who listen are told of every heartbeat: also what a member runs is of interest to them.
    fn put(&self, heartbeat: Heartbeat) {
        self.sender.send_if_modified(|members| {
            let differs = members.get(&heartbeat.instance).is_none_or(|known| *known != heartbeat);
            if differs {
                members.insert(heartbeat.instance.clone(), heartbeat);
            }
            differs
        });
    }

    fn forget_silent(&mut self) {
        // Without a connection, or while this process stood still, nobody is heard: that says nothing about them.
        let stood_still = self.looked_at.elapsed() > LOSS;
        self.looked_at = Instant::now();
        if stood_still || self.connection.client.connection_state() != async_nats::connection::State::Connected {
            let now = Instant::now();
            self.heard_at.values_mut().for_each(|heard_at| *heard_at = now);
            return;
        }
        let silent: Vec<CompactString> = self
            .heard_at
            .iter()
            .filter(|(_, heard_at)| heard_at.elapsed() > LOSS)
            .map(|(instance, _)| instance.clone())
            .collect();
        for instance in silent {
            tracing::warn!(service = self.service, %instance, "a process has not been heard of; it is taken for gone");
            self.heard_at.remove(&instance);
            self.sender.send_if_modified(|members| members.remove(&instance).is_some());
        }
    }
}

fn host() -> CompactString {
    let from_file = || std::fs::read_to_string("/etc/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().or_else(from_file).unwrap_or_default();
    name.trim().into()
}
