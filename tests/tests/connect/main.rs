//! Foreign streams and subjects through connect into figures: exact however often its processes are killed, whatever the streams
//! hold, and while INBOX is full.
#![allow(clippy::unwrap_used)]

mod changing;
mod steady;

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, stream};
use daybook_broker::ServerSettings;
use daybook_contracts::reject::Code;
use daybook_contracts::subjects::INVALID_TENANT;
use daybook_random::Random;
use daybook_tests::installation::Installation;
use daybook_tests::orders::{self, NOON, account, rejects_of};
use daybook_tests::processes::{Process, binary};
use daybook_tests::raw::{RawPublisher, Said};
use daybook_tests::sources::{all_taken, rows_of, source_of_reader};
use daybook_tests::{Daybook, PrivateBroker, eventually};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MODELS: &str = r#"
kinds:
  - name: sale
    mode: entity
    dimensions: [product]
    measures: [{ name: total, type: decimal, scale: 2 }]
    mappings:
      - name: shop
        tenant: { token: 2 }
        explode: /lines
        id: [/number, ./line]
        version: /revision
        at: { path: /placed, as: epoch_s }
        status: { path: /state, map: { settled: final, returned: void }, else: draft }
        dims: { product: ./sku }
        measures: { total: { path: ./cents, shift: -2 } }
  - name: basket
    mode: entity
    measures: [items]
    mappings:
      - { name: web, tenant: /shop, id: /basket, at: { path: /placed, as: epoch_s }, measures: { items: /items } }
  - name: click
    mode: fact
    dimensions: [page]
    measures: [ms]
    mappings:
      - { name: web, tenant: /shop, at: { path: /placed, as: epoch_s }, dims: { page: /page }, measures: { ms: /ms } }
views:
  - { name: products, kind: sale, group_by: [product], metrics: [lines: count, revenue: sum(total)] }
  - { name: baskets, kind: basket, metrics: [baskets: count, items: sum(items)] }
  - { name: clicks, kind: click, group_by: [page], metrics: [clicks: count, ms: sum(ms)] }
tenants:
  - { id: acme, zone: Europe/Berlin, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s }
"#;

const SOURCES: &str = "
sources:
  - { name: orders, stream: SHOP, subjects: [shop.*.orders], mapping: sale/shop, from: all }
  - { name: baskets, stream: SHOP, subjects: [shop.*.baskets.*], mapping: basket/web, from: all }
  - { name: clicks, stream: SHOP, subjects: [shop.*.clicks], mapping: click/web, from: all }
";
/// Messages that are published while processes are killed.
const MESSAGES: u64 = 12_000;
/// Messages that are published just before both processes are killed.
const BURST: u64 = 400;
const PLACED: u64 = 1_709_294_400;
const PRODUCTS: [&str; 4] = ["tea", "cup", "cake", "pot"];

/// Defines the models and opens the first day.
async fn define(daybook: &Daybook) {
    daybook.define(MODELS).await;
    orders::advance(daybook, NOON).await;
}

/// The context of a client of a broker, and the foreign stream on it.
async fn shop(url: &str, options: ConnectOptions) -> (jetstream::Context, stream::Stream) {
    let context = jetstream::new(options.connect(url).await.unwrap());
    let config = stream::Config { name: "SHOP".to_owned(), subjects: vec!["shop.>".to_owned()], ..Default::default() };
    let stream = context.create_stream(config).await.unwrap();
    (context, stream)
}

