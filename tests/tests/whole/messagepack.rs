//! Answers in MessagePack, which say what JSON says.

use super::shards_away::about_sealed_days;
use daybook_contracts::ask::{AskError, Days};
use daybook_contracts::headers;
use daybook_contracts::report::Figure;
use daybook_tests::Daybook;
use daybook_tests::asking::{ask, tenant};
use daybook_tests::backfilling::advance;
use daybook_tests::reading::{define_shops, orders, publish};
use serde_json::{Value, json};

/// What a question in MessagePack is answered with, and whether that is an error.
async fn in_messagepack(daybook: &Daybook, id: &str, view: &str, question: &Value) -> (Vec<u8>, bool) {
    let connection = &daybook.client.connection;
    let mut header = async_nats::HeaderMap::new();
    header.insert(headers::CONTENT_TYPE, headers::MSGPACK);
    let body = rmp_serde::to_vec_named(question).unwrap();
    let subject = connection.subjects.query(id, view);
    let reply = connection.client.request_with_headers(subject, header, body.into()).await.unwrap();
    let answered = reply.headers.unwrap();
    assert_eq!(answered.get(headers::CONTENT_TYPE).unwrap().as_str(), headers::MSGPACK);
    (reply.payload.to_vec(), answered.get(async_nats::service::NATS_SERVICE_ERROR_CODE).is_some())
}

/// A figure as docs/CLIENTS.md says that it is in MessagePack: integers as such, decimals as texts.
fn packed(figure: &Figure) -> Value {
    match figure {
        Figure::Null => Value::Null,
        Figure::Text(text) => text.as_str().into(),
        Figure::Number(number) => match number.to_string() {
            text if text.contains('.') => text.into(),
            text => text.parse::<i64>().unwrap().into(),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_says_what_json_says() {
    let daybook = Daybook::start().await;
    let client = &daybook.client;
    define_shops(client, &["acme"]).await;
    for day in 1..=4 {
        publish(client, "acme", "order", orders(day)).await;
    }
    publish(client, "acme", "click", json!({"at": "2024-03-01T08:00:00Z", "dims": {"page": "Größe ✓"}})).await;
    advance(client, 4).await;
    daybook.settle().await;

    let mut questions = about_sealed_days();
    questions.extend([
        ("orders", json!({})),
        ("orders", json!({"days": "last_2_days", "limit": 3, "accept_stale": false, "at_least": 1})),
        ("ranked", json!({"rank": {"ties": "dense"}})),
        ("hourly", json!({"grain": "day", "days": "week_to_date"})),
    ]);
    let (mut nulls, mut decimals) = (0, 0);
    for (view, question) in &questions {
        let by_json = ask(client, "acme", view, question.clone()).await;
        let (body, is_error) = in_messagepack(&daybook, "acme", view, question).await;
        let by_messagepack: Value = rmp_serde::from_slice(&body).unwrap();
        assert!(!is_error, "{view} {question}: {by_messagepack}");
        // All that is said besides the rows, but for the dates, which are numbers here.
        let mut expected = serde_json::to_value(&by_json).unwrap();
        for (field, date) in [("from", by_json.from), ("to", by_json.to)] {
            expected[field] = date.as_days().into();
        }
        expected["rows"] = by_json
            .rows
            .iter()
            .map(|row| row.0.iter().map(|(name, figure)| (name.to_string(), packed(figure))).collect::<Value>())
            .collect();
        expected["freshness_ms"] = by_messagepack["freshness_ms"].clone();
        assert_eq!(by_messagepack, expected, "{view} {question}");
        let cells = || by_json.rows.iter().flat_map(|row| row.0.iter()).map(|(_, figure)| figure);
        nulls += cells().filter(|figure| matches!(figure, Figure::Null)).count();
        decimals += cells().filter(|figure| packed(figure).is_string() && matches!(figure, Figure::Number(_))).count();
    }
    assert!(nulls > 0 && decimals > 0, "{nulls} nulls and {decimals} decimals were compared");

    // A page in one encoding, the next in the other.
    let page = ask(client, "acme", "orders", json!({"limit": 2})).await;
    let (body, _) = in_messagepack(&daybook, "acme", "orders", &json!({"limit": 2})).await;
    let packed_page: Value = rmp_serde::from_slice(&body).unwrap();
    assert_eq!(packed_page["next"].as_str(), page.next.as_deref());
    let next = json!({"limit": 2, "cursor": packed_page["next"]});
    assert_ne!(ask(client, "acme", "orders", next).await.rows, page.rows);

    for (view, question) in [
        ("orders", json!({"days": "tomorow"})),
        ("orders", json!({"metrics": ["turnover"]})),
        ("orders", json!({"metrisc": []})),
        ("orders", json!({"where": "channel = "})),
        ("nothing", json!({})),
        ("orders", json!({"at_least": 1_000_000})),
        ("ranked", json!({"rank": {"member": ["Nowhere"]}})),
        ("~nothing", json!({})),
    ] {
        let subject = client.connection.subjects.query("acme", view);
        let by_json = client.connection.client.request(subject, question.to_string().into()).await.unwrap();
        let by_json: AskError = serde_json::from_slice(&by_json.payload).unwrap();
        let (body, is_error) = in_messagepack(&daybook, "acme", view, &question).await;
        assert!(is_error, "{view} {question}");
        let by_messagepack: AskError = rmp_serde::from_slice(&body).unwrap();
        // Places are bytes of a body that has another form: only those in a field are the same.
        assert_eq!((by_messagepack.code, &by_messagepack.field), (by_json.code, &by_json.field), "{view} {question}");
        assert_eq!(by_messagepack.hint, by_json.hint, "{view} {question}");
    }
    let (body, is_error) = in_messagepack(&daybook, "acme", "~days", &Value::Null).await;
    let by_messagepack: Value = rmp_serde::from_slice(&body).unwrap();
    let Days { days, as_of, .. } = client.days(&tenant("acme")).await.unwrap();
    assert!(!is_error && days.len() == 4);
    assert_eq!(by_messagepack["as_of"], serde_json::to_value(as_of).unwrap());
    for (packed, day) in by_messagepack["days"].as_array().unwrap().iter().zip(&days) {
        assert_eq!(packed["date"], json!(day.date.as_days()));
        assert_eq!(packed["account"], serde_json::to_value(day.account).unwrap());
    }
}
