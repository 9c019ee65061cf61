//! As whom: user and password, token, nkey, credentials; right and wrong, in every place where they can be given.

use crate::{SECRET, accepted, address, attempt, broker, options, refused};
use daybook_broker::ServerSettings;
use daybook_runtime::connection::{ConnectError, FileProblem, NatsOptions, Reason, Secret};
use daybook_tests::secured::Operator;
use daybook_tests::{PATIENCE, PrivateBroker, eventually};
use nkeys::KeyPair;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

fn secret(text: &str) -> Option<Secret> {
    Some(text.to_owned().into())
}

fn file(broker: &PrivateBroker, text: &str) -> PathBuf {
    let path = broker.folder.path().join("secret");
    fs::write(&path, text).unwrap();
    path
}

fn was_refused(reason: &Reason, who: &str) -> bool {
    matches!(reason, Reason::Refused { who: shown } if shown.contains(who))
}

#[tokio::test]
async fn by_user_and_password() {
    let user = |password: &str| format!("authorization {{ user: ann, password: {password:?} }}\n");
    let broker = broker(|options| options.settings = ServerSettings(user(SECRET))).await;
    let url = format!("nats://{}", address(&broker));
    let with = |change: &dyn Fn(&mut NatsOptions)| {
        options(&url, |options| {
            options.nats_user = Some("ann".into());
            change(options);
        })
    };
    accepted(with(&|options| options.nats_password = secret(SECRET))).await;
    let path = file(&broker, &format!("{SECRET}\n"));
    accepted(with(&|options| options.nats_password_file = Some(path.clone()))).await;
    accepted(NatsOptions::at(&format!("nats://ann:{SECRET}@{}", address(&broker)))).await;
    // The other server of the cluster is away.
    accepted(NatsOptions::at(&format!("nats://ann:{SECRET}@127.0.0.1:1, nats://ann:{SECRET}@{}", address(&broker))))
        .await;

    let reason = refused(with(&|options| options.nats_password = secret("wrong"))).await;
    assert!(was_refused(&reason, "\"ann\""), "{reason}");
    let reason = refused(NatsOptions::at(&format!("nats://bob:{SECRET}@{}", address(&broker)))).await;
    assert!(was_refused(&reason, "\"bob\""), "{reason}");
    assert_eq!(refused(NatsOptions::at(&url)).await, Reason::NameWanted);
    let token = refused(options(&url, |options| options.nats_token = secret(SECRET))).await;
    assert!(was_refused(&token, "token"), "{token}");
}

#[tokio::test]
async fn by_user_and_password_with_any_characters() {
    let settings = ServerSettings("authorization { user: \"a b\", password: \"p@s/s:w%rd,#? é\" }\n".to_owned());
    let broker = broker(|options| options.settings = settings).await;
    accepted(NatsOptions::at(&format!("nats://a%20b:p%40s%2Fs%3Aw%25rd%2C%23%3F%20%C3%A9@{}", address(&broker)))).await;
    let path = file(&broker, "p@s/s:w%rd,#? é\r\n");
    accepted(options(&format!("nats://{}", address(&broker)), |options| {
        (options.nats_user, options.nats_password_file) = (Some("a b".into()), Some(path));
    }))
    .await;
}

#[tokio::test]
async fn by_token() {
    let settings = ServerSettings(format!("authorization {{ token: {SECRET:?} }}\n"));
    let broker = broker(|options| options.settings = settings).await;
    let url = format!("nats://{}", address(&broker));
    accepted(options(&url, |options| options.nats_token = secret(SECRET))).await;
    let path = file(&broker, SECRET);
    accepted(options(&url, |options| options.nats_token_file = Some(path))).await;
    accepted(NatsOptions::at(&format!("nats://{SECRET}@{}", address(&broker)))).await;

    let reason = refused(options(&url, |options| options.nats_token = secret("wrong"))).await;
    assert!(was_refused(&reason, "token"), "{reason}");
    let reason = refused(NatsOptions::at(&format!("nats://{SECRET}-not@{}", address(&broker)))).await;
    assert!(was_refused(&reason, "token"), "{reason}");
    assert_eq!(refused(NatsOptions::at(&url)).await, Reason::NameWanted);
}

