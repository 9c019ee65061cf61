//! The core of a partition's owner: messages of INBOX in, appends to the log out, one at a time. While a batch is being appended,
//! the next one is gathered. No clock and no I/O: whoever drives it carries out each [`Request`] and hands its [`Answer`] in.

use crate::fence::{self, AppendFate, Tip};
use crate::quota::Rates;
use crate::sequencer::{Inbound, Sequencer, Stop};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use daybook_contracts::event::Encoding;
use daybook_contracts::headers::{self, Source};
use daybook_contracts::log::{Marks, Through};
use daybook_contracts::reject::Code;
use daybook_contracts::subjects::Subjects;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::LogSeq;
use daybook_domain::time::Instant;
use daybook_runtime::backoff::Backoff;
use daybook_runtime::log::{self, End, Logged};
use daybook_runtime::written::{Message, NotWritten};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two looks for restatements that are due: a look goes through all tenants that wait for one.
const LOOK: Duration = Duration::from_millis(50);
/// Pauses before the owner looks at the log while an append's fate is unclear.
const UNCLEAR: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));

/// Settings of an owner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Time that a batch waits for company behind its first message.
    pub linger: Duration,
    /// For tenants that have no rates of their own.
    pub default_rates: Rates,
}

/// A question or an order to the log, on the partition's subject. One is under way at a time.
#[derive(Clone, Debug)]
pub enum Request {
    /// Append if the subject's last message has the sequence `expected`, 0 for none.
    Append { expected: u64, headers: HeaderMap, payload: Bytes },
    /// After the pause, get the sequence of the subject's last message.
    End { pause: Duration },
    /// Get the first message at this sequence or behind it.
    Next(u64),
}

/// The outcome of a [`Request`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// The batch is stored at this sequence of EVENTS.
    Appended(u64),
    /// Something else was stored on the subject meanwhile. Nothing is written.
    Conflict,
    /// The batch may or may not be stored.
    Unclear,
    /// The sequence of the subject's last message, if it has any.
    End(Option<u64>),
    /// The first message there, if there is one.
    Next(Option<NextMessage>),
}

/// A message behind the batches that an owner knows.
#[derive(Clone, Debug)]
pub struct NextMessage {
    pub sequence: u64,
    pub payload: Bytes,
    /// What [`Logged::read`] makes of it.
    pub read: Result<Logged, NotWritten>,
}

/// A batch whose append begins.
#[derive(Debug)]
pub struct Begun {
    pub request: Request,
    pub records: usize,
    /// Size of the encoded batch.
    pub bytes: usize,
    /// How far into INBOX the log reaches with it.
    pub through: Through,
    /// Events rejected since the batch before.
    pub rejected: BTreeMap<Code, u64>,
}

/// What follows from an [`Answer`].
#[derive(Debug)]
pub enum Progress {
    Ask(Request),
    /// The batch is in the log.
    Stored,
    /// Another owner's batch is in its place: begin again from the log.
    Lost,
}

/// The owner of one partition.
///
/// # Invariants
/// A batch is appended behind the last batch that this owner knows, or not at all; the next one only when this one is in the log.
pub struct Owner {
    sequencer: Sequencer,
    linger: Duration,
    /// Behind what the next batch is appended.
    tip: Tip,
    appending: Option<Appending>,
    /// When the first message of the batch at hand came.
    first: Option<Duration>,
    /// When the restatements that are due were looked for last.
    looked: Duration,
    /// Why nothing further may be taken in.
    stop: Option<Stop>,
}

/// The batch that is being appended.
struct Appending {
    headers: HeaderMap,
    payload: Bytes,
    /// Before the next looks at the log.
    pauses: Backoff,
}

impl Appending {
    fn behind(&self, tip: Tip) -> Request {
        Request::Append { expected: tip.end, headers: self.headers.clone(), payload: self.payload.clone() }
    }
}

impl Owner {
    /// An owner that begins at the `end` of its partition's log. `definitions` are the partition's in CATALOG, up to the sequence
    /// that the end's marks have of it.
    pub fn new(
        subjects: Subjects,
        end: &End,
        definitions: impl IntoIterator<Item = Definition>,
        settings: Settings,
    ) -> Self {
        let sequencer = Sequencer::new(subjects, end.marks(), definitions).with_default_rates(settings.default_rates);
        Self {
            sequencer,
            linger: settings.linger,
            tip: Tip::from(end),
            appending: None,
            first: None,
            looked: Duration::ZERO,
            stop: None,
        }
    }

    /// The last batch in the log, 0 for none.
    pub fn position(&self) -> LogSeq {
        self.tip.batch
    }

    /// How far everything taken in so far reaches, whether it is appended or not. An owner that begins reads INBOX from
    /// [`Through::next`] on.
    pub fn marks(&self) -> Marks {
        self.sequencer.marks()
    }

