//! A model of the broker: streams that take a message only if its subject stands where the writer says, sources that
//! come through late but in order, snapshots and their pieces, and requests that are lost, late, or carried out without an answer.

use crate::fault::Fault;
use crate::settings::{BEGIN, Settings};
use aggregator_shard::pieces::{Manifest, PieceName};
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use bytes::Bytes;
use daybook_contracts::headers::{self, Source};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_random::Random;
use daybook_runtime::append::{Found, Newest};
use daybook_runtime::log::{self, Logged};
use daybook_runtime::written::{Message, NotWritten, header_number};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often a request is lost, its answer is, or it comes late: once in so many.
const UNCLEAR_ONE_IN: usize = 24;
/// Most time between two things that it does.
const MAX_STEP_MS: usize = 2_000;
/// How far the clocks of its servers are apart.
const CLOCKS_APART_MS: i64 = 60_000;

/// One of Daybook's streams.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stream {
    Catalog,
    Days,
    Clocks,
    Inbox,
    Events,
    Reports,
    Figures,
    Rejects,
    Alerts,
}

impl Stream {
    const COUNT: usize = 9;

    /// The stream of that name.
    pub fn named(subjects: &Subjects, name: &str) -> Option<Self> {
        let names = [
            (Self::Catalog, subjects.catalog_stream()),
            (Self::Days, subjects.days_stream()),
            (Self::Clocks, subjects.clocks_stream()),
            (Self::Inbox, subjects.inbox_stream()),
            (Self::Events, subjects.events_stream()),
            (Self::Reports, subjects.reports_stream()),
            (Self::Figures, subjects.figures_stream()),
            (Self::Rejects, subjects.rejects_stream()),
            (Self::Alerts, subjects.alerts_stream()),
        ];
        names.into_iter().find(|(_, known)| known == name).map(|(stream, _)| stream)
    }
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    /// Where INBOX and EVENTS are divided by it; 0 elsewhere.
    pub partition: Partition,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// By the broker's clock.
    pub stored_at: Instant,
    /// Which of the producers' messages it is; of a batch, where in INBOX its owner began to read.
    pub tag: Option<usize>,
    /// None of Daybook's wrote it.
    pub is_foreign: bool,
}

impl Stored {
    /// As product code reads it.
    pub fn message(&self) -> Message<'_> {
        Message { subject: &self.subject, headers: &self.headers, payload: &self.payload }
    }
}

#[derive(Default)]
struct Kept {
    /// Everything that ever was: the sequence is the index and one.
    messages: Vec<Rc<Stored>>,
    /// How many of the first are trimmed.
    trimmed: u64,
    ends: BTreeMap<String, u64>,
}

/// Where a message is stored.
struct Place {
    subject: String,
    partition: Partition,
}

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct Append {
    pub stream: Stream,
    pub subject: String,
    /// The sequence of the subject's last message, 0 for none; unconditional when absent.
    pub expected: Option<u64>,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// That of [`Stored`].
    pub tag: Option<usize>,
}

/// A snapshot of a partition, as the broker is told of it.
#[derive(Clone, Debug)]
pub struct Object {
    pub partition: Partition,
    pub position: LogSeq,
    /// No view waits for a backfill in it.
    pub is_whole: bool,
    pub manifest: Arc<Manifest>,
    /// Its sender had given up when the broker was told of it.
    pub is_late: bool,
    /// Another one each time that the broker is told of it.
    pub number: u64,
}

/// A piece of snapshots as it is stored.
#[derive(Clone, Debug)]
pub struct StoredPiece {
    pub bytes: Bytes,
    pub sequence: u64,
    pub stored_at: Instant,
}

/// What a sender wants.
#[derive(Clone, Debug)]
pub enum Request {
    Append(Append),
    /// To store a piece of a partition's snapshots, in the place of the one that is there.
    Piece(Partition, PieceName, Bytes),
    /// To remove such a piece if it has that sequence.
    Reclaim(Partition, PieceName, u64),
    /// To tell of a snapshot.
    Tell(Object),
    /// To remove a snapshot; its pieces stay.
    Remove(Partition, LogSeq),
    /// To remove the batches of a partition before that one.
    Trim(Partition, LogSeq),
}

/// What a sender learns of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Stored(u64),
    Conflict,
    Unclear,
}