#[tokio::test]
async fn by_nkey() {
    let (known, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let settings = ServerSettings(format!("authorization {{ users: [ {{ nkey: {} }} ] }}\n", known.public_key()));
    let broker = broker(|options| options.settings = settings).await;
    let with = |text: String| {
        let path = file(&broker, &text);
        options(&format!("nats://{}", address(&broker)), |options| options.nats_nkey = Some(path))
    };
    accepted(with(format!("{}\n{}\n", known.seed().unwrap(), known.public_key()))).await;
    let reason = refused(with(stranger.seed().unwrap())).await;
    assert!(was_refused(&reason, "nkey"), "{reason}");
    for text in [KeyPair::new_account().seed().unwrap(), known.public_key(), String::new()] {
        let Err(ConnectError::File(error)) = attempt(with(text)).await else { panic!("it is refused") };
        assert_eq!(error.problem, FileProblem::NoSeed);
    }
}

#[tokio::test]
async fn by_credentials() {
    let operator = Operator::default();
    let broker = broker(|options| options.settings = operator.settings()).await;
    let path = broker.folder.path().join("ann.creds");
    let with = || {
        let path = path.clone();
        options(&format!("nats://{}", address(&broker)), |options| options.nats_credentials = Some(path))
    };
    operator.write_credentials(&path, None);
    accepted(with()).await;
    assert_eq!(refused(NatsOptions::at(&format!("nats://{}", address(&broker)))).await, Reason::NameWanted);

    operator.write_credentials(&path, Some(1_700_000_000));
    let reason = refused(with()).await;
    let Reason::Expired { path: file, at } = &reason else { panic!("{reason}") };
    assert!(*file == path && at.starts_with("2023-11-14T22:13:20"), "{reason}");

    Operator::default().write_credentials(&path, None);
    let reason = refused(with()).await;
    assert!(was_refused(&reason, "ann.creds"), "{reason}");

    fs::write(&path, SECRET).unwrap();
    let Err(error) = attempt(with()).await else { panic!("it is refused") };
    assert!(!error.heals() && !error.to_string().contains(SECRET), "{error}");
    fs::remove_file(&path).unwrap();
    let Err(error) = attempt(with()).await else { panic!("it is refused") };
    assert!(error.to_string().contains("ann.creds") && error.to_string().contains("--nats-credentials"), "{error}");
}

#[tokio::test]
async fn credentials_that_are_renewed_in_time_are_taken_when_the_old_ones_expire() {
    let operator = Operator::default();
    let broker = broker(|options| options.settings = operator.settings()).await;
    let path = broker.folder.path().join("ann.creds");
    let now = daybook_runtime::clock::now().as_millis() / 1000;
    operator.write_credentials(&path, Some(now.cast_unsigned() + 2));
    let file = path.clone();
    let url = format!("nats://{}", address(&broker));
    let connection = accepted(options(&url, |options| options.nats_credentials = Some(file))).await;
    let connections = connection.client.statistics();
    operator.write_credentials(&path, None);
    eventually("the broker ends the connection, and the new credentials open another", async || {
        let count = connections.connects.load(std::sync::atomic::Ordering::Relaxed);
        (count == 2).then_some(())
    })
    .await;
    connection.jetstream.query_account().await.unwrap();
}

#[tokio::test]
async fn nobody_and_strangers_are_told_apart() {
    assert_eq!(refused(NatsOptions::at("nats://127.0.0.1:1")).await, Reason::NobodyAnswers);
    assert_eq!(refused(NatsOptions::at("nats://no-such-host.invalid")).await, Reason::UnknownHost);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    // What it says before it hangs up.
    let greetings: [&[u8]; 4] =
        [b"SSH-2.0-OpenSSH_9.9\r\n", b"", b"INFO {}{{\r\n", b"-ERR 'maximum connections exceeded'\r\n"];
    let server = tokio::spawn(async move {
        for greeting in greetings {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(greeting).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        listener
    });
    let reasons = [Reason::NotNats, Reason::Closed, Reason::NotNats, Reason::NotNats];
    for reason in reasons {
        assert_eq!(refused(NatsOptions::at(&url)).await, reason);
    }
    // One that is connected to and says nothing.
    let _listener = server.await.unwrap();
    let began = std::time::Instant::now();
    assert_eq!(refused(NatsOptions::at(&url)).await, Reason::Silent);
    assert!(began.elapsed() > Duration::from_secs(4) && began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_server_that_is_full_says_so() {
    let broker = broker(|options| options.settings = ServerSettings("max_connections: 1\n".to_owned())).await;
    let url = format!("nats://{}", address(&broker));
    let _first = accepted(NatsOptions::at(&url)).await;
    let reason = refused(NatsOptions::at(&url)).await;
    assert!(matches!(&reason, Reason::Says { text } if text.contains("maximum connections")), "{reason:?}");
}
