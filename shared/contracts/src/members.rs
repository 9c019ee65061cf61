//! Who is there: every process tells on `daybook.members.<service>` that it lives and what it runs. Whoever listens for
//! a while knows all of them; nothing of this is stored, and nothing but comfort rests on it.

use compact_str::CompactString;
use daybook_domain::ids::{InboxSeq, LogSeq, Partition};
use daybook_domain::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a process tells of itself.
pub const HEARTBEAT: Duration = Duration::from_millis(500);
/// A process that has not been heard of for so long is taken for gone: five heartbeats.
pub const LOSS: Duration = Duration::from_millis(2_500);

/// Longest text in a heartbeat, in bytes: what a host may be called (RFC 1035) and one more.
pub const MAX_NAME_BYTES: usize = 256;
/// Most partitions in a heartbeat: as many as there can be.
pub const MAX_PARTS: usize = 256;
/// Most streams in a heartbeat of which foreign messages are told: there are fewer.
pub const MAX_FOREIGN: usize = 16;
/// Most processes that fell silent in a heartbeat; the oldest are left out.
pub const MAX_MISSING: usize = 64;
/// Most sources in a heartbeat: as many as one process of connect reads.
pub const MAX_SOURCES: usize = 64;
/// Most webhooks in a heartbeat, of up to a thousand: those that fail come first. The broker knows what waits for all of them.
pub const MAX_WEBHOOKS: usize = 64;
/// Tries of a webhook in a row that fail before it is held off: one try at a time, until it takes an alert. A receiver that dislikes
/// some alerts takes others.
pub const WEBHOOK_FAILURES: u32 = 3;
/// Most digests that are told of a partition: those of two replicas meet though one is some of them behind.
pub const MAX_DIGESTS: usize = 4;
/// Version of how a state's digest is made; those of another are not compared.
pub const DIGEST_FORMAT: u8 = 4;

/// What a process tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// `ingest`, `aggregator-shard`, `query`, `day-manager`, `connect` or `gateway`.
    pub service: CompactString,
    /// Unlike that of any other process and run.
    pub instance: CompactString,
    pub version: CompactString,
    pub host: CompactString,
    pub pid: u32,
    pub started_at: Instant,
    /// It has just come, and listens who is there: the others answer at once, so that it need not wait for their next
    /// heartbeat, and leave it nothing yet.
    pub joining: bool,
    /// It was told to end: it is given nothing any more, and goes on with its parts until others are ready for them.
    pub leaving: bool,
    /// It runs nothing any more and ends now.
    #[serde(default)]
    pub gone: bool,
    pub parts: BTreeMap<Partition, Part>,
    /// What it has met in streams that no service wrote; at most [`MAX_FOREIGN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<Foreign>,
    /// Of a shard: how many shards are to keep each partition, `--replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
    /// Of a day-manager: the processes of all services that fell silent, oldest first; at most [`MAX_MISSING`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// None where the process cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The sources that a process of connect knows, in the order of their names; at most [`MAX_SOURCES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStanding>,
    /// Of a process of connect: why it does not use the newest file of sources, and goes on with those of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources_refused: Option<CompactString>,
    /// Of a gateway: webhooks whose receiver refused an alert or for which some wait, the most urgent first; at most [`MAX_WEBHOOKS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookTries>,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub used: u64,
    /// The nearest of its limits.
    pub limit: u64,
    /// It takes in nothing more.
    pub is_full: bool,
}

/// A process that fell silent without a farewell, and whose place no new process of its service has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub service: CompactString,
    pub instance: CompactString,
    pub host: CompactString,
    pub pid: u32,
    /// When it was found to be silent.
    pub since: Instant,
}

/// How a source stands in one process of connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStanding {
    pub name: CompactString,
    /// This process reads it; the others that know it leave it to this one.
    pub running: bool,
    /// Messages that it has taken since this process reads it.
    pub messages: u64,
    /// Events that it has published of them.
    pub events: u64,
    /// Records, or items of them, that no event could be made of.
    pub unmapped: u64,
    /// Messages that are not taken yet, when that was looked at last; `None` for core subjects, where nobody knows.
    pub lag: Option<u64>,
    /// Why it takes nothing at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<CompactString>,
}

/// What came of the tries that one process of the gateway made of a webhook. Nothing of its URL is told, and no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTries {
    pub name: CompactString,
    /// Tries in a row that failed.
    pub failures: u32,
    /// When the first of those failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Instant>,
    /// When the last alert was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Instant>,
    /// The newest try that failed, though others were taken since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<WebhookRefusal>,
}

