//! Makes a failing run small: as few kinds of faults, and as few steps, as break the same invariant.

use crate::fault::Fault;
use crate::run;
use crate::settings::{Invariant, Settings};

/// A smaller run that breaks `invariant` as `settings` does. Another random choice may come out of what is left out, so
/// smaller runs are tried, not derived.
pub fn shrink(settings: &Settings, invariant: Invariant) -> Settings {
    let fails = |settings: &Settings| run(settings, 0).is_err_and(|failure| failure.violation.invariant == invariant);
    let mut least = settings.clone();
    loop {
        let before = least.clone();
        for fault in Fault::ALL.iter().filter(|fault| settings.faults.has(**fault)) {
            let smaller = Settings { faults: least.faults.without(*fault), ..least.clone() };
            if smaller != least && fails(&smaller) {
                least = smaller;
            }
        }
        // Not every smaller number of steps need fail, so this finds a small one, not the smallest.
        let mut cut = least.steps / 2;
        while cut > 0 {
            let smaller = Settings { steps: least.steps - cut, ..least.clone() };
            if fails(&smaller) {
                least = smaller;
                cut = cut.min(least.steps / 2);
            } else {
                cut /= 2;
            }
        }
        if least == before {
            return least;
        }
    }
}
