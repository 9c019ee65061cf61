//! A real server, started, killed, restarted and stopped. Fetches one first if none is installed.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use daybook_broker::{
    Broker, ClusterOptions, Error, Options, Port, ServerSettings, SyncInterval, WebSocketOptions, locate,
};
use rustix::process::{Pid, getpgid, getpgrp};
use tempfile::TempDir;

/// For answers that come for certain, however busy the machine.
const PATIENT: Duration = Duration::from_secs(30);

/// For answers that may never come: a server in a cluster without a leader stays silent.
const IMPATIENT: Duration = Duration::from_millis(500);

/// Set for the helper process of one test: the store directory it is to use.
const HELPER_STORE: &str = "DAYBOOK_BROKER_TEST_STORE";

async fn binary() -> PathBuf {
    let found = tokio::task::spawn_blocking(|| locate(None, &|progress| eprintln!("{progress}")));
    found.await.unwrap().unwrap()
}

async fn options(store: &Path) -> Options {
    Options { max_file_store_bytes: Some(64 << 20), ..Options::new(binary().await, store) }
}

fn connect(url: &str) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(url.strip_prefix("nats://").unwrap())?;
    stream.set_read_timeout(Some(PATIENT))?;
    Ok(BufReader::new(stream))
}

/// What the server says first.
fn greeting(url: &str) -> String {
    let mut line = String::new();
    connect(url).unwrap().read_line(&mut line).unwrap();
    assert!(line.starts_with("INFO "), "{line}");
    line
}

