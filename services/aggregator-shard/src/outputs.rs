//! Turns effects into outputs for the outbox.

use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::alert::{Alert, alert_id, alert_position};
use daybook_contracts::figures::{Figures, MAX_FIGURES_BYTES};
use daybook_contracts::headers;
use daybook_contracts::reject::{Reject, Rejects};
use daybook_contracts::report::report_position;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{LogSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::alerts::{About, Raised};
use daybook_machine::removal::Purge;
use daybook_machine::{Effect, SealedReport};
use daybook_runtime::outbox::{Deletion, Output, Task};
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

/// Where a batch of the log is recorded. Every replica reads the same.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    pub position: LogSeq,
    /// By the broker's clock.
    pub stored_at: Instant,
}

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

/// The traces of the last batches whose events went into days that are not sealed yet, each ingest's own. Not part of
/// the state: they are lost with the process, and nothing depends on them.
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

    /// What one effect of a batch has the outbox do.
    pub fn tasks(&mut self, subjects: &Subjects, batch: Recorded, effect: Effect) -> Vec<Task> {
        match effect {
            Effect::Purge(purge) => deletions(subjects, &purge).map(Task::Delete).into(),
            effect => self.outputs(subjects, batch, effect).into_iter().map(Task::Write).collect(),
        }
    }

    /// The outputs of one effect of a batch.
    pub fn outputs(&mut self, subjects: &Subjects, batch: Recorded, effect: Effect) -> Vec<Output> {
        match effect {
            Effect::Report(report) => self.report_outputs(subjects, report),
            Effect::Rejects { tenant, rejects } => rejects_outputs(subjects, batch.position, &tenant, rejects),
            Effect::Alerts { tenant, alerts } => {
                let numbered = (0..).zip(alerts);
                numbered.map(|(number, raised)| alert_output(subjects, batch, &tenant, number, raised)).collect()
            }
            Effect::Purge(_) => unreachable!("a purge writes nothing"),
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
        let (version, first) = (report_position(report.generation, report.version), report.version == 1);
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

/// What is to be deleted of a removed tenant. A later tenant of the same id has later positions.
fn deletions(subjects: &Subjects, purge: &Purge) -> [Deletion; 4] {
    let tenant = purge.tenant.as_str();
    let below = report_position(purge.generation + 1, 0);
    let figures = subjects.figures_of(tenant);
    [
        Deletion { stream: subjects.reports_stream(), filter: subjects.reports_of(tenant), below },
        Deletion { stream: subjects.figures_stream(), filter: figures, below },
        Deletion {
            stream: subjects.rejects_stream(),
            filter: subjects.rejects(tenant),
            below: purge.before.0 * MAX_REJECTS_MESSAGES,
        },
        Deletion {
            stream: subjects.alerts_stream(),
            filter: subjects.alerts(tenant),
            below: alert_position(purge.before, 0),
        },
    ]
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

/// The message of the alert that has this number among those of its tenant and batch.
fn alert_output(subjects: &Subjects, batch: Recorded, tenant: &TenantId, number: u64, raised: Raised) -> Output {
    let Recorded { position: log, stored_at } = batch;
    let Raised { day, generation, about } = raised;
    metrics::counter!("daybook_shard_alerts_total", "about" => about.as_str()).increment(1);
    let of = |alert: Name| Alert {
        id: alert_id(tenant, log, number),
        alert,
        tenant: tenant.clone(),
        generation,
        day,
        at: stored_at,
        log,
        view: None,
        group: None,
        figures: None,
        more_groups: false,
        report: None,
    };
    let alert = match about {
        About::Group { view, alert, group, figures } => {
            Alert { view: Some(view), group: Some(group), figures: Some(figures), ..of(alert) }
        }
        About::MoreGroups { view, alert } => Alert { view: Some(view), more_groups: true, ..of(alert) },
        About::Report { alert, report } => {
            let name = Name::new(alert.as_str()).expect("the text of an alert for reports is a name");
            Alert { report: Some(report), ..of(name) }
        }
    };
    Output {
        stream: subjects.alerts_stream(),
        subject: subjects.alerts(tenant.as_str()),
        position: alert_position(log, number),
        first: false,
        headers: HeaderMap::new(),
        payload: Bytes::from(serde_json::to_vec(&alert).expect("alerts are plain values")),
    }
}

/// How long the reject is in JSON.
fn json_bytes(reject: &Reject) -> usize {
    serde_json::to_vec(reject).expect("rejects are plain values").len()
}

#[cfg(test)]
mod tests;
