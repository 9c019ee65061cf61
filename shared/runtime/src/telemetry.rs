//! Logs, and traces whose context travels in NATS headers.

use async_nats::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::Serialize;
use std::io::IsTerminal;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Parts that have their say only when something is wrong, unless the filter asks for more. Attempts to connect are told
/// of in `connection`, and not at each of them.
const QUIET: &str = "ractor=warn,async_nats=warn,async_nats::connector=off";

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

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

/// Sets up logs (to standard error) and traces for this process. A second call changes nothing.
///
/// # Errors
/// When the filter or the endpoint cannot be used.
pub fn start(service: &str, options: &crate::config::OperationsOptions) -> Result<Telemetry, TelemetryError> {
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
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let provider = match &options.otlp_endpoint {
        Some(endpoint) => Some(provider(service, endpoint, options.trace_ratio)?),
        None => None,
    };
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("daybook")).with_filter(EnvFilter::new(
            "off,daybook=info,ingest=info,aggregator_shard=info,day_manager=info,query=info,daybook_runtime=info",
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
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio.clamp(0.0, 1.0)))))
        .with_resource(resource)
        .build())
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }
    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key, value);
    }
}

/// The trace context that a message carries, if it carries one.
pub fn context_of(headers: &HeaderMap) -> Option<Context> {
    headers.get("traceparent")?;
    let context = TraceContextPropagator::new().extract(&Headers(headers));
    context.span().span_context().is_valid().then_some(context)
}

/// Makes `span` a child of `parent`.
pub fn set_parent(span: &Span, parent: &Context) {
    let _ = span.set_parent(parent.clone());
}

/// Relates `span` to another trace.
pub fn link(span: &Span, other: &Context) {
    span.add_link(other.span().span_context().clone());
}

/// Writes the context of `span` into the headers of a message, when it is being traced.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut HeadersMut(headers));
    }
}
