//! A shard is killed and its folder lost; another process goes on from the checkpoint on the broker.

use aggregator_shard::pieces::{Manifest, Piece};
use aggregator_shard::snapshots;
use aggregator_shard::sweep::{sweep, sweep_older};
use async_nats::HeaderMap;
use daybook::client::Client;
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_domain::ids::{LogSeq, Name, Partition};
use daybook_domain::time::Instant;
use daybook_tests::asking::{shown, tenant};
use daybook_tests::processes::{PARTITIONS, Process, Processes, Service, wait_until_ready_with};
use daybook_tests::{define, eventually};
use serde_json::json;
use std::collections::BTreeMap;

const TENANTS: [&str; 6] = ["acme", "bloom", "cobalt", "delta", "ember", "fjord"];
const CHANNELS: [&str; 3] = ["app", "shop", "web"];
const DAY: &str = "2024-03-01";
const NOON: &str = "2024-03-01T12:00:00Z";
/// Orders before the snapshot, and corrections behind it.
const ORDERS: u64 = 4_000;
const CORRECTIONS: u64 = 400;
/// The shortest that there is.
const SNAPSHOT_INTERVAL_MS: &str = "1000";
/// What a shard says of a snapshot that is damaged.
const UNUSABLE: &str = "a snapshot on the broker cannot be used";

const DEFINITIONS: &str = "
kinds:
  - { name: order, mode: entity, dimensions: [channel], measures: [quantity] }
views:
  - { name: orders, kind: order, group_by: [channel], metrics: [n: count, quantity: sum(quantity),
      least: min(quantity), median: 'quantile(quantity, 0.5)'] }
";

/// A small Daybook whose one shard often puts snapshots on the broker, and what it should say.
struct Shops {
    daybook: Processes,
    /// By tenant and id: version, channel and quantity.
    orders: BTreeMap<(&'static str, u64), (u64, &'static str, u64)>,
}

impl Shops {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(settings: fn(&mut Process)) -> Self {
        let daybook = Processes::start_with(|service, process| {
            if service == Service::AggregatorShard {
                process.set("--snapshot-interval-ms", SNAPSHOT_INTERVAL_MS);
                process.set("--replicas", "1");
                settings(process);
            }
        })
        .await;
        let mut yaml = format!("{DEFINITIONS}tenants:\n");
        for id in TENANTS {
            yaml.push_str(&format!(
                "  - {{ id: {id}, zone: Etc/UTC, cutoff: '00:00', first_day: {DAY}, clock: shop, restate_after: 0s, max_ahead: 8784h }}\n"
            ));
        }
        define(&daybook.client, &yaml).await;
        let advance = ClockAdvance { clock: Name::new("shop").unwrap(), advance_to: NOON.parse().unwrap() };
        daybook.client.advance(&advance).await.unwrap();
        Self { daybook, orders: BTreeMap::new() }
    }

    /// Publishes the next version of these orders, with another channel and quantity each time.
    async fn publish(&mut self, numbers: impl Iterator<Item = u64>) {
        let client = &self.daybook.client;
        let mut acks = Vec::new();
        for number in numbers {
            let shop = TENANTS[number as usize % TENANTS.len()];
            let version = self.orders.get(&(shop, number)).map_or(1, |(version, ..)| version + 1);
            let channel = CHANNELS[(number / 7 + version) as usize % CHANNELS.len()];
            let quantity = (number * 31 + version * 17) % 1_000;
            let event = json!({
                "id": number.to_string(), "version": version, "at": NOON,
                "dims": { "channel": channel }, "measures": { "quantity": quantity },
            });
            let subject = client.connection.subjects.input(shop, "order");
            acks.push(client.connection.jetstream.publish(subject, event.to_string().into()).await.unwrap());
            self.orders.insert((shop, number), (version, channel, quantity));
        }
        for ack in acks {
            ack.await.unwrap();
        }
        self.daybook.settle().await;
    }

    /// Checks every figure against a plain recomputation.
    async fn check(&self) {
        for shop in TENANTS {
            let mut groups: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            for (_, (_, channel, quantity)) in self.orders.range((shop, 0)..=(shop, u64::MAX)) {
                groups.entry(channel).or_default().push(*quantity);
            }
            let expected: Vec<String> = groups
                .iter_mut()
                .map(|(channel, quantities)| {
                    quantities.sort_unstable();
                    let (count, sum) = (quantities.len(), quantities.iter().sum::<u64>());
                    format!("{channel} {count} {sum} {} {}", quantities[0], quantities[count.div_ceil(2) - 1])
                })
                .collect();
            let query = Query::days(DaySelector::Date(DAY.parse().unwrap()));
            let answer = eventually("a live answer", || async {
                let answer = self.daybook.client.query(&tenant(shop), "orders", &query).await.ok()?;
                (!answer.stale).then_some(answer)
            })
            .await;
            assert_eq!(shown(&answer.rows, "channel n quantity least median"), expected, "{shop}");
        }
    }

