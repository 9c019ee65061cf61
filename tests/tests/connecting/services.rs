//! Services that wait for their broker, say why, and use it securely.

use crate::{SECRET, address, options};
use daybook_broker::ServerSettings;
use daybook_domain::ids::TenantId;
use daybook_runtime::connection::BrokerOptions;
use daybook_tests::installation::free_port;
use daybook_tests::processes::{self, Process};
use daybook_tests::route::Route;
use daybook_tests::secured::Authority;
use daybook_tests::{Daybook, PrivateBroker, define, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A query service that is to connect by these arguments.
fn query(folder: &Path, arguments: &[&str]) -> Process {
    let always = ["--partitions", "2", "--log-format", "json"];
    let arguments = arguments.iter().chain(&always).map(|argument| argument.to_string()).collect();
    let mut process = Process::new("query", processes::binary("query"), arguments, folder);
    process.start();
    process
}

/// The lines of its log, as JSON, that say this.
fn lines(process: &Process, what: &str) -> Vec<Value> {
    let log = process.log();
    log.lines().filter(|line| line.contains(what)).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A broker whose configuration file can be changed, and is read again when it is told to.
async fn configured(authorization: &str) -> (PrivateBroker, impl Fn(&str) + use<>) {
    let folder = tempfile::tempdir().unwrap();
    let (file, streams) = (folder.path().join("server.conf"), folder.path().join("streams"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let write = {
        let file = file.clone();
        move |authorization: &str| {
            let listen = format!("host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: {streams:?} }}\n");
            fs::write(&file, format!("{listen}{authorization}\n")).unwrap();
        }
    };
    write(authorization);
    let broker = PrivateBroker::start_with(folder, |options| options.config_file = Some(file)).await;
    let pid = Pid::from_raw(broker.broker.pid().unwrap().cast_signed()).unwrap();
    let reload = move |authorization: &str| {
        write(authorization);
        kill_process(pid, Signal::HUP).unwrap();
    };
    (broker, reload)
}

fn user(name: &str, more: &str) -> String {
    format!("authorization {{ users: [ {{ user: {name}, password: {SECRET:?} {more} }} ] }}")
}

#[tokio::test]
async fn a_service_that_is_refused_says_so_once_and_comes_in_when_its_user_is_made() {
    let (broker, reload) = configured(&user("somebody", "")).await;
    let url = format!("nats://ann:{SECRET}@{}", address(&broker));
    let query = query(broker.folder.path(), &["--nats", &url]);
    eventually("it says why it waits", async || (!lines(&query, "waiting for the broker").is_empty()).then_some(()))
        .await;
    // Time for a few attempts.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let waits = lines(&query, "waiting for the broker");
    assert_eq!(waits.len(), 1, "{waits:?}");
    let why = waits[0]["error"].as_str().unwrap();
    assert!(why.contains("authorization refused") && why.contains("\"ann\""), "{why}");
    assert_eq!(query.log().lines().count(), 1, "{}", query.log());

    reload(&user("ann", ""));
    eventually("it is connected", async || (!lines(&query, "\"connected\"").is_empty()).then_some(())).await;
    assert!(!query.log().contains(SECRET));
}

#[tokio::test]
async fn a_service_tells_when_the_reason_changes() {
    let (mut broker, _) = configured(&user("somebody", "")).await;
    let url = format!("nats://ann:{SECRET}@{}", address(&broker));
    broker.broker.kill().await.unwrap();
    let query = query(broker.folder.path(), &["--nats", &url]);
    let told = async |what: &str| {
        eventually(what, async || (lines(&query, "waiting for the broker").len() == 1).then_some(())).await;
    };
    told("nobody answers").await;
    assert!(query.log().contains("nobody answers there"), "{}", query.log());
    broker.broker.restart().await.unwrap();
    eventually("it is refused", async || query.log().contains("authorization refused").then_some(())).await;
    assert_eq!(lines(&query, "waiting for the broker").len(), 2);
}

#[tokio::test]
async fn a_service_ends_at_once_when_only_its_own_settings_can_be_wrong() {
    let (broker, _) = configured("").await;
    let url = broker.broker.client_url();
    let folder = broker.folder.path();
    let rubbish = folder.join("rubbish.creds");
    fs::write(&rubbish, SECRET).unwrap();
    let rubbish = rubbish.to_str().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["--nats", url, "--nats-credentials", "no-such.creds"], "no-such.creds"),
        (&["--nats", url, "--nats-credentials", rubbish], "holds no NATS user credentials"),
        (&["--nats", url, "--nats-user", "ann"], "--nats-user needs a password"),
        (&["--nats", url, "--nats-cert", "a.pem"], "--nats-cert needs --nats-key"),
        (&["--nats", "http://broker"], "URL 1 of --nats"),
    ];
    for (arguments, why) in cases {
        let mut query = query(folder, arguments);
        let status = query.ended().await;
        assert!(!status.success() && query.log().contains(why), "{arguments:?}: {}", query.log());
        assert!(!query.log().contains(SECRET), "{}", query.log());
    }
}

/// The lines of a log, each of which must be JSON.
fn all_lines(process: &Process) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    process.log().lines().map(parse).collect()
}

#[tokio::test]
async fn a_log_in_json_is_json_to_the_last_line_whatever_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str, Option<&str>); 5] = [
        (&["--no-such", "1"], "--no-such", None),
        (&["--max-staleness-ms", "soon"], "soon", None),
        (&["--nats", "http://broker"], "URL 1 of --nats", None),
        (&["--config", "no-such.yaml"], "no-such.yaml", Some("No such file")),
        (&["--nats-credentials", "no-such.creds"], "no-such.creds", Some("No such file")),
    ];
    for (arguments, why, cause) in cases {
        let mut query = query(folder.path(), arguments);
        assert!(!query.ended().await.success());
        let lines = all_lines(&query);
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last["timestamp"].is_string() && last["target"] == "query", "{last}");
        assert!(last["error"].as_str().unwrap().contains(why), "{last}");
        if let Some(cause) = cause {
            assert!(last.to_string().contains(cause), "{last}");
        }
    }
    let mut up = Process::new(
        "up",
        processes::binary("daybook"),
        ["up", "--log-format", "json", "--data", "/dev/null/x"].map(str::to_owned).to_vec(),
        folder.path(),
    );
    up.start();
    assert!(!up.ended().await.success());
    let lines = all_lines(&up);
    assert!(lines.last().unwrap()["error.sources"][0].as_str().unwrap().contains("Not a directory"), "{lines:?}");
}

