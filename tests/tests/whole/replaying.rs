//! `daybook replay` of files as tools write them: every event counts once, and what does not count is told with its line.

use daybook::client::Client;
use daybook::commands::replay::{Summary, progress, replay};
use daybook::fact_ids::FactIds;
use daybook::replayer::ReplayOptions;
use daybook::source::{Columns, EventSource};
use daybook_contracts::reject::Code;
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::connection::BrokerOptions;
use daybook_tests::Daybook;
use daybook_tests::orders::{self, FIRST_DAY, NOON, account, figures, orders_counted};
use daybook_tests::route::{Route, Way};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file in memory, with a name.
fn file(name: &str, text: &[u8]) -> EventSource {
    EventSource::of_bytes(Vec::leak(text.to_vec()), name)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Replays a file as the command does; its facts get ids out of its content.
async fn run(client: &Client, kind: Option<&str>, source: EventSource) -> Summary {
    let kinds = client.catalogue().await.unwrap().kinds;
    let fact_ids = FactIds::new(&kinds, source.content_hash().unwrap().unwrap());
    let kind = kind.map(name);
    let source = source.with_columns(Columns { kinds, kind: kind.clone(), ..Columns::default() });
    let tenant = Some(TenantId::new("acme").unwrap());
    let options = ReplayOptions { kind, tenant_field: "tenant".into(), tenant, clock: None, fact_ids: Some(fact_ids) };
    replay(client, None, options, source, None, false, &progress(None, true)).await.unwrap()
}

async fn clicks_counted(daybook: &Daybook) -> u64 {
    figures(daybook, "acme", "clicks", FIRST_DAY).await["clicks"].parse().unwrap()
}

/// Clicks, one a line, of which each is the same as the others.
fn clicks(count: usize) -> Vec<u8> {
    format!("{{\"at\":\"{NOON}\",\"dims\":{{\"page\":\"home\"}}}}\n").repeat(count).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_count_once_when_acknowledgements_are_lost_and_when_the_file_is_replayed_again() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let acks = Arc::new(AtomicU64::new(0));
    let seen = acks.clone();
    // The second acknowledgement is lost, once: the event stands in INBOX, and the client does not know.
    let route = Route::new(daybook.broker.broker.client_url(), move |way, frame| {
        let is_ack = way == Way::ToClient && frame.payload().starts_with(b"{\"stream\":\"DAYBOOK_INBOX\"");
        !(is_ack && seen.fetch_add(1, Ordering::SeqCst) == 1)
    });
    let route = route.await;
    let client = Client::connect(&BrokerOptions::at(&route.url())).await.unwrap();

    let summary = run(&client, Some("click"), file("clicks.ndjson", &clicks(5))).await;
    assert_eq!((summary.published, summary.repeated, summary.rejected), (5, 4, 0), "{summary:?}");
    assert!(acks.load(Ordering::SeqCst) >= 9, "{acks:?}");
    assert_eq!(clicks_counted(&daybook).await, 5);
    assert_eq!(account(&daybook, "acme").await.duplicate, 4);

    let again = run(&client, Some("click"), file("copy.ndjson", &clicks(5))).await;
    assert_eq!((again.published, again.rejected), (5, 0), "{again:?}");
    assert_eq!(clicks_counted(&daybook).await, 5);
    // Another file holds other clicks.
    run(&client, Some("click"), file("clicks.ndjson", &clicks(2))).await;
    assert_eq!(clicks_counted(&daybook).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_a_file_counts_however_a_tool_wrote_it() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let event = |id: &str| {
        format!(
            "{{\"id\":\"{id}\",\"at\":\"{NOON}\",\"dims\":{{\"channel\":\"web\"}},\"measures\":{{\"quantity\":1,\"amount\":\"2.50\"}}}}"
        )
    };
    let three = |form: &str| [1, 2, 3].map(|number| event(&format!("{form}-{number}")));
    let row = |form: &str, number: u32| format!("{form}-{number},{NOON},\"web, mobile\",1,2.50");
    let csv = format!(
        "\u{feff}id,at,channel,quantity,amount\r\n{}\r\n{}\r\n{}\r\n",
        row("csv", 1),
        row("csv", 2),
        row("csv", 3)
    );
    let pretty = three("pretty").map(|event| event.replace(",\"", ",\n  \"")).join("\n");
    let files = [
        ("crlf.ndjson", three("crlf").join("\r\n").into_bytes()),
        ("cr.ndjson", three("cr").join("\r").into_bytes()),
        ("mark.ndjson", format!("\u{feff}{}\n\n", three("mark").join("\n\n")).into_bytes()),
        ("seq.json", format!("\u{1e}{}\n", three("seq").join("\n\u{1e}")).into_bytes()),
        ("array.json", format!("[{}]\n", three("array").join(",\n")).into_bytes()),
        ("pretty.json", pretty.into_bytes()),
        ("array.json.zst", zstd::encode_all(format!("[\n{}\n]", three("zst").join("\n,")).as_bytes(), 1).unwrap()),
        ("orders.csv", csv.clone().into_bytes()),
        ("orders.csv.zst", zstd::encode_all(csv.replace("csv-", "zcsv-").as_bytes(), 1).unwrap()),
    ];
    for (counted, (name, text)) in (1..).zip(&files) {
        let summary = run(&daybook.client, Some("order"), file(name, text)).await;
        assert_eq!((summary.published, summary.unroutable, summary.rejected), (3, 0, 0), "{name}: {summary:?}");
        assert_eq!(orders_counted(&daybook, "acme").await, 3 * counted, "{name}");
    }
    let figures = figures(&daybook, "acme", "orders", FIRST_DAY).await;
    assert_eq!(figures["amount"], "67.50", "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_kinds_stand_in_one_file_and_rejected_events_are_told_with_their_lines() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let text = format!(
        "{{\"kind\":\"order\",\"id\":\"o-1\",\"at\":\"{NOON}\"}}\n\
         {{\"kind\":\"click\",\"at\":\"{NOON}\"}}\n\
         {{\"kind\":\"click\",\"at\":\"yesterday\"}}\n\
         \n\
         {{\"id\":\"o-2\",\"at\":\"{NOON}\"}}\n\
         {{\"kind\":\"order\",\"id\":\"o-3\",\"at\":\"{NOON}\",\"dims\":{{\"shop\":\"east\"}}}}\n\
         {{\"kind\":\"order\",\"id\":\"o-1\",\"at\":\"{NOON}\",\"version\":0,\"measures\":{{\"quantity\":9}}}}\n\
         {{\"kind\":\"order\",\n"
    );
    // What another publisher has rejected is none of the replay's.
    daybook.publish("acme", "order", "oops").await;
    let summary = run(&daybook.client, None, file("mixed.ndjson", text.as_bytes())).await;
    assert_eq!((summary.published, summary.unroutable, summary.rejected), (5, 2, 3), "{summary:?}");
    let lines: Vec<_> = summary.unroutable_lines.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [5, 8], "{summary:?}");
    assert!(summary.unroutable_lines[0].1.contains("kind"), "{summary:?}");
    // Partitions are settled one by one, but one tenant is in one of them.
    let rejected: Vec<_> = summary.rejected_lines.iter().map(|rejected| (rejected.line, rejected.code)).collect();
    let expected = [(3, Code::InvalidTime), (6, Code::UnknownField), (7, Code::VersionConflict)];
    assert_eq!(rejected, expected.map(|(line, code)| (Some(line), code)));
    assert_eq!((orders_counted(&daybook, "acme").await, clicks_counted(&daybook).await), (1, 1));
}
