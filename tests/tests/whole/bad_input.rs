//! What becomes of bad input: one reject for each bad event, with code, reason, position and the original; everything
//! else is counted, and no partition stops.

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use daybook_contracts::event::{MAX_EVENT_BYTES, MAX_MESSAGE_EVENTS};
use daybook_contracts::headers::{CONTENT_TYPE, MSGPACK};
use daybook_contracts::reject::{Code, MAX_ORIGINAL_BYTES, Reject};
use daybook_contracts::subjects::INVALID_TENANT;
use daybook_domain::ids::InboxSeq;
use daybook_tests::Daybook;
use daybook_tests::orders::{self, NOON, account, order, orders_counted, rejects_of};
use daybook_tests::raw::{RawPublisher, Said};
use serde_json::{Value, json};

/// A reject as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    code: Code,
    field: Option<String>,
    tenant: String,
    kind: String,
    inbox: InboxSeq,
    index: u32,
    original: Vec<u8>,
    original_bytes: u64,
}

impl Expected {
    fn of(reject: &Reject) -> Self {
        assert!(!reject.reason.is_empty(), "{reject:?} gives no reason");
        Self {
            code: reject.code,
            field: reject.field.clone(),
            tenant: reject.tenant.clone(),
            kind: reject.kind.clone(),
            inbox: reject.inbox,
            index: reject.index,
            original: reject.original.bytes().to_vec(),
            original_bytes: reject.original.total(),
        }
    }
}

/// One tenant, what was published for it and what must have become of that.
struct Shop {
    daybook: Daybook,
    tenant: String,
    good: u64,
    expected: Vec<Expected>,
}

impl Shop {
    async fn open(tenant: &str) -> Self {
        let daybook = Daybook::start().await;
        orders::define(&daybook, &[tenant]).await;
        Self { daybook, tenant: tenant.to_owned(), good: 0, expected: Vec::new() }
    }

    /// Publishes one event that must be rejected, and a good one behind it.
    async fn bad(&mut self, kind: &str, payload: impl Into<Vec<u8>>, code: Code, field: &str) {
        let payload = payload.into();
        let sequence = self.daybook.publish(&self.tenant, kind, payload.clone()).await;
        self.expect(kind, sequence, 0, code, field, &payload);
        self.still_counts().await;
    }

    /// The same in MessagePack.
    async fn bad_msgpack(&mut self, payload: impl Into<Vec<u8>>, code: Code, field: &str) {
        let payload = payload.into();
        let sequence = self.publish_msgpack(payload.clone()).await;
        self.expect("order", sequence, 0, code, field, &payload);
        self.still_counts().await;
    }

    async fn publish_msgpack(&self, payload: Vec<u8>) -> InboxSeq {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, MSGPACK);
        let connection = &self.daybook.client.connection;
        let subject = connection.subjects.input(&self.tenant, "order");
        let ack = connection.jetstream.publish_with_headers(subject, headers, payload.into()).await.unwrap();
        InboxSeq(ack.await.unwrap().sequence)
    }

    fn expect(&mut self, kind: &str, inbox: InboxSeq, index: u32, code: Code, field: &str, original: &[u8]) {
        self.expected.push(Expected {
            code,
            field: (!field.is_empty()).then(|| field.to_owned()),
            tenant: self.tenant.clone(),
            kind: kind.to_owned(),
            inbox,
            index,
            original: original[..original.len().min(MAX_ORIGINAL_BYTES)].to_vec(),
            original_bytes: original.len() as u64,
        });
    }

    /// A good event that comes now is counted.
    async fn still_counts(&mut self) {
        let id = format!("good-{}", self.good);
        self.daybook.publish(&self.tenant, "order", order(&id).to_string()).await;
        self.good += 1;
        self.daybook.settle().await;
        assert_eq!(orders_counted(&self.daybook, &self.tenant).await, self.good, "after {:?}", self.expected.last());
    }

    /// Everything is accounted for, now and after the services were restarted and had to read the log again.
    async fn close(mut self) {
        self.check().await;
        self.daybook.restart_services().await;
        self.check().await;
        self.daybook.restart_without_checkpoints().await;
        self.check().await;
        self.still_counts().await;
        self.check().await;
    }

    async fn check(&self) {
        self.daybook.settle().await;
        let rejects: Vec<Expected> = rejects_of(&self.daybook, &self.tenant).await.iter().map(Expected::of).collect();
        for (found, expected) in rejects.iter().zip(&self.expected) {
            assert_eq!(found, expected);
        }
        assert_eq!(rejects.len(), self.expected.len());
        let account = account(&self.daybook, &self.tenant).await;
        let bad = self.expected.len() as u64;
        assert_eq!((account.published, account.counted, account.rejected), (self.good + bad, self.good, bad));
    }
}

