//! The sealed reports of a tenant, by day: the newest version of each.
//!
//! The stream's leader says which days have a report, and what is new since the last request. The head of a report is read
//! once and kept while there is room, so the cost of a page does not depend on the size of reports that are known.

use super::Budget;
use super::dates::Window;
use super::document::Document;
use super::index::{Index, Known};
use super::subject::SubjectReader;
use crate::cache::Cache;
use crate::generations::Owner;
use async_nats::jetstream;
use daybook_contracts::ask::Asked;
use daybook_contracts::lists::{DatesQuery, REPORTS_VIEW, ReportEntry, ReportList};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use daybook_runtime::append::next_message;
use daybook_runtime::backoff::retry;
use daybook_runtime::connection::Connection;
use daybook_runtime::written::NotWritten;
use futures::{StreamExt, stream};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Most tenants whose index is kept.
const MAX_INDEXES: usize = 10_000;
/// Most bytes in memory of the indexes that are kept, roughly.
const MAX_INDEX_BYTES: usize = 64 << 20;
/// New reports since the last request that are read one by one. With more, the index is rebuilt.
const MAX_NEW: usize = 64;
/// Reports that one page reads at once: enough to hide the way to the broker.
const READ_AT_ONCE: usize = 8;
/// Foreign messages, which no service wrote, that are skipped on one subject to find the newest report.
const MAX_FOREIGN: usize = 32;

/// Reads reports, and keeps what it knows of them.
pub struct Sealed {
    connection: Connection,
    indexes: Mutex<Cache<TenantId, Arc<Index>>>,
}

/// The rows of a page.
pub struct Page {
    /// The newest day first.
    pub entries: Vec<Arc<ReportEntry>>,
    /// The newest of the days that are left.
    pub next: Option<Date>,
}

/// The broker's reply to STREAM.INFO with a filter of subjects.
#[derive(Deserialize)]
struct InfoReply {
    state: Option<StateWire>,
    error: Option<jetstream::Error>,
}

#[derive(Deserialize)]
struct StateWire {
    last_seq: u64,
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

impl Sealed {
    pub fn new(connection: Connection) -> Self {
        Self { connection, indexes: Mutex::new(Cache::new(MAX_INDEXES, MAX_INDEX_BYTES)) }
    }

    /// One page of the list of reports. `asked_at` is when the request came.
    ///
    /// # Errors
    /// A wrong request.
    pub async fn list(
        &self,
        (tenant, owner): (&TenantId, Owner),
        query: &DatesQuery,
        asked_at: Instant,
    ) -> Asked<ReportList> {
        let window = Window::new(tenant, REPORTS_VIEW, query)?;
        let Page { entries, next } = self.page((tenant, owner), &window, window.limit, asked_at).await;
        Ok(ReportList {
            tenant: tenant.clone(),
            reports: entries.iter().rev().map(|entry| ReportEntry::clone(entry)).collect(),
            next: next.map(|date| window.cursor(date)),
        })
    }

    /// At most `limit` reports of the window, those of the owner. Fewer come when too much would have to be read; then there is a `next`.
    pub async fn page(
        &self,
        (tenant, owner): (&TenantId, Owner),
        window: &Window,
        limit: usize,
        asked_at: Instant,
    ) -> Page {
        let index = self.index(tenant, asked_at).await;
        let days: Vec<(Date, Option<Known>)> = match window.dates() {
            // One more shows if there is another page.
            Some(dates) => {
                index.newest_first(dates).take(limit + 1).map(|(date, known)| (date, known.cloned())).collect()
            }
            None => Vec::new(),
        };
        let mut next = days.get(limit).map(|(date, _)| *date);
        let wanted: Vec<Date> = days.iter().map(|(date, _)| *date).collect();
        let mut reading = stream::iter(days.into_iter().take(limit))
            .map(|(date, known)| async move {
                match known {
                    Some(known) => (Some(known), 0),
                    None => self.newest(tenant, date).await,
                }
            })
            .buffered(READ_AT_ONCE);
        let (mut entries, mut found, mut budget, mut done) = (Vec::new(), Vec::new(), Budget::new(), 0);
        while let Some((known, bytes)) = reading.next().await {
            done += 1;
            budget.spend(bytes);
            if let Some(known) = known {
                entries.extend(owner.has(known.entry.generation).then(|| known.entry.clone()));
                found.extend(Some(known).filter(|_| bytes > 0));
            }
            if budget.is_spent() {
                next = wanted.get(done).copied();
                break;
            }
        }
        self.keep(tenant, &index, found);
        Page { entries, next }
    }

