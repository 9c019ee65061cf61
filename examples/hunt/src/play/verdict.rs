//! Whether a set-up holds, and what bounds it, by what a rehearsal measured. Pure.

use serde::Serialize;
use std::fmt;

/// Events that wait for Daybook: more than a moment's.
const MANY_WAITING: u64 = 1_000;
/// Requests that are sent so late, in milliseconds, were held up on the machine that sends them.
const LATE_MS: f64 = 50.0;

/// What the set-up must do. Times are of 99 in 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// From when a submission was due until its verdict came, in milliseconds.
    pub submission_ms: f64,
    /// From a verdict until all who watch have seen it in the ranking, in milliseconds.
    pub ranking_ms: f64,
}

/// What was measured. Times are of 99 in 100, in milliseconds, unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    pub submission_ms: f64,
    pub ranking_ms: f64,
    /// Requests that never had an answer.
    pub unanswered: u64,
    /// Requests that were refused because too many waited, and that a process was not reached or reached no broker.
    pub busy: u64,
    pub unavailable: u64,
    /// Figures that differ from a plain recomputation.
    pub differences: usize,
    /// How late the machine that rehearses was with its own timers.
    pub late_ms: f64,
    /// By the processes of the hunt: until the broker confirmed a record, until Daybook confirmed events, until it answered for a
    /// ranking. Upper bounds.
    pub append_ms: f64,
    pub publish_ms: f64,
    pub ask_ms: f64,
    /// The most events that waited for Daybook, and publishes that failed.
    pub most_waiting: u64,
    pub publish_failures: u64,
    /// Whether the processes' own figures could be read.
    pub has_own_figures: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Holds,
    DoesNotHold,
    /// The machine that rehearses was too slow to tell.
    CannotTell,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// What bounds the set-up, and what to do.
    pub bounds: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.outcome {
            Outcome::Holds => "holds",
            Outcome::DoesNotHold => "does not hold",
            Outcome::CannotTell => "cannot tell",
        })?;
        for bound in &self.bounds {
            write!(f, "\n  {bound}")?;
        }
        Ok(())
    }
}

/// Judges what was measured.
pub fn judge(measured: &Measured, limits: &Limits) -> Verdict {
    let mut bounds = Vec::new();
    let is_slow = measured.submission_ms > limits.submission_ms;
    let is_late = measured.ranking_ms > limits.ranking_ms;
    if measured.differences > 0 {
        bounds.push(format!(
            "figures: {} differ from a plain recomputation. No size of the set-up excuses that; keep the log of this hunt",
            measured.differences
        ));
    }
    if measured.unanswered > 0 || measured.unavailable > 0 {
        bounds.push(format!(
            "reach: {} requests were never answered and {} found a process or its broker unreachable. See the logs of `hunt serve` \
             and of the broker",
            measured.unanswered, measured.unavailable
        ));
    }
    if measured.busy > 0 {
        bounds.push(format!(
            "places: {} requests found all places of a team or of a process taken. Start another process of `hunt serve`",
            measured.busy
        ));
    }
    let excuses = (is_slow || is_late) && measured.late_ms > LATE_MS;
    if excuses {
        bounds.push(format!(
            "this machine: its timers were {:.0} ms late (p99), so it cannot play this fast. Rehearse from a larger machine, or one on \
             which nothing else runs",
            measured.late_ms
        ));
    } else {
        bounds.extend(is_slow.then(|| what_slows(measured, limits)));
        bounds.extend(is_late.then(|| what_delays(measured, limits)));
    }
    let is_wrong = measured.differences > 0 || measured.unanswered > 0 || measured.unavailable > 0 || measured.busy > 0;
    let outcome = match (is_wrong, is_slow || is_late, excuses) {
        (true, ..) | (_, true, false) => Outcome::DoesNotHold,
        (_, true, true) => Outcome::CannotTell,
        _ => Outcome::Holds,
    };
    Verdict { outcome, bounds }
}

fn what_slows(measured: &Measured, limits: &Limits) -> String {
    let (p99, limit) = (measured.submission_ms, limits.submission_ms);
    let what = if !measured.has_own_figures {
        "the processes' own figures could not be read: let this machine reach their /metrics".to_owned()
    } else if 2.0 * measured.append_ms >= p99.min(2.0 * limit) {
        format!(
            "the broker took {:.0} ms to confirm a record: give it a faster disk, or fewer copies",
            measured.append_ms
        )
    } else {
        format!(
            "the broker took only {:.0} ms to confirm a record, so the processes of `hunt serve` are short of processor time: start \
             more of them, on other machines",
            measured.append_ms
        )
    };
    format!("submissions: p99 is {p99:.0} ms, the limit {limit:.0} ms; {what}")
}

