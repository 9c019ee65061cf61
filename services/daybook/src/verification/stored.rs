//! What REPORTS has: of each version its hashes and what connects it with others, without its figures.

use super::difference::{Difference, What};
use daybook_contracts::headers;
use daybook_contracts::report::{Account, LogRange, Supersedes, generation_at, report_position};
use daybook_contracts::subjects::Subjects;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::ids::{LogSeq, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_runtime::append::{last_message, stream_handle};
use daybook_runtime::backoff::retry;
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::{Delivered, Reader};
use daybook_runtime::written;
use daybook_runtime::written::header_number;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Most missing versions of one day that are named: a forged version may have any number.
const MAX_GAPS: usize = 100;
/// Most foreign messages that are named.
const MAX_FOREIGN: usize = 100;
/// Messages of REPORTS between two looks at the progress bar.
const PROGRESS_STEP: usize = 64;

/// One message of REPORTS.
#[derive(Clone, Debug)]
pub struct StoredReport {
    pub sequence: u64,
    /// By its place in its subject, or else by what it says itself; 0 when neither tells.
    pub version: u64,
    /// The header `Daybook-Hash`.
    pub header: Option<String>,
    pub hash: blake3::Hash,
    /// What the report says of itself, or why it cannot be read.
    pub head: Result<Head, String>,
    /// The replay has come to this version.
    pub is_reproduced: bool,
    /// The replay is over, and the log does not make it.
    pub is_unfounded: bool,
    /// How many differences it is in.
    pub differences: u64,
}

/// The part of a report that is checked without its log.
#[derive(Clone, Debug, Deserialize)]
pub struct Head {
    pub version: u64,
    pub day: BusinessDay,
    pub dispositions: Account,
    pub log: LogRange,
    pub supersedes: Option<Supersedes>,
}

impl StoredReport {
    /// `None` for a message that no shard wrote.
    pub fn of(subjects: &Subjects, message: &Delivered) -> Option<(Key, Self)> {
        let (tenant, date) = subjects.parse_report(&message.subject)?;
        written::position(subjects, message.into()).ok()?;
        let head = serde_json::from_slice::<Head>(&message.payload).map_err(|error| error.to_string());
        let position = header_number(&message.headers, headers::POSITION);
        let key = Key { tenant, generation: position.map_or(0, generation_at), date };
        let position = position.map(|position| position - report_position(key.generation, 0));
        let report = Self {
            sequence: message.sequence,
            version: position.or_else(|| Some(head.as_ref().ok()?.version)).unwrap_or(0),
            header: message.headers.get(headers::HASH).map(|hash| hash.to_string()),
            hash: blake3::hash(&message.payload),
            head,
            is_reproduced: false,
            is_unfounded: false,
            differences: 0,
        };
        Some((key, report))
    }

    /// The batch of the log that sealed it, as it says itself.
    pub fn position(&self) -> Option<LogSeq> {
        Some(self.head.as_ref().ok()?.log.through)
    }

    /// The difference `what` of this report.
    pub fn difference(&mut self, key: &Key, what: What) -> Difference {
        self.differences += 1;
        Difference {
            tenant: key.tenant.to_string(),
            date: key.date.to_string(),
            version: self.version,
            position: self.position(),
            sequence: Some(self.sequence),
            what,
        }
    }
}

/// Messages of REPORTS that no shard wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ForeignList {
    pub count: u64,
    /// The first of them: subject and sequence.
    pub named: Vec<(String, u64)>,
}

impl ForeignList {
    fn add(&mut self, message: &Delivered) {
        self.count += 1;
        if self.named.len() < MAX_FOREIGN {
            self.named.push((message.subject.to_string(), message.sequence));
        }
    }
}

/// A tenant's business day. Those of removed tenants of the id come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub tenant: TenantId,
    pub generation: u32,
    pub date: Date,
}

/// What REPORTS had when it was read, by tenant and date, in the order of the stream.
#[derive(Debug, Default)]
pub struct StoredReports {
    pub days: BTreeMap<Key, Vec<StoredReport>>,
    /// Messages that no shard wrote: every reader passes over them.
    pub foreign: ForeignList,
    /// The last sequence that was read.
    pub end: u64,
    /// When it was trimmed by its retention: what was written before is gone.
    pub gone_before: Option<Instant>,
}

impl StoredReports {
    /// Everything that `filter` matches in REPORTS now.
    pub async fn read(connection: &Connection, filter: String, bar: &ProgressBar) -> Self {
        let stream = connection.subjects.reports_stream();
        let mut stored = Self { gone_before: gone_before(connection, &stream).await, ..Self::default() };
        let Some(last) = last_message(connection, &stream, &filter).await else { return stored };
        stored.end = last.sequence;
        bar.set_length(last.sequence);
        bar.set_message("reading reports");
        let mut reader = Reader::new(connection, stream, filter, 1);
        for number in 0_usize.. {
            let message = reader.next().await;
            stored.take(&connection.subjects, &message);
            if number.is_multiple_of(PROGRESS_STEP) {
                bar.set_position(message.sequence);
            }
            if message.sequence >= last.sequence || message.pending == 0 {
                break;
            }
        }
        stored
    }

    /// Takes a message in.
    pub fn take(&mut self, subjects: &Subjects, message: &Delivered) {
        match StoredReport::of(subjects, message) {
            Some((key, report)) => self.days.entry(key).or_default().push(report),
            None => self.foreign.add(message),
        }
    }

