//! A day-manager: its actor as steps around the real registry, schedule and judgement of backfills. What `manager`,
//! `publishing` and `loading` do with input and output is written once more; what follows from the streams is worked
//! out by `loading::assemble` itself.

use crate::broker::{Answer, Append, Stream, Ticket, source_of};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::{Place, Shell};
use async_nats::HeaderMap;
use bytes::Bytes;
use day_manager::activation::Backfills;
use day_manager::loading::{Assembled, assemble};
use day_manager::registry::Registry;
use daybook_contracts::admin::{Apply, ClockAdvance, CloseDay, Target};
use daybook_contracts::ask::ViewProgress;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_domain::catalogue::{Activation, Definition, SYSTEM_CLOCK};
use daybook_domain::ids::{Name, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::append::Newest;
use daybook_runtime::written;
use std::collections::{BTreeMap, VecDeque};

/// Markers published in one go; small, so that runs have several goes.
const MARKERS_AT_ONCE: usize = 3;
/// How often a wait for a message to arrive is given up: once in so many looks.
const GIVE_UP_ONE_IN: usize = 200;

/// What a day-manager is asked.
#[derive(Clone, Debug)]
pub enum Request {
    Apply(Apply),
    Advance(ClockAdvance),
    Close(CloseDay),
    Remove(Target),
    Activate(Vec<(Partition, Activation)>),
}

/// A day-manager.
pub struct Manager {
    phase: Phase,
    /// Asked and not answered yet; lost with a crash.
    request: Option<Request>,
    /// How many requests were answered.
    pub answered: usize,
    /// How often it began.
    begun: usize,
}

enum Phase {
    Down,
    ReadDays { catalog: Read<(Partition, Definition)> },
    ReadClocks { catalog: Read<(Partition, Definition)>, days: Read<DayMarker> },
    Running(Box<Running>),
}

/// What was read of a stream, by subject.
type Read<T> = Vec<(String, Newest<T>)>;

struct Running {
    registry: Registry,
    backfills: Backfills,
    ends: BTreeMap<String, u64>,
    catalog_end: u64,
    days_end: u64,
    /// Published by an earlier one, and not seen in INBOX yet.
    unarrived: Vec<Arrival>,
    /// The last message of the request under way.
    last: Option<Arrival>,
    work: VecDeque<Work>,
}

/// How to see that a message has come through to INBOX.
#[derive(Clone, Debug)]
struct Arrival {
    sequence: u64,
    partition: Partition,
    inbox_subject: String,
    of_catalog: bool,
}

struct Outgoing {
    stream: Stream,
    subject: String,
    payload: Bytes,
}

/// What happens once messages are published.
enum Then {
    Adopt(Vec<Definition>),
    Observe(Vec<DayMarker>),
    Activated(Vec<(Partition, Activation)>),
    SetClock(Name, Instant),
    /// They were repairs.
    Repaired,
}

/// One thing to do.
enum Work {
    Publish(Vec<Outgoing>, Then),
    Wait(Vec<(Ticket, Outgoing)>, Vec<(u64, Outgoing)>, Then),
    /// Definitions of an earlier day-manager, or everything of one.
    ArriveEarlier {
        only_catalog: bool,
    },
    ArriveLast,
    Extend(Name, Instant),
    /// With whether it is repeated until nothing is due.
    PublishDue(Name, Instant, bool),
    Close(CloseDay, Instant),
    Refresh,
    Decide,
    Done,
}

/// It must begin again with what the streams say.
struct Ended(&'static str);

impl Manager {
    pub fn new() -> Self {
        Self { phase: Phase::Down, request: None, answered: 0, begun: 0 }
    }

    /// Ends; nothing is left but what is stored.
    pub fn crash(&mut self) {
        self.phase = Phase::Down;
        self.request = None;
    }

    /// Whether a request can be put.
    pub fn is_free(&self) -> bool {
        self.request.is_none() && matches!(&self.phase, Phase::Running(running) if running.work.is_empty())
    }

    /// Whether it has nothing to do, and nothing is due at `now`.
    pub fn is_at_rest(&self, now: Instant) -> bool {
        let Phase::Running(running) = &self.phase else { return false };
        let is_idle =
            running.work.iter().all(|work| matches!(work, Work::Extend(..) | Work::Refresh | Work::PublishDue(..)));
        let next = running.registry.schedule.next_deadline(&system());
        self.request.is_none() && is_idle && next.is_none_or(|due| due > now)
    }

    /// Asks; the answer is counted in `answered`.
    pub fn ask(&mut self, request: Request) {
        self.request = Some(request);
        if let Phase::Running(running) = &mut self.phase {
            running.last = None;
            running.work.extend([Work::Refresh, Work::Decide]);
        }
    }

    /// What it is at, to tell why it is not at rest.
    pub fn at(&self) -> String {
        let Phase::Running(running) = &self.phase else { return "it is down".to_owned() };
        let work = match running.work.front() {
            None => "nothing".to_owned(),
            Some(Work::Publish(..)) => "publishing".to_owned(),
            Some(Work::Wait(..)) => "waiting for the broker".to_owned(),
            Some(Work::ArriveEarlier { .. }) => format!("waiting for {:?} to arrive", running.unarrived),
            Some(Work::ArriveLast) => format!("waiting for {:?} to arrive", running.last),
            Some(_) => "working".to_owned(),
        };
        format!("{work}, {:?} due next, asked {:?}", running.registry.schedule.next_deadline(&system()), self.request)
    }

    /// The registry, while it runs.
    pub fn registry(&self) -> Option<&Registry> {
        match &self.phase {
            Phase::Running(running) => Some(&running.registry),
            _ => None,
        }
    }

    /// What a shard's answer makes it activate.
    pub fn hear(&mut self, partition: Partition, views: &[ViewProgress]) {
        let Phase::Running(running) = &mut self.phase else { return };
        running.backfills.define(&running.registry.revisions());
        let ready = running.backfills.answered(partition, views);
        if !ready.is_empty() {
            self.ask(Request::Activate(ready.into_iter().map(|activation| (partition, activation)).collect()));
        }
    }

    /// One step.
    pub fn step(&mut self, shell: &mut Shell) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Down) {
            Phase::Down => {
                let subjects = &shell.broker.subjects;
                let catalog =
                    shell.broker.newest_written(Stream::Catalog, |message| written::definition(subjects, message));
                Phase::ReadDays { catalog }
            }
            Phase::ReadDays { catalog } => {
                let subjects = &shell.broker.subjects;
                let days = shell.broker.newest_written(Stream::Days, |message| written::marker(subjects, message));
                Phase::ReadClocks { catalog, days }
            }
            Phase::ReadClocks { catalog, days } => {
                self.begun += 1;
                let subjects = &shell.broker.subjects;
                let clocks = shell.broker.newest_written(Stream::Clocks, |message| written::clock(subjects, message));
                shell.trace.note(|| "day-manager: begins".to_owned());
                let mut running = begin(shell, catalog, days, clocks);
                if self.request.is_some() {
                    running.work.push_back(Work::Decide);
                }
                Phase::Running(Box::new(running))
            }
            Phase::Running(mut running) => match running.step(shell, &mut self.request, self.begun) {
                Ok(Outcome::Goes) => Phase::Running(running),
                Ok(Outcome::Answered) => {
                    self.request = None;
                    self.answered += 1;
                    Phase::Running(running)
                }
                // The request is kept: it is decided on what is read now.
                Ok(Outcome::Stale) => Phase::Down,
                Err(Ended(why)) => {
                    shell.trace.note(|| format!("day-manager: ends, {why}"));
                    self.request = None;
                    Phase::Down
                }
            },
        };
    }
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

enum Outcome {
    Goes,
    Answered,
    Stale,
}

fn system() -> Name {
    Name::new(SYSTEM_CLOCK).expect("a valid name")
}

/// What was read, without what is foreign.
fn found<T>(read: Read<T>) -> Vec<T> {
    read.into_iter().filter_map(|(_, newest)| Some(newest.found?.value)).collect()
}

fn begin(
    shell: &Shell,
    catalog: Read<(Partition, Definition)>,
    days: Read<DayMarker>,
    clocks: Read<(Name, Instant)>,
) -> Running {
    fn ends<T>(read: &Read<T>) -> Vec<(String, u64)> {
        read.iter().map(|(subject, newest)| (subject.clone(), newest.end)).collect()
    }
    let partitions = shell.broker.partitions;
    let (catalog_ends, days_ends, clocks_ends) = (ends(&catalog), ends(&days), ends(&clocks));
    let told = if shell.breaks(Mutation::ForgetDays) { Vec::new() } else { found(days) };
    let Assembled { registry, repairs } =
        assemble(found(catalog), &told, found(clocks).into_iter().collect(), partitions);
    let last = |ends: &[(String, u64)], stream| {
        ends.last().map(|(subject, sequence)| arrival(shell, stream, subject, *sequence))
    };
    let end = |ends: &[(String, u64)]| ends.last().map_or(0, |(_, sequence)| *sequence);
    let unarrived =
        [last(&catalog_ends, Stream::Catalog), last(&days_ends, Stream::Days)].into_iter().flatten().collect();
    let (catalog_end, days_end) = (end(&catalog_ends), end(&days_ends));
    let ends = catalog_ends.into_iter().chain(days_ends).chain(clocks_ends).collect();
    let mut work = VecDeque::new();
    if !repairs.is_empty() && !shell.breaks(Mutation::SkipRepairs) {
        let messages = repairs.iter().map(|(partition, definition)| definition_for(shell, *partition, definition));
        work.push_back(Work::Publish(messages.collect(), Then::Repaired));
    }
    if !shell.breaks(Mutation::DayBeforeTenant) {
        work.push_back(Work::ArriveEarlier { only_catalog: true });
    }
    Running {
        registry,
        backfills: Backfills::new(partitions),
        ends,
        catalog_end,
        days_end,
        unarrived,
        last: None,
        work,
    }
}

fn arrival(shell: &Shell, stream: Stream, subject: &str, sequence: u64) -> Arrival {
    let subjects = &shell.broker.subjects;
    let tokens: Vec<&str> = subject.split('.').collect();
    let (partition, inbox_subject) = match tokens[2..] {
        [tenant, edge] => {
            let partition = Partition::of(tenant, shell.broker.partitions);
            (partition, subjects.inbox_day(partition, tenant, edge))
        }
        [partition, what, name] => {
            let partition = Partition(partition.parse().expect("a partition's number"));
            (partition, subjects.inbox_catalog(partition, what, name))
        }
        _ => unreachable!("DAYS and CATALOG take no other subjects"),
    };
    Arrival { sequence, partition, inbox_subject, of_catalog: stream == Stream::Catalog }
}

fn definition_for(shell: &Shell, partition: Partition, definition: &Definition) -> Outgoing {
    let (what, name) = (definition.what(), definition.name());
    let payload = serde_json::to_vec(definition).expect("a plain value").into();
    Outgoing { stream: Stream::Catalog, subject: shell.broker.subjects.catalog(partition, what, name), payload }
}

fn definition(shell: &Shell, definition: &Definition) -> Vec<Outgoing> {
    let count = shell.broker.partitions;
    match definition.tenant() {
        Some(tenant) => vec![definition_for(shell, Partition::of(tenant.as_str(), count), definition)],
        None => Partition::all(count).map(|partition| definition_for(shell, partition, definition)).collect(),
    }
}

impl Running {
    fn step(&mut self, shell: &mut Shell, request: &mut Option<Request>, begun: usize) -> Result<Outcome, Ended> {
        let Some(work) = self.work.pop_front() else {
            let now = shell.now;
            self.work.extend([Work::Refresh, Work::Extend(system(), now), Work::PublishDue(system(), now, false)]);
            return Ok(Outcome::Goes);
        };
        match work {
            Work::Publish(messages, then) => {
                let sent = messages.into_iter().map(|message| (self.send(shell, &message, begun), message)).collect();
                self.work.push_front(Work::Wait(sent, Vec::new(), then));
            }
            Work::Wait(mut sent, mut stored, then) => {
                let mut waits = Vec::new();
                for (ticket, message) in sent.drain(..) {
                    match shell.broker.answer(ticket) {
                        None => waits.push((ticket, message)),
                        Some(Answer::Stored(sequence)) => stored.push((sequence, message)),
                        Some(Answer::Conflict) => return Err(Ended("another one published")),
                        Some(Answer::Unclear) => return Err(Ended("the fate of a message is unclear")),
                    }
                }
                if waits.is_empty() {
                    self.published(shell, stored, then)?;
                } else {
                    self.work.push_front(Work::Wait(waits, stored, then));
                }
            }
            Work::ArriveEarlier { only_catalog } => {
                let wanted = |arrival: &Arrival| arrival.of_catalog || !only_catalog;
                if let Some(index) = self.unarrived.iter().position(wanted) {
                    if stands_in_inbox(shell, &self.unarrived[index]) {
                        self.unarrived.remove(index);
                    } else {
                        give_up(shell)?;
                    }
                    self.work.push_front(Work::ArriveEarlier { only_catalog });
                }
            }
            Work::ArriveLast => {
                if let Some(last) = &self.last
                    && !shell.breaks(Mutation::DayBeforeTenant)
                    && !stands_in_inbox(shell, last)
                {
                    give_up(shell)?;
                    self.work.push_front(Work::ArriveLast);
                }
            }
            Work::Extend(clock, now) => {
                let tables = self.registry.extensions(&clock, now);
                if !tables.is_empty() {
                    self.last = None;
                    self.work.push_front(Work::ArriveLast);
                    self.publish_definitions(shell, tables.into_iter().map(Definition::Calendar).collect());
                }
            }
            Work::PublishDue(clock, now, repeat) => {
                let due = self.registry.schedule.due(&clock, now, MARKERS_AT_ONCE);
                if !due.is_empty() {
                    if repeat {
                        self.work.push_front(Work::PublishDue(clock, now, repeat));
                    }
                    self.publish_markers(shell, due);
                }
            }
            Work::Refresh => {
                let ends = (shell.broker.end(Stream::Catalog), shell.broker.end(Stream::Days));
                if ends != (self.catalog_end, self.days_end) {
                    return Ok(Outcome::Stale);
                }
            }
            Work::Decide => {
                let Some(request) = request.clone() else { return Ok(Outcome::Goes) };
                shell.trace.note(|| format!("day-manager: {}", short(&request)));
                self.decide(shell, request);
            }
            Work::Close(CloseDay { tenant, date, .. }, now) => {
                if let Ok(closing) = self.registry.schedule.close_by_hand(&tenant, date, now) {
                    // One after the other: their order is what they mean.
                    for marker in closing.into_markers().into_iter().rev() {
                        self.publish_markers(shell, vec![marker]);
                    }
                }
            }
            Work::Done => return Ok(Outcome::Answered),
        }
        Ok(Outcome::Goes)
    }

    fn send(&mut self, shell: &mut Shell, message: &Outgoing, begun: usize) -> Ticket {
        let is_marker = message.stream == Stream::Days;
        let without_fence = shell.breaks(Mutation::MarkerWithoutFence) && is_marker;
        let mut payload = message.payload.clone();
        if shell.breaks(Mutation::RewriteInterval) && is_marker && begun > 1 {
            let mut marker: DayMarker = serde_json::from_slice(&payload).expect("a marker");
            if marker.edge == Edge::Closed {
                marker.day.closes_at = Instant::from_millis(marker.day.closes_at.as_millis() + 1);
            }
            payload = serde_json::to_vec(&marker).expect("a plain value").into();
        }
        shell.broker.send(Append {
            stream: message.stream,
            subject: message.subject.clone(),
            expected: (!without_fence).then(|| self.ends.get(&message.subject).copied().unwrap_or(0)),
            headers: HeaderMap::new(),
            payload,
            tag: None,
        })
    }

    /// Everything of one publication is stored.
    fn published(&mut self, shell: &Shell, stored: Vec<(u64, Outgoing)>, then: Then) -> Result<(), Ended> {
        let count = stored.len() as u64;
        let Some((end, last)) = stored.iter().max_by_key(|(sequence, _)| *sequence) else { return Ok(()) };
        if last.stream != Stream::Clocks {
            let known = if last.stream == Stream::Catalog { &mut self.catalog_end } else { &mut self.days_end };
            if *end != *known + count && !shell.breaks(Mutation::MarkerWithoutFence) {
                return Err(Ended("another one published in between"));
            }
            *known = *end;
            self.last = Some(arrival(shell, last.stream, &last.subject, *end));
        }
        self.ends.extend(stored.into_iter().map(|(sequence, message)| (message.subject, sequence)));
        match then {
            Then::Adopt(definitions) => {
                for definition in definitions {
                    self.registry.adopt(definition).map_err(|_| Ended("a definition cannot be used"))?;
                }
            }
            Then::Observe(markers) => {
                for marker in &markers {
                    self.registry.schedule.observe(marker);
                }
            }
            Then::Activated(activations) => {
                for (partition, activation) in &activations {
                    self.registry.activate(*partition, activation);
                }
            }
            Then::SetClock(clock, now) => {
                self.registry.clocks.insert(clock, now);
            }
            Then::Repaired => self.unarrived.extend(self.last.take()),
        }
        Ok(())
    }

    /// Puts the work of publishing definitions first, those of one sort together.
    fn publish_definitions(&mut self, shell: &Shell, definitions: Vec<Definition>) {
        let sort = |one: &Definition, other: &Definition| std::mem::discriminant(one) == std::mem::discriminant(other);
        for group in definitions.chunk_by(sort).rev() {
            let messages = group.iter().flat_map(|each| definition(shell, each)).collect();
            self.work.push_front(Work::Publish(messages, Then::Adopt(group.to_vec())));
        }
    }

    fn publish_markers(&mut self, shell: &Shell, markers: Vec<DayMarker>) {
        let subjects = &shell.broker.subjects;
        let message = |marker: &DayMarker| Outgoing {
            stream: Stream::Days,
            subject: match marker.edge {
                Edge::Opened => subjects.day_opened(marker.tenant.as_str()),
                Edge::Closed => subjects.day_closed(marker.tenant.as_str()),
            },
            payload: serde_json::to_vec(marker).expect("a plain value").into(),
        };
        self.work.push_front(Work::Publish(markers.iter().map(message).collect(), Then::Observe(markers)));
    }

    fn decide(&mut self, shell: &mut Shell, request: Request) {
        self.last = None;
        let rest = [Work::ArriveEarlier { only_catalog: false }, Work::ArriveLast, Work::Done];
        match request {
            Request::Apply(apply) => match self.registry.check(&apply, &BTreeMap::new(), shell.now) {
                Ok(change) => {
                    let is_turned = |definition: &Definition| matches!(definition, Definition::View(view) if !view.late_changes.is_empty());
                    if change.definitions.iter().any(is_turned) {
                        shell.reach(Place::Turned);
                    }
                    self.work = rest.into();
                    self.publish_definitions(shell, change.definitions);
                }
                Err(_) => self.work = [Work::Done].into(),
            },
            Request::Remove(target) => match self.registry.plan_removal(&target) {
                Ok(plan) => {
                    self.work = rest.into();
                    self.publish_definitions(shell, plan.definitions);
                }
                Err(_) => self.work = [Work::Done].into(),
            },
            Request::Advance(ClockAdvance { clock, advance_to }) => {
                let stood = self.registry.clocks.get(&clock).copied();
                let now = stood.map_or(advance_to, |stood| stood.max(advance_to));
                self.work = rest.into();
                if stood != Some(now) {
                    let subject = shell.broker.subjects.clock(clock.as_str());
                    let message = Outgoing { stream: Stream::Clocks, subject, payload: now.to_string().into() };
                    // Only once everything due by then is published and has come through.
                    self.work.insert(2, Work::Publish(vec![message], Then::SetClock(clock.clone(), now)));
                }
                self.work.push_front(Work::PublishDue(clock.clone(), now, true));
                self.work.push_front(Work::Extend(clock, now));
            }
            Request::Close(close) => {
                let CloseDay { tenant, date, boundary } = close.clone();
                self.work = [Work::Done].into();
                let Some(plan) = self.registry.schedule.get(&tenant) else { return };
                let clock = plan.tenant().clock.clone();
                let Some(now) = self.registry.clock_now(&clock, shell.now) else { return };
                let may_close = self.registry.schedule.close_by_hand(&tenant, date, now).is_ok();
                let boundary = match boundary.then(|| self.registry.boundary(&tenant, date, now)) {
                    // Refused.
                    Some(Err(_)) => return,
                    Some(Ok(found)) => found.filter(|_| may_close),
                    None => None,
                };
                self.work = rest.into();
                self.work.push_front(Work::Close(close, now));
                if let Some(boundary) = boundary {
                    shell.reach(Place::Ended);
                    self.work.push_front(Work::ArriveLast);
                    self.publish_definitions(shell, vec![boundary]);
                }
                self.work.push_front(Work::Extend(clock, now));
            }
            Request::Activate(ready) => {
                let lacks =
                    |(partition, activation): &(Partition, Activation)| self.registry.lacks(*partition, activation);
                let wanted: Vec<_> = ready.into_iter().filter(lacks).collect();
                let message = |(partition, activation): &(Partition, Activation)| {
                    definition_for(shell, *partition, &Definition::Activation(activation.clone()))
                };
                let messages = wanted.iter().map(message).collect();
                self.work = [Work::Publish(messages, Then::Activated(wanted)), Work::Done].into();
            }
        }
    }
}

fn short(request: &Request) -> String {
    let mut text = format!("{request:?}");
    text.truncate(text.char_indices().nth(300).map_or(text.len(), |(at, _)| at));
    text
}

fn give_up(shell: &mut Shell) -> Result<(), Ended> {
    match shell.strikes(Fault::Crash, GIVE_UP_ONE_IN) {
        true => Err(Ended("a message did not come through to INBOX in time")),
        false => Ok(()),
    }
}

fn stands_in_inbox(shell: &Shell, arrival: &Arrival) -> bool {
    let last = shell.broker.last(Stream::Inbox, &arrival.inbox_subject);
    if last.and_then(|message| source_of(message)).is_some_and(|source| source.sequence >= arrival.sequence) {
        return true;
    }
    let marks = shell.broker.log_end(arrival.partition).marks();
    let mark = if arrival.of_catalog { marks.catalog } else { marks.days };
    mark >= arrival.sequence
}
