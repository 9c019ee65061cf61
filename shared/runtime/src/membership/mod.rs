//! Who else runs a service, and which partitions are whose.
//!
//! Membership decides who bothers to run what, and nothing else: two that run the same partition do no harm, for the
//! log is fenced and outputs are written once. So it may be late or wrong, and is kept simple: every process tells of
//! itself on the broker, a silent one is taken for gone, and [`assignment`] is a function of who is there.

pub mod assignment;
mod owned;
mod readiness;
mod redundancy;
mod served;
mod watching;

pub use owned::{Sharing, run_owned};
pub use readiness::Readiness;
pub use redundancy::{Replicas, replicas};
pub use watching::watch_all;

use crate::clock;
use crate::connection::Connection;
use crate::http::Health;
use crate::memory;
use compact_str::{CompactString, ToCompactString};
use daybook_contracts::members::{
    HEARTBEAT, Heartbeat, LOSS, MAX_WEBHOOKS, Missing, Part, SourceStanding, WebhookTries,
};
use daybook_domain::ids::Partition;
use futures::StreamExt;
use served::Served;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a process that has come listens before it takes the others for known: they answer at once.
const HELLO: Duration = Duration::from_millis(250);
/// How long a farewell may take to be sent; without it, the others miss the next heartbeats.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most members of one service.
const MAX_MEMBERS: usize = 1_024;

/// What this process runs, for others to know. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board {
    notes: Arc<Mutex<Notes>>,
    /// Something of which the others are told at once.
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Notes {
    /// How each partition stands that is owned or still runs here.
    parts: BTreeMap<Partition, Part>,
    /// Decides what is ready; `ready` of the parts has no say.
    served: Served,
    /// The part of health of each partition that was ever owned.
    labels: BTreeMap<Partition, String>,
    /// How many shards are to keep each partition.
    replicas: Option<u8>,
    missing: Vec<Missing>,
    /// How each source of connect stands.
    sources: BTreeMap<CompactString, SourceStanding>,
    /// Why connect does not use the newest file of sources.
    sources_refused: Option<CompactString>,
    /// What came of the tries of webhooks, where that is to be told.
    webhooks: BTreeMap<CompactString, WebhookTries>,
}

impl Board {
    /// Tells which sources connect knows. Others are no longer told of, though their readers may still be about to end.
    pub fn know_sources(&self, names: impl Iterator<Item = CompactString>) {
        let sources = &mut self.lock().sources;
        let mut before = std::mem::take(sources);
        sources.extend(names.map(|name| {
            let standing =
                before.remove(&name).unwrap_or_else(|| SourceStanding { name: name.clone(), ..Default::default() });
            (name, standing)
        }));
    }

    /// Tells how a source of connect stands, if it is one of those that are known.
    pub fn tell_source(&self, standing: SourceStanding) {
        if let Some(told) = self.lock().sources.get_mut(&standing.name) {
            *told = standing;
        }
    }

    /// Tells why connect does not use the newest file of sources; `None` while it does.
    pub fn refuse_sources(&self, why: Option<CompactString>) {
        self.lock().sources_refused = why;
        self.news.notify_one();
    }

    /// Tells what came of the tries of a webhook.
    pub fn tell_webhook(&self, tries: WebhookTries) {
        self.lock().webhooks.insert(tries.name.clone(), tries);
    }

    /// Tells nothing more of a webhook.
    pub fn forget_webhook(&self, name: &str) {
        self.lock().webhooks.remove(name);
    }

    /// Tells how a partition stands, except whether it is ready: its [`Readiness`] says that.
    pub fn set(&self, partition: Partition, part: Part) {
        self.update(partition, |told| *told = part);
    }

    /// Changes what is told of a partition, except whether it is ready.
    pub fn update(&self, partition: Partition, change: impl FnOnce(&mut Part)) {
        change(self.lock().parts.entry(partition).or_default());
    }

    /// Tells how many shards are to keep each partition.
    pub fn set_replicas(&self, replicas: u8) {
        self.lock().replicas = Some(replicas);
    }

    /// Tells which processes fell silent, of any service.
    pub fn set_missing(&self, missing: Vec<Missing>) {
        self.lock().missing = missing;
    }

    /// From now on this process owns the partition, and `label` is its part of `health`.
    fn own(&self, health: &Health, partition: Partition, label: &str) {
        self.change(health, partition, |notes| {
            notes.labels.entry(partition).or_insert_with(|| label.to_owned());
            notes.served.own(partition);
        });
    }

    /// From now on nothing is told of the partition: others own it, whatever is still at work here.
    fn disown(&self, health: &Health, partition: Partition) {
        self.change(health, partition, |notes| notes.served.disown(partition));
    }