impl WebhookTries {
    /// Whether the process makes one try at a time only.
    pub fn is_held_off(&self) -> bool {
        self.failures >= WEBHOOK_FAILURES
    }
}

/// A try that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRefusal {
    pub at: Instant,
    /// For people; at most [`MAX_NAME_BYTES`].
    pub why: CompactString,
}

/// Messages of one stream that no service wrote, as one process has met them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    pub stream: CompactString,
    pub messages: u64,
    /// The sequence and subject of the newest, and why it is taken for one.
    pub sequence: u64,
    pub subject: CompactString,
    pub why: CompactString,
}

impl Heartbeat {
    /// Of a process that has told nothing yet but its name.
    pub fn of(service: &str, instance: &str) -> Self {
        Self {
            service: service.into(),
            instance: instance.into(),
            version: CompactString::default(),
            host: CompactString::default(),
            pid: 0,
            started_at: Instant::MIN,
            joining: false,
            leaving: false,
            gone: false,
            parts: BTreeMap::new(),
            foreign: Vec::new(),
            replicas: None,
            missing: Vec::new(),
            memory: None,
            sources: Vec::new(),
            sources_refused: None,
            webhooks: Vec::new(),
        }
    }

    /// A message of `daybook.members.<service>`; `None` when it is no heartbeat, has no instance, or has a text longer than
    /// [`MAX_NAME_BYTES`] or a list longer than its bound: what is kept of others must have bounds.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let heartbeat: Self = serde_json::from_slice(message).ok()?;
        let Self {
            service, instance, version, host, parts, foreign, missing, sources, sources_refused, webhooks, ..
        } = &heartbeat;
        let is_bounded = [service, instance, version, host].iter().all(|text| text.len() <= MAX_NAME_BYTES);
        let is_told_shortly = |part: &Part| {
            let texts = part.digests.iter().flat_map(|digest| [Some(&digest.state), digest.seasons.as_ref()]);
            part.digests.len() <= MAX_DIGESTS && texts.flatten().all(|text| text.len() <= MAX_NAME_BYTES)
        };
        let is_short = |foreign: &Foreign| {
            [&foreign.stream, &foreign.subject, &foreign.why].iter().all(|text| text.len() <= MAX_NAME_BYTES)
        };
        let is_named_shortly = |missing: &Missing| {
            [&missing.service, &missing.instance, &missing.host].iter().all(|text| text.len() <= MAX_NAME_BYTES)
        };
        let is_brief = |source: &SourceStanding| {
            source.name.len() <= MAX_NAME_BYTES && source.trouble.as_ref().is_none_or(|why| why.len() <= MAX_NAME_BYTES)
        };
        let is_plain = |webhook: &WebhookTries| {
            let why = webhook.refusal.as_ref().map(|refusal| &refusal.why);
            webhook.name.len() <= MAX_NAME_BYTES && why.is_none_or(|why| why.len() <= MAX_NAME_BYTES)
        };
        let is_bounded = is_bounded
            && webhooks.len() <= MAX_WEBHOOKS
            && webhooks.iter().all(is_plain)
            && sources.len() <= MAX_SOURCES
            && sources_refused.as_ref().is_none_or(|why| why.len() <= MAX_NAME_BYTES)
            && sources.iter().all(is_brief)
            && parts.values().all(is_told_shortly)
            && foreign.len() <= MAX_FOREIGN
            && foreign.iter().all(is_short)
            && missing.len() <= MAX_MISSING
            && missing.iter().all(is_named_shortly);
        (is_bounded && !instance.is_empty() && parts.len() <= MAX_PARTS).then_some(heartbeat)
    }
}

/// A partition that a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Level with the log at least once: it can serve.
    pub ready: bool,
    /// The last batch of the log that was applied or appended.
    pub log: LogSeq,
    /// The last INBOX sequence that was taken in.
    pub inbox: InboxSeq,
    /// Messages that wait to be read, when they were looked at last.
    pub lag: u64,
    /// Milliseconds since it was level with what it reads.
    pub lag_ms: u64,
    /// The position of the last checkpoint; 0 for none.
    pub checkpoint: LogSeq,
    /// Bytes of the checkpoint store on disk, as of the last checkpoint interval.
    #[serde(default)]
    pub store_bytes: u64,
    /// Of a shard: pages of entities of closed days that are in that store only. Left out when there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closed_pages_out: u64,
    /// Of a shard: it takes [bundles](crate::bundle) of questions. Left out where it does not, as by earlier builds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bundles: bool,
    /// The last digests of a shard's state, oldest first; at most [`MAX_DIGESTS`].
    /// Shared, for they are told with every batch and change once in a long while.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub digests: Arc<[StateDigest]>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_empty(digests: &Arc<[StateDigest]>) -> bool {
    digests.is_empty()
}