    /// Whether it has room for the next message of INBOX.
    pub fn takes_more(&self) -> bool {
        self.stop.is_none() && !self.sequencer.is_full()
    }

    /// Takes the next message of INBOX in. `now` is a clock that never goes back. Returns why the message is foreign, if no service
    /// wrote it though one should have.
    pub fn take(
        &mut self,
        sequence: u64,
        stored_at: Instant,
        message: Message<'_>,
        now: Duration,
    ) -> Option<&'static str> {
        self.stop = self.sequencer.take(inbound(sequence, stored_at, message)).err();
        self.note_first(now);
        self.sequencer.passed_over()
    }

    fn note_first(&mut self, now: Duration) {
        if !self.sequencer.is_empty() {
            self.first.get_or_insert(now);
        }
    }

    /// When the batch at hand has waited for long enough: [`Owner::tick`] then begins its append.
    pub fn due(&self) -> Option<Duration> {
        self.first.map(|first| first + self.linger)
    }

    /// Records the restatements that are due, and begins to append the batch at hand if it is due and none is being appended.
    ///
    /// # Errors
    /// When a message cannot be read and must not be passed over, once everything before it is in the log.
    pub fn tick(&mut self, now: Duration) -> Result<Option<Begun>, Stop> {
        if now.saturating_sub(self.looked) >= LOOK {
            self.looked = now;
            self.sequencer.restate(now);
            self.note_first(now);
        }
        if self.appending.is_some() {
            return Ok(None);
        }
        if self.takes_more() && self.due().is_none_or(|due| due > now) {
            return Ok(None);
        }
        let Some(cut) = self.sequencer.cut() else {
            return self.stop.clone().map_or(Ok(None), Err);
        };
        self.first = None;
        self.note_first(now);
        let records = cut.batch.records.len();
        let payload = Bytes::from(cut.batch.encode());
        let bytes = payload.len();
        let appending = Appending { headers: log::headers_of(self.tip.batch, cut.marks), payload, pauses: UNCLEAR };
        let request = self.appending.insert(appending).behind(self.tip);
        let rejected = self.sequencer.take_rejected();
        Ok(Some(Begun { request, records, bytes, through: cut.marks.through, rejected }))
    }

    /// Takes the answer to the request under way.
    pub fn answered(&mut self, answer: Answer) -> Progress {
        let appending = self.appending.as_mut().expect("only an append asks");
        let standing = match answer {
            Answer::Appended(sequence) => AppendFate::Stored(Tip::at(sequence)),
            Answer::Conflict => return Progress::Ask(Request::End { pause: Duration::ZERO }),
            Answer::Unclear => return Progress::Ask(Request::End { pause: appending.pauses.next_pause() }),
            Answer::End(last) => match fence::at_end(self.tip, last) {
                Some(standing) => standing,
                None => return Progress::Ask(Request::Next(self.tip.end + 1)),
            },
            Answer::Next(None) => AppendFate::Absent(self.tip),
            Answer::Next(Some(NextMessage { sequence, payload, read })) => {
                match fence::behind(self.tip, &appending.payload, sequence, &payload, &read) {
                    AppendFate::Absent(further) => {
                        self.tip = further;
                        return Progress::Ask(Request::Next(sequence + 1));
                    }
                    standing => standing,
                }
            }
        };
        match standing {
            AppendFate::Absent(tip) => {
                self.tip = tip;
                Progress::Ask(appending.behind(tip))
            }
            AppendFate::Stored(tip) => {
                self.tip = tip;
                self.appending = None;
                Progress::Stored
            }
            AppendFate::Lost => Progress::Lost,
        }
    }
}

