//! Which day holds an entity, for all entities of a tenant, in some fourteen bytes each: of most of them nothing else is in
//! memory.
//!
//! An entity is known here by 48 bits of its hash, and its day by sixteen bits of the date. So this only says where to look:
//! the page there says whether the entity is the one that is asked for. What is never missing here is an entity that is kept.

use daybook_domain::time::Date;
use hashbrown::HashTable;
use smallvec::SmallVec;

/// Bits that tell a day: days of one tenant that share them lie 179 years apart.
const DATE_BITS: u32 = 16;
const DATES: u64 = 1 << DATE_BITS;
/// Any odd number, large and without a pattern: it spreads the bits for the table.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// By a part of its hash, the day of each entity. Several may have the same of both.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts(HashTable<u64>);

/// What is kept of an entity with that hash on that day.
fn mark(hash: u64, date: Date) -> u64 {
    hash & !(DATES - 1) | code(date)
}

fn code(date: Date) -> u64 {
    date.as_days() as u64 & (DATES - 1)
}

/// Where a mark stands in the table: by its part of the hash.
fn place(mark: &u64) -> u64 {
    (mark >> DATE_BITS).wrapping_mul(SPREAD)
}

impl Whereabouts {
    pub fn add(&mut self, hash: u64, date: Date) {
        let mark = mark(hash, date);
        self.0.insert_unique(place(&mark), mark, place);
    }

    /// Takes one out that was added.
    pub fn remove(&mut self, hash: u64, date: Date) {
        let mark = mark(hash, date);
        if let Ok(found) = self.0.find_entry(place(&mark), |known| *known == mark) {
            found.remove();
        }
    }

    /// Takes out all of a day, and of any other day that shares its bits.
    pub fn remove_day(&mut self, date: Date) {
        self.0.retain(|mark| *mark & (DATES - 1) != code(date));
    }

    /// Whether the two days cannot be told apart here.
    pub fn are_alike(one: Date, other: Date) -> bool {
        code(one) == code(other)
    }

    /// The days that may hold an entity with that hash, each once. `span` is asked for the first and the last
    /// day that is kept, if there may be any.
    pub fn days(&self, hash: u64, span: impl Fn() -> Option<(Date, Date)>) -> impl Iterator<Item = Date> {
        let part = hash >> DATE_BITS;
        let marks = self.0.iter_hash(place(&hash)).filter(move |mark| *mark >> DATE_BITS == part);
        // Ids that collide by intent are many, and on few days.
        let mut seen = SmallVec::<[u64; 4]>::new();
        let codes = marks.map(|mark| mark & (DATES - 1)).filter(move |code| {
            let is_new = !seen.contains(code);
            seen.extend(is_new.then_some(*code));
            is_new
        });
        codes.flat_map(move |code| days_of(code, span()))
    }
}

/// The days between two that have these bits.
fn days_of(code: u64, span: Option<(Date, Date)>) -> impl Iterator<Item = Date> {
    let days = span.map(|(first, last)| (i64::from(first.as_days()), i64::from(last.as_days())));
    let first = days.map(|(first, _)| first + (code as i64 - first).rem_euclid(DATES as i64));
    let next = move |day: &i64| Some(day + DATES as i64);
    let all = std::iter::successors(first, next);
    all.take_while(move |day| days.is_some_and(|(_, last)| *day <= last)).map(|day| Date::from_days(day as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn date(days: i32) -> Date {
        Date::from_days(days)
    }

    #[test]
    fn a_day_is_told_by_its_bits_wherever_it_lies() {
        let span = |first: i32, last: i32| Some((date(first), date(last)));
        let days = |code: Date, span| days_of(super::code(code), span).map(Date::as_days).collect::<Vec<_>>();
        for day in [-719_162, -65_537, -1, 0, 20_000, 65_535, 65_536, 2_932_896] {
            assert_eq!(days(date(day), span(day, day)), [day]);
            assert_eq!(days(date(day), span(day - 36, day + 4)), [day.max(-719_162)]);
            assert!(days(date(day), span(day - 4, day - 1)).is_empty() || day == -719_162);
            assert!(days(date(day), None).is_empty());
        }
        assert_eq!(days(date(7), span(0, 140_000)), [7, 65_543, 131_079]);
    }

    proptest! {
        /// Whatever is put in and taken out, nothing that is there is missing.
        #[test]
        fn nothing_that_is_there_is_missing(
            steps in prop::collection::vec((0_u64..12, 0_i32..4, 0_u8..8), 0..300),
        ) {
            // Hashes of which some differ in the bits that are not kept, and days of which some share their bits.
            let hash = |number: u64| ((number / 3) << 40) | (number % 3);
            let day = |number: i32| date([20_000, 20_001, 20_003, 85_536][number as usize]);
            let (mut whereabouts, mut there) = (Whereabouts::default(), Vec::new());
            for (number, on, what) in steps {
                let step = (number, day(on));
                match what {
                    0 => {
                        there.retain(|(_, date)| !Whereabouts::are_alike(*date, step.1));
                        whereabouts.remove_day(step.1);
                    }
                    1..4 => if let Some(at) = there.iter().position(|known| *known == step) {
                        there.swap_remove(at);
                        whereabouts.remove(hash(number), step.1);
                    },
                    _ => {
                        there.push(step);
                        whereabouts.add(hash(number), step.1);
                    }
                }
                prop_assert_eq!(whereabouts.0.len(), there.len());
                for number in 0..12 {
                    let found = whereabouts.days(hash(number), || Some((day(0), day(3)))).collect::<BTreeSet<_>>();
                    let expected = there.iter().filter(|(known, _)| *known == number).map(|(_, date)| *date);
                    let missing = expected.filter(|date| !found.contains(date)).count();
                    prop_assert_eq!(missing, 0);
                }
            }
        }
    }
}
