//! Live feeds: what is pushed, what was missed, and when a feed ends.

use daybook_contracts::live::view::Followed;
use daybook_contracts::live::{LEASE, LiveUpdate, RENEW_AFTER};
use daybook_tests::asking::{ask, shown};
use daybook_tests::backfilling::advance;
use daybook_tests::reading::{Listener, define_shops, order, orders, publish, watch};
use daybook_tests::{Daybook, PATIENCE};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_its_updates_are_what_a_question_says() {
    let daybook = Daybook::start().await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    publish(&client, "acme", "order", orders(1)).await;
    publish(&client, "acme", "order", order("quiet", 1, "post", "Visp", 1)).await;
    daybook.settle().await;

    let mut listeners = BTreeMap::new();
    for view in ["orders", "hourly", "ranked"] {
        listeners.insert(view, Listener::begin(&client, "acme", view).await);
    }
    let mut updates: Vec<LiveUpdate> = Vec::new();
    let quantity_of = |round: i64, number: i64| round * 10 + number;
    for round in 1..=4_i64 {
        // New groups, old ones that change, and an order that leaves its group for another: the last one there.
        let mut changed: Vec<Value> = (0..3)
            .map(|number| {
                let city = format!("City {number}");
                order(&format!("round-{round}-{number}"), 1, "web", &city, quantity_of(round, number))
            })
            .collect();
        let mut moving = order("moving", 1, "web", &format!("Stop {round}"), 100 * round);
        moving["version"] = round.into();
        let mut void = order(&format!("round-{}-2", round - 1), 1, "web", "City 2", 0);
        void["version"] = 2.into();
        void["status"] = "void".into();
        changed.extend([void, moving]);
        let sequence = publish(&client, "acme", "order", changed.into()).await;
        for (view, listener) in &mut listeners {
            let followed = listener.reach(sequence).await;
            let asked = ask(&client, "acme", view, json!({"at_least": sequence, "grain": grain(view)})).await;
            assert_eq!(listener.rows(), asked.rows, "{view} in round {round}");
            assert_eq!((listener.answer().to, listener.answer().day), (asked.to, asked.day));
            if *view == "orders" {
                updates.extend(followed);
            }
        }
    }
    // Only what changed is told: groups that go, and nothing of those that stay as they are.
    let removed: BTreeSet<String> = updates.iter().flat_map(|update| shown(&update.removed, "channel city")).collect();
    assert_eq!(removed.into_iter().collect::<Vec<_>>(), ["web Stop 1", "web Stop 2", "web Stop 3"]);
    let told: BTreeSet<String> = updates.iter().flat_map(|update| shown(&update.rows, "channel city")).collect();
    let expected: BTreeSet<String> = (0..3)
        .map(|number| format!("web City {number}"))
        .chain((1..=4).map(|stop| format!("web Stop {stop}")))
        .collect();
    assert_eq!(told, expected);

    // Another day begins: its rows are all there is.
    advance(&client, 2).await;
    let sequence = publish(&client, "acme", "order", orders(2)).await;
    for (view, listener) in &mut listeners {
        let followed = listener.reach(sequence).await;
        assert!(followed.iter().any(|update| update.date.to_string() == "2024-03-02"), "{view}: {followed:?}");
        let asked = ask(&client, "acme", view, json!({"at_least": sequence, "grain": grain(view)})).await;
        assert_eq!((listener.answer().to, listener.rows()), (asked.to, asked.rows), "{view}");
    }
}

