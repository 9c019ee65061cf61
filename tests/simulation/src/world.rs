//! A run: the actors, and whose turn it is.

use crate::broker::{Broker, Stream};
use crate::catalogue::Catalogue;
use crate::checker::Checker;
use crate::fault::{Fault, Faults};
use crate::manager::{Manager, Request};
use crate::owner::{Owner, Trimmer};
use crate::producer::Producers;
use crate::replica::{Replica, Stepped};
use crate::settings::{BEGIN, Invariant, Place, Reached, Settings, Violation, ensure};
use crate::shell::{Shell, Trace};
use daybook_domain::ids::Partition;
use daybook_domain::time::Instant;
use daybook_random::Random;
use daybook_runtime::retention::Retention;
use std::time::Duration;

/// Most time between two steps.
const MAX_STEP: Duration = Duration::from_secs(10 * 60);
/// An actor crashes after one step in so many.
const CRASH_ONE_IN: usize = 40;
/// How often the broker is made to store what nobody of Daybook's wrote: once in so many of its steps.
const FOREIGN_ONE_IN: usize = 40;
/// Steps that a replica takes at most when it is its turn: so it mostly keeps up with the log, though it often crashes.
const MAX_REPLICA_STEPS: usize = 5;
/// How long the log is kept, by the broker's clock: some runs trim it often, some once.
const RETENTIONS: &[&str] = &["1s", "3s", "20s"];
/// Steps after which a run that has not come to rest is stuck.
const MAX_REST_STEPS: usize = 60_000;
/// Between two looks at whether everything is at rest.
const LOOK_EVERY: usize = 50;

/// Everything there is in a run.
pub struct World {
    pub shell: Shell,
    checker: Checker,
    producers: Producers,
    catalogue: Catalogue,
    managers: Vec<Manager>,
    owners: Vec<Owner>,
    trimmer: Trimmer,
    replicas: Vec<Replica>,
    /// The first request, which is put until it is answered.
    first: Option<Request>,
    /// The day-manager that has it, and how many it had answered before.
    asked: Option<(usize, usize)>,
    /// Replicas may say something else from here on, as one could not wait for another's snapshot any more.
    is_apart: bool,
}

impl World {
    /// A run that has not begun; its trace keeps so many lines.
    pub fn new(settings: Settings, trace_lines: usize) -> Self {
        let mut random = Random::new(settings.seed);
        let partitions = 1 + random.below(2) as u16;
        let mut shell = Shell {
            broker: Broker::new(partitions),
            random,
            now: BEGIN.parse().expect("an instant"),
            settings,
            trace: Trace { keeps: trace_lines, ..Trace::default() },
            retention: Retention::FOR_EVER,
            reached: Reached::new(),
        };
        if shell.settings.faults.has(Fault::TrimLog) {
            shell.retention = shell.random.pick(RETENTIONS).parse().expect("a retention");
        }
        let (catalogue, apply) = Catalogue::new(&mut shell);
        let count = |fault| if shell.settings.faults.has(fault) { 2 } else { 1 };
        let (owners, managers) = (count(Fault::TwoOwners), count(Fault::TwoManagers));
        let of_each = |count: usize| {
            Partition::all(partitions).flat_map(move |partition| (0..count).map(move |number| (partition, number)))
        };
        Self {
            checker: Checker::new(partitions),
            producers: Producers::default(),
            catalogue,
            managers: (0..managers).map(|_| Manager::new()).collect(),
            owners: of_each(owners).map(|(partition, _)| Owner::new(partition)).collect(),
            trimmer: Trimmer::default(),
            replicas: of_each(2).map(|(partition, number)| Replica::new(partition, number)).collect(),
            first: Some(Request::Apply(apply)),
            asked: None,
            is_apart: false,
            shell,
        }
    }

