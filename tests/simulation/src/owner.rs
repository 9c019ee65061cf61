//! A sequencer's owner: ingest's actor as steps around the real [`Sequencer`]. What `ingest::partition` does with
//! input and output is written once more here; the fence's rules are ingest's own ([`ingest::fence`]).

use crate::broker::{Answer, Append, Stored, Stream, Ticket, source_of};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::Shell;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use daybook_contracts::event::Encoding;
use daybook_contracts::headers;
use daybook_contracts::log::Marks;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{InboxSeq, LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::log::{self, Logged};
use daybook_runtime::written;
use ingest::fence::{self, Standing, Tip};
use ingest::sequencer::{Cut, Inbound, Sequencer};
use std::time::Duration;

/// Most messages taken in at one step.
const MAX_GATHERED: usize = 6;
/// Most time between two looks at what is to be restated.
const MAX_PAUSE: Duration = Duration::from_secs(10 * 60);

/// An owner of a partition.
pub struct Owner {
    partition: Partition,
    phase: Phase,
}

enum Phase {
    Down,
    /// The log's end is known; the definitions up to there are not.
    Starting {
        tip: Tip,
        marks: Marks,
    },
    Running(Box<Running>),
}

struct Running {
    /// Behind what the next batch is appended.
    tip: Tip,
    /// Where it began to read INBOX.
    begun: u64,
    /// The next sequence of INBOX to be read.
    next: u64,
    sequencer: Sequencer,
    /// What restatements are timed by. It goes on, whatever becomes of the system clock.
    clock: Duration,
    gathered: Option<Cut>,
    sending: Option<Sending>,
}

/// A batch being appended.
struct Sending {
    headers: HeaderMap,
    payload: Bytes,
    stage: Stage,
}

enum Stage {
    Send,
    Wait(Ticket),
    Look,
}

/// The owner must begin again from the log.
struct Fenced;

impl Owner {
    pub fn new(partition: Partition) -> Self {
        Self { partition, phase: Phase::Down }
    }

    /// Ends; nothing is left but what is stored.
    pub fn crash(&mut self) {
        self.phase = Phase::Down;
    }

    /// One step.
    pub fn step(&mut self, shell: &mut Shell) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Down) {
            Phase::Down => {
                let end = shell.broker.log_end(self.partition);
                let (tip, marks) = (Tip::from(&end), end.marks());
                shell.trace.note(|| format!("owner {}: begins behind {tip:?}, {marks:?}", self.partition));
                Phase::Starting { tip, marks }
            }
            Phase::Starting { tip, marks } => Phase::Running(Box::new(start(shell, self.partition, tip, marks))),
            Phase::Running(mut running) => match running.step(shell, self.partition) {
                Ok(()) => Phase::Running(running),
                Err(Fenced) => {
                    shell.trace.note(|| format!("owner {}: another one appended", self.partition));
                    Phase::Down
                }
            },
        };
    }
}

fn start(shell: &Shell, partition: Partition, tip: Tip, marks: Marks) -> Running {
    let through = if shell.breaks(Mutation::DefineAhead) { u64::MAX } else { marks.catalog };
    let filter = shell.broker.subjects.catalog_of(partition);
    let own = filter.trim_end_matches('>');
    let mut definitions: Vec<Definition> = (shell.broker.history(Stream::Catalog).iter())
        .filter(|message| message.sequence <= through && message.subject.starts_with(own))
        .filter_map(|message| Some(written::definition(&shell.broker.subjects, message.message()).ok()?.1))
        .collect();
    if shell.breaks(Mutation::ForgetBoundaries) {
        for definition in &mut definitions {
            if let Definition::Tenant(tenant) = definition {
                tenant.boundaries.clear();
            }
        }
    }
    let mut marks = marks;
    if shell.breaks(Mutation::ReadCoveredAgain) {
        marks.through.inbox = InboxSeq(marks.through.inbox.0.saturating_sub(1));
    }
    if shell.breaks(Mutation::SkipUncovered) && tip.batch > LogSeq(0) {
        marks.through.inbox = InboxSeq(marks.through.inbox.0 + 1);
    }
    marks.restating &= !shell.breaks(Mutation::ForgetRestatements);
    let next = marks.through.next();
    if shell.breaks(Mutation::ForgetSourceMarks) {
        (marks.catalog, marks.days) = (0, 0);
    }
    let sequencer = Sequencer::new(shell.broker.subjects.clone(), marks, definitions);
    Running { tip, begun: next, next, sequencer, clock: Duration::ZERO, gathered: None, sending: None }
}

impl Running {
    fn step(&mut self, shell: &mut Shell, partition: Partition) -> Result<(), Fenced> {
        // While a batch is being appended, the next one is gathered.
        if self.gathered.is_none() && (self.sending.is_none() || shell.random.one_in(2)) {
            self.gather(shell, partition);
        }
        if self.sending.is_none()
            && let Some(cut) = self.gathered.take()
        {
            let payload = Bytes::from(cut.batch.encode());
            let mut cut = cut;
            cut.marks.restating &= !shell.breaks(Mutation::HideRestatements);
            let headers = log::headers_of(self.tip.batch, cut.marks);
            self.sending = Some(Sending { headers, payload, stage: Stage::Send });
        }
        self.append(shell, partition)
    }

