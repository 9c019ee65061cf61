//! A second whole Daybook on the broker of a first one, as `daybook up --nats` starts it.

use daybook::embedded::{Embedded, EmbeddedOptions};
use daybook_runtime::membership::{Members, Membership};
use daybook_tests::{Daybook, PATIENCE, eventually};
use std::collections::BTreeSet;

const SERVICES: [&str; 2] = ["ingest", "aggregator-shard"];

/// How many members of a service there are that tell of ready partitions only, if those are all partitions, each once.
fn sharing(members: &Members, partitions: u16) -> Option<usize> {
    let parts = members.values().flat_map(|member| &member.parts);
    let ready: Vec<u16> = parts.filter(|(_, part)| part.ready).map(|(partition, _)| partition.0).collect();
    let told = members.values().map(|member| member.parts.len()).sum::<usize>();
    let is_whole = ready.iter().collect::<BTreeSet<_>>().len() == usize::from(partitions);
    (is_whole && told == ready.len() && told == usize::from(partitions)).then_some(members.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_share_the_partitions_and_each_is_ready_with_its_own() {
    let daybook = Daybook::start().await;
    let broker = daybook.options().broker.clone();
    let mut observed = Vec::new();
    for service in SERVICES {
        observed.push(Membership::observe(&daybook.client.connection, service).await.unwrap());
    }
    let are_shared_among = async |count: usize| {
        for members in &observed {
            eventually("all partitions are ready", async || {
                (sharing(&members.borrow(), broker.partitions) == Some(count)).then_some(())
            })
            .await;
        }
    };
    are_shared_among(1).await;
    let options = EmbeddedOptions::new(broker.clone(), daybook.broker.folder.path().join("other-shard"));
    let second = tokio::time::timeout(PATIENCE, Embedded::start(options)).await.expect("it is ready").unwrap();
    assert!(second.health.is_ready());
    are_shared_among(2).await;
    second.stop().await;
    are_shared_among(1).await;
}
