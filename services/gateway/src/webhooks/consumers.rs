//! The durable consumer of a target: the broker keeps what its receiver has, and when each further try is due. All processes of the
//! gateway read the same one, and get different alerts of it.

use super::targets::{MAX_TIMEOUT, WebhookTarget};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, Info, ReplayPolicy, pull};
use async_nats::jetstream::context::{ConsumerInfoError, ConsumerInfoErrorKind};
use async_nats::jetstream::stream::{ConsumerErrorKind, Stream};
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::connection::Connection;
use futures::StreamExt as _;
use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

/// How long the broker waits for word of an alert before it delivers it again: longer than a receiver may take to answer. A process that
/// is killed delays the alerts that it was sending by so much.
const ACK_WAIT: Duration = MAX_TIMEOUT.saturating_add(Duration::from_secs(10));
/// Alerts of one target that were tried and are not delivered, at most. Behind them further ones wait in the stream.
const MAX_UNDELIVERED: i64 = 1_024;
/// How long the broker keeps a consumer that no process reads. A target that goes while no gateway runs leaves one.
const INACTIVE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long one pull lasts. One that is lost with the broker's connection delays alerts by 5 s more.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// Longest text that says what is wrong, in bytes.
const MAX_TROUBLE_BYTES: usize = 240;

/// Why the alerts of a target cannot be read, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ReadTrouble(String);

impl ReadTrouble {
    /// `what` went wrong, and each cause of it that says something new; cut where it is long.
    pub(super) fn new(what: &str, error: &dyn Error) -> Self {
        let mut text = what.to_owned();
        let mut cause = Some(error);
        while let Some(error) = cause {
            let told = error.to_string();
            if !text.contains(&told) {
                text = format!("{text}: {told}");
            }
            cause = error.source();
        }
        let end = (0..=MAX_TROUBLE_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        Self(text)
    }
}

/// How far a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetProgress {
    /// Alerts that its receiver does not have. Those that it does not want are among them until they are read.
    pub waiting: u64,
    /// Everything up to this sequence of the stream is delivered or given up.
    pub floor: u64,
}

impl From<&Info> for TargetProgress {
    fn from(info: &Info) -> Self {
        Self { waiting: info.num_pending + info.num_ack_pending as u64, floor: info.ack_floor.stream_sequence }
    }
}

/// What a process saw of a target's consumer last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConsumerSeen {
    /// When it was made, in nanoseconds since 1970: one that is lost and made again is another one.
    created: i128,
    /// Everything up to this sequence of the stream is delivered or given up.
    floor: u64,
}

impl From<&Info> for ConsumerSeen {
    fn from(info: &Info) -> Self {
        Self { created: info.created.unix_timestamp_nanos(), floor: info.ack_floor.stream_sequence }
    }
}

impl ConsumerSeen {
    /// The same consumer when the target is so far.
    pub(super) fn at(self, progress: TargetProgress) -> Self {
        Self { floor: progress.floor, ..self }
    }

    /// Whether `found` is another consumer and skips alerts that were never delivered. A process that did not know this one can have made
    /// it so.
    fn is_skipped_by(self, found: &Info) -> bool {
        Self::from(found).created != self.created
            && match found.config.deliver_policy {
                DeliverPolicy::All => false,
                DeliverPolicy::ByStartSequence { start_sequence } => start_sequence > self.floor + 1,
                _ => true,
            }
    }
}

/// The consumer of a target, as it was found or made.
pub(super) struct TargetConsumer {
    consumer: Consumer<pull::Config>,
    opened: ConsumerSeen,
    /// As this process wants it.
    wanted: pull::Config,
    /// Whose alerts it has.
    tenants: Option<BTreeSet<TenantId>>,
}

impl TargetConsumer {
    /// Finds the consumer, or makes it. `seen` is what this process saw of it last: one that was lost meanwhile goes on there, also where
    /// another process has made it again. One that is new begins with the next alert.
    ///
    /// # Errors
    /// When the broker does not do it.
    pub(super) async fn open(
        connection: &Connection,
        target: &WebhookTarget,
        seen: Option<ConsumerSeen>,
    ) -> Result<Self, ReadTrouble> {
        let stream = stream(connection).await?;
        let name = durable_name(connection, &target.name);
        let config = config(connection, target, seen.map(|seen| seen.floor));
        let cannot =
            |what: &str, error: &dyn Error| ReadTrouble::new(&format!("cannot {what} the consumer {name}"), error);
        let opened = |consumer: Consumer<pull::Config>, wanted| {
            let opened = consumer.cached_info().into();
            Self { consumer, opened, wanted, tenants: target.tenants.clone() }
        };
        let found: Option<Consumer<pull::Config>> = match stream.get_consumer(&name).await {
            Ok(found) if seen.is_some_and(|seen| seen.is_skipped_by(found.cached_info())) => {
                remove(connection, &target.name).await?;
                None
            }
            Ok(found) => Some(found),
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(cannot("find", error.as_ref())),
        };
        let Some(found) = found else {
            tracing::info!(webhook = %target.name, consumer = name, begin = ?config.deliver_policy, "making a target's consumer");
            let made = stream.create_consumer(config.clone()).await.map_err(|error| cannot("make", &error))?;
            return Ok(opened(made, config));
        };
        if is_alike(&found.cached_info().config, &config) {
            return Ok(opened(found, config));
        }
        // The broker refuses another beginning. The position stays, so the beginning does not matter any more.
        let config = pull::Config { deliver_policy: found.cached_info().config.deliver_policy, ..config };
        let changed = stream.update_consumer(config.clone()).await.map_err(|error| cannot("change", &error))?;
        Ok(opened(changed, config))
    }