/// Stands for a request in the eyes of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The broker.
pub struct Broker {
    pub subjects: Subjects,
    pub partitions: u16,
    kept: [Kept; Stream::COUNT],
    /// By partition, before which batch EVENTS is trimmed.
    begins: BTreeMap<Partition, u64>,
    /// Of each partition, its snapshots in order of their positions, and when the broker was told of each.
    objects: BTreeMap<(Partition, LogSeq), (Object, Instant)>,
    pieces: BTreeMap<(Partition, PieceName), StoredPiece>,
    under_way: Vec<(Ticket, Request)>,
    answers: BTreeMap<Ticket, Answer>,
    tickets: u64,
    /// How far DAYS and CATALOG have been sourced into INBOX.
    sourced: [u64; 2],
    /// By which it stamps what it stores; nobody else goes by it.
    clock: Instant,
    /// How long it has run, whatever its clocks said.
    elapsed: Duration,
    /// What was stored since it was looked at last.
    fresh: Vec<(Stream, Rc<Stored>)>,
    /// Partitions of which something was removed since it was looked at last.
    trimmed: Vec<Partition>,
}

const SOURCES: [Stream; 2] = [Stream::Days, Stream::Catalog];

impl Broker {
    pub fn new(partitions: u16) -> Self {
        Self {
            subjects: Subjects::new("daybook").expect("a valid prefix"),
            partitions,
            kept: Default::default(),
            begins: BTreeMap::new(),
            objects: BTreeMap::new(),
            pieces: BTreeMap::new(),
            under_way: Vec::new(),
            answers: BTreeMap::new(),
            tickets: 0,
            sourced: [0; 2],
            clock: BEGIN.parse().expect("an instant"),
            elapsed: Duration::ZERO,
            fresh: Vec::new(),
            trimmed: Vec::new(),
        }
    }

    fn kept(&self, stream: Stream) -> &Kept {
        &self.kept[stream as usize]
    }

    /// The last message of a subject, if it is not trimmed.
    pub fn last(&self, stream: Stream, subject: &str) -> Option<&Rc<Stored>> {
        let kept = self.kept(stream);
        let end = *kept.ends.get(subject)?;
        (end > kept.trimmed).then(|| &kept.messages[end as usize - 1])
    }

    /// The last message of every subject, in order of their sequences.
    pub fn last_of_each(&self, stream: Stream) -> Vec<Rc<Stored>> {
        let kept = self.kept(stream);
        let mut last: Vec<_> = kept.ends.values().map(|end| kept.messages[*end as usize - 1].clone()).collect();
        last.sort_by_key(|message| message.sequence);
        last
    }

    /// The first message of a partition at `from` or after, that is not trimmed.
    pub fn next(&self, stream: Stream, partition: Partition, from: u64) -> Option<&Rc<Stored>> {
        let from = from.max(self.first(stream, partition)) as usize - 1;
        self.kept(stream).messages.get(from..)?.iter().find(|message| message.partition == partition)
    }

    /// Before which sequence nothing of a partition is left.
    fn first(&self, stream: Stream, partition: Partition) -> u64 {
        let begins = self.begins.get(&partition).copied().filter(|_| stream == Stream::Events);
        begins.unwrap_or(0).max(self.kept(stream).trimmed + 1)
    }

    /// The newest message of a partition, if it is not trimmed.
    pub fn newest(&self, stream: Stream, partition: Partition) -> Option<&Rc<Stored>> {
        let first = self.first(stream, partition) as usize - 1;
        self.kept(stream).messages.get(first..)?.iter().rev().find(|message| message.partition == partition)
    }

    /// Everything that was ever stored, trimmed or not.
    pub fn history(&self, stream: Stream) -> &[Rc<Stored>] {
        &self.kept(stream).messages
    }

    /// The last sequence of a stream.
    pub fn end(&self, stream: Stream) -> u64 {
        self.kept(stream).messages.len() as u64
    }

    /// Sends a message to be stored; what became of it can be asked for by the ticket.
    pub fn send(&mut self, append: Append) -> Ticket {
        self.ask(Request::Append(append))
    }

    /// Sends a request; what became of it can be asked for by the ticket.
    pub fn ask(&mut self, request: Request) -> Ticket {
        self.tickets += 1;
        self.under_way.push((Ticket(self.tickets), request));
        Ticket(self.tickets)
    }

    /// The snapshots of a partition in order of their positions, each with how long ago the broker was told of it.
    pub fn snapshots(&self, partition: Partition) -> impl DoubleEndedIterator<Item = (&Object, Duration)> {
        let all = (partition, LogSeq(0))..=(partition, LogSeq(u64::MAX));
        self.objects.range(all).map(|(_, (object, told_at))| (object, self.clock.since(*told_at)))
    }

