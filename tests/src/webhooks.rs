//! Receivers of alerts, gateways that send to them, and alerts on the stream as a shard writes them.

use crate::processes::{Process, binary};
use crate::{PrivateBroker, eventually};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::Info;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use daybook_contracts::alert::{alert_id, alert_position};
use daybook_contracts::headers as header_names;
use daybook_domain::ids::{LogSeq, TenantId};
use daybook_runtime::append::{Appended, append, last_message};
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use daybook_runtime::joining::connect_service;
use ring::hmac;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The secret of every target in these tests.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with this status, and with further header lines, each with its end.
    Status(u16, String),
    /// Keeps the connection open and says nothing.
    Hang,
    /// Closes the connection without a word.
    Close,
    /// Answers 200, and never sends the body that it announces.
    Endless,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Status(status, String::new())
    }
}

/// A request as a receiver got it.
#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// When it came, in milliseconds since 1970.
    pub at: i64,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Whether it is signed with this secret, by the Standard Webhooks specification, within five minutes.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let timestamp = self.header("webhook-timestamp");
        let is_fresh = (timestamp.parse::<i64>().unwrap() - self.at / 1_000).abs() < 300;
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = [self.id().as_bytes(), b".", timestamp.as_bytes(), b".", &self.body].concat();
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
        let expected = format!("v1,{}", STANDARD.encode(signature));
        is_fresh && self.header("webhook-signature").split(' ').any(|found| found == expected)
    }
}

/// A receiver of webhooks in this process.
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    /// Takes everything.
    pub async fn willing() -> Self {
        Self::start(|_, _| Reply::status(204)).await
    }

    /// Replies as `reply` says to each request; its number begins at 0.
    pub async fn start(reply: impl Fn(usize, &Got) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (all, reply) = (got.clone(), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, all.clone(), reply.clone()));
            }
        });
        Self { url, got }
    }

    /// What it got so far, in the order of arrival.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// How often it got each alert, by id.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.got().iter().fold(BTreeMap::new(), |mut counts, got| {
            *counts.entry(got.id().to_owned()).or_default() += 1;
            counts
        })
    }

    /// Waits until it got so many requests; returns all.
    pub async fn requests(&self, count: usize) -> Vec<Got> {
        eventually(&format!("{count} requests at {}", self.url), || async {
            Some(self.got()).filter(|got| got.len() >= count)
        })
        .await
    }
}

async fn serve(
    mut stream: TcpStream,
    all: Arc<Mutex<Vec<Got>>>,
    reply: Arc<impl Fn(usize, &Got) -> Reply>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let line = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: BTreeMap<String, String> = lines.filter_map(line).collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while bytes.len() < head + 4 + length {
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    let got = Got { path, headers, body: bytes[head + 4..].to_vec(), at: clock::now().as_millis() };
    let number = {
        let mut all = all.lock().unwrap();
        all.push(got.clone());
        all.len() - 1
    };
    match reply(number, &got) {
        Reply::Status(status, more) => {
            let answer = format!("HTTP/1.1 {status} Said\r\n{more}Content-Length: 4\r\nConnection: close\r\n\r\nsaid");
            // No body with this one.
            let answer = if status == 204 { "HTTP/1.1 204 No Content\r\n\r\n".to_owned() } else { answer };
            stream.write_all(answer.as_bytes()).await.ok()
        }
        Reply::Hang => {
            let _ = stream.read(&mut [0]).await;
            None
        }
        Reply::Close => None,
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await.ok()?;
            let _ = stream.read(&mut [0]).await;
            None
        }
    }
}

/// A broker with Daybook's streams and a folder for files, and no service on it.
pub struct AlertsBroker {
    pub connection: Connection,
    pub broker: PrivateBroker,
    next: Mutex<u64>,
}

impl AlertsBroker {
    pub async fn start() -> Self {
        let broker = PrivateBroker::start().await;
        let connection = connect_service(&broker.options(), "shard").await.unwrap();
        Self { connection, broker, next: Mutex::new(1) }
    }

    /// Writes an alert as the shard does; returns its id and its bytes.
    pub async fn alert(&self, tenant: &str, alert: &str) -> (String, Vec<u8>) {
        write_alert(&self.connection, tenant, alert, self.next_log()).await
    }

    /// Writes an alert as a shard of a newer version might: in its place, and in a form that is not known here.
    pub async fn unreadable_alert(&self, tenant: &str) {
        append_alert(&self.connection, tenant, self.next_log(), b"{\"newer\":true}".to_vec()).await;
    }

    fn next_log(&self) -> LogSeq {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        LogSeq(*next)
    }