/// The grain by which a feed has the rows of a view.
fn grain(view: &str) -> &'static str {
    if view == "hourly" { "hour" } else { "total" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_notices_what_it_missed_and_goes_on_from_a_new_snapshot() {
    let mut daybook = Daybook::start().await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    publish(&client, "acme", "order", orders(1)).await;
    daybook.settle().await;
    let mut listener = Listener::begin(&client, "acme", "orders").await;
    let change =
        async |id: &str, quantity| publish(&client, "acme", "order", order(id, 1, "web", "Zug", quantity)).await;
    let is_level = async |listener: &Listener, sequence| {
        let asked = ask(&client, "acme", "orders", json!({"at_least": sequence})).await;
        assert_eq!(listener.rows(), asked.rows);
    };

    // One message is lost on its way.
    change("lost", 1).await;
    let lost = listener.next().await;
    let sequence = change("seen", 2).await;
    let seen = listener.next().await;
    assert_eq!((seen.sequence, seen.as_of.inbox), (lost.sequence + 1, sequence));
    assert_eq!(listener.follow(seen), Followed::Missed);
    assert!(listener.renew().await, "the feed goes on");
    is_level(&listener, sequence).await;
    let sequence = change("next", 3).await;
    listener.reach(sequence).await;
    is_level(&listener, sequence).await;

    // With the shard its feeds are gone: the next one has another name, and the snapshot what came meanwhile.
    let feed = listener.feed().to_owned();
    daybook.stop_services().await;
    let meanwhile = change("meanwhile", 4).await;
    daybook.start_services().await;
    daybook.settle().await;
    assert!(!listener.renew().await, "the feed is another one");
    assert_ne!(listener.feed(), feed);
    assert!(listener.answer().as_of.inbox >= meanwhile);
    is_level(&listener, meanwhile).await;
    let sequence = change("after", 5).await;
    let updates = listener.reach(sequence).await;
    assert!(updates.iter().all(|update| update.feed != feed) && updates[0].sequence == 1, "{updates:?}");
    is_level(&listener, sequence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_pushed_while_somebody_asks_for_it_and_ends_with_its_lease() {
    let daybook = Daybook::start().await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    let prefix = client.connection.subjects.prefix();
    let mut pushed = client.connection.client.subscribe(format!("{prefix}.live.>")).await.unwrap();
    let mut next = async || {
        let message = tokio::time::timeout(PATIENCE, pushed.next()).await.expect("nothing is pushed").unwrap();
        serde_json::from_slice::<LiveUpdate>(&message.payload).unwrap()
    };
    let mut number = 0;
    let mut change = async || {
        number += 1;
        publish(&client, "acme", "order", order(&format!("o-{number}"), 1, "web", "Zug", 1)).await
    };

    // While nobody watches nothing is pushed: the first update is of the first view that is watched, and of nothing before.
    for _ in 0..20 {
        change().await;
        daybook.settle().await;
    }
    let feed = watch(&client, "acme", "ranked").await.feed.unwrap();
    let mut renewed = Instant::now();
    let sequence = change().await;
    let first = next().await;
    assert_eq!((first.view.as_str(), first.sequence, first.as_of.inbox), ("ranked", 1, sequence));

    // Two views of the same orders are watched; only the feed of the second is renewed. It is pushed behind the first
    // one's, so it tells that there was nothing to tell of that.
    let before = Instant::now();
    let ending = watch(&client, "acme", "orders").await.feed.unwrap();
    let after = Instant::now();
    let mut silent_for = 0;
    while silent_for < 5 {
        if renewed.elapsed() > RENEW_AFTER {
            let renewed_feed = watch(&client, "acme", "ranked").await.feed.unwrap();
            assert_eq!(renewed_feed.feed, feed.feed, "it goes on");
            renewed = Instant::now();
        }
        let published = after.elapsed();
        let sequence = change().await;
        let mut is_told = false;
        loop {
            let update = next().await;
            match update.view.as_str() {
                "orders" => {
                    assert_eq!(update.feed, ending.feed);
                    is_told |= update.as_of.inbox >= sequence;
                }
                _ if update.as_of.inbox >= sequence => break,
                _ => {}
            }
        }
        if is_told {
            assert!(published < LEASE && silent_for == 0, "pushed {published:?} after it was asked for");
        } else {
            assert!(before.elapsed() >= LEASE, "it ended {:?} after it was asked for", before.elapsed());
            silent_for += 1;
        }
    }

    // Who asks again begins another one.
    let again = watch(&client, "acme", "orders").await.feed.unwrap();
    assert!(again.feed != ending.feed && again.sequence == 0, "{again:?}");
    change().await;
    let update = next().await;
    assert_eq!((update.view.as_str(), &update.feed, update.sequence), ("orders", &again.feed, 1));
}