/// What a shard's state comes to at a position of the log: the same for every replica of the partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDigest {
    pub log: LogSeq,
    /// [`DIGEST_FORMAT`] of the process that made it.
    pub format: u8,
    /// 128 bits in hex, of everything but seasons.
    pub state: CompactString,
    /// Of the seasons, unless some are still being made.
    pub seasons: Option<CompactString>,
}

impl StateDigest {
    /// Whether both are of one position and not of one state.
    pub fn contradicts(&self, other: &Self) -> bool {
        let differ = |one: &Option<CompactString>, other: &Option<CompactString>| {
            one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one != other)
        };
        (self.log, self.format) == (other.log, other.format)
            && (self.state != other.state || differ(&self.seasons, &other.seasons))
    }
}

/// Two replicas that hold different states of a partition at the same position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Divergence {
    pub partition: Partition,
    pub log: LogSeq,
    pub instance: CompactString,
    pub other: CompactString,
}

impl Heartbeat {
    /// Where the other one tells of another state.
    pub fn divergences<'h>(&'h self, other: &'h Self) -> impl Iterator<Item = Divergence> + 'h {
        self.parts.iter().flat_map(move |(partition, part)| {
            let theirs = other.parts.get(partition).map_or(&[][..], |part| &part.digests);
            let contradicted = part.digests.iter().filter(|ours| theirs.iter().any(|theirs| ours.contradicts(theirs)));
            contradicted.map(|digest| Divergence {
                partition: *partition,
                log: digest.log,
                instance: self.instance.clone(),
                other: other.instance.clone(),
            })
        })
    }
}

/// Where these processes tell of different states, each pair once.
pub fn divergences(members: &[Heartbeat]) -> Vec<Divergence> {
    let pairs =
        members.iter().enumerate().flat_map(|(index, one)| members[..index].iter().map(move |other| (one, other)));
    let mut found: Vec<Divergence> = pairs.flat_map(|(one, other)| one.divergences(other)).collect();
    found.sort();
    found
}

