//! The story of one entity, from the log: each of its events, what became of it, and the reports it changed.

use super::paths::cut;
use super::replay::{Broken, Replay, Trimmed};
use compact_str::CompactString;
use daybook_contracts::log::Record;
use daybook_contracts::reject::{Code, Reject};
use daybook_domain::catalogue::Status;
use daybook_domain::ids::{InboxSeq, LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::audit::{Disposition, Known, Sighting};
use daybook_machine::{Effect, KEEP_DAYS};
use daybook_runtime::append::stream_handle;
use daybook_runtime::backoff::retry;
use daybook_runtime::connection::Connection;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// Most events that are told; of more the newest, and how many went before.
pub const MAX_CHAPTERS: usize = 10_000;
/// Batches between two looks at the progress bar.
const PROGRESS_STEP: u64 = 16;

/// Whose story is told.
#[derive(Clone, Debug)]
pub struct Subject {
    pub tenant: TenantId,
    /// `None`: the id in every kind.
    pub kind: Option<Name>,
    pub id: CompactString,
}

/// One event of the entity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chapter {
    /// The sequence of its message in INBOX, which the publisher's PubAck told.
    pub inbox: InboxSeq,
    /// Its place in that message, from 0.
    pub index: u32,
    /// The position of its batch in EVENTS.
    pub position: LogSeq,
    /// When the broker stored that batch: soon after the event came in. INBOX, which knows to the millisecond, is trimmed.
    pub recorded_at: Option<Instant>,
    /// As published: the kind need not exist where ingest refused the event.
    pub kind: String,
    /// Of an event that has none: the one that it was given, if it was taken in.
    pub version: Option<u64>,
    pub status: Option<Status>,
    /// The business day by the time of the event.
    pub day: Option<Date>,
    pub at: Option<Instant>,
    pub disposition: Disposition,
    pub code: Option<Code>,
    pub reason: Option<String>,
    /// The day whose account has it, where that is another than its own: its own is over for good.
    pub counted_on: Option<Date>,
    /// What it took the place of.
    pub replaced: Option<Known>,
    pub reports: Vec<ReportOf>,
    /// Beginning of the original, where ingest refused the event.
    pub original: Option<String>,
}

/// A report that tells of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReportOf {
    pub date: Date,
    /// Whether the day had closed before: then the event made a new version of its report.
    pub closed: bool,
    /// The first version that holds what the event did.
    pub version: u32,
    /// The batch that sealed that version; `None` while the day is open.
    pub sealed_at: Option<LogSeq>,
}

/// Where the entity stands at the end of the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntityStanding {
    pub kind: Name,
    /// `None` when it is no longer kept, because its day is older than corrections reach back.
    pub now: Option<Known>,
    /// Whether its day has closed, and the newest version of that day's report.
    pub report: Option<u32>,
}

/// Events of a tenant that were over its quota: of which entities they were is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedUnread {
    pub events: u64,
    /// The first and the last of their messages in INBOX; others between them were let in.
    pub first: InboxSeq,
    pub last: InboxSeq,
}

/// The whole story.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    pub tenant: TenantId,
    pub id: CompactString,
    pub partition: Partition,
    /// The last batch that was read.
    pub through: LogSeq,
    /// Older chapters that are left out.
    pub omitted: u64,
    pub chapters: Vec<Chapter>,
    /// Events of the tenant that no chapter can tell of, for they were refused without being read.
    pub refused_unread: Option<RefusedUnread>,
    pub standings: Vec<EntityStanding>,
    /// From where on it is told, when the log is trimmed: what became of events before is not known any more.
    pub trimmed: Option<Trimmed>,
    /// Why the log could not be read to its end.
    pub broken: Option<String>,
}

/// Tells the story of an entity.
///
/// # Errors
/// When a replay of a trimmed log cannot be begun.
pub async fn audit(connection: &Connection, subject: Subject, bar: &ProgressBar) -> anyhow::Result<Story> {
    let partition = Partition::of(subject.tenant.as_str(), connection.partitions);
    let mut replay = Replay::start(connection, partition).await?;
    replay.state.audit(subject.tenant.clone(), subject.kind.clone(), subject.id.clone());
    bar.set_length(replay.end().0);
    bar.set_message(format!("replaying partition {partition}"));
    let mut teller = Teller::new(subject);
    let mut batches = 0_u64;
    let broken = loop {
        let (position, batch) = match replay.next().await {
            Ok(Some(next)) => next,
            Ok(None) => break replay.is_empty().then_some(Broken::Empty(partition)),
            Err(broken) => break Some(broken),
        };
        batch.records.iter().for_each(|record| teller.note_refusal(record));
        let refused: Vec<Chapter> =
            batch.records.iter().filter_map(|record| teller.refused(position, record)).collect();
        let effects = match replay.apply(position, batch).await {
            Ok(effects) => effects,
            Err(broken) => break Some(broken),
        };
        let taken = replay.state.take_sightings().into_iter().map(chapter);
        let mut chapters: Vec<Chapter> = taken.chain(refused).collect();
        chapters.sort_by_key(|chapter| (chapter.inbox, chapter.index));
        teller.add(chapters);
        teller.note_reports(position, &effects);
        batches += 1;
        if batches.is_multiple_of(PROGRESS_STEP) {
            bar.set_position(position.0);
        }
    };
    let mut story = teller.finish(&replay, partition, broken);
    note_times(connection, &mut story.chapters).await;
    bar.finish_and_clear();
    Ok(story)
}