    /// Writes so many alerts of one name; returns their ids.
    pub async fn alerts(&self, tenant: &str, alert: &str, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.alert(tenant, alert).await.0);
        }
        ids
    }

    pub fn folder(&self) -> &Path {
        self.broker.folder.path()
    }

    /// Writes the file of webhooks, and the file of their secret; `targets` are lines of YAML.
    pub fn webhooks(&self, targets: &[String]) -> PathBuf {
        write_webhooks(self.folder(), targets)
    }

    /// A gateway with that file; it does not run yet.
    pub fn gateway(&self, label: &str) -> Process {
        let broker = ["--nats", self.broker.broker.client_url(), "--partitions", "4"].map(str::to_owned);
        let arguments = broker.into_iter().chain(gateway_arguments(self.folder())).collect();
        Process::new(label, binary("gateway"), arguments, self.folder())
    }

    /// How the consumer of a target is: alerts not yet read, and alerts read and not settled; nothing when there is none.
    pub async fn waiting(&self, target: &str) -> Option<(u64, usize)> {
        waiting(&self.connection, target).await
    }

    /// The subjects that the consumer of a target has; nothing when there is none.
    pub async fn filters(&self, target: &str) -> Option<Vec<String>> {
        let info = consumer_info(&self.connection, target).await?;
        let config = info.config;
        Some(if config.filter_subject.is_empty() { config.filter_subjects } else { vec![config.filter_subject] })
    }

    /// Waits until the target has a consumer.
    pub async fn has_consumer(&self, target: &str) {
        eventually(&format!("the consumer of {target}"), || self.waiting(target)).await;
    }

    /// Removes the target's consumer, as a broker does that loses it.
    pub async fn lose_consumer(&self, target: &str) {
        let jetstream = &self.connection.jetstream;
        let stream = jetstream.get_stream(self.connection.subjects.alerts_stream()).await.unwrap();
        stream.delete_consumer(&durable_name(&self.connection, target)).await.unwrap();
    }

    /// Waits until everything is settled for the target.
    pub async fn settled(&self, target: &str) {
        eventually(&format!("{target} has everything"), || async {
            (self.waiting(target).await == Some((0, 0))).then_some(())
        })
        .await;
    }
}

/// How the consumer of a target is: alerts not yet read, and alerts read and not settled; nothing when there is none.
pub async fn waiting(connection: &Connection, target: &str) -> Option<(u64, usize)> {
    consumer_info(connection, target).await.map(|info| (info.num_pending, info.num_ack_pending))
}

async fn consumer_info(connection: &Connection, target: &str) -> Option<Info> {
    let stream = connection.jetstream.get_stream(connection.subjects.alerts_stream()).await.unwrap();
    stream.consumer_info(durable_name(connection, target)).await.ok()
}

fn durable_name(connection: &Connection, target: &str) -> String {
    format!("{}-webhook-{target}", connection.subjects.prefix())
}

/// Arguments of a gateway that sends alerts to the webhooks of `folder`; without those that say where the broker is.
pub fn gateway_arguments(folder: &Path) -> Vec<String> {
    let (keys, webhooks) = (folder.join("keys.json"), folder.join("webhooks.yaml"));
    std::fs::write(&keys, r#"{"keys": []}"#).unwrap();
    let (keys, webhooks) = (keys.to_str().unwrap(), webhooks.to_str().unwrap());
    let door = ["--listen", "127.0.0.1:0", "--api-keys", keys, "--webhooks", webhooks];
    let fixed = ["--http", "127.0.0.1:0", "--log-format", "json"];
    door.into_iter().chain(fixed).map(str::to_owned).collect()
}

/// One target in YAML, with further fields.
pub fn target(name: &str, url: &str, more: &str) -> String {
    let tenants = if more.contains("tenants:") { "" } else { ", tenants: all" };
    let comma = if more.is_empty() { "" } else { ", " };
    format!("  - {{ name: {name}, url: \"{url}\", secret: {{ file: webhooks.secret }}{tenants}{comma}{more} }}\n")
}

/// Writes a file of webhooks into `folder`, and the file of their secret.
pub fn write_webhooks(folder: &Path, targets: &[String]) -> PathBuf {
    std::fs::write(folder.join("webhooks.secret"), SECRET).unwrap();
    let path = folder.join("webhooks.yaml");
    std::fs::write(&path, format!("targets:\n{}", targets.concat())).unwrap();
    path
}

/// Writes an alert as the shard does, as the first one of the batch at `log`; returns its id and its bytes.
pub async fn write_alert(connection: &Connection, tenant: &str, alert: &str, log: LogSeq) -> (String, Vec<u8>) {
    let id = alert_id(&TenantId::new(tenant).unwrap(), log, 0);
    let payload: Value = json!({"id": id, "alert": alert, "tenant": tenant, "generation": 0, "day": "2024-03-01",
        "at": "2024-03-01T12:00:00Z", "log": log});
    let payload = payload.to_string().into_bytes();
    append_alert(connection, tenant, log, payload.clone()).await;
    (id, payload)
}

async fn append_alert(connection: &Connection, tenant: &str, log: LogSeq, payload: Vec<u8>) {
    let subject = connection.subjects.alerts(tenant);
    let last = last_message(connection, &connection.subjects.alerts_stream(), &subject).await;
    let mut headers = HeaderMap::new();
    headers.insert(header_names::POSITION, alert_position(log, 0).to_string());
    let appended = append(connection, &subject, last.map_or(0, |last| last.sequence), headers, payload.into()).await;
    assert!(matches!(appended, Appended::At(_)), "{appended:?}");
}
