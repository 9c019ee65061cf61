//! The HTTP port under clients that do not behave.
#![allow(clippy::unwrap_used)]

use daybook_runtime::http::{self, HEAD_TIMEOUT, Health, MAX_CONNECTIONS};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Clients that send half a request: far more than the port keeps.
const RUDE: usize = 400;
/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Port {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Port {
    async fn open() -> Self {
        let (health, stop) = (Health::default(), CancellationToken::new());
        health.set("test", true);
        let address = http::serve("127.0.0.1:0", health, stop.clone()).await.unwrap();
        Self { address, stop }
    }

    /// Connects and sends `text`.
    async fn send(&self, text: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A connection that was closed at once says so when it is read.
        let _ = stream.write_all(text).await;
        stream
    }

    /// What a client is answered that asks once.
    async fn ask(&self, path: &str) -> String {
        let mut stream =
            self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        answer
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until the port closes the connection; returns what it said before.
async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the connection is closed");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_are_dropped_and_others_are_answered_meanwhile() {
    let port = Port::open().await;
    let began = Instant::now();
    let mut rude = Vec::new();
    for _ in 0..RUDE {
        rude.push(port.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Half: ").await);
    }
    let answer = port.ask("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""ready":true"#), "{answer}");
    assert!(port.ask("/metrics").await.starts_with("HTTP/1.1 200"));

    // Those beyond the bound are closed although their time is not over.
    let mut ends = JoinSet::new();
    for stream in rude {
        ends.spawn(async move {
            closed(stream).await;
            began.elapsed()
        });
    }
    let ends = ends.join_all().await;
    let at_once = ends.iter().filter(|after| **after < HEAD_TIMEOUT).count();
    assert!(at_once >= RUDE - MAX_CONNECTIONS, "{at_once} of {RUDE}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_when_its_client_says_nothing_or_too_much() {
    let port = Port::open().await;
    let began = Instant::now();
    let silent = port.send(b"").await;
    // One that is answered and asks nothing more.
    let idle = port.send(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let huge = port.send(format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10)).as_bytes()).await;
    let said = String::from_utf8(closed(huge).await).unwrap();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    assert!(began.elapsed() < HEAD_TIMEOUT, "{:?}", began.elapsed());
    let said = String::from_utf8(closed(idle).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("live\n"), "{said}");
    closed(silent).await;
    assert!(began.elapsed() >= HEAD_TIMEOUT && began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
