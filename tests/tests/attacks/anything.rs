//! Any bytes as header, reply or payload, on any subject of a client's own.
//!
//! Headers and subjects here are such as the services' client library can read. What it cannot read is in `tests/tests/hostile.rs`
//! and in [`malformed`](crate::malformed): each such message costs seconds, so a property would be too slow.

use crate::attack::EVIL;
use crate::documented::{Documented, Standing};
use daybook_tests::orders::order;
use daybook_tests::wire::RawClient;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Handle;

/// Cases, of up to [`MESSAGES`] each.
const CASES: u32 = 64;
const MESSAGES: usize = 40;
/// Attempts at a smaller case that fails.
const SHRINKING: u32 = 48;

/// Headers that mean something to the broker or to Daybook.
const NAMES: [&str; 24] = [
    "Nats-Msg-Id",
    "Nats-Rollup",
    "Nats-TTL",
    "Nats-Schedule",
    "Nats-Schedule-Target",
    "Nats-Schedule-TTL",
    "Nats-Incr",
    "Nats-Batch-Id",
    "Nats-Batch-Sequence",
    "Nats-Batch-Commit",
    "Nats-Stream-Source",
    "Nats-Expected-Stream",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Subject-Sequence",
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-Trace-Dest",
    "Nats-Marker-Reason",
    "Status",
    "traceparent",
    "tracestate",
    "Content-Type",
    "Daybook-Subject",
    "Daybook-Position",
    "Daybook-Inbox-Seq",
];

/// Values that do.
const VALUES: [&str; 16] = [
    "all",
    "sub",
    "1",
    "0",
    "1s",
    "@at 2020-01-01T00:00:00Z",
    "DAYBOOK_DAYS 999999",
    "DAYBOOK_CATALOG 1",
    "DAYBOOK_INBOX",
    "daybook.events.0",
    "daybook.reports.acme.2024-03-01",
    "daybook.in.acme.order",
    "application/msgpack",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "18446744073709551615",
    "-1",
];

/// Subjects that answers should not go to.
const REPLIES: [&str; 15] = [
    "daybook.events.0",
    "daybook.events.3",
    "daybook.days.acme.closed",
    "daybook.catalog.0.kind.order",
    "daybook.clocks.shop",
    "daybook.reports.acme.2024-03-01",
    "daybook.rejects.acme",
    "daybook.alerts.acme",
    "daybook.live.acme.orders",
    "daybook.in.acme.order",
    "daybook.admin.apply",
    "daybook.shard.0",
    "$JS.API.STREAM.PURGE.DAYBOOK_INBOX",
    "$JS.API.STREAM.DELETE.DAYBOOK_EVENTS",
    "_INBOX.>",
];

#[derive(Clone, Debug)]
struct Said {
    subject: Vec<u8>,
    reply: Option<Vec<u8>>,
    headers: Option<Vec<u8>>,
    payload: Vec<u8>,
}

/// Bytes without those that end a word of the protocol.
fn word(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let is_plain = |byte: &u8| !matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n' | 0x0c);
    vec(any::<u8>().prop_filter("no blanks", is_plain), 1..length)
}

/// Characters of any sort, without blanks, wildcards and the end of a token.
fn token() -> impl Strategy<Value = Vec<u8>> {
    "\\PC{1,20}".prop_map(|text| {
        let text: String = text.chars().filter(|c| !c.is_whitespace() && !".*>".contains(*c)).collect();
        if text.is_empty() { b"x".to_vec() } else { text.into_bytes() }
    })
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    let last = prop_oneof![
        Just(b"orders".to_vec()),
        Just(b"clicks".to_vec()),
        prop::sample::select(&["~days", "~reports", "~report", "~rejects", "~alerts", "~views"][..])
            .prop_map(|name| name.as_bytes().to_vec()),
        token(),
    ];
    prop_oneof![
        3 => Just(format!("daybook.in.{EVIL}.order").into_bytes()),
        1 => Just(format!("daybook.in.{EVIL}.click").into_bytes()),
        2 => last.prop_map(|last| [format!("daybook.query.{EVIL}.").as_bytes(), &last].concat()),
    ]
}

