//! A broker of three that is gone is seen in what the streams tell, and day markers come through soon after.

use daybook_chaos::cluster::{Cluster, NODES, level};
use daybook_contracts::headers;
use daybook_domain::ids::Partition;
use daybook_runtime::connection::{BrokerOptions, Connection};
use daybook_runtime::joining::connect_service;
use daybook_runtime::usage::{self, StreamUsage, Usage};
use daybook_tests::eventually;
use std::path::Path;
use std::time::{Duration, Instant};

/// Three brokers with every stream on each of them, and a connection.
async fn cluster(folder: &Path) -> (Cluster, Connection) {
    let cluster = Cluster::start(folder).await.unwrap();
    let options = BrokerOptions { stream_replicas: 3, ..BrokerOptions::at(&cluster.urls()) };
    let connection = connect_service(&options, "test").await.unwrap();
    level(&connection.jetstream, &connection.subjects).await.unwrap();
    (cluster, connection)
}

/// Which broker leads a stream.
async fn leader(connection: &Connection, stream: &str) -> usize {
    eventually("a leader", async || {
        let stream = connection.jetstream.get_stream(stream).await.ok()?;
        let name = stream.cached_info().cluster.as_ref()?.leader.clone()?;
        (0..NODES).find(|node| name == format!("broker-{}", node + 1))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_is_named_by_each_stream_that_it_has_a_copy_of() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, connection) = cluster(folder.path()).await;
    let current = async |expected: usize| {
        eventually(&format!("{expected} current copies of each stream"), async || {
            let Usage { streams, unanswered } = usage::streams(&connection).await;
            let are = |usage: &StreamUsage| (usage.replicas, usage.replicas_current) == (3, expected);
            (unanswered.is_empty() && streams.len() == 9 && streams.iter().all(are)).then_some(streams)
        })
        .await
    };
    current(3).await;
    // Some streams get a new leader, others keep theirs.
    let node = leader(&connection, &connection.subjects.catalog_stream()).await;
    cluster.brokers[node].kill().await.unwrap();
    for usage in current(2).await {
        let [why] = &usage.not_current[..] else { panic!("{usage:?}") };
        assert!(why.starts_with(&format!("broker-{} ", node + 1)), "{usage:?}");
    }
    cluster.brokers[node].restart().await.unwrap();
    for usage in current(3).await {
        assert!(usage.not_current.is_empty(), "{usage:?}");
    }
}

/// How long a marker may take from its PubAck to INBOX: five seconds where one election cures it, ten where the first comes
/// to nothing, and twice that on a machine that is busy with six brokers.
const ARRIVAL: Duration = Duration::from_secs(20);
/// Without a cure about every other kill has sources back only after 30 to 45 s.
const KILLS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn markers_come_through_soon_after_the_broker_is_killed_that_led_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, connection) = cluster(folder.path()).await;
    let watching = tokio::spawn(day_manager::sources::watch(connection.clone(), || true));
    let subjects = &connection.subjects;
    for _ in 0..KILLS {
        level(&connection.jetstream, subjects).await.unwrap();
        let node = leader(&connection, &subjects.inbox_stream()).await;
        lead(&connection, &subjects.days_stream(), node).await;
        cluster.brokers[node].kill().await.unwrap();
        let sequence = eventually("a PubAck", async || {
            let published = connection.jetstream.publish(subjects.day_opened("acme"), "".into()).await.ok()?;
            Some(published.await.ok()?.sequence)
        })
        .await;
        let acknowledged = Instant::now();
        eventually("the marker in INBOX", async || {
            let inbox = connection.jetstream.get_stream(subjects.inbox_stream()).await.ok()?;
            let partition = Partition::of("acme", connection.partitions);
            let marker =
                inbox.get_last_raw_message_by_subject(&subjects.inbox_day(partition, "acme", "opened")).await.ok()?;
            let source = marker.headers.get(headers::STREAM_SOURCE)?.as_str().to_owned();
            source.contains(&format!(" {sequence} ")).then_some(())
        })
        .await;
        let took = acknowledged.elapsed();
        eprintln!("a marker came through after {took:?}");
        assert!(took < ARRIVAL, "{took:?}");
        cluster.brokers[node].restart().await.unwrap();
    }
    watching.abort();
}

/// Has a broker lead a stream.
async fn lead(connection: &Connection, stream: &str, node: usize) {
    let wish = serde_json::json!({"placement": {"preferred": format!("broker-{}", node + 1)}}).to_string();
    eventually("another leader", async || {
        if leader(connection, stream).await == node {
            return Some(());
        }
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        let _ = connection.client.request(subject, wish.clone().into()).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        None
    })
    .await;
}
