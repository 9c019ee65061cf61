//! Connecting to brokers that want to know who comes, that speak TLS, or that are not what they should be: every way in,
//! and every way to be refused, against real servers.
#![allow(clippy::unwrap_used)]

mod names;
mod permissions;
mod secrets;
mod services;
mod tls;
mod users;
mod versions;

use daybook_broker::Options;
use daybook_runtime::connection::{BrokerOptions, ConnectError, Connection, NatsOptions, Reason, connect};
use daybook_tests::PrivateBroker;

/// What must not be printed anywhere. It has the characters that URLs and YAML care about least.
const SECRET: &str = "hunter2-is-secret";

/// A broker with these settings.
async fn broker(change: impl FnOnce(&mut Options)) -> PrivateBroker {
    PrivateBroker::start_with(tempfile::tempdir().unwrap(), change).await
}

/// `HOST:PORT` of a broker.
fn address(broker: &PrivateBroker) -> &str {
    broker.broker.client_url().split("://").nth(1).unwrap()
}

async fn attempt(nats: NatsOptions) -> Result<Connection, ConnectError> {
    connect(&BrokerOptions { nats, ..BrokerOptions::default() }, "test").await
}

/// Connects, and has the broker answer something.
async fn accepted(nats: NatsOptions) -> Connection {
    let shown = format!("{nats:?}");
    let connection = attempt(nats).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
    connection.jetstream.query_account().await.unwrap_or_else(|error| panic!("{shown}: {error}"));
    connection
}

/// The reason why the broker cannot be used. Its text says what to do, and holds no secret.
async fn refused(nats: NatsOptions) -> Reason {
    let shown = format!("{nats:?}");
    let Err(error) = attempt(nats).await else { panic!("{shown} is accepted") };
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET) && !shown.contains(SECRET), "{text}");
    error.reason().unwrap_or_else(|| panic!("{shown}: {error}")).clone()
}

/// Settings for a broker at `url`, changed.
fn options(url: &str, change: impl FnOnce(&mut NatsOptions)) -> NatsOptions {
    let mut options = NatsOptions::at(url);
    change(&mut options);
    options
}
