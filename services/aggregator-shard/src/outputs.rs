//! Turns effects into outputs for the outbox.

use crate::state::{Effect, SealedReport};
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::figures::{Figures, MAX_FIGURES_BYTES};
use daybook_contracts::headers;
use daybook_contracts::reject::{Reject, Rejects};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{LogSeq, Name, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::outbox::Output;
use daybook_runtime::streams::REJECTS_MESSAGE_BYTES;
use daybook_runtime::telemetry;
use opentelemetry::trace::SpanContext;
use std::collections::HashMap;
use zstd::bulk::Compressor;

/// Zstandard's level for figures: its fastest but for the negative ones.
const FIGURES_LEVEL: i32 = 1;
/// Messages of rejects that one batch of the log can make for a tenant at most; it is far from reaching it.
const MAX_REJECTS_MESSAGES: u64 = 1 << 16;
/// Tenant-days of which the trace of the last batch is remembered.
const MAX_TRACES: usize = 10_000;

/// Makes outputs out of effects.
pub struct Maker {
    traces: Traces,
    /// Kept, for to make one costs more than to compress the figures of a small day.
    compressor: Compressor<'static>,
}

impl Default for Maker {
    fn default() -> Self {
        let compressor = Compressor::new(FIGURES_LEVEL).expect("a level of Zstandard's");
        Self { traces: Traces::default(), compressor }
    }
}

/// The traces of the last batches whose events went into days that are not sealed yet, each ingest's own. Not part of the state: they are lost with
/// the process, and nothing depends on them.
#[derive(Default)]
struct Traces {
    by_day: HashMap<(TenantId, Date), SpanContext>,
}

impl Traces {
    fn note(&mut self, tenant: &TenantId, date: Date, trace: &SpanContext) {
        // Days that never seal again would fill it for good; what is lost is a link in a trace.
        if self.by_day.len() >= MAX_TRACES {
            self.by_day.clear();
        }
        self.by_day.insert((tenant.clone(), date), trace.clone());
    }

    fn take(&mut self, tenant: &TenantId, date: Date) -> Option<SpanContext> {
        self.by_day.remove(&(tenant.clone(), date))
    }
}

impl Maker {
    /// Notes that `trace` has to do with the day.
    pub fn note(&mut self, tenant: &TenantId, date: Date, trace: &SpanContext) {
        self.traces.note(tenant, date, trace);
    }

    /// The outputs of one effect of the batch at `position`.
    pub fn outputs(&mut self, subjects: &Subjects, position: LogSeq, effect: Effect) -> Vec<Output> {
        match effect {
            Effect::Report(report) => self.report_outputs(subjects, report),
            Effect::Rejects { tenant, rejects } => rejects_outputs(subjects, position, &tenant, rejects),
        }
    }

    /// The report and the figures behind it.
    fn report_outputs(&mut self, subjects: &Subjects, report: SealedReport) -> Vec<Output> {
        let span = tracing::info_span!("seal", tenant = %report.tenant, date = %report.date, version = report.version);
        // One trace from the day's last batch to the report; the close that caused it is a link away.
        if let Some(trace) = self.traces.take(&report.tenant, report.date) {
            let closing = telemetry::context_in(&tracing::Span::current());
            telemetry::set_parent(&span, &trace);
            telemetry::link(&span, &closing);
        }
        let mut headers = HeaderMap::new();
        headers.insert(headers::HASH, report.hash.as_str());
        telemetry::inject(&span, &mut headers);
        let (version, first) = (u64::from(report.version), report.version == 1);
        let figures_of = |(view, figures): &(Name, Option<Figures>)| {
            // Those of the version before must not stay: an empty message says that there are too many.
            let payload = figures.as_ref().and_then(|figures| self.compressed(figures)).unwrap_or_default();
            let (stream, headers) = (subjects.figures_stream(), HeaderMap::new());
            let subject = subjects.figures(&report.tenant, report.date, view.as_str());
            Output { stream, subject, position: version, first, headers, payload }
        };
        let mut outputs: Vec<Output> = report.figures.iter().map(figures_of).collect();
        outputs.push(Output {
            stream: subjects.reports_stream(),
            subject: subjects.report(&report.tenant, report.date),
            position: version,
            first,
            headers,
            payload: Bytes::from(report.payload),
        });
        outputs
    }

    /// Figures as they are published; `None` when they are too large for that.
    fn compressed(&mut self, figures: &Figures) -> Option<Bytes> {
        let payload = self.compressor.compress(&figures.encode()).expect("memory can be compressed");
        if payload.len() > MAX_FIGURES_BYTES {
            metrics::counter!("daybook_figures_too_large_total").increment(1);
            return None;
        }
        Some(Bytes::from(payload))
    }
}

fn rejects_outputs(subjects: &Subjects, position: LogSeq, tenant: &str, rejects: Vec<Reject>) -> Vec<Output> {
    let mut outputs = Vec::new();
    let mut rejects = rejects.into_iter().peekable();
    while rejects.peek().is_some() {
        let mut part = Vec::new();
        let mut bytes = 0;
        while let Some(reject) = rejects.peek() {
            bytes += json_bytes(reject);
            if !part.is_empty() && bytes > REJECTS_MESSAGE_BYTES {
                break;
            }
            part.extend(rejects.next());
        }
        let number = outputs.len() as u64;
        assert!(number < MAX_REJECTS_MESSAGES, "a batch of the log is too small for so many rejects");
        let payload = serde_json::to_vec(&Rejects { log: position, rejects: part }).expect("rejects are plain values");
        outputs.push(Output {
            stream: subjects.rejects_stream(),
            subject: subjects.rejects(tenant),
            position: position.0 * MAX_REJECTS_MESSAGES + number,
            first: false,
            headers: HeaderMap::new(),
            payload: Bytes::from(payload),
        });
    }
    outputs
}

/// How long the reject is in JSON.
fn json_bytes(reject: &Reject) -> usize {
    serde_json::to_vec(reject).expect("rejects are plain values").len()
}

#[cfg(test)]
mod tests;