fn headers() -> impl Strategy<Value = Vec<u8>> {
    let known = |list: &'static [&'static str]| prop::sample::select(list).prop_map(str::to_owned);
    let name = prop_oneof![3 => known(&NAMES), 1 => "[!-9;-~]{1,12}"];
    let value = prop_oneof![2 => known(&VALUES), 1 => "\\PC{0,40}"];
    vec((name, value), 0..4).prop_map(|lines| {
        let lines: String = lines.into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("NATS/1.0\r\n{lines}\r\n").into_bytes()
    })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let sound = order("evil-1").to_string().into_bytes();
    let damaged = (Just(sound), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut event, index, byte)| {
        let index = index.index(event.len());
        event[index] = byte;
        event
    });
    prop_oneof![2 => damaged, 2 => vec(any::<u8>(), 0..300), 1 => "[\\[\\]{}\",:0-9a-z ]{0,80}".prop_map(String::into_bytes)]
}

fn said() -> impl Strategy<Value = Said> {
    let known = prop::sample::select(&REPLIES[..]).prop_map(|reply| reply.as_bytes().to_vec());
    let reply = prop_oneof![1 => Just(None), 2 => known.prop_map(Some), 1 => word(30).prop_map(Some)];
    (subject(), reply, prop::option::of(headers()), payload()).prop_map(|(subject, reply, headers, payload)| Said {
        subject,
        reply,
        headers,
        payload,
    })
}

/// Says all of it. Whenever the broker hangs up, somebody else goes on. Returns how often it did.
async fn say(daybook: &Documented, all: &[Said]) -> u64 {
    let (url, mut hung_up) = (&daybook.daybook.server.url, 0);
    let mut client = RawClient::connect(url, &daybook.attacker).await.unwrap();
    for Said { subject, reply, headers, payload } in all {
        client.publish(subject, reply.as_deref(), headers.as_deref(), payload).await;
        client.flush().await;
        if client.is_closed {
            hung_up += 1;
            client = RawClient::connect(url, &daybook.attacker).await.unwrap();
        }
    }
    hung_up
}

async fn changes_nothing(daybook: &Documented, before: &Standing, all: &[Said]) -> Result<u64, TestCaseError> {
    let hung_up = say(daybook, all).await;
    let after = daybook.standing().await;
    let differences = before.differences(&after);
    if differences.is_empty() { Ok(hung_up) } else { Err(TestCaseError::fail(differences.join("; "))) }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_of_a_client_leave_others_as_they_are() {
    let daybook = Documented::start().await;
    let before = daybook.standing().await;
    let own = daybook.sight.stream("REJECTS").await.unwrap().last_sequence;
    let (said_in_all, hung_up) = (AtomicU64::new(0), AtomicU64::new(0));
    let handle = Handle::current();
    let outcome = tokio::task::block_in_place(|| {
        let config =
            Config { cases: CASES, max_shrink_iters: SHRINKING, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        runner.run(&vec(said(), MESSAGES / 2..MESSAGES), |all| {
            let count = handle.block_on(changes_nothing(&daybook, &before, &all))?;
            said_in_all.fetch_add(all.len() as u64, Ordering::SeqCst);
            hung_up.fetch_add(count, Ordering::SeqCst);
            Ok(())
        })
    });
    if let Err(TestError::Fail(why, all)) = outcome {
        panic!("{why}\n{all:#?}");
    }
    outcome.unwrap();
    // That there was something to withstand: most of it was taken, and some of it had to be judged.
    let (said_in_all, hung_up) = (said_in_all.into_inner(), hung_up.into_inner());
    assert!(hung_up * 4 < said_in_all, "the broker hung up {hung_up} times after {said_in_all} messages");
    let rejects = daybook.sight.stream("REJECTS").await.unwrap().last_sequence - own;
    assert!(rejects > u64::from(CASES), "{rejects} rejects of {said_in_all} messages");
    assert_eq!(daybook.daybook.server.violations_of_services(), [""; 0]);
}