/// What a story is made of while the log is read.
struct Teller {
    subject: Subject,
    chapters: VecDeque<Chapter>,
    omitted: u64,
    refused_unread: Option<RefusedUnread>,
    /// The tenant's report versions, by the batches that sealed them.
    sealed: BTreeMap<(Date, u32), LogSeq>,
}

impl Teller {
    fn new(subject: Subject) -> Self {
        Self { subject, chapters: VecDeque::new(), omitted: 0, refused_unread: None, sealed: BTreeMap::new() }
    }

    fn add(&mut self, chapters: Vec<Chapter>) {
        self.chapters.extend(chapters);
        while self.chapters.len() > MAX_CHAPTERS {
            self.chapters.pop_front();
            self.omitted += 1;
        }
    }

    fn note_reports(&mut self, position: LogSeq, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Report(report) = effect
                && report.tenant == self.subject.tenant
            {
                self.sealed.insert((report.date, report.version), position);
            }
        }
    }

    /// Sums up what was refused unread. Of which kind it was is told of the first message only.
    fn note_refusal(&mut self, record: &Record) {
        let Record::Rejected(reject @ Reject { span: Some(span), .. }) = record else { return };
        if reject.tenant != self.subject.tenant.as_str() {
            return;
        }
        let (events, first) = self.refused_unread.map_or((0, reject.inbox), |noted| (noted.events, noted.first));
        self.refused_unread = Some(RefusedUnread { events: events + span.events, first, last: span.last });
    }

    /// An event that ingest refused, if it may be one of the entity.
    fn refused(&self, position: LogSeq, record: &Record) -> Option<Chapter> {
        let Record::Rejected(reject) = record else { return None };
        let kind_is_wanted = self.subject.kind.as_ref().is_none_or(|kind| kind.as_str() == reject.kind);
        let is_wanted = reject.tenant == self.subject.tenant.as_str() && kind_is_wanted;
        (is_wanted && holds_id(reject, &self.subject.id)).then(|| chapter_of_reject(position, reject))
    }

    fn finish(mut self, replay: &Replay, partition: Partition, broken: Option<Broken>) -> Story {
        for report in self.chapters.iter_mut().flat_map(|chapter| &mut chapter.reports) {
            report.sealed_at = self.sealed.get(&(report.date, report.version)).copied();
        }
        let subject = &self.subject;
        let mut kinds: Vec<&str> = Vec::new();
        for chapter in self.chapters.iter().filter(|chapter| chapter.original.is_none()) {
            if !kinds.contains(&chapter.kind.as_str()) {
                kinds.push(&chapter.kind);
            }
        }
        let standing = |kind: Name| {
            let now = replay.state.known(&subject.tenant, &kind, &subject.id);
            let versions = now.as_ref().map(|known| self.sealed.range((known.date, 0)..=(known.date, u32::MAX)));
            let report = versions.and_then(|mut versions| Some(versions.next_back()?.0.1));
            EntityStanding { kind, now, report }
        };
        let standings = kinds.into_iter().filter_map(|kind| Name::new(kind).ok()).map(standing).collect();
        Story {
            partition,
            through: replay.state.position(),
            omitted: self.omitted,
            refused_unread: self.refused_unread,
            trimmed: replay.trimmed,
            standings,
            broken: broken.map(|broken| broken.to_string()),
            tenant: subject.tenant.clone(),
            id: subject.id.clone(),
            chapters: self.chapters.into(),
        }
    }
}

fn chapter(sighting: Sighting) -> Chapter {
    let Sighting { position, inbox, kind, event, disposition, counted_on, before, after, changed, reject } = sighting;
    let is_taken = matches!(disposition, Disposition::Counted | Disposition::Pending | Disposition::Carried);
    let (code, reason) = reject.unzip();
    Chapter {
        inbox,
        index: event.index,
        position,
        recorded_at: None,
        kind: kind.to_string(),
        version: event.version.or_else(|| after.filter(|_| is_taken).map(|known| known.version)),
        status: Some(event.status),
        day: Some(event.date),
        at: Some(event.at),
        disposition,
        code,
        reason,
        counted_on: Some(counted_on).filter(|on| *on != event.date),
        replaced: before.filter(|_| is_taken),
        reports: changed
            .into_iter()
            .map(|day| ReportOf { date: day.date, closed: day.closed, version: day.version, sealed_at: None })
            .collect(),
        original: None,
    }
}

