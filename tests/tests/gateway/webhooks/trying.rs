//! `daybook webhook try`, and the receiver that docs/WEBHOOKS.md shows.

use crate::options;
use daybook_tests::Daybook;
use daybook_tests::installation::{daybook, done};
use daybook_tests::processes::{binary, command};
use daybook_tests::secured::Authority;
use daybook_tests::web::Web;
use daybook_tests::webhooks::{Receiver, Reply, SECRET, target, write_webhooks};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

#[tokio::test(flavor = "multi_thread")]
async fn a_test_alert_says_what_comes_back() {
    let receiver = Receiver::start(|_, got| Reply::status(if got.path == "/bad" { 400 } else { 200 })).await;
    let folder = tempfile::tempdir().unwrap();
    let bad = format!("{}/bad", receiver.url);
    let file = write_webhooks(folder.path(), &[target("willing", &receiver.url, ""), target("picky", &bad, "")]);
    let file = file.to_str().unwrap().to_owned();
    let tried = |name: &'static str| {
        let file = file.clone();
        let arguments = move || daybook(&["webhook", "try", &file, "--target", name]);
        async { tokio::task::spawn_blocking(arguments).await.unwrap() }
    };
    let good = done(tried("willing").await);
    let got = receiver.got();
    assert!(got[0].is_signed_with(SECRET));
    let payload: Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!((&payload["test"], payload["id"].as_str()), (&Value::Bool(true), Some(got[0].id())));
    assert!(good.contains("taken: status 200") && good.contains("  said") && good.contains(got[0].id()), "{good}");
    assert!(!good.contains("whsec_"), "{good}");
    let bad = tried("picky").await;
    let told = String::from_utf8_lossy(&bad.stdout);
    assert!(!bad.status.success() && told.contains("not taken: the receiver answered 400"), "{told}");
    let none = tried("wiling").await;
    let told = String::from_utf8_lossy(&none.stderr);
    assert!(!none.status.success() && told.contains("no target wiling; did you mean willing?"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_by_https_must_have_a_certificate_that_this_machine_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let certificate = authority.certificate("gateway", &["localhost"]);
    // A server with TLS that takes no alerts.
    let server = Daybook::start_with(|all| {
        let mut options = options();
        options.door.http_cert = Some(certificate.file.clone());
        options.door.http_key = Some(certificate.key.clone());
        all.gateway = Some(options);
    })
    .await;
    let port = server.http().unwrap().rsplit(':').next().unwrap().to_owned();
    let file = write_webhooks(folder.path(), &[target("a", &format!("https://localhost:{port}/hook"), "")]);
    let tried = |trusted: Option<&Path>| {
        let mut command = command(&binary("daybook"));
        command.args(["webhook", "try", file.to_str().unwrap(), "--target", "a"]).env_remove("SSL_CERT_DIR");
        if let Some(trusted) = trusted {
            command.env("SSL_CERT_FILE", trusted);
        }
        async {
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let told = tried(Some(&authority.file)).await;
    assert!(told.contains("the receiver answered 404"), "{told}");
    let told = tried(None).await;
    assert!(told.contains("not taken: TLS:"), "{told}");
}

/// The receiver of docs/WEBHOOKS.md.
struct Documented {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Documented {
    async fn start(folder: &Path) -> Self {
        let page = include_str!("../../../../docs/WEBHOOKS.md");
        let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        let file = folder.join("receiver.py");
        std::fs::write(&file, script).unwrap();
        let mut python = Command::new("python3");
        python.arg("-B").arg(file).arg("0").env("WEBHOOK_SECRET", SECRET);
        let mut process = python.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("python3 is on PATH");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        let port = first.strip_prefix("listening on port ").unwrap_or_else(|| panic!("{first}"));
        Self { _process: process, lines, url: format!("http://127.0.0.1:{port}") }
    }

    async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_of_the_page_takes_each_alert_once_and_no_other_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Documented::start(folder.path()).await;
    let recorder = Receiver::willing().await;
    let targets = [target("page", &format!("{}/daybook", receiver.url), ""), target("recorder", &recorder.url, "")];
    let file = write_webhooks(folder.path(), &targets).to_str().unwrap().to_owned();
    let tried = |name: &'static str| {
        let file = file.clone();
        async move {
            let arguments = move || daybook(&["webhook", "try", &file, "--target", name]);
            done(tokio::task::spawn_blocking(arguments).await.unwrap())
        }
    };
    assert!(tried("page").await.contains("taken: status 204"));
    assert!(receiver.line().await.starts_with("alert webhook_test of test: test-0-"));

    // The same request twice, and variations of it.
    tried("recorder").await;
    let got = recorder.got().remove(0);
    let web = Web::at(&receiver.url);
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let post = |values: [String; 3], body: Vec<u8>| {
        let web = web.clone();
        async move {
            let headers: Vec<(&str, &str)> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
            web.request("POST", "/daybook", &headers, &body).await.status
        }
    };
    let sent = || names.map(|name| got.header(name).to_owned());
    assert_eq!(post(sent(), got.body.clone()).await, 204);
    assert_eq!(receiver.line().await, format!("alert webhook_test of test: {}", got.id()));
    assert_eq!(post(sent(), got.body.clone()).await, 204, "a repetition is taken");
    let [id, timestamp, signature] = sent();
    let old = (timestamp.parse::<i64>().unwrap() - 600).to_string();
    for (values, body) in [
        (sent(), b"{}".to_vec()),
        ([format!("{id}1"), timestamp.clone(), signature.clone()], got.body.clone()),
        ([id.clone(), old, signature.clone()], got.body.clone()),
        ([id.clone(), timestamp.clone(), "v1,AAAA".to_owned()], got.body.clone()),
        ([id.clone(), timestamp.clone(), String::new()], got.body.clone()),
        ([id.clone(), "soon".to_owned(), signature.clone()], got.body.clone()),
    ] {
        assert_eq!(post(values.clone(), body).await, 400, "{values:?}");
    }
    // With several signatures one that is right is enough.
    assert_eq!(post([id, timestamp, format!("v1,AAAA {signature}")], got.body.clone()).await, 204);
    // The repetitions were told nobody: the next line is of the next alert.
    let again = tried("page").await;
    let line = receiver.line().await;
    assert!(again.contains(line.rsplit(' ').next().unwrap()), "{line}\n{again}");
}
