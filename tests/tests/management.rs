//! day-manager alone, with shards that say what the test has them say: views come into force partition by partition,
//! and days close by hand.
#![allow(clippy::unwrap_used)]
use daybook::client::Client;
use daybook_contracts::admin::{ClockAdvance, CloseDay};
use daybook_contracts::ask::{Asked, Backfilling, ViewProgress};
use daybook_contracts::day::DayMarker;
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::{Activation, Definition};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_runtime::append::last_message;
use daybook_runtime::connection::connect_service;
use daybook_runtime::http::Health;
use daybook_runtime::process::Context;
use daybook_runtime::reader::Reader;
use daybook_tests::{PrivateBroker, define, eventually};
use futures::StreamExt;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

const MODELS: &str = "
kinds: [{ name: click, mode: fact, measures: [ms] }]
views: [{ name: clicks, kind: click, metrics: [clicks: count] }]
";

/// The last partition's shard never answers.
const PARTITIONS: u16 = 4;
const AWAY: Partition = Partition(PARTITIONS - 1);

/// What a partition's shard says of its views.
type Said = Arc<Mutex<Vec<ViewProgress>>>;

struct Managed {
    client: Client,
    stop: CancellationToken,
    shards: Vec<Said>,
    broker: PrivateBroker,
}

async fn run_day_manager(broker: &PrivateBroker) -> CancellationToken {
    let connection = connect_service(&broker.options(), "day-manager").await.unwrap();
    let stop = CancellationToken::new();
    let context = Context::new(connection, Health::default(), stop.clone());
    tokio::spawn(async move { day_manager::run(day_manager::Options::default(), context).await.unwrap() });
    stop
}

impl Managed {
    async fn start() -> Self {
        let broker = PrivateBroker::start().await;
        let stop = run_day_manager(&broker).await;
        let client = Client::connect(&broker.options()).await.unwrap();
        assert_eq!(client.connection.partitions, PARTITIONS);
        let mut shards = Vec::new();
        for partition in Partition::all(AWAY.0) {
            let said = Said::default();
            shards.push(said.clone());
            let nats = client.connection.client.clone();
            let mut questions = nats.subscribe(client.connection.subjects.shard(partition)).await.unwrap();
            tokio::spawn(async move {
                while let Some(question) = questions.next().await {
                    let answer = Asked::Ok(said.lock().unwrap().clone());
                    let payload = serde_json::to_vec(&answer).unwrap();
                    nats.publish(question.reply.unwrap(), payload.into()).await.unwrap();
                }
            });
        }
        Self { client, stop, shards, broker }
    }

    fn say(&self, partition: usize, active: u64, pending: Option<Backfilling>) {
        let view = Name::new("clicks").unwrap();
        *self.shards[partition].lock().unwrap() =
            vec![ViewProgress { view, active, pending, coverage: Coverage::Complete }];
    }

    async fn activation(&self, partition: Partition) -> Option<Activation> {
        let subjects = &self.client.connection.subjects;
        let subject = subjects.catalog(partition, "activation", "clicks");
        let message = last_message(&self.client.connection, &subjects.catalog_stream(), &subject).await?;
        match serde_json::from_slice(&message.payload).unwrap() {
            Definition::Activation(activation) => Some(activation),
            other => panic!("{other:?}"),
        }
    }
}

fn backfilling(percent: u8) -> Option<Backfilling> {
    Some(Backfilling { revision: 2, percent, ready: percent == 100, since: Some(LogSeq(5)) })
}

