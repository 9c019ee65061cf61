//! Alerts: what a plain reading of the log says, each once, whatever happens to the shards; and how clients see them.

use daybook::client::Client;
use daybook_contracts::admin::{Remove, Target};
use daybook_contracts::alert::Alert;
use daybook_contracts::log::Record;
use daybook_domain::ids::Partition;
use daybook_runtime::log::Logged;
use daybook_runtime::reader::read_all;
use daybook_runtime::written;
use daybook_tests::asking::tenant;
use daybook_tests::orders::{FIRST_DAY, NOON, advance_by};
use daybook_tests::processes::{Processes, Service, wait_until_ready_with};
use daybook_tests::{Daybook, define, eventually};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const STORES: usize = 12;
/// A store fires `low` below this.
const LEAST: i64 = -20;
/// A store fires `many` with so many orders.
const MANY: usize = 5;

/// The shop with alerts, for these tenants.
fn definitions(tenants: &[&str]) -> String {
    let mut yaml = format!(
        "kinds:
  - {{ name: order, mode: entity, dimensions: [store], measures: [amount] }}
views:
  - name: stores
    kind: order
    group_by: [store]
    metrics: [orders: count, revenue: sum(amount)]
    alerts:
      - {{ name: low, when: revenue < {LEAST} }}
      - {{ name: many, when: \"orders >= {MANY} and store != 's0'\" }}
tenants:
"
    );
    for id in tenants {
        yaml.push_str(&format!(
            "  - {{ id: {id}, zone: Etc/UTC, cutoff: \"00:00\", first_day: {FIRST_DAY}, clock: shop, restate_after: 0s, max_ahead: 8784h, \
             alerts: [day_sealed, report_restated] }}\n"
        ));
    }
    yaml
}

fn order(id: u64, version: u64, store: usize, amount: i64, at: &str) -> Value {
    json!({"id": id.to_string(), "version": version, "at": at, "dims": {"store": format!("s{store}")}, "measures": {"amount": amount}})
}

/// Every message of the tenant's subject, which must all be a shard's, in their order.
async fn written(client: &Client, id: &str) -> Vec<Alert> {
    let connection = &client.connection;
    let subjects = &connection.subjects;
    let messages = read_all(connection, subjects.alerts_stream(), subjects.alerts(id), 1).await;
    messages.iter().map(|message| written::alert(subjects, message.into()).expect("a shard's alert")).collect()
}

/// An alert of a view in a line: batch, day, name, group and figures.
fn line(alert: &Alert) -> String {
    let cells = |row: &Option<daybook_contracts::report::Row>| {
        row.iter().flat_map(|row| &row.0).map(|(_, figure)| figure.to_string()).collect::<Vec<_>>().join(" ")
    };
    format!("{} {} {} {}: {}", alert.log, alert.day, alert.alert, cells(&alert.group), cells(&alert.figures))
}

/// What is known of an order: version, day, store and amount.
type Known = (u64, String, String, i64);

/// What a plain reading of the tenant's log says that its groups fire.
async fn recomputed(client: &Client, id: &str) -> Vec<String> {
    let connection = &client.connection;
    let subject = connection.subjects.events(Partition::of(id, connection.partitions));
    let mut orders: BTreeMap<String, Known> = BTreeMap::new();
    let (mut fired, mut lines) = (BTreeSet::new(), Vec::new());
    for message in read_all(connection, connection.subjects.events_stream(), subject, 1).await {
        let batch = Logged::read((&message).into()).expect("a batch of ingest's").batch;
        let mut touched: BTreeSet<(String, String)> = BTreeSet::new();
        for record in batch.records {
            let Record::Events(events) = record else { continue };
            for event in events.events.into_iter().filter(|_| events.tenant.as_str() == id) {
                let (key, version) = (event.id.unwrap().to_string(), event.version.unwrap());
                let known = orders.get(&key);
                if known.is_some_and(|(known, ..)| *known >= version) {
                    continue;
                }
                touched.extend(known.map(|(_, day, store, _)| (day.clone(), store.clone())));
                let (day, store) = (event.date.to_string(), event.dims[0].clone().unwrap().to_string());
                touched.insert((day.clone(), store.clone()));
                orders.insert(key, (version, day, store, event.measures[0].unwrap()));
            }
        }
        for (day, store) in touched {
            let of_group = orders.values().filter(|(_, on, of, _)| *on == day && *of == store);
            let amounts: Vec<i64> = of_group.map(|(.., amount)| *amount).collect();
            let (count, revenue) = (amounts.len(), amounts.iter().sum::<i64>());
            let met = [("low", revenue < LEAST), ("many", count >= MANY && store != "s0")];
            for (alert, _) in met.into_iter().filter(|(_, is_met)| *is_met && count > 0) {
                if fired.insert((day.clone(), store.clone(), alert)) {
                    lines.push(format!("{} {day} {alert} {store}: {count} {revenue}", message.sequence));
                }
            }
        }
    }
    lines
}

/// The alerts are those of the plain reading, none twice, and one for each report of the tenant.
async fn check(client: &Client, id: &str) -> Vec<Alert> {
    let alerts = written(client, id).await;
    let ids: BTreeSet<&str> = alerts.iter().map(|alert| alert.id.as_str()).collect();
    assert_eq!(ids.len(), alerts.len(), "an id comes twice");
    let of_views: Vec<String> = alerts.iter().filter(|alert| alert.view.is_some()).map(line).collect();
    assert_eq!(of_views, recomputed(client, id).await, "{id}");
    let connection = &client.connection;
    let subject = connection.subjects.reports_of(id);
    let sealed = read_all(connection, connection.subjects.reports_stream(), subject, 1).await;
    let versions = sealed.iter().map(|message| {
        let report: Value = serde_json::from_slice(&message.payload).unwrap();
        let version = report["version"].as_u64().unwrap();
        let alert = if version == 1 { "day_sealed" } else { "report_restated" };
        let hash = message.headers.get("Daybook-Hash").unwrap().to_string();
        (alert.to_owned(), report["date"].as_str().unwrap().to_owned(), version, hash)
    });
    let told = alerts.iter().filter_map(|alert| {
        let report = alert.report.as_ref()?;
        Some((alert.alert.to_string(), alert.day.to_string(), u64::from(report.version), report.hash.clone()))
    });
    let (mut versions, mut told): (Vec<_>, Vec<_>) = (versions.collect(), told.collect());
    versions.sort();
    told.sort();
    assert_eq!(told, versions, "{id}");
    alerts
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_those_of_a_plain_reading_whatever_happens_to_the_shards() {
    const TENANTS: [&str; 3] = ["acme", "bloom", "cobalt"];
    let mut daybook = Processes::start_with(|service, process| {
        if service == Service::AggregatorShard {
            process.set("--checkpoint-interval-ms", "300");
            process.set("--snapshot-interval-ms", "1000");
        }
    })
    .await;
    define(&daybook.client, &definitions(&TENANTS)).await;
    advance_by(&daybook.client, NOON).await;
    // A second replica of every partition, which writes the same.
    let mut second = daybook.another(Service::AggregatorShard, "second");
    second.set("--checkpoint-interval-ms", "300");
    second.start();
    let mut random = daybook_random::Random::new(31);
    let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..6 {
        let mut acks = Vec::new();
        for _ in 0..300 {
            let id = random.below(400) as u64;
            let version = versions.entry(id).or_insert(0);
            *version += 1;
            // From the second round on the first day is closed: some orders are late, and some are corrections of closed days.
            let at = if round == 0 || random.one_in(3) { NOON } else { "2024-03-02T12:00:00Z" };
            let event = order(id, *version, random.below(STORES), random.below(60) as i64 - 32, at);
            let subject = daybook.client.connection.subjects.input(TENANTS[id as usize % TENANTS.len()], "order");
            let sent = daybook.client.connection.jetstream.publish(subject, event.to_string().into()).await;
            acks.push(sent.unwrap());
        }
        if round == 0 {
            advance_by(&daybook.client, "2024-03-02T12:00:00Z").await;
        }
        // One of the two is killed while outputs are on their way.
        match round % 2 {
            0 => {
                daybook.process(Service::AggregatorShard).kill();
                daybook.process(Service::AggregatorShard).start();
            }
            _ => {
                second.kill();
                second.start();
            }
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }
    daybook.settle().await;
    let mut before = Vec::new();
    for id in TENANTS {
        before.push(check(&daybook.client, id).await);
    }
    assert!(before.iter().all(|alerts| alerts.len() > 20), "{:?}", before.iter().map(Vec::len).collect::<Vec<_>>());

    // Everything is read again from the beginning.
    second.kill();
    daybook.process(Service::AggregatorShard).kill();
    std::fs::remove_dir_all(daybook.shard_data("aggregator-shard")).unwrap();
    for snapshot in 0..daybook.client.connection.partitions {
        for known in aggregator_shard::snapshots::list(&daybook.client.connection, Partition(snapshot)).await.unwrap() {
            let partition = Partition(snapshot);
            aggregator_shard::snapshots::remove(&daybook.client.connection, partition, known.position).await.unwrap();
        }
    }
    daybook.process(Service::AggregatorShard).start();
    daybook.start_missing().await;
    let parts = 1 + usize::from(daybook.client.connection.partitions);
    wait_until_ready_with(daybook.process(Service::AggregatorShard), parts).await;
    daybook.settle().await;
    for (id, before) in TENANTS.into_iter().zip(before) {
        assert_eq!(check(&daybook.client, id).await, before, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_lists_and_follows_its_alerts() {
    let mut daybook = Daybook::start().await;
    daybook.define(&definitions(&["acme"])).await;
    advance_by(&daybook.client, NOON).await;
    let mut heard = daybook.client.connection.client.subscribe("daybook.alerts.acme").await.unwrap();
    daybook.client.connection.client.flush().await.unwrap();
    daybook.publish("acme", "order", order(1, 1, 1, -21, NOON).to_string()).await;
    let message = tokio::time::timeout(daybook_tests::PATIENCE, heard.next()).await.unwrap().unwrap();
    let alert: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((&alert["alert"], &alert["view"], &alert["day"]), (&json!("low"), &json!("stores"), &json!(FIRST_DAY)));
    assert_eq!((&alert["group"], &alert["figures"]), (&json!({"store": "s1"}), &json!({"orders": 1, "revenue": -21})));
    assert_eq!(alert["id"], format!("acme-{}-0", alert["log"]));

    // Pages, from the newest back and from a place on.
    for store in 2..10 {
        daybook.publish("acme", "order", order(store as u64, 1, store, -30, NOON).to_string()).await;
    }
    daybook.settle().await;
    let asker = &daybook.client.asker;
    let newest = asker.alerts(&tenant("acme"), 5).await.unwrap();
    let stores = |alerts: &[Alert]| {
        let store = |alert: &Alert| alert.group.as_ref().unwrap().get("store").unwrap().to_string();
        alerts.iter().map(store).collect::<Vec<_>>()
    };
    assert_eq!(
        (stores(&newest.alerts), newest.has_older),
        (["s5", "s6", "s7", "s8", "s9"].map(str::to_owned).to_vec(), true)
    );
    daybook.publish("acme", "order", order(10, 1, 10, -30, NOON).to_string()).await;
    daybook.settle().await;
    let page = asker.alerts_behind(&tenant("acme"), &newest.newer).await.unwrap();
    assert_eq!((stores(&page.alerts), page.missed), (vec!["s10".to_owned()], false));
    let all = asker.alerts(&tenant("acme"), 1_000).await.unwrap();
    assert_eq!((all.alerts.clone(), all.has_older), (written(&daybook.client, "acme").await, false));

    // Alerts change at any time, without a backfill. A name that stays keeps what it has fired.
    let changed = definitions(&["acme"]).replace("revenue < -20", "revenue < 0").replace("name: many", "name: several");
    daybook.define(&changed).await;
    daybook.publish("acme", "order", order(11, 1, 11, -1, NOON).to_string()).await;
    daybook.publish("acme", "order", order(1, 2, 1, -22, NOON).to_string()).await;
    daybook.settle().await;
    assert_eq!(written(&daybook.client, "acme").await.len(), all.alerts.len() + 1);
    let now = daybook.client.views().await.unwrap();
    assert_eq!(now.views[0].revision, 2);
    assert!(
        now.partitions.iter().flatten().flatten().all(|view| view.active == 2 && view.pending.is_none()),
        "{now:?}"
    );

    // Restarts and replays add nothing.
    let before = written(&daybook.client, "acme").await;
    daybook.restart_services().await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(written(&daybook.client, "acme").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_alerts_along_and_ids_do_not_come_again() {
    let daybook = Daybook::start().await;
    daybook.define(&definitions(&["acme", "bloom"])).await;
    advance_by(&daybook.client, NOON).await;
    for id in ["acme", "bloom"] {
        daybook.publish(id, "order", order(1, 1, 1, -21, NOON).to_string()).await;
    }
    daybook.settle().await;
    let first = written(&daybook.client, "acme").await;
    assert_eq!((first.len(), first[0].generation), (1, 0));
    let target = Target::Tenant { id: tenant("acme"), purge: true };
    let removed = daybook.client.remove(&Remove { target, dry_run: false, catalog_seen: None }).await.unwrap();
    assert_eq!(removed.stored.map(|stored| stored.alerts), Some(1));
    eventually("the alerts are gone", || async { written(&daybook.client, "acme").await.is_empty().then_some(()) })
        .await;
    assert_eq!(written(&daybook.client, "bloom").await.len(), 1);
    daybook.define(&definitions(&["acme"])).await;
    daybook.publish("acme", "order", order(1, 1, 1, -21, NOON).to_string()).await;
    daybook.settle().await;
    let second = written(&daybook.client, "acme").await;
    assert_eq!((second.len(), second[0].generation), (1, 1));
    assert_ne!(second[0].id, first[0].id);
}

#[test]
fn mistakes_are_told_where_they_are() {
    let refused = |yaml: String| {
        let files = [(std::path::PathBuf::from("shop.yaml"), yaml)];
        let mistakes = daybook::definitions::load(&files, &[]).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let sound = definitions(&["acme"]);
    for (from, to, place, message) in [
        ("revenue < -20", "revenu < -20", "shop.yaml:9:28", "did you mean \"revenue\"?"),
        ("revenue < -20", "revenue < 'x'", "shop.yaml:9:38", "revenue is a metric"),
        ("name: many", "name: low", "shop.yaml:10:17", "two alerts are named low"),
        ("name: many", "name: day_sealed", "shop.yaml:10:17", "alert for the reports of a tenant"),
        (
            "alerts: [day_sealed, report_restated]",
            "alerts: [day_seald]",
            "shop.yaml:12",
            "did you mean \"day_sealed\"?",
        ),
    ] {
        let told = refused(sound.replace(from, to));
        assert!(told.contains(place) && told.contains(message), "{to}: {told}");
    }
}
