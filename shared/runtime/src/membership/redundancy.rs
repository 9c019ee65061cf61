//! Lost redundancy: which processes fell silent, and which partitions have fewer replicas than they should. Pure: the
//! caller passes the time in.

use compact_str::CompactString;
use daybook_contracts::members::{Heartbeat, LOSS, MAX_MISSING, Missing};
use daybook_domain::ids::Partition;
use daybook_domain::time::Instant as Stamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a process that fell silent is missed. Whoever takes one away for good tells it to end, or waits for this.
const MISSED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Most live processes that are remembered, of all services together; further ones are not watched.
const MAX_KNOWN: usize = 4_096;

/// How many shards serve a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub partition: Partition,
    /// Shards that are ready to answer for it.
    pub serving: usize,
    /// As many as the shards are told to keep it in; 0 while no shard tells.
    pub wanted: usize,
}

impl Replicas {
    pub fn are_missing(&self) -> bool {
        self.serving < self.wanted
    }
}

/// How many shards serve each partition, by what `members` tell. Members of other services do not count.
pub fn replicas<'a>(members: impl IntoIterator<Item = &'a Heartbeat>, partitions: u16) -> Vec<Replicas> {
    let shards: Vec<&Heartbeat> = members.into_iter().filter(|member| member.service == "aggregator-shard").collect();
    let wanted = shards.iter().filter_map(|shard| shard.replicas).max().unwrap_or_default();
    let serves = |shard: &&&Heartbeat, partition| shard.parts.get(&partition).is_some_and(|part| part.ready);
    let of = |partition| Replicas {
        partition,
        serving: shards.iter().filter(|shard| serves(shard, partition)).count(),
        wanted: usize::from(wanted),
    };
    Partition::all(partitions).map(of).collect()
}

/// Follows the processes of all services and remembers those that fell silent.
///
/// A process is missing from the moment it falls silent without a farewell. It no longer is when it is heard again or says
/// farewell after all, when a new process of its service takes its place, or after a day. A process that came between
/// the last heartbeat of another one and its silence has taken its place already.
#[derive(Debug)]
pub(super) struct Tracker {
    known: BTreeMap<CompactString, Known>,
    /// Oldest first.
    missing: Vec<(Instant, Missing)>,
    began: Instant,
    looked_at: Instant,
}

#[derive(Debug)]
struct Known {
    heartbeat: Heartbeat,
    heard_at: Instant,
    /// When it came, as long as it has taken nobody's place; none for those that were there before.
    came_at: Option<Instant>,
}

impl Tracker {
    pub(super) fn new(now: Instant) -> Self {
        Self { known: BTreeMap::new(), missing: Vec::new(), began: now, looked_at: now }
    }

    /// Takes in what a process told of itself.
    pub(super) fn hear(&mut self, heartbeat: Heartbeat, now: Instant) {
        let instance = &heartbeat.instance;
        if heartbeat.gone {
            self.known.remove(instance);
            self.missing.retain(|(_, missing)| missing.instance != *instance);
            return;
        }
        if let Some(known) = self.known.get_mut(instance) {
            (known.heartbeat, known.heard_at) = (heartbeat, now);
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            return;
        }
        let itself = self.missing.iter().position(|(_, missing)| missing.instance == *instance);
        let replaced = || self.missing.iter().position(|(_, missing)| missing.service == heartbeat.service);
        let came_at = match itself.or_else(replaced) {
            Some(index) => {
                self.missing.remove(index);
                None
            }
            // In the beginning everyone is heard for the first time.
            None => (heartbeat.joining || now.duration_since(self.began) > LOSS).then_some(now),
        };
        self.known.insert(heartbeat.instance.clone(), Known { heartbeat, heard_at: now, came_at });
    }