#[tokio::test]
async fn a_log_in_json_holds_the_causes_of_errors() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let query = query(folder.path(), &["--nats", &format!("nats://127.0.0.1:{port}")]);
    let waits = async || lines(&query, "waiting for the broker").into_iter().next();
    let line = eventually("it says why it waits", waits).await;
    let causes = line["error.sources"].as_array().unwrap();
    assert!(causes.iter().any(|cause| cause.as_str().unwrap().contains("refused")), "{line}");
}

#[tokio::test]
async fn a_secret_that_never_comes_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let arguments = ["days", "acme", "--nats-token-file", pipe.to_str().unwrap()].map(str::to_owned).to_vec();
    let mut command = Process::new("days", processes::binary("daybook"), arguments, folder.path());
    command.start();
    let status = command.ended().await;
    assert!(!status.success() && command.log().contains("cannot be read within"), "{}", command.log());
}

#[tokio::test]
async fn a_service_says_what_it_may_not_do_once_for_each_subject() {
    let (broker, _) = configured(&user("ann", ", permissions: { publish: { deny: \"daybook.members.*\" } }")).await;
    let url = format!("nats://ann:{SECRET}@{}", address(&broker));
    let query = query(broker.folder.path(), &["--nats", &url]);
    let what = "does not permit this user";
    eventually("it says what is missing", async || (!lines(&query, what).is_empty()).then_some(())).await;
    // It tries twice a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let said = lines(&query, what);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0]["subject"].as_str().unwrap().contains("daybook.members.query"), "{said:?}");
    assert_eq!(said[0]["action"], "publish to");
}

