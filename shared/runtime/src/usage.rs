//! What each stream takes on the broker's disk, what bounds it, and how many of its copies are current.

use crate::clock;
use crate::connection::Connection;
use async_nats::jetstream::stream::PeerInfo;
use daybook_domain::time::Instant;
use serde::Serialize;
use std::time::Duration;

/// A copy whose server has not been heard of by the leader for so long is not current: its servers tell each other that they
/// live every second.
const SILENT_COPY: Duration = Duration::from_secs(10);
/// Messages by which a copy may be behind its leader and count as current: under load every copy is, for moments.
const SMALL_LAG: u64 = 1_000;

/// What a stream holds. `None` for what does not bound it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamUsage {
    pub stream: String,
    pub messages: u64,
    /// Of one copy of it.
    pub bytes: u64,
    /// Of the first message that is left; one more than the last sequence when there is none.
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// When the first message that is left was stored.
    pub oldest: Option<Instant>,
    pub max_bytes: Option<u64>,
    pub max_age_seconds: Option<u64>,
    pub max_messages_per_subject: Option<u64>,
    /// Copies that there should be, each on a server of its own.
    pub replicas: usize,
    /// Copies that are current, the leader's among them.
    pub replicas_current: usize,
    /// The servers whose copies are not, and why, such as `nats-2 is offline`.
    pub not_current: Vec<String>,
}

impl StreamUsage {
    fn of(info: &async_nats::jetstream::stream::Info) -> Self {
        let (config, state) = (&info.config, &info.state);
        let bound = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let max_age = Some(config.max_age).filter(|age| *age > Duration::ZERO);
        let peers = info.cluster.as_ref().map_or(&[][..], |cluster| &cluster.replicas);
        let not_current: Vec<String> =
            peers.iter().filter_map(|peer| Some(format!("{} {}", peer.name, why_not_current(peer)?))).collect();
        Self {
            stream: config.name.clone(),
            messages: state.messages,
            bytes: state.bytes,
            first_sequence: state.first_sequence,
            last_sequence: state.last_sequence,
            oldest: (state.messages > 0).then(|| clock::from_nanos(state.first_timestamp.unix_timestamp_nanos())),
            max_bytes: bound(config.max_bytes),
            max_age_seconds: max_age.map(|age| age.as_secs().max(1)),
            max_messages_per_subject: bound(config.max_messages_per_subject),
            replicas: config.num_replicas.max(1),
            // Whoever answered is one.
            replicas_current: 1 + peers.len() - not_current.len(),
            not_current,
        }
    }
}

/// Why a copy does not count as current, as its leader sees it; `None` when it does.
fn why_not_current(peer: &PeerInfo) -> Option<String> {
    let lag = peer.lag.unwrap_or_default();
    match peer {
        PeerInfo { offline: true, .. } => Some("is offline".to_owned()),
        // A new leader tells nothing else of a server that it has never heard.
        PeerInfo { current: false, active: Duration::ZERO, .. } => Some("was not heard since the election".to_owned()),
        PeerInfo { active, .. } if *active > SILENT_COPY => Some(format!("is silent for {} s", active.as_secs())),
        PeerInfo { current: false, .. } if lag > SMALL_LAG => Some(format!("is {lag} messages behind")),
        _ => None,
    }
}

/// What the broker tells of its streams.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// In the order of the flow; the last one is the object store's, which comes with the first snapshot.
    pub streams: Vec<StreamUsage>,
    /// The streams of which it does not tell: they have no leader, or it cannot be reached.
    pub unanswered: Vec<String>,
}

/// Asks for every stream at once.
pub async fn streams(connection: &Connection) -> Usage {
    let subjects = &connection.subjects;
    let names = [
        subjects.catalog_stream(),
        subjects.days_stream(),
        subjects.clocks_stream(),
        subjects.inbox_stream(),
        subjects.events_stream(),
        subjects.reports_stream(),
        subjects.figures_stream(),
        subjects.rejects_stream(),
        subjects.alerts_stream(),
        subjects.checkpoints_stream(),
    ];
    let answers = futures::future::join_all(names.iter().map(|name| connection.jetstream.get_stream(name))).await;
    let mut usage = Usage::default();
    for (name, answer) in names.into_iter().zip(answers) {
        match answer {
            Ok(stream) => usage.streams.push(StreamUsage::of(stream.cached_info())),
            Err(error) if is_missing(&error) => {}
            Err(error) => {
                tracing::debug!(stream = name, %error, "the broker does not tell of a stream");
                usage.unanswered.push(name);
            }
        }
    }
    usage
}

fn is_missing(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    use async_nats::jetstream::{ErrorCode, context::GetStreamErrorKind};
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Sets the gauges that show it.
pub fn show(usage: &Usage, now: Instant) {
    for stream in &usage.unanswered {
        metrics::gauge!("daybook_stream_replicas_current", "stream" => stream.clone()).set(0.0);
    }
    for usage in &usage.streams {
        let label = || usage.stream.clone();
        metrics::gauge!("daybook_stream_bytes", "stream" => label()).set(usage.bytes as f64);
        metrics::gauge!("daybook_stream_messages", "stream" => label()).set(usage.messages as f64);
        metrics::gauge!("daybook_stream_first_sequence", "stream" => label()).set(usage.first_sequence as f64);
        metrics::gauge!("daybook_stream_replicas", "stream" => label()).set(usage.replicas as f64);
        metrics::gauge!("daybook_stream_replicas_current", "stream" => label()).set(usage.replicas_current as f64);
        let age = usage.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
        metrics::gauge!("daybook_stream_oldest_age_seconds", "stream" => label()).set(age);
        // 0 says that there is no such bound, and takes back one that was.
        metrics::gauge!("daybook_stream_max_bytes", "stream" => label()).set(usage.max_bytes.unwrap_or(0) as f64);
        let max_age = usage.max_age_seconds.unwrap_or(0) as f64;
        metrics::gauge!("daybook_stream_max_age_seconds", "stream" => label()).set(max_age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_current_unless_its_server_is_gone_or_it_is_far_behind() {
        let peer = PeerInfo { name: "n".to_owned(), current: true, active: Duration::ZERO, offline: false, lag: None };
        let heard = Duration::from_millis(300);
        let behind = |lag| PeerInfo { current: false, active: heard, lag: Some(lag), ..peer.clone() };
        let silent = |active| PeerInfo { active, ..peer.clone() };
        for (peer, expected) in [
            (peer.clone(), None),
            (PeerInfo { offline: true, ..peer.clone() }, Some("is offline")),
            (behind(SMALL_LAG), None),
            (behind(SMALL_LAG + 1), Some("is 1001 messages behind")),
            (PeerInfo { active: Duration::ZERO, ..behind(2) }, Some("was not heard since the election")),
            (silent(SILENT_COPY), None),
            (silent(SILENT_COPY + Duration::from_secs(1)), Some("is silent for 11 s")),
        ] {
            assert_eq!(why_not_current(&peer).as_deref(), expected);
        }
    }
}