fn what_delays(measured: &Measured, limits: &Limits) -> String {
    let (p99, limit) = (measured.ranking_ms, limits.ranking_ms);
    let what = if !measured.has_own_figures {
        "the processes' own figures could not be read: let this machine reach their /metrics".to_owned()
    } else if measured.publish_failures > 0 || measured.most_waiting > MANY_WAITING {
        format!(
            "up to {} events waited for Daybook, and {} publishes failed: its buffer is full or its broker slow (`daybook status`)",
            measured.most_waiting, measured.publish_failures
        )
    } else if 2.0 * measured.ask_ms >= p99.min(2.0 * limit) {
        format!(
            "Daybook took {:.0} ms to answer for a ranking: give query and the shard more processor time",
            measured.ask_ms
        )
    } else if 2.0 * measured.publish_ms >= p99.min(2.0 * limit) {
        format!(
            "Daybook's broker took {:.0} ms to confirm events: give it a faster disk, or fewer copies",
            measured.publish_ms
        )
    } else {
        "Daybook answered in time, so the streams of the doors are late: start more processes of `hunt serve`"
            .to_owned()
    };
    format!("rankings: p99 is {p99:.0} ms, the limit {limit:.0} ms; {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { submission_ms: 100.0, ranking_ms: 1_000.0 };

    fn good() -> Measured {
        Measured {
            submission_ms: 20.0,
            ranking_ms: 300.0,
            append_ms: 5.0,
            publish_ms: 5.0,
            ask_ms: 25.0,
            has_own_figures: true,
            ..Measured::default()
        }
    }

    /// The outcome, and the first word of each bound.
    fn judged(measured: Measured) -> (Outcome, Vec<String>) {
        let verdict = judge(&measured, &LIMITS);
        (verdict.outcome, verdict.bounds)
    }

    #[test]
    fn a_set_up_within_its_limits_holds() {
        assert_eq!(judged(good()), (Outcome::Holds, Vec::new()));
        // A slow machine that was within the limits all the same excuses nothing, and needs no excuse.
        assert_eq!(judged(Measured { late_ms: 500.0, ..good() }).0, Outcome::Holds);
    }

    #[test]
    fn what_bounds_it_is_named() {
        let named = |measured: Measured, words: &str| {
            let (outcome, bounds) = judged(measured);
            assert_eq!(outcome, Outcome::DoesNotHold, "{bounds:?}");
            assert!(bounds.len() == 1 && bounds[0].contains(words), "{words}: {bounds:?}");
        };
        named(Measured { differences: 1, ..good() }, "keep the log");
        named(Measured { unanswered: 1, ..good() }, "never answered");
        named(Measured { unavailable: 1, ..good() }, "unreachable");
        named(Measured { busy: 3, ..good() }, "places");
        named(Measured { submission_ms: 400.0, append_ms: 250.0, ..good() }, "confirm a record: give it a faster disk");
        named(Measured { submission_ms: 400.0, append_ms: 25.0, ..good() }, "short of processor time");
        named(Measured { submission_ms: 400.0, has_own_figures: false, ..good() }, "could not be read");
        named(Measured { ranking_ms: 3_000.0, most_waiting: 5_000, ..good() }, "up to 5000 events waited");
        named(Measured { ranking_ms: 3_000.0, ask_ms: 2_500.0, ..good() }, "answer for a ranking");
        named(Measured { ranking_ms: 3_000.0, publish_ms: 2_500.0, ..good() }, "confirm events");
        named(Measured { ranking_ms: 3_000.0, ..good() }, "streams of the doors");
        let both = judged(Measured { ranking_ms: 3_000.0, submission_ms: 400.0, ..good() });
        assert_eq!((both.0, both.1.len()), (Outcome::DoesNotHold, 2));
    }

    #[test]
    fn a_machine_that_is_too_slow_cannot_tell() {
        let (outcome, bounds) = judged(Measured { submission_ms: 400.0, late_ms: 300.0, ..good() });
        assert!(
            outcome == Outcome::CannotTell && bounds.len() == 1 && bounds[0].starts_with("this machine"),
            "{bounds:?}"
        );
        // What is wrong is wrong on any machine.
        let lost = Measured { submission_ms: 400.0, late_ms: 300.0, unanswered: 1, ..good() };
        assert_eq!(judged(lost).0, Outcome::DoesNotHold);
    }
}
