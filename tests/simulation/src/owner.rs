//! Ingest's actors as steps: they hand the real cores what the model broker says, and carry out what the cores ask.

use crate::broker::{self, Append, Stored, Stream, Ticket};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::shell::Shell;
use async_nats::HeaderMap;
use daybook_contracts::headers;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{InboxSeq, Partition};
use daybook_runtime::log::{End, Logged};
use daybook_runtime::written;
use ingest::owner::{Answer, NextMessage, Owner as Core, Progress, Request, Settings};
use ingest::trimming::{Round, Trimming};
use std::time::Duration;

/// Most messages taken in at one step.
const MAX_GATHERED: usize = 6;
/// Most time that passes between two steps: often longer than a batch waits for company.
const MAX_PAUSE: Duration = Duration::from_secs(10 * 60);
const LINGER: Duration = Duration::from_secs(2 * 60);
/// How often the broker says of a partition, for a round of the trimmer, that it has no message: once in so many.
const MISLED_ONE_IN: usize = 4;

/// An owner of a partition.
pub struct Owner {
    partition: Partition,
    phase: Phase,
}

enum Phase {
    Down,
    /// The log's end is known; the definitions up to there are not.
    Starting(End),
    Running(Box<Running>),
}

struct Running {
    core: Core,
    /// Where it began to read INBOX.
    begun: u64,
    /// The next sequence of INBOX to be read.
    next: u64,
    /// What the core is timed by. It goes on, whatever becomes of the system clock.
    clock: Duration,
    asked: Option<Asked>,
}

/// The request under way.
enum Asked {
    Append(Ticket, u64),
    End,
    Next(u64),
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
                let (position, marks) = (end.position(), end.marks());
                shell.trace.note(|| format!("owner {}: begins behind {position}, {marks:?}", self.partition));
                Phase::Starting(end)
            }
            Phase::Starting(end) => Phase::Running(Box::new(start(shell, self.partition, end))),
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

fn start(shell: &Shell, partition: Partition, mut end: End) -> Running {
    let subjects = &shell.broker.subjects;
    let through = if shell.breaks(Mutation::DefineAhead) { u64::MAX } else { end.marks().catalog };
    let filter = subjects.catalog_of(partition);
    let own = filter.trim_end_matches('>');
    let mut definitions: Vec<Definition> = (shell.broker.history(Stream::Catalog).iter())
        .filter(|message| message.sequence <= through && message.subject.starts_with(own))
        .filter_map(|message| Some(written::definition(subjects, message.message()).ok()?.1))
        .collect();
    if shell.breaks(Mutation::ForgetBoundaries) {
        for definition in &mut definitions {
            if let Definition::Tenant(tenant) = definition {
                tenant.boundaries.clear();
            }
        }
    }
    if let Some(last) = &mut end.last {
        let marks = &mut last.value.marks;
        if shell.breaks(Mutation::ReadCoveredAgain) {
            marks.through.inbox = InboxSeq(marks.through.inbox.0.saturating_sub(1));
        }
        if shell.breaks(Mutation::SkipUncovered) {
            marks.through.inbox = InboxSeq(marks.through.inbox.0 + 1);
        }
        marks.restating &= !shell.breaks(Mutation::ForgetRestatements);
        if shell.breaks(Mutation::ForgetSourceMarks) {
            (marks.catalog, marks.days) = (0, 0);
        }
    }
    let core = Core::new(subjects.clone(), &end, definitions, Settings { linger: LINGER, ..Settings::default() });
    let next = core.marks().through.next();
    Running { core, begun: next, next, clock: Duration::ZERO, asked: None }
}

impl Running {
    fn step(&mut self, shell: &mut Shell, partition: Partition) -> Result<(), Fenced> {
        self.clock += Duration::from_millis(shell.random.below(MAX_PAUSE.as_millis() as usize) as u64);
        // While a batch is being appended, the next one is gathered.
        if self.asked.is_none() || shell.random.one_in(2) {
            self.gather(shell, partition);
        }
        let Some(asked) = self.asked.take() else {
            let begun = self.core.tick(self.clock).expect("day-manager is of this version");
            begun.into_iter().for_each(|begun| self.ask(shell, partition, begun.request));
            return Ok(());
        };
        let Some(answer) = answer(shell, partition, &asked) else {
            self.asked = Some(asked);
            return Ok(());
        };
        shell.trace.note(|| format!("owner {partition}: {}", told(&answer)));
        match self.core.answered(answer) {
            Progress::Ask(Request::Append { expected, .. })
                if shell.breaks(Mutation::DropAbsentBatch) && !matches!(asked, Asked::Append(..)) =>
            {
                self.core.answered(Answer::Appended(expected));
            }
            Progress::Ask(request) => self.ask(shell, partition, request),
            Progress::Stored => {}
            Progress::Lost => return Err(Fenced),
        }
        Ok(())
    }

