//! Users who may not do what Daybook needs.

use crate::{accepted, address, broker, options};
use daybook::client::Client;
use daybook_broker::{ClusterOptions, ServerSettings};
use daybook_runtime::connection::{BrokerOptions, ConnectError, FIND_LIMIT, NatsOptions, Reason};
use daybook_tests::processes::{self, Process};
use std::time::Instant;

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

/// A server of a cluster of three that reaches no other: it has no leader, so nobody can say what streams there are.
#[tokio::test]
async fn a_command_waits_for_a_leader_and_says_so() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = broker(|options| {
        options.cluster = Some(ClusterOptions {
            name: "alone".to_owned(),
            server_name: "one-of-three".to_owned(),
            port: free,
            routes: vec![format!("nats://{nobody}"), "nats://127.0.0.1:1".to_owned()],
            advertise: None,
        });
    })
    .await;
    let arguments = ["status", "--nats", broker.broker.client_url()].map(str::to_owned).to_vec();
    let mut command = Process::new("status", processes::binary("daybook"), arguments, broker.folder.path());
    let began = Instant::now();
    command.start();
    let status = command.ended().await;
    let log = command.log();
    assert!(!status.success() && log.contains("waiting up to 10 s, because"), "{log}");
    assert!(log.contains("no leader") && !log.contains("there is no Daybook"), "{log}");
    assert!(began.elapsed() >= FIND_LIMIT, "{log}");
}