    /// Waits until the snapshot of each partition with orders is of the log's present end.
    async fn snapshots_are_level(&self) -> BTreeMap<Partition, u64> {
        let client = &self.daybook.client;
        let mut ends = BTreeMap::new();
        for shop in TENANTS {
            let partition = Partition::of(shop, PARTITIONS);
            let subjects = &client.connection.subjects;
            let (stream, subject) = (subjects.events_stream(), subjects.events(partition));
            let end = daybook_runtime::append::last_message(&client.connection, &stream, &subject).await.unwrap();
            eventually("a snapshot of everything", || async {
                let there = snapshots::list(&client.connection, partition).await.ok()?;
                (there.last()?.position == LogSeq(end.sequence)).then_some(())
            })
            .await;
            ends.insert(partition, end.sequence);
        }
        ends
    }

    /// Kills the shard, loses its folder, and lets another process with an empty one take over.
    async fn take_over(&mut self) -> Process {
        self.daybook.process(Service::AggregatorShard).kill();
        std::fs::remove_dir_all(self.daybook.shard_data("aggregator-shard")).unwrap();
        let mut heir = self.daybook.another(Service::AggregatorShard, "heir");
        heir.set("--replicas", "1");
        // It puts none itself: what it finds stays as it is.
        heir.set("--snapshot-interval-ms", "86400000");
        heir.start();
        wait_until_ready_with(&mut heir, 1 + usize::from(PARTITIONS)).await;
        heir
    }
}