/// A sound order with one thing changed.
fn order_with(change: impl FnOnce(&mut Value)) -> String {
    let mut event = order("bad");
    change(&mut event);
    event.to_string()
}

/// A sound order whose measure is written like that.
fn order_measuring(measure: &str, text: &str) -> String {
    format!(r#"{{"id":"bad","at":"{NOON}","measures":{{"{measure}":{text}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_rejected() {
    let mut shop = Shop::open("acme").await;
    for payload in ["", " ", "hello", "{\"id\":", "17", "null", "\"text\"", "\u{feff}{}", "[{\"id\":\"a\"},"] {
        shop.bad("order", payload, Code::Malformed, "").await;
    }
    shop.bad("order", format!("{}{}", order("a"), order("b")), Code::Malformed, "").await;
    shop.bad("order", format!("{}\n{}\n", order("a"), order("b")), Code::Malformed, "").await;
    shop.bad("order", "[]", Code::BatchSize, "").await;
    shop.bad("order", b"{\"id\":\"caf\xe9\"}", Code::InvalidUtf8, "").await;
    shop.bad("order", b"\xff\xfe\x00\x01", Code::InvalidUtf8, "").await;
    shop.bad("order", "[".repeat(100_000), Code::Malformed, "").await;
    let nested =
        format!(r#"{{"id":"a","at":"{NOON}","dims":{{"channel":{}1{}}}}}"#, "[".repeat(9_000), "]".repeat(9_000));
    shop.bad("order", nested, Code::WrongType, "dims.channel").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_wrong_is_named() {
    let mut shop = Shop::open("acme").await;
    // Wrong types.
    for text in ["\"many\"", "true", "[1]", "{}", "\"\"", "\"0x10\"", "\"NaN\""] {
        shop.bad("order", order_measuring("quantity", text), Code::WrongType, "measures.quantity").await;
    }
    shop.bad("order", order_with(|event| event["at"] = json!(1_709_294_400)), Code::WrongType, "at").await;
    shop.bad("order", order_with(|event| event["at"] = json!("yesterday")), Code::InvalidTime, "at").await;
    shop.bad("order", order_with(|event| event["at"] = json!("2024-03-01 12:00")), Code::InvalidTime, "at").await;
    shop.bad("order", order_with(|event| event["version"] = json!("one")), Code::WrongType, "version").await;
    shop.bad("order", order_with(|event| event["version"] = json!(1.5)), Code::WrongType, "version").await;
    shop.bad("order", order_with(|event| event["status"] = json!("done")), Code::WrongType, "status").await;
    shop.bad("order", order_with(|event| event["id"] = json!({"a": 1})), Code::WrongType, "id").await;
    shop.bad("order", order_with(|event| event["dims"]["channel"] = json!(["web"])), Code::WrongType, "dims.channel")
        .await;
    let draft_fact = json!({"at": NOON, "status": "draft"}).to_string();
    shop.bad("click", draft_fact, Code::WrongType, "status").await;
    // Texts.
    shop.bad("order", order_with(|event| event["id"] = json!("")), Code::InvalidText, "id").await;
    shop.bad("order", order_with(|event| event["id"] = json!("x".repeat(257))), Code::InvalidText, "id").await;
    let long = "x".repeat(513);
    shop.bad("order", order_with(|event| event["dims"]["channel"] = json!(long)), Code::InvalidText, "dims.channel")
        .await;
    // Digits and range.
    for (measure, text) in [("amount", "1.005"), ("amount", "\"1.005\""), ("quantity", "1.5"), ("quantity", "1e-3")] {
        shop.bad("order", order_measuring(measure, text), Code::TooManyDigits, &format!("measures.{measure}")).await;
    }
    for (measure, text) in [
        ("quantity", "9223372036854775808"),
        ("quantity", "-9223372036854775809"),
        ("quantity", "1e400"),
        ("quantity", "\"99999999999999999999999999999999999999999999\""),
        ("amount", "92233720368547758.08"),
    ] {
        shop.bad("order", order_measuring(measure, text), Code::Overflow, &format!("measures.{measure}")).await;
    }
    shop.bad("order", order_with(|event| event["version"] = json!(-1)), Code::Overflow, "version").await;
    shop.bad("order", order_with(|event| event["version"] = json!(u64::MAX)), Code::Overflow, "version").await;
    // What is missing.
    for field in ["id", "at"] {
        shop.bad("order", order_with(|event| event[field] = Value::Null), Code::MissingField, field).await;
        let without = order_with(|event| drop(event.as_object_mut().unwrap().remove(field)));
        shop.bad("order", without, Code::MissingField, field).await;
    }
    shop.bad("click", "{}", Code::MissingField, "at").await;
    // What the kind does not have.
    shop.bad("order", order_with(|event| event["dims"]["colour"] = json!("red")), Code::UnknownField, "dims.colour")
        .await;
    shop.bad("order", order_measuring("weight", "1"), Code::UnknownField, "measures.weight").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_without_a_business_day_is_rejected() {
    let mut shop = Shop::open("acme").await;
    for at in ["2024-02-29T23:59:59.999Z", "2024-03-01T00:59:59+01:00", "0001-01-01T00:00:00Z"] {
        shop.bad("order", order_with(|event| event["at"] = json!(at)), Code::BeforeFirstDay, "at").await;
    }
    for at in ["2030-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
        shop.bad("order", order_with(|event| event["at"] = json!(at)), Code::TooFarAhead, "at").await;
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_its_subject_is_rejected() {
    let mut shop = Shop::open("acme").await;
    for other in [json!("other"), json!("ACME"), json!(7), json!({})] {
        shop.bad("order", order_with(|event| event["tenant"] = other), Code::SubjectMismatch, "tenant").await;
    }
    shop.bad("order", order_with(|event| event["kind"] = json!("click")), Code::SubjectMismatch, "kind").await;
    for kind in ["refund", "Order", "~days", &"k".repeat(64)] {
        shop.bad(kind, order("bad").to_string(), Code::UnknownKind, "subject").await;
    }
    // What agrees with it does no harm.
    let event =
        order_with(|event| (event["tenant"], event["kind"], event["id"]) = ("acme".into(), "order".into(), "x".into()));
    shop.daybook.publish("acme", "order", event).await;
    shop.good += 1;
    shop.still_counts().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_does_not_take_its_batch_along() {
    let mut shop = Shop::open("acme").await;
    let bad = order_measuring("quantity", "\"many\"");
    let batch = format!("[{}, {bad} ,{},17,{}]", order("a"), order("b"), order("c"));
    let sequence = shop.daybook.publish("acme", "order", batch).await;
    shop.expect("order", sequence, 1, Code::WrongType, "measures.quantity", bad.as_bytes());
    shop.expect("order", sequence, 3, Code::Malformed, "", b"17");
    shop.good += 3;
    shop.still_counts().await;
    // One that is too large, in the middle.
    let large = order_with(|event| event["note"] = json!("x".repeat(MAX_EVENT_BYTES)));
    let batch = format!("[{},{large},{}]", order("d"), order("e"));
    let sequence = shop.daybook.publish("acme", "order", batch).await;
    shop.expect("order", sequence, 1, Code::TooLarge, "", large.as_bytes());
    shop.good += 2;
    shop.still_counts().await;
    // Every second one of as many as a message may hold: more than fits a batch of the log.
    let parts: Vec<String> = (0..MAX_MESSAGE_EVENTS)
        .map(|n| if n % 2 == 0 { format!(r#"{{"id":"n{n}","at":"{NOON}"}}"#) } else { format!("{{\"id\":{n}}}") })
        .collect();
    let payload = format!("[{}]", parts.join(","));
    let bytes = payload.len();
    let sequence = shop.daybook.publish("acme", "order", payload).await;
    shop.good += MAX_MESSAGE_EVENTS as u64 / 2;
    shop.still_counts().await;
    // The first ones are told one by one; when they take as much as the message, the others are told together.
    for _ in 0..2 {
        let rejects: Vec<Reject> =
            rejects_of(&shop.daybook, "acme").await.into_iter().filter(|reject| reject.inbox == sequence).collect();
        let (alone, together): (Vec<&Reject>, Vec<&Reject>) = rejects.iter().partition(|it| it.span.is_none());
        for (reject, n) in alone.iter().zip((1..).step_by(2)) {
            assert_eq!((reject.index as usize, reject.original.bytes()), (n, parts[n].as_bytes()));
        }
        assert!(alone.len() > 500, "{}", alone.len());
        assert_eq!(rejects.iter().map(Reject::events).sum::<u64>(), MAX_MESSAGE_EVENTS as u64 / 2);
        assert!(together.iter().all(|reject| reject.code == Code::MissingField && reject.original.bytes().is_empty()));
        assert!(serde_json::to_vec(&rejects).unwrap().len() < bytes * 3 / 2, "{bytes}");
        shop.daybook.restart_without_checkpoints().await;
        shop.daybook.settle().await;
    }
    let account = account(&shop.daybook, "acme").await;
    assert_eq!((account.counted, account.rejected), (shop.good, 3 + MAX_MESSAGE_EVENTS as u64 / 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_rejected_or_refused() {
    let mut shop = Shop::open("acme").await;
    let padded = |bytes: usize| {
        let empty = order_with(|event| event["note"] = json!("")).len();
        order_with(|event| event["note"] = json!("x".repeat(bytes - empty)))
    };
    // The largest event is taken.
    shop.daybook.publish("acme", "order", padded(MAX_EVENT_BYTES)).await;
    shop.good += 1;
    shop.bad("order", padded(MAX_EVENT_BYTES + 1), Code::TooLarge, "").await;
    shop.bad("order", padded(1 << 20), Code::TooLarge, "").await;
    let many = format!("[{}1]", "1,".repeat(MAX_MESSAGE_EVENTS));
    shop.bad("order", many, Code::BatchSize, "").await;
    let most = format!("[{}1]", "1,".repeat((1 << 19) - 2));
    shop.bad("order", most, Code::BatchSize, "").await;
    // Larger than the broker takes: the publisher is told, and nothing is stored.
    let before = stored(&shop.daybook).await;
    let subject = shop.daybook.client.connection.subjects.input("acme", "order");
    let jetstream = &shop.daybook.client.connection.jetstream;
    let refused = jetstream.publish(subject.clone(), padded((1 << 20) + 1).into()).await.err().unwrap();
    assert_eq!(refused.kind(), PublishErrorKind::MaxPayloadExceeded);
    // So is one that does not ask first.
    let mut raw = RawPublisher::connect(shop.daybook.broker.broker.client_url()).await;
    let said = raw.announce(subject.as_bytes(), (1 << 20) + 1).await;
    assert_eq!(said, Said::Refused("'Maximum Payload Violation'".to_owned()));
    assert_eq!(stored(&shop.daybook).await, before);
    shop.still_counts().await;
    shop.close().await;
}

/// The last sequence of INBOX.
async fn stored(daybook: &Daybook) -> u64 {
    let connection = &daybook.client.connection;
    let inbox = connection.jetstream.get_stream(connection.subjects.inbox_stream()).await.unwrap();
    inbox.cached_info().state.last_sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_goes_by_its_header() {
    let mut shop = Shop::open("acme").await;
    let pack = |value: &Value| rmp_serde::to_vec(value).unwrap();
    shop.publish_msgpack(pack(&order("packed"))).await;
    shop.publish_msgpack(pack(&json!([order("packed-1"), order("packed-2")]))).await;
    shop.good += 3;
    shop.still_counts().await;
    let whole = pack(&order("bad"));
    shop.bad_msgpack(&whole[..whole.len() - 1], Code::Malformed, "").await;
    shop.bad_msgpack([&whole[..], &[0xc0]].concat(), Code::Malformed, "").await;
    shop.bad_msgpack(order("json").to_string(), Code::Malformed, "").await;
    shop.bad_msgpack([], Code::Malformed, "").await;
    shop.bad_msgpack([0xc1], Code::Malformed, "").await;
    shop.bad_msgpack([0xc0], Code::Malformed, "").await;
    shop.bad_msgpack([0x90], Code::BatchSize, "").await;
    shop.bad_msgpack([0xdd, 0xff, 0xff, 0xff, 0xff], Code::BatchSize, "").await;
    shop.bad_msgpack([0xdf, 0xff, 0xff, 0xff, 0xff], Code::Malformed, "").await;
    shop.bad_msgpack([0xc6, 0xff, 0xff, 0xff, 0xff], Code::Malformed, "").await;
    let mut event = order("bad");
    event["measures"]["amount"] = json!("1.005");
    shop.bad_msgpack(pack(&event), Code::TooManyDigits, "measures.amount").await;
    event["measures"]["amount"] = json!(1.005);
    shop.bad_msgpack(pack(&event), Code::TooManyDigits, "measures.amount").await;
    event["measures"]["amount"] = json!(1e300);
    shop.bad_msgpack(pack(&event), Code::Overflow, "measures.amount").await;
    event["measures"]["amount"] = json!(u64::MAX);
    shop.bad_msgpack(pack(&event), Code::Overflow, "measures.amount").await;
    event["measures"]["amount"] = json!(true);
    shop.bad_msgpack(pack(&event), Code::WrongType, "measures.amount").await;
    shop.bad_msgpack(pack(&order_value(|event| event["at"] = Value::Null)), Code::MissingField, "at").await;
    shop.bad_msgpack(pack(&order_value(|event| event["tenant"] = json!("other"))), Code::SubjectMismatch, "tenant")
        .await;
    // A key that is no text: {1: 2, "id": "a", "at": …}.
    let mut event = vec![0x83, 0x01, 0x02];
    event.extend(["id", "a", "at", NOON].into_iter().flat_map(|text| pack(&json!(text))));
    shop.bad_msgpack(event, Code::Malformed, "").await;
    // One bad event of a batch.
    let bad = order_value(|event| event["measures"]["quantity"] = json!("many"));
    let sequence = shop.publish_msgpack(pack(&json!([order("in-1"), bad, order("in-2")]))).await;
    shop.expect("order", sequence, 1, Code::WrongType, "measures.quantity", &pack(&bad));
    shop.good += 2;
    shop.still_counts().await;
    // The same bytes without the header are not JSON.
    shop.bad("order", &whole[..], Code::InvalidUtf8, "").await;
    shop.close().await;
}

fn order_value(change: impl FnOnce(&mut Value)) -> Value {
    let mut event = order("bad");
    change(&mut event);
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn old_repeated_and_contradicting_versions() {
    let mut daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let version = |version: u64, quantity: u64| {
        let mut event = order("one");
        event["version"] = json!(version);
        event["measures"]["quantity"] = json!(quantity);
        event.to_string()
    };
    let draft = order_with(|event| event["status"] = json!("draft"));
    daybook.publish("acme", "order", draft).await;
    daybook.publish("acme", "order", version(5, 50)).await;
    // Said again: no reject.
    daybook.publish("acme", "order", version(5, 50)).await;
    let stale = daybook.publish("acme", "order", version(4, 40)).await;
    let conflict = daybook.publish("acme", "order", version(5, 51)).await;
    daybook.publish("acme", "order", version(6, 60)).await;
    let stale_again = daybook.publish("acme", "order", format!("[{},{}]", order("two"), version(5, 50))).await;
    // Facts: an id tells repetitions apart; without one, each counts.
    let click = |id: Option<&str>, ms: u64| json!({"id": id, "at": NOON, "measures": {"ms": ms}}).to_string();
    for event in [click(Some("c"), 1), click(Some("c"), 1), click(None, 1), click(None, 1)] {
        daybook.publish("acme", "click", event).await;
    }
    let other_click = daybook.publish("acme", "click", click(Some("c"), 2)).await;
    let expected = [
        (stale, 0, Code::StaleVersion, version(4, 40)),
        (conflict, 0, Code::VersionConflict, version(5, 51)),
        (stale_again, 1, Code::StaleVersion, version(5, 50)),
        (other_click, 0, Code::VersionConflict, click(Some("c"), 2)),
    ];
    for round in 0..3 {
        match round {
            0 => {}
            1 => daybook.restart_services().await,
            _ => daybook.restart_without_checkpoints().await,
        }
        daybook.settle().await;
        let rejects = rejects_of(&daybook, "acme").await;
        assert_eq!(rejects.len(), expected.len());
        for (reject, (inbox, index, code, original)) in rejects.iter().zip(&expected) {
            assert_eq!((reject.inbox, reject.index, reject.code), (*inbox, *index, *code));
            // A fact has no versions.
            let field = if *inbox == other_click { "id" } else { "version" };
            assert_eq!(reject.field.as_deref(), Some(field));
            assert_eq!(reject.date, Some(orders::FIRST_DAY.parse().unwrap()));
            says_all_of(reject.original.bytes(), original);
        }
        let account = account(&daybook, "acme").await;
        assert_eq!((account.published, account.counted, account.pending), (13, 6, 1));
        assert_eq!((account.duplicate, account.stale, account.rejected, account.carried), (2, 2, 2, 0));
        let figures = orders::figures(&daybook, "acme", "orders", orders::FIRST_DAY).await;
        assert_eq!((figures["orders"].as_str(), figures["drafts"].as_str()), ("2", "1"));
        assert_eq!((figures["quantity"].as_str(), figures["amount"].as_str()), ("61", "5.00"));
        let clicks = orders::figures(&daybook, "acme", "clicks", orders::FIRST_DAY).await;
        assert_eq!(clicks["clicks"], "3");
    }
}

/// Whether the reject's original says everything that was published.
fn says_all_of(original: &[u8], published: &str) {
    let (original, published): (Value, Value) =
        (serde_json::from_slice(original).unwrap(), serde_json::from_str(published).unwrap());
    for (field, value) in published.as_object().unwrap() {
        match value.as_object() {
            Some(columns) => {
                for (column, value) in columns {
                    let text = |value: &Value| value.to_string().replace('"', "").trim_end_matches('0').to_owned();
                    assert_eq!(text(&original[field][column]), text(value), "{field}.{column}");
                }
            }
            None => assert_eq!(original[field], *value, "{field}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_nobody_defined_is_told_so() {
    let mut daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let mut expected = Vec::new();
    for tenant in ["nobody", "Acme", &"x".repeat(64)] {
        // Unknown as a whole, however many events and of whatever kind.
        for (kind, payload) in
            [("order", order("a").to_string()), ("none", "{".to_owned()), ("order", "[1,2]".to_owned())]
        {
            let sequence = daybook.publish(tenant, kind, payload.clone()).await;
            expected.push((tenant.to_owned(), kind, sequence, payload));
        }
    }
    daybook.publish("acme", "order", order("a").to_string()).await;
    for round in 0..3 {
        match round {
            0 => {}
            1 => daybook.restart_services().await,
            _ => daybook.restart_without_checkpoints().await,
        }
        daybook.settle().await;
        let mut found = Vec::new();
        for tenant in ["nobody", "Acme", &"x".repeat(64)] {
            found.extend(rejects_of(&daybook, tenant).await);
        }
        assert_eq!(found.len(), expected.len());
        for (reject, (tenant, kind, sequence, payload)) in found.iter().zip(&expected) {
            assert_eq!((reject.code, reject.field.as_deref()), (Code::UnknownTenant, Some("subject")));
            assert_eq!(
                (&reject.tenant, reject.kind.as_str(), reject.inbox, reject.index),
                (tenant, *kind, *sequence, 0)
            );
            assert_eq!(reject.original.bytes(), payload.as_bytes());
        }
        assert_eq!(orders_counted(&daybook, "acme").await, 1);
    }
    // Once it is defined, the same events count.
    orders::define_tenants(&daybook, &["nobody"]).await;
    daybook.publish("nobody", "order", order("a").to_string()).await;
    daybook.settle().await;
    assert_eq!(orders_counted(&daybook, "nobody").await, 1);
    assert_eq!(account(&daybook, "nobody").await.published, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_that_no_stream_takes_are_not_acknowledged() {
    let mut shop = Shop::open("acme").await;
    let before = stored(&shop.daybook).await;
    let jetstream = shop.daybook.client.connection.jetstream.clone();
    for subject in ["daybook.in.a.b.order", "daybook.in.acme", "daybook.in.acme.order.x", "daybook.in"] {
        let refused = jetstream.publish(subject, order("a").to_string().into()).await.unwrap().await.err().unwrap();
        assert_eq!(refused.kind(), PublishErrorKind::StreamNotFound, "{subject}");
    }
    assert_eq!(stored(&shop.daybook).await, before);
    shop.still_counts().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_tenant_id_is_rejected_aside() {
    let mut shop = Shop::open("acme").await;
    let jetstream = shop.daybook.client.connection.jetstream.clone();
    let long = "x".repeat(65);
    let longer = "y".repeat(300);
    let mut expected = Vec::new();
    // Not DEL: nats-server keeps that byte for itself, and may not show such a message to readers.
    for token in ["ä", "a>b", "a*b", "*a", "a@b", "~invalid", "$SYS", "a\u{1}b", &long, &longer] {
        let payload = order(token).to_string();
        let subject = format!("daybook.in.{token}.order");
        let ack = jetstream.publish(subject, payload.clone().into()).await.unwrap().await.unwrap();
        expected.push((token.chars().take(256).collect::<String>(), InboxSeq(ack.sequence), payload));
        shop.still_counts().await;
    }
    for round in 0..3 {
        match round {
            0 => {}
            1 => shop.daybook.restart_services().await,
            _ => shop.daybook.restart_without_checkpoints().await,
        }
        shop.daybook.settle().await;
        let rejects = rejects_of(&shop.daybook, INVALID_TENANT).await;
        assert_eq!(rejects.len(), expected.len());
        for (reject, (token, sequence, payload)) in rejects.iter().zip(&expected) {
            assert_eq!((reject.code, reject.field.as_deref()), (Code::InvalidTenant, Some("subject")));
            assert_eq!((&reject.tenant, reject.kind.as_str(), reject.inbox), (token, "order", *sequence));
            assert_eq!(reject.original.bytes(), payload.as_bytes());
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_subjects_and_headers_stop_nothing() {
    let mut shop = Shop::open("acme").await;
    let mut raw = RawPublisher::connect(shop.daybook.broker.broker.client_url()).await;
    // The broker takes wildcards for what they are when somebody publishes to them, and stores them untransformed.
    for subject in ["daybook.in.*.order", "daybook.in.>.order", "daybook.in.acme.*", "daybook.in.acme.>"] {
        let said = raw.publish(subject.as_bytes(), b"{}").await;
        assert!(matches!(said, Said::Stored(_)), "{subject}: {said:?}");
        shop.still_counts().await;
    }
    for subject in ["daybook.in..order", "daybook.in.acme.", "daybook.in.a.b.order"] {
        assert_eq!(raw.publish(subject.as_bytes(), b"{}").await, Said::NoStream, "{subject}");
    }
    // Only the broker says where it sourced a message from.
    let forged = b"NATS/1.0\r\nNats-Stream-Source: DAYBOOK_DAYS 1000\r\n\r\n";
    let said = raw.publish_with_headers(b"daybook.in.acme.order", forged, b"{}").await;
    assert!(matches!(said, Said::Refused(_)), "{said:?}");
    // Headers that mean something elsewhere, or nothing.
    for headers in [
        "NATS/1.0\r\ntraceparent: zz-1\r\n\r\n",
        "NATS/1.0\r\nDaybook-Inbox-Seq: 99999\r\nDaybook-Position: 1\r\n\r\n",
        "NATS/1.0\r\nContent-Type: text/plain\r\n\r\n",
        "NATS/1.0 503\r\n\r\n",
        "NATS/1.0 404 No Messages\r\n\r\n",
        "NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    ] {
        let payload = br#"{"id":"a"}"#;
        let said = raw.publish_with_headers(b"daybook.in.acme.order", headers.as_bytes(), payload).await;
        let Said::Stored(sequence) = said else { panic!("{headers}: {said:?}") };
        shop.expect("order", InboxSeq(sequence), 0, Code::MissingField, "at", payload);
        shop.still_counts().await;
    }
    shop.close().await;
}
