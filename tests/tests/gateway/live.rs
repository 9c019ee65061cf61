//! Live views: many listeners, one feed.

use crate::{JSON, NDJSON, ORDERS, VIEW, options, shop};
use daybook_tests::Daybook;
use daybook_tests::orders::{self, order};
use daybook_tests::web::{Event, Web};
use futures::StreamExt as _;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn listeners_get_a_snapshot_changes_and_after_a_break_what_they_missed() {
    let (_daybook, web) = shop().await;
    let path = format!("{VIEW}/live");
    let mut events = web.follow(&path, &[]).await;
    let snapshot = events.next().await.unwrap();
    assert_eq!((snapshot.name.as_str(), &snapshot.data["rows"][0]["orders"]), ("snapshot", &json!(0)));
    web.post(ORDERS, JSON, order("a").to_string()).await;
    let change = events.next().await.unwrap();
    assert_eq!((change.name.as_str(), &change.data["rows"][0]["orders"]), ("changes", &json!(1)), "{change:?}");
    // A second listener begins with the snapshot as it is now, and both hear the same from then on.
    let mut second = web.follow(&path, &[]).await;
    assert_eq!(second.next().await.unwrap().data["rows"][0]["orders"], 1);
    web.post(ORDERS, JSON, order("b").to_string()).await;
    let last = events.next().await.unwrap();
    assert_eq!(second.next().await.unwrap(), last);
    // One that was away gets just what it missed.
    let mut back = web.follow(&path, &[("Last-Event-ID", &change.id)]).await;
    assert_eq!(back.next().await.unwrap(), last);
    let mut stranger = web.follow(&path, &[("Last-Event-ID", "another:7")]).await;
    let event = stranger.next().await.unwrap();
    assert_eq!((event.name.as_str(), &event.data["rows"][0]["orders"]), ("snapshot", &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_listeners_cost_one_feed_and_end_in_good_order() {
    let (mut daybook, web) = shop().await;
    let client = &daybook.client.connection.client;
    let mut questions = client.subscribe(daybook.client.connection.subjects.query("acme", "orders")).await.unwrap();
    let path = format!("{VIEW}/live");
    let mut listeners = Vec::new();
    for _ in 0..500 {
        listeners.push(web.follow(&path, &[]).await);
    }
    for listener in &mut listeners {
        assert_eq!(listener.next().await.unwrap().name, "snapshot");
    }
    web.post(ORDERS, JSON, order("a").to_string()).await;
    for listener in &mut listeners {
        assert_eq!(listener.next().await.unwrap().data["rows"][0]["orders"], 1);
    }
    let mut asked = 0;
    while tokio::time::timeout(Duration::from_millis(100), questions.next()).await.is_ok() {
        asked += 1;
    }
    assert!((1..=4).contains(&asked), "one feed is asked for and prolonged, whoever listens: {asked}");
    daybook.stop_services().await;
    for listener in &mut listeners {
        let end = listener.next().await.unwrap();
        assert_eq!((end.name.as_str(), end.data["code"].as_str().unwrap()), ("end", "unavailable"));
        assert!(listener.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_season_and_a_member_of_a_ranking_are_followed_too() {
    let (daybook, web) = shop().await;
    let yaml = r#"
views: [{ name: leaders, kind: order, group_by: [channel], metrics: [amount: sum(amount)], ranking: { by: [amount desc] } }]
"#;
    daybook.define(yaml).await;
    daybook.settle().await;
    let score = |channel: &str, amount: u32| {
        let mut event = order(channel);
        (event["dims"]["channel"], event["measures"]["amount"]) = (json!(channel), json!(amount));
        event.to_string()
    };
    for (channel, amount) in [("ann", 10), ("bob", 20), ("cay", 30), ("dan", 40)] {
        web.post(ORDERS, JSON, score(channel, amount)).await;
    }
    let positions = |event: &Event| -> Vec<String> {
        let rows = event.data["rows"].as_array().unwrap();
        rows.iter().map(|row| format!("{}{}", row["position"], row["channel"].as_str().unwrap())).collect()
    };
    daybook.settle().await;
    let path = "/v1/tenants/acme/views/leaders/live?days=2024-03-01&rank.member=ann&rank.around=1";
    let mut events = web.follow(path, &[]).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), positions(&first)), ("snapshot", vec!["3bob".to_owned(), "4ann".to_owned()]));
    web.post(ORDERS, JSON, score("ann", 25)).await;
    let risen = events.next().await.unwrap();
    assert_eq!(positions(&risen), ["2cay", "3ann", "4bob"]);
    // What one has is not sent again; the next event is news.
    let mut back = web.follow(path, &[("Last-Event-ID", &risen.id)]).await;
    web.post(ORDERS, JSON, score("ann", 50)).await;
    let top = back.next().await.unwrap();
    assert_eq!(positions(&top), ["1ann", "2dan"]);
    assert_eq!(events.next().await.unwrap(), top);
    let wrong = web.get("/v1/tenants/acme/views/leaders/live?rank.member=eve").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (404, "unknown_member"));
}

/// Every order has a channel of its own with a long name: an update of two hundred rows takes 100 kB.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_read_is_dropped_and_told_and_holds_up_nobody() {
    let daybook = Daybook::start_with(|all| {
        all.gateway = Some(options());
        all.shard.live_interval_ms = 10;
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    daybook.define("views: [{ name: wide, kind: order, group_by: [channel], metrics: [amount: sum(amount)] }]").await;
    daybook.settle().await;
    let web = Web::at(daybook.http().unwrap());
    let path = "/v1/tenants/acme/views/wide/live";
    let mut slow = web.follow(path, &[]).await;
    assert_eq!(slow.next().await.unwrap().name, "snapshot");
    let mut quick = web.follow(path, &[]).await;
    assert_eq!(quick.next().await.unwrap().name, "snapshot");
    let mut changes = 0;
    let publishing = async {
        for version in 1.. {
            let lines: String = (0..200)
                .map(|number| {
                    let mut event = order(&format!("o-{number}"));
                    event["dims"]["channel"] = json!(format!("{number}-{}", "x".repeat(500)));
                    event["measures"]["amount"] = json!(version);
                    event.to_string() + "\n"
                })
                .collect();
            assert_eq!(web.post(ORDERS, NDJSON, lines).await.status, 200);
        }
    };
    let reading = async {
        // More than a listener may be behind and what the buffers of the connection take.
        while changes < 400 {
            changes += usize::from(quick.next().await.expect("the quick one is not held up").name == "changes");
        }
    };
    tokio::select! {
        () = publishing => {}
        () = reading => {}
    }
    let mut had = 0;
    let end = loop {
        let event = slow.next().await.expect("it is told why it ends");
        match event.name.as_str() {
            "end" => break event,
            _ => had += 1,
        }
    };
    assert_eq!(end.data["code"], "busy");
    assert!(end.data["detail"].as_str().unwrap().contains("too slowly") && had < 400, "{had} events, {end:?}");
    assert!(slow.next().await.is_none());
    let mut back = web.follow(path, &[]).await;
    assert_eq!(back.next().await.unwrap().data["rows"].as_array().unwrap().len(), 200);
}
