//! Brokers that are too old.

use crate::broker;
use daybook_broker::SAFE_VERSION;
use daybook_runtime::connection::{self, BrokerOptions, Connection, Reason, connect};
use daybook_runtime::joining::connect_service;
use daybook_tests::route::{Frame, Route, Way};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A route to a broker that says it is of another version while `poses` says so.
async fn posing(url: &str, version: &'static str, poses: Arc<AtomicBool>) -> Route {
    Route::new(url, move |way: Way, frame: &mut Frame| {
        let is_greeting = way == Way::ToClient && frame.words().next() == Some("INFO");
        if is_greeting && poses.load(Ordering::Relaxed) {
            let text = String::from_utf8(frame.bytes.clone()).unwrap();
            let (before, rest) = text.split_once("\"version\":\"").unwrap();
            let (_, after) = rest.split_once('"').unwrap();
            frame.bytes = format!("{before}\"version\":\"{version}\"{after}").into_bytes();
        }
        true
    })
    .await
}

async fn service(route: &Route, allow_old: bool) -> Result<Connection, Reason> {
    let options = BrokerOptions { nats_allow_old: allow_old, ..BrokerOptions::at(&route.url()) };
    connect_service(&options, "test").await.map_err(|error| {
        assert!(!error.heals());
        error.reason().unwrap().clone()
    })
}

#[tokio::test]
async fn services_refuse_them_unless_every_client_is_trusted() {
    let broker = broker(|_| {}).await;
    let url = broker.broker.client_url();
    let always = || Arc::new(AtomicBool::new(true));
    let old = posing(url, "2.14.6", always()).await;
    let Err(reason) = service(&old, false).await else { panic!("it is accepted") };
    assert_eq!(reason, Reason::TooOld { version: "2.14.6".to_owned() });
    assert!(reason.to_string().contains("--nats-allow-old"), "{reason}");
    assert!(service(&old, true).await.is_ok());
    // Commands only ask.
    assert!(connect(&BrokerOptions::at(&old.url()), "command").await.is_ok());
    let unknown = posing(url, "latest", always()).await;
    assert_eq!(service(&unknown, false).await.err(), Some(Reason::UnknownVersion { version: "latest".to_owned() }));
    assert!(service(&unknown, true).await.is_ok());
    let patched = posing(url, "v2.15.3-vendor.1", always()).await;
    assert!(service(&patched, false).await.is_ok());
}

#[test]
fn the_broker_that_is_found_by_itself_is_one_that_services_accept() {
    let (major, minor, patch) = connection::SAFE_VERSION;
    assert_eq!(SAFE_VERSION.to_string(), format!("{major}.{minor}.{patch}"));
}
