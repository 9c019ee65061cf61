//! Questions: figures, days and reports in every format.

use crate::{JSON, NDJSON, ORDERS, VIEW, shop};
use daybook_tests::eventually;
use daybook_tests::orders::{self, FIRST_DAY, order};
use serde_json::{Value, json};
use std::io::Read as _;

#[tokio::test(flavor = "multi_thread")]
async fn figures_come_in_each_format_and_not_twice() {
    let (_daybook, web) = shop().await;
    let published = web.post(ORDERS, JSON, order("a").to_string()).await.json();
    let asked = format!("{VIEW}?metrics=orders,amount&at_least={}", published["inbox"]);
    let csv = web.request("GET", &asked, &[("Accept", "text/csv")], b"").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.text().starts_with("orders,amount\r\n1,"), "{}", csv.text());
    assert_eq!(csv.header("daybook-as-of"), published["inbox"].to_string());
    let lines = web.request("GET", &asked, &[("Accept", NDJSON)], b"").await;
    assert_eq!(serde_json::from_str::<Value>(lines.text().trim()).unwrap()["orders"], 1);
    let empty = web.request("GET", "/v1/tenants/acme/views/clicks", &[("Accept", "text/csv")], b"").await;
    assert!(empty.text().starts_with("clicks\r\n"), "{empty:?}");
    let none = web.request("GET", &asked, &[("Accept", "image/png")], b"").await;
    assert_eq!((none.status, none.code().as_str()), (406, "not_acceptable"));
    // The same figures are sent once.
    let json = web.get(&asked).await;
    let tag = json.header("etag");
    let again = web.request("GET", &asked, &[("If-None-Match", tag)], b"").await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag));
    let more = web.post(ORDERS, JSON, order("b").to_string()).await.json();
    let news = format!("{VIEW}?metrics=orders,amount&at_least={}", more["inbox"]);
    assert_eq!(web.request("GET", &news, &[("If-None-Match", tag)], b"").await.status, 200);
    let head = web.request("HEAD", &news, &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let posted = web.post(VIEW, JSON, r#"{"dimensions": [], "metrics": ["orders"]}"#).await;
    assert_eq!(posted.json()["rows"], json!([{"orders": 2}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_compressed() {
    let (_daybook, web) = shop().await;
    let packed = web.request("GET", "/v1/openapi.json", &[("Accept-Encoding", "gzip, br")], b"").await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut plain).unwrap();
    assert_eq!(plain, web.get("/v1/openapi.json").await.text());
    let document: Value = serde_json::from_str(&plain).unwrap();
    assert_eq!(document, gateway::document());
    let page = web.get("/v1/docs").await;
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(!page.text().contains("http://") && !page.text().contains("https://") && !page.text().contains("<script"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_place() {
    let (_daybook, web) = shop().await;
    for (path, status, code, field) in [
        ("/v1/tenants/acme/views/orders?where=quantty+%3E+3", 400, "bad_request", "where"),
        ("/v1/tenants/acme/views/orders?days=tomorrow", 400, "bad_request", "days"),
        ("/v1/tenants/acme/views/orders?limit=0", 400, "bad_request", "limit"),
        ("/v1/tenants/acme/views/orders?watch=true", 400, "bad_request", "watch"),
        ("/v1/tenants/acme/views/orderz", 404, "unknown_view", ""),
        ("/v1/tenants/nobody/views/orders", 404, "unknown_tenant", ""),
        ("/v1/tenants/acme/days/2024-02-30", 400, "bad_request", "date"),
        ("/v1/tenants/acme/days/2031-01-01", 404, "unknown_day", "date"),
        ("/v1/tenants/acme/reports/2024-03-01", 404, "unknown_day", "date"),
        ("/v1/tenants/acme/reports/2024-03-01?version=0", 400, "bad_request", "version"),
        ("/v1/tenants/acme/reports/2024-03-01/diff", 404, "unknown_day", "date"),
        ("/v1/tenants/acme/reports/2024-03-01/diff?from=0", 400, "bad_request", "from"),
        ("/v1/tenants/a%20b/days", 400, "bad_request", "tenant"),
        ("/v1/tenants/acme/views/orders/live?x=1", 400, "bad_request", "x"),
        ("/v1/tenants/acme/views/nothing/live", 404, "unknown_view", ""),
        ("/v2/tenants", 404, "not_found", ""),
        ("/nothing", 404, "not_found", ""),
    ] {
        let problem = web.get(path).await;
        assert_eq!((problem.status, problem.code().as_str()), (status, code), "{path}: {problem:?}");
        assert_eq!(problem.json()["field"].as_str().unwrap_or_default(), field, "{path}");
    }
    let posted = web.post(VIEW, JSON, r#"{"limit": 3, "order": ["revenue up"]}"#).await;
    assert_eq!((posted.code().as_str(), &posted.json()["field"]), ("bad_request", &json!("order")), "{posted:?}");
    assert_eq!(web.post(VIEW, JSON, r#"{"watch": true}"#).await.json()["field"], "watch");
    assert_eq!(web.post(VIEW, "text/plain", "{}").await.code(), "unsupported_media_type");
    assert_eq!(web.post(ORDERS, "", "{}").await.code(), "unsupported_media_type");
    let method = web.request("DELETE", VIEW, &[], b"").await;
    assert_eq!((method.status, method.header("allow")), (405, "GET, POST, HEAD, OPTIONS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_says_whether_its_figures_are_final() {
    let (daybook, web) = shop().await;
    let day = format!("/v1/tenants/acme/days/{FIRST_DAY}");
    let word = || async { web.get(&day).await.json()["figures"].as_str().unwrap().to_owned() };
    assert_eq!(word().await, "open");
    web.post(ORDERS, JSON, order("a").to_string()).await;
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    eventually("the report", || async { (word().await == "sealed").then_some(()) }).await;
    let report = web.get(&format!("/v1/tenants/acme/reports/{FIRST_DAY}")).await;
    assert_eq!(report.header("daybook-hash"), blake3_of(&report.body));
    assert_eq!((&report.json()["version"], &report.json()["date"]), (&json!(1), &json!(FIRST_DAY)));
    let same = web
        .request(
            "GET",
            &format!("/v1/tenants/acme/reports/{FIRST_DAY}?version=1"),
            &[("If-None-Match", report.header("etag"))],
            b"",
        )
        .await;
    assert_eq!(same.status, 304);
    let list = web.get("/v1/tenants/acme/reports").await.json();
    assert_eq!(list["reports"][0]["hash"], report.header("daybook-hash"));
    let csv = web.request("GET", "/v1/tenants/acme/days?to=2024-03-01", &[("Accept", "text/csv")], b"").await.text();
    assert!(csv.starts_with("date,day,opens_at,closes_at,report,") && csv.contains("\r\n2024-03-01,closed,"), "{csv}");
    // Corrections reach back 35 business days.
    orders::advance(&daybook, "2024-05-01T12:00:00Z").await;
    eventually("the end of corrections", || async { (word().await == "final").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_a_report_names_what_it_changed() {
    let (daybook, web) = shop().await;
    web.post(ORDERS, JSON, order("a").to_string()).await;
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    let report = format!("/v1/tenants/acme/reports/{FIRST_DAY}");
    let sealed = |version: u64| {
        let (web, report) = (&web, &report);
        async move {
            let newest = || async { (web.get(report).await.json()["version"] == version).then_some(()) };
            eventually("the version", newest).await;
        }
    };
    sealed(1).await;
    let first = web.get(&format!("{report}/diff")).await;
    assert_eq!((first.status, first.code().as_str()), (404, "unknown_day"), "{first:?}");
    for (version, id) in [(2, "b"), (3, "c")] {
        web.post(ORDERS, JSON, order(id).to_string()).await;
        sealed(version).await;
    }

    let amounts = |diff: &Value| {
        let figures = diff["views"]["orders"]["rows"][0]["figures"].as_array().unwrap().clone();
        let amount = figures.into_iter().find(|figure| figure["name"] == "amount").unwrap();
        (amount["before"].as_f64().unwrap(), amount["after"].as_f64().unwrap())
    };
    let diff = web.get(&format!("{report}/diff")).await.json();
    assert_eq!((&diff["from"], &diff["to"], &diff["changes"][0]["id"]), (&json!(2), &json!(3), &json!("c")));
    assert_eq!(diff["dispositions"]["counted"], json!({"before": 2, "after": 3}));
    assert_eq!(amounts(&diff), (5.0, 7.5));
    assert_eq!(amounts(&web.get(&format!("{report}/diff?to=2")).await.json()), (2.5, 5.0));
    let whole = web.get(&format!("{report}/diff?from=1&to=3")).await.json();
    assert_eq!((amounts(&whole), &whole["versions_between"]), ((2.5, 7.5), &json!(1)));
    for (query, status, field) in [("from=3", 400, "from"), ("from=2&to=1", 400, "from"), ("to=4", 404, "version")] {
        let problem = web.get(&format!("{report}/diff?{query}")).await;
        assert_eq!((problem.status, problem.json()["field"].as_str()), (status, Some(field)), "{query}: {problem:?}");
    }
}

/// BLAKE3 in hex.
fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_in_each_format() {
    let (daybook, web) = shop().await;
    let yaml = "views:\n  - { name: loud, kind: order, group_by: [channel], metrics: [n: count], alerts: [{ name: any, when: n > 0 }] }\n";
    daybook.define(yaml).await;
    const ALERTS: &str = "/v1/tenants/acme/alerts";
    let empty = web.request("GET", ALERTS, &[("Accept", "text/csv")], b"").await;
    assert_eq!(empty.text(), "id,alert,day,at,log,view,group,figures\r\n");
    assert_eq!(web.post(ORDERS, JSON, order("a").to_string()).await.status, 200);
    daybook.settle().await;
    let page = web.get(&format!("{ALERTS}?limit=10")).await.json();
    let [alert] = &page["alerts"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!((&alert["alert"], &alert["day"], &alert["view"]), (&json!("any"), &json!(FIRST_DAY), &json!("loud")));
    assert_eq!((&alert["group"], &alert["figures"]), (&json!({"channel": "web"}), &json!({"n": 1})));
    let newer = web.get(&format!("{ALERTS}?cursor={}", page["newer"].as_str().unwrap())).await.json();
    assert_eq!((&newer["alerts"], newer.get("missed")), (&json!([]), None));
    let lines = web.request("GET", ALERTS, &[("Accept", NDJSON)], b"").await;
    assert_eq!(serde_json::from_str::<Value>(lines.text().trim()).unwrap(), *alert);
    let posted = web.post(ALERTS, JSON, r#"{"limit": 1}"#).await.json();
    assert_eq!(posted["alerts"][0]["id"], alert["id"]);
}
