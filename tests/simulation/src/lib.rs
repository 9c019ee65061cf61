//! A simulation of Daybook: the real sequencer, state machine and day logic in one thread, over a model broker, with
//! crashes between any two steps and whatever else can go wrong, watched by a naive model. A seed is a run.
//!
//! [`world`] holds the actors and decides whose turn it is; [`shell`] is what they share. [`broker`] is the model broker. [`producer`] and
//! [`catalogue`] are those who use Daybook; [`manager`], [`owner`] and [`replica`] with its [`outbox`], [`store`], [`scratch`],
//! [`snapshots`] and how it begins ([`opening`]) are the services' actors as steps around the real cores. [`checker`] judges everything that is stored or said, by [`model`].
//! [`fault`] lists what can go wrong, [`mutation`] the rules that are broken on purpose to see that it is noticed; `marks` and [`tampering`] help with some.
//! [`shrink`] makes a failing run small. See `docs/SIMULATION.md` for what is real and what is modelled.

pub mod broker;
pub mod catalogue;
pub mod checker;
pub mod fault;
pub mod manager;
mod marks;
pub mod model;
pub mod mutation;
pub mod opening;
pub mod outbox;
pub mod owner;
pub mod producer;
pub mod replica;
pub mod scratch;
pub mod settings;
pub mod shell;
pub mod shrink;
pub mod snapshots;
pub mod store;
pub mod tampering;
pub mod world;

use settings::{Invariant, Reached, Settings, Violation};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use world::World;

thread_local! {
    /// What the last panic of a run in this thread said; none while no run is under way.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub violation: Violation,
    /// The last things that happened, if the run was traced.
    pub trace: Vec<String>,
}

/// Makes a run, of which the last `trace_lines` things that happen are kept. Tells how often rare things happened.
///
/// # Errors
/// The first invariant that does not hold. A panic of the core is one.
pub fn run(settings: &Settings, trace_lines: usize) -> Result<Reached, Failure> {
    quiet_panics();
    let mut world = World::new(settings.clone(), trace_lines);
    PANIC.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let said = PANIC.take().unwrap_or_default();
    let outcome = outcome.unwrap_or(Err(Violation { invariant: Invariant::Panic, what: said }));
    let reached = world.reached();
    let trace = world.shell.trace.lines.into_iter().collect();
    outcome.map(|()| reached).map_err(|violation| Failure { violation, trace })
}

/// Has panics of runs kept rather than printed.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_kept = PANIC.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()).is_some());
            if !is_kept {
                before(info);
            }
        }));
    });
}

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Runs {
    /// By seed, those that failed.
    pub failed: BTreeMap<u64, Failure>,
    /// How often rare things happened in the others, together.
    pub reached: Reached,
}

impl Runs {
    fn add(&mut self, seed: u64, outcome: Result<Reached, Failure>) {
        match outcome {
            Ok(reached) => {
                reached.into_iter().for_each(|(place, often)| *self.reached.entry(place).or_default() += often)
            }
            Err(failure) => drop(self.failed.insert(seed, failure)),
        }
    }
}

/// Makes a run of every seed, on all processors. `settings` gives all but the seed.
pub fn run_all(settings: &Settings, seeds: std::ops::Range<u64>) -> Runs {
    let next = AtomicU64::new(seeds.start);
    let runs = Mutex::new(Runs::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(&Settings { seed, ..settings.clone() }, 0);
                    runs.lock().expect("no run panics here").add(seed, outcome);
                }
            });
        }
    });
    runs.into_inner().expect("no run panics here")
}
