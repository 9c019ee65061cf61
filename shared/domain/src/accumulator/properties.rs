//! The group laws, of every accumulator, but for the inverse where nothing is retracted; and the stored forms.

use super::*;
use crate::catalogue::Status;
use crate::time::Instant;
use proptest::prelude::*;

/// Of which rows can be retracted.
const GROUPS: [Shape; 11] = [
    Shape::Count,
    Shape::Sum { measure: 0 },
    Shape::Squares { measure: 0 },
    Shape::Multiset { measure: 0 },
    Shape::ApproxQuantile { measure: 0 },
    Shape::Timed { measure: 0 },
    Shape::Distinct { dimension: 0 },
    Shape::ApproxDistinct { dimension: 0 },
    Shape::Times,
    Shape::DistinctTimes { dimension: 0 },
    Shape::Moments,
];
/// Of facts.
const MONOIDS: [Shape; 8] = [
    Shape::Extremes { measure: 0 },
    Shape::TimedExtremes { measure: 0 },
    Shape::TimeExtremes,
    Shape::Seen { dimension: 0 },
    Shape::SeenSince { dimension: 0 },
    Shape::LeastSince { measure: 0 },
    Shape::GreatestSince { measure: 0 },
    Shape::MomentExtremes,
];

fn all() -> impl Iterator<Item = Shape> {
    GROUPS.into_iter().chain(MONOIDS)
}

#[derive(Clone, Debug)]
struct Event {
    measure: Option<i64>,
    dimension: Option<String>,
    at: Instant,
}

impl Row for Event {
    fn dimension(&self, _: usize) -> Option<&str> {
        self.dimension.as_deref()
    }
    fn measure(&self, _: usize) -> Option<i64> {
        self.measure
    }
    fn status(&self) -> Status {
        Status::Final
    }
    fn at(&self) -> Instant {
        self.at
    }
}

/// Few different values, so that they meet, and any value, so that sums carry.
fn event() -> impl Strategy<Value = Event> {
    let measure = prop_oneof![
        Just(None),
        (-5_i64..5).prop_map(Some),
        any::<i64>().prop_map(Some),
        prop_oneof![Just(i64::MIN), Just(i64::MAX)].prop_map(Some)
    ];
    let at = (-3_i64..3).prop_map(Instant::from_millis);
    (measure, proptest::option::of("[a-c]{1,2}"), at).prop_map(|(measure, dimension, at)| Event {
        measure,
        dimension,
        at,
    })
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 0..most)
}

fn update(total: &mut Accumulator, sign: Sign, shape: Shape, events: &[Event]) {
    for event in events {
        total.update(sign, shape, event);
    }
}

fn of(shape: Shape, events: &[Event]) -> Accumulator {
    let mut total = Accumulator::zero(shape);
    update(&mut total, Sign::Add, shape, events);
    total
}

