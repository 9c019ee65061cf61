//! What each stream takes on the broker's disk, and what bounds it.

use crate::clock;
use crate::connection::Connection;
use daybook_domain::time::Instant;
use serde::Serialize;
use std::time::Duration;

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
}

impl StreamUsage {
    fn of(info: &async_nats::jetstream::stream::Info) -> Self {
        let (config, state) = (&info.config, &info.state);
        let bound = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let max_age = Some(config.max_age).filter(|age| *age > Duration::ZERO);
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
        }
    }
}

/// Of every stream that there is, in the order of the flow; the last one is the object store's.
///
/// # Errors
/// When the broker does not answer.
pub async fn streams(connection: &Connection) -> Result<Vec<StreamUsage>, async_nats::Error> {
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
        subjects.checkpoints_stream(),
    ];
    let mut streams = Vec::with_capacity(names.len());
    for name in names {
        match connection.jetstream.get_stream(&name).await {
            Ok(stream) => streams.push(StreamUsage::of(stream.cached_info())),
            // The object store comes with the first snapshot.
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(streams)
}

fn is_missing(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    use async_nats::jetstream::{ErrorCode, context::GetStreamErrorKind};
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Sets the gauges that show it.
pub fn show(streams: &[StreamUsage], now: Instant) {
    for usage in streams {
        let label = || usage.stream.clone();
        metrics::gauge!("daybook_stream_bytes", "stream" => label()).set(usage.bytes as f64);
        metrics::gauge!("daybook_stream_messages", "stream" => label()).set(usage.messages as f64);
        metrics::gauge!("daybook_stream_first_sequence", "stream" => label()).set(usage.first_sequence as f64);
        let age = usage.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
        metrics::gauge!("daybook_stream_oldest_age_seconds", "stream" => label()).set(age);
        // 0 says that there is no such bound, and takes back one that was.
        metrics::gauge!("daybook_stream_max_bytes", "stream" => label()).set(usage.max_bytes.unwrap_or(0) as f64);
        let max_age = usage.max_age_seconds.unwrap_or(0) as f64;
        metrics::gauge!("daybook_stream_max_age_seconds", "stream" => label()).set(max_age);
    }
}