    /// The pieces of a partition's snapshots.
    pub fn pieces(&self, partition: Partition) -> impl Iterator<Item = (PieceName, &StoredPiece)> {
        let of_it = self.pieces.iter().filter(move |((of, _), _)| *of == partition);
        of_it.map(|((_, id), piece)| (*id, piece))
    }

    /// A piece of a partition's snapshots.
    pub fn piece(&self, partition: Partition, id: PieceName) -> Option<&StoredPiece> {
        self.pieces.get(&(partition, id))
    }

    /// The time by its clock.
    pub fn now(&self) -> Instant {
        self.clock
    }

    /// How long it has run, for those who do something now and then.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What became of a request, told once; nothing while it is under way.
    pub fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }

    /// Whether no request is under way and every source has come through.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty() && (0..2).all(|source| self.sourced[source] == self.end(SOURCES[source]))
    }

    /// How many requests and sourced messages are under way.
    pub fn load(&self) -> usize {
        let sources = (0..2).filter(|source| self.sourced[*source] < self.end(SOURCES[*source]));
        self.under_way.len() + sources.count()
    }

    /// Carries one request out, or brings one message of a source into INBOX.
    pub fn step(&mut self, random: &mut Random, settings: &Settings) {
        let step = Duration::from_millis(random.below(MAX_STEP_MS) as u64);
        (self.clock, self.elapsed) = (self.clock.after(step), self.elapsed + step);
        let source = random.below(2);
        if self.sourced[source] < self.end(SOURCES[source]) && (self.under_way.is_empty() || random.one_in(3)) {
            return self.source(source);
        }
        if self.under_way.is_empty() {
            return;
        }
        let index = random.below(self.under_way.len());
        let (ticket, mut request) = self.under_way.swap_remove(index);
        let unclear = |fault, random: &mut Random| settings.faults.has(fault) && random.one_in(UNCLEAR_ONE_IN);
        let answer = if unclear(Fault::LostRequest, random) {
            Answer::Unclear
        } else if unclear(Fault::LateRequest, random) {
            if let Request::Tell(object) = &mut request {
                object.is_late = true;
            }
            self.under_way.push((ticket, request));
            Answer::Unclear
        } else {
            let answer = self.carry_out(request);
            if unclear(Fault::LostAnswer, random) { Answer::Unclear } else { answer }
        };
        // Of a late request, the first answer stands.
        self.answers.entry(ticket).or_insert(answer);
    }

    fn carry_out(&mut self, request: Request) -> Answer {
        match request {
            Request::Append(append) => return self.append(append),
            Request::Piece(partition, id, bytes) => {
                self.tickets += 1;
                let piece = StoredPiece { bytes, sequence: self.tickets, stored_at: self.clock };
                self.pieces.insert((partition, id), piece);
            }
            Request::Reclaim(partition, id, sequence) => {
                if self.piece(partition, id).is_some_and(|piece| piece.sequence == sequence) {
                    self.pieces.remove(&(partition, id));
                    self.trimmed.push(partition);
                }
            }
            Request::Tell(mut object) => {
                self.tickets += 1;
                object.number = self.tickets;
                let told_at = self.clock;
                self.objects.insert((object.partition, object.position), (object, told_at));
            }
            Request::Remove(partition, position) => {
                if self.objects.remove(&(partition, position)).is_some() {
                    self.trimmed.push(partition);
                }
            }
            Request::Trim(partition, below) => {
                let begins = self.begins.entry(partition).or_default();
                if below.0 > *begins {
                    *begins = below.0;
                    self.trimmed.push(partition);
                }
            }
        }
        Answer::Stored(0)
    }

    fn append(&mut self, append: Append) -> Answer {
        let Append { stream, subject, expected, mut headers, payload, tag } = append;
        let (subject, partition) = self.placed(stream, subject);
        let end = self.kept(stream).ends.get(&subject).copied().unwrap_or(0);
        if expected.is_some_and(|expected| expected != end) {
            return Answer::Conflict;
        }
        // The condition is a header of the message, and is stored with it; so is the subject, of what services store.
        if stream != Stream::Inbox {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.unwrap_or(end).to_string());
            headers.insert(headers::SUBJECT, subject.as_str());
        }
        Answer::Stored(self.store(stream, Place { subject, partition }, headers, payload, tag, false))
    }

    /// The subject under which a message is stored, after the stream's transform, and its partition.
    fn placed(&self, stream: Stream, subject: String) -> (String, Partition) {
        let tokens: Vec<&str> = subject.split('.').collect();
        let prefix = tokens[0];
        let place = match (stream, &tokens[1..]) {
            // The broker's transform leaves subjects with wildcards in them as they are.
            (Stream::Inbox, ["in", tenant, kind]) if *tenant != "*" && *kind != "*" => {
                let partition = Partition::of(tenant, self.partitions);
                Some((format!("{prefix}.inbox.{partition}.{tenant}.event.{kind}"), partition))
            }
            (Stream::Events, ["events", partition]) => {
                Some((subject.clone(), Partition(partition.parse().expect("a partition's number"))))
            }
            _ => None,
        };
        place.unwrap_or((subject, Partition(0)))
    }

    fn store(
        &mut self,
        stream: Stream,
        Place { subject, partition }: Place,
        headers: HeaderMap,
        payload: Bytes,
        tag: Option<usize>,
        is_foreign: bool,
    ) -> u64 {
        let kept = &mut self.kept[stream as usize];
        let sequence = kept.messages.len() as u64 + 1;
        kept.ends.insert(subject.clone(), sequence);
        let stored_at = self.clock;
        let stored = Rc::new(Stored { sequence, subject, partition, headers, payload, stored_at, tag, is_foreign });
        kept.messages.push(stored.clone());
        self.fresh.push((stream, stored));
        sequence
    }

    fn source(&mut self, source: usize) {
        let stream = SOURCES[source];
        let origin = self.kept(stream).messages[self.sourced[source] as usize].clone();
        self.sourced[source] += 1;
        let tokens: Vec<&str> = origin.subject.split('.').collect();
        let (subject, partition) = match tokens[1..] {
            ["days", tenant, edge] => {
                let partition = Partition::of(tenant, self.partitions);
                (self.subjects.inbox_day(partition, tenant, edge), partition)
            }
            ["catalog", partition, what, name] => {
                let partition = Partition(partition.parse().expect("a partition's number"));
                (self.subjects.inbox_catalog(partition, what, name), partition)
            }
            _ => unreachable!("DAYS and CATALOG take no other subjects"),
        };
        let name = if stream == Stream::Days { self.subjects.days_stream() } else { self.subjects.catalog_stream() };
        let mut headers = HeaderMap::new();
        headers.insert(headers::STREAM_SOURCE, format!("{name} {} > >", origin.sequence));
        if let Some(named) = origin.headers.get(headers::SUBJECT) {
            headers.insert(headers::SUBJECT, named.as_str());
        }
        let place = Place { subject, partition };
        self.store(Stream::Inbox, place, headers, origin.payload.clone(), None, origin.is_foreign);
    }

    /// Stores what nobody of Daybook's wrote: an answer of the broker's, or a copy of a message on another subject, for a
    /// hostile client has named that as where to reply.
    pub fn intrude(&mut self, random: &mut Random) {
        const STREAMS: [Stream; 7] = [
            Stream::Events,
            Stream::Events,
            Stream::Days,
            Stream::Catalog,
            Stream::Clocks,
            Stream::Reports,
            Stream::Rejects,
        ];
        let stream = STREAMS[random.below(STREAMS.len())];
        let Some(subject) = self.some_subject(stream, random) else { return };
        let mut headers = HeaderMap::new();
        let mut payload = Bytes::from_static(br#"{"stream":"DAYBOOK_INBOX","seq":7}"#);
        let from = STREAMS[random.below(STREAMS.len())];
        if random.one_in(2) && !self.kept(from).messages.is_empty() {
            let index = random.below(self.kept(from).messages.len());
            let copied = self.kept(from).messages[index].clone();
            if copied.subject == subject {
                return;
            }
            (headers, payload) = (copied.headers.clone(), copied.payload.clone());
        }
        let end = self.kept(stream).ends.get(&subject).copied().unwrap_or(0);
        let condition = header_number(&headers, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref());
        // The broker judges the condition of a copy like any other.
        if condition.is_some_and(|condition| condition != end) {
            return;
        }
        let (subject, partition) = self.placed(stream, subject);
        self.store(stream, Place { subject, partition }, headers, payload, None, true);
    }

    /// A subject that has messages, or of a report that is still to come.
    fn some_subject(&self, stream: Stream, random: &mut Random) -> Option<String> {
        let known: Vec<&String> = self.kept(stream).ends.keys().collect();
        let subject = known.get(random.below(known.len().max(1)))?.to_string();
        match self.subjects.parse_report(&subject) {
            Some((tenant, date)) if random.one_in(2) => Some(self.subjects.report(&tenant, date.next())),
            _ => Some(subject),
        }
    }

    /// What is left of a subject, the newest last.
    fn left<'b>(&'b self, stream: Stream, subject: &'b str) -> impl DoubleEndedIterator<Item = &'b Rc<Stored>> + 'b {
        let kept = self.kept(stream);
        let first = usize::try_from(kept.trimmed).expect("messages in memory");
        kept.messages[first..].iter().filter(move |message| message.subject == subject)
    }

    /// How a subject ends, and the newest message that `read` takes for one of Daybook's.
    pub fn last_written<T>(
        &self,
        stream: Stream,
        subject: &str,
        read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
    ) -> Newest<T> {
        let end = self.left(stream, subject).next_back().map_or(0, |last| last.sequence);
        let found = self.left(stream, subject).rev().find_map(|stored| {
            let value = read(stored.message()).ok()?;
            Some(Found { sequence: stored.sequence, stored_at: stored.stored_at, value })
        });
        Newest { end, found }
    }

    /// The same of every subject of a stream, in order of their last sequences.
    pub fn newest_written<T>(
        &self,
        stream: Stream,
        read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
    ) -> Vec<(String, Newest<T>)> {
        let last = self.last_of_each(stream);
        last.iter().map(|last| (last.subject.clone(), self.last_written(stream, &last.subject, &read))).collect()
    }

    /// How a partition's log ends.
    pub fn log_end(&self, partition: Partition) -> log::End {
        let Some(last) = self.newest(Stream::Events, partition) else { return log::End::default() };
        let first = self.first(Stream::Events, partition);
        let Newest { end, found } = self.last_written(Stream::Events, &last.subject, Logged::read);
        log::End { sequence: end, last: found.filter(|found| found.sequence >= first) }
    }

    /// The first batch of a partition's log at or behind a position.
    pub fn next_batch(&self, partition: Partition, from: u64) -> Option<(LogSeq, Logged)> {
        let mut from = from;
        while let Some(message) = self.next(Stream::Events, partition, from) {
            if let Ok(logged) = Logged::read(message.message()) {
                return Some((LogSeq(message.sequence), logged));
            }
            from = message.sequence + 1;
        }
        None
    }

    /// Restarts with another leader: where sourcing goes on is told by the last sourced message that is still in INBOX, and what is not yet
    /// carried out is lost.
    pub fn restart(&mut self, random: &mut Random) {
        // Another server leads the stream, by its own clock.
        let apart = random.between(-CLOCKS_APART_MS, CLOCKS_APART_MS);
        self.clock = Instant::from_millis(self.clock.as_millis() + apart);
        for (ticket, _) in std::mem::take(&mut self.under_way) {
            self.answers.entry(ticket).or_insert(Answer::Unclear);
        }
        let inbox = self.kept(Stream::Inbox);
        let names = [self.subjects.days_stream(), self.subjects.catalog_stream()];
        let sourced = names.map(|name| {
            let there = inbox.messages[inbox.trimmed as usize..].iter().rev();
            there
                .filter_map(|message| source_of(message))
                .find(|source| source.stream == name)
                .map_or(0, |at| at.sequence)
        });
        self.sourced = sourced;
    }

    /// Removes everything of INBOX up to `through`.
    pub fn trim(&mut self, through: u64) {
        let kept = &mut self.kept[Stream::Inbox as usize];
        kept.trimmed = kept.trimmed.max(through.min(kept.messages.len() as u64));
    }

    /// Of which partitions something of the log or of the snapshots was removed since this was asked last.
    pub fn take_trimmed(&mut self) -> Vec<Partition> {
        std::mem::take(&mut self.trimmed)
    }

    /// What was stored since this was asked last.
    pub fn take_fresh(&mut self) -> Vec<(Stream, Rc<Stored>)> {
        std::mem::take(&mut self.fresh)
    }
}

/// The stream and sequence that a message of INBOX was sourced from.
pub fn source_of(message: &Stored) -> Option<Source<'_>> {
    Source::parse(message.headers.get(headers::STREAM_SOURCE)?.as_str())
}
