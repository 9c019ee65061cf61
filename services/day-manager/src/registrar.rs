//! The core of day-manager: requests in, one at a time, and for each what is to be done, one thing after the other. No clock and no
//! I/O: whoever drives it carries out each [`Action`] and hands in what it [`Heard`].
//!
//! **Whatever became of a request, it may be repeated.** The registrar relies on what it knows only while all that it began has
//! ended well; else it reads the streams anew before it does anything. What it finds there as it was asked for is passed
//! over: a definition is compared with the one that is there, a marker has its place in the order of the tenant's days, a
//! clock is stored last and never goes back, a day that is closed by hand is named by its date. And a message whose fate was
//! unclear cannot come late and undo something: each is stored only behind the one that its writer knew.

mod deciding;

use crate::assembly::{Assembled, Read, Streams, assemble, ends, found};
use crate::failure::Failure;
use crate::publication::{Arrival, Known, Origin, Outgoing};
use crate::registry::Registry;
use crate::schedule::change::Counted;
use daybook_contracts::admin::{
    AdminError, Apply, ApplyReply, CatalogueReply, ClockAdvance, ClockReply, CloseDay, CloseReply, OutputsHeld, Remove,
    RemoveReply, StateHeld,
};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::subjects::Subjects;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Activation, Definition, SYSTEM_CLOCK};
use daybook_domain::ids::{Name, Partition, TenantId};
use daybook_domain::time::Instant;
use daybook_runtime::backoff::Backoff;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How often something is begun in all while another day-manager comes in between.
const MAX_ATTEMPTS: u32 = 8;
/// Pauses before something is begun again: all of them together let the other one finish what takes some seconds.
const OVERTAKEN: Backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What day-manager is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// Know what the streams say, and finish what an earlier day-manager left half done.
    Begin,
    /// Publish what is due by the system clock, or a part of it.
    Look,
    Apply(Apply),
    Catalogue,
    Advance(ClockAdvance),
    Close(CloseDay),
    Remove(Remove),
    /// These views have been backfilled in these partitions.
    Activate(Vec<(Partition, Activation)>),
}

impl Request {
    /// Whether it comes again by itself, and needs no clock but the system's.
    fn is_tick(&self) -> bool {
        matches!(self, Self::Begin | Self::Look)
    }
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    Begun,
    /// How many markers were published.
    Looked(u64),
    Applied(ApplyReply),
    Catalogue(CatalogueReply),
    Advanced(ClockReply),
    Closed(CloseReply),
    Removed(RemoveReply),
    /// Those that were not published before.
    Activated(Vec<(Partition, Activation)>),
    /// It cannot be done as it was asked for. Nothing was.
    Refused(AdminError),
}

/// The next thing to do for a request.
#[derive(Debug)]
pub enum Action {
    /// See where CATALOG and DAYS end, and CLOCKS if these are wanted.
    Look {
        clocks: bool,
    },
    /// Read CATALOG, DAYS and CLOCKS.
    Read,
    ReadClocks,
    /// Ask the shards what they have counted of these tenants.
    Count(BTreeSet<TenantId>),
    /// Ask what is kept of a tenant.
    Weigh(TenantId),
    /// Publish messages on different subjects of one stream, many at once.
    Publish(Vec<Outgoing>, Purpose),
    /// Wait until the message is in INBOX or in the log.
    Await(Arrival),
    /// Wait before it is begun again, for another day-manager came in between.
    Pause(Duration, Failure),
    Done(Reply),
    /// Nothing is known of what became of the request.
    Failed(Failure),
}

/// What messages are published for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Definitions that did not reach every partition.
    Repairs,
    Definitions,
    /// So many of days that open and close by a clock.
    Markers {
        clock: Name,
        opened: u64,
        closed: u64,
    },
    Activations,
    Clock,
}

/// What came of an action.
#[derive(Debug)]
pub enum Heard {
    /// The last sequences of the streams.
    Ends {
        catalog: u64,
        days: u64,
        clocks: Option<u64>,
    },
    Read(Streams),
    Clocks(Read<(Name, Instant)>),
    Counted(BTreeMap<TenantId, Counted>),
    Weighed(Option<StateHeld>, Option<OutputsHeld>),
    /// At which sequences, in the order of the messages.
    Published(Vec<u64>),
    Arrived,
    Paused,
    Failed(Failure),
}

/// The core.
pub struct Registrar {
    subjects: Subjects,
    partitions: u16,
    /// Markers published in one go.
    markers_at_once: usize,
    registry: Registry,
    known: Known,
    /// Whether the two are what the streams said when they were last looked at: not while something is under way, nor after
    /// it has failed.
    is_certain: bool,
    /// What an earlier day-manager published and nobody has seen in INBOX yet: no answer is given before.
    unarrived: Vec<Arrival>,
    job: Option<Job>,
    troubles: Vec<String>,
}

