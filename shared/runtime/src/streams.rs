//! The streams, and making them. Every service calls [`ensure`] when it starts; whoever comes first makes them.

use crate::connection::{BrokerOptions, Connection, StreamError};
use crate::retention::Retention;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, Source, StorageType, SubjectTransform};
use std::collections::HashMap;
use std::time::Duration;

/// Key in INBOX's metadata under which the number of partitions is kept.
const PARTITIONS_KEY: &str = "daybook-partitions";
/// Largest message that INBOX and EVENTS take, in bytes: the broker's default payload limit.
pub const MAX_MESSAGE_BYTES: i32 = 1 << 20;
/// How long the broker remembers a `Nats-Msg-Id` in the streams that only services write to; they set none.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The same for INBOX, which all tenants share: the id of one would make the acknowledged event of another vanish. For a stream
/// that has sources none means none.
const NO_DUPLICATE_WINDOW: Duration = Duration::ZERO;
/// A tenant's share of REJECTS: one part in so many of its bytes, where messages have [`REJECTS_MESSAGE_BYTES`].
const REJECTS_SHARE: i64 = 4;
/// About the largest message of REJECTS, in bytes.
pub const REJECTS_MESSAGE_BYTES: usize = 64 << 10;
/// Messages of REJECTS that a tenant has at least and at most, whatever the stream may take.
const REJECTS_MESSAGES: [i64; 2] = [64, 4_096];
/// A tenant's share of ALERTS: one part in so many of its bytes, where messages have [`ALERTS_MESSAGE_BYTES`].
const ALERTS_SHARE: i64 = 4;
/// About the most that a message of ALERTS has, in bytes: the dimensions of a group, with each character written as an escape,
/// and its figures.
const ALERTS_MESSAGE_BYTES: i64 = 32 << 10;
/// Messages of ALERTS that a tenant has at least and at most, whatever the stream may take.
const ALERTS_MESSAGES: [i64; 2] = [1_024, 65_536];
/// Messages that CLOCKS keeps of a clock: where it stands is not lost with what someone else writes there.
const CLOCK_MESSAGES: i64 = 16;
/// Messages that FIGURES keeps of a view's day, for the same reason.
const FIGURES_MESSAGES: i64 = 2;

/// Makes the streams that do not exist yet, and checks the number of partitions.
///
/// # Errors
/// When a stream cannot be made, or INBOX was made for another number of partitions.
pub async fn ensure(connection: &Connection, options: &BrokerOptions) -> Result<(), StreamError> {
    // Sources must exist before the stream that takes from them.
    for config in configs(connection, options) {
        let name = config.name.clone();
        let wanted = options.partitions;
        let is_inbox = name == connection.subjects.inbox_stream();
        let stream = connection
            .jetstream
            .get_or_create_stream(config)
            .await
            .map_err(|source| StreamError::Create { name, source })?;
        if is_inbox {
            let stored = stream.cached_info().config.metadata.get(PARTITIONS_KEY).cloned().unwrap_or_default();
            if stored != wanted.to_string() {
                return Err(StreamError::Partitions { stored, wanted });
            }
        }
    }
    Ok(())
}

/// Brings streams that an earlier build made, or that were made with other options, to what this process is told. The number of
/// partitions stays, and so does what retentions say.
///
/// # Errors
/// When the broker refuses, or does not answer; what was changed before stays changed.
pub async fn update(connection: &Connection, options: &BrokerOptions) -> Result<(), StreamError> {
    for wanted in configs(connection, options) {
        let name = wanted.name.clone();
        let failed = |source: async_nats::Error| StreamError::Update { name: name.clone(), source };
        let stream = connection.jetstream.get_stream(&name).await.map_err(|error| failed(error.into()))?;
        let stored = stream.cached_info().config.clone();
        let updated = Config {
            max_bytes: wanted.max_bytes,
            max_messages_per_subject: wanted.max_messages_per_subject,
            discard_new_per_subject: wanted.discard_new_per_subject,
            // Of a stream with a retention it may be shorter; only INBOX has none at all.
            duplicate_window: if wanted.duplicate_window.is_zero() { Duration::ZERO } else { stored.duplicate_window },
            ..stored.clone()
        };
        if updated != stored {
            connection.jetstream.update_stream(updated).await.map_err(|error| failed(error.into()))?;
            tracing::info!(stream = name, "the bounds of a stream are changed");
        }
    }
    Ok(())
}

