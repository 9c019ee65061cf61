//! Which rules may follow others, and what differs.

use super::answer::Answer;
use super::{Challenge, Rules, time_text};
use std::collections::BTreeMap;

/// Checks that `new` keeps what `old` promised about the public ranking, at `now`.
///
/// Before the start, the freeze may be anything. Afterwards it may only be set, or moved to an earlier time that is still to come:
/// nobody ever sees more of the ranking than was announced.
///
/// # Errors
/// What is promised otherwise.
pub fn check_freeze(old: &Rules, new: &Rules, now: i64) -> Result<(), String> {
    if now < old.start || old.freeze == new.freeze {
        return Ok(());
    }
    match (old.freeze, new.freeze) {
        (Some(old), None) => Err(format!(
            "the hunt has started, and its ranking is to stand still from {} on; keep freeze, and reveal the ranking when it is time",
            time_text(old)
        )),
        (Some(old), Some(new)) if new > old => Err(format!(
            "the hunt has started, and its ranking is to stand still from {} on; freeze cannot be later, at {}",
            time_text(old),
            time_text(new)
        )),
        (_, Some(new)) if new <= now => Err(format!(
            "everybody has seen the ranking after {}; set freeze to a time that is still to come",
            time_text(new)
        )),
        _ => Ok(()),
    }
}

/// The challenges whose key differs.
pub fn changed_keys(old: &Rules, new: &Rules) -> Vec<String> {
    let keys: BTreeMap<&str, &[Answer]> =
        old.challenges.iter().map(|c| (c.id.as_str(), c.answers.as_slice())).collect();
    let differs = |c: &&Challenge| keys.get(c.id.as_str()).is_some_and(|answers| *answers != c.answers);
    new.challenges.iter().filter(differs).map(|c| c.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::read::read;
    use std::path::Path;

    fn rules(freeze: Option<i64>) -> Rules {
        let text = "hunt: h\nname: H\nstart: 1970-01-01T00:00:01Z\nend: 1970-01-01T01:00:00Z\n\
            challenges: [{ id: a, answer: { exact: x }, points: 1 }]";
        let rules = read(Path::new("r"), text, &mut || "salt".to_owned()).unwrap();
        Rules { freeze, ..rules }
    }

    #[test]
    fn a_freeze_that_was_announced_is_kept() {
        let check = |old, new, now| check_freeze(&rules(old), &rules(new), now);
        // Before the start.
        for (old, new) in [(Some(5_000), None), (Some(5_000), Some(9_000)), (None, Some(5_000)), (None, None)] {
            assert_eq!(check(old, new, 999), Ok(()));
        }
        // It may come, or come earlier.
        assert_eq!(check(None, Some(5_000), 4_000), Ok(()));
        assert_eq!(check(Some(9_000), Some(5_000), 4_000), Ok(()));
        assert_eq!(check(Some(5_000), Some(5_000), 7_000), Ok(()));
        // It does not go, does not come later, and does not take back what was seen; before it began and while it lasts.
        for now in [4_000, 6_000] {
            assert!(check(Some(5_000), None, now).unwrap_err().contains("keep freeze"));
            assert!(check(Some(5_000), Some(5_001), now).unwrap_err().contains("cannot be later"));
            assert!(check(Some(5_000), Some(3_000), now).unwrap_err().contains("still to come"));
            assert!(check(None, Some(now), now).unwrap_err().contains("still to come"));
        }
    }
}