/// A request under way.
struct Job {
    request: Arc<Request>,
    attempts: u32,
    /// Before the next attempts.
    pauses: Backoff,
    work: VecDeque<Work>,
    /// What is being waited for.
    asked: Option<Asked>,
    /// The last message that was published, until it is seen in INBOX.
    last: Option<Arrival>,
    /// How many markers were published.
    markers: u64,
    counted: Option<BTreeMap<TenantId, Counted>>,
    weighed: Option<(Option<StateHeld>, Option<OutputsHeld>)>,
}

/// A step of a request.
enum Work {
    /// See whether another day-manager has published anything.
    Refresh,
    Decide,
    Repair(Vec<(Partition, Definition)>),
    Define(Vec<Definition>),
    Mark(Name, Vec<DayMarker>),
    Activate(Vec<(Partition, Activation)>),
    SetClock(Name, Instant),
    /// See what earlier day-managers published come through; without days if `only_catalog`.
    AwaitEarlier {
        only_catalog: bool,
    },
    /// See the last message come through.
    AwaitLast,
    /// Publish further days of the calendars that need it.
    Extend(Name, Instant),
    /// Publish the calendars that lack the offsets of local clocks.
    AddOffsets,
    /// Publish markers that are due, once or until there are none.
    PublishDue {
        clock: Name,
        now: Instant,
        is_repeated: bool,
    },
    /// End a day at `now`, if that is asked for, and then close it.
    EndDay(Instant),
    CloseDay(Instant),
    /// Nothing is left but the answer.
    Finish(Box<Finish>),
}

/// What is left to be answered.
enum Finish {
    With(Reply),
    Looked,
    Advanced(Name, Instant),
    Closed { closed: DayMarker, opened: Option<DayMarker> },
}

impl From<Finish> for Work {
    fn from(finish: Finish) -> Self {
        Self::Finish(Box::new(finish))
    }
}

/// What an action is for.
enum Asked {
    Ends,
    Read,
    Clocks,
    Count,
    Weigh,
    Publish(Vec<Outgoing>, Then),
    Earlier(usize),
    Last,
    Pause,
}

/// What happens once messages are published.
enum Then {
    /// They were repairs.
    Repaired,
    Adopt(Vec<Definition>),
    Observe(Vec<DayMarker>),
    Activate(Vec<(Partition, Activation)>),
    SetClock(Name, Instant),
}

pub(crate) fn system() -> Name {
    Name::new(SYSTEM_CLOCK).expect("a valid name")
}

impl Job {
    fn new(request: Arc<Request>) -> Self {
        Self {
            request,
            attempts: 1,
            pauses: OVERTAKEN,
            work: [Work::Refresh, Work::Decide].into(),
            asked: None,
            last: None,
            markers: 0,
            counted: None,
            weighed: None,
        }
    }

    /// The same from the beginning.
    fn again(&mut self) {
        let (attempts, pauses) = (self.attempts + 1, self.pauses);
        *self = Self { attempts, pauses, ..Self::new(self.request.clone()) };
    }

    /// Puts work before what is there.
    fn first(&mut self, work: impl IntoIterator<Item = Work, IntoIter: DoubleEndedIterator>) {
        work.into_iter().rev().for_each(|work| self.work.push_front(work));
    }

    fn ask(&mut self, asked: Asked, action: Action) -> Option<Action> {
        self.asked = Some(asked);
        Some(action)
    }
}

/// Definitions in their order, those of one sort together.
fn define(definitions: &[Definition]) -> impl DoubleEndedIterator<Item = Work> {
    let sort = |one: &Definition, other: &Definition| std::mem::discriminant(one) == std::mem::discriminant(other);
    definitions.chunk_by(sort).map(|group| Work::Define(group.to_vec()))
}

impl Registrar {
    /// A registrar that knows nothing yet, and publishes at most so many markers in one go.
    pub fn new(subjects: Subjects, partitions: u16, markers_at_once: usize) -> Self {
        Self {
            known: Known::new(subjects.clone(), partitions),
            subjects,
            partitions,
            markers_at_once,
            registry: Registry::default(),
            is_certain: false,
            unarrived: Vec::new(),
            job: None,
            troubles: Vec::new(),
        }
    }