    /// The whole run: steps with faults, then without until everything is at rest. It ends before where a replica has to go on
    /// with other figures than the log says, which the product tells too.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run(&mut self) -> Result<(), Violation> {
        // Most runs begin without faults until something is defined, for nothing happens before.
        let is_gentle = !self.shell.random.one_in(4);
        for step in 0..self.shell.settings.steps {
            self.shell.trace.step = step;
            self.step(is_gentle && self.first.is_some())?;
            if self.is_apart {
                return Ok(());
            }
        }
        self.come_to_rest()
    }

    /// How often what is rare happened.
    pub fn reached(&self) -> Reached {
        let mut reached = self.shell.reached.clone();
        reached.extend(self.checker.reached.clone());
        reached
    }

    fn step(&mut self, without_faults: bool) -> Result<(), Violation> {
        let faults = self.shell.settings.faults;
        if without_faults {
            self.shell.settings.faults = Faults::none();
        }
        self.pass_time();
        self.act(true)?;
        self.shell.settings.faults = faults;
        self.check_stored()
    }

    fn check_stored(&mut self) -> Result<(), Violation> {
        for (stream, message) in self.shell.broker.take_fresh() {
            if matches!(stream, Stream::Catalog | Stream::Days) {
                self.shell.trace.note(|| format!("{stream:?} {}: {}", message.sequence, message.subject));
            }
            if message.is_foreign {
                self.shell.trace.note(|| format!("{stream:?} {}: foreign on {}", message.sequence, message.subject));
                self.shell.reach(Place::Foreign);
                continue;
            }
            self.checker.stored(stream, &message, &self.producers.messages)?;
        }
        for partition in self.shell.broker.take_trimmed() {
            if self.checker.trimmed(&self.shell.broker, partition)? {
                self.shell.reach(Place::Trimmed);
            }
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        let shell = &mut self.shell;
        shell.now = shell.now.after(Duration::from_millis(shell.random.below(MAX_STEP.as_millis() as usize) as u64));
        let hours = |hours: i64| hours * 3_600_000;
        let mut jump = 0;
        if shell.strikes(Fault::ClockJump, 250) {
            let far = if shell.random.one_in(8) { 40 * 24 } else { 60 };
            jump = hours(shell.random.between(6, far));
        } else if shell.strikes(Fault::ClockBack, 250) {
            jump = -hours(shell.random.between(1, 48));
        }
        if jump != 0 {
            shell.now = Instant::from_millis(shell.now.as_millis() + jump);
            shell.trace.note(|| format!("the clock jumps to {}", shell.now));
        }
    }

    /// Lets one actor take a step; `with_more` says whether producers and owners of definitions want anything new.
    fn act(&mut self, with_more: bool) -> Result<(), Violation> {
        let turn = self.shell.random.below(100);
        let crashes = self.shell.strikes(Fault::Crash, CRASH_ONE_IN);
        match turn {
            0..28 => {
                if self.shell.strikes(Fault::BrokerRestart, 150) {
                    self.shell.trace.note(|| "the broker restarts".to_owned());
                    self.shell.broker.restart(&mut self.shell.random);
                }
                if self.shell.strikes(Fault::Foreign, FOREIGN_ONE_IN) {
                    self.shell.broker.intrude(&mut self.shell.random);
                }
                let settings = self.shell.settings.clone();
                self.shell.broker.step(&mut self.shell.random, &settings);
            }
            28..36 => {
                let tenants = self.catalogue.clocks(self.shell.now);
                self.producers.step(&mut self.shell, &tenants, with_more);
            }
            36..54 => {
                let index = self.shell.random.below(self.owners.len());
                self.owners[index].step(&mut self.shell);
                if crashes {
                    self.owners[index].crash();
                }
            }
            54..72 => self.act_manager(with_more, crashes),
            72..74 => {
                if self.shell.settings.faults.has(Fault::Trim) {
                    self.trimmer.step(&mut self.shell);
                }
                if crashes {
                    self.trimmer.crash();
                }
            }
            _ => {
                let index = self.shell.random.below(self.replicas.len());
                let replica = &mut self.replicas[index];
                if replica.stands_still(&mut self.shell) {
                    return Ok(());
                }
                for _ in 0..=self.shell.random.below(MAX_REPLICA_STEPS) {
                    match replica.step(&mut self.shell)? {
                        Stepped::Nothing => {}
                        Stepped::Applied(_) => self.checker.applied(replica, false)?,
                        Stepped::Apart => {
                            self.is_apart = true;
                            self.shell.reach(Place::Apart);
                            return Ok(());
                        }
                    }
                }
                if crashes {
                    self.shell.trace.note(|| format!("replica {}/{}: crashes", replica.partition, replica.number));
                    replica.crash();
                }
            }
        }
        Ok(())
    }

    fn act_manager(&mut self, with_more: bool, crashes: bool) {
        let index = self.shell.random.below(self.managers.len());
        let shell = &mut self.shell;
        if let Some((asked, before)) = self.asked
            && asked == index
        {
            if self.managers[index].answered > before {
                (self.first, self.asked) = (None, None);
            } else if self.managers[index].is_free() {
                // It was lost with a crash.
                self.asked = None;
            }
        }
        let manager = &mut self.managers[index];
        if manager.is_free() {
            if let (Some(first), None) = (&self.first, self.asked) {
                self.asked = Some((index, manager.answered));
                manager.ask(first.clone());
            } else if self.first.is_none() && shell.random.one_in(4) {
                let replica = &self.replicas[shell.random.below(self.replicas.len())];
                if let Some(views) = replica.views() {
                    manager.hear(replica.partition, &views);
                }
            } else if self.first.is_none() && with_more && shell.random.one_in(4) {
                let request = self.catalogue.request(shell);
                request.into_iter().for_each(|request| manager.ask(request));
            }
        }
        manager.step(shell);
        if crashes {
            shell.trace.note(|| format!("day-manager {index} crashes"));
            manager.crash();
        }
    }

    /// Ends the faults, and sees everything come to rest: what is under way arrives, what is due is published, what is
    /// in INBOX is in the log, and what is in the log is in every replica.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        let faults = std::mem::replace(&mut self.shell.settings.faults, Faults::none());
        let partitions = self.shell.broker.partitions;
        self.shell.trace.note(|| "the faults end".to_owned());
        // One of each is enough now: two would go on getting in each other's way.
        self.managers.truncate(1);
        self.asked = self.asked.filter(|(index, _)| *index == 0);
        self.owners = Partition::all(partitions).map(Owner::new).collect();
        let mut unrest = None;
        for step in 0..MAX_REST_STEPS {
            if step % LOOK_EVERY == 0 {
                unrest = self.unrest();
                if unrest.is_none() {
                    break;
                }
            }
            self.shell.trace.step += 1;
            self.act(false)?;
            self.check_stored()?;
            if self.is_apart {
                return Ok(());
            }
        }
        self.shell.settings.faults = faults;
        ensure(unrest.is_none(), Invariant::Progress, || unrest.unwrap_or_default())?;
        self.checker.at_rest(&self.shell.broker, &mut self.replicas)
    }

    /// What is not at rest yet.
    fn unrest(&self) -> Option<String> {
        let broker = &self.shell.broker;
        if self.first.is_some() {
            return Some("the first definitions are not accepted".to_owned());
        }
        if !broker.is_idle() || !self.producers.is_idle() {
            return Some("requests are under way".to_owned());
        }
        for partition in Partition::all(broker.partitions) {
            let marks = broker.log_end(partition).marks();
            let newest = broker.newest(Stream::Inbox, partition).map_or(0, |message| message.sequence);
            if newest >= marks.through.next() {
                return Some(format!("INBOX {newest} of {partition} is not in the log, {marks:?}"));
            }
            if marks.restating {
                return Some(format!("a restatement of {partition} is to come, {marks:?}"));
            }
        }
        if !self.managers[0].is_at_rest(self.shell.now) {
            return Some(format!("day-manager at {}: {}", self.shell.now, self.managers[0].at()));
        }
        self.replicas.iter().find_map(|replica| {
            let end = broker.log_end(replica.partition).position().0;
            let why = replica.unrest(end)?;
            Some(format!("replica {}/{}: {why}", replica.partition, replica.number))
        })
    }
}
