//! What keeps the checkpoints may be exchanged, or lost while it is in use: no figure depends on it.

use daybook_domain::ids::Partition;
use daybook_runtime::store::Backend;
use daybook_tests::orders::{self, account, order};
use daybook_tests::{Daybook, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_store_may_be_exchanged() {
    let mut daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    for (number, store) in [Backend::Fjall, Backend::Fjall, Backend::Sled].into_iter().enumerate() {
        daybook.publish("acme", "order", order(&format!("order-{number}")).to_string()).await;
        daybook.settle().await;
        daybook.stop_services().await;
        daybook.change_options(|options| options.shard.store = store);
        daybook.start_services().await;
        let folder = daybook.options().shard.data.join("partition-0");
        let marker = std::fs::read_to_string(folder.join("daybook-store")).unwrap();
        assert!(marker.starts_with(store.name()), "{marker}");
        daybook.settle().await;
        assert_eq!(account(&daybook, "acme").await.counted, number as u64 + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_lost_while_it_is_in_use_is_made_again() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let folder = daybook.options().shard.data.clone();
    let partition = Partition::of("acme", daybook.client.connection.partitions);
    let lost = folder.join(format!("partition-{partition}"));
    std::fs::remove_dir_all(&lost).unwrap();
    // The next checkpoint fails, and the one after it finds that nothing is there to go on with.
    daybook.publish("acme", "order", order("first").to_string()).await;
    eventually("a new store", || async { lost.join("daybook-store").exists().then_some(()) }).await;
    daybook.publish("acme", "order", order("second").to_string()).await;
    daybook.settle().await;
    assert_eq!(account(&daybook, "acme").await.counted, 2);
}