    fn gather(&mut self, shell: &mut Shell, partition: Partition) {
        if shell.strikes(Fault::Redelivery, 12)
            && let Some(again) = shell.broker.next(Stream::Inbox, partition, self.next.saturating_sub(3))
        {
            take(&mut self.sequencer, &again.clone(), again.stored_at);
            self.next = self.next.max(again.sequence + 1);
        }
        for _ in 0..=shell.random.below(MAX_GATHERED) {
            let Some(message) = shell.broker.next(Stream::Inbox, partition, self.next).cloned() else { break };
            self.next = message.sequence + 1;
            let own = shell.breaks(Mutation::StampByOwnClock);
            take(&mut self.sequencer, &message, if own { shell.now } else { message.stored_at });
        }
        self.clock += Duration::from_millis(shell.random.below(MAX_PAUSE.as_millis() as usize) as u64);
        self.sequencer.restate(self.clock);
        self.gathered = self.sequencer.cut();
    }

    fn append(&mut self, shell: &mut Shell, partition: Partition) -> Result<(), Fenced> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        match sending.stage {
            Stage::Send => {
                let expected = (!shell.breaks(Mutation::AppendWithoutFence)).then_some(self.tip.end);
                let append = Append {
                    stream: Stream::Events,
                    subject: shell.broker.subjects.events(partition),
                    expected,
                    headers: sending.headers.clone(),
                    payload: sending.payload.clone(),
                    tag: Some(self.begun as usize),
                };
                sending.stage = Stage::Wait(shell.broker.send(append));
            }
            Stage::Wait(ticket) => match shell.broker.answer(ticket) {
                None => {}
                Some(Answer::Stored(sequence)) => {
                    shell.trace.note(|| format!("owner {partition}: appended batch {sequence} behind {:?}", self.tip));
                    self.tip = Tip::at(sequence);
                    self.sending = None;
                }
                Some(Answer::Unclear) if shell.breaks(Mutation::TrustUnclearAppend) => self.sending = None,
                Some(Answer::Conflict | Answer::Unclear) => sending.stage = Stage::Look,
            },
            Stage::Look => {
                let mut standing = look(shell, partition, self.tip, &sending.payload);
                if standing == Standing::Lost && shell.breaks(Mutation::AdoptRivalBatch) {
                    standing = Standing::Stored(Tip::from(&shell.broker.log_end(partition)));
                }
                shell.trace.note(|| format!("owner {partition}: an append's fate was unclear, it is {standing:?}"));
                match standing {
                    Standing::Absent(tip) => {
                        self.tip = tip;
                        sending.stage = Stage::Send;
                    }
                    Standing::Stored(tip) => {
                        self.tip = tip;
                        self.sending = None;
                    }
                    Standing::Lost => return Err(Fenced),
                }
            }
        }
        Ok(())
    }
}

/// What the log says became of an append.
fn look(shell: &Shell, partition: Partition, mut tip: Tip, payload: &[u8]) -> Standing {
    let last = shell.broker.newest(Stream::Events, partition).map(|last| last.sequence);
    if let Some(standing) = fence::at_end(tip, last) {
        return standing;
    }
    while let Some(message) = shell.broker.next(Stream::Events, partition, tip.end + 1) {
        let read = Logged::read(message.message());
        match fence::behind(tip, payload, message.sequence, &message.payload, &read) {
            Standing::Absent(further) => tip = further,
            standing => return standing,
        }
    }
    Standing::Absent(tip)
}

fn take(sequencer: &mut Sequencer, message: &Stored, stored_at: Instant) {
    let header = |name| message.headers.get(name).map(|value: &HeaderValue| value.as_str());
    let is_msgpack = header(headers::CONTENT_TYPE) == Some(headers::MSGPACK);
    let taken = sequencer.take(Inbound {
        sequence: message.sequence,
        subject: &message.subject,
        encoding: if is_msgpack { Encoding::MessagePack } else { Encoding::Json },
        source: source_of(message),
        unmapped: header(headers::UNMAPPED),
        named: header(headers::SUBJECT),
        stored_at,
        payload: &message.payload,
    });
    taken.expect("day-manager is of this version");
}

/// Ingest's trimmer, as steps: it reads INBOX's end first, then looks at one partition after the other.
#[derive(Default)]
pub struct Trimmer {
    under_way: Option<Round>,
}

struct Round {
    floor: u64,
    partitions: Vec<Partition>,
}

impl Trimmer {
    pub fn crash(&mut self) {
        self.under_way = None;
    }

    /// One step.
    pub fn step(&mut self, shell: &mut Shell) {
        let Some(round) = &mut self.under_way else {
            let partitions = Partition::all(shell.broker.partitions).collect();
            self.under_way = Some(Round { floor: shell.broker.end(Stream::Inbox), partitions });
            return;
        };
        if let Some(partition) = round.partitions.pop() {
            let recorded = shell.broker.log_end(partition).marks().through.next() - 1;
            let newest = shell.broker.newest(Stream::Inbox, partition);
            if newest.is_some_and(|message| message.sequence > recorded) {
                round.floor = round.floor.min(recorded);
            }
            return;
        }
        let floor = round.floor + u64::from(shell.breaks(Mutation::TrimTooFar));
        shell.trace.note(|| format!("trimmer: INBOX is trimmed through {floor}"));
        shell.broker.trim(floor);
        self.under_way = None;
    }
}