fn chapter_of_reject(position: LogSeq, reject: &Reject) -> Chapter {
    Chapter {
        inbox: reject.inbox,
        index: reject.index,
        position,
        recorded_at: None,
        kind: reject.kind.clone(),
        version: None,
        status: None,
        day: reject.date,
        at: None,
        disposition: Disposition::Rejected,
        code: Some(reject.code),
        reason: Some(reject.reason.clone()),
        counted_on: None,
        replaced: None,
        reports: Vec::new(),
        original: Some(cut(&String::from_utf8_lossy(reject.original.bytes()))),
    }
}

/// Whether the original names the id: in its field, or, where it is no object that can be read, anywhere.
fn holds_id(reject: &Reject, id: &str) -> bool {
    let bytes = reject.original.bytes();
    match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(event)) => {
            // As ingest reads ids: whole numbers and booleans by their text.
            let text = match event.get("id") {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                _ => return false,
            };
            text == id
        }
        _ => holds_word(bytes, id.as_bytes()),
    }
}

/// Whether `word` stands in `bytes` with no letter, digit, `-` or `_` at either end of it.
fn holds_word(bytes: &[u8], word: &[u8]) -> bool {
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    !word.is_empty()
        && bytes
            .windows(word.len())
            .enumerate()
            .any(|(at, window)| window == word && !goes_on(bytes[..at].last()) && !goes_on(bytes.get(at + word.len())))
}

/// Looks up when the broker stored each chapter's batch.
async fn note_times(connection: &Connection, chapters: &mut [Chapter]) {
    let stream = connection.subjects.events_stream();
    let mut known: Option<(LogSeq, Option<Instant>)> = None;
    for chapter in chapters {
        let time = match known {
            Some((position, time)) if position == chapter.position => time,
            _ => stored_at(connection, &stream, chapter.position).await,
        };
        known = Some((chapter.position, time));
        chapter.recorded_at = time;
    }
}

/// The broker's time stamp of a message; `None` when it is gone.
async fn stored_at(connection: &Connection, stream: &str, position: LogSeq) -> Option<Instant> {
    use async_nats::jetstream::stream::RawMessageErrorKind;
    retry("look up the time of a batch", || async {
        match stream_handle(connection, stream).await?.get_raw_message(position.0).await {
            Ok(message) => Ok(i64::try_from(message.time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await
    .map(Instant::from_millis)
}

/// Where an entity without a standing went.
pub fn expired() -> String {
    format!(
        "no longer kept: its day is more than {KEEP_DAYS} days before the last one that closed, and sealed for good"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::reject::{Original, Span};

    fn reject(original: &[u8]) -> Reject {
        Reject {
            code: Code::MissingField,
            reason: "r".into(),
            tenant: "acme".into(),
            kind: "order".into(),
            inbox: InboxSeq(1),
            index: 0,
            field: None,
            date: None,
            original: Original::new(original),
            span: None,
        }
    }

    #[test]
    fn an_original_holds_an_id_in_its_field() {
        assert!(holds_id(&reject(br#"{"id":"A-1","at":1}"#), "A-1"));
        assert!(holds_id(&reject(br#"{"id":17}"#), "17"));
        assert!(!holds_id(&reject(br#"{"id":"A-11","note":"A-1"}"#), "A-1"));
        assert!(!holds_id(&reject(br#"{"note":"A-1"}"#), "A-1"));
    }

    #[test]
    fn an_original_that_is_no_object_is_searched_for_the_word() {
        assert!(holds_id(&reject(br#"{"id":"A-1","#), "A-1"));
        assert!(holds_id(&reject(b"\x82\xa2id\xa3A-1"), "A-1"));
        for other in [&br#"{"id":"A-11","#[..], br#"{"id":"XA-1","#, br#"{"id":"A-1-2","#, b"", b"A-"] {
            assert!(!holds_id(&reject(other), "A-1"), "{other:?}");
        }
        assert!(!holds_id(&reject(b"{"), ""));
    }

    #[test]
    fn what_was_refused_unread_is_summed_up_for_the_tenant_whatever_its_kind() {
        let kind = Some(Name::new("order").unwrap());
        let mut teller = Teller::new(Subject { tenant: TenantId::new("acme").unwrap(), kind, id: "A-1".into() });
        let refused = |tenant: &str, kind: &str, inbox, span: Option<(u64, u64)>| {
            let span = span.map(|(events, last)| Span { events, last: InboxSeq(last) });
            let (tenant, kind) = (tenant.to_owned(), kind.to_owned());
            Record::Rejected(Reject { tenant, kind, inbox: InboxSeq(inbox), span, ..reject(b"") })
        };
        teller.note_refusal(&refused("acme", "order", 2, None));
        assert_eq!(teller.refused_unread, None);
        for (tenant, kind, inbox, span) in [
            ("globex", "order", 3, (7, 4)),
            ("acme", "order", 5, (50_000, 8)),
            ("globex", "order", 9, (7, 9)),
            ("acme", "click", 11, (1, 11)),
        ] {
            teller.note_refusal(&refused(tenant, kind, inbox, Some(span)));
        }
        let sum = RefusedUnread { events: 50_001, first: InboxSeq(5), last: InboxSeq(11) };
        assert_eq!(teller.refused_unread, Some(sum));
    }
}
