//! Whoever reaches the port: half requests, floods, tricks with paths and framing, pages of other origins.

use crate::{JSON, NDJSON, ORDERS, VIEW, options, shop};
use daybook_tests::Daybook;
use daybook_tests::orders::{self, order};
use daybook_tests::web::{Web, closed_within};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn half_requests_end_and_hold_up_nobody() {
    let (_daybook, web) = shop().await;
    let mut half = Vec::new();
    for start in [
        "",
        "GET",
        "GET /v1/docs HTTP/1.1\r\n",
        "POST /v1/tenants/acme/kinds/order/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ] {
        for _ in 0..50 {
            let mut stream = web.connect().await;
            stream.write_all(start.as_bytes()).await.unwrap();
            half.push(stream);
        }
    }
    assert_eq!(web.get(VIEW).await.status, 200);
    // Each ends by itself: the head in 20 s, the body in 30 s.
    for stream in &mut half {
        assert!(closed_within(stream, Duration::from_secs(45)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_no_place_from_those_who_ask() {
    let most = 1_000;
    let daybook = Daybook::start_with(|all| {
        let mut options = options();
        options.door.max_connections = most;
        all.gateway = Some(options);
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    daybook.settle().await;
    let web = Web::at(daybook.http().unwrap());
    let mut listener = web.follow(&format!("{VIEW}/live"), &[]).await;
    assert_eq!(listener.next().await.unwrap().name, "snapshot");
    let mut idle = Vec::new();
    for number in 0..5 * most {
        idle.push(web.connect().await);
        if number % most == 0 {
            assert_eq!(web.get(VIEW).await.status, 200, "behind {number} idle connections");
        }
    }
    assert_eq!(web.get(VIEW).await.status, 200);
    web.post(ORDERS, JSON, order("a").to_string()).await;
    assert_eq!(listener.next().await.unwrap().name, "changes", "one that is in use is not closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_held_and_harm_nobody() {
    // Both ends are in this process, beside other tests; seven thousand are what usual limits allow.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let hard = files.maximum.unwrap_or(1 << 20);
    let raised = rustix::process::Rlimit { current: Some(hard.min(30_000)), maximum: files.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let count = (hard.min(30_000).saturating_sub(6_000) / 2).min(10_000);
    let (_daybook, web) = shop().await;
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(web.connect().await);
    }
    for _ in 0..20 {
        let began = std::time::Instant::now();
        assert_eq!(web.get(VIEW).await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?} behind {count} connections", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let (_daybook, web) = shop().await;
    let head = |length: &str| {
        format!(
            "POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    let told = web.raw(head("Content-Length: 99999999999").as_bytes()).await.unwrap();
    assert_eq!((told.status, told.code().as_str()), (413, "too_large"));
    let mut chunked = head("Transfer-Encoding: chunked").into_bytes();
    for _ in 0..300 {
        chunked.extend(format!("{:x}\r\n{}\r\n", 65_536, " ".repeat(65_536)).into_bytes());
    }
    let told = web.raw(&chunked).await;
    assert!(told.is_none_or(|told| told.status == 413), "endless chunks");
    let question = format!("{{\"where\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(web.post(VIEW, JSON, question).await.status, 413);
    let line = format!("{}\n{}\n", "x".repeat(200_000), order("a"));
    let some = web.post(ORDERS, NDJSON, line).await.json();
    assert_eq!((&some["durable"], &some["problems"][0]["code"]), (&json!(1), &json!("too_large")));
    let bomb = web.request("POST", ORDERS, &[("Content-Type", JSON), ("Content-Encoding", "gzip")], b"x").await;
    assert_eq!(bomb.code(), "unsupported_media_type");
    let deep = web.post(ORDERS, JSON, "[".repeat(100_000)).await;
    assert_eq!(deep.json()["problems"][0]["code"], "malformed");
    // Heads.
    let many: String = (0..100).map(|number| format!("X-{number}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    for headers in [many, long] {
        let told = web.raw(format!("GET {VIEW} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes()).await;
        assert!(told.is_none_or(|told| matches!(told.status, 431 | 400)), "a bomb of headers");
    }
    let path = web.raw(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000)).as_bytes()).await;
    assert!(path.is_none_or(|told| matches!(told.status, 414 | 431 | 400)));
    assert_eq!(web.get(VIEW).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tricks_with_paths_and_framing_lead_nowhere() {
    let (_daybook, web) = shop().await;
    for path in [
        "/v1/tenants/acme/views/../days",
        "/v1/tenants/acme/views/%2e%2e/days",
        "/v1/tenants/acme%2Fviews/orders",
        "/v1/tenants/acme/views/orders%2F..%2Fdays",
        "/v1/tenants/acme/views/~days",
        "/v1/tenants/acme/views/*",
        "/v1/tenants/*/views/orders",
        "/v1/tenants/%3E/views/orders",
        "/v1/tenants/acme/views/orders.x",
        "/v1/tenants/acme/views/orders%00",
        "/v1/tenants/acme/views/orders%0d%0aX:y",
        "/v1/tenants/acme/views/%ff",
        "/v1//tenants/acme/days",
        "//v1/tenants/acme/days",
        "/v1/tenants//days",
        "/V1/tenants/acme/days",
        "/v1/tenants/acme/days/",
        "/v1/tenants/acme/days;x=1",
    ] {
        let told = web.get(path).await;
        assert!(matches!(told.status, 400 | 404), "{path}: {told:?}");
        told.code();
    }
    // Two lengths, and a length beside chunks: where one request ends must not be a matter of taste.
    for headers in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Content-Length: -1",
        "Content-Length: 2, 3",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, identity",
    ] {
        let request = format!(
            "POST {VIEW} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\r\n\r\n{{}}"
        );
        let told = web.raw(request.as_bytes()).await;
        assert!(told.as_ref().is_none_or(|told| told.status == 400), "{headers}: {told:?}");
    }
    for request in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let told = web.raw(request.as_bytes()).await;
        assert!(told.as_ref().is_none_or(|told| told.status >= 400), "{request:?}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_no_web_page_of_another_origin_gets_in() {
    daybook_runtime::http::metrics_handle();
    let daybook = Daybook::start_with(|all| {
        let mut options = options();
        options.door.cors_origins = "https://app.example".parse().unwrap();
        all.gateway = Some(options);
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    daybook.settle().await;
    let web = Web::at(daybook.http().unwrap());
    let with = |headers: Vec<(&'static str, String)>| {
        let web = web.clone();
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            web.request("GET", VIEW, &headers, b"").await
        }
    };
    let page = with(vec![("Origin", "https://evil.example".to_owned())]).await;
    assert_eq!(
        (page.status, page.code().as_str(), page.header("access-control-allow-origin")),
        (403, "foreign_origin", "")
    );
    assert_eq!(with(vec![("Origin", "null".to_owned())]).await.code(), "foreign_origin");
    let rebound = with(vec![("Host", "evil.example".to_owned())]).await;
    assert_eq!((rebound.status, rebound.code().as_str()), (421, "wrong_host"));
    for path in ["/healthz", "/metrics", "/v1/docs", "/nowhere"] {
        let rebound = web.request("GET", path, &[("Host", "evil.example")], b"").await;
        assert_eq!((rebound.status, rebound.code().as_str()), (421, "wrong_host"), "{path}");
    }
    let named = with(vec![("Origin", "https://app.example".to_owned())]).await;
    assert_eq!((named.status, named.header("access-control-allow-origin")), (200, "https://app.example"));
    assert!(named.header("vary").contains("Origin"));
    let own = with(vec![("Host", "localhost:1".to_owned()), ("Origin", "http://localhost:1".to_owned())]).await;
    assert_eq!(own.status, 200);
    let preflight = web
        .request(
            "OPTIONS",
            ORDERS,
            &[("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")],
            b"",
        )
        .await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, "GET, HEAD, POST, OPTIONS"));
    // The services beside it answer on the same port.
    assert_eq!(web.get("/healthz").await.status, 200);
    assert!(web.get("/metrics").await.text().contains("daybook_http_requests_total"));
}
