//! Questions that travel to a shard together: each has its own answer, whatever becomes of the others, and shards of an earlier build
//! are asked one by one.

use async_nats::Message;
use bytes::Bytes;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, Position};
use daybook_contracts::bundle::{MARK, MAX_QUESTIONS, QuestionBundle, Said, is_bundle, read_answers, read_questions};
use daybook_contracts::members::{Heartbeat, Part};
use daybook_domain::ids::Partition;
use daybook_tests::asking::{query, tenant};
use daybook_tests::reading::{ORDERS, define_shops, orders as shop_orders, publish, sum};
use daybook_tests::{Daybook, PATIENCE, eventually, orders};
use futures::StreamExt;
use futures::future::join_all;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHOP: &str = "acme";

async fn shop() -> Daybook {
    let daybook = Daybook::start().await;
    define_shops(&daybook.client, &[SHOP]).await;
    orders::advance(&daybook, orders::NOON).await;
    publish(&daybook.client, SHOP, "order", shop_orders(1)).await;
    daybook.settle().await;
    daybook
}

/// What goes to shards of the shop's partition.
async fn questions_to_shards(daybook: &Daybook) -> async_nats::Subscriber {
    let connection = &daybook.client.connection;
    let partition = Partition::of(SHOP, connection.partitions);
    let heard = connection.client.subscribe(connection.subjects.shard_at(partition, "*")).await.unwrap();
    connection.client.flush().await.unwrap();
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_travel_together_have_their_own_answers() {
    const ASKED: usize = 96;
    let daybook = shop().await;
    let mut heard = questions_to_shards(&daybook).await;
    let client = &daybook.client;
    // No two are alike. Of every four one has a condition that cannot be read, and one a column that there is not.
    let ask = |number: usize| async move {
        let question = match number % 4 {
            0 => json!({ "where": format!("city = 'nowhere-{number}' or") }),
            1 => json!({ "metrics": [format!("nothing-{number}")] }),
            _ => json!({ "dimensions": [], "where": format!("city != 'nowhere-{number}'") }),
        };
        (number, client.query(&tenant(SHOP), "orders", &query(question)).await)
    };
    for (number, answered) in join_all((0..ASKED).map(ask)).await {
        match (number % 4, answered) {
            (0 | 1, Err(error)) => {
                assert_eq!(error.code, AskErrorCode::BadRequest, "{number}: {error}");
                assert!(number % 4 == 0 || error.to_string().contains(&format!("nothing-{number}")), "{error}");
            }
            (2 | 3, Ok(answer)) => assert_eq!(sum(&answer.rows, "n"), ORDERS, "{number}"),
            (_, answered) => panic!("{number}: {answered:?}"),
        }
    }
    let (mut messages, mut questions) = (0, 0);
    while questions < ASKED {
        let message = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
        messages += 1;
        questions += read_questions(&message.payload).unwrap().len();
    }
    assert!(questions == ASKED && messages < ASKED / 2, "{questions} questions in {messages} messages");
}

/// One that looks like a shard of an earlier build: it serves the shop's partition, takes one question at a time, and has the real
/// one answer it. Returns how many questions it was asked.
async fn earlier_build(daybook: &Daybook) -> Arc<AtomicUsize> {
    let (connection, asked) = (daybook.client.connection.clone(), Arc::new(AtomicUsize::new(0)));
    let partition = Partition::of(SHOP, connection.partitions);
    let part = Part { ready: true, ..Part::default() };
    let heartbeat = Heartbeat { parts: [(partition, part)].into(), ..Heartbeat::of("aggregator-shard", "earlier") };
    // As earlier builds write it: nothing is said of bundles.
    let heartbeat = Bytes::from(serde_json::to_vec(&heartbeat).unwrap());
    assert!(!String::from_utf8_lossy(&heartbeat).contains("bundles"));
    let subjects = connection.subjects.clone();
    let mut questions = connection.client.subscribe(subjects.shard_at(partition, "earlier")).await.unwrap();
    let (count, client) = (asked.clone(), connection.client.clone());
    tokio::spawn(async move {
        while let Some(Message { reply, payload, .. }) = questions.next().await {
            assert!(!is_bundle(&payload), "an earlier build cannot read bundles");
            count.fetch_add(1, Ordering::SeqCst);
            let answer = client.request(subjects.shard(partition), payload).await.unwrap();
            client.publish(reply.unwrap(), answer.payload).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let subject = connection.subjects.members("aggregator-shard");
            connection.client.publish(subject, heartbeat.clone()).await.unwrap();
            tokio::time::sleep(daybook_contracts::members::HEARTBEAT).await;
        }
    });
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_an_earlier_build_is_asked_one_by_one_beside_a_new_one() {
    let daybook = shop().await;
    let mut heard = questions_to_shards(&daybook).await;
    let asked = earlier_build(&daybook).await;
    let client = &daybook.client;
    let ask = |number: usize| async move {
        let question = json!({ "dimensions": [], "where": format!("city != 'nowhere-{number}'") });
        client.query(&tenant(SHOP), "orders", &query(question)).await.unwrap()
    };
    let number = AtomicUsize::new(0);
    let next = || number.fetch_add(1, Ordering::SeqCst);
    eventually("the earlier build is asked, too", async || {
        ask(next()).await;
        (asked.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    // In turn with the other one, unless that seems to be away for a moment on a busy machine.
    eventually("both are asked", async || {
        let before = asked.load(Ordering::SeqCst);
        for answer in join_all((0..40).map(|_| ask(next()))).await {
            assert_eq!(sum(&answer.rows, "n"), ORDERS);
        }
        (1..40).contains(&(asked.load(Ordering::SeqCst) - before)).then_some(())
    })
    .await;
    let (mut alone, mut together) = (0, 0);
    while alone + together < number.load(Ordering::SeqCst) {
        let message = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
        match is_bundle(&message.payload) {
            true => together += read_questions(&message.payload).unwrap().len(),
            false => alone += 1,
        }
    }
    assert_eq!(alone, asked.load(Ordering::SeqCst));
    assert!(together > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_that_nobody_would_write_harm_nobody() {
    let daybook = shop().await;
    let connection = &daybook.client.connection;
    let partition = Partition::of(SHOP, connection.partitions);
    let shard = connection.subjects.shard(partition);
    let mut many = QuestionBundle::default();
    (0..=MAX_QUESTIONS).for_each(|_| many.push(b"\"Position\""));
    let hostile = [
        Bytes::from_static(&[MARK]),
        Bytes::from_static(&[MARK, 0xff]),
        Bytes::from_static(&[MARK, 0xff, 0xff, 0xff, 0xff]),
        Bytes::from_static(&[MARK, 9, 0, 0, 0, b'"', b'V']),
        many.finish(),
    ];
    for bundle in hostile {
        let reply = connection.client.request(shard.clone(), bundle.clone()).await.unwrap();
        let refused = serde_json::from_slice::<Asked<()>>(&reply.payload).unwrap().unwrap_err();
        assert_eq!(refused.code, AskErrorCode::BadRequest, "{bundle:?}");
    }
    // What is no question is refused by itself, and the others are answered.
    let mut bundle = QuestionBundle::default();
    for question in ["\"Position\"", "", "\u{1}\0\0\0\0", "{\"View\":{}}", "[[[[[[", "\"Position\""] {
        bundle.push(question.as_bytes());
    }
    let inbox = connection.client.new_inbox();
    let mut answers = connection.client.subscribe(inbox.clone()).await.unwrap();
    connection.client.publish_with_reply(shard, inbox, bundle.finish()).await.unwrap();
    let mut found: Vec<(u16, Result<Position, AskErrorCode>)> = Vec::new();
    while found.len() < 6 {
        let message = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap();
        found.extend(read_answers(&message.payload).map(Result::unwrap).map(|(number, said)| match said {
            Said::Reply(reply) => {
                let asked: Asked<Position> = serde_json::from_slice(&reply).unwrap();
                (number, asked.map_err(|AskError { code, .. }| code))
            }
            Said::View(..) => panic!("nobody asked for a view"),
        }));
    }
    found.sort_by_key(|(number, _)| *number);
    for (number, answer) in found {
        match number {
            0 | 5 => assert!(answer.is_ok(), "{number}"),
            _ => assert_eq!(answer.unwrap_err(), AskErrorCode::BadRequest, "{number}"),
        }
    }
    let answer = daybook.client.query(&tenant(SHOP), "orders", &query(json!({ "dimensions": [] }))).await.unwrap();
    assert_eq!(sum(&answer.rows, "n"), ORDERS);
}
