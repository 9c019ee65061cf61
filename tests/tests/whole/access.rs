//! What `daybook nats config` and `daybook token` write, on real servers with a whole Daybook inside.

use async_nats::jetstream;
use async_nats::{ConnectOptions, HeaderMap};
use daybook_contracts::admin::ClockAdvance;
use daybook_domain::ids::Name;
use daybook_runtime::connection::BrokerOptions;
use daybook_runtime::http::Health;
use daybook_runtime::joining::connect_service;
use daybook_runtime::process::Context;
use daybook_tests::eventually;
use daybook_tests::installation::{
    AccessDirectory, ConfiguredServer, Installation, TenantClient, daybook, done, free_port,
};
use daybook_tests::processes::{PARTITIONS, Service};
use daybook_tests::web::Web;
use futures::StreamExt;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long something is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(700);

const DEFINITIONS: &str = r#"
kinds:
  - { name: order, mode: entity, dimensions: [channel], measures: [{ name: amount, type: decimal, scale: 2 }] }
  - { name: refund, mode: fact, dimensions: [channel], measures: [{ name: amount, type: decimal, scale: 2 }] }
views: [{ name: orders, kind: order, metrics: [orders: count] }]
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s, max_ahead: 8784h }
  - { id: a_b, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s, max_ahead: 8784h }
"#;

const LATER: &str = r#"tenants: [{ id: later, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s, max_ahead: 8784h }]"#;

fn order(id: &str) -> String {
    format!(
        r#"{{"id": "{id}", "at": "2024-03-01T12:00:00Z", "dims": {{"channel": "web"}}, "measures": {{"amount": "2.50"}}}}"#
    )
}