/// Has the broker drop what is older than `retention` from a stream that exists.
///
/// # Errors
/// When the broker refuses, or does not answer; nothing is changed then.
pub async fn keep_for(connection: &Connection, name: &str, retention: Retention) -> Result<(), async_nats::Error> {
    let max_age = retention.age().unwrap_or_default();
    let stream = connection.jetstream.get_stream(name).await?;
    let config = stream.cached_info().config.clone();
    if config.max_age == max_age {
        return Ok(());
    }
    // The broker does not remember ids for longer than it keeps messages.
    let duplicate_window = retention.age().map_or(DUPLICATE_WINDOW, |age| age.min(DUPLICATE_WINDOW));
    connection.jetstream.update_stream(Config { max_age, duplicate_window, ..config }).await?;
    tracing::info!(stream = name, %retention, "the retention is changed");
    Ok(())
}

/// The number of partitions that INBOX was made for.
pub fn partitions_of(inbox: &async_nats::jetstream::stream::Info) -> Option<u16> {
    inbox.config.metadata.get(PARTITIONS_KEY)?.parse().ok()
}

/// Messages of REJECTS that a tenant may have; the oldest make way for new ones.
fn rejects_of_a_tenant(max_bytes: i64) -> i64 {
    let [least, most] = REJECTS_MESSAGES;
    (max_bytes / REJECTS_SHARE / REJECTS_MESSAGE_BYTES as i64).clamp(least, most)
}

/// Messages of ALERTS that a tenant may have; the oldest make way for new ones.
fn alerts_of_a_tenant(max_bytes: i64) -> i64 {
    let [least, most] = ALERTS_MESSAGES;
    (max_bytes / ALERTS_SHARE / ALERTS_MESSAGE_BYTES).clamp(least, most)
}

fn configs(connection: &Connection, options: &BrokerOptions) -> Vec<Config> {
    let subjects = &connection.subjects;
    let [events, days, catalog] = subjects.inbox_transforms(options.partitions);
    let transform = |(source, destination): (String, String)| SubjectTransform { source, destination };
    let base = |name: String, subject: String| Config {
        name,
        subjects: vec![subject],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: usize::from(options.stream_replicas),
        max_message_size: MAX_MESSAGE_BYTES,
        duplicate_window: DUPLICATE_WINDOW,
        discard: DiscardPolicy::New,
        allow_direct: true,
        ..Config::default()
    };
    let record = |name: String, subject: String| Config { deny_delete: true, deny_purge: true, ..base(name, subject) };
    vec![
        // Definitions and day markers are read from the beginning, so nothing of them is ever dropped.
        record(subjects.catalog_stream(), subjects.every_catalog()),
        record(subjects.days_stream(), subjects.every_day()),
        Config {
            max_messages_per_subject: CLOCK_MESSAGES,
            discard: DiscardPolicy::Old,
            ..base(subjects.clocks_stream(), subjects.clock("*"))
        },
        Config {
            subject_transform: Some(transform(events)),
            sources: Some(vec![
                Source { name: subjects.days_stream(), subject_transforms: vec![transform(days)], ..Source::default() },
                Source {
                    name: subjects.catalog_stream(),
                    subject_transforms: vec![transform(catalog)],
                    ..Source::default()
                },
            ]),
            max_bytes: options.inbox_max_bytes,
            // A tenant that publishes more of a kind than is recorded is refused, and nobody else.
            max_messages_per_subject: options.inbox_max_messages_per_kind,
            discard_new_per_subject: true,
            duplicate_window: NO_DUPLICATE_WINDOW,
            metadata: HashMap::from([(PARTITIONS_KEY.to_owned(), options.partitions.to_string())]),
            ..base(subjects.inbox_stream(), subjects.every_input())
        },
        // Nobody can take a batch out of the middle. Its beginning may be trimmed (docs/decisions/0015-retention.md), and
        // the broker never lets a stream that denies that once allow it later.
        Config { deny_delete: true, ..base(subjects.events_stream(), subjects.every_events()) },
        // What was sealed for a removed tenant may be purged; nothing is deleted one by one.
        Config { deny_delete: true, ..base(subjects.reports_stream(), subjects.reports_of("*")) },
        // Only the newest version of each is of use: the log has the others.
        Config {
            max_messages_per_subject: FIGURES_MESSAGES,
            discard: DiscardPolicy::Old,
            ..base(subjects.figures_stream(), subjects.every_figures())
        },
        Config {
            max_bytes: options.inbox_max_bytes,
            max_messages_per_subject: rejects_of_a_tenant(options.inbox_max_bytes),
            discard: DiscardPolicy::Old,
            ..base(subjects.rejects_stream(), subjects.rejects("*"))
        },
        Config {
            max_bytes: options.inbox_max_bytes,
            max_messages_per_subject: alerts_of_a_tenant(options.inbox_max_bytes),
            discard: DiscardPolicy::Old,
            ..base(subjects.alerts_stream(), subjects.alerts("*"))
        },
    ]
}
