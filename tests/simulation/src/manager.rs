//! A day-manager as steps: it hands the real core what the model broker says, and carries out what the core wants done.

use crate::broker::{self, Append, Stream, Ticket, source_of};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::Place;
use crate::shell::Shell;
use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use day_manager::activation::Backfills;
use day_manager::assembly::{Read, Streams};
use day_manager::failure::{Failure, PublishError};
use day_manager::publication::{Arrival, Origin, Outgoing};
pub use day_manager::registrar::Request;
use day_manager::registrar::{Action, Heard, Purpose, Registrar, Reply};
use daybook_contracts::ask::ViewProgress;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_domain::catalogue::{Definition, SYSTEM_CLOCK};
use daybook_domain::ids::{Name, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::written;

/// Markers published in one go; small, so that runs have several goes.
const MARKERS_AT_ONCE: usize = 3;
/// How often a wait for a message to arrive is given up: once in so many looks.
const GIVE_UP_ONE_IN: usize = 200;
/// How often the broker does not say where its streams end: once in so many times.
const SILENT_ONE_IN: usize = 100;

/// A day-manager.
pub struct Manager {
    /// Nothing while it is down.
    running: Option<Box<Running>>,
    /// Asked and not answered yet; lost with a crash.
    request: Option<Request>,
    /// How many requests were answered.
    pub answered: usize,
    /// How often it began.
    begun: usize,
}

struct Running {
    core: Registrar,
    backfills: Backfills,
    /// It knows what the streams say, and takes requests.
    is_ready: bool,
    /// The request under way is an asker's, not its own.
    is_asked: bool,
    at: At,
}

/// What it is at.
enum At {
    Nothing,
    Action(Box<Action>),
    ReadDays(Read<(Partition, Definition)>),
    ReadClocks(Read<(Partition, Definition)>, Read<DayMarker>),
    /// With the sequence of each that is stored.
    Publishing(Vec<(Outgoing, Ticket, Option<u64>)>),
}

impl Manager {
    pub fn new() -> Self {
        Self { running: None, request: None, answered: 0, begun: 0 }
    }

    /// Ends; nothing is left but what is stored.
    pub fn crash(&mut self) {
        self.running = None;
        self.request = None;
    }

    /// Whether a request can be put.
    pub fn is_free(&self) -> bool {
        let is_idle = |running: &Running| running.is_ready && matches!(running.at, At::Nothing);
        self.request.is_none() && self.running.as_deref().is_some_and(is_idle)
    }

    /// Whether it has nothing to do, and nothing is due at `now`.
    pub fn is_at_rest(&self, now: Instant) -> bool {
        let Some(running) = self.running.as_ref().filter(|running| running.is_ready) else { return false };
        let is_idle = match &running.at {
            At::Nothing => true,
            At::Action(action) => matches!(**action, Action::Look { .. }) && !running.is_asked,
            _ => false,
        };
        self.request.is_none() && is_idle && running.due().is_none_or(|due| due > now)
    }

    /// Asks; the answer is counted in `answered`.
    pub fn ask(&mut self, request: Request) {
        self.request = Some(request);
    }

    /// What it is at, to tell why it is not at rest.
    pub fn at(&self) -> String {
        let Some(running) = &self.running else { return "it is down".to_owned() };
        let at = match &running.at {
            At::Nothing => "nothing".to_owned(),
            At::Action(action) => format!("{action:?}"),
            At::ReadDays(_) | At::ReadClocks(..) => "reading".to_owned(),
            At::Publishing(_) => "publishing".to_owned(),
        };
        format!("{at}, {:?} due next, asked {:?}", running.due(), self.request)
    }

    /// What a shard's answer makes it activate.
    pub fn hear(&mut self, partition: Partition, views: &[ViewProgress]) {
        let Some(running) = &mut self.running else { return };
        let ready = running.backfills.answered(partition, views);
        if !ready.is_empty() {
            self.ask(Request::Activate(ready.into_iter().map(|activation| (partition, activation)).collect()));
        }
    }

    /// One step.
    pub fn step(&mut self, shell: &mut Shell) {
        let Some(running) = &mut self.running else {
            shell.trace.note(|| "day-manager: begins".to_owned());
            let (subjects, partitions) = (shell.broker.subjects.clone(), shell.broker.partitions);
            let mut core = Registrar::new(subjects, partitions, MARKERS_AT_ONCE);
            let at = At::Action(core.ask(Request::Begin, shell.now).into());
            let backfills = Backfills::new(partitions);
            self.running = Some(Box::new(Running { core, backfills, is_ready: false, is_asked: false, at }));
            self.begun += 1;
            return;
        };
        let action = match std::mem::replace(&mut running.at, At::Nothing) {
            At::Nothing => {
                running.is_asked = self.request.is_some();
                let request = self.request.take().unwrap_or(Request::Look);
                if running.is_asked {
                    shell.trace.note(|| format!("day-manager: {}", short(&request)));
                }
                running.core.ask(request, shell.now)
            }
            at => match progress(shell, at, self.begun) {
                Ok(heard) => running.core.heard(heard, shell.now),
                Err(at) => {
                    running.at = at;
                    return;
                }
            },
        };
        match action {
            Action::Done(reply) => {
                if let Reply::Closed(reply) = &reply
                    && reply.boundary.is_some()
                {
                    shell.reach(Place::Ended);
                }
                running.backfills.define(&running.core.registry().revisions());
                self.answered += usize::from(running.is_asked);
                (running.is_ready, running.is_asked) = (true, false);
            }
            Action::Failed(failure) => {
                shell.trace.note(|| format!("day-manager: fails, {failure}"));
                running.is_asked = false;
                if !running.is_ready {
                    self.crash();
                }
            }
            action => running.at = At::Action(action.into()),
        }
    }
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl Running {
    fn due(&self) -> Option<Instant> {
        self.core.registry().schedule.next_deadline(&Name::new(SYSTEM_CLOCK).expect("a valid name"))
    }
}

/// One step of what it is at: what the core hears then, or what it is at now.
fn progress(shell: &mut Shell, at: At, begun: usize) -> Result<Heard, At> {
    match at {
        At::Nothing => Err(At::Nothing),
        At::Action(action) => act(shell, *action, begun),
        At::ReadDays(catalog) => {
            let subjects = &shell.broker.subjects;
            let mut days = shell.broker.newest_written(Stream::Days, |message| written::marker(subjects, message));
            if shell.breaks(Mutation::ForgetDays) {
                days.iter_mut().for_each(|(_, newest)| newest.found = None);
            }
            Err(At::ReadClocks(catalog, days))
        }
        At::ReadClocks(catalog, days) => Ok(Heard::Read(Streams { catalog, days, clocks: clocks(shell) })),
        At::Publishing(mut sent) => {
            for (message, ticket, stored) in sent.iter_mut().filter(|(_, _, stored)| stored.is_none()) {
                let subject = message.subject.clone();
                match shell.broker.answer(*ticket) {
                    None => {}
                    Some(broker::Answer::Stored(sequence)) => *stored = Some(sequence),
                    Some(broker::Answer::Conflict) => return Ok(failed(PublishError::Conflict(subject))),
                    Some(broker::Answer::Unclear) => {
                        let source = PublishErrorKind::TimedOut.into();
                        return Ok(failed(PublishError::Unclear { subject, source }));
                    }
                }
            }
            let stored: Option<Vec<u64>> = sent.iter().map(|(_, _, stored)| *stored).collect();
            stored.map(Heard::Published).ok_or(At::Publishing(sent))
        }
    }
}

fn act(shell: &mut Shell, action: Action, begun: usize) -> Result<Heard, At> {
    Ok(match action {
        Action::Look { .. } if shell.strikes(Fault::LostAnswer, SILENT_ONE_IN) => {
            Heard::Failed(Failure::Look { stream: String::new(), source: "it is silent".into() })
        }
        Action::Look { clocks } => Heard::Ends {
            catalog: shell.broker.end(Stream::Catalog),
            days: shell.broker.end(Stream::Days),
            clocks: clocks.then(|| shell.broker.end(Stream::Clocks)),
        },
        Action::Read => {
            let subjects = &shell.broker.subjects;
            let read = |message: written::Message<'_>| written::definition(subjects, message);
            return Err(At::ReadDays(shell.broker.newest_written(Stream::Catalog, read)));
        }
        Action::ReadClocks => Heard::Clocks(clocks(shell)),
        // No shard says what it has counted.
        Action::Count(_) => Heard::Counted(Default::default()),
        Action::Weigh(_) => Heard::Weighed(None, None),
        Action::Publish(_, Purpose::Repairs) if shell.breaks(Mutation::SkipRepairs) => Heard::Published(Vec::new()),
        Action::Publish(messages, _) => {
            if messages.iter().any(turns) {
                shell.reach(Place::Turned);
            }
            let sent = messages.into_iter().map(|message| {
                let ticket = send(shell, &message, begun);
                (message, ticket, None)
            });
            return Err(At::Publishing(sent.collect()));
        }
        Action::Await(_) if shell.breaks(Mutation::DayBeforeTenant) => Heard::Arrived,
        Action::Await(arrival) if has_arrived(shell, &arrival) => Heard::Arrived,
        Action::Await(arrival) if shell.strikes(Fault::Crash, GIVE_UP_ONE_IN) => {
            failed(PublishError::NotArrived(arrival.inbox_subject))
        }
        Action::Await(arrival) => return Err(At::Action(Action::Await(arrival).into())),
        Action::Pause(..) => Heard::Paused,
        Action::Done(_) | Action::Failed(_) => unreachable!("the request is over"),
    })
}

fn failed(error: PublishError) -> Heard {
    Heard::Failed(error.into())
}

fn clocks(shell: &Shell) -> Read<(Name, Instant)> {
    let subjects = &shell.broker.subjects;
    shell.broker.newest_written(Stream::Clocks, |message| written::clock(subjects, message))
}

fn has_arrived(shell: &Shell, arrival: &Arrival) -> bool {
    let last = shell.broker.last(Stream::Inbox, &arrival.inbox_subject);
    arrival.is_in_inbox(last.and_then(|message| source_of(message)).map(|source| source.sequence))
        || arrival.is_in_log(shell.broker.log_end(arrival.partition).marks())
}

fn send(shell: &mut Shell, message: &Outgoing, begun: usize) -> Ticket {
    let (stream, mutation) = match message.origin {
        Origin::Catalog => (Stream::Catalog, Some(Mutation::DefineWithoutFence)),
        Origin::Days => (Stream::Days, Some(Mutation::MarkerWithoutFence)),
        Origin::Clocks => (Stream::Clocks, None),
    };
    let mut payload = message.payload.clone();
    if shell.breaks(Mutation::RewriteInterval) && stream == Stream::Days && begun > 1 {
        let mut marker: DayMarker = serde_json::from_slice(&payload).expect("a marker");
        if marker.edge == Edge::Closed {
            marker.day.closes_at = Instant::from_millis(marker.day.closes_at.as_millis() + 1);
        }
        payload = serde_json::to_vec(&marker).expect("a plain value").into();
    }
    let is_fenced = mutation.is_none_or(|mutation| !shell.breaks(mutation));
    shell.broker.send(Append {
        stream,
        subject: message.subject.clone(),
        expected: is_fenced.then_some(message.expected),
        headers: HeaderMap::new(),
        payload,
        tag: None,
    })
}

/// Whether the message defines a view with a late policy from a day on.
fn turns(message: &Outgoing) -> bool {
    let is_turned = |definition| matches!(definition, Definition::View(view) if !view.late_changes.is_empty());
    message.origin == Origin::Catalog && serde_json::from_slice(&message.payload).is_ok_and(is_turned)
}

fn short(request: &Request) -> String {
    let mut text = format!("{request:?}");
    text.truncate(text.char_indices().nth(300).map_or(text.len(), |(at, _)| at));
    text
}