/// Runs the command line beside the test, which goes on.
async fn run(arguments: Vec<&str>) -> std::process::Output {
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let run = move || daybook(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// An order of so many bytes.
fn padded(bytes: usize) -> String {
    let order = order("o-1");
    format!("{order}{}", " ".repeat(bytes - order.len()))
}

async fn advance(daybook: &Installation, to: &str) {
    let advance = ClockAdvance { clock: Name::new("shop").unwrap(), advance_to: to.parse().unwrap() };
    daybook.client.advance(&advance).await.unwrap();
}

/// Publishes as JetStream clients do; the sequence of the PubAck.
async fn publish(tenant: &TenantClient, subject: &str, payload: String) -> Option<u64> {
    let jetstream =
        jetstream::context::ContextBuilder::new().timeout(SILENCE).ack_timeout(SILENCE).build(tenant.client.clone());
    let ack = jetstream.publish(subject.to_owned(), payload.into()).await.ok()?;
    ack.await.ok().map(|ack| ack.sequence)
}

/// An answer in JSON; `None` when there is none.
async fn ask(tenant: &TenantClient, subject: &str, question: &str) -> Option<Value> {
    let request = async_nats::Request::new().payload(question.to_owned().into()).timeout(Some(4 * SILENCE));
    let reply = tenant.client.send_request(subject.to_owned(), request).await.ok()?;
    serde_json::from_slice(&reply.payload).ok()
}

/// Whether so many orders are told of.
async fn orders(tenant: &TenantClient, id: &str, question: &str, count: u64) -> Option<()> {
    let answer = ask(tenant, &format!("daybook.query.{id}.orders"), question).await?;
    (answer["rows"][0]["orders"] == count).then_some(())
}

async fn connect(daybook: &Installation, token: &Path) -> TenantClient {
    daybook.connect(token).await.unwrap_or_else(|error| panic!("{}: {error}", token.display()))
}

/// Waits until a tenant's token opens the door.
async fn let_in(daybook: &Installation, token: &Path) -> TenantClient {
    eventually("the tenant is let in", || async { daybook.connect(token).await.ok() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_operator_run_without_a_violation() {
    run_everything(Installation::start("full").await).await;
}

/// With nkeys, whose permissions stand in the servers' file.
#[tokio::test(flavor = "multi_thread")]
async fn services_and_operator_run_without_a_violation_by_nkeys() {
    let folder = AccessDirectory { folder: tempfile::tempdir().unwrap() };
    let definitions = folder.definitions("tenants.yaml", DEFINITIONS);
    run_everything(Installation::start_with(&["--tenants", &definitions, "--tokens"]).await).await;
}

/// Everything that the gateway does, with its own credentials.
async fn by_http(daybook: &Installation) {
    let nats = daybook.access.identity("gateway", &daybook.server.url);
    let broker = BrokerOptions { nats, partitions: PARTITIONS, ..BrokerOptions::default() };
    let connection = connect_service(&broker, "gateway").await.unwrap();
    let options = gateway::Options { listen: "127.0.0.1:0".to_owned(), door: gateway::DoorOptions::default() };
    let bound = gateway::Bound::bind(options, gateway::Openness::Loopback).await.unwrap();
    let web = Web::at(&format!("http://{}", bound.address().unwrap()));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(bound.serve(Context::new(connection, Health::default(), stop.clone())));
    let mut events = web.follow("/v1/tenants/acme/views/orders/live", &[]).await;
    assert_eq!(events.next().await.unwrap().name, "snapshot");
    let published = web.post("/v1/tenants/acme/kinds/order/events", "application/json", order("o-http")).await;
    assert_eq!(published.status, 200, "{published:?}");
    assert_eq!(events.next().await.unwrap().name, "changes");
    for path in ["views", "views/orders", "days", "reports", "rejects", "position"] {
        assert_eq!(web.get(&format!("/v1/tenants/acme/{path}")).await.status, 200, "{path}");
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
}

/// Everything that services and the operator's commands do.
async fn run_everything(mut daybook: Installation) {
    daybook.define(DEFINITIONS).await;
    advance(&daybook, "2024-03-01T12:00:00Z").await;
    for number in 0..40 {
        let subject = daybook.client.connection.subjects.input("acme", "order");
        let payload = if number % 10 == 9 { "no event".to_owned() } else { order(&format!("o-{number}")) };
        daybook.client.connection.jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
    }
    daybook.client.settle().await.unwrap();
    // Listened to, so that shards write live rows.
    let mut live = daybook.client.connection.client.subscribe("daybook.live.acme.orders").await.unwrap();
    done(daybook.operator(&["query", "acme", "orders"]));
    let watch = daybook.client.connection.client.request("daybook.query.acme.orders", r#"{"watch": true}"#.into());
    watch.await.unwrap();
    let subject = daybook.client.connection.subjects.input("acme", "order");
    daybook.client.connection.jetstream.publish(subject, order("o-late").into()).await.unwrap().await.unwrap();
    tokio::time::timeout(daybook_tests::PATIENCE, live.next()).await.unwrap().unwrap();
    by_http(&daybook).await;
    advance(&daybook, "2024-03-03T12:00:00Z").await;
    daybook.client.settle().await.unwrap();
    // A view that comes later is backfilled; a snapshot is made, and the log trimmed below it.
    let later = "views: [{ name: amounts, kind: order, metrics: [{ name: total, value: sum(amount) }] }]";
    let file = daybook.access.definitions("later.yaml", later);
    done(daybook.operator(&["apply", "-f", &file, "--wait"]));
    daybook.client.settle().await.unwrap();

    for command in [
        &["status"][..],
        &["get", "tenants"],
        &["get", "views"],
        &["days", "acme"],
        &["day", "close", "acme"],
        &["report", "acme", "2024-03-01"],
        &["reports", "--tenant", "acme"],
        &["rejects", "acme"],
        &["query", "acme", "orders"],
    ] {
        done(daybook.operator(command));
    }
    // The log is trimmed: there is a snapshot to go on from, and what stood before cannot be told any more.
    eventually("snapshots are made, log and INBOX are trimmed", || async {
        let stream = async |name: &str| daybook.client.connection.jetstream.get_stream(name).await.ok();
        let snapshots = stream("OBJ_DAYBOOK_CHECKPOINTS").await?.cached_info().state.messages;
        let firsts = [stream("DAYBOOK_EVENTS").await?, stream("DAYBOOK_INBOX").await?];
        (snapshots > 0 && firsts.iter().all(|stream| stream.cached_info().state.first_sequence > 1)).then_some(())
    })
    .await;
    for command in [&["verify", "--all"][..], &["audit", "acme", "o-39"]] {
        let told = daybook.operator(command);
        assert!(!String::from_utf8_lossy(&told.stderr).contains("permission"), "{told:?}");
    }
    let events = daybook.access.definitions("more.ndjson", &order("o-replayed"));
    done(daybook.operator(&["replay", &events, "--kind", "order", "--tenant", "acme"]));
    // Everything again with what is there, and others in their places.
    for service in Service::ALL {
        let log = daybook.process(service).log().to_lowercase();
        assert!(!log.contains("permissions violation"), "{log}");
        daybook.process(service).terminate().await;
        daybook.process(service).start();
        let process = daybook.process(service);
        daybook_tests::processes::wait_until_ready(process, service).await;
    }
    daybook.client.settle().await.unwrap();
    assert_eq!(daybook.server.violations_of_services(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_its_own_subjects_and_no_other() {
    let daybook = Installation::start("full").await;
    daybook.define(DEFINITIONS).await;
    advance(&daybook, "2024-03-01T12:00:00Z").await;
    let token = daybook.access.create_token(&["acme"]);
    let mut acme = let_in(&daybook, &token).await;
    let other = daybook.access.create_token(&["a_b"]);
    let mut other = let_in(&daybook, &other).await;

    // Its own: publish, ask, follow live, days, reports, rejects.
    let mut heard = Vec::new();
    for subject in ["daybook.live.acme.*", "daybook.days.acme.*", "daybook.reports.acme.*", "daybook.rejects.acme"] {
        heard.push(acme.client.subscribe(subject).await.unwrap());
    }
    acme.client.flush().await.unwrap();
    ask(&acme, "daybook.query.acme.orders", r#"{"watch": true}"#).await.unwrap();
    let sequence = publish(&acme, "daybook.in.acme.order", order("o-1")).await.unwrap();
    let question = format!(r#"{{"at_least": {sequence}}}"#);
    eventually("its own event is counted", || orders(&acme, "acme", &question, 1)).await;
    publish(&acme, "daybook.in.acme.order", r#"{"id": "bad"}"#.to_owned()).await.unwrap();
    advance(&daybook, "2024-03-02T12:00:00Z").await;
    for messages in &mut heard {
        tokio::time::timeout(daybook_tests::PATIENCE, messages.next()).await.unwrap().unwrap();
    }

    // Another's, in both directions.
    for subject in ["daybook.in.acme.order", "daybook.query.acme.orders", "daybook.live.acme.orders"] {
        other.client.publish(subject, order("forged").into()).await.unwrap();
        other.told("permissions violation").await;
    }
    let hidden = ["daybook.live.acme.*", "daybook.days.>", "daybook.reports.*.*", "daybook.rejects.acme"];
    for subject in hidden.into_iter().chain(["daybook.alerts.acme", ">"]) {
        let _unheard = other.client.subscribe(subject).await.unwrap();
        other.told("permissions violation").await;
    }
    // Nothing of the services, the broker, or a kind that is not defined.
    for subject in [
        "daybook.admin.catalogue",
        "daybook.events.0",
        "daybook.shard.0",
        "daybook.members.ingest",
        "daybook.in.acme.invented",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.DIRECT.GET.DAYBOOK_REPORTS.daybook.reports.acme.2024-03-01",
        "$SYS.REQ.SERVER.PING",
        "$SRV.PING",
    ] {
        acme.client.publish(subject, "".into()).await.unwrap();
        acme.told("permissions violation").await;
    }
    // A reply subject that the services write to stays inside the tenant's account.
    let forged =
        [("daybook.in.a_b.order", "daybook.events.0"), ("daybook.query.a_b.orders", "daybook.reports.acme.2024-03-02")];
    for (subject, reply) in forged {
        let headers = HeaderMap::new();
        other.client.publish_with_reply_and_headers(subject, reply, headers, order("o-2").into()).await.unwrap();
    }
    other.client.flush().await.unwrap();
    daybook.client.settle().await.unwrap();
    for (tenant, id) in [(&acme, "acme"), (&other, "a_b")] {
        eventually("each has its own order", || orders(tenant, id, r#"{"days": "2024-03-01"}"#, 1)).await;
    }

    // The command line with a tenant's token: its own, and nobody else's.
    let as_acme = ["--nats", &daybook.server.url, "--nats-credentials", token.to_str().unwrap()];
    for command in [
        &["query", "acme", "orders"][..],
        &["days", "acme"],
        &["reports", "--tenant", "acme"],
        &["report", "acme", "2024-03-01"],
        &["rejects", "acme"],
    ] {
        done(run([command, &as_acme].concat()).await);
    }
    assert!(!run([&["report", "a_b", "2024-03-01"][..], &as_acme].concat()).await.status.success());
    assert!(daybook.server.log().contains("Publish Violation"), "what the tenants tried is told in the log");

    // With two kinds and an INBOX of 1 GiB, 16,128 bytes of a message keep a tenant within half of it.
    publish(&other, "daybook.in.a_b.order", padded(16_000)).await.expect("it fits");
    other.client.publish("daybook.in.a_b.order", padded(17_000).into()).await.unwrap();
    other.told("maximum payload").await;
    let mut crowd = Vec::new();
    let refused = loop {
        match daybook.connect(&token).await {
            Ok(one) if crowd.len() < 60 => crowd.push(one),
            outcome => break outcome.err(),
        }
    };
    assert!(refused.is_some() && crowd.len() == 49, "{} more connections, then {refused:?}", crowd.len());
    assert_eq!(daybook.server.violations_of_services(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_may_do_less_end_by_themselves_and_are_revoked() {
    let daybook = Installation::start("full").await;
    daybook.define(DEFINITIONS).await;
    advance(&daybook, "2024-03-01T12:00:00Z").await;
    let whole = daybook.access.create_token(&["acme"]);
    let mut stays = let_in(&daybook, &whole).await;

    let token = daybook.access.create_token(&["acme", "--publish-only", "--kinds", "order"]);
    let mut publisher = connect(&daybook, &token).await;
    publish(&publisher, "daybook.in.acme.order", order("o-1")).await.unwrap();
    for subject in ["daybook.in.acme.refund", "daybook.query.acme.orders"] {
        publisher.client.publish(subject, "".into()).await.unwrap();
        publisher.told("permissions violation").await;
    }
    let _unheard = publisher.client.subscribe("daybook.live.acme.orders").await.unwrap();
    publisher.told("permissions violation").await;

    let token = daybook.access.create_token(&["acme", "--kinds", "refund"]);
    let mut reader = connect(&daybook, &token).await;
    ask(&reader, "daybook.query.acme.orders", "").await.unwrap();
    reader.client.publish("daybook.in.acme.order", "".into()).await.unwrap();
    reader.told("permissions violation").await;

    let token = daybook.access.create_token(&["acme", "--expires", "3s"]);
    let mut brief = connect(&daybook, &token).await;
    brief.told("expired").await;
    eventually("it stays outside", || async { daybook.connect(&token).await.err() }).await;

    // Revoked by hand: those who are connected are sent away, and do not come back.
    let name = token_name(&whole);
    let told = daybook.revoke(&[&name]);
    assert!(told.contains("one NATS server has confirmed it"), "{told}");
    stays.told("revoked").await;
    assert!(daybook.connect(&whole).await.is_err());
    publish(&publisher, "daybook.in.acme.order", order("o-2")).await.expect("other tokens stay");
    // Twice is as good as once.
    daybook.revoke(&[&name]);

    // All of them at once, also those that nobody wrote down; what is made afterwards works.
    let told = daybook.revoke(&["acme", "--all"]);
    assert!(told.contains("every token of acme"), "{told}");
    publisher.told("revoked").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let fresh = daybook.access.create_token(&["acme"]);
    connect(&daybook, &fresh).await;
    let listed = done(daybook.access.token(&["list", "acme"]));
    let states: Vec<&str> = listed.lines().skip(1).map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(states, ["revoked", "revoked", "revoked", "revoked", "valid"], "{listed}");
    let ledger = std::fs::read_to_string(daybook.access.file("tokens.json")).unwrap();
    let file = std::fs::read_to_string(&fresh).unwrap();
    let secret = file.lines().find(|line| line.starts_with("SU")).unwrap();
    assert!(!ledger.contains(secret), "the ledger holds no secret");
}

/// What `daybook token list` calls the token in a file of the folder.
fn token_name(file: &Path) -> String {
    file.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_applied_gets_in_without_a_reload_full() {
    gets_in_when_applied("full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_applied_gets_in_without_a_reload_cache() {
    gets_in_when_applied("cache").await;
}

async fn gets_in_when_applied(mode: &str) {
    let mut daybook = Installation::start(mode).await;
    daybook.define(DEFINITIONS).await;
    advance(&daybook, "2024-03-01T12:00:00Z").await;
    let acme = daybook.access.create_token(&["acme"]);
    let later = daybook.access.create_token(&["later"]);
    let known = let_in(&daybook, &acme).await;
    assert!(daybook.connect(&later).await.is_err(), "it is not applied yet");
    daybook.define(LATER).await;
    advance(&daybook, "2024-03-01T12:00:00Z").await;
    let late = let_in(&daybook, &later).await;
    publish(&late, "daybook.in.later.order", order("o-1")).await.unwrap();
    publish(&known, "daybook.in.acme.order", order("o-1")).await.unwrap();

    // A kind that is defined later may be published by those who are connected.
    let kind = "kinds: [{ name: visit, mode: fact, dimensions: [channel] }]";
    daybook.define(kind).await;
    eventually("the new kind may be published", || async {
        publish(&known, "daybook.in.acme.visit", r#"{"id": "v-1"}"#.to_owned()).await
    })
    .await;

    // Day-manager is away: who is known gets in, also after the server has been restarted, and who was revoked does not.
    let revoked = daybook.access.create_token(&["acme"]);
    connect(&daybook, &revoked).await;
    daybook.revoke(&[&token_name(&revoked)]);
    daybook.process(Service::DayManager).kill();
    daybook.server.restart().await;
    connect(&daybook, &acme).await;
    assert!(daybook.connect(&revoked).await.is_err(), "it was revoked");
    assert_eq!(daybook.server.violations_of_services(), [""; 0]);
}

/// A server that was down when a token was revoked has the account from before on its disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_remembers_an_old_account_is_told_of_revoked_tokens() {
    let mut daybook = Installation::start("full").await;
    daybook.define(DEFINITIONS).await;
    let token = daybook.access.create_token(&["acme"]);
    let_in(&daybook, &token).await;
    let accounts = daybook.access.file("data/nats-1/accounts");
    let remembered: Vec<(PathBuf, String)> = std::fs::read_dir(&accounts)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|file| (file.clone(), std::fs::read_to_string(file).unwrap()))
        .collect();
    daybook.revoke(&[&token_name(&token)]);
    daybook.server.kill().await;
    let restore = remembered.iter().filter(|(file, text)| std::fs::read_to_string(file).unwrap() != *text);
    let restored = restore.map(|(file, text)| std::fs::write(file, text).unwrap()).count();
    assert_eq!(restored, 1, "the account of acme");
    daybook.server.restart().await;
    if let Ok(mut client) = daybook.connect(&token).await {
        client.told("revoked").await;
    }
    assert!(daybook.connect(&token).await.is_err());
}

/// Three servers of a cluster with TLS, as `--self-signed` and `--server` write them.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_with_certificates_of_its_own() {
    let servers: Vec<String> =
        (1..=3).map(|number| format!("nats-{number}=127.0.0.1:{}:{}", free_port(), free_port())).collect();
    let mut arguments = vec!["--mode", "full", "--self-signed", "localhost", "127.0.0.1", "--listen", "127.0.0.1"];
    servers.iter().for_each(|server| arguments.extend(["--server", server]));
    let access = AccessDirectory::make(&arguments);
    let config = |number: u32| access.file(&format!("servers/nats-{number}.conf"));
    let folders = [1, 2, 3].map(|number| access.folder.path().join(format!("run-{number}")));
    let starts = (1..).zip(&folders).map(|(number, folder)| ConfiguredServer::start(config(number), folder));
    let servers = futures::future::join_all(starts).await;
    let url = servers[0].url.replace("nats://", "tls://");

    let credentials = access.file("services/day-manager.creds");
    let without_ca = ConnectOptions::with_credentials_file(&credentials).await.unwrap();
    assert!(without_ca.connect(&url).await.is_err(), "the authority is a private one");
    let options = ConnectOptions::with_credentials_file(&credentials).await.unwrap();
    let client = options.add_root_certificates(access.file("servers/tls/ca.pem")).connect(&url).await.unwrap();
    // Three copies: the servers have found each other, with certificates and password.
    let jetstream = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: "DAYBOOK_DAYS".to_owned(),
        subjects: vec!["daybook.days.*.*".to_owned()],
        num_replicas: 3,
        ..Default::default()
    };
    let created =
        eventually("a stream of three", || async { jetstream.create_stream(config.clone()).await.ok() }).await;
    assert_eq!(created.cached_info().cluster.as_ref().unwrap().replicas.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_in_the_file_change_with_a_reload() {
    let access = AccessDirectory { folder: tempfile::tempdir().unwrap() };
    let definitions = access.definitions("tenants.yaml", DEFINITIONS);
    access.configure(&["--tenants", &definitions, "--tokens", "--server", "nats-1=127.0.0.1:-1"]);
    let folder = access.folder.path().join("run");
    let server = ConfiguredServer::start(access.file("servers/nats-1.conf"), &folder).await;
    let connect = async |seed: &Path| {
        let options = ConnectOptions::with_nkey(std::fs::read_to_string(seed).unwrap().trim().to_owned());
        TenantClient::connect(options, &server.url).await
    };
    // Some service, to see what arrives there.
    let service = connect(&access.file("services/query.nk")).await.unwrap();
    let mut questions = service.client.subscribe("daybook.query.*.*").await.unwrap();
    service.client.flush().await.unwrap();

    let tokens: Vec<PathBuf> =
        std::fs::read_dir(access.file("tokens")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let first = tokens.iter().find(|file| file.to_str().unwrap().contains("/acme-")).unwrap();
    assert_eq!(tokens.len(), 2, "one for each tenant");
    let mut acme = connect(first).await.unwrap();
    let asking = ask(&acme, "daybook.query.acme.orders", "");
    let answering = async {
        let question = questions.next().await.unwrap();
        service.client.publish(question.reply.unwrap(), "{}".into()).await.unwrap();
    };
    assert_eq!(tokio::join!(asking, answering).0, Some(serde_json::json!({})));
    for subject in ["daybook.query.a_b.orders", "daybook.in.acme.invented", "$JS.API.INFO"] {
        acme.client.publish(subject, "".into()).await.unwrap();
        acme.told("permissions violation").await;
    }

    // A token that is made works after a reload, and less is possible with one that may do less.
    let token = access.create_token(&["acme", "--publish-only"]);
    assert!(connect(&token).await.is_err());
    server.reload();
    let mut publisher = eventually("the new token works", || async { connect(&token).await.ok() }).await;
    publisher.client.publish("daybook.query.acme.orders", "".into()).await.unwrap();
    publisher.told("permissions violation").await;
    assert!(!access.token(&["create", "acme", "--expires", "1d"]).status.success(), "nothing ends in a file");
    assert!(!access.token(&["create", "later"]).status.success(), "it has no account");

    // A tenant that comes with the command, which keeps the tokens of the others.
    let later = access.definitions("later.yaml", LATER);
    access.configure(&["--tenants", &later, "--tokens"]);
    server.reload();
    let token = std::fs::read_dir(access.file("tokens")).unwrap().map(|entry| entry.unwrap().path());
    let token = token.into_iter().find(|file| file.to_str().unwrap().contains("/later-")).unwrap();
    eventually("the new tenant is let in", || async { connect(&token).await.ok() }).await;
    connect(first).await.unwrap();

    // Revoked: sent away by the reload.
    done(access.token(&["revoke", &token_name(first)]));
    server.reload();
    acme.told("authorization violation").await;
    assert!(connect(first).await.is_err());
    // Nothing in the servers' files is a secret of a user.
    let written = std::fs::read_to_string(access.file("servers/accounts.conf")).unwrap();
    assert!(!written.contains("\"SU"), "{written}");
}

#[test]
fn the_command_repeated_keeps_keys_and_no_other_folder_is_touched() {
    let access = AccessDirectory::make(&["--mode", "full", "--inbox-max-bytes", "1073741824"]);
    let read = |name: &str| std::fs::read_to_string(access.file(name)).unwrap();
    let secrets = ["operator.seed", "services/query.creds", "services/accounts.creds", "services/system.creds"];
    let before = secrets.map(read);
    access.create_token(&["acme"]);
    // A cluster that can be larger, another sort of resolver, settings from last time.
    let servers = ["--mode", "cache", "--server", "a", "--server", "b", "--server", "c"];
    access.configure(&servers);
    assert_eq!(secrets.map(read), before);
    let settings: Value = serde_json::from_str(&read("access.json")).unwrap();
    assert_eq!((&settings["mode"], &settings["inbox_max_bytes"]), (&"cache".into(), &1_073_741_824_u64.into()));
    let route = read("route.password");
    access.configure(&[]);
    assert_eq!(read("route.password"), route);
    assert!(read("servers/b.conf").contains(&format!("nats://route:{}@c:6222", route.trim())));
    assert_eq!(done(access.token(&["list"])).lines().count(), 2, "the ledger is kept");

    let refused = |out: &Path, arguments: &[&str]| {
        let output = daybook(&[&["nats", "config", "--out", out.to_str().unwrap()], arguments].concat());
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&access.path(), &["--mode", "file"]).contains("choose another folder"));
    assert!(refused(access.folder.path(), &["--mode", "full"]).contains("not empty"));
    let fresh = access.folder.path().join("fresh");
    assert!(refused(&fresh, &[]).contains("--tenants FILE"), "without tenants a file has no accounts");
    let broken = access.definitions("broken.yaml", "tenants: [{ id: a.b }]");
    assert!(refused(&fresh, &["--tenants", &broken]).contains("broken.yaml"));
    assert!(refused(&fresh, &["--mode", "full", "--prefix", "Day.book"]).contains("prefix"));

    // A token that names more kinds than a server's first line holds is not made.
    let kinds: Vec<String> = (0..60).map(|number| format!("kind-with-a-long-name-{number:02}")).collect();
    let output = access.token(&["create", "acme", "--kinds", &kinds.join(",")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("name fewer kinds"), "{output:?}");
    assert_eq!(done(access.token(&["list"])).lines().count(), 2, "nor is it noted");
}