    /// Changes what is owned or served. Health and the others learn what follows from it.
    fn change<T>(&self, health: &Health, partition: Partition, change: impl FnOnce(&mut Notes) -> T) -> T {
        let mut notes = self.lock();
        let before = notes.served.ready(partition);
        let changed = change(&mut notes);
        let after = notes.served.ready(partition);
        if after.is_none() && !notes.served.runs(partition) {
            notes.parts.remove(&partition);
        }
        if after != before {
            // Health is set under the lock, so that the newest change has the last word there too.
            if let Some(label) = notes.labels.get(&partition) {
                match after {
                    Some(ready) => health.set(label, ready),
                    None => health.remove(label),
                }
            }
            self.news.notify_one();
        }
        changed
    }

    /// The partitions that are owned, as their actors describe them.
    fn parts(&self) -> BTreeMap<Partition, Part> {
        let notes = self.lock();
        let told = |(partition, part): (&Partition, &Part)| {
            let ready = notes.served.ready(*partition)?;
            Some((*partition, Part { ready, ..part.clone() }))
        };
        notes.parts.iter().filter_map(told).collect()
    }

    fn sources(&self) -> Vec<SourceStanding> {
        self.lock().sources.values().cloned().collect()
    }

    /// The most urgent webhooks: those that are held off, the longest first, and then those with the newest refusal.
    fn webhooks(&self) -> Vec<WebhookTries> {
        let mut webhooks: Vec<WebhookTries> = self.lock().webhooks.values().cloned().collect();
        webhooks.sort_by_key(|webhook| {
            let failing_since = webhook.failing_since.filter(|_| webhook.is_held_off());
            let refused_at = webhook.refusal.as_ref().map(|refusal| refusal.at);
            (failing_since.is_none(), failing_since, Reverse(refused_at))
        });
        webhooks.truncate(MAX_WEBHOOKS);
        webhooks
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every live process of a service, by instance.
pub type Members = BTreeMap<CompactString, Heartbeat>;

/// The names of those among whom work is shared out: all but those that are leaving.
fn staying(members: &Members) -> Vec<&str> {
    members.values().filter(|member| !member.leaving).map(|member| member.instance.as_str()).collect()
}

/// A place among the processes of a service. Dropping it says farewell; [`Membership::farewell`] also waits until that is
/// said.
pub struct Membership {
    pub instance: CompactString,
    service: &'static str,
    members: watch::Receiver<Members>,
    stop: CancellationToken,
    /// Cancelled once the farewell is sent.
    gone: CancellationToken,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Membership {
    /// Joins the processes of `service`, and returns once those that are there have had time to tell so. When `leave` is
    /// cancelled, the others are told to count on this process no longer.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn join(
        connection: &Connection,
        service: &'static str,
        version: &'static str,
        board: Board,
        leave: CancellationToken,
    ) -> Result<Self, async_nats::SubscribeError> {
        // An inbox of the client's is a name that no other has.
        let instance = connection.client.new_inbox().replace("_INBOX.", "").to_compact_string();
        let heard = connection.client.subscribe(connection.subjects.members(service)).await?;
        let own = Heartbeat {
            version: version.into(),
            host: host(),
            pid: std::process::id(),
            started_at: clock::now(),
            joining: true,
            ..Heartbeat::of(service, &instance)
        };
        let (sender, members) = watch::channel(Members::from([(instance.clone(), own.clone())]));
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        let task = Task::new(connection.clone(), service, Some(own), board, sender);
        let (stopped, ended) = (stop.clone(), gone.clone().drop_guard());
        tokio::spawn(async move {
            let _ended = ended;
            task.run(heard, leave, stopped).await;
        });
        tokio::time::sleep(HELLO).await;
        Ok(Self { instance, service, members, stop, gone })
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
        let task = Task::new(connection.clone(), service, None, Board::default(), sender);
        tokio::spawn(task.run(heard, CancellationToken::new(), CancellationToken::new()));
        Ok(members)
    }

    /// Whether this is the one of the live processes that acts where one is enough.
    pub fn leads(&self) -> bool {
        let members = self.members.borrow();
        let names = staying(&members);
        let owners = assignment::owners(&names, 1, 1);
        owners[0].first().is_none_or(|leader| names[*leader] == self.instance)
    }

    /// Which of the things of these names are this process's to run. Processes that know the same names share them out alike.
    pub fn own<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let members = self.members.borrow();
        assignment::owned_names(&self.instance, &staying(&members), names)
    }

    /// Says farewell, and waits until that is sent, a second at most.
    pub async fn farewell(&self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(FAREWELL, self.gone.cancelled()).await;
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
    began: Instant,
}

impl Task {
    fn new(
        connection: Connection,
        service: &'static str,
        own: Option<Heartbeat>,
        board: Board,
        sender: watch::Sender<Members>,
    ) -> Self {
        let (heard_at, now) = (BTreeMap::new(), Instant::now());
        Self { connection, service, own, board, sender, heard_at, looked_at: now, began: now }
    }

    async fn run(mut self, mut heard: async_nats::Subscriber, leave: CancellationToken, stop: CancellationToken) {
        let news = self.board.news.clone();
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.sender.closed() => break,
                () = leave.cancelled(), if self.own.as_ref().is_some_and(|own| !own.leaving) => {
                    self.change(|own| own.leaving = true);
                    self.tell().await;
                }
                () = tokio::time::sleep_until(self.began + HELLO), if self.is_joining() => {
                    self.change(|own| own.joining = false);
                    self.tell().await;
                }
                () = news.notified() => self.tell().await,
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
        self.change(|own| (own.leaving, own.gone) = (true, true));
        self.board = Board::default();
        self.tell().await;
        let _ = self.connection.client.flush().await;
    }

    fn change(&mut self, change: impl FnOnce(&mut Heartbeat)) {
        if let Some(own) = &mut self.own {
            change(own);
        }
    }

    fn is_joining(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.joining)
    }

    async fn tell(&mut self) {
        let Some(own) = &mut self.own else { return };
        own.parts = self.board.parts();
        {
            let notes = self.board.lock();
            own.replicas = notes.replicas;
            own.missing.clone_from(&notes.missing);
            own.sources_refused.clone_from(&notes.sources_refused);
        }
        own.memory = memory::newest();
        own.foreign = self.connection.foreign.told();
        own.sources = self.board.sources();
        own.webhooks = self.board.webhooks();
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
        if heartbeat.gone {
            self.heard_at.remove(&heartbeat.instance);
            self.sender.send_if_modified(|members| members.remove(&heartbeat.instance).is_some());
            return;
        }
        // It begins with its share when it has listened; until then nobody should leave it any. Those that have come
        // together know each other at once, or each would begin with everything.
        if heartbeat.joining && self.own.is_some() && self.began.elapsed() > HELLO {
            return self.tell().await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::WebhookRefusal;
    use futures::FutureExt;

    #[test]
    fn the_most_urgent_webhooks_are_told_first() {
        let board = Board::default();
        let refused = |name: String, failures, at| WebhookTries {
            name: name.into(),
            failures,
            failing_since: Some(daybook_domain::time::Instant::from_millis(at)),
            taken_at: None,
            refusal: Some(WebhookRefusal { at: daybook_domain::time::Instant::from_millis(at), why: "500".into() }),
        };
        (0..100).for_each(|number| board.tell_webhook(refused(format!("w{number}"), 1, number)));
        for (name, failures, at) in [("short", 3, 900), ("long", 9, 800), ("recent", 2, 999)] {
            board.tell_webhook(refused(name.to_owned(), failures, at));
        }
        let told: Vec<CompactString> = board.webhooks().into_iter().map(|webhook| webhook.name).collect();
        assert_eq!((told.len(), &told[..4]), (MAX_WEBHOOKS, &["long", "short", "recent", "w99"].map(Into::into)[..]));
        board.forget_webhook("long");
        assert_eq!(board.webhooks()[0].name, "short");
    }

    #[test]
    fn nothing_is_told_of_a_partition_that_others_own() {
        let (health, board, partition) = (Health::default(), Board::default(), Partition(1));
        let lagging = |lag| Part { lag, ..Part::default() };
        board.own(&health, partition, "shard 1");
        let run = board.change(&health, partition, |notes| notes.served.begin(partition));
        let serve = |serves| board.change(&health, partition, |notes| notes.served.serve(partition, run, serves));
        board.set(partition, lagging(4));
        serve(true);
        assert!(board.news.notified().now_or_never().is_some(), "others wait for it");
        board.set(partition, lagging(5));
        assert!(board.news.notified().now_or_never().is_none(), "it can wait for the next heartbeat");
        let ready = BTreeMap::from([(partition, Part { ready: true, ..lagging(5) })]);
        assert_eq!(board.parts(), ready, "the actor's own word for ready does not count");
        board.disown(&health, partition);
        assert!(board.news.notified().now_or_never().is_some());
        // Its actor lingers.
        board.set(partition, lagging(5));
        serve(true);
        assert!(board.parts().is_empty() && !health.is_ready());
        board.own(&health, partition, "shard 1");
        assert_eq!(board.parts(), ready);
        assert!(health.is_ready());
        board.disown(&health, partition);
        board.change(&health, partition, |notes| notes.served.end(partition, run));
        board.own(&health, partition, "shard 1");
        assert!(board.parts().is_empty(), "what an actor said does not outlive it where others own the partition");
    }
}
