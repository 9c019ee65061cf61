//! One trace from a producer's publish to the sealed report, as an OTLP collector receives it.
//!
//! One test only: logs and traces are set up once for a whole process.
#![allow(clippy::unwrap_used)]

use async_nats::HeaderMap;
use daybook_domain::ids::TenantId;
use daybook_runtime::append::last_message;
use daybook_runtime::config::OperationsOptions;
use daybook_runtime::telemetry;
use daybook_tests::{Daybook, eventually, orders};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const TENANT: &str = "traced";
/// The trace that the producer began, and its span in it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PUBLISH: &str = "b7ad6b7169203331";
/// Past the cut-off that ends the first day.
const NEXT_MORNING: &str = "2024-03-02T06:00:00Z";

#[test]
fn one_trace_leads_from_the_publish_to_the_report() {
    let collector = Collector::start();
    let operations = OperationsOptions { otlp_endpoint: Some(collector.endpoint.clone()), ..Default::default() };
    // Before the runtime: the trace exporter has a blocking client of its own.
    let telemetry = telemetry::start("daybook-test", &operations).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let reported = runtime.block_on(seal_a_traced_day());
    drop(runtime);
    drop(telemetry);

    let spans = collector.spans();
    let only = |name: &str| {
        let found: Vec<&Span> = spans.iter().filter(|span| span.name == name && hex(&span.trace_id) == TRACE).collect();
        assert_eq!(found.len(), 1, "{name} in the producer's trace, of {:?}", outline(&spans));
        found[0]
    };
    let (ingest, apply, seal) = (only("ingest"), only("apply"), only("seal"));
    assert_eq!(hex(&ingest.parent_span_id), PUBLISH);
    assert_eq!(apply.parent_span_id, ingest.span_id);
    assert_eq!(seal.parent_span_id, apply.span_id);
    assert_eq!(reported, format!("00-{TRACE}-{}-01", hex(&seal.span_id)));

    // The seal points at what caused it: the close, on its own way from day-manager through ingest and the shard.
    assert_eq!(seal.links.len(), 1, "{:?}", seal.links);
    let closing = &seal.links[0];
    let find = |id: &[u8]| spans.iter().find(|span| span.trace_id == closing.trace_id && span.span_id == id).unwrap();
    assert_ne!(hex(&closing.trace_id), TRACE);
    let applied = find(&closing.span_id);
    let ingested = find(&applied.parent_span_id);
    let days = find(&ingested.parent_span_id);
    assert_eq!([&applied.name, &ingested.name, &days.name], ["apply", "ingest", "days"]);
}

/// Has one traced order counted and its day sealed; returns the trace context that the report carries.
async fn seal_a_traced_day() -> String {
    let mut daybook = Daybook::start().await;
    orders::define(&daybook, &[TENANT]).await;
    // A batch follows the first trace in it: the day's opening must not share one with the order.
    let tenant = TenantId::new(TENANT).unwrap();
    eventually("the first day's opening", || async {
        daybook.client.days(&tenant).await.ok().filter(|days| !days.days.is_empty())
    })
    .await;
    publish_traced(&daybook).await;
    eventually("the order's counting", || async {
        (orders::account(&daybook, TENANT).await.counted == 1).then_some(())
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
    report.headers.get("traceparent").expect("a report carries its trace").to_string()
}

async fn publish_traced(daybook: &Daybook) {
    let connection = &daybook.client.connection;
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", format!("00-{TRACE}-{PUBLISH}-01"));
    let payload = orders::order("o-1").to_string().into();
    let subject = connection.subjects.input(TENANT, "order");
    connection.jetstream.publish_with_headers(subject, headers, payload).await.unwrap().await.unwrap();
}

/// Takes spans in over OTLP/HTTP, as far as a test needs it.
struct Collector {
    endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let received = spans.clone();
        // Ends with the process, as does a thread for each connection.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let received = received.clone();
                std::thread::spawn(move || serve(BufReader::new(stream.unwrap()), &received));
            }
        });
        Self { endpoint, spans }
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection until the client closes it.
fn serve(mut stream: BufReader<TcpStream>, received: &Mutex<Vec<Span>>) {
    while let Some(body) = read_request(&mut stream) {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        received.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        stream.get_mut().write_all(answer).unwrap();
    }
}

/// The body of the next request, which must be spans.
fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    assert!(line.starts_with("POST /v1/traces "), "{line}");
    let mut length = None;
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().unwrap());
        }
    }
    let mut body = vec![0; length.expect("the exporter tells the length")];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spans as `name trace/span < parent`, for a failure's message.
fn outline(spans: &[Span]) -> Vec<String> {
    let shown = |span: &Span| {
        format!("{} {}/{} < {}", span.name, hex(&span.trace_id), hex(&span.span_id), hex(&span.parent_span_id))
    };
    spans.iter().map(shown).collect()
}
