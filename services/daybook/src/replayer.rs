//! Publishes recorded events, and drives a clock so that history closes its days as if live.
//!
//! The rule: events up to and including instant t are durable in INBOX before the clock passes t, and the markers due
//! by then stand in INBOX before any later event is published.

use crate::acknowledged::Acknowledged;
use crate::client::Client;
use crate::fact_ids::{FactIds, OwnId};
use anyhow::{Context as _, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::headers;
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::Instant;
use daybook_mapping::Refused;
use daybook_runtime::telemetry;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Duration;

/// Events published and not acknowledged yet, at most.
const WINDOW: usize = 4_096;
/// Bytes of events published and not acknowledged yet: as many as the file is read ahead. One longer event goes by itself.
const WINDOW_BYTES: usize = 64 << 20;
/// How long an acknowledgement may take before the event is published again.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker or a full INBOX is waited for: an upgrade or a restart of a broker is over by then.
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
    /// The kind of all events; `None` when each says its own in `kind`.
    pub kind: Option<Name>,
    /// The field that holds the tenant; not needed when all events are for `tenant`.
    pub tenant_field: String,
    pub tenant: Option<TenantId>,
    /// The field whose time drives the clock, and the clock's name.
    pub clock: Option<(String, Name)>,
    /// Gives ids to facts that have none; without it they are published as they are, and count again when that is repeated.
    pub fact_ids: Option<FactIds>,
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
    /// Events that could not be published, for they are none, or name no tenant or kind.
    pub unroutable: u64,
    /// The first of them: line number and reason.
    pub unroutable_shown: Vec<(u64, String)>,
}

/// A replay under way.
pub struct Replayer {
    client: Client,
    jetstream: async_nats::jetstream::Context,
    options: ReplayOptions,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Where what was published stands in INBOX.
    pub acknowledged: Acknowledged,
    clock_at: Option<Instant>,
    next_due: Option<Instant>,
    last_time: Option<Instant>,
    pub tally: Tally,
}

struct Waiting {
    subject: String,
    line: u64,
    payload: bytes::Bytes,
    /// What it says in [`headers::UNMAPPED`].
    unmapped: Option<String>,
    ack: PublishAckFuture,
}

/// What is read of a line before it is published.
struct Routing {
    tenant: TenantId,
    kind: Name,
    time: Option<Instant>,
    id: OwnId,
}

impl Replayer {
    pub fn new(client: Client, options: ReplayOptions) -> Self {
        let jetstream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(2 * WINDOW)
            .build(client.connection.client.clone());
        Self {
            client,
            jetstream,
            options,
            waiting: VecDeque::with_capacity(WINDOW),
            waiting_bytes: 0,
            acknowledged: Acknowledged::default(),
            clock_at: None,
            next_due: None,
            last_time: None,
            tally: Tally::default(),
        }
    }

    /// The time that drives the clock, of the last event published.
    pub fn last_time(&self) -> Option<Instant> {
        self.last_time
    }

    /// Publishes the event on line `number`. `Ok(false)` and nothing done when its time is after `until`.
    ///
    /// # Errors
    /// When broker or day-manager stay away for too long, or the event's time cannot be read.
    pub async fn publish(&mut self, number: u64, event: Vec<u8>, until: Option<Instant>) -> anyhow::Result<bool> {
        let routing = match self.route(&event) {
            Ok(routing) => routing,
            Err(reason) => {
                self.pass_over(number, reason);
                return Ok(true);
            }
        };
        if let Some(time) = routing.time
            && until.is_some_and(|until| time > until)
        {
            return Ok(false);
        }
        let event = match &mut self.options.fact_ids {
            Some(ids) => ids.complete(routing.kind.as_str(), number, routing.id, event),
            None => event,
        };
        let most = self.client.connection.client.server_info().max_payload;
        if event.len() > most {
            self.pass_over(number, format!("it is {} bytes long; the broker takes {most}", event.len()));
            return Ok(true);
        }
        if let Some(time) = routing.time {
            self.pass(time).await?;
            self.last_time = self.last_time.max(Some(time));
        }
        let subject = self.client.connection.subjects.input(routing.tenant.as_str(), routing.kind.as_str());
        self.tally.bytes += event.len() as u64;
        self.put(subject, number, event.into(), None).await?;
        self.tally.published += 1;
        Ok(true)
    }

    /// Publishes a piece of line `number` that no mapping makes an event of, so that it is rejected for that reason.
    ///
    /// # Errors
    /// When the broker stays away for too long.
    pub async fn publish_unmapped(&mut self, number: u64, refused: Refused) -> anyhow::Result<()> {
        let Refused { tenant, kind, piece, why } = refused;
        let subject = self.client.connection.subjects.input(&tenant, kind.as_str());
        self.put(subject, number, piece.into(), Some(why)).await
    }

    /// Publishes a message, and waits for others to be acknowledged where there are too many.
    async fn put(
        &mut self,
        subject: String,
        line: u64,
        payload: bytes::Bytes,
        unmapped: Option<String>,
    ) -> anyhow::Result<()> {
        while self.waiting.len() >= WINDOW
            || (self.waiting_bytes + payload.len() > WINDOW_BYTES && !self.waiting.is_empty())
        {
            self.acknowledge_one().await?;
        }
        let ack = self.send(&subject, &payload, unmapped.as_deref()).await?;
        self.waiting_bytes += payload.len();
        self.waiting.push_back(Waiting { subject, line, payload, unmapped, ack });
        Ok(())
    }

