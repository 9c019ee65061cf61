//! Messages whose headers are not well formed. The broker stores and delivers them; the client library as it is published ends its
//! connection at each (docs/decisions/0020), and all tenants wait.

use crate::attack::{EVIL, VICTIM};
use crate::documented::Documented;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_domain::ids::{InboxSeq, TenantId};
use daybook_tests::orders::{FIRST_DAY, order};
use daybook_tests::wire::RawClient;
use std::time::{Duration, Instant};

/// Malformed messages of the hostile tenant.
const MALFORMED: usize = 20;
/// How long the others may have to wait for their figures behind them.
const HELD_UP: Duration = Duration::from_secs(10);

/// Headers that the client library as published refuses, panics at, or takes for the broker's own words.
const HEADERS: [&[u8]; 5] = [
    b"NATS/1.0\r\nA: \xff\r\n\r\n",
    b"NATS/1.0\r\nA b\x01: c\r\n\r\n",
    b"hello\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0\r\nA: b\rc\r\n\r\n",
];

/// Pause after each question of the victim. A malformed one goes right before the next.
const QUESTION_INTERVAL: Duration = Duration::from_millis(100);
/// Questions of another tenant meanwhile, of which most must be answered.
const QUESTIONS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_questions_keep_nobody_from_answers() {
    let daybook = Documented::start().await;
    let mut evil = RawClient::connect(&daybook.daybook.server.url, &daybook.attacker).await.unwrap();
    let subject = format!("daybook.query.{EVIL}.orders");
    let mut answered = 0;
    for _ in 0..QUESTIONS {
        evil.publish(subject.as_bytes(), None, Some(b"hello\r\n\r\n"), b"{}").await;
        evil.flush().await;
        let asked =
            daybook.daybook.client.connection.client.request(format!("daybook.query.{VICTIM}.orders"), "{}".into());
        answered +=
            usize::from(tokio::time::timeout(Duration::from_secs(2), asked).await.is_ok_and(|answer| answer.is_ok()));
        tokio::time::sleep(QUESTION_INTERVAL).await;
    }
    assert!(answered * 10 >= QUESTIONS * 9, "{answered} of {QUESTIONS} questions are answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_hold_nobody_up() {
    let daybook = Documented::start().await;
    let subject = format!("daybook.in.{EVIL}.order");
    let mut evil = RawClient::connect(&daybook.daybook.server.url, &daybook.attacker).await.unwrap();
    for number in 0..MALFORMED {
        evil.publish(subject.as_bytes(), None, Some(HEADERS[number % HEADERS.len()]), b"x").await;
    }
    evil.flush().await;
    assert!(!evil.is_closed);
    let began = Instant::now();
    let connection = &daybook.daybook.client.connection;
    for tenant in &daybook.others {
        let subject = connection.subjects.input(tenant.as_str(), "order");
        let mut event = order("behind");
        event["at"] = "2024-03-02T12:00:00Z".into();
        let ack = connection.jetstream.publish(subject, event.to_string().into()).await.unwrap().await.unwrap();
        let day = DaySelector::Date(FIRST_DAY.parse::<daybook_domain::time::Date>().unwrap().plus(1));
        let query = Query { at_least: Some(InboxSeq(ack.sequence)), ..Query::days(day) };
        let mut answer = daybook.daybook.client.query(tenant, "orders", &query).await;
        while answer.is_err() && began.elapsed() < 60 * HELD_UP {
            answer = daybook.daybook.client.query(tenant, "orders", &query).await;
        }
        assert_eq!(answer.unwrap().rows[0].get("orders").unwrap().to_string(), "1", "{tenant}");
        println!("{tenant} waited {:?}", began.elapsed());
    }
    assert!(began.elapsed() < HELD_UP, "{} was held up for {:?}", VICTIM, began.elapsed());
    daybook.daybook.client.settle().await.unwrap();
    let rejects = daybook.daybook.client.asker.rejects(&TenantId::new(EVIL).unwrap(), 10_000).await.unwrap().0;
    assert_eq!(rejects.len(), MALFORMED + 1, "each is rejected once");
}
