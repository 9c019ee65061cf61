//! Log lines in JSON. They hold all that lines in text hold, the causes of errors included.

use serde_json::{Value, json};
use std::error::Error;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Most causes that are written of one error. Real chains have a few; one that does not end must not fill the log.
const MAX_CAUSES: usize = 32;

/// Keys and values of a line, in their order.
type Entries = Vec<(String, Value)>;

/// Writes each event as one line: time, level, its fields, the target, the current span and all spans around it.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut entries = begin(metadata.level().as_str());
        event.record(&mut Fields(&mut entries));
        entries.push(("target".to_owned(), json!(metadata.target())));
        if let Some(span) = event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current()) {
            let spans: Vec<Value> = span.scope().from_root().map(|span| described::<S, N>(&span)).collect();
            entries.push(("span".to_owned(), described::<S, N>(&span)));
            entries.push(("spans".to_owned(), Value::Array(spans)));
        }
        writer.write_str(&line(&entries))
    }
}

/// One line that is not an event: what a process says though its log may be filtered or not set up.
pub(super) fn line_of(level: &str, target: &str, message: &str, more: Entries) -> String {
    let mut entries = begin(level);
    entries.push(("message".to_owned(), json!(message)));
    entries.extend(more);
    entries.push(("target".to_owned(), json!(target)));
    line(&entries)
}

/// An error and its causes, as fields of a line.
pub(super) fn error_fields(name: &str, error: &(dyn Error + 'static)) -> Entries {
    let mut entries = vec![(name.to_owned(), json!(error.to_string()))];
    let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
    if !causes.is_empty() {
        entries.push((format!("{name}.sources"), json!(causes)));
    }
    entries
}

/// The causes of an error, nearest first.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let cause_of = |error: &&'a (dyn Error + 'static)| (*error).source();
    std::iter::successors(error.source(), cause_of).take(MAX_CAUSES)
}

fn begin(level: &str) -> Entries {
    let mut timestamp = String::new();
    // A string takes whatever is written.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    vec![("timestamp".to_owned(), json!(timestamp)), ("level".to_owned(), json!(level))]
}

fn line(entries: &Entries) -> String {
    let mut text = String::from("{");
    for (index, (key, value)) in entries.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        text += &format!("{comma}{}:{value}", json!(key));
    }
    text + "}\n"
}

/// The fields and the name of a span.
fn described<S, N>(span: &SpanRef<'_, S>) -> Value
where
    S: for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let extensions = span.extensions();
    let fields = extensions.get::<FormattedFields<N>>().map_or("{}", |fields| fields.fields.as_str());
    let mut described = match serde_json::from_str(fields) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::from_iter([("fields".to_owned(), json!(fields))]),
    };
    described.insert("name".to_owned(), json!(span.metadata().name()));
    Value::Object(described)
}

struct Fields<'a>(&'a mut Entries);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.push((field.name().to_owned(), value));
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0.extend(error_fields(field.name(), value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
}
