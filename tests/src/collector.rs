//! A collector of traces.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Takes spans in over OTLP/HTTP, as far as a test needs it.
pub struct Collector {
    /// Where spans are sent.
    pub endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Listens on a port of its own.
    pub fn start() -> Self {
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

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
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

/// Bytes of an id as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spans as `name trace/span < parent`, for a failure's message.
pub fn outline(spans: &[Span]) -> Vec<String> {
    let shown = |span: &Span| {
        format!("{} {}/{} < {}", span.name, hex(&span.trace_id), hex(&span.span_id), hex(&span.parent_span_id))
    };
    spans.iter().map(shown).collect()
}