/// Sends a request in the plain NATS protocol and gives the JSON answer.
fn request(url: &str, limit: Duration, subject: &str, body: &str) -> std::io::Result<String> {
    let mut connection = connect(url)?;
    connection.get_mut().set_read_timeout(Some(limit))?;
    let length = body.len();
    write!(
        connection.get_mut(),
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{body}\r\n"
    )?;
    let mut line = String::new();
    while !line.starts_with("MSG ") {
        line.clear();
        if connection.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    line.clear();
    connection.read_line(&mut line)?;
    Ok(line)
}

#[tokio::test]
async fn starts_with_jetstream_on_every_listener() {
    let root = TempDir::new().unwrap();
    let broker = Broker::start(Options {
        websocket: Some(WebSocketOptions {
            port: Port::Free,
            allowed_origins: vec!["http://localhost:8080".into()],
            token: None,
        }),
        monitor: Some(Port::Free),
        sync_interval: SyncInterval::Always,
        ..options(root.path()).await
    })
    .await
    .unwrap();
    assert!(greeting(broker.client_url()).contains(r#""jetstream":true"#));
    assert!(broker.websocket_url().unwrap().starts_with("ws://127.0.0.1:"));
    let monitor = broker.monitor_url().unwrap().strip_prefix("http://").unwrap();
    TcpStream::connect(monitor).unwrap();
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn is_in_a_process_group_of_its_own() {
    let root = TempDir::new().unwrap();
    let broker = Broker::start(options(root.path()).await).await.unwrap();
    let pid = Pid::from_raw(broker.pid().unwrap() as i32);
    assert_eq!(getpgid(pid).unwrap(), pid.unwrap());
    assert_ne!(getpgid(pid).unwrap(), getpgrp());
}

#[tokio::test]
async fn comes_back_on_the_same_port_after_a_kill() {
    let root = TempDir::new().unwrap();
    let mut broker = Broker::start(options(root.path()).await).await.unwrap();
    let url = broker.client_url().to_owned();
    broker.kill().await.unwrap();
    broker.kill().await.unwrap();
    assert_eq!(broker.pid(), None);
    assert!(connect(&url).is_err());
    broker.restart().await.unwrap();
    assert_eq!(broker.client_url(), url);
    greeting(&url);
    // And when it runs.
    let pid = broker.pid();
    broker.restart().await.unwrap();
    assert_ne!(broker.pid(), pid);
    greeting(&url);
}

#[tokio::test]
async fn notices_a_kill_from_outside() {
    let root = TempDir::new().unwrap();
    let mut broker = Broker::start(options(root.path()).await).await.unwrap();
    let pid = Pid::from_raw(broker.pid().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let status = broker.wait().await.unwrap();
    assert!(!status.success());
    assert_eq!(broker.pid(), None);
    assert_eq!(broker.wait().await.unwrap(), status);
    broker.restart().await.unwrap();
    greeting(broker.client_url());
}

#[tokio::test]
async fn a_new_start_resumes_the_streams() {
    let root = TempDir::new().unwrap();
    let broker = Broker::start(options(root.path()).await).await.unwrap();
    let created = request(
        broker.client_url(),
        PATIENT,
        "$JS.API.STREAM.CREATE.S",
        r#"{"name":"S","subjects":["s"],"storage":"file","retention":"limits"}"#,
    )
    .unwrap();
    assert!(!created.contains("error"), "{created}");
    let stored = request(broker.client_url(), PATIENT, "s", "hello").unwrap();
    assert!(stored.contains(r#""seq":1"#), "{stored}");
    drop(broker);
    let broker = Broker::start(options(root.path()).await).await.unwrap();
    let info = request(broker.client_url(), PATIENT, "$JS.API.STREAM.INFO.S", "").unwrap();
    assert!(info.contains(r#""messages":1"#), "{info}");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_on_the_same_store_is_refused() {
    let root = TempDir::new().unwrap();
    let first = Broker::start(options(root.path()).await).await.unwrap();
    let error = Broker::start(options(root.path()).await).await.unwrap_err();
    assert!(matches!(error, Error::StoreInUse { .. }), "{error}");
    greeting(first.client_url());
    first.stop().await.unwrap();
    Broker::start(options(root.path()).await).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_an_error_with_the_log() {
    let root = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Broker::start(Options { port: Port::Fixed(port), ..options(root.path()).await }).await.unwrap_err();
    let Error::Exited { tail, .. } = error else { panic!("{error}") };
    assert!(tail.contains("address already in use"), "{tail}");
}

#[tokio::test]
async fn a_restart_waits_for_its_port() {
    let root = TempDir::new().unwrap();
    let mut broker = Broker::start(options(root.path()).await).await.unwrap();
    let url = broker.client_url().to_owned();
    broker.kill().await.unwrap();
    let taken = TcpListener::bind(url.strip_prefix("nats://").unwrap()).unwrap();
    let log = broker.log_file().to_owned();
    let (restarted, ()) = tokio::join!(broker.restart(), async {
        while !std::fs::read_to_string(&log).unwrap().contains("already in use") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(taken);
    });
    restarted.unwrap();
    assert_eq!(broker.client_url(), url);
    greeting(&url);
}

#[tokio::test]
async fn a_server_that_does_not_get_ready_is_killed() {
    let root = TempDir::new().unwrap();
    let sleeper = root.path().join("sleeper");
    std::fs::write(&sleeper, "#!/bin/sh\necho not ready\nexec sleep 600\n").unwrap();
    Command::new("chmod").arg("755").arg(&sleeper).status().unwrap();
    let start = |timeout| {
        Broker::start(Options { start_timeout: timeout, ..Options::new(&sleeper, root.path().join("store")) })
    };
    let error = start(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    // The lock is free again, which it would not be if the server still lived.
    let error = start(Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_binary_is_named() {
    let root = TempDir::new().unwrap();
    let error = Broker::start(Options::new("/no/such/nats-server", root.path())).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/nats-server"), "{error}");
}

#[test]
fn can_be_dropped_without_a_runtime() {
    let root = TempDir::new().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = runtime.block_on(async { Broker::start(options(root.path()).await).await.unwrap() });
    let url = broker.client_url().to_owned();
    drop(runtime);
    drop(broker);
    assert!(connect(&url).is_err());
}

#[tokio::test]
async fn a_configuration_file_is_used_as_it_is() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("mine.conf");
    let streams = root.path().join("streams");
    let text = "host: 127.0.0.1\nport: -1\nserver_name: mine\nauthorization { token: secret }\n";
    std::fs::write(&file, format!("{text}jetstream {{ store_dir: {streams:?} }}\n")).unwrap();
    let options = Options { config_file: Some(file), ..options(&root.path().join("store")).await };
    let mut broker = Broker::start(options).await.unwrap();
    let said = greeting(broker.client_url());
    assert!(said.contains(r#""server_name":"mine""#) && said.contains(r#""auth_required":true"#), "{said}");
    let url = broker.client_url().to_owned();
    broker.restart().await.unwrap();
    assert_eq!(broker.client_url(), url);
    greeting(&url);
}

#[tokio::test]
async fn settings_of_ones_own_come_beside_the_others() {
    let root = TempDir::new().unwrap();
    let settings = ServerSettings("accounts { A { jetstream: enabled, users: [{ user: a, password: b }] } }\n".into());
    let broker = Broker::start(Options { settings, ..options(root.path()).await }).await.unwrap();
    let said = greeting(broker.client_url());
    assert!(said.contains(r#""auth_required":true"#) && said.contains(r#""jetstream":true"#), "{said}");
}

/// Three ports nobody listens on, below the range the system hands out by itself, so that nobody gets them meanwhile.
fn three_ports() -> [u16; 3] {
    let first = 20_000 + (std::process::id() % 4_000) as u16 * 3;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let candidates = (first..32_000).step_by(3).map(|port| [port, port + 1, port + 2]);
    candidates.into_iter().find(|ports| ports.iter().all(free)).unwrap()
}

#[tokio::test]
async fn three_form_a_cluster() {
    let root = TempDir::new().unwrap();
    let ports = three_ports();
    let mut brokers = Vec::new();
    for port in ports {
        let cluster = ClusterOptions {
            name: "test".into(),
            server_name: format!("server-{port}"),
            port,
            routes: ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect(),
            advertise: None,
        };
        let options = Options { cluster: Some(cluster), ..options(&root.path().join(port.to_string())).await };
        brokers.push(Broker::start(options).await.unwrap());
    }
    // Until the three have elected a leader nothing is answered; creating a stream twice is the same as once.
    let stream = r#"{"name":"S","subjects":["s"],"storage":"file","retention":"limits","num_replicas":3}"#;
    let url = brokers[0].client_url();
    let created = (0..100).any(|_| match request(url, IMPATIENT, "$JS.API.STREAM.CREATE.S", stream) {
        Ok(answer) if answer.contains(r#""num_replicas":3"#) => true,
        outcome => {
            eprintln!("not yet: {outcome:?}");
            false
        }
    });
    assert!(created);
    for broker in brokers {
        broker.stop().await.unwrap();
    }
}

/// Not a test of its own: the program that is killed in the next one.
#[tokio::test]
#[ignore = "run by the_server_dies_with_its_program"]
async fn helper_program() {
    let Some(store) = std::env::var_os(HELPER_STORE) else {
        return;
    };
    let broker = Broker::start(options(Path::new(&store)).await).await.unwrap();
    eprintln!("running {}", broker.client_url());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_server_dies_with_its_program() {
    let root = TempDir::new().unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_program", "--ignored", "--nocapture"])
        .env(HELPER_STORE, root.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(program.stderr.take().unwrap());
    let url = said.lines().find_map(|line| Some(line.unwrap().strip_prefix("running ")?.to_owned())).unwrap();
    greeting(&url);
    program.kill().unwrap();
    program.wait().unwrap();
    // The lock is shared with the server, so this start succeeds only when the old one is gone.
    let broker = Broker::start(options(root.path()).await).await.unwrap();
    greeting(broker.client_url());
}