proptest! {
    #[test]
    fn order_and_batching_do_not_matter(rows in events(40), cut in 0_usize..40) {
        for shape in all() {
            let whole = of(shape, &rows);
            let mut reversed = rows.clone();
            reversed.reverse();
            prop_assert_eq!(&of(shape, &reversed), &whole);
            let (left, right) = rows.split_at(cut.min(rows.len()));
            let (left, right) = (of(shape, left), of(shape, right));
            let (mut merged, mut swapped) = (left.clone(), right.clone());
            merged.merge(&right);
            swapped.merge(&left);
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(&swapped, &whole);
            merged.merge(&Accumulator::zero(shape));
            prop_assert_eq!(&merged, &whole);
        }
    }

    /// Parts of which some take back what is in others, and of which one is large at times.
    #[test]
    fn what_is_merged_at_once_is_what_is_merged_one_by_one(
        parts in prop::collection::vec((events(12), events(6), prop::bool::weighted(0.1)), 1..8),
    ) {
        let large: Vec<Event> = (0..300).map(|n| Event {
            measure: Some(n % 200 - 10),
            dimension: Some(format!("text {}", n % 150)),
            at: Instant::from_millis(n % 170 - 10),
        }).collect();
        for shape in all() {
            let parts: Vec<Accumulator> = parts.iter().map(|(rows, retracted, is_large)| {
                let mut part = of(shape, rows);
                update(&mut part, Sign::Add, shape, if *is_large { &large } else { &[] });
                if GROUPS.contains(&shape) {
                    update(&mut part, Sign::Retract, shape, retracted);
                }
                part
            }).collect();
            let mut expected = parts[0].clone();
            parts[1..].iter().for_each(|part| expected.merge(part));
            let merged = parts[0].merged(parts[1..].iter());
            prop_assert_eq!(&merged, &expected);
            prop_assert_eq!(merged.is_zero(), expected.is_zero());
            prop_assert_eq!(rmp_serde::from_slice::<Accumulator>(&rmp_serde::to_vec(&merged).unwrap()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_retracted_was_never_there(kept in events(20), gone in events(20)) {
        for shape in GROUPS {
            let expected = of(shape, &kept);
            // Retracting before adding is a group operation like any other.
            let mut total = Accumulator::zero(shape);
            update(&mut total, Sign::Retract, shape, &gone);
            total.merge(&expected);
            update(&mut total, Sign::Add, shape, &gone);
            prop_assert_eq!(&total, &expected);
            update(&mut total, Sign::Retract, shape, &kept);
            prop_assert!(total.is_zero(), "{:?}", total);
            prop_assert_eq!(&total, &Accumulator::zero(shape));
        }
    }

    #[test]
    fn something_is_not_nothing(row in event()) {
        for shape in all() {
            let given = match shape {
                Shape::Count | Shape::Times | Shape::TimeExtremes | Shape::Moments | Shape::MomentExtremes => true,
                Shape::Distinct { .. }
                | Shape::ApproxDistinct { .. }
                | Shape::Seen { .. }
                | Shape::DistinctTimes { .. }
                | Shape::SeenSince { .. } => row.dimension.is_some(),
                _ => row.measure.is_some(),
            };
            let total = of(shape, std::slice::from_ref(&row));
            prop_assert_eq!(total.is_zero(), !given);
            prop_assert_eq!(total == Accumulator::zero(shape), !given);
        }
    }

    #[test]
    fn what_is_stored_comes_back(rows in events(20), retracted in events(5)) {
        for shape in all() {
            let mut total = of(shape, &rows);
            if GROUPS.contains(&shape) {
                update(&mut total, Sign::Retract, shape, &retracted);
            }
            let bytes = rmp_serde::to_vec(&total).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Accumulator>(&bytes).unwrap(), total);
        }
    }

    /// Whatever a version that kept all keys of facts, and their counts, stored is what this one keeps of the same facts.
    #[test]
    fn what_was_kept_of_facts_before_is_adopted(rows in events(20)) {
        let before =
            [Shape::Multiset { measure: 0 }, Shape::Timed { measure: 0 }, Shape::Times, Shape::Distinct { dimension: 0 }];
        for (before, now) in before.into_iter().zip(MONOIDS) {
            let mut stored = of(before, &rows);
            stored.adopt(before);
            prop_assert_eq!(&stored, &of(before, &rows));
            prop_assert!(stored.fits(before) && !stored.fits(now));
            stored.adopt(now);
            prop_assert_eq!(&stored, &of(now, &rows));
            prop_assert!(stored.fits(now) && !stored.fits(before));
        }
    }
}

/// Checkpoints and published figures hold these bytes.
#[test]
fn the_stored_form_is_fixed() {
    let event = Event { measure: Some(-300), dimension: Some("B6".into()), at: Instant::from_millis(7) };
    for (shape, expected) in all().zip(GOLDEN) {
        let bytes = rmp_serde::to_vec(&of(shape, &[event.clone(), event.clone()])).unwrap();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected, "{shape:?}");
    }
}

/// In the order of [`all`].
const GOLDEN: [&str; 19] = [
    "81a16302",
    "81a1739202c410fffffffffffffffffffffffffffffda8",
    "81a1769402c410fffffffffffffffffffffffffffffda8c41000000000000000000000000000000000ce0002bf20",
    "81a16d9281d1fed40202",
    "81a1719281d1ff350202",
    "81a17492819207d1fed40202",
    "81a1649181a2423602",
    "81a1689281ce000187810202",
    "81a16d9281070202",
    "81a16f81a242369281070202",
    "81a17281a16d9281070202",
    "81a16592d1fed4d1fed4",
    "81a166929207d1fed49207d1fed4",
    "81a165920707",
    "81a16e9181a24236c0",
    "81a17781a2423607",
    "81a1669292d1fed40792d1fed407",
    "81a1669292d1fed4f992d1fed4f9",
    "81a17281a165920707",
];