    /// Looks for processes that fell silent, and returns those that are missing since this look. Without a connection, or
    /// after a pause of this process, silence says nothing. `stamp` is the time by the clock.
    pub(super) fn look(&mut self, is_connected: bool, now: Instant, stamp: Stamp) -> Vec<Missing> {
        let stood_still = now.duration_since(self.looked_at) > LOSS;
        self.looked_at = now;
        self.missing.retain(|(since, _)| now.duration_since(*since) < MISSED_FOR);
        if stood_still || !is_connected {
            self.known.values_mut().for_each(|known| known.heard_at = now);
            return Vec::new();
        }
        let is_silent = |known: &Known| now.duration_since(known.heard_at) > LOSS;
        let silent: Vec<CompactString> =
            self.known.iter().filter(|(_, known)| is_silent(known)).map(|(instance, _)| instance.clone()).collect();
        let silent: Vec<Known> = silent.iter().filter_map(|instance| self.known.remove(instance)).collect();
        let mut found = Vec::new();
        for Known { heartbeat, heard_at, .. } in silent {
            let came_since = |known: &&mut Known| {
                known.heartbeat.service == heartbeat.service && known.came_at.is_some_and(|came_at| came_at >= heard_at)
            };
            if let Some(successor) = self.known.values_mut().find(came_since) {
                successor.came_at = None;
                continue;
            }
            let Heartbeat { service, instance, host, pid, .. } = heartbeat;
            found.push(Missing { service, instance, host, pid, since: stamp });
        }
        self.missing.extend(found.iter().map(|missing| (now, missing.clone())));
        self.missing.drain(..self.missing.len().saturating_sub(MAX_MISSING));
        found
    }

    /// The processes that are missing, oldest first; at most [`MAX_MISSING`].
    pub(super) fn missing(&self) -> impl Iterator<Item = &Missing> {
        self.missing.iter().map(|(_, missing)| missing)
    }

