//! Lost redundancy: a replica or a process that is missing is told by `daybook status` and by day-manager's metrics.

use daybook_tests::eventually;
use daybook_tests::installation::daybook;
use daybook_tests::processes::{Processes, Service, wait_until_ready, wait_until_ready_with};

/// What `daybook status` says is missing; `None` when it does not end with success.
struct Seen {
    succeeds: bool,
    text: String,
}

fn status(processes: &Processes) -> Seen {
    let output = daybook(&["status", "--nats", processes.broker.broker.client_url()]);
    Seen { succeeds: output.status.success(), text: String::from_utf8(output.stdout).unwrap() }
}

async fn becomes_whole(processes: &Processes) {
    eventually("status succeeds", async || status(processes).succeeds.then_some(())).await;
}

/// Waits until `status` fails and says all of these.
async fn becomes_missing(processes: &Processes, said: &[&str]) {
    eventually(&format!("status says {said:?}"), async || {
        let Seen { succeeds, text } = status(processes);
        (!succeeds && said.iter().all(|said| text.contains(said))).then_some(())
    })
    .await;
}

async fn missing(processes: &mut Processes, service: Service) -> f64 {
    let series = format!("daybook_processes_missing{{service=\"{}\"}}", service.name());
    processes.process(Service::DayManager).metric(&series).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_replica_and_a_silent_process_are_seen_until_others_take_their_place() {
    let mut daybook = Processes::start().await;
    becomes_missing(&daybook, &["MISSING: partition 0 is served by 1 of 2 shards"]).await;
    let mut shard = daybook.another(Service::AggregatorShard, "shard-2");
    shard.start();
    wait_until_ready(&mut shard, Service::AggregatorShard).await;
    becomes_whole(&daybook).await;

    shard.kill();
    becomes_missing(&daybook, &["MISSING: aggregator-shard ", "fell silent", "partition 0 is served by 1 of 2"]).await;
    assert_eq!(missing(&mut daybook, Service::AggregatorShard).await, 1.0);
    assert_eq!(missing(&mut daybook, Service::Ingest).await, 0.0);
    let manager = daybook.process(Service::DayManager);
    assert_eq!(manager.metric("daybook_partition_replicas_wanted{partition=\"3\"}").await, 2.0);
    manager.shows("daybook_partition_replicas{partition=\"3\"}", 1.0).await;
    shard.start();
    wait_until_ready(&mut shard, Service::AggregatorShard).await;
    becomes_whole(&daybook).await;
    assert_eq!(missing(&mut daybook, Service::AggregatorShard).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_says_farewell_is_not_missed_and_one_that_is_killed_is() {
    let mut daybook = Processes::start_with(|service, process| {
        if service == Service::AggregatorShard {
            process.set("--replicas", "1");
        }
    })
    .await;
    for (service, parts) in [(Service::Query, 2), (Service::Ingest, 3)] {
        let mut second = daybook.another(service, &format!("{}-2", service.name()));
        second.start();
        wait_until_ready_with(&mut second, parts).await;
        second.terminate().await;
        tokio::time::sleep(2 * daybook_contracts::members::LOSS).await;
        becomes_whole(&daybook).await;
        second.start();
        wait_until_ready_with(&mut second, parts).await;
        second.kill();
        becomes_missing(&daybook, &[&format!("MISSING: {} ", service.name())]).await;
        assert_eq!(missing(&mut daybook, service).await, 1.0);
        second.start();
        becomes_whole(&daybook).await;
        second.terminate().await;
    }
}