    /// Notes that the event on line `number` is not published, and why.
    pub fn pass_over(&mut self, number: u64, reason: String) {
        self.tally.unroutable += 1;
        if self.tally.unroutable_shown.len() < MAX_SHOWN {
            self.tally.unroutable_shown.push((number, reason));
        }
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
    async fn send(
        &self,
        subject: &str,
        payload: &bytes::Bytes,
        unmapped: Option<&str>,
    ) -> anyhow::Result<PublishAckFuture> {
        let mut headers = HeaderMap::new();
        if let Some(why) = unmapped {
            headers.insert(headers::UNMAPPED, why);
        }
        if self.tally.published.is_multiple_of(TRACE_EVERY) {
            let span = tracing::info_span!("publish", subject);
            telemetry::inject(&span, &mut headers);
        }
        let began = tokio::time::Instant::now();
        loop {
            let message = PublishMessage::build().headers(headers.clone()).payload(payload.clone());
            match self.jetstream.send_publish(subject.to_owned(), message).await {
                Ok(ack) => return Ok(ack),
                Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Waits for the oldest event to be acknowledged. If it is not, everything that waits is published again, in order. The
    /// broker may have some of it already: such events stand in INBOX twice, and count once by their ids.
    async fn acknowledge_one(&mut self) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        while let Some(Waiting { subject, line, payload, unmapped, ack }) = self.waiting.pop_front() {
            let error = match ack.into_future().await {
                Ok(ack) => {
                    self.waiting_bytes -= payload.len();
                    self.acknowledged.add(InboxSeq(ack.sequence), line);
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.kind() == PublishErrorKind::MaxPayloadExceeded {
                bail!("line {line}: the event on {subject} is larger than the broker takes: {} bytes", payload.len());
            }
            if began.elapsed() > PATIENCE {
                return Err(error).context(format!("line {line}: the event on {subject} was not acknowledged"));
            }
            tracing::warn!(subject, %error, "publishing again");
            tokio::time::sleep(PAUSE).await;
            let others = std::mem::take(&mut self.waiting);
            let others = others.into_iter().map(|w| (w.subject, w.line, w.payload, w.unmapped));
            for (subject, line, payload, unmapped) in std::iter::once((subject, line, payload, unmapped)).chain(others)
            {
                let ack = self.send(&subject, &payload, unmapped.as_deref()).await?;
                self.tally.repeated += 1;
                self.waiting.push_back(Waiting { subject, line, payload, unmapped, ack });
            }
        }
        Ok(())
    }

    /// Reads where an event goes, its time, and whether it has an id.
    fn route(&self, line: &[u8]) -> Result<Routing, String> {
        let clock_field = self.options.clock.as_ref().map(|(field, _)| field.as_str());
        let has_kind = self.options.kind.is_none();
        let fields = Fields { tenant: &self.options.tenant_field, clock: clock_field, has_kind };
        let begin = line.as_ptr().addr();
        let mut json = serde_json::Deserializer::from_slice(line);
        let found = serde::de::DeserializeSeed::deserialize(fields, &mut json)
            .and_then(|found| json.end().map(|()| found))
            .map_err(|error| format!("not an event: {error}"))?;
        let tenant = match &self.options.tenant {
            Some(tenant) => tenant.clone(),
            None => {
                let tenant =
                    found.tenant.ok_or_else(|| format!("there is no text in {:?}", self.options.tenant_field))?;
                TenantId::new(&tenant).map_err(|error| format!("tenant {tenant:?} {error}"))?
            }
        };
        let kind = match &self.options.kind {
            Some(kind) => kind.clone(),
            None => {
                let kind = found.kind.ok_or("there is no text in \"kind\"; add it, or give --kind")?;
                Name::new(&kind).map_err(|error| format!("kind {kind:?} {error}"))?
            }
        };
        let id = match found.id {
            None if found.names_by_id => OwnId::Present,
            None => OwnId::Absent,
            Some(raw) if raw.get() == "null" => OwnId::Null { at: raw.get().as_ptr().addr() - begin },
            Some(_) => OwnId::Present,
        };
        let time = match (clock_field, found.clock) {
            (None, _) => None,
            (Some(field), None) => return Err(format!("there is no time in {field:?}")),
            (Some(_), Some(text)) => Some(text.parse().map_err(|error| format!("{error}"))?),
        };
        Ok(Routing { tenant, kind, time, id })
    }
}

/// Picks some fields out of an object, without taking the rest apart.
struct Fields<'f> {
    tenant: &'f str,
    clock: Option<&'f str>,
    /// Whether the event says its kind.
    has_kind: bool,
}

#[derive(Default)]
struct FoundFields<'de> {
    tenant: Option<Cow<'de, str>>,
    clock: Option<Cow<'de, str>>,
    kind: Option<Cow<'de, str>>,
    id: Option<&'de RawValue>,
    /// Whether the id is the tenant or the time, too.
    names_by_id: bool,
}

impl<'de> serde::de::DeserializeSeed<'de> for Fields<'_> {
    type Value = FoundFields<'de>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Fields<'_> {
    type Value = FoundFields<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an event as an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<FoundFields<'de>, A::Error> {
        let mut found = FoundFields::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let is_tenant = name == self.tenant;
            let is_clock = self.clock.is_some_and(|clock| name == clock);
            let is_kind = self.has_kind && name == "kind";
            if !is_tenant && !is_clock && !is_kind {
                match name.as_ref() {
                    "id" => found.id = Some(map.next_value()?),
                    _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                }
                continue;
            }
            // One field may be several of these.
            let value: Option<Cow<'de, str>> = map.next_value()?;
            found.names_by_id |= name == "id";
            if is_tenant {
                found.tenant.clone_from(&value);
            }
            if is_kind {
                found.kind.clone_from(&value);
            }
            if is_clock {
                found.clock = value;
            }
        }
        Ok(found)
    }
}
