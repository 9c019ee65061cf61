//! A replay over outages of the broker, short and long: it goes on by itself, soon after the broker is back.
use daybook::replayer::Replayer;
use daybook::source::EventSource;
use daybook_tests::flights;
use daybook_tests::processes::Processes;
use std::time::Duration;

async fn broker_away(away: Duration) {
    let mut daybook = Processes::start().await;
    flights::define(&daybook.client, "2013-03-07").await;
    let client = daybook.client.clone();
    let replaying = tokio::spawn(async move {
        let mut replayer = Replayer::new(client, flights::replay_options());
        let mut source = EventSource::open(&flights::file("data/march.ndjson.zst")).unwrap();
        while let Some((number, line)) = source.next_line().unwrap() {
            replayer.publish(number, line, None).await.unwrap();
        }
        replayer.flush().await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    daybook.broker.broker.kill().await.unwrap();
    tokio::time::sleep(away).await;
    daybook.broker.broker.restart().await.unwrap();
    tokio::time::timeout(Duration::from_secs(40), replaying).await.expect("the replay goes on").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_a_short_outage() {
    broker_away(Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_a_long_outage() {
    broker_away(Duration::from_secs(12)).await;
}
