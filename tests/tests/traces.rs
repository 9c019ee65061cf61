//! One trace from a batch to the sealed report, linked to the producer's, as an OTLP collector receives it.
//!
//! One test only: logs and traces are set up once for a whole process.
#![allow(clippy::unwrap_used)]

use async_nats::HeaderMap;
use daybook_domain::ids::TenantId;
use daybook_runtime::append::last_message;
use daybook_runtime::config::OperationsOptions;
use daybook_runtime::telemetry;
use daybook_tests::collector::{Collector, Span, hex, outline};
use daybook_tests::{Daybook, eventually, orders};
use serde_json::Value;

const TENANT: &str = "traced";
/// The trace that the producer began, and its span in it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PUBLISH: &str = "b7ad6b7169203331";
/// Past the cut-off that ends the first day.
const NEXT_MORNING: &str = "2024-03-02T06:00:00Z";

#[test]
fn a_producers_trace_is_linked_to_the_one_that_leads_to_the_report() {
    let collector = Collector::start();
    let operations = OperationsOptions { otlp_endpoint: Some(collector.endpoint.clone()), ..Default::default() };
    // Before the runtime: the trace exporter has a blocking client of its own.
    let telemetry = telemetry::start("daybook-test", &operations).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let reported = runtime.block_on(seal_a_traced_day());
    drop(runtime);
    drop(telemetry);

    let spans = collector.spans();
    // Nothing of Daybook's is in the producer's trace: a batch holds events of many tenants.
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE), "{:?}", outline(&spans));
    assert!(spans.iter().all(|span| span.trace_state.is_empty()), "nobody's tracestate is taken");
    let is_linked = |span: &&Span| span.links.iter().any(|link| hex(&link.trace_id) == TRACE);
    let linked: Vec<&Span> = spans.iter().filter(is_linked).collect();
    let [ingest] = linked[..] else { panic!("one span is linked to the producer's, of {:?}", outline(&spans)) };
    assert_eq!((ingest.name.as_str(), ingest.links.len()), ("ingest", 1), "each link is there once");
    assert_eq!((hex(&ingest.links[0].span_id), ingest.links[0].trace_state.as_str()), (PUBLISH.to_owned(), ""));
    assert!(ingest.parent_span_id.is_empty(), "a batch begins a trace");
    let only = |name: &str| {
        let is_it = |span: &&Span| span.name == name && span.trace_id == ingest.trace_id;
        let found: Vec<&Span> = spans.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{name} in the batch's trace, of {:?}", outline(&spans));
        found[0]
    };
    let (apply, seal) = (only("apply"), only("seal"));
    assert_eq!(apply.parent_span_id, ingest.span_id);
    assert_eq!(seal.parent_span_id, apply.span_id);
    assert_eq!(reported, format!("00-{}-{}-01", hex(&ingest.trace_id), hex(&seal.span_id)));

    // The seal points at what caused it: the close, on its own way from day-manager through ingest and the shard.
    assert_eq!(seal.links.len(), 1, "{:?}", seal.links);
    let closing = &seal.links[0];
    let find =
        |trace: &[u8], id: &[u8]| spans.iter().find(|span| span.trace_id == trace && span.span_id == id).unwrap();
    assert_ne!(closing.trace_id, ingest.trace_id);
    let applied = find(&closing.trace_id, &closing.span_id);
    let ingested = find(&closing.trace_id, &applied.parent_span_id);
    let days = find(&ingested.links[0].trace_id, &ingested.links[0].span_id);
    assert_eq!([&applied.name, &ingested.name, &days.name], ["apply", "ingest", "days"]);
}

/// Has two traced orders counted and its day sealed; returns the trace context that the report carries.
async fn seal_a_traced_day() -> String {
    let mut daybook = Daybook::start().await;
    orders::define(&daybook, &[TENANT]).await;
    // The day's opening must not share a batch with the orders: its own trace would be linked, too.
    let tenant = TenantId::new(TENANT).unwrap();
    eventually("the first day's opening", || async {
        daybook.client.days(&tenant).await.ok().filter(|days| !days.days.is_empty())
    })
    .await;
    publish_traced(&daybook).await;
    eventually("the orders' counting", || async {
        (orders::account(&daybook, TENANT).await.counted == 2).then_some(())
    })
    .await;
    orders::advance(&daybook, NEXT_MORNING).await;
    let connection = &daybook.client.connection;
    let subject = connection.subjects.report(&tenant, orders::FIRST_DAY.parse().unwrap());
    let report = eventually("the report", || {
        let stream = connection.subjects.reports_stream();
        let subject = &subject;
        async move { last_message(connection, &stream, subject).await }
    })
    .await;
    daybook.stop_services().await;
    assert_eq!(report.headers.get("tracestate"), None, "a report carries nothing of a producer's");
    report.headers.get("traceparent").expect("a report carries its trace").to_string()
}

async fn publish_traced(daybook: &Daybook) {
    let connection = &daybook.client.connection;
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", format!("00-{TRACE}-{PUBLISH}-01"));
    headers.insert("tracestate", "stranger=text");
    let subject = connection.subjects.input(TENANT, "order");
    let both: Value = [orders::order("o-1"), orders::order("o-2")].into_iter().collect();
    let sent = connection.jetstream.publish_with_headers(subject, headers, both.to_string().into()).await;
    sent.unwrap().await.unwrap();
}
