//! Records as other systems write them, through a mapping into figures: what is mapped is counted exactly, what cannot be is
//! a reject with its path, and lines that vanish are gone.

use daybook::commands::replay::{self, Summary, progress};
use daybook::mapped;
use daybook::replayer::ReplayOptions;
use daybook::source::EventSource;
use daybook_contracts::reject::{Code, Reject};
use daybook_contracts::subjects::INVALID_TENANT;
use daybook_domain::ids::Name;
use daybook_tests::Daybook;
use daybook_tests::orders::{self, NOON, account, rejects_of};
use daybook_tests::sources::rows_of;
use serde_json::{Value, json};

const KIND: &str = r#"
kinds:
  - name: sale
    mode: entity
    dimensions: [store, product]
    measures: [{ name: total, type: decimal, scale: 2 }, quantity]
    mappings:
      - name: shop
        when: "state != 'cart'"
        tenant: { path: /shop/host, map: { east.example: acme, west.example: zeta } }
        explode: /lines
        id: [/number, ./line]
        version: { path: /changed, as: rfc3339 }
        at: { path: /placed, as: [epoch_s, epoch_ms, rfc3339, local] }
        status: { path: /state, map: { settled: final, returned: void }, else: draft }
        dims: { store: { path: /place, text: true }, product: ./sku }
        measures: { total: { path: ./cents, shift: -2 }, quantity: { path: ./count, default: 1 } }
      - name: slots
        tenant: { const: acme }
        explode: { path: /lines, slots: 4 }
        id: [/number, index]
        version: /revision
        at: { path: /placed, as: epoch_s }
        dims: { product: ./sku }
        measures: { total: ./price }
      - name: rows
        extends: debezium
        tenant: { const: acme }
        id: ./id
        at: { path: ./closed_at, as: epoch_ms }
        dims: { store: ./store }
        measures: { total: ./total }
views:
  - { name: products, kind: sale, group_by: [product], metrics: [lines: count, revenue: sum(total), orders: sum(quantity)] }
  - { name: stores, kind: sale, group_by: [store], metrics: [lines: count, revenue: sum(total)] }
tenants:
  - { id: acme, zone: Europe/Berlin, cutoff: "00:00", first_day: 2024-03-01, clock: shop }
  - { id: zeta, zone: America/New_York, cutoff: "00:00", first_day: 2024-03-01, clock: shop }
"#;

async fn start() -> Daybook {
    let daybook = Daybook::start().await;
    daybook.define(KIND).await;
    orders::advance(&daybook, NOON).await;
    daybook
}

