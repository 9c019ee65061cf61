//! Apply alone: the state machine of one partition, in this process, from encoded batches of the log.

use crate::bare;
use crate::check::check;
use crate::report::{Report, per_second, quantile_ms};
use crate::timing::{measured, median};
use crate::work::{Work, nexmark, orders};
use daybook_contracts::log::Batch;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use std::time::Duration;

/// Settings of `apply`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events of each work
    #[arg(long, default_value_t = 2_000_000)]
    pub events: usize,
    /// Only these works
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// Least share of the bare loop's rate that a work must reach: a third of what was measured, so that only what has become
/// altogether slow is below it, on any machine and in any build.
pub const FLOOR: f64 = 0.15;
/// What the guard measures.
const GUARDED: [&str; 2] = ["q17", "orders, 1,000 tenants"];

/// Whether the shares of the bare loop hold, with so many events.
///
/// # Errors
/// When one is below [`FLOOR`], or figures are wrong.
pub fn guard(events: usize, report: &mut Report) -> anyhow::Result<()> {
    for (name, make) in WORKS.into_iter().filter(|(name, _)| GUARDED.contains(name)) {
        let (work, together) = make(events);
        let share = measure(&work, &work.log(together)?, 3)?.share().unwrap_or(0.0);
        report.row(name, &[("share of bare loop", format!("{share:.2}")), ("floor", FLOOR.to_string())]);
        anyhow::ensure!(share >= FLOOR, "{name}: {share:.2} of the bare loop's rate, and {FLOOR} is the least");
    }
    Ok(())
}

/// What was measured of a work.
pub struct Measured {
    /// The median of the rounds.
    pub ours: Duration,
    /// Where there is a bare loop of the work.
    pub bare: Option<Duration>,
    /// Of each question with which figures were compared.
    pub answers: Vec<Duration>,
}

impl Measured {
    /// Which part of the bare loop's rate Daybook has.
    pub fn share(&self) -> Option<f64> {
        self.bare.map(|bare| bare.as_secs_f64() / self.ours.as_secs_f64())
    }
}

/// Daybook, and the bare loop where there is one, over so many rounds; figures are compared in each.
///
/// # Errors
/// When figures are wrong.
pub fn measure(work: &Work, log: &[Vec<u8>], rounds: usize) -> anyhow::Result<Measured> {
    let (mut ours, mut bare, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (time, mut state) = measured(|| apply(log));
        ours.push(time);
        if let Some(fold) = bare::fold_of(work) {
            let (time, groups) = measured(|| bare::fold(fold, log));
            bare.push(time);
            answers.extend(check(fold, work, &mut state, &groups)?);
        }
    }
    let bare = (!bare.is_empty()).then(|| median(&mut bare));
    Ok(Measured { ours: median(&mut ours), bare, answers })
}

/// The work whose answers are timed as well.
const TEN_BEST: &str = "q19, a group for each bid";

type Make = fn(usize) -> (Work, usize);

/// By name: what is made of so many events, and how many a tenant publishes together.
const WORKS: [(&str, Make); 8] = [
    ("q15", |events| (nexmark::bids("q15", &[nexmark::Q15], events), 1_000)),
    ("q16", |events| (nexmark::bids("q16", &[nexmark::Q16], events), 1_000)),
    ("q17", |events| (nexmark::bids("q17", &[nexmark::Q17], events), 1_000)),
    (TEN_BEST, |events| (nexmark::numbered_bids("q19", events), 1_000)),
    ("q15+q17", |events| (nexmark::bids("q15+q17", &[nexmark::Q15, nexmark::Q17], events), 1_000)),
    ("orders, 1,000 tenants", |events| (orders::orders("orders", events, 1_000), 100)),
    ("orders, 1,000 tenants, one a message", |events| (orders::orders("orders", events, 1_000), 1)),
    ("orders, 100,000 tenants", |events| (orders::orders("orders", events, 100_000), 100)),
];

/// # Errors
/// When figures are wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for (name, make) in WORKS {
        if !options.only.is_empty() && !options.only.iter().any(|only| name.contains(only.as_str())) {
            continue;
        }
        eprintln!("{name}: making the events");
        let (work, together) = make(options.events);
        let log = work.log(together)?;
        let count = work.events.len();
        let bytes: usize = log.iter().map(Vec::len).sum();
        let mut measured = measure(&work, &log, options.rounds)?;
        let mut figures = vec![
            ("events", daybook::table::count(count as u64)),
            ("bytes/event", (bytes / count).to_string()),
            ("events/s", per_second(count, measured.ours)),
        ];
        if let (Some(bare), Some(share)) = (measured.bare, measured.share()) {
            figures.push(("bare loop events/s", per_second(count, bare)));
            figures.push(("share of bare loop", format!("{share:.2}")));
        }
        if name == TEN_BEST {
            figures.push(("ten best p50 ms", quantile_ms(&mut measured.answers, 0.5)));
            figures.push(("ten best p99 ms", quantile_ms(&mut measured.answers, 0.99)));
        }
        report.row(name, &figures);
    }
    Ok(())
}

/// Events a second of the work of that name, of so many events.
///
/// # Errors
/// When figures are wrong.
pub fn rate(name: &str, events: usize) -> anyhow::Result<String> {
    let (_, make) = WORKS.into_iter().find(|(other, _)| *other == name).expect("a work of this list");
    let (work, together) = make(events);
    let measured = measure(&work, &work.log(together)?, 1)?;
    Ok(per_second(work.events.len(), measured.ours))
}

/// The state after the whole log.
pub fn apply(log: &[Vec<u8>]) -> PartitionState {
    let mut state = PartitionState::new(Partition(0));
    for (bytes, position) in log.iter().zip(1..) {
        let batch = Batch::decode(bytes).expect("made by this program");
        let effects = state.apply(LogSeq(position), batch);
        assert!(effects.is_empty(), "nothing is wrong with these events: {effects:?}");
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apply_keeps_up_with_a_bare_loop_and_counts_the_same() {
        let mut report = Report::default();
        report.part("guard");
        guard(40_000, &mut report).unwrap_or_else(|error| panic!("{error}"));
    }
}