    /// What it knows.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What was found and cannot be used, since this was asked last.
    pub fn take_troubles(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles)
    }

    /// Takes a request; none is under way. `now` is the system clock.
    pub fn ask(&mut self, request: impl Into<Arc<Request>>, now: Instant) -> Action {
        assert!(self.job.is_none(), "one request at a time");
        self.proceed(Job::new(request.into()), now)
    }

    /// Takes what came of the action.
    pub fn heard(&mut self, heard: Heard, now: Instant) -> Action {
        let mut job = self.job.take().expect("a request is under way");
        let asked = job.asked.take().expect("an action is under way");
        match self.take(&mut job, asked, heard) {
            Ok(None) => self.proceed(job, now),
            Ok(Some(action)) => {
                self.job = Some(job);
                action
            }
            Err(failure) => self.failed(job, failure),
        }
    }

    /// Works until there is something to do.
    fn proceed(&mut self, mut job: Job, now: Instant) -> Action {
        loop {
            let work = job.work.pop_front().expect("the last work is the answer");
            match self.work(&mut job, work, now) {
                Ok(None) => {}
                Ok(Some(Action::Done(reply))) => return Action::Done(reply),
                Ok(Some(action)) => {
                    self.job = Some(job);
                    return action;
                }
                Err(failure) => return self.failed(job, failure),
            }
        }
    }

    /// Where another day-manager comes in between, the request is begun again: what of it is published already is passed over.
    fn failed(&mut self, mut job: Job, failure: Failure) -> Action {
        if job.attempts >= MAX_ATTEMPTS || !failure.is_conflict() {
            return Action::Failed(failure);
        }
        let pause = job.pauses.next_pause();
        job.again();
        job.asked = Some(Asked::Pause);
        self.job = Some(job);
        Action::Pause(pause, failure)
    }

    fn work(&mut self, job: &mut Job, work: Work, now: Instant) -> Result<Option<Action>, Failure> {
        Ok(match work {
            Work::Refresh if self.is_certain => {
                let clocks = !job.request.is_tick();
                job.ask(Asked::Ends, Action::Look { clocks })
            }
            Work::Refresh => job.ask(Asked::Read, Action::Read),
            Work::Decide => {
                self.is_certain = false;
                self.decide(job, now)
            }
            Work::Repair(repairs) => {
                let messages = repairs.iter().map(|(partition, it)| self.known.definition_for(*partition, it));
                publish(job, messages.collect(), Purpose::Repairs, Then::Repaired)
            }
            Work::Define(definitions) => {
                let messages = definitions.iter().flat_map(|definition| self.known.definition(definition)).collect();
                publish(job, messages, Purpose::Definitions, Then::Adopt(definitions))
            }
            Work::Mark(clock, markers) => {
                let messages = markers.iter().map(|marker| self.known.marker(marker)).collect();
                let opened = markers.iter().filter(|marker| marker.edge == Edge::Opened).count() as u64;
                let closed = markers.len() as u64 - opened;
                publish(job, messages, Purpose::Markers { clock, opened, closed }, Then::Observe(markers))
            }
            Work::Activate(ready) => {
                let message = |(partition, activation): &(Partition, Activation)| {
                    self.known.definition_for(*partition, &Definition::Activation(activation.clone()))
                };
                let messages = ready.iter().map(message).collect();
                publish(job, messages, Purpose::Activations, Then::Activate(ready))
            }
            Work::SetClock(clock, now) => {
                let message = self.known.clock(&clock, now);
                publish(job, vec![message], Purpose::Clock, Then::SetClock(clock, now))
            }
            Work::AwaitEarlier { only_catalog } => {
                let is_wanted = |arrival: &Arrival| !only_catalog || arrival.origin == Origin::Catalog;
                let Some(index) = self.unarrived.iter().position(is_wanted) else { return Ok(None) };
                job.first([Work::AwaitEarlier { only_catalog }]);
                job.ask(Asked::Earlier(index), Action::Await(self.unarrived[index].clone()))
            }
            Work::AwaitLast => {
                let Some(last) = job.last.take() else { return Ok(None) };
                job.ask(Asked::Last, Action::Await(last))
            }
            Work::Extend(clock, now) => self.publish_tables(job, self.registry.extensions(&clock, now)),
            Work::AddOffsets => self.publish_tables(job, self.registry.with_offsets()),
            Work::PublishDue { clock, now, is_repeated } => {
                let due = self.registry.schedule.due(&clock, now, self.markers_at_once);
                if !due.is_empty() {
                    job.markers += due.len() as u64;
                    let more = is_repeated.then(|| Work::PublishDue { clock: clock.clone(), now, is_repeated });
                    job.first([Some(Work::Mark(clock, due)), more].into_iter().flatten());
                }
                None
            }
            Work::EndDay(now) => self.end_day(job, now),
            Work::CloseDay(now) => self.close_day(job, now),
            Work::Finish(finish) => {
                self.is_certain = true;
                Some(Action::Done(self.finish(job, *finish)))
            }
        })
    }

    /// Publishes newer revisions of calendars, and waits until INBOX has them.
    fn publish_tables(
        &mut self,
        job: &mut Job,
        (tables, troubles): (Vec<CalendarTable>, Vec<String>),
    ) -> Option<Action> {
        self.troubles.extend(troubles);
        if !tables.is_empty() {
            job.first([Work::Define(tables.into_iter().map(Definition::Calendar).collect()), Work::AwaitLast]);
        }
        None
    }

    fn take(&mut self, job: &mut Job, asked: Asked, heard: Heard) -> Result<Option<Action>, Failure> {
        match (asked, heard) {
            // A broker that does not say is asked again with the next tick.
            (Asked::Ends, Heard::Failed(_)) if job.request.is_tick() => {}
            (_, Heard::Failed(failure)) => return Err(failure),
            (Asked::Ends, Heard::Ends { catalog, days, clocks }) => {
                if (catalog, days) != (self.known.catalog_end, self.known.days_end) {
                    self.is_certain = false;
                    return Ok(job.ask(Asked::Read, Action::Read));
                }
                if clocks.is_some_and(|clocks| clocks != self.known.clocks_end) {
                    return Ok(job.ask(Asked::Clocks, Action::ReadClocks));
                }
            }
            (Asked::Read, Heard::Read(streams)) => self.begin(job, streams),
            (Asked::Clocks, Heard::Clocks(clocks)) => {
                self.known.read(Origin::Clocks, ends(&clocks));
                self.set_clocks(found(clocks));
            }
            (Asked::Count, Heard::Counted(counted)) => job.counted = Some(counted),
            (Asked::Weigh, Heard::Weighed(state, stored)) => job.weighed = Some((state, stored)),
            (Asked::Publish(messages, then), Heard::Published(sequences)) => {
                job.last = self.known.published(messages, sequences)?.or(job.last.take());
                self.published(job, then)?;
            }
            (Asked::Earlier(index), Heard::Arrived) => drop(self.unarrived.remove(index)),
            (Asked::Last, Heard::Arrived) | (Asked::Pause, Heard::Paused) => {}
            (_, heard) => unreachable!("{heard:?} is no answer to what was asked"),
        }
        Ok(None)
    }

    /// Takes what the streams say, and finishes what an earlier day-manager left half done.
    fn begin(&mut self, job: &mut Job, streams: Streams) {
        let Streams { catalog, days, clocks } = streams;
        self.known = Known::new(self.subjects.clone(), self.partitions);
        let last = [self.known.read(Origin::Catalog, ends(&catalog)), self.known.read(Origin::Days, ends(&days))];
        self.unarrived = last.into_iter().flatten().collect();
        self.known.read(Origin::Clocks, ends(&clocks));
        let stood = std::mem::take(&mut self.registry.clocks);
        let clocks = found(clocks).into_iter().collect();
        let assembled = assemble(found(catalog), &found(days), clocks, self.partitions);
        let Assembled { registry, repairs, troubles } = assembled;
        self.registry = registry;
        self.troubles.extend(troubles);
        self.set_clocks(stood);
        // Definitions and days come into INBOX from two streams: no day is published before its tenant is there.
        job.first([Work::AwaitEarlier { only_catalog: true }]);
        if !repairs.is_empty() {
            job.first([Work::Repair(repairs)]);
        }
    }

    /// Sets clocks that do not stand later already. None goes back, also not where someone else has written in the place of where it
    /// stands.
    fn set_clocks(&mut self, clocks: impl IntoIterator<Item = (Name, Instant)>) {
        for (name, time) in clocks {
            self.registry.clocks.entry(name).and_modify(|stands| *stands = time.max(*stands)).or_insert(time);
        }
    }

    fn published(&mut self, job: &mut Job, then: Then) -> Result<(), Failure> {
        match then {
            Then::Repaired => self.unarrived.extend(job.last.take()),
            Then::Adopt(definitions) => {
                for definition in definitions {
                    self.registry.adopt(definition).map_err(Failure::Unusable)?;
                }
            }
            Then::Observe(markers) => {
                for marker in &markers {
                    self.registry.schedule.observe(marker);
                }
            }
            Then::Activate(ready) => {
                for (partition, activation) in &ready {
                    self.registry.activate(*partition, activation);
                }
            }
            Then::SetClock(clock, now) => drop(self.registry.clocks.insert(clock, now)),
        }
        Ok(())
    }
}

fn publish(job: &mut Job, messages: Vec<Outgoing>, purpose: Purpose, then: Then) -> Option<Action> {
    if messages.is_empty() {
        return None;
    }
    job.ask(Asked::Publish(messages.clone(), then), Action::Publish(messages, purpose))
}

#[cfg(test)]
mod tests;