    fn gather(&mut self, shell: &mut Shell, partition: Partition) {
        if shell.strikes(Fault::Redelivery, 12)
            && let Some(again) = shell.broker.next(Stream::Inbox, partition, self.next.saturating_sub(3)).cloned()
        {
            self.take(shell, &again);
        }
        for _ in 0..=shell.random.below(MAX_GATHERED) {
            let Some(message) = shell.broker.next(Stream::Inbox, partition, self.next).cloned() else { break };
            self.take(shell, &message);
        }
    }

    fn take(&mut self, shell: &Shell, message: &Stored) {
        if self.core.takes_more() {
            let stored_at = if shell.breaks(Mutation::StampByOwnClock) { shell.now } else { message.stored_at };
            self.core.take(message.sequence, stored_at, message.message(), self.clock);
            self.next = self.next.max(message.sequence + 1);
        }
    }

    fn ask(&mut self, shell: &mut Shell, partition: Partition, request: Request) {
        self.asked = Some(match request {
            Request::Append { expected, mut headers, payload } => {
                if shell.breaks(Mutation::HideRestatements) {
                    headers = without(&headers, headers::RESTATING);
                }
                let append = Append {
                    stream: Stream::Events,
                    subject: shell.broker.subjects.events(partition),
                    expected: (!shell.breaks(Mutation::AppendWithoutFence)).then_some(expected),
                    headers,
                    payload,
                    tag: Some(self.begun as usize),
                };
                Asked::Append(shell.broker.send(append), expected)
            }
            Request::End { .. } => Asked::End,
            Request::Next(from) => Asked::Next(from),
        });
    }
}

/// What became of the request; nothing while it is under way.
fn answer(shell: &mut Shell, partition: Partition, asked: &Asked) -> Option<Answer> {
    Some(match *asked {
        Asked::Append(ticket, expected) => match shell.broker.answer(ticket)? {
            broker::Answer::Stored(sequence) => Answer::Appended(sequence),
            broker::Answer::Unclear if shell.breaks(Mutation::TrustUnclearAppend) => Answer::Appended(expected),
            _ if shell.breaks(Mutation::AdoptRivalBatch) => Answer::Appended(shell.broker.log_end(partition).sequence),
            broker::Answer::Conflict => Answer::Conflict,
            broker::Answer::Unclear => Answer::Unclear,
        },
        Asked::End => Answer::End(shell.broker.newest(Stream::Events, partition).map(|last| last.sequence)),
        Asked::Next(from) => {
            let message = shell.broker.next(Stream::Events, partition, from);
            Answer::Next(message.map(|message| NextMessage {
                sequence: message.sequence,
                payload: message.payload.clone(),
                read: Logged::read(message.message()),
            }))
        }
    })
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Next(Some(message)) => format!("the log goes on at {}", message.sequence),
        answer => format!("its request: {answer:?}"),
    }
}

fn without(headers: &HeaderMap, name: &str) -> HeaderMap {
    let others = headers.iter().filter(|(other, _)| AsRef::<str>::as_ref(*other) != name);
    others.map(|(name, values)| (name.clone(), values[0].clone())).collect()
}

/// Ingest's trimmer.
#[derive(Default)]
pub struct Trimmer {
    trimming: Trimming,
    round: Option<Round>,
    /// For this round, the broker says that INBOX has no message. For a moment only: not for two rounds.
    is_misled: bool,
}

impl Trimmer {
    pub fn crash(&mut self) {
        *self = Self::default();
    }

    /// One step.
    pub fn step(&mut self, shell: &mut Shell) {
        let Some(round) = &mut self.round else {
            self.round = Some(Round::new(shell.broker.end(Stream::Inbox), shell.broker.partitions));
            self.is_misled = !self.is_misled && shell.strikes(Fault::BrokerRestart, MISLED_ONE_IN);
            return;
        };
        if let Some(partition) = round.next() {
            let newest = shell.broker.newest(Stream::Inbox, partition).map(|message| message.sequence);
            let marks = shell.broker.log_end(partition).marks();
            round.note(marks, newest.filter(|_| !self.is_misled));
        } else if let Some(round) = self.round.take() {
            if shell.breaks(Mutation::TrimAtOnce) {
                self.trimming.settle(round.clone());
            }
            let floor = self.trimming.settle(round) + u64::from(shell.breaks(Mutation::TrimTooFar));
            shell.trace.note(|| format!("trimmer: INBOX is trimmed through {floor}"));
            shell.broker.trim(floor);
        }
    }
}
