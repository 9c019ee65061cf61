//! Publishes recorded events, and drives a clock so that history closes its days as if live.
//!
//! The rule: events up to and including instant t are durable in INBOX before the clock passes t, and the markers due
//! by then stand in INBOX before any later event is published.

use crate::client::Client;
use anyhow::{Context as _, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use daybook_contracts::admin::ClockAdvance;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use daybook_runtime::telemetry;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Duration;

/// Events published and not acknowledged yet, at most.
const WINDOW: usize = 4_096;
/// How long an acknowledgement may take before the event is published again under the same message id.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker or a full INBOX is waited for: less than the broker remembers message ids.
const PATIENCE: Duration = Duration::from_secs(100);
/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// One event in so many begins a trace.
const TRACE_EVERY: u64 = 10_000;
/// Lines that are shown of those that cannot be routed.
const MAX_SHOWN: usize = 10;

/// How events are replayed.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    pub kind: Name,
    /// The field that holds the tenant; not needed when all events are for `tenant`.
    pub tenant_field: String,
    pub tenant: Option<TenantId>,
    /// The field whose time drives the clock, and the clock's name.
    pub clock: Option<(String, Name)>,
}

/// What has been done so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub published: u64,
    pub bytes: u64,
    /// Published again because an acknowledgement did not come, or INBOX was full.
    pub repeated: u64,
    /// Day markers that the clock caused.
    pub markers: u64,
    /// Lines without a tenant that can be published to.
    pub unroutable: u64,
    /// The first of them: line number and reason.
    pub unroutable_shown: Vec<(u64, String)>,
}

/// A replay under way.
pub struct Replayer {
    client: Client,
    jetstream: async_nats::jetstream::Context,
    options: ReplayOptions,
    /// Tells this replay's message ids from those of others.
    session: String,
    waiting: VecDeque<Waiting>,
    clock_at: Option<Instant>,
    next_due: Option<Instant>,
    last_time: Option<Instant>,
    pub tally: Tally,
}

struct Waiting {
    subject: String,
    id: String,
    payload: bytes::Bytes,
    ack: PublishAckFuture,
}

/// What is read of a line before it is published.
struct Routing {
    tenant: TenantId,
    time: Option<Instant>,
}

impl Replayer {
    pub fn new(client: Client, options: ReplayOptions) -> Self {
        let jetstream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(2 * WINDOW)
            .build(client.connection.client.clone());
        let session = client.connection.client.new_inbox();
        Self {
            client,
            jetstream,
            options,
            session,
            waiting: VecDeque::with_capacity(WINDOW),
            clock_at: None,
            next_due: None,
            last_time: None,
            tally: Tally::default(),
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The time that drives the clock, of the last event published.
    pub fn last_time(&self) -> Option<Instant> {
        self.last_time
    }

    /// Publishes one line. `Ok(false)` and nothing done when its time is after `until`.
    ///
    /// # Errors
    /// When broker or day-manager stay away for too long, or the line's time cannot be read.
    pub async fn publish(&mut self, number: u64, line: Vec<u8>, until: Option<Instant>) -> anyhow::Result<bool> {
        let routing = match self.route(&line) {
            Ok(routing) => routing,
            Err(reason) => {
                self.tally.unroutable += 1;
                if self.tally.unroutable_shown.len() < MAX_SHOWN {
                    self.tally.unroutable_shown.push((number, reason));
                }
                return Ok(true);
            }
        };
        if let Some(time) = routing.time {
            if until.is_some_and(|until| time > until) {
                return Ok(false);
            }
            self.pass(time).await?;
            self.last_time = self.last_time.max(Some(time));
        }
        let subject = self.client.connection.subjects.input(routing.tenant.as_str(), self.options.kind.as_str());
        // A line may give several events.
        let id = format!("{}-{}", self.session, self.tally.published);
        let payload = bytes::Bytes::from(line);
        self.tally.bytes += payload.len() as u64;
        if self.waiting.len() >= WINDOW {
            self.acknowledge_one().await?;
        }
        let ack = self.send(&subject, &id, &payload).await?;
        self.waiting.push_back(Waiting { subject, id, payload, ack });
        self.tally.published += 1;
        Ok(true)
    }

    /// Drives the clock to `to`, after everything published so far is durable.
    ///
    /// # Errors
    /// When broker or day-manager stay away for too long.
    pub async fn advance(&mut self, to: Instant) -> anyhow::Result<()> {
        let Some((_, clock)) = &self.options.clock else { return Ok(()) };
        let request = ClockAdvance { clock: clock.clone(), advance_to: to };
        self.flush().await?;
        let reply = self.client.advance(&request).await.context("the clock could not be driven")?;
        self.tally.markers += reply.markers;
        self.clock_at = Some(reply.now);
        self.next_due = reply.next_due;
        Ok(())
    }

    /// Waits until everything published is durable.
    ///
    /// # Errors
    /// When the broker stays away for too long.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            self.acknowledge_one().await?;
        }
        Ok(())
    }