    /// What the live processes told last.
    pub(super) fn live(&self) -> impl Iterator<Item = &Heartbeat> {
        self.known.values().map(|known| &known.heartbeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::{HEARTBEAT, Part};

    /// A tracker, and processes that tell of themselves at each heartbeat.
    struct Watched {
        tracker: Tracker,
        now: Instant,
        alive: Vec<Heartbeat>,
    }

    impl Watched {
        fn new(names: &[&str]) -> Self {
            let now = Instant::now();
            let mut watched = Self { tracker: Tracker::new(now), now, alive: Vec::new() };
            watched.alive.extend(names.iter().map(|name| Heartbeat::of("query", name)));
            watched.pass(Duration::from_secs(10));
            watched
        }

        fn pass(&mut self, time: Duration) {
            let until = self.now + time;
            while self.now < until {
                self.now += HEARTBEAT;
                for heartbeat in &mut self.alive {
                    self.tracker.hear(heartbeat.clone(), self.now);
                    heartbeat.joining = false;
                }
                self.tracker.look(true, self.now, Stamp::MIN);
            }
        }

        fn come(&mut self, service: &str, name: &str) {
            self.alive.push(Heartbeat { joining: true, ..Heartbeat::of(service, name) });
        }

        fn kill(&mut self, name: &str) {
            self.alive.retain(|heartbeat| heartbeat.instance != name);
        }

        fn missing(&self) -> Vec<&str> {
            self.tracker.missing().map(|missing| missing.instance.as_str()).collect()
        }
    }

    const NONE: [&str; 0] = [];
    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn one_that_falls_silent_is_missing_until_another_of_its_service_comes() {
        let mut watched = Watched::new(&["a", "b", "c"]);
        assert_eq!(watched.missing(), NONE);
        watched.kill("a");
        watched.kill("b");
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["a", "b"]);
        watched.come("ingest", "d");
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["a", "b"], "it is of another service");
        watched.come("query", "e");
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["b"]);
        watched.come("query", "f");
        watched.come("query", "g");
        watched.pass(SOON);
        assert_eq!(watched.missing(), NONE);
        watched.kill("f");
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["f"], "one more than before does not make up for it");
    }

    #[test]
    fn one_that_is_back_before_its_silence_is_noticed_has_taken_its_own_place() {
        let mut watched = Watched::new(&["a", "b"]);
        watched.kill("a");
        watched.pass(HEARTBEAT);
        watched.come("query", "a again");
        watched.pass(SOON);
        assert_eq!(watched.missing(), NONE);
        watched.kill("b");
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["b"], "it has taken one place");
        // Those that were there when the watch began have taken nobody's.
        let mut watched = Watched { alive: Vec::new(), ..Watched::new(&[]) };
        watched.tracker = Tracker::new(watched.now);
        watched.alive = ["a", "b"].map(|name| Heartbeat::of("query", name)).into();
        watched.pass(HEARTBEAT);
        watched.kill("a");
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["a"]);
    }

    #[test]
    fn farewells_returns_and_a_day_end_it() {
        let mut watched = Watched::new(&["a", "b", "c", "d"]);
        for name in ["a", "b", "c"] {
            watched.kill(name);
        }
        watched.tracker.hear(Heartbeat { gone: true, ..Heartbeat::of("query", "a") }, watched.now);
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["b", "c"], "a said farewell");
        watched.tracker.hear(Heartbeat { gone: true, ..Heartbeat::of("query", "b") }, watched.now);
        assert_eq!(watched.missing(), ["c"], "b did so after all");
        watched.alive.push(Heartbeat::of("query", "c"));
        watched.pass(HEARTBEAT);
        assert_eq!(watched.missing(), NONE, "c is heard again");
        watched.kill("c");
        watched.pass(MISSED_FOR);
        assert_eq!(watched.missing(), ["c"]);
        watched.pass(SOON);
        assert_eq!(watched.missing(), NONE);
    }

    #[test]
    fn silence_says_nothing_without_a_connection_or_after_a_pause() {
        let mut watched = Watched::new(&["a"]);
        for (is_connected, step) in [(false, LOSS), (true, 2 * LOSS)] {
            watched.now += step;
            assert_eq!(watched.tracker.look(is_connected, watched.now, Stamp::MIN), []);
        }
        watched.kill("a");
        watched.pass(LOSS);
        assert_eq!(watched.missing(), NONE);
        watched.pass(SOON);
        assert_eq!(watched.missing(), ["a"]);
    }

    #[test]
    fn the_newest_of_too_many_are_kept() {
        let names: Vec<String> = (0..=MAX_MISSING).map(|number| format!("{number:03}")).collect();
        let mut watched = Watched::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        watched.alive.clear();
        watched.pass(SOON);
        assert_eq!((watched.missing().len(), watched.missing()[0]), (MAX_MISSING, "001"));
    }

    #[test]
    fn replicas_are_counted_where_they_serve() {
        let shard = |name: &str, wanted: Option<u8>, ready: &[(u16, bool)]| Heartbeat {
            replicas: wanted,
            parts: ready.iter().map(|(p, ready)| (Partition(*p), Part { ready: *ready, ..Part::default() })).collect(),
            ..Heartbeat::of("aggregator-shard", name)
        };
        let count = |members: &[Heartbeat]| -> Vec<(usize, bool)> {
            replicas(members, 2).iter().map(|replicas| (replicas.serving, replicas.are_missing())).collect()
        };
        let ingest = Heartbeat { service: "ingest".into(), ..shard("i", None, &[(0, true), (1, true)]) };
        assert_eq!(count(std::slice::from_ref(&ingest)), [(0, false), (0, false)], "nobody tells how many are wanted");
        let [a, b] = [shard("a", Some(2), &[(0, true), (1, true)]), shard("b", Some(2), &[(0, true), (1, false)])];
        assert_eq!(count(&[ingest, a.clone(), b]), [(2, false), (1, true)], "b catches up");
        assert_eq!(count(&[a]), [(1, true), (1, true)]);
        assert_eq!(count(&[shard("a", Some(1), &[(0, true)])]), [(1, false), (0, true)]);
    }
}