    /// What was seen of it when it was opened.
    pub(super) fn opened(&self) -> ConsumerSeen {
        self.opened
    }

    /// Whether it has the alerts of these tenants, and no others.
    pub(super) fn is_of(&self, tenants: Option<&BTreeSet<TenantId>>) -> bool {
        self.tenants.as_ref() == tenants
    }

    /// The next alert that is due; nothing when there is none for a while.
    ///
    /// # Errors
    /// When the consumer must be opened again.
    pub(super) async fn next(&self) -> Result<Option<jetstream::Message>, ReadTrouble> {
        let failed = |error: &dyn Error| ReadTrouble::new("the alerts cannot be read", error);
        let pull = self.consumer.batch().max_messages(1).expires(PULL_EXPIRES).messages().await;
        let mut pull = pull.map_err(|error| failed(&error))?;
        pull.next().await.transpose().map_err(|error| failed(error.as_ref()))
    }

    /// How far the target is.
    ///
    /// # Errors
    /// When the broker does not say, or another process has changed the consumer: that one may have an older file, so the consumer
    /// must be opened again.
    pub(super) async fn progress(&self) -> Result<TargetProgress, ReadTrouble> {
        let info = self.consumer.get_info().await;
        let info = info.map_err(|error| ReadTrouble::new("cannot look at the target's consumer", &error))?;
        if !is_alike(&info.config, &self.wanted) {
            return Err(ReadTrouble("another process has changed the target's consumer".to_owned()));
        }
        if self.opened.is_skipped_by(&info) {
            return Err(ReadTrouble("another process has made the target's consumer again".to_owned()));
        }
        Ok((&info).into())
    }
}

/// Removes the consumer of a target that is gone. One that is not there is removed already.
///
/// # Errors
/// When the broker does not do it.
pub(super) async fn remove(connection: &Connection, target: &Name) -> Result<(), ReadTrouble> {
    let name = durable_name(connection, target);
    match stream(connection).await?.delete_consumer(&name).await {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(told) if told.error_code() == jetstream::ErrorCode::CONSUMER_NOT_FOUND => {
                Ok(())
            }
            _ => Err(ReadTrouble::new(&format!("cannot remove the consumer {name}"), &error)),
        },
    }
}

fn durable_name(connection: &Connection, target: &Name) -> String {
    connection.subjects.webhook_consumer(target.as_str())
}

async fn stream(connection: &Connection) -> Result<Stream, ReadTrouble> {
    let name = connection.subjects.alerts_stream();
    let stream = connection.jetstream.get_stream(&name).await;
    stream.map_err(|error| ReadTrouble::new(&format!("cannot look at the stream {name}"), &error))
}

fn is_absent(error: &async_nats::Error) -> bool {
    error.downcast_ref::<ConsumerInfoError>().is_some_and(|error| error.kind() == ConsumerInfoErrorKind::NotFound)
}

fn config(connection: &Connection, target: &WebhookTarget, floor: Option<u64>) -> pull::Config {
    let subjects = &connection.subjects;
    let filters = match &target.tenants {
        Some(tenants) => tenants.iter().map(|tenant| subjects.alerts(tenant.as_str())).collect(),
        None => vec![subjects.alerts("*")],
    };
    pull::Config {
        durable_name: Some(durable_name(connection, &target.name)),
        description: Some(format!("Daybook sends alerts to the webhook {} here", target.name)),
        deliver_policy: match floor {
            Some(floor) => DeliverPolicy::ByStartSequence { start_sequence: floor + 1 },
            None => DeliverPolicy::New,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // Tries are counted by the gateway, which must hear of the last one.
        max_deliver: -1,
        max_ack_pending: MAX_UNDELIVERED,
        inactive_threshold: INACTIVE,
        filter_subjects: filters,
        replay_policy: ReplayPolicy::Instant,
        ..pull::Config::default()
    }
}

/// Whether a consumer as the broker has it does what is wanted.
fn is_alike(stored: &jetstream::consumer::Config, wanted: &pull::Config) -> bool {
    let filters = match stored.filter_subject.is_empty() {
        true => &stored.filter_subjects,
        false => &vec![stored.filter_subject.clone()],
    };
    *filters == wanted.filter_subjects
        && stored.ack_wait == wanted.ack_wait
        && stored.max_ack_pending == wanted.max_ack_pending
        && stored.inactive_threshold == wanted.inactive_threshold
}