    /// The newest report of a day as the stream's leader has it, and how many bytes were read.
    async fn newest(&self, tenant: &TenantId, date: Date) -> (Option<Known>, usize) {
        let Some(document) = newest(&self.reader(tenant, date)).await else { return (None, 0) };
        let (bytes, sequence) = (document.payload.len(), document.sequence);
        (Some(Known { sequence, entry: Arc::new(document.entry) }), bytes)
    }

    /// The reader of a day's reports.
    pub fn reader(&self, tenant: &TenantId, date: Date) -> SubjectReader<'_> {
        let subjects = &self.connection.subjects;
        SubjectReader::new(&self.connection, subjects.reports_stream(), subjects.report(tenant, date))
    }

    /// The tenant's index as of `asked_at` or later, from the stream's leader. Requests that wait for each other share it.
    async fn index(&self, tenant: &TenantId, asked_at: Instant) -> Arc<Index> {
        let known = self.lock().get(tenant);
        if let Some(index) = known.as_ref().filter(|index| index.began >= asked_at) {
            return index.clone();
        }
        let index = self.renew(tenant, known).await;
        let index = Arc::new(index);
        self.lock().put(tenant.clone(), index.clone(), index.bytes());
        index
    }

    async fn renew(&self, tenant: &TenantId, known: Option<Arc<Index>>) -> Index {
        let began = Instant::now();
        let state = self.days_with_reports(tenant).await;
        let dates = || state.subjects.keys().filter_map(|subject| subject.rsplit('.').next()?.parse::<Date>().ok());
        if let Some(known) = known {
            let mut index = known.renewed(began, dates());
            if self.catch_up(tenant, &mut index).await {
                index.through = index.through.max(state.last_seq);
                return index;
            }
        }
        Index::new(began, state.last_seq, dates())
    }

    /// Adds the reports that are newer than the index. Returns false when there are too many.
    async fn catch_up(&self, tenant: &TenantId, index: &mut Index) -> bool {
        let subjects = &self.connection.subjects;
        let (stream, every) = (subjects.reports_stream(), subjects.reports_of(tenant.as_str()));
        for _ in 0..MAX_NEW {
            // Ask the leader: a replica that lags would hide a version for good.
            match next_message(&self.connection, &stream, &every, index.through + 1).await {
                None => return true,
                Some(message) => {
                    index.through = message.sequence;
                    let read = Document::read(subjects, &message);
                    let note = |why: &NotWritten| {
                        self.connection.foreign.note(&stream, message.sequence, &message.subject, why)
                    };
                    if let Ok(document) = read.inspect_err(note) {
                        let entry = Arc::new(document.entry);
                        index.note(Known { sequence: document.sequence, entry });
                    }
                }
            }
        }
        false
    }

    /// The subjects of the tenant's reports. One reply of the broker holds 100,000, which is 270 years of days.
    async fn days_with_reports(&self, tenant: &TenantId) -> StateWire {
        let subjects = &self.connection.subjects;
        let request = serde_json::json!({ "subjects_filter": subjects.reports_of(tenant.as_str()) });
        retry("ask which days have a report", || async {
            let path = format!("STREAM.INFO.{}", subjects.reports_stream());
            let reply: InfoReply = self.connection.jetstream.request(path, &request).await?;
            match (reply.state, reply.error) {
                (Some(state), _) => Ok(state),
                (None, Some(error)) => Err(error.into()),
                (None, None) => Err("the broker's answer holds no state".into()),
            }
        })
        .await
    }

    /// Keeps what was read for this page, unless the index has been renewed meanwhile.
    fn keep(&self, tenant: &TenantId, index: &Arc<Index>, found: Vec<Known>) {
        if found.is_empty() {
            return;
        }
        let mut richer = Index::clone(index);
        found.into_iter().for_each(|known| richer.note(known));
        let bytes = richer.bytes();
        let mut indexes = self.lock();
        if indexes.get(tenant).is_some_and(|kept| Arc::ptr_eq(&kept, index)) {
            indexes.put(tenant.clone(), Arc::new(richer), bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache<TenantId, Arc<Index>>> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest message of a day that is a report, by the leader's word.
pub async fn newest(reader: &SubjectReader<'_>) -> Option<Document> {
    let mut message = reader.last().await?;
    for _ in 0..MAX_FOREIGN {
        if let Some(document) = reader.read(&message, Document::read) {
            return Some(document);
        }
        message = reader.before(&message).await?;
    }
    None
}
