//! Which seasons a tenant may have, and how they may change. Pure.
//!
//! Figures of a season are kept while events come in, so its beginning is fixed, and its end once that has passed: what
//! was left out before cannot be told from what never was.

use daybook_domain::catalogue::{MAX_SEASON, MAX_SEASONS, Season};
use daybook_domain::ids::Name;
use daybook_domain::time::Instant;
use std::collections::BTreeSet;

/// Why a tenant cannot have these seasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeasonError {
    #[error("has {0} seasons; at most {MAX_SEASONS} are allowed: leave out those that are over")]
    TooMany(usize),
    #[error("has two seasons named {0}")]
    Twice(Name),
    #[error("season {name} ends at {to}, which is not after it begins at {from}")]
    Order { name: Name, from: Instant, to: Instant },
    #[error("season {name} is longer than {} days; make several of it", MAX_SEASON.as_secs() / 86_400)]
    TooLong { name: Name },
    #[error("season {name} begins at {old}, and that cannot be moved to {new}; give another season another name")]
    From { name: Name, old: Instant, new: Instant },
    #[error("season {name} was over at {old} and cannot end at {new} instead; give another season another name")]
    Over { name: Name, old: Instant, new: Instant },
    #[error("season {name} cannot end at {new}, which is past; its clock stands at {now}")]
    Past { name: Name, new: Instant, now: Instant },
}

/// Checks that `new` may follow `old`, the tenant's seasons so far, when its clock stands at `now`; nothing is past for
/// a clock that has not begun.
///
/// # Errors
/// When there are too many, two have one name, one is empty or too long; or when one that there was begins at another
/// instant, or has another end although either is not ahead of the clock.
pub fn check_seasons(old: &[Season], new: &[Season], now: Option<Instant>) -> Result<(), SeasonError> {
    if new.len() > MAX_SEASONS {
        return Err(SeasonError::TooMany(new.len()));
    }
    let mut names = BTreeSet::new();
    for season in new {
        let name = season.name.clone();
        if !names.insert(&season.name) {
            return Err(SeasonError::Twice(name));
        }
        if season.to <= season.from {
            return Err(SeasonError::Order { name, from: season.from, to: season.to });
        }
        if season.to.since(season.from) > MAX_SEASON {
            return Err(SeasonError::TooLong { name });
        }
        if let Some(old) = old.iter().find(|old| old.name == season.name) {
            check_season(old, season, now)?;
        }
    }
    Ok(())
}

fn check_season(old: &Season, new: &Season, now: Option<Instant>) -> Result<(), SeasonError> {
    let name = new.name.clone();
    if old.from != new.from {
        return Err(SeasonError::From { name, old: old.from, new: new.from });
    }
    match now {
        _ if old.to == new.to => Ok(()),
        Some(now) if old.to <= now => Err(SeasonError::Over { name, old: old.to, new: new.to }),
        Some(now) if new.to <= now => Err(SeasonError::Past { name, new: new.to, now }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn day(day: i64) -> Instant {
        Instant::from_millis(day * DAY)
    }

    fn season(name: &str, from: i64, to: i64) -> Season {
        Season { name: Name::new(name).unwrap(), from: day(from), to: day(to) }
    }

    #[test]
    fn seasons_are_bounded() {
        let check = |seasons: &[Season]| check_seasons(&[], seasons, None).map_err(|error| error.to_string());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[season("a", 1, 2), season("b", 1, 2)]), Ok(()));
        let longest = MAX_SEASON.as_secs() as i64 / 86_400;
        assert_eq!(check(&[season("a", 1, 1 + longest)]), Ok(()));
        assert!(check(&[season("a", 1, 2 + longest)]).unwrap_err().contains("longer than 732 days"));
        assert_eq!(check(&[season("a", 1, 2), season("a", 3, 4)]), Err("has two seasons named a".to_owned()));
        assert!(check(&[season("a", 2, 2)]).unwrap_err().contains("not after it begins"));
        assert!(check(&[season("a", 2, 1)]).unwrap_err().contains("not after it begins"));
        let many = |count: i64| (0..count).map(|n| season(&format!("s{n}"), 1, 2)).collect::<Vec<_>>();
        assert_eq!(check(&many(16)), Ok(()));
        assert!(check(&many(17)).unwrap_err().contains("has 17 seasons"));
    }

    #[test]
    fn a_beginning_is_fixed_and_an_end_once_it_is_past() {
        let old = [season("a", 10, 20)];
        let check = |new: &[Season], now: Option<i64>| {
            check_seasons(&old, new, now.map(day)).map_err(|error| error.to_string())
        };
        for now in [None, Some(0), Some(15), Some(30)] {
            assert_eq!(check(&old, now), Ok(()));
            assert_eq!(check(&[], now), Ok(()));
            assert_eq!(check(&[season("b", 11, 19)], now), Ok(()));
            assert_eq!(check(&[old[0].clone(), season("b", 1, 2)], now), Ok(()));
            assert!(check(&[season("a", 11, 20)], now).unwrap_err().contains("begins at"));
        }
        for (to, now, refusal) in [
            (25, None, None),
            (12, None, None),
            (25, Some(15), None),
            (16, Some(15), None),
            (15, Some(15), Some("which is past")),
            (25, Some(20), Some("was over at")),
            (15, Some(20), Some("was over at")),
        ] {
            let outcome = check(&[season("a", 10, to)], now);
            match refusal {
                None => assert_eq!(outcome, Ok(()), "{to} {now:?}"),
                Some(why) => assert!(outcome.unwrap_err().contains(why), "{to} {now:?}"),
            }
        }
    }
}
