//! Two replicas of a partition that hold different states raise the alarm, wherever an operator may look.

use daybook::client::Client;
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::log::{Batch, Record};
use daybook_domain::ids::{LogSeq, Name, Partition};
use daybook_machine::PartitionState;
use daybook_runtime::append::last_message;
use daybook_runtime::reader::read_all;
use daybook_runtime::store::{Backend, Store, wipe};
use daybook_tests::asking::tenant;
use daybook_tests::eventually;
use daybook_tests::processes::{PARTITIONS, Process, Processes, Service, binary, command, wait_until_ready_with};
use daybook_tests::reading::{define_shops, order, publish};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Replicas tell digests of their states behind each multiple of so many positions of the log.
const DIGEST_EVERY: u64 = 4_096;
/// Where the log begins: so little is missing to the first digest.
const FIRST_POSITION: u64 = 4_040;
const DIVERGED: &str = "replicas hold different states; one of them answers and reports what is wrong";
const RESEALED: &str = "a replay made another report than the one that was sealed";

/// The last position of the log of all partitions.
async fn end_of_log(client: &Client) -> u64 {
    let subjects = &client.connection.subjects;
    let last = last_message(&client.connection, &subjects.events_stream(), &subjects.every_events()).await;
    last.map_or(0, |last| last.sequence)
}

/// Stores in `folder` what a replica would hold that has read one order of the log otherwise. Every row of it is sound.
async fn store_another_state(client: &Client, partition: Partition, folder: &Path) {
    let subjects = &client.connection.subjects;
    let mut state = PartitionState::new(partition);
    let mut altered = 0;
    for message in read_all(&client.connection, subjects.events_stream(), subjects.events(partition), 1).await {
        let mut batch = Batch::decode(&message.payload).unwrap();
        for record in &mut batch.records {
            let Record::Events(events) = record else { continue };
            for event in events.events.iter_mut().filter(|event| event.id.as_deref() == Some("first")) {
                event.measures[0] = Some(99.into());
                altered += 1;
            }
        }
        let _ = state.apply(LogSeq(message.sequence), batch);
    }
    assert_eq!(altered, 1);
    wipe(folder).unwrap();
    let (store, _) = Store::open(Backend::default(), folder).unwrap();
    store.commit(Arc::new(state.checkpoint())).unwrap();
}

async fn advance(client: &Client, to: &str) {
    let advance = ClockAdvance { clock: Name::new("shop").unwrap(), advance_to: to.parse().unwrap() };
    client.advance(&advance).await.unwrap();
}

/// The exit code of `daybook status`, and what it shows.
async fn status(daybook: &Processes) -> (i32, String) {
    let mut command = command(&binary("daybook"));
    command.args(["status", "--nats", daybook.broker.broker.client_url()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The entries of a process's log with that message.
fn told(process: &Process, message: &str) -> Vec<Value> {
    let entries = process.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
    entries.into_iter().filter(|entry| entry["message"] == message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_different_states_raise_the_alarm() {
    let mut daybook = Processes::start().await;
    let client = daybook.client.clone();
    let log = client.connection.jetstream.get_stream(client.connection.subjects.events_stream()).await.unwrap();
    log.purge().sequence(FIRST_POSITION).await.unwrap();
    let partition = Partition::of("acme", PARTITIONS);
    define_shops(&client, &["acme"]).await;
    advance(&client, "2024-03-01T12:00:00Z").await;
    for id in ["first", "second"] {
        publish(&client, "acme", "order", order(id, 1, "web", "Bern", 1)).await;
    }
    daybook.settle().await;
    let parts = 1 + usize::from(PARTITIONS);
    let mut other = daybook.another(Service::AggregatorShard, "other");
    other.start();
    wait_until_ready_with(&mut other, parts).await;
    other.terminate().await;
    let folder = daybook.shard_data("other").join(format!("partition-{partition}"));
    store_another_state(&client, partition, &folder).await;
    other.start();
    wait_until_ready_with(&mut other, parts).await;

    // Nobody can know until they tell digests of one position, and seal a day.
    assert!(end_of_log(&client).await < DIGEST_EVERY - 1);
    assert_eq!(
        told(&other, "the checkpoint cannot be used; a snapshot or the log is to take its place"),
        [Value::Null; 0]
    );
    let (code, text) = status(&daybook).await;
    assert!(code == 0 && !text.contains("DIVERGED"), "{code} {text}");
    let mut number = 0;
    while end_of_log(&client).await < DIGEST_EVERY {
        publish(&client, "acme", "order", order(&number.to_string(), 1, "web", "Bern", 1)).await;
        number += 1;
    }
    daybook.settle().await;

    for process in [&mut other, daybook.process(Service::AggregatorShard)] {
        let found = eventually("the alarm of a replica", || {
            let found = told(process, DIVERGED);
            std::future::ready((!found.is_empty()).then_some(found))
        })
        .await;
        assert_eq!(found.len(), 1, "{found:?}");
        let field = |name: &str| found[0][name].as_str().unwrap().to_owned();
        assert_eq!((found[0]["level"].as_str(), field("partition")), (Some("ERROR"), partition.to_string()));
        assert!(field("position").parse::<u64>().unwrap() >= DIGEST_EVERY, "{found:?}");
        assert_eq!(process.metric("daybook_replica_divergence_total").await, 1.0);
    }
    let (code, text) = status(&daybook).await;
    let line = text.lines().find(|line| line.starts_with("DIVERGED: at ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(&format!("in the log of partition {partition}, the shards ")), "{line}");
    assert_eq!(code, 1, "{text}");

    // The day is sealed by one of them; the other finds a report that it would not have made.
    advance(&client, "2024-03-02T12:00:00Z").await;
    daybook.settle().await;
    assert!(client.report(&tenant("acme"), "2024-03-01".parse().unwrap()).await.unwrap().is_some());
    let shard = daybook.process(Service::AggregatorShard);
    eventually("the alarm of whoever came second", async || {
        let found = [told(shard, RESEALED), told(&other, RESEALED)].concat();
        (found.len() == 1 && found[0]["position"].as_u64().is_some()).then_some(())
    })
    .await;
    let counted = shard.metric("daybook_divergence_total").await + other.metric("daybook_divergence_total").await;
    assert_eq!(counted, 1.0);
}
