//! A shard that is given more than fits into its memory: it lives, says so and answers; with more memory it goes on and every
//! figure is right.

use daybook::client::Client;
use daybook_contracts::members::Part;
use daybook_domain::ids::LogSeq;
use daybook_runtime::membership::Membership;
use daybook_tests::asking::{ask, shown};
use daybook_tests::installation::daybook;
use daybook_tests::processes::{PARTITIONS, Process, Processes, Service, wait_until_ready};
use daybook_tests::reading::publish;
use daybook_tests::{define, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TENANTS: [&str; 4] = ["acme", "bloom", "cobalt", "delta"];
/// Of each tenant. All of them take several times what the shard has.
const MESSAGES: usize = 800;
const EVENTS_PER_MESSAGE: usize = 200;
const LIMIT: &str = "300m";

/// A checkpoint that was begun before may go on beyond a limit that the kernel does not enforce, by less than this.
const MOST: f64 = 1.15;

const MODELS: &str = "
kinds:
  - { name: order, mode: entity, dimensions: [place], measures: [quantity] }
views:
  - { name: orders, kind: order, group_by: [place], metrics: [n: count, quantity: sum(quantity)] }
tenants:
";

/// Orders, each of a place of its own.
fn orders(message: usize) -> Value {
    let order = |number: usize| {
        let id = message * EVENTS_PER_MESSAGE + number;
        let place = format!("a place with a long name, of which there is only one: number {id:08}");
        json!({"id": format!("order-{id:08}"), "at": "2024-03-01T12:00:00Z", "dims": {"place": place}, "measures": {"quantity": 1}})
    };
    (0..EVENTS_PER_MESSAGE).map(order).collect()
}

async fn publish_all(client: &Client) {
    for message in 0..MESSAGES {
        for tenant in TENANTS {
            publish(client, tenant, "order", orders(message)).await;
        }
    }
}

/// Waits until `daybook status` fails for want of the shard's memory.
async fn becomes_full(processes: &mut Processes) {
    let url = processes.broker.broker.client_url().to_owned();
    eventually("status says that the shard is full", async || {
        let output = daybook(&["status", "--nats", &url]);
        let text = String::from_utf8(output.stdout).unwrap();
        (!output.status.success() && text.contains("FULL: aggregator-shard ")).then_some(())
    })
    .await;
    let shard = processes.process(Service::AggregatorShard);
    let limit = shard.metric("daybook_memory_limit_bytes").await;
    assert_eq!(limit, f64::from(300 << 20));
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(3) {
        let used = shard.metric("daybook_memory_bytes").await;
        assert!(used < limit * MOST, "{used} of {limit}");
    }
    assert!(shard.log().contains("nothing more is taken in"));
}

/// Sees that the shard lives for three seconds without taking in more. A checkpoint that ends gives memory back, and then the shard
/// goes on: what it takes in until it is full again counts for nothing here.
async fn stays_full(shard: &mut Process) {
    let reliefs = |shard: &Process| shard.log().matches("there is memory again").count();
    loop {
        let reliefs_before = reliefs(shard);
        let was_full = shard.metric("daybook_memory_full").await == 1.0;
        let batches = shard.metric("daybook_shard_batches_total").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(shard.id().is_some());
        let taken_in = shard.metric("daybook_shard_batches_total").await - batches;
        if was_full && reliefs(shard) == reliefs_before {
            return assert!(taken_in <= 32.0, "{taken_in}");
        }
    }
}

/// Waits until each partition's last checkpoint is at the end of its log.
async fn checkpoints_reach_the_log(client: &Client) {
    let members = Membership::observe(&client.connection, "aggregator-shard").await.unwrap();
    eventually("checkpoints of everything", async || {
        let members = members.borrow();
        let parts: Vec<_> = members.values().flat_map(|member| member.parts.values()).collect();
        let are_there =
            |part: &&Part| part.ready && part.lag == 0 && part.log > LogSeq(0) && part.checkpoint == part.log;
        (parts.len() == usize::from(PARTITIONS) && parts.iter().all(are_there)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_at_its_limit_lives_and_says_so_and_with_more_memory_it_goes_on() {
    let mut processes = Processes::start_with(|service, process| {
        if service == Service::AggregatorShard {
            process.set("--replicas", "1");
            process.set("--memory", LIMIT);
            // Nearly every row changes between two checkpoints here, and each one is written whole.
            process.set("--checkpoint-interval-ms", "1000");
        }
    })
    .await;
    let client = processes.client.clone();
    let tenants: String = TENANTS
        .iter()
        .map(|id| format!("  - {{ id: {id}, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: shop, max_ahead: 8784h }}\n"))
        .collect();
    define(&client, &format!("{MODELS}{tenants}")).await;
    processes.settle().await;
    publish_all(&client).await;
    becomes_full(&mut processes).await;
    stays_full(processes.process(Service::AggregatorShard)).await;
    // It answers from what it has.
    let some = ask(&client, "acme", "orders", json!({"dimensions": []})).await;
    let (n, all) = (shown(&some.rows, "n")[0].parse::<usize>().unwrap(), MESSAGES * EVENTS_PER_MESSAGE);
    assert!(!some.stale && n > 0 && n < all, "{n} of {all}");

    // After a kill it stops again where its memory ends, be that within the checkpoint or behind it.
    processes.process(Service::AggregatorShard).kill();
    processes.process(Service::AggregatorShard).start();
    becomes_full(&mut processes).await;

    let shard = processes.process(Service::AggregatorShard);
    shard.kill();
    shard.set("--memory", "4g");
    shard.start();
    wait_until_ready(shard, Service::AggregatorShard).await;
    processes.settle().await;
    checkpoints_reach_the_log(&client).await;
    for tenant in TENANTS {
        let answer = ask(&client, tenant, "orders", json!({"dimensions": []})).await;
        assert_eq!(shown(&answer.rows, "n"), [all.to_string()], "{tenant}");
        assert_eq!(shown(&answer.rows, "quantity"), [all.to_string()], "{tenant}");
    }
    let output = daybook(&["status", "--nats", processes.broker.broker.client_url()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
