//! A hostile tenant: a client with a tenant's documented reach, which floods, and forges replies and headers, while faults strike.
//! Nobody is told of it: every figure of the others must be right as it is.
//!
//! It sends nothing that a client library cannot read (`tests/tests/attacks/malformed.rs`): that is another fault.

use crate::load::Board;
use crate::tenants::HOSTILE;
use daybook_random::Random;
use daybook_tests::wire::{Login, RawClient};
use std::sync::Arc;
use std::time::Duration;

/// Between two of its doings.
const INTERVAL: Duration = Duration::from_millis(250);
/// Messages at a time: a few tens a second, so that two cores have time for faults and figures.
const MESSAGES: u64 = 6;
/// One of so many times it floods instead, with so many messages.
const FLOOD_ONE_IN: usize = 20;
const FLOOD: u64 = 200;

/// Where answers should not go.
const REPLIES: [&str; 16] = [
    "daybook.events.0",
    "daybook.events.3",
    "daybook.days.acme.closed",
    "daybook.days.bloom.opened",
    "daybook.catalog.0.kind.order",
    "daybook.catalog.1.tenant.acme",
    "daybook.clocks.chaos",
    "daybook.reports.acme.2024-03-02",
    "daybook.figures.acme.2024-03-02.orders",
    "daybook.rejects.acme",
    "daybook.in.acme.order",
    "daybook.in.cobalt.click",
    "daybook.admin.close",
    "daybook.shard.2",
    "$JS.API.STREAM.PURGE.DAYBOOK_INBOX",
    "$JS.API.STREAM.DELETE.DAYBOOK_EVENTS",
];

/// What the broker, or a service, should not do for it.
const HEADERS: [&str; 12] = [
    "Nats-Msg-Id: acme-7",
    "Nats-Msg-Id: today-12",
    "Nats-Rollup: all",
    "Nats-TTL: 1s",
    "Nats-Schedule: @at 2020-01-01T00:00:00Z\r\nNats-Schedule-Target: daybook.in.acme.order",
    "Nats-Incr: +1",
    "Nats-Batch-Id: b\r\nNats-Batch-Sequence: 1",
    "Nats-Stream-Source: DAYBOOK_DAYS 999999",
    "Nats-Expected-Last-Subject-Sequence: 0",
    "Nats-Trace-Dest: daybook.events.1",
    "Daybook-Subject: daybook.events.1",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
];

/// Attacks until the run stops, through whichever broker lets it in. Returns how many messages it sent.
pub async fn attack(board: Arc<Board>, urls: String, seed: u64) -> u64 {
    let urls: Vec<&str> = urls.split(',').collect();
    let login = Login::Password(HOSTILE.to_owned(), HOSTILE.to_owned());
    let (mut random, mut connected, mut sent) = (Random::new(seed), None, 0);
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = board.stop.cancelled() => return sent,
        }
        let mut client = match connected.take() {
            Some(client) => client,
            None => match RawClient::connect(random.pick::<&str>(&urls), &login).await {
                Ok(client) => client,
                // A broker that is down, or not there yet.
                Err(_) => continue,
            },
        };
        let count = if random.one_in(FLOOD_ONE_IN) { FLOOD } else { MESSAGES };
        for _ in 0..count {
            one(&mut client, &mut random).await;
        }
        client.flush().await;
        sent += count;
        // Complaints and answers are of no interest.
        client.heard.clear();
        client.errors.clear();
        connected = (!client.is_closed).then_some(client);
    }
}

async fn one(client: &mut RawClient, random: &mut Random) {
    let subject = match random.below(10) {
        0..5 => format!("daybook.in.{HOSTILE}.order"),
        5..7 => format!("daybook.in.{HOSTILE}.click"),
        7 => format!("daybook.query.{HOSTILE}.orders"),
        8 => format!("daybook.query.{HOSTILE}.~rejects"),
        _ => (*random.pick(&REPLIES)).to_owned(),
    };
    let payload = match random.below(4) {
        0 => r#"{"id": "1", "version": 9, "at": "2024-03-01T12:00:00Z", "dims": {}, "measures": {}}"#.to_owned(),
        1 => format!("[{}0]", "0,".repeat(200)),
        2 => "{}".to_owned(),
        _ => "x".repeat(random.below(2_000_usize)),
    };
    let headers = random.percent(50).then(|| format!("NATS/1.0\r\n{}\r\n\r\n", random.pick(&HEADERS)));
    let reply = random.percent(70).then(|| random.pick(&REPLIES).as_bytes());
    client.publish(subject.as_bytes(), reply, headers.as_deref().map(str::as_bytes), payload.as_bytes()).await;
}