#[tokio::test]
async fn a_service_that_may_not_ask_jetstream_names_the_subject_while_it_waits() {
    let (broker, reload) = configured(&user("ann", ", permissions: { publish: { deny: \"$JS.API.>\" } }")).await;
    let url = format!("nats://ann:{SECRET}@{}", address(&broker));
    let query = query(broker.folder.path(), &["--nats", &url]);
    eventually("it says why it waits", async || {
        let waits = lines(&query, "waiting for the broker");
        waits.first().map(|line| line["error"].as_str().unwrap().contains("$JS.API.STREAM.INFO")).filter(|named| *named)
    })
    .await;
    reload(&user("ann", ""));
    eventually("it is connected", async || (!lines(&query, "\"connected\"").is_empty()).then_some(())).await;
}

#[tokio::test]
async fn a_service_that_comes_to_an_old_server_later_says_so_and_goes_on() {
    let (mut broker, _) = configured("").await;
    let is_old = Arc::new(AtomicBool::new(false));
    let route = {
        let is_old = is_old.clone();
        Route::new(broker.broker.client_url(), move |_, frame| {
            if frame.words().next() == Some("INFO") && is_old.load(Ordering::Relaxed) {
                let text = String::from_utf8(frame.bytes.clone()).unwrap();
                let version = daybook_broker::pin::VERSION;
                assert!(text.contains(version), "{text}");
                frame.bytes =
                    text.replace(&format!("\"version\":\"{version}\""), "\"version\":\"2.12.8\"").into_bytes();
            }
            true
        })
        .await
    };
    let query = query(broker.folder.path(), &["--nats", &route.url()]);
    eventually("it is connected", async || (!lines(&query, "\"connected\"").is_empty()).then_some(())).await;
    is_old.store(true, Ordering::Relaxed);
    broker.broker.restart().await.unwrap();
    let line = eventually("it tells of the old one", async || lines(&query, "forged").pop()).await;
    assert!(line["level"] == "ERROR" && line["reason"].as_str().unwrap().contains("2.12.8"), "{line}");
    assert!(!lines(&query, "the connection to the broker is lost").is_empty());
    assert!(query.is_started());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_daybook_runs_over_tls_with_user_and_password() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let tls = authority.certificate("server", &["127.0.0.1"]).options();
    let broker = PrivateBroker::start_with(folder, |options| {
        options.tls = Some(tls);
        options.settings = ServerSettings(user("services", ""));
    })
    .await;
    let password = broker.folder.path().join("password");
    fs::write(&password, format!("{SECRET}\n")).unwrap();
    let url = broker.broker.client_url().to_owned();
    let nats = options(&url, |options| {
        options.nats_user = Some("services".into());
        options.nats_password_file = Some(password.clone());
        options.nats_ca = Some(authority.file.clone());
    });
    let mut daybook = Daybook::start_on(broker, |options| {
        options.broker = BrokerOptions { nats: nats.clone(), ..options.broker.clone() };
    })
    .await;
    define(
        &daybook.client,
        "kinds: [{ name: order, mode: entity, measures: [total] }]\n\
         views: [{ name: sales, kind: order, metrics: [orders: count, revenue: sum(total)] }]\n\
         tenants: [{ id: acme, zone: UTC, cutoff: \"00:00\" }]\n",
    )
    .await;
    let order =
        serde_json::json!({"id": "o-1", "at": daybook_runtime::clock::now().to_string(), "measures": {"total": 7}});
    daybook.publish("acme", "order", order.to_string()).await;
    daybook.settle().await;
    let days = daybook.client.days(&TenantId::new("acme").unwrap()).await.unwrap();
    assert_eq!(days.days.iter().map(|day| day.account.counted).sum::<u64>(), 1, "{days:?}");

    // The command line comes in the same way, by its environment.
    let mut command = processes::command(&processes::binary("daybook"));
    command
        .args(["query", "acme", "sales", "--json"])
        .env("DAYBOOK_NATS", &url)
        .env("DAYBOOK_NATS_USER", "services")
        .env("DAYBOOK_NATS_PASSWORD", SECRET)
        .env("DAYBOOK_NATS_CA", &authority.file)
        .env("DAYBOOK_PARTITIONS", "4");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["rows"].as_array().unwrap().len(), 1, "{answer}");
    // A restarted broker is connected to again.
    daybook.broker.broker.restart().await.unwrap();
    let order =
        serde_json::json!({"id": "o-2", "at": daybook_runtime::clock::now().to_string(), "measures": {"total": 7}});
    eventually("it goes on after the broker's restart", async || {
        let subject = daybook.client.connection.subjects.input("acme", "order");
        let sent = daybook.client.connection.jetstream.publish(subject, order.to_string().into()).await.ok()?;
        sent.await.ok()
    })
    .await;
    daybook.settle().await;
    let days = daybook.client.days(&TenantId::new("acme").unwrap()).await.unwrap();
    assert_eq!(days.days.iter().map(|day| day.account.counted).sum::<u64>(), 2, "{days:?}");
    daybook.stop_services().await;
}

