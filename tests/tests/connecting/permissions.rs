//! Users who may not do what Daybook needs.

use crate::{accepted, address, broker, options};
use daybook::client::Client;
use daybook_broker::ServerSettings;
use daybook_runtime::connection::{BrokerOptions, ConnectError, NatsOptions, Reason};

/// Why a command finds no Daybook.
async fn refusal(nats: NatsOptions) -> Reason {
    let Err(error) = Client::connect(&BrokerOptions { nats, ..BrokerOptions::default() }).await else {
        panic!("there is a Daybook");
    };
    let error = error.downcast::<ConnectError>().unwrap();
    error.reason().unwrap_or_else(|| panic!("{error}")).clone()
}

#[tokio::test]
async fn what_a_user_may_not_ask_is_named() {
    let settings = r#"accounts {
  SERVICES { jetstream: enabled, users: [
    { user: all, password: x }
    { user: mute, password: x, permissions: { publish: "nothing" } }
    { user: deaf, password: x, permissions: { subscribe: "nothing" } }
  ] }
  OTHER { users: [ { user: other, password: x } ] }
}
"#;
    let broker = broker(|options| options.settings = ServerSettings(settings.to_owned())).await;
    let user = |name: &str| NatsOptions::at(&format!("nats://{name}:x@{}", address(&broker)));
    accepted(user("all")).await;
    let mute = refusal(user("mute")).await;
    let subject = "$JS.API.STREAM.INFO.DAYBOOK_INBOX".to_owned();
    assert_eq!(mute, Reason::NotPermitted { action: "publish to", subject });
    let deaf = refusal(user("deaf")).await;
    assert_eq!(deaf, Reason::NotPermitted { action: "subscribe to", subject: "_INBOX.>".to_owned() });
    assert_eq!(refusal(user("other")).await, Reason::NoJetStream);
    let Err(none_yet) = Client::connect(&BrokerOptions::at(&format!("nats://all:x@{}", address(&broker)))).await else {
        panic!("there is a Daybook");
    };
    assert!(none_yet.to_string().contains("there is no Daybook at nats://127.0.0.1"), "{none_yet}");
}

#[tokio::test]
async fn a_server_without_jetstream_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain.conf");
    std::fs::write(&file, "host: 127.0.0.1\nport: -1\n").unwrap();
    let broker = daybook_tests::PrivateBroker::start_with(folder, |options| options.config_file = Some(file)).await;
    let reason = refusal(options(broker.broker.client_url(), |_| {})).await;
    assert_eq!(reason, Reason::NoJetStream);
}
