//! Tokens: what they open, and what they do not.

use crate::{JSON, ORDERS, VIEW, options};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_tests::orders::{self, order};
use daybook_tests::secured::Authority;
use daybook_tests::web::{Events, Web};
use daybook_tests::{Daybook, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A gateway with API keys and a secret for JWTs; the folder holds their files.
async fn with_tokens(rate: u32) -> (Daybook, Web, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (keys, jwks) = (folder.path().join("keys.json"), folder.path().join("jwks.json"));
    std::fs::write(&keys, r#"{"keys": []}"#).unwrap();
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    std::fs::write(&jwks, json!({"keys": [{"kty": "oct", "k": secret}]}).to_string()).unwrap();
    let daybook = Daybook::start_with(|all| {
        let mut options = options();
        options.door.api_keys = Some(keys);
        options.door.jwt_keys = Some(jwks.display().to_string());
        options.door.token_requests_per_second = rate;
        all.gateway = Some(options);
    })
    .await;
    orders::define(&daybook, &["acme", "other"]).await;
    daybook.settle().await;
    let web = Web::at(daybook.http().unwrap());
    (daybook, web, folder)
}

const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

fn jwt(header: &Value, claims: &Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let signature = encode(ring::hmac::sign(&key, message.as_bytes()).as_ref());
    if header["alg"] == "none" { format!("{message}.") } else { format!("{message}.{signature}") }
}

fn in_seconds(seconds: i64) -> i64 {
    daybook_runtime::clock::now().as_millis() / 1_000 + seconds
}

/// Puts a key into the file, and waits until the gateway knows it.
async fn new_key(web: &Web, folder: &tempfile::TempDir, tenants: &[&str], scopes: &[gateway::Scope]) -> String {
    let path = folder.path().join("keys.json");
    let tenants = gateway::Tenants::These(tenants.iter().map(|tenant| tenant.parse().unwrap()).collect());
    let now = daybook_runtime::clock::now();
    let (text, stored) = gateway::keys::new_key(None, tenants, scopes.iter().copied().collect(), now, None).unwrap();
    let mut file = gateway::keys::KeyFile::read(&path).unwrap();
    file.keys.push(stored);
    file.write(&path).unwrap();
    let keyed = web.with_token(&text);
    eventually("the key", || async { (keyed.get(VIEW).await.status != 401).then_some(()) }).await;
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_tenants_and_scopes_and_nothing_else() {
    let (_daybook, web, folder) = with_tokens(10_000).await;
    let none = web.get(VIEW).await;
    assert_eq!(
        (none.status, none.code().as_str(), none.header("www-authenticate")),
        (401, "unauthorized", "Bearer realm=\"daybook\"")
    );
    assert_eq!(web.get("/v1/openapi.json").await.status, 200);
    let asking = web.with_token(&new_key(&web, &folder, &["acme"], &[gateway::Scope::Query]).await);
    let publishing = web.with_token(&new_key(&web, &folder, &["acme"], &[gateway::Scope::Publish]).await);
    assert_eq!(asking.get(VIEW).await.status, 200);
    assert_eq!(publishing.post(ORDERS, JSON, order("a").to_string()).await.status, 200);
    for refused in [
        asking.post(ORDERS, JSON, order("a").to_string()).await,
        publishing.get(VIEW).await,
        asking.get("/v1/tenants/other/views/orders").await,
        asking.get("/v1/tenants/nobody/views/orders").await,
        publishing.post("/v1/tenants/other/kinds/order/events", JSON, order("a").to_string()).await,
    ] {
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{refused:?}");
    }
    for token in ["", "x", "daybook_", "daybook_a_b", &asking.token.clone().unwrap()[..40], &"x".repeat(20_000)] {
        assert_eq!(web.with_token(token).get(VIEW).await.status, 401, "{token}");
    }
    let twice = [
        ("Authorization", format!("Bearer {}", asking.token.clone().unwrap())),
        ("Authorization", "Bearer x".to_owned()),
    ];
    let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(web.request("GET", VIEW, &twice, b"").await.status, 401);
    // A key that is taken out of the file is void soon.
    let path = folder.path().join("keys.json");
    std::fs::write(&path, r#"{"keys":[]}"#).unwrap();
    eventually("the revocation", || async { (asking.get(VIEW).await.status == 401).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_is_believed_only_with_its_signature_and_until_it_expires() {
    let (_daybook, web, _folder) = with_tokens(10_000).await;
    let claims =
        |seconds: i64| json!({"exp": in_seconds(seconds), "sub": "till", "tenants": ["acme"], "scope": "query"});
    let hs256 = json!({"alg": "HS256"});
    let good = web.with_token(&jwt(&hs256, &claims(600)));
    assert_eq!(good.get(VIEW).await.status, 200);
    assert_eq!(good.get("/v1/tenants/other/views/orders").await.code(), "forbidden");
    let everyone = json!({"exp": in_seconds(600), "tenants": "*", "scope": "publish query"});
    for bad in [
        jwt(&json!({"alg": "none"}), &everyone),
        jwt(&json!({"alg": "RS256"}), &everyone),
        jwt(&hs256, &claims(-60)),
        jwt(&hs256, &json!({"tenants": "*", "scope": "query"})),
        jwt(&hs256, &claims(600)).replace('.', ".."),
    ] {
        assert_eq!(web.with_token(&bad).get(VIEW).await.code(), "unauthorized", "{bad}");
    }
    // A stream ends with its token: half a minute of leeway, and no more.
    let brief = web.with_token(&jwt(&hs256, &claims(-28)));
    let mut events = brief.follow(&format!("{VIEW}/live"), &[]).await;
    assert_eq!(events.next().await.unwrap().name, "snapshot");
    let end = events.next().await.unwrap();
    assert_eq!((end.name.as_str(), end.data["code"].as_str().unwrap()), ("end", "unauthorized"));
}

/// Waits for the gateway to read its keys (2 s) and to check the stream (15 s).
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_what_it_has_open() {
    let (_daybook, web, folder) = with_tokens(1_000).await;
    let key = new_key(&web, &folder, &["acme"], &gateway::Scope::ALL).await;
    let mut listener = web.with_token(&key).follow(&format!("{VIEW}/live"), &[]).await;
    assert_eq!(listener.next().await.unwrap().name, "snapshot");
    let mut upload = web.connect().await;
    let head = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let line = |id: &str| {
        let line = order(id).to_string() + "\n";
        format!("{:x}\r\n{line}\r\n", line.len())
    };
    upload.write_all((head + &line("a")).as_bytes()).await.unwrap();
    assert_eq!(listener.next().await.unwrap().name, "changes");
    let path = folder.path().join("keys.json");
    let revoke = |file: &mut gateway::keys::KeyFile| {
        file.keys.clear();
        Ok::<_, gateway::keys::KeyFileError>(())
    };
    let pages = live_pages(&web, &key, &new_key(&web, &folder, &["acme"], &[gateway::Scope::Query]).await).await;
    gateway::keys::KeyFile::change(&path, revoke).unwrap();
    for mut page in pages {
        let ending = async { while page.next().await.is_some_and(|event| event.name == "page") {} };
        tokio::time::timeout(Duration::from_secs(30), ending).await.unwrap();
    }
    let end = tokio::time::timeout(Duration::from_secs(30), listener.next()).await.unwrap().unwrap();
    assert_eq!((end.name.as_str(), end.data["code"].as_str()), ("end", Some("unauthorized")));
    upload.write_all(line("b").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let bytes = upload.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..bytes]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains(r#""durable":1"#), "{answer}");
}

/// As many live pages of the console as one token may have. One more is refused, also to another token of the tenant.
async fn live_pages(web: &Web, key: &str, other: &str) -> Vec<Events> {
    let path = "/tenants/acme?live";
    let cookie = |key: &str| format!("daybook_token={key}");
    let mut pages = Vec::new();
    for _ in 0..32 {
        let mut page = web.follow(path, &[("Cookie", &cookie(key))]).await;
        let first = page.next().await.unwrap();
        assert_eq!(first.name, "page", "{first:?}");
        pages.push(page);
    }
    for key in [key, other] {
        assert_eq!(web.request("GET", path, &[("Cookie", &cookie(key))], b"").await.status, 429);
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_asks_too_often_waits_and_others_do_not() {
    let (_daybook, web, folder) = with_tokens(20).await;
    let one = web.with_token(&new_key(&web, &folder, &["acme"], &[gateway::Scope::Query]).await);
    let other = web.with_token(&new_key(&web, &folder, &["acme"], &[gateway::Scope::Query]).await);
    let mut refused = None;
    for _ in 0..200 {
        let answer = one.get("/v1/tenants/acme/position").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (429, "rate_limited", "1"));
    assert_eq!(other.get(VIEW).await.status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(one.get(VIEW).await.status, 200);
}

#[tokio::test]
async fn nobody_is_let_in_from_elsewhere_without_a_token() {
    let open = gateway::Options { listen: "0.0.0.0:0".to_owned(), ..options() };
    let error = gateway::Bound::bind(open, gateway::Openness::Loopback).await.err().unwrap();
    assert!(error.to_string().contains("--api-keys"), "{error}");
    assert!(gateway::Bound::bind(options(), gateway::Openness::Closed).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_make_it_https() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let certificate = authority.certificate("gateway", &["localhost"]);
    let daybook = Daybook::start_with(|all| {
        let mut options = options();
        options.door.http_cert = Some(certificate.file.clone());
        options.door.http_key = Some(certificate.key.clone());
        all.gateway = Some(options);
    })
    .await;
    let url = daybook.http().unwrap();
    let address = url.strip_prefix("https://").unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.file).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
    let plain = Web::at(&format!("http://{address}"));
    assert!(plain.raw(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is_none());
    let half = gateway::DoorOptions {
        http_cert: Some(certificate.key.clone()),
        http_key: Some(certificate.key),
        ..Default::default()
    };
    let wrong = gateway::Options { door: half, ..options() };
    let error = gateway::Bound::bind(wrong, gateway::Openness::Loopback).await.err().unwrap().to_string();
    assert!(error.contains("--http-cert"), "{error}");
}

/// Serves these bytes to whoever asks, as a JWKS.
async fn identity_provider(keys: Value) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let body = keys.to_string();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_jwts_come_from_an_identity_provider() {
    let url =
        identity_provider(json!({"keys": [{"kty": "oct", "kid": "a", "k": URL_SAFE_NO_PAD.encode(SECRET)}]})).await;
    let daybook = Daybook::start_with(|all| {
        let mut options = options();
        options.door.jwt_keys = Some(url);
        options.door.jwt_audience = Some("daybook".to_owned());
        all.gateway = Some(options);
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    daybook.settle().await;
    let web = Web::at(daybook.http().unwrap());
    let claims =
        |audience: &str| json!({"exp": in_seconds(60), "aud": audience, "tenants": ["acme"], "scope": "query"});
    let header = json!({"alg": "HS256", "kid": "a"});
    assert_eq!(web.with_token(&jwt(&header, &claims("daybook"))).get(VIEW).await.status, 200);
    assert_eq!(web.with_token(&jwt(&header, &claims("elsewhere"))).get(VIEW).await.status, 401);
    let other = json!({"alg": "HS256", "kid": "b"});
    assert_eq!(web.with_token(&jwt(&other, &claims("daybook"))).get(VIEW).await.status, 401);
}