/// A `daybook up` that has said that it is up.
async fn up(folder: &Path, arguments: &[&str]) -> Process {
    let data = folder.join("data").to_str().unwrap().to_owned();
    let always = ["up", "--partitions", "2", "--data", &data];
    let arguments = always.iter().chain(arguments).map(|argument| argument.to_string()).collect();
    let mut process = Process::new("up", processes::binary("daybook"), arguments, folder);
    process.start();
    eventually("it is up", async || process.log().contains("Daybook is up").then_some(())).await;
    process
}

#[tokio::test]
async fn up_runs_its_broker_by_a_configuration_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let certificate = authority.certificate("server", &["127.0.0.1"]);
    let (file, streams) = (folder.path().join("server.conf"), folder.path().join("streams"));
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}", certificate.file, certificate.key);
    let jetstream = format!("jetstream {{ store_dir: {streams:?} }}");
    fs::write(&file, format!("host: 127.0.0.1\nport: -1\n{jetstream}\n{tls}\n{}\n", user("ann", ""))).unwrap();
    let password = folder.path().join("password");
    fs::write(&password, SECRET).unwrap();
    let paths = [&file, &password, &authority.file].map(|path| path.to_str().unwrap());
    let who = ["--nats-user", "ann", "--nats-password-file", paths[1], "--nats-ca", paths[2]];
    let mut up = up(folder.path(), &[&["--nats-server-config", paths[0]], who.as_slice()].concat()).await;
    let log = up.log();
    let url = log.lines().find_map(|line| line.trim().strip_prefix("NATS       ")).unwrap();
    assert!(url.starts_with("tls://127.0.0.1:"), "{log}");
    let mut command = processes::command(&processes::binary("daybook"));
    command.args(["status", "--nats", url]).args(who);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (status, _) = up.terminate().await;
    assert!(status.success() && !up.log().contains(SECRET), "{}", up.log());
}

#[tokio::test]
async fn up_on_a_broker_that_is_there_takes_all_settings() {
    let (broker, _) = configured(&user("ann", "")).await;
    let url = format!("nats://ann:{SECRET}@{}", address(&broker));
    let mut up = up(broker.folder.path(), &["--nats", &url, "--stream-replicas", "1", "--prefix", "other"]).await;
    assert!(up.log().contains(&format!("NATS       nats://{}", address(&broker))), "{}", up.log());
    let (status, _) = up.terminate().await;
    assert!(status.success() && !up.log().contains(SECRET), "{}", up.log());
}

/// The broker must die behind its own start and before the services are ready: the first line of the log is between.
#[tokio::test]
async fn up_restarts_its_broker_while_the_services_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let port = free_port().to_string();
    let arguments = ["up", "--partitions", "2", "--data", data.to_str().unwrap(), "--port", &port];
    let arguments = arguments.map(str::to_owned).to_vec();
    let mut up = Process::new("up", processes::binary("daybook"), arguments, folder.path());
    up.start();
    eventually("a stream is made", async || up.log().contains("DAYBOOK_CATALOG").then_some(())).await;
    // The broker names this file by its process: nats-server_PID.ports.
    let broker = eventually("the broker tells its ports", async || {
        let file = fs::read_dir(data.join("broker/ports")).ok()?.next()?.ok()?.file_name();
        let (_, process) = file.to_str()?.split_once('_')?;
        process.strip_suffix(".ports")?.parse().ok().and_then(Pid::from_raw)
    })
    .await;
    assert!(!up.log().contains("Daybook is up"), "too late to be killed: {}", up.log());
    kill_process(broker, Signal::KILL).unwrap();
    eventually("it is up", async || up.log().contains("Daybook is up").then_some(())).await;
    assert!(up.log().contains("the private broker ended; starting it again"), "{}", up.log());
    let (status, _) = up.terminate().await;
    assert!(status.success(), "{}", up.log());
}
