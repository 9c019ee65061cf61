//! docs/HTTP.md: its examples run, with clients that this project did not write.

use crate::options;
use daybook_tests::orders;
use daybook_tests::{Daybook, python};
use std::fs;
use std::path::Path;
use tokio::process::Command;

/// A Daybook with the shop acme and a key for everything; the folder holds its file.
async fn shop_with_key() -> (Daybook, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let tenants = gateway::Tenants::These(["acme".parse().unwrap()].into());
    let now = daybook_runtime::clock::now();
    let (key, stored) = gateway::keys::new_key(None, tenants, gateway::Scope::ALL.into(), now, None).unwrap();
    gateway::keys::KeyFile { keys: vec![stored] }.write(&path).unwrap();
    let daybook = Daybook::start_with(|all| {
        let mut options = options();
        options.door.api_keys = Some(path);
        all.gateway = Some(options);
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    daybook.settle().await;
    (daybook, key, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn python_publishes_asks_and_follows() {
    let (daybook, key, _folder) = shop_with_key().await;
    python::run("http_client.py", &[daybook.http().unwrap(), &key]).await;
}

/// Where there is no node, the others have run.
#[tokio::test(flavor = "multi_thread")]
async fn javascript_publishes_asks_and_follows() {
    let (daybook, key, _folder) = shop_with_key().await;
    let mut node = Command::new("node");
    node.arg(python::file("http_client.mjs")).args([daybook.http().unwrap(), &key]).kill_on_drop(true);
    match tokio::time::timeout(daybook_tests::PATIENCE, node.output()).await.expect("an end") {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => eprintln!("skipped: there is no node"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_page_is_true_to_the_scripts() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/HTTP.md");
    let page = fs::read_to_string(page).unwrap();
    for (language, script) in [("python", "http_client.py"), ("js", "http_client.mjs")] {
        let script = fs::read_to_string(python::file(script)).unwrap();
        let opening = format!("```{language}\n");
        let snippets: Vec<&str> =
            page.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
        assert!(!snippets.is_empty(), "{language}");
        for snippet in snippets {
            assert!(script.contains(snippet.trim_end()), "{language}: {snippet}");
        }
    }
    for path in gateway::document()["paths"].as_object().unwrap().keys() {
        let path = path.trim_start_matches("/v1/tenants/{tenant}").replace('{', "<").replace('}', ">");
        assert!(page.contains(&path), "{path}");
    }
}