#[tokio::test(flavor = "multi_thread")]
async fn backfilled_views_come_into_force_partition_by_partition() {
    let mut managed = Managed::start().await;
    define(&managed.client, MODELS).await;
    (0..3).for_each(|partition| managed.say(partition, 1, None));
    define(&managed.client, &MODELS.replace("clicks: count", "clicks: count, ms: sum(ms)")).await;
    managed.say(0, 1, backfilling(100));
    managed.say(1, 1, backfilling(40));
    managed.say(2, 2, None);
    let wanted = Activation { view: Name::new("clicks").unwrap(), revision: 2, since: Some(LogSeq(5)) };
    let found = eventually("an activation", || managed.activation(Partition(0))).await;
    assert_eq!(found, wanted);

    let reply = managed.client.views().await.unwrap();
    assert_eq!(reply.views[0].revision, 2);
    let pending =
        |partition: usize| reply.partitions[partition].as_ref().unwrap()[0].pending.as_ref().map(|p| p.percent);
    assert_eq!([pending(0), pending(1), pending(2)], [Some(100), Some(40), None]);
    assert_eq!(reply.partitions[3], None);
    for partition in [Partition(1), Partition(2), AWAY] {
        assert_eq!(managed.activation(partition).await, None, "{partition}");
    }

    // Another day-manager finds what is published, and asks everyone anew.
    managed.stop.cancel();
    managed.stop = run_day_manager(&managed.broker).await;
    managed.say(1, 1, backfilling(100));
    let found = eventually("the second activation", || managed.activation(Partition(1))).await;
    assert_eq!(found, wanted);
    let subjects = &managed.client.connection.subjects;
    let activations = subjects.catalog(Partition(0), "activation", "*");
    let stream = managed.client.connection.jetstream.get_stream(subjects.catalog_stream()).await.unwrap();
    let info = stream.info_with_subjects(&activations).await.unwrap();
    let counts: Vec<usize> = info.map(|subject| subject.unwrap().1).collect().await;
    assert_eq!(counts, [1], "the shard of partition 0 still says that it is ready");
    managed.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_closes_by_hand_once_and_the_next_at_its_cutoff() {
    let mut managed = Managed::start().await;
    let tenant = "tenants: [{ id: SHOP, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: shop }]";
    define(&managed.client, tenant).await;
    let close = |date: &str| CloseDay { tenant: TenantId::new("SHOP").unwrap(), date: date.parse().unwrap() };
    let advance = async |client: &Client, to: &str| {
        let advance = ClockAdvance { clock: Name::new("shop").unwrap(), advance_to: to.parse().unwrap() };
        client.advance(&advance).await.unwrap().markers
    };
    let refused = async |client: &Client, date: &str| client.close(&close(date)).await.unwrap_err().to_string();
    let error = refused(&managed.client, "2024-03-01").await;
    assert!(error.contains("the clock shop of SHOP has not begun"), "{error}");
    assert_eq!(advance(&managed.client, "2024-03-01T12:00:00Z").await, 1);

    let reply = managed.client.close(&close("2024-03-01")).await.unwrap();
    assert_eq!(reply.closed.due_at.to_string(), "2024-03-01T12:00:00Z");
    assert_eq!(reply.opened.unwrap().day.date.to_string(), "2024-03-02");
    let again = "2024-03-01 of SHOP was closed by hand at 2024-03-01T12:00:00Z; days are never reopened";
    assert_eq!(refused(&managed.client, "2024-03-01").await, again);
    assert!(refused(&managed.client, "2024-03-02").await.contains("begins only at 2024-03-02T00:00:00Z"));

    // What was closed by hand stays so for another day-manager.
    managed.stop.cancel();
    managed.stop = run_day_manager(&managed.broker).await;
    assert_eq!(refused(&managed.client, "2024-03-01").await, again);
    assert_eq!(advance(&managed.client, "2024-03-02T23:59:59Z").await, 0);
    assert_eq!(advance(&managed.client, "2024-03-03T00:00:00Z").await, 2);

    let subjects = &managed.client.connection.subjects;
    let mut days = Reader::new(&managed.client.connection, subjects.days_stream(), subjects.every_day(), 1);
    let mut markers = Vec::new();
    for _ in 0..5 {
        let marker: DayMarker = serde_json::from_slice(&days.next().await.payload).unwrap();
        markers.push(format!("{} {} {}", marker.day.date, marker.edge.as_str(), marker.due_at));
    }
    let expected = [
        "2024-03-01 opened 2024-03-01T00:00:00Z",
        "2024-03-02 opened 2024-03-01T12:00:00Z",
        "2024-03-01 closed 2024-03-01T12:00:00Z",
        "2024-03-03 opened 2024-03-03T00:00:00Z",
        "2024-03-02 closed 2024-03-03T00:00:00Z",
    ];
    assert_eq!(markers, expected);
    managed.stop.cancel();
}