/// Replays lines through a mapping of the kind.
async fn replay(daybook: &Daybook, mapping: &str, lines: &[String]) -> Summary {
    let file = daybook.broker.folder.path().join("records.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let wanted = format!("sale/{mapping}").parse().unwrap();
    let kinds = daybook.client.catalogue().await.unwrap().kinds;
    let mapper = mapped::load(&daybook.client, &kinds, &wanted, None).await.unwrap();
    let options = ReplayOptions {
        kind: Some(Name::new("sale").unwrap()),
        fact_ids: None,
        tenant_field: "tenant".to_owned(),
        tenant: None,
        clock: None,
    };
    let source = EventSource::open(&file).unwrap();
    let bar = progress(None, true);
    replay::replay(&daybook.client, Some(&mapper), options, source, None, true, &bar).await.unwrap()
}

/// The rows of a view on the first day.
async fn rows(daybook: &Daybook, tenant: &str, view: &str) -> Value {
    rows_of(&daybook.client, tenant, view).await
}

fn places(rejects: &[Reject]) -> Vec<(Code, &str)> {
    rejects.iter().map(|reject| (reject.code, reject.field.as_deref().unwrap_or_default())).collect()
}

/// An order with its lines: sku and cents.
fn order(number: u64, placed: Value, lines: Value) -> Value {
    json!({"number": number, "state": "settled", "changed": "2024-03-01T10:00:00Z", "placed": placed, "place": 41,
           "shop": {"host": "east.example"}, "lines": lines})
}

#[tokio::test(flavor = "multi_thread")]
async fn records_become_figures_and_what_cannot_is_a_reject_with_its_path() {
    let daybook = start().await;
    let line = |line: u64, sku: &str, cents: Value| json!({"line": line, "sku": sku, "cents": cents});
    let with = |mut order: Value, field: &str, value: Value| {
        *order.pointer_mut(field).unwrap() = value;
        order.to_string()
    };
    let tea = json!([line(1, "tea", json!("19999999999.99"))]);
    let lines = [
        // Each is noon of the first day, in its own form; the last is noon in Berlin.
        order(
            900_719_925_474_099_317,
            json!(1_709_294_400),
            json!([line(1, "tea", json!(19_900)), line(2, "cup", json!(50))]),
        )
        .to_string(),
        order(2, json!("1709294400000"), json!([line(1, "tea", json!("100"))])).to_string(),
        order(3, json!("2024-03-01T12:00:00.123456789012Z"), json!([line(1, "tea", json!(1e2))])).to_string(),
        order(
            4,
            json!("2024-03-01 12:00:00"),
            json!([line(1, "tea", json!(100)), line(2, "cup", json!("ten")), json!(7)]),
        )
        .to_string(),
        with(order(5, json!(1_709_294_400), tea.clone()), "/shop/host", json!("west.example"))
            .replace("19999999999.99", "5"),
        with(order(6, json!(1_709_294_400), tea.clone()), "/state", json!("cart")),
        with(order(7, json!(1_709_294_400), tea.clone()), "/state", json!("new")).replace("19999999999.99", "5"),
        with(order(8, json!(1_709_294_400), tea.clone()), "/shop/host", json!("north.example")),
        order(9, json!("noon"), tea).to_string(),
        "{\"number\": 10, ".to_owned(),
    ];
    let summary = replay(&daybook, "shop", &lines).await;
    assert_eq!((summary.published, summary.unmapped, summary.passed_over), (7, 5, 1), "{summary:?}");
    let expected = json!([
        {"product": "cup", "lines": 1, "revenue": 0.5, "orders": 1},
        {"product": "tea", "lines": 4, "revenue": 202.0, "orders": 4},
    ]);
    assert_eq!(rows(&daybook, "acme", "products").await, expected);
    assert_eq!(
        rows(&daybook, "zeta", "products").await,
        json!([{"product": "tea", "lines": 1, "revenue": 0.05, "orders": 1}])
    );
    assert_eq!(rows(&daybook, "acme", "stores").await, json!([{"store": "41", "lines": 5, "revenue": 202.5}]));
    let rejects = rejects_of(&daybook, "acme").await;
    let told =
        [(Code::WrongType, "/lines/1/cents"), (Code::MissingField, "/lines/2/line"), (Code::InvalidTime, "/placed")];
    assert_eq!(places(&rejects), told);
    assert!(rejects[0].reason.contains("\"ten\"") && rejects[2].reason.contains("\"noon\""), "{rejects:?}");
    let record = rejects[1].original.bytes();
    assert_eq!(record, lines[3].as_bytes(), "also of an item the original is the record: so it can be sent again");
    let nobody = rejects_of(&daybook, INVALID_TENANT).await;
    assert_eq!(places(&nobody), [(Code::WrongType, "/shop/host"), (Code::Malformed, "")]);
    assert!(nobody.iter().all(|reject| reject.tenant == "~unmapped"));
    let account = account(&daybook, "acme").await;
    let dispositions = (account.published, account.counted, account.pending, account.rejected);
    assert_eq!(dispositions, (9, 5, 1, 3), "the draft waits, and what could not be mapped is accounted for");

    // The same file again: everything is a duplicate.
    let summary = replay(&daybook, "shop", &lines).await;
    assert_eq!((summary.published, summary.unmapped), (7, 5));
    assert_eq!(rows(&daybook, "acme", "products").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_a_later_payload_lacks_are_gone_whatever_comes_first() {
    let mut daybook = start().await;
    let payload = |number: u64, revision: u64, lines: Value| {
        json!({"number": number, "revision": revision, "placed": 1_709_294_400, "lines": lines}).to_string()
    };
    let line = |sku: &str, price: &str| json!({"sku": sku, "price": price});
    let both = json!([line("tea", "3.00"), line("cake", "5.00")]);
    let one = json!([line("tea", "3.00")]);
    // The second order's newer payload comes first, and the third is emptied.
    let lines = [
        payload(1, 1, both.clone()),
        payload(1, 2, one.clone()),
        payload(2, 2, one),
        payload(2, 1, both.clone()),
        payload(3, 1, both.clone()),
        payload(3, 2, json!([])),
        payload(
            4,
            1,
            json!([line("cake", "1.00"), line("tea", "1"), line("cup", "1"), line("pot", "1"), line("mat", "1")]),
        ),
    ];
    let summary = replay(&daybook, "slots", &lines).await;
    assert_eq!((summary.published, summary.unmapped), (24, 1), "{summary:?}");
    let expected = json!([{"product": "tea", "lines": 2, "revenue": 6.0, "orders": 0}]);
    assert_eq!(rows(&daybook, "acme", "products").await, expected);
    let rejects = rejects_of(&daybook, "acme").await;
    let too_many: Vec<_> = rejects.iter().filter(|reject| reject.code == Code::BatchSize).collect();
    assert_eq!(too_many.len(), 1, "the fifth line of the fourth order has no slot, so none of it counts");
    replay(&daybook, "slots", &lines[..4]).await;
    assert_eq!(rows(&daybook, "acme", "products").await, expected);
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(rows(&daybook, "acme", "products").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_rows_are_taken_and_deletions_are_void() {
    let daybook = start().await;
    let row = |id: u64, store: &str, total: &str| json!({"id": id, "store": store, "total": total, "closed_at": 1_709_294_400_000_u64});
    let change = |op: &str, before: Value, after: Value, lsn: u64| {
        json!({"op": op, "before": before, "after": after, "source": {"lsn": lsn, "ts_ms": 1}}).to_string()
    };
    let lines = [
        change("c", Value::Null, row(1, "east", "19.90"), 10),
        change("u", row(1, "east", "19.90"), row(1, "west", "21.40"), 20),
        change("r", Value::Null, row(2, "east", "1"), 30),
        change("c", Value::Null, row(3, "east", "7"), 40),
        change("d", row(3, "east", "7"), Value::Null, 50),
        "null".to_owned(),
        change("u", row(1, "east", "0"), row(1, "east", "0.01"), 15),
    ];
    let summary = replay(&daybook, "rows", &lines).await;
    assert_eq!((summary.published, summary.unmapped, summary.passed_over), (6, 0, 1), "{summary:?}");
    let expected = json!([
        {"store": "east", "lines": 1, "revenue": 1.0},
        {"store": "west", "lines": 1, "revenue": 21.4},
    ]);
    assert_eq!(rows(&daybook, "acme", "stores").await, expected, "an older change that comes later changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_can_be_changed_without_touching_figures() {
    let daybook = start().await;
    let line = json!({"number": 1, "revision": 1, "placed": 1_709_294_400, "lines": [{"sku": "tea", "price": "3"}]});
    replay(&daybook, "slots", &[line.to_string()]).await;
    let before = rows(&daybook, "acme", "products").await;
    let kind = || async {
        let kinds = daybook.client.catalogue().await.unwrap().kinds;
        kinds.into_iter().find(|kind| kind.name.as_str() == "sale").unwrap()
    };
    assert_eq!(kind().await.mappings.len(), 3);
    daybook.define(&KIND.replace("price }", "cost }").replace("      - name: rows", "      - name: other")).await;
    let changed = kind().await;
    let names: Vec<&str> = changed.mappings.iter().map(|mapping| mapping.name.as_str()).collect();
    assert_eq!((names, changed.revision), (vec!["shop", "slots", "other"], 2));
    daybook.settle().await;
    assert_eq!(rows(&daybook, "acme", "products").await, before);
}

/// Runs `daybook rejects resend` and returns what it did and its exit code.
fn resend(daybook: &Daybook, arguments: &[&str]) -> (Value, i32) {
    let fixed = ["rejects", "resend", "--nats", daybook.broker.broker.client_url(), "--json"];
    let output = daybook_tests::installation::daybook(&[&fixed[..], arguments].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (told, output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_sent_again_once_the_mapping_is_mended_and_count_once() {
    let daybook = start().await;
    let line = |line: u64, sku: &str, cents: Value| json!({"line": line, "sku": sku, "cents": cents});
    let placed = json!(1_709_294_400);
    let lost = order(3, placed.clone(), json!([line(1, "tea", json!(300))])).to_string().replace("east.ex", "south.ex");
    let lines = [
        order(1, placed.clone(), json!([line(1, "tea", json!(100)), line(2, "cup", json!("50 ct"))])).to_string(),
        order(2, placed.clone(), json!([line(1, "tea", json!("7 ct")), line(2, "cup", json!("8 ct"))])).to_string(),
        lost,
        order(4, placed, json!([line(1, &"x".repeat(70_000), json!(1))])).to_string(),
    ];
    let summary = replay(&daybook, "shop", &lines).await;
    assert_eq!((summary.published, summary.unmapped), (1, 5));
    let mapping = ["acme", "--mapping", "sale/shop"];
    let (told, code) = resend(&daybook, &mapping);
    assert_eq!((&told["sent"], &told["not_sent"], code), (&json!(0), &json!(3), 3), "nothing is mended yet: {told}");

    // Texts such as `50 ct` are what the shop writes, and it has a shop in the south now.
    let mended = KIND
        .replace("total: { path: ./cents, shift: -2 }", r#"total: { path: ./cents, map: { "50 ct": "0.50", "7 ct": "0.07", "8 ct": "0.08", "100": "1.00", "300": "3.00" } }"#)
        .replace("east.example: acme,", "east.example: acme, south.example: acme,");
    daybook.define(&mended).await;
    let (told, code) = resend(&daybook, &["acme", "--mapping", "sale/shop", "--dry-run"]);
    assert_eq!((&told["sent"], code), (&json!(4), 3), "{told}");
    let before = json!([{"product": "tea", "lines": 1, "revenue": 1.0, "orders": 1}]);
    assert_eq!(rows(&daybook, "acme", "products").await, before);
    for round in 0..2 {
        let (told, code) = resend(&daybook, &mapping);
        assert_eq!((&told["sent"], &told["repeated"], &told["not_sent"]), (&json!(4), &json!(1), &json!(1)), "{told}");
        assert_eq!((&told["rejected_again"], code), (&json!({}), 3), "round {round}: the longest is cut short: {told}");
        let expected = json!([
            {"product": "cup", "lines": 2, "revenue": 0.58, "orders": 2},
            {"product": "tea", "lines": 2, "revenue": 1.07, "orders": 2},
        ]);
        assert_eq!(rows(&daybook, "acme", "products").await, expected);
    }
    let (told, code) = resend(&daybook, &["--mapping", "sale/shop", "--since", "1h"]);
    assert_eq!((&told["sent"], code), (&json!(1), 0), "its tenant is known now: {told}");
    assert_eq!(rows(&daybook, "acme", "stores").await, json!([{"store": "41", "lines": 5, "revenue": 4.65}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_sent_again_once_their_kind_is_mended() {
    let daybook = start().await;
    let fact = |page: &str| json!({"at": NOON, "dims": {"page": page}}).to_string();
    daybook.define("kinds: [{ name: hit, mode: fact, dimensions: [site] }]\nviews: [{ name: hits, kind: hit, metrics: [hits: count] }]").await;
    daybook.publish("acme", "hit", format!("[{}, {}]", fact("a"), fact("b"))).await;
    daybook.settle().await;
    daybook.publish("acme", "hit", fact("b")).await;
    daybook.settle().await;
    assert_eq!(rejects_of(&daybook, "acme").await.len(), 3);
    let (told, code) = resend(&daybook, &["acme", "--code", "unknown_field"]);
    assert_eq!((&told["sent"], code), (&json!(0), 3), "there is no dimension page yet: {told}");
    daybook.define("kinds: [{ name: hit, mode: fact, dimensions: [site, page] }]").await;
    let (told, code) = resend(&daybook, &["acme", "--code", "malformed"]);
    assert_eq!((&told["rejects"], code), (&json!(0), 0));
    // A run that does not take all says so, and where to go on.
    let (told, code) = resend(&daybook, &["acme", "--code", "unknown_field", "--limit", "2"]);
    assert_eq!((&told["sent"], &told["rejected_again"], code), (&json!(2), &json!({}), 3), "{told}");
    let since = told["next_since"].as_str().unwrap();
    let (told, code) = resend(&daybook, &["acme", "--code", "unknown_field", "--limit", "2", "--since", since]);
    assert_eq!((&told["sent"], &told["next_since"], code), (&json!(1), &Value::Null, 0), "{told}");
    assert_eq!(rows(&daybook, "acme", "hits").await, json!([{"hits": 3}]));
    for _ in 0..2 {
        let (told, code) = resend(&daybook, &["acme", "--code", "unknown_field,malformed", "--kind", "hit"]);
        assert_eq!((&told["sent"], code), (&json!(3), 0), "{told}");
        assert_eq!(rows(&daybook, "acme", "hits").await, json!([{"hits": 3}]), "facts without ids count once, too");
    }
}
