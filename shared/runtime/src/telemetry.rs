//! Logs, and traces whose context travels in NATS headers.
//!
//! A trace is one service's way from a batch to a report. What a client says of its own trace is linked to it and decides nothing.

mod json;
mod stderr;

pub use stderr::{exit, fail, say, use_format};

use crate::config::{LogFormat, OperationsOptions};
use async_nats::HeaderMap;
use json::JsonLines;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::io::IsTerminal;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Parts that have their say only when something is wrong, unless the filter asks for more. Attempts to connect are told
/// of in `connection`, and not at each of them.
const QUIET: &str = "ractor=warn,async_nats=warn,async_nats::connector=off";

/// Telemetry that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter {0:?} cannot be read; use something like info or ingest=debug,info")]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    #[error("traces cannot be sent to {endpoint}")]
    Exporter {
        endpoint: String,
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
}

/// Ends telemetry in good order when dropped: what is still to be sent, is.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            let _ = provider.shutdown();
        }
    }
}

/// Sets up logs (to standard error) and traces for this process. A second call changes only the form of what is said beside the log.
///
/// # Errors
/// When the filter or the endpoint cannot be used.
pub fn start(service: &str, options: &OperationsOptions) -> Result<Telemetry, TelemetryError> {
    use_format(options.log_format);
    let filter = EnvFilter::try_new(format!("{QUIET},{}", options.log))
        .map_err(|source| TelemetryError::Filter(options.log.clone(), source))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A line that cannot be written, because the log's disk is full, is lost. To say so would fail on standard
        // error just as well, and what fails there panics.
        .log_internal_errors(false);
    let lines = match options.log_format {
        LogFormat::Text => lines.with_target(true).with_filter(filter).boxed(),
        LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(JsonLines).with_filter(filter).boxed(),
    };
    let provider = match &options.otlp_endpoint {
        Some(endpoint) => Some(provider(service, endpoint, options.trace_ratio)?),
        None => None,
    };
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("daybook")).with_filter(EnvFilter::new(
            "off,daybook=info,ingest=info,aggregator_shard=info,day_manager=info,query=info,daybook_runtime=info,hunt=info",
        ))
    });
    let _ = tracing_subscriber::registry().with(lines).with(traces).try_init();
    Ok(Telemetry { provider })
}

fn provider(service: &str, endpoint: &str, ratio: f64) -> Result<SdkTracerProvider, TelemetryError> {
    let base = endpoint.trim_end_matches('/');
    let url = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(url)
        .build()
        .map_err(|source| TelemetryError::Exporter { endpoint: endpoint.to_owned(), source })?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.namespace", "daybook"))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler(ratio))
        .with_resource(resource)
        .build())
}

/// Decides by the trace's id alone. A sampled flag that a message carries has no say: each process goes by its own ratio, and
/// those with the same ratio decide alike.
fn sampler(ratio: f64) -> Sampler {
    Sampler::TraceIdRatioBased(ratio.clamp(0.0, 1.0))
}

/// The header in which a trace context travels. Its companion `tracestate` is neither read nor written: it is text of whoever began
/// the trace, which would end with other tenants.
const TRACEPARENT: &str = "traceparent";

/// The trace context that a message carries, if it carries exactly one of a sound form. Whoever published the message chose it: a
/// client's may be [linked](link), only that of a service may be a [parent](set_parent).
pub fn context_of(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT);
    let (value, further) = (values.next()?, values.next());
    if further.is_some() { None } else { parse(value.as_str().as_bytes()) }
}

/// Reads `<version>-<trace id>-<span id>-<flags>` of W3C Trace Context, level 2. A later version may add fields behind these.
fn parse(value: &[u8]) -> Option<SpanContext> {
    let (fields, rest) = value.split_at_checked(55)?;
    let has_dashes = [2, 35, 52].iter().all(|place| fields[*place] == b'-');
    let version = hexadecimal(&fields[..2])?;
    let is_sound = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    if !has_dashes || !is_sound {
        return None;
    }
    let trace = TraceId::from_bytes(hexadecimal(&fields[3..35])?.to_be_bytes());
    let span = SpanId::from_bytes((hexadecimal(&fields[36..52])? as u64).to_be_bytes());
    let flags = TraceFlags::new(hexadecimal(&fields[53..])? as u8) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// The number that at most 32 hexadecimal digits in lower case say.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The trace context of a span; an invalid one where nothing is traced.
pub fn context_in(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

/// Makes `span` a child of `parent`, which a service must have written.
pub fn set_parent(span: &Span, parent: &SpanContext) {
    let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
}

/// Relates `span` to another trace.
pub fn link(span: &Span, other: &SpanContext) {
    span.add_link(other.clone());
}

/// Writes the context of `span` into the headers of a message, when it is being traced.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = context_in(span);
    if context.is_valid() {
        let flags = context.trace_flags() & TraceFlags::SAMPLED;
        let value = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
        headers.insert(TRACEPARENT, value);
    }
}

#[cfg(test)]
mod tests;