    /// Lets the clock pass everything due before `time`.
    async fn pass(&mut self, time: Instant) -> anyhow::Result<()> {
        let due = match (self.clock_at, self.next_due) {
            (None, _) => true,
            (Some(_), Some(due)) => due < time,
            (Some(_), None) => false,
        };
        if due && self.options.clock.is_some() {
            self.advance(Instant::from_millis(time.as_millis() - 1)).await?;
        }
        Ok(())
    }

    /// Sends one event, waiting for the connection if need be.
    async fn send(&self, subject: &str, id: &str, payload: &bytes::Bytes) -> anyhow::Result<PublishAckFuture> {
        let mut headers = HeaderMap::new();
        if self.tally.published.is_multiple_of(TRACE_EVERY) {
            let span = tracing::info_span!("publish", subject);
            telemetry::inject(&span, &mut headers);
        }
        let began = tokio::time::Instant::now();
        loop {
            let message = PublishMessage::build().headers(headers.clone()).payload(payload.clone()).message_id(id);
            match self.jetstream.send_publish(subject.to_owned(), message).await {
                Ok(ack) => return Ok(ack),
                Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Waits for the oldest event to be acknowledged. If it is not, everything that waits is published again, in order
    /// and under the same message ids: what the broker has already, it acknowledges as a duplicate.
    async fn acknowledge_one(&mut self) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        while let Some(Waiting { subject, id, payload, ack }) = self.waiting.pop_front() {
            let Err(error) = ack.into_future().await else { return Ok(()) };
            if error.kind() == PublishErrorKind::MaxPayloadExceeded {
                bail!("an event on {subject} is larger than the broker takes: {} bytes", payload.len());
            }
            if began.elapsed() > PATIENCE {
                return Err(error).context(format!("an event on {subject} was not acknowledged"));
            }
            tracing::warn!(subject, %error, "publishing again");
            tokio::time::sleep(PAUSE).await;
            let others = std::mem::take(&mut self.waiting).into_iter().map(|w| (w.subject, w.id, w.payload));
            for (subject, id, payload) in std::iter::once((subject, id, payload)).chain(others) {
                let ack = self.send(&subject, &id, &payload).await?;
                self.tally.repeated += 1;
                self.waiting.push_back(Waiting { subject, id, payload, ack });
            }
        }
        Ok(())
    }

    /// Reads where a line goes, and its time.
    fn route(&self, line: &[u8]) -> Result<Routing, String> {
        let clock_field = self.options.clock.as_ref().map(|(field, _)| field.as_str());
        let fields = Fields { tenant: &self.options.tenant_field, clock: clock_field };
        let mut json = serde_json::Deserializer::from_slice(line);
        let found = serde::de::DeserializeSeed::deserialize(fields, &mut json)
            .map_err(|error| format!("not an event: {error}"))?;
        let tenant = match &self.options.tenant {
            Some(tenant) => tenant.clone(),
            None => {
                let tenant =
                    found.tenant.ok_or_else(|| format!("there is no text in {:?}", self.options.tenant_field))?;
                TenantId::new(&tenant).map_err(|error| format!("tenant {tenant:?} {error}"))?
            }
        };
        let time = match (clock_field, found.clock) {
            (None, _) => None,
            (Some(field), None) => return Err(format!("there is no time in {field:?}")),
            (Some(_), Some(text)) => Some(text.parse().map_err(|error| format!("{error}"))?),
        };
        Ok(Routing { tenant, time })
    }
}

/// Picks two fields out of an object, without taking the rest apart.
struct Fields<'f> {
    tenant: &'f str,
    clock: Option<&'f str>,
}

#[derive(Default)]
struct Found<'de> {
    tenant: Option<Cow<'de, str>>,
    clock: Option<Cow<'de, str>>,
}

impl<'de> serde::de::DeserializeSeed<'de> for Fields<'_> {
    type Value = Found<'de>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Fields<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an event as an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let is_tenant = name == self.tenant;
            let is_clock = self.clock.is_some_and(|clock| name == clock);
            if !is_tenant && !is_clock {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
            let value: Option<Cow<'de, str>> = map.next_value()?;
            if is_tenant {
                found.tenant.clone_from(&value);
            }
            if is_clock {
                found.clock = value;
            }
        }
        Ok(found)
    }
}