/// A counter of a process; 0 while it has not been counted yet.
async fn counter(process: &mut Process, name: &str) -> u64 {
    let (_, text) = process.get("/metrics").await.unwrap();
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_goes_on_from_the_snapshot_on_the_broker() {
    let mut shops = Shops::start().await;
    shops.publish(0..ORDERS).await;
    shops.check().await;
    let partitions = shops.snapshots_are_level().await.len() as u64;
    let all = counter(shops.daybook.process(Service::AggregatorShard), "daybook_shard_batches_total").await;
    let mut heir = shops.take_over().await;
    shops.check().await;
    // Versions that supersede, in part with another channel, what only the snapshot knows.
    shops.publish((0..ORDERS).step_by((ORDERS / CORRECTIONS) as usize)).await;
    shops.check().await;
    assert!(counter(&mut heir, "daybook_snapshots_fetched_total").await >= partitions);
    let applied = counter(&mut heir, "daybook_shard_batches_total").await;
    println!("{applied} batches applied by the heir, {all} by its predecessor");
    // What came behind the snapshots, the corrections, and no more.
    assert!(applied > 0 && applied < all, "{applied} of {all}");
    let log = heir.log();
    assert!(!log.contains("cannot be used"), "{log}");
    let first = first_positions(&log);
    assert!(first.iter().filter(|position| **position > 0).count() as u64 >= partitions, "{first:?}");
}

/// From which positions the partitions of a shard began.
fn first_positions(log: &str) -> Vec<u64> {
    let entries = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let begun = entries.filter(|entry| entry["message"] == "aggregating");
    begun.map(|entry| entry["position"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_damaged_is_passed_over() {
    let mut shops = Shops::start().await;
    shops.publish(0..ORDERS).await;
    let ends = shops.snapshots_are_level().await;
    shops.daybook.process(Service::AggregatorShard).pause();
    let mut damaged = 0;
    for partition in ends.keys() {
        // There is an older one where that is not removed yet.
        for snapshot in snapshots::list(&shops.daybook.client.connection, *partition).await.unwrap() {
            damage(&shops.daybook.client, *partition, snapshot.position, damaged).await;
            damaged += 1;
        }
    }
    let mut heir = shops.take_over().await;
    shops.check().await;
    shops.publish((0..ORDERS).step_by((ORDERS / CORRECTIONS) as usize)).await;
    shops.check().await;
    let log = heir.log();
    assert_eq!(log.matches(UNUSABLE).count(), damaged, "{log}");
    assert!(counter(&mut heir, "daybook_snapshots_fetched_total").await <= u64::from(PARTITIONS) - ends.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_will_do_where_the_newest_is_damaged() {
    // With a retention that nothing is old enough for, the oldest stays beside the newest.
    let mut shops = Shops::start_with(|process| process.set("--log-retention", "1d")).await;
    shops.publish(0..ORDERS / 2).await;
    shops.snapshots_are_level().await;
    shops.publish(ORDERS / 2..ORDERS).await;
    let ends = shops.snapshots_are_level().await;
    shops.daybook.process(Service::AggregatorShard).pause();
    let mut older = Vec::new();
    for (index, (partition, end)) in ends.iter().enumerate() {
        let there = snapshots::list(&shops.daybook.client.connection, *partition).await.unwrap();
        let (newest, others) = there.split_last().unwrap();
        assert_eq!(newest.position, LogSeq(*end));
        older.push(others.last().expect("one is older").position.0);
        damage(&shops.daybook.client, *partition, newest.position, index).await;
    }
    let heir = shops.take_over().await;
    shops.check().await;
    let log = heir.log();
    assert_eq!(log.matches(UNUSABLE).count(), ends.len(), "{log}");
    let first = first_positions(&log);
    assert!(older.iter().all(|position| first.contains(position)), "{first:?} of {older:?}");
    // What is settled behind an older one can be corrected.
    shops.publish((0..ORDERS).step_by((ORDERS / CORRECTIONS) as usize)).await;
    shops.check().await;
}

/// Damages a snapshot in one of four ways, and no other one; what is said of it stays.
async fn damage(client: &Client, partition: Partition, position: LogSeq, way: usize) {
    let (connection, name) = (&client.connection, format!("manifest-{partition}-{position}"));
    let bucket = connection.jetstream.get_object_store(connection.subjects.checkpoints_bucket()).await.unwrap();
    let info = bucket.info(&name).await.unwrap();
    let metadata = async_nats::jetstream::object_store::ObjectMetadata {
        name: name.clone(),
        metadata: info.metadata.clone(),
        ..Default::default()
    };
    let manifest = snapshots::manifest(connection, partition, position).await.unwrap().unwrap();
    let mut own: Vec<_> = manifest.names().collect();
    for other in snapshots::list(connection, partition).await.unwrap() {
        // One that is damaged already names none.
        let read = snapshots::manifest(connection, partition, other.position).await;
        let others = read.ok().flatten().filter(|_| other.position != position).unwrap_or_default();
        let others: Vec<_> = others.names().collect();
        own.retain(|name| !others.contains(name));
    }
    // All pieces of an older one may be pieces of the newer one too.
    let way = if own.is_empty() { way % 2 } else { way % 4 };
    match way {
        // An object in good order, but no manifest.
        0 => {
            bucket.put(metadata, &mut &b"no pieces at all"[..]).await.unwrap();
        }
        // One in good order that is cut short.
        1 => {
            let pieces = manifest.pieces[..manifest.pieces.len() - 1].to_vec();
            bucket.put(metadata, &mut Manifest { pieces }.encode().as_slice()).await.unwrap();
        }
        // A piece is another one.
        2 => {
            let subject = connection.subjects.checkpoint_piece(partition, own[0]);
            let mut rollup = HeaderMap::new();
            rollup.insert("Nats-Rollup", "sub");
            let (_, other) = Piece::pack(b"another one").unwrap();
            connection.jetstream.publish_with_headers(subject, rollup, other.into()).await.unwrap().await.unwrap();
        }
        // A piece is not there.
        _ => {
            let subject = connection.subjects.checkpoint_piece(partition, own[0]);
            let stream = connection.jetstream.get_stream(connection.subjects.checkpoints_stream()).await.unwrap();
            assert_eq!(stream.purge().filter(&subject).await.unwrap().purged, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_belong_to_no_snapshot_are_swept_and_no_others() {
    let mut shops = Shops::start().await;
    shops.publish(0..500).await;
    shops.snapshots_are_level().await;
    shops.daybook.process(Service::AggregatorShard).kill();
    let connection = &shops.daybook.client.connection;
    let bucket = connection.subjects.checkpoints_bucket();
    let orphan = format!("$O.{bucket}.C.orphan");
    for _ in 0..3 {
        connection.jetstream.publish(orphan.clone(), "piece".into()).await.unwrap().await.unwrap();
    }
    // One that was deleted and did not go: its pieces, and the word that it was there.
    let store = connection.jetstream.get_object_store(&bucket).await.unwrap();
    let mut removed = store.put("partition-0-1", &mut &b"rows"[..]).await.unwrap();
    removed.deleted = true;
    // The name in Base64.
    let word = format!("$O.{bucket}.M.cGFydGl0aW9uLTAtMQ==");
    let mut rollup = HeaderMap::new();
    rollup.insert("Nats-Rollup", "sub");
    let told = serde_json::to_vec(&removed).unwrap();
    connection.jetstream.publish_with_headers(word.clone(), rollup, told.into()).await.unwrap().await.unwrap();
    let left = format!("$O.{bucket}.C.{}", removed.nuid);
    // They might be those of a snapshot that is being put, or removed.
    sweep(connection).await.unwrap();
    let stream = connection.jetstream.get_stream(format!("OBJ_{bucket}")).await.unwrap();
    for subject in [&orphan, &left, &word] {
        assert!(stream.get_last_raw_message_by_subject(subject).await.is_ok(), "{subject}");
    }
    assert!(sweep_older(connection, Instant::MAX).await.unwrap() >= 3);
    for subject in [&orphan, &left, &word] {
        assert!(stream.get_last_raw_message_by_subject(subject).await.is_err(), "{subject}");
    }
    let mut heir = shops.take_over().await;
    shops.check().await;
    assert!(!heir.log().contains("cannot be used"));
    assert!(counter(&mut heir, "daybook_snapshots_fetched_total").await > 0);
}