/// The foreign messages of each stream, as the process tells that has met most of them.
pub fn foreign(members: &[Heartbeat]) -> Vec<Foreign> {
    let mut most: BTreeMap<&str, &Foreign> = BTreeMap::new();
    for told in members.iter().flat_map(|member| &member.foreign) {
        let known = most.entry(&told.stream).or_insert(told);
        if (told.messages, told.sequence) > (known.messages, known.sequence) {
            *known = told;
        }
    }
    most.into_values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_different_states_are_found_once() {
        let member = |instance: &str, state: &str| {
            let digest = StateDigest { log: LogSeq(8), format: DIGEST_FORMAT, state: state.into(), seasons: None };
            Heartbeat {
                parts: [(Partition(2), Part { digests: [digest].into(), ..Part::default() })].into(),
                ..Heartbeat::of("aggregator-shard", instance)
            }
        };
        let members = [member("a", "x"), member("b", "y"), member("c", "x")];
        let found = divergences(&members);
        let pairs: Vec<_> = found.iter().map(|found| (found.instance.as_str(), found.other.as_str())).collect();
        assert_eq!(pairs, [("b", "a"), ("c", "b")]);
        assert_eq!((found[0].partition, found[0].log), (Partition(2), LogSeq(8)));
        assert_eq!(divergences(&members[2..]), []);
    }

    fn heartbeat(instance: &str, digests: &[(u64, u8, &str, Option<&str>)]) -> Heartbeat {
        let digest = |&(log, format, state, seasons): &(u64, u8, &str, Option<&str>)| StateDigest {
            log: LogSeq(log),
            format,
            state: state.into(),
            seasons: seasons.map(Into::into),
        };
        let part = Part { digests: digests.iter().map(digest).collect(), ..Part::default() };
        Heartbeat { parts: [(Partition(3), part)].into(), ..Heartbeat::of("aggregator-shard", instance) }
    }

    const NONE: [u64; 0] = [];

    #[test]
    fn only_digests_of_one_position_and_format_are_compared() {
        let found = |one: &[_], other: &[_]| {
            let found: Vec<u64> =
                heartbeat("a", one).divergences(&heartbeat("b", other)).map(|found| found.log.0).collect();
            found
        };
        let ours = [(10, 1, "x", None), (20, 1, "y", Some("s"))];
        assert_eq!(found(&ours, &ours), NONE);
        assert_eq!(found(&ours, &[(15, 1, "z", None), (30, 1, "z", None)]), NONE);
        assert_eq!(found(&ours, &[(10, 1, "z", None), (20, 1, "y", None)]), [10]);
        assert_eq!(found(&ours, &[(10, 2, "z", None)]), NONE, "made in another way");
        assert_eq!(found(&ours, &[(10, 1, "x", Some("s")), (20, 1, "y", Some("t"))]), [20], "seasons that both have");
    }

    #[test]
    fn a_heartbeat_has_bounds_and_older_ones_are_read() {
        let sound = heartbeat("a", &[(10, 1, "x", Some("s"))]);
        let bytes = |heartbeat: &Heartbeat| serde_json::to_vec(heartbeat).unwrap();
        assert_eq!(Heartbeat::decode(&bytes(&sound)), Some(sound.clone()));
        let old = r#"{"service":"query","instance":"a","version":"0","host":"h","pid":1,"started_at":"2013-03-10T00:00:00Z",
            "joining":false,"leaving":false,"parts":{"0":{"ready":true,"log":1,"inbox":1,"lag":0,"lag_ms":0,"checkpoint":1}}}"#;
        assert!(Heartbeat::decode(old.as_bytes()).unwrap().parts[&Partition(0)].digests.is_empty());
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(Heartbeat::decode(&bytes(&Heartbeat { host: long.as_str().into(), ..sound.clone() })), None);
        assert_eq!(Heartbeat::decode(&bytes(&Heartbeat { instance: "".into(), ..sound.clone() })), None);
        assert_eq!(Heartbeat::decode(&bytes(&heartbeat("a", &[(10, 1, &long, None)]))), None);
        assert_eq!(Heartbeat::decode(&bytes(&heartbeat("a", &[(10, 1, "x", None); MAX_DIGESTS + 1]))), None);
        let foreign = |length: usize| Foreign {
            stream: "EVENTS".into(),
            messages: 1,
            sequence: 1,
            subject: "x".repeat(length).into(),
            why: "".into(),
        };
        let met = Heartbeat { foreign: vec![foreign(MAX_NAME_BYTES); MAX_FOREIGN], ..sound.clone() };
        assert_eq!(Heartbeat::decode(&bytes(&met)), Some(met));
        for foreign in [vec![foreign(MAX_NAME_BYTES + 1)], vec![foreign(1); MAX_FOREIGN + 1]] {
            assert_eq!(Heartbeat::decode(&bytes(&Heartbeat { foreign, ..sound.clone() })), None);
        }
        let missing = |length: usize| Missing {
            service: "query".into(),
            instance: "b".into(),
            host: "x".repeat(length).into(),
            pid: 1,
            since: Instant::MIN,
        };
        let told = Heartbeat { missing: vec![missing(MAX_NAME_BYTES); MAX_MISSING], ..sound.clone() };
        assert_eq!(Heartbeat::decode(&bytes(&told)), Some(told));
        for missing in [vec![missing(MAX_NAME_BYTES + 1)], vec![missing(1); MAX_MISSING + 1]] {
            assert_eq!(Heartbeat::decode(&bytes(&Heartbeat { missing, ..sound.clone() })), None);
        }
        let refusing = |why: &str| Heartbeat { sources_refused: Some(why.into()), ..sound.clone() };
        assert_eq!(Heartbeat::decode(&bytes(&refusing("why"))), Some(refusing("why")));
        assert_eq!(Heartbeat::decode(&bytes(&refusing(&long))), None);
        let refusal = |length: usize| WebhookRefusal { at: Instant::MIN, why: "x".repeat(length).into() };
        let webhook =
            |length| WebhookTries { name: "pager".into(), refusal: Some(refusal(length)), ..Default::default() };
        let told = Heartbeat { webhooks: vec![webhook(MAX_NAME_BYTES); MAX_WEBHOOKS], ..sound.clone() };
        assert_eq!(Heartbeat::decode(&bytes(&told)), Some(told));
        let unnamed = WebhookTries { name: long.as_str().into(), ..Default::default() };
        for webhooks in [vec![webhook(MAX_NAME_BYTES + 1)], vec![unnamed], vec![webhook(1); MAX_WEBHOOKS + 1]] {
            assert_eq!(Heartbeat::decode(&bytes(&Heartbeat { webhooks, ..sound.clone() })), None);
        }
        let parts = (0..=MAX_PARTS as u16).map(|partition| (Partition(partition), Part::default())).collect();
        assert_eq!(Heartbeat::decode(&bytes(&Heartbeat { parts, ..sound })), None);
        assert_eq!(Heartbeat::decode(b"{}"), None);
    }
}