/// A message as the sequencer needs it.
fn inbound<'m>(sequence: u64, stored_at: Instant, message: Message<'m>) -> Inbound<'m> {
    let Message { subject, headers: map, payload } = message;
    let header = |name| map.get(name).map(|value: &'m HeaderValue| value.as_str());
    let all = map.iter().filter_map(|(name, values)| Some((name.as_ref(), values.first()?.as_str())));
    let is_msgpack = headers::content_type(all).is_some_and(headers::is_msgpack);
    Inbound {
        sequence,
        subject,
        encoding: if is_msgpack { Encoding::MessagePack } else { Encoding::Json },
        source: header(headers::STREAM_SOURCE).and_then(Source::parse),
        unmapped: header(headers::UNMAPPED),
        named: header(headers::SUBJECT),
        stored_at,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(2);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn owner() -> Owner {
        let subjects = Subjects::new("daybook").unwrap();
        Owner::new(subjects, &End::default(), [], Settings { linger: LINGER, ..Settings::default() })
    }

    /// Takes an event of a tenant that there is not: its reject is a record.
    fn take(owner: &mut Owner, sequence: u64, now: Duration) {
        let (headers, subject) = (HeaderMap::new(), "daybook.inbox.0.acme.event.order");
        let message = Message { subject, headers: &headers, payload: b"{}" };
        assert_eq!(owner.take(sequence, Instant::MIN, message, now), None);
    }

    /// A message of CATALOG that a later version wrote.
    fn take_unreadable(owner: &mut Owner, sequence: u64, now: Duration) {
        let mut headers = HeaderMap::new();
        headers.insert(headers::STREAM_SOURCE, "DAYBOOK_CATALOG 1 > >");
        headers.insert(headers::SUBJECT, "daybook.catalog.0.kind.order");
        let message =
            Message { subject: "daybook.inbox.0.order.catalog.kind", headers: &headers, payload: br#"{"what":"new"}"# };
        owner.take(sequence, Instant::MIN, message, now);
    }

    fn begun(owner: &mut Owner, now: Duration) -> Option<(u64, u64, Bytes)> {
        let begun = owner.tick(now).unwrap()?;
        let Request::Append { expected, payload, .. } = begun.request else { panic!("{begun:?}") };
        assert_eq!((begun.records as u64, begun.bytes), (begun.rejected[&Code::UnknownTenant], payload.len()));
        Some((expected, begun.through.inbox.0, payload))
    }

    fn asked(progress: Progress) -> String {
        match progress {
            Progress::Ask(Request::Append { expected, .. }) => format!("append behind {expected}"),
            Progress::Ask(Request::End { pause }) => format!("end after {} ms", pause.as_millis()),
            Progress::Ask(Request::Next(from)) => format!("next from {from}"),
            Progress::Stored => "stored".to_owned(),
            Progress::Lost => "lost".to_owned(),
        }
    }

    #[test]
    fn a_batch_waits_for_company_and_the_next_one_for_its_end() {
        let mut owner = owner();
        assert!(begun(&mut owner, at(0)).is_none() && owner.due().is_none());
        take(&mut owner, 1, at(10));
        take(&mut owner, 2, at(11));
        assert_eq!(owner.due(), Some(at(12)));
        assert!(begun(&mut owner, at(11)).is_none());
        let (expected, through, _) = begun(&mut owner, at(12)).unwrap();
        assert_eq!((expected, through, owner.due()), (0, 2, None));
        take(&mut owner, 4, at(13));
        assert!(begun(&mut owner, at(99)).is_none());
        assert_eq!(asked(owner.answered(Answer::Appended(7))), "stored");
        assert_eq!(owner.position(), LogSeq(7));
        let (expected, through, _) = begun(&mut owner, at(99)).unwrap();
        assert_eq!((expected, through), (7, 4));
    }

    #[test]
    fn a_batch_that_is_not_in_the_log_is_appended_behind_what_is_foreign_there() {
        let mut owner = owner();
        take(&mut owner, 1, at(0));
        let (_, _, payload) = begun(&mut owner, at(2)).unwrap();
        assert_eq!(asked(owner.answered(Answer::Unclear)), "end after 20 ms");
        assert_eq!(asked(owner.answered(Answer::End(None))), "append behind 0");
        assert_eq!(asked(owner.answered(Answer::Unclear)), "end after 40 ms");
        assert_eq!(asked(owner.answered(Answer::End(Some(5)))), "next from 1");
        let foreign = Err(NotWritten::Foreign("".into()));
        let message = NextMessage { sequence: 3, payload: payload.clone(), read: foreign };
        assert_eq!(asked(owner.answered(Answer::Next(Some(message)))), "next from 4");
        assert_eq!(asked(owner.answered(Answer::Next(None))), "append behind 3");
        assert_eq!(asked(owner.answered(Answer::Conflict)), "end after 0 ms");
        assert_eq!(asked(owner.answered(Answer::End(Some(5)))), "next from 4");
        let unreadable = Err(NotWritten::Unreadable(String::new()));
        let message = NextMessage { sequence: 5, payload, read: unreadable };
        assert_eq!(asked(owner.answered(Answer::Next(Some(message)))), "lost");
    }

    #[test]
    fn everything_before_what_cannot_be_read_is_appended_first() {
        let mut owner = owner();
        take(&mut owner, 1, at(0));
        take_unreadable(&mut owner, 2, at(0));
        assert!(!owner.takes_more());
        let (_, through, _) = begun(&mut owner, at(0)).unwrap();
        assert_eq!(through, 1);
        assert!(owner.tick(at(50)).unwrap().is_none());
        owner.answered(Answer::Appended(1));
        let stop = owner.tick(at(50)).unwrap_err().to_string();
        assert!(stop.contains("at 1 of DAYBOOK_CATALOG cannot be read"), "{stop}");
    }
}
