//! What the actors of a run share.

use crate::broker::Broker;
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::{Place, Reached, Settings};
use daybook_domain::time::Instant;
use daybook_random::Random;
use daybook_runtime::retention::Retention;
use std::collections::VecDeque;

/// The last things that happened.
#[derive(Default)]
pub struct Trace {
    /// How many lines are kept; none are made when it is 0.
    pub keeps: usize,
    pub step: usize,
    pub lines: VecDeque<String>,
}

impl Trace {
    /// Notes a line, if anyone wants to know.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.keeps == 0 {
            return;
        }
        if self.lines.len() == self.keeps {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>5}  {}", self.step, line()));
    }
}

/// What every actor works with.
pub struct Shell {
    pub broker: Broker,
    pub random: Random,
    /// The system clock.
    pub now: Instant,
    pub settings: Settings,
    pub trace: Trace,
    /// How long shards keep the log.
    pub retention: Retention,
    pub reached: Reached,
}

impl Shell {
    /// Whether a fault happens now, which it does once in so many times if it is allowed.
    pub fn strikes(&mut self, fault: Fault, one_in: usize) -> bool {
        self.settings.faults.has(fault) && self.random.one_in(one_in)
    }

    pub fn breaks(&self, mutation: Mutation) -> bool {
        self.settings.breaks(mutation)
    }

    /// Takes note that this happened.
    pub fn reach(&mut self, place: Place) {
        *self.reached.entry(place).or_default() += 1;
    }
}