    /// Checks what can be checked without the log: hashes, order, chains, accounts and intervals.
    pub fn check(&mut self, mut found: impl FnMut(&Key, Difference)) {
        let mut before: Option<(Key, BusinessDay)> = None;
        let is_trimmed = self.gone_before.is_some();
        for (key, reports) in &mut self.days {
            check_versions(key, reports, is_trimmed, |difference| found(key, difference));
            let Some((index, day)) = newest_day(reports) else { continue };
            if let Some((before_key, before_day)) = before.replace((key.clone(), day))
                && (&before_key.tenant, before_key.generation) == (&key.tenant, key.generation)
                && before_key.date.next() == key.date
                && before_day.closes_at != day.opens_at
            {
                let (closes_at, opens_at) = (before_day.closes_at.to_string(), day.opens_at.to_string());
                found(key, reports[index].difference(key, What::Contiguity { closes_at, opens_at }));
            }
        }
    }
}

/// The business day of the newest version that can be read, and where that is.
fn newest_day(reports: &[StoredReport]) -> Option<(usize, BusinessDay)> {
    let heads = reports.iter().enumerate().filter_map(|(index, report)| Some((index, report.head.as_ref().ok()?)));
    heads.map(|(index, head)| (index, head.day)).next_back()
}

/// When the oldest message that REPORTS has left was stored, if its retention has taken any.
async fn gone_before(connection: &Connection, stream: &str) -> Option<Instant> {
    retry("look at the reports", || async {
        let state = stream_handle(connection, stream).await?.get_info().await?.state;
        let first = i64::try_from(state.first_timestamp.unix_timestamp_nanos() / 1_000_000)?;
        let first = if state.messages == 0 { clock::now() } else { Instant::from_millis(first) };
        Ok((state.first_sequence > 1).then_some(first))
    })
    .await
}

/// Of a day of which `is_trimmed` versions may be gone, the first ones need not be there.
fn check_versions(key: &Key, reports: &mut [StoredReport], is_trimmed: bool, mut found: impl FnMut(Difference)) {
    let mut hashes: BTreeMap<u64, blake3::Hash> = BTreeMap::new();
    let mut greatest = 0;
    // A version that the log does not make tells nothing about those before it.
    let founded = reports.iter().filter(|report| !report.is_unfounded).map(|report| report.version).max().unwrap_or(0);
    let mut interval: Option<BusinessDay> = None;
    for report in reports {
        let payload = report.hash.to_hex().to_string();
        if report.header.as_ref() != Some(&payload) {
            found(report.difference(key, What::Header { header: report.header.clone(), payload }));
        }
        match hashes.entry(report.version) {
            Entry::Occupied(_) => found(report.difference(key, What::Repeated)),
            Entry::Vacant(entry) => {
                entry.insert(report.hash);
                if report.version > 0 && report.version < greatest {
                    found(report.difference(key, What::Order { after: greatest }));
                }
            }
        }
        greatest = greatest.max(report.version);
        let head = match &report.head {
            Ok(head) => head.clone(),
            Err(reason) => {
                let reason = reason.clone();
                found(report.difference(key, What::Unreadable { reason }));
                continue;
            }
        };
        check_head(key, report, &head, &hashes, &mut found);
        let expected = *interval.get_or_insert(head.day);
        if expected != head.day {
            let (expected, day) = (shown(&expected), shown(&head.day));
            found(report.difference(key, What::Interval { expected, found: day }));
        }
    }
    // What the log makes and REPORTS lacks is found by the replay; this also sees it where there is no log.
    let first = if is_trimmed { hashes.keys().next().copied().unwrap_or(1) } else { 1 };
    for version in (first..founded).filter(|version| !hashes.contains_key(version)).take(MAX_GAPS) {
        found(missing(key, version, None));
    }
}

fn check_head(
    key: &Key,
    report: &mut StoredReport,
    head: &Head,
    hashes: &BTreeMap<u64, blake3::Hash>,
    found: &mut impl FnMut(Difference),
) {
    let Account { published, counted, pending, duplicate, stale, carried, rejected, .. } = head.dispositions;
    // Wider than any of them: a forged report may hold any numbers.
    let dispositions: u128 = [counted, pending, duplicate, stale, carried, rejected].map(u128::from).iter().sum();
    if dispositions != u128::from(published) {
        found(report.difference(key, What::Unbalanced { published, dispositions: dispositions.to_string() }));
    }
    let named = head.supersedes.as_ref().map(|old| format!("version {}, {}", old.version, old.hash));
    let before = report.version.saturating_sub(1);
    let expected = match (before, hashes.get(&before)) {
        (0, _) => None,
        (_, Some(hash)) => Some(format!("version {before}, {}", hash.to_hex())),
        // The version before is missing, which is told; then only the number can be compared.
        (_, None) if head.supersedes.as_ref().is_some_and(|old| u64::from(old.version) == before) => return,
        (_, None) => Some(format!("version {before}")),
    };
    if named != expected {
        found(report.difference(key, What::Chain { expected, found: named }));
    }
}

/// A version that is not there.
pub fn missing(key: &Key, version: u64, position: Option<LogSeq>) -> Difference {
    let (tenant, date) = (key.tenant.to_string(), key.date.to_string());
    Difference { tenant, date, version, position, sequence: None, what: What::Missing }
}

fn shown(day: &BusinessDay) -> String {
    format!("{} to {}", day.opens_at, day.closes_at)
}
