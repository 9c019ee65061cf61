//! What is told at the end of a run.

use crate::check::Checked;
use crate::fault::Kind;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How often a kind of fault struck, and how often everything worked again afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strikes {
    pub injected: u64,
    pub survived: u64,
    /// Of those whose recovery was waited for.
    pub slowest: Duration,
}

/// A run, in figures.
#[derive(Default)]
pub struct Summary {
    pub seed: u64,
    pub took: Duration,
    pub faults: BTreeMap<Kind, Strikes>,
    pub messages: u64,
    pub events: u64,
    pub retries: u64,
    /// What the hostile tenant sent.
    pub hostile_messages: u64,
    pub asked: u64,
    /// Questions without an answer, by the reason.
    pub failed: BTreeMap<String, u64>,
    pub stale: u64,
    pub longest_silence: Duration,
    /// Days by which the clock was driven on.
    pub days_driven: i64,
    pub checked: Checked,
    /// What does not hold.
    pub problems: Vec<String>,
}

impl Summary {
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many faults struck.
    pub fn injected(&self) -> u64 {
        self.faults.values().map(|strikes| strikes.injected).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, messages, events, retries, asked, failed, stale, checked, .. } = self;
        writeln!(f, "| fault | injected | survived | slowest recovery, s |\n| --- | ---: | ---: | ---: |")?;
        let seconds = |duration: Duration| format!("{}.{}", duration.as_secs(), duration.subsec_millis() / 100);
        for (kind, strikes) in &self.faults {
            let Strikes { injected, survived, slowest } = strikes;
            writeln!(f, "| {} | {injected} | {survived} | {} |", kind.name(), seconds(*slowest))?;
        }
        let survived: u64 = self.faults.values().map(|strikes| strikes.survived).sum();
        let slowest = self.faults.values().map(|strikes| strikes.slowest).max().unwrap_or_default();
        writeln!(f, "| all | {} | {survived} | {} |\n", self.injected(), seconds(slowest))?;
        writeln!(f, "seed {seed}, {} s; {} days driven", self.took.as_secs(), self.days_driven)?;
        writeln!(
            f,
            "{events} events acknowledged in {messages} messages, {retries} publishes repeated, {} events stored twice",
            checked.stored_twice
        )?;
        writeln!(f, "{} messages of the hostile tenant", self.hostile_messages)?;
        let unanswered: u64 = failed.values().sum();
        let answered = asked - unanswered;
        writeln!(
            f,
            "{asked} questions: {answered} answered, {stale} of them stale; {unanswered} failed {failed:?}; longest silence {} s",
            seconds(self.longest_silence)
        )?;
        writeln!(
            f,
            "compared with the model: {} days, {} reports, {} sets of figures, {} answers",
            checked.days, checked.reports, checked.figures, checked.answers
        )?;
        for problem in &self.problems {
            writeln!(f, "WRONG: {problem}")?;
        }
        Ok(())
    }
}