/// A file of sources beside the broker's files.
fn sources(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("sources.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

/// A process of connect for this Daybook; it does not run yet.
fn connect(daybook: &Daybook, label: &str) -> Process {
    connect_to(daybook, label, SOURCES)
}

/// The same with other sources.
fn connect_to(daybook: &Daybook, label: &str, text: &str) -> Process {
    let folder = daybook.broker.folder.path();
    let file = sources(folder, text);
    let arguments = [
        "--nats",
        daybook.broker.broker.client_url(),
        "--partitions",
        "4",
        "--sources",
        file.to_str().unwrap(),
        "--http",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ];
    Process::new(label, binary("connect"), arguments.map(str::to_owned).to_vec(), folder)
}

/// The rows of a view on the first day.
async fn rows(daybook: &Daybook, view: &str) -> Value {
    rows_of(&daybook.client, "acme", view).await
}

/// Euros as numbers of one sort, whether they have cents or not.
fn euros(cents: u64) -> Value {
    json!(cents as f64 / 100.0)
}

/// An order as the shop has told of it last.
struct Order {
    revision: u64,
    is_settled: bool,
    /// Product and cents.
    lines: Vec<(&'static str, u64)>,
}

/// What the shop has done, counted in the plainest way.
#[derive(Default)]
struct Model {
    orders: BTreeMap<u64, Order>,
    baskets: BTreeMap<u64, u64>,
    /// By page: clicks and milliseconds.
    clicks: BTreeMap<&'static str, (u64, u64)>,
}

impl Model {
    /// The next message of the shop: subject and payload.
    fn next(&mut self, random: &mut Random) -> (String, Value) {
        match random.below(3) {
            0 => {
                let number = random.below(150);
                let newest = self.orders.get(&number).map_or(0, |order| order.revision);
                // An order keeps its lines; their figures change. Some messages tell of an old revision.
                let lines = 1 + number % 3;
                let lines: Vec<_> =
                    (0..lines).map(|_| (PRODUCTS[random.below(4) as usize], random.below(10_000))).collect();
                let revision = if newest > 2 && random.below(4) == 0 { newest - 2 } else { newest + 1 };
                let is_settled = random.below(5) > 0;
                if revision > newest {
                    self.orders.insert(number, Order { revision, is_settled, lines: lines.clone() });
                }
                let lines: Vec<Value> = (0..)
                    .zip(&lines)
                    .map(|(line, (sku, cents)): (u64, _)| json!({"line": line, "sku": sku, "cents": cents}))
                    .collect();
                let state = if is_settled { "settled" } else { "returned" };
                let order =
                    json!({"number": number, "revision": revision, "placed": PLACED, "state": state, "lines": lines});
                ("shop.acme.orders".to_owned(), order)
            }
            1 => {
                let (basket, items) = (random.below(100), random.below(20));
                self.baskets.insert(basket, items);
                let payload = json!({"shop": "acme", "basket": basket, "placed": PLACED, "items": items});
                (format!("shop.acme.baskets.{basket}"), payload)
            }
            _ => {
                let (page, ms) = (PRODUCTS[random.below(4) as usize], random.below(500));
                let clicks = self.clicks.entry(page).or_default();
                *clicks = (clicks.0 + 1, clicks.1 + ms);
                ("shop.acme.clicks".to_owned(), json!({"shop": "acme", "page": page, "placed": PLACED, "ms": ms}))
            }
        }
    }

    /// The figures of all views agree with what the shop has done.
    async fn check(&self, daybook: &Daybook) {
        let mut products: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for order in self.orders.values().filter(|order| order.is_settled) {
            for (product, cents) in &order.lines {
                let figures = products.entry(product).or_default();
                *figures = (figures.0 + 1, figures.1 + cents);
            }
        }
        let expected: Vec<Value> = products
            .iter()
            .map(|(product, (lines, cents))| json!({"product": product, "lines": lines, "revenue": euros(*cents)}))
            .collect();
        assert_eq!(rows(daybook, "products").await, json!(expected));
        let items: u64 = self.baskets.values().sum();
        assert_eq!(rows(daybook, "baskets").await, json!([{"baskets": self.baskets.len(), "items": items}]));
        let expected: Vec<Value> =
            self.clicks.iter().map(|(page, (clicks, ms))| json!({"page": page, "clicks": clicks, "ms": ms})).collect();
        assert_eq!(rows(daybook, "clicks").await, json!(expected));
        // What told of an old revision. Messages of a killed process come late, so it may even be the revision that is known.
        let rejects = rejects_of(daybook, "acme").await;
        let other = rejects.iter().find(|reject| !matches!(reject.code, Code::StaleVersion | Code::VersionConflict));
        assert!(other.is_none(), "{other:?}");
        account(daybook, "acme").await;
    }
}

/// How many messages the sources' consumers have delivered that nobody has acknowledged.
async fn unacknowledged(stream: &stream::Stream) -> usize {
    let mut sum = 0;
    for name in ["orders", "baskets", "clicks"] {
        let consumer = stream.get_consumer::<pull::Config>(&format!("daybook-connect-{name}")).await.unwrap();
        sum += consumer.cached_info().num_ack_pending;
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_exact_however_often_processes_are_killed() {
    let daybook = Daybook::start().await;
    define(&daybook).await;
    let (context, mut stream) = shop(daybook.broker.broker.client_url(), ConnectOptions::new()).await;
    let mut processes = ["connect-1", "connect-2"].map(|label| connect(&daybook, label));
    processes.iter_mut().for_each(Process::start);
    let publishing = tokio::spawn(async move {
        let (mut model, mut random) = (Model::default(), Random::new(7));
        let mut acks = VecDeque::new();
        for _ in 0..MESSAGES {
            let (subject, payload) = model.next(&mut random);
            acks.push_back(context.publish(subject, payload.to_string().into()).await.unwrap());
            if acks.len() == 32 {
                acks.pop_front().unwrap().await.unwrap();
            }
            if random.one_in(50) {
                tokio::time::sleep(Duration::from_millis(random.below(40))).await;
            }
        }
        for ack in acks {
            ack.await.unwrap();
        }
        (model, random, context)
    });
    let (mut chance, mut kills) = (Random::new(8), 0);
    while !publishing.is_finished() {
        tokio::time::sleep(Duration::from_millis(chance.below(500))).await;
        // Mostly one of them, now and then both.
        let victim = chance.below(processes.len());
        processes[victim].kill();
        if chance.one_in(4) {
            processes[1 - victim].kill();
        }
        processes.iter_mut().filter(|process| !process.is_started()).for_each(Process::start);
        kills += 1;
    }
    let (mut model, mut random, context) = publishing.await.unwrap();
    assert!(kills >= 5, "{kills}");
    // Until kills have come between a delivery and its acknowledgement often enough.
    let (mut caught, mut bursts) = (0, 0);
    while caught < 3 {
        assert!(bursts < 60, "only {caught} kills of {bursts} came between");
        bursts += 1;
        for process in &processes {
            eventually("the sources are shared out", || async {
                process.log().contains("reading a stream").then_some(())
            })
            .await;
        }
        let burst = (0..BURST).map(|_| model.next(&mut random)).collect::<Vec<_>>();
        for (subject, payload) in burst {
            context.publish(subject, payload.to_string().into()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(chance.below(40))).await;
        processes.iter_mut().for_each(Process::kill);
        caught += u32::from(unacknowledged(&stream).await > 0);
        processes.iter_mut().for_each(Process::start);
    }
    all_taken(&stream, &["orders", "baskets", "clicks"]).await;
    daybook.settle().await;
    model.check(&daybook).await;
    let messages = MESSAGES + bursts * BURST;
    assert_eq!(stream.info().await.unwrap().state.messages, messages, "the stream itself is as it was");
    // A process that is asked to end does so at once, and leaves nothing behind.
    let (status, took) = processes[0].terminate().await;
    assert!(status.success() && took < Duration::from_secs(8), "{status} after {took:?}");
    for _ in 0..200 {
        let (subject, payload) = model.next(&mut random);
        context.publish(subject, payload.to_string().into()).await.unwrap().await.unwrap();
    }
    all_taken(&stream, &["orders", "baskets", "clicks"]).await;
    daybook.settle().await;
    model.check(&daybook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_slows_a_source_and_loses_nothing() {
    let mut daybook = Daybook::start_with(|options| options.broker.inbox_max_bytes = 1 << 20).await;
    define(&daybook).await;
    let (context, stream) = shop(daybook.broker.broker.client_url(), ConnectOptions::new()).await;
    daybook.settle().await;
    daybook.stop_services().await;
    let mut process = connect(&daybook, "connect-1");
    process.set("--inbox-max-bytes", &(1 << 20).to_string());
    process.start();
    let (mut model, mut random) = (Model::default(), Random::new(11));
    let mut acks = Vec::new();
    for _ in 0..16_000 {
        let (subject, payload) = model.next(&mut random);
        acks.push(context.publish(subject, payload.to_string().into()).await.unwrap());
        if acks.len() == 100 {
            for ack in acks.drain(..) {
                ack.await.unwrap();
            }
        }
    }
    eventually("INBOX of 1 MiB is full", || async { process.log().contains("INBOX is full").then_some(()) }).await;
    assert_eq!(process.metric("daybook_connect_stuck{source=\"orders\"}").await, 1.0);
    // One that is killed meanwhile begins again where it has to.
    process.kill();
    process.start();
    daybook.start_services().await;
    all_taken(&stream, &["orders", "baskets", "clicks"]).await;
    daybook.settle().await;
    model.check(&daybook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_another_broker_holds_stops_a_source() {
    let foreign = PrivateBroker::start().await;
    let (context, stream) = shop(foreign.broker.client_url(), ConnectOptions::new()).await;
    let mut raw = RawPublisher::connect(foreign.broker.client_url()).await;
    let good = |number: u64| {
        let lines = json!([{"line": 1, "sku": "tea", "cents": 100}, {"line": 2, "sku": "cup", "cents": 50}]);
        json!({"number": number, "revision": 1, "placed": PLACED, "state": "settled", "lines": lines}).to_string()
    };
    let mut poison: Vec<Vec<u8>> =
        ["", "{", "null", "[[[[", "{\"lines\": 7}", "\u{0}", "\"", "[1, {}, null]"].map(Into::into).into();
    poison.push(b"\xff\xfe".to_vec());
    poison.push(vec![b'['; 900_000]);
    poison.push(format!("{{\"lines\": [{}]}}", vec!["{}"; 9_000].join(",")).into_bytes());
    poison.push(good(0).replace("tea", &"x".repeat(900_000)).into_bytes());
    let mut stored = 0;
    let headers: [&[u8]; 5] = [
        b"NATS/1.0\r\nnonsense\r\n\r\n",
        b"NATS/1.0\r\nA: \xff\r\n\r\n",
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
        b"NATS/1.0\r\ntraceparent: zz\r\nDaybook-Unmapped: {}\r\nContent-Type: application/msgpack\r\n\r\n",
    ];
    for (number, payload) in (1..).zip(&poison) {
        let said = raw.publish_with_headers(b"shop.acme.orders", headers[number % headers.len()], payload).await;
        assert!(matches!(said, Said::Stored(_)), "{said:?}");
        context.publish("shop.acme.orders", good(number as u64).into()).await.unwrap().await.unwrap();
        stored += 1;
    }
    for subject in [&b"shop.nobody.orders"[..], b"shop.\xff.orders", b"shop.*.orders", b"shop.a>b.orders"] {
        if let Said::Stored(_) = raw.publish(subject, good(1).as_bytes()).await {
            stored += 1;
        }
    }
    assert!(stored > poison.len(), "the broker takes some hostile subjects");
    context.publish("shop.acme.orders", good(1_000).into()).await.unwrap().await.unwrap();

    let broker = PrivateBroker::start().await;
    let text = SOURCES
        .replace("from: all", &format!("from: all, connection: {{ nats: \"{}\" }}", foreign.broker.client_url()));
    let file = sources(broker.folder.path(), &text);
    let daybook = Daybook::start_on(broker, |options| options.connect.sources = Some(file)).await;
    // The sources wait for the definitions.
    define(&daybook).await;
    all_taken(&stream, &["orders", "baskets", "clicks"]).await;
    daybook.settle().await;
    let orders = poison.len() + 1;
    // Of the order with an impossible product the other line counts.
    let expected = json!([
        {"product": "cup", "lines": orders + 1, "revenue": euros(50 * (orders as u64 + 1))},
        {"product": "tea", "lines": orders, "revenue": euros(100 * orders as u64)},
    ]);
    assert_eq!(rows(&daybook, "products").await, expected);
    account(&daybook, "acme").await;
    let rejects = rejects_of(&daybook, "acme").await;
    let count = |code: Code, field: &str| {
        let alike =
            rejects.iter().filter(|reject| reject.code == code && reject.field.as_deref().unwrap_or_default() == field);
        alike.map(daybook_contracts::reject::Reject::events).sum::<u64>()
    };
    assert_eq!(count(Code::InvalidText, "/lines/0/sku"), 1, "the text is too long, and the other line counts");
    assert_eq!(count(Code::WrongType, "/lines"), 1);
    assert!(rejects_of(&daybook, "nobody").await.iter().all(|reject| reject.code == Code::UnknownTenant));
    assert!(!rejects_of(&daybook, INVALID_TENANT).await.is_empty(), "some have no tenant at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn core_subjects_are_heard_while_connect_listens() {
    let broker = PrivateBroker::start().await;
    let text = "sources:\n  - { name: clicks, subjects: [web.clicks.*], mapping: click/web, tenant: acme }\n";
    let file = sources(broker.folder.path(), text);
    let daybook = Daybook::start_on(broker, |options| options.connect.sources = Some(file)).await;
    define(&daybook).await;
    let client = daybook.client.connection.client.clone();
    let click = |page: &str| json!({"page": page, "placed": PLACED, "ms": 5}).to_string();
    eventually("connect listens", || async {
        client.publish("web.clicks.probe", click("probe").into()).await.unwrap();
        daybook.settle().await;
        let counted = rows(&daybook, "clicks").await;
        counted.as_array().is_some_and(|rows| !rows.is_empty()).then_some(())
    })
    .await;
    for _ in 0..500 {
        client.publish("web.clicks.tea", click("tea").into()).await.unwrap();
    }
    client.publish("web.clicks.bad", "no record".into()).await.unwrap();
    client.flush().await.unwrap();
    let expected = json!({"page": "tea", "clicks": 500, "ms": 2_500});
    eventually("every click counts", || async {
        daybook.settle().await;
        rows(&daybook, "clicks").await.as_array().unwrap().contains(&expected).then_some(())
    })
    .await;
    eventually("what is no click is a reject", || async {
        daybook.settle().await;
        let rejects = rejects_of(&daybook, "acme").await;
        (rejects.len() == 1 && rejects[0].code == Code::Malformed).then_some(())
    })
    .await;
}

/// What docs/SOURCES.md says that the user of a source needs, and nothing else.
const FOREIGN_USERS: &str = r#"
authorization { users: [
  { user: owner, password: owner }
  { user: reader, password: reader, permissions: {
    publish: { allow: [
      "$JS.API.STREAM.INFO.SHOP"
      "$JS.API.CONSUMER.INFO.SHOP.daybook-connect-orders"
      "$JS.API.CONSUMER.CREATE.SHOP.daybook-connect-orders"
      "$JS.API.CONSUMER.MSG.NEXT.SHOP.daybook-connect-orders"
      "$JS.ACK.SHOP.daybook-connect-orders.>"
    ] }
    subscribe: { allow: ["_INBOX.>"] }
  } }
] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn connect_and_its_source_need_what_is_documented_and_no_more() {
    let change = |options: &mut daybook_broker::Options| options.settings = ServerSettings(FOREIGN_USERS.to_owned());
    let foreign = PrivateBroker::start_with(tempfile::tempdir().unwrap(), change).await;
    let url = foreign.broker.client_url().to_owned();
    let (context, stream) = shop(&url, ConnectOptions::with_user_and_password("owner".into(), "owner".into())).await;
    let order = json!({"number": 1, "revision": 1, "placed": PLACED, "state": "settled", "lines": [{"line": 1, "sku": "tea", "cents": 5}]});
    context.publish("shop.acme.orders", order.to_string().into()).await.unwrap().await.unwrap();

    let daybook = Installation::start("cache").await;
    daybook.define(MODELS).await;
    orders::advance_by(&daybook.client, NOON).await;
    let folder = daybook.access.folder.path();
    std::fs::write(folder.join("password"), "reader").unwrap();
    let text = source_of_reader(&url);
    let file = sources(folder, &text);
    let mut arguments = daybook.access.flags("connect", &daybook.server.url);
    let further =
        ["--partitions", "4", "--sources", file.to_str().unwrap(), "--http", "127.0.0.1:0", "--log-format", "json"];
    arguments.extend(further.map(str::to_owned));
    let mut process = Process::new("connect", binary("connect"), arguments, folder);
    process.start();
    all_taken(&stream, &["orders"]).await;
    daybook.client.settle().await.unwrap();
    let expected = json!([{"product": "tea", "lines": 1, "revenue": euros(5)}]);
    assert_eq!(rows_of(&daybook.client, "acme", "products").await, expected);
    // Its standing is told to the operator; other subjects of the source are another consumer configuration.
    let status = String::from_utf8(daybook.operator(&["status"]).stdout).unwrap();
    let row = status.lines().find(|line| line.contains("orders") && line.contains("reading"));
    assert!(row.is_some(), "{status}");
    std::fs::write(&file, text.replace("shop.*.orders", "shop.acme.*")).unwrap();
    context
        .publish("shop.acme.orders", order.to_string().replace("\"number\":1", "\"number\":2").into())
        .await
        .unwrap()
        .await
        .unwrap();
    eventually("the other subjects are read", || async {
        let consumer = stream.get_consumer::<pull::Config>("daybook-connect-orders").await.ok()?;
        let info = consumer.cached_info();
        (info.ack_floor.stream_sequence == 2 && info.config.filter_subjects == ["shop.acme.*"]).then_some(())
    })
    .await;
    let log = process.log().to_lowercase();
    assert!(!log.contains("violation") && !log.contains("warn"), "{log}");
    assert_eq!(daybook.server.violations_of_services(), [""; 0]);
    let log = std::fs::read_to_string(foreign.broker.log_file()).unwrap();
    assert!(!log.contains("Violation"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_or_stream_that_is_removed_costs_nothing() {
    let foreign = PrivateBroker::start().await;
    let (context, stream) = shop(foreign.broker.client_url(), ConnectOptions::new()).await;
    let click = |context: jetstream::Context, count: usize| async move {
        let click = json!({"shop": "acme", "page": "tea", "placed": PLACED, "ms": 1}).to_string();
        for _ in 0..count {
            context.publish("shop.acme.clicks", click.clone().into()).await.unwrap().await.unwrap();
        }
    };
    click(context.clone(), 3).await;
    let broker = PrivateBroker::start().await;
    let connection = format!("from: new, connection: {{ nats: \"{}\" }}", foreign.broker.client_url());
    let file = sources(broker.folder.path(), &SOURCES.replace("from: all", &connection));
    let daybook = Daybook::start_on(broker, |options| options.connect.sources = Some(file)).await;
    define(&daybook).await;
    let consumer = "daybook-connect-clicks";
    eventually("the source begins", || async { stream.get_consumer::<pull::Config>(consumer).await.ok().map(|_| ()) })
        .await;
    let counted = async |clicks: u64| {
        let expected = json!([{"page": "tea", "clicks": clicks, "ms": clicks}]);
        eventually("the clicks count", || async {
            daybook.settle().await;
            (rows(&daybook, "clicks").await == expected).then_some(())
        })
        .await;
    };
    click(context.clone(), 10).await;
    counted(10).await;
    // It is made again where it was; what stood in the stream before the source began is no part of it.
    stream.delete_consumer(consumer).await.unwrap();
    click(context.clone(), 5).await;
    counted(15).await;
    // Another stream of that name counts from 1: its clicks are others.
    context.delete_stream("SHOP").await.unwrap();
    let (context, stream) = shop(foreign.broker.client_url(), ConnectOptions::new()).await;
    click(context, 7).await;
    counted(22).await;
    all_taken(&stream, &["clicks"]).await;
}
