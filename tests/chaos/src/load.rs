//! Producers, one for each tenant: each publishes a message until it is acknowledged, then the next.

use crate::event::{Event, Message, Status, What};
use crate::tenants::{DAY_MS, HOUR_MS, MINUTE_MS, Tenant};
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use daybook_random::Random;
use daybook_runtime::connection::Connection;
use serde_json::Value;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two messages of a tenant.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(40);
/// Between two attempts at the same message.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Orders that may still be changed, the newest.
const REMEMBERED: usize = 60;
/// How many days back late events reach: less than a shard keeps, also while the clock runs on.
const LATE_DAYS: i64 = 3;

const CHANNELS: [&str; 3] = ["web", "shop", "phone"];
const PAGES: [&str; 3] = ["home", "search", "basket"];

/// What producers, readers and the driver of the clock share.
pub struct Board {
    pub tenants: Vec<Tenant>,
    /// What was acknowledged, by tenant and in order.
    ledger: Mutex<Vec<Vec<Message>>>,
    /// How far the driven clock is known to be.
    pub clock_ms: AtomicI64,
    pub retries: AtomicU64,
    pub stop: CancellationToken,
}

impl Board {
    pub fn new(tenants: Vec<Tenant>, clock_ms: i64) -> Self {
        let ledger = Mutex::new(vec![Vec::new(); tenants.len()]);
        let (retries, stop) = (AtomicU64::new(0), CancellationToken::new());
        Self { tenants, ledger, clock_ms: AtomicI64::new(clock_ms), retries, stop }
    }

    /// What was acknowledged, by tenant.
    pub fn ledger(&self) -> MutexGuard<'_, Vec<Vec<Message>>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest acknowledged sequence of a tenant, if it was first published at `since` or later.
    pub fn newest(&self, tenant: usize, since: Option<Instant>) -> Option<u64> {
        let ledger = self.ledger();
        let newest = ledger[tenant].last()?;
        since.is_none_or(|since| newest.began >= since).then_some(newest.sequence)
    }

    /// What a tenant's clock says.
    pub fn now_ms(&self, tenant: usize) -> i64 {
        match self.tenants[tenant].is_driven {
            true => self.clock_ms.load(Ordering::SeqCst),
            false => daybook_runtime::clock::now().as_millis(),
        }
    }
}

/// Publishes for a tenant until the run stops; what is under way then is brought to its end.
pub async fn produce(board: std::sync::Arc<Board>, connection: Connection, tenant: usize, seed: u64) {
    let mut producer =
        Producer { board: &board, tenant, random: Random::new(seed), orders: Vec::new(), clicks: Vec::new(), count: 0 };
    let mut tick = tokio::time::interval(PUBLISH_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0_u64.. {
        tokio::select! {
            _ = tick.tick() => {}
            () = board.stop.cancelled() => break,
        }
        let events = producer.message();
        let id = format!("{}-{number}", board.tenants[tenant].id);
        let message = publish(&board, &connection, tenant, &id, events).await;
        board.ledger()[tenant].push(message);
    }
}

async fn publish(board: &Board, connection: &Connection, tenant: usize, id: &str, events: Vec<Event>) -> Message {
    let subject = connection.subjects.input(board.tenants[tenant].id.as_str(), events[0].kind());
    let body = match &events[..] {
        [event] => event.json(),
        events => Value::Array(events.iter().map(Event::json).collect()),
    };
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    let began = Instant::now();
    for attempts in 1.. {
        let sent = connection.jetstream.publish_with_headers(subject.clone(), headers.clone(), body.to_string().into());
        if let Ok(acknowledged) = sent.await
            && let Ok(ack) = acknowledged.await
        {
            return Message { events, sequence: ack.sequence, attempts, began };
        }
        board.retries.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    unreachable!("attempts do not run out")
}

struct Producer<'b> {
    board: &'b Board,
    tenant: usize,
    random: Random,
    /// The newest versions, which are changed again.
    orders: Vec<Event>,
    /// The newest ones, which are said again.
    clicks: Vec<Event>,
    count: u64,
}

impl Producer<'_> {
    /// One event, or some of one kind.
    fn message(&mut self) -> Vec<Event> {
        let count = if self.random.percent(12) { self.random.between(2, 4) } else { 1 };
        let is_click = self.random.percent(30);
        (0..count).map(|_| if is_click { self.click() } else { self.order() }).collect()
    }

    fn click(&mut self) -> Event {
        if !self.clicks.is_empty() && self.random.percent(8) {
            return self.random.pick(&self.clicks).clone();
        }
        let page = *self.random.pick(&PAGES);
        let event =
            Event { id: self.id(), at_ms: self.time(), what: What::Click { page, ms: self.random.between(1, 900) } };
        self.clicks.push(event.clone());
        forget(&mut self.clicks);
        event
    }

    fn order(&mut self) -> Event {
        let is_new = self.orders.is_empty() || self.random.percent(45);
        if is_new {
            let at_ms = self.time();
            let (status, id) = (if self.random.percent(30) { Status::Draft } else { Status::Final }, self.id());
            let event = Event { id, at_ms, what: self.content(1, status) };
            self.orders.push(event.clone());
            forget(&mut self.orders);
            return event;
        }
        let index = self.random.below(self.orders.len() as u64) as usize;
        let known = self.orders[index].clone();
        let What::Order { version, .. } = known.what else { unreachable!("a list of orders") };
        match self.random.below(100) {
            // Said again, or by somebody who is behind.
            0..10 => known,
            10..20 if version > 1 => Event { what: self.content(version - 1, Status::Final), ..known },
            _ => {
                let status = if self.random.percent(20) { Status::Void } else { Status::Final };
                let at_ms = if self.random.percent(20) { self.time() } else { known.at_ms };
                let event = Event { at_ms, what: self.content(version + 1, status), ..known };
                self.orders[index] = event.clone();
                event
            }
        }
    }

    fn content(&mut self, version: u64, status: Status) -> What {
        let channel = *self.random.pick(&CHANNELS);
        What::Order {
            version,
            status,
            channel,
            quantity: self.random.between(1, 9),
            cents: self.random.between(1, 9_999),
        }
    }

    fn id(&mut self) -> String {
        self.count += 1;
        format!("{}", self.count)
    }

    /// Mostly of the last two hours; some late, some early.
    fn time(&mut self) -> i64 {
        let tenant = &self.board.tenants[self.tenant];
        let now = self.board.now_ms(self.tenant);
        let at = match self.random.below(100) {
            0..15 => now - self.random.between(HOUR_MS, LATE_DAYS * DAY_MS),
            15..20 => now + self.random.between(MINUTE_MS, 3 * HOUR_MS),
            _ => now - self.random.between(0, 2 * HOUR_MS),
        };
        at.max(tenant.opens_at_ms(tenant.first_day))
    }
}

fn forget(events: &mut Vec<Event>) {
    if events.len() > REMEMBERED {
        events.remove(0);
    }
}
