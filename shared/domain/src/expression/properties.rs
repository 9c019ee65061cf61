//! Properties of the whole way from a text to an answer, against an evaluator that knows nothing of it.

use super::relation::Relation;
use super::{MAX_EXPRESSION_BYTES, Predicate, Row, parse_aggregate};
use crate::catalogue::{Dimension, Kind, Measure, Mode, Status};
use crate::ids::Name;
use crate::value::{Number, pow10};
use proptest::prelude::*;
use std::cmp::Ordering;

const DIMENSIONS: [&str; 4] = ["carrier", "origin", "gate-no", "status"];
const MEASURES: [(&str, u8); 3] = [("arr_delay", 0), ("fare", 2), ("null", 12)];

/// A kind with plain names and with such as need quotes.
pub(super) fn flight() -> Kind {
    let name = |text: &str| Name::new(text).unwrap();
    Kind {
        name: name("flight"),
        mode: Mode::Entity,
        dimensions: DIMENSIONS.map(|text| Dimension { name: name(text), field: None }).into(),
        measures: MEASURES.map(|(text, scale)| Measure { name: name(text), scale }).into(),
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

pub(super) fn number_of(text: &str) -> Number {
    Number::parse(text).unwrap()
}

#[derive(Debug, Clone)]
struct Flight {
    dimensions: [Option<String>; 4],
    measures: [Option<i64>; 3],
    status: Status,
}

impl Row for Flight {
    fn dimension(&self, index: usize) -> Option<&str> {
        self.dimensions[index].as_deref()
    }
    fn measure(&self, index: usize) -> Option<i64> {
        self.measures[index]
    }
    fn at(&self) -> crate::time::Instant {
        crate::time::Instant::MIN
    }
    fn status(&self) -> Status {
        self.status
    }
}

/// A condition as a test thinks of it, to be written in many ways.
#[derive(Debug, Clone)]
enum Sketch {
    And(Vec<Sketch>),
    Or(Vec<Sketch>),
    Not(Box<Sketch>),
    Compare(Side, Relation, Side),
    In(Side, Vec<Side>, bool),
    Between(Side, Side, Side, bool),
    IsNull(Side, bool),
}

#[derive(Debug, Clone)]
enum Side {
    Dimension(usize),
    Measure(usize),
    Status,
    Text(String),
    Number(Number),
}

#[derive(PartialEq, PartialOrd)]
enum Value {
    Text(String),
    Number(Number),
}

/// SQL's three-valued logic word for word.
fn naive(sketch: &Sketch, flight: &Flight) -> Option<bool> {
    let and = |left: Option<bool>, right: Option<bool>| match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    let or = |left: Option<bool>, right: Option<bool>| and(left.map(|b| !b), right.map(|b| !b)).map(|b| !b);
    let value = |side: &Side| match side {
        Side::Dimension(index) => flight.dimensions[*index].clone().map(Value::Text),
        Side::Measure(index) => {
            flight.measures[*index].map(|unscaled| Value::Number(Number::new(unscaled.into(), MEASURES[*index].1)))
        }
        Side::Status => Some(Value::Text(flight.status.as_str().to_owned())),
        Side::Text(text) => Some(Value::Text(text.clone())),
        Side::Number(number) => Some(Value::Number(*number)),
    };
    let compare = |left: &Side, relation: Relation, right: &Side| {
        let (left, right) = (value(left)?, value(right)?);
        Some(match relation {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Less => left < right,
            Relation::LessOrEqual => left <= right,
            Relation::Greater => left > right,
            Relation::GreaterOrEqual => left >= right,
        })
    };
    let (answer, negated) = match sketch {
        Sketch::And(parts) => (parts.iter().map(|part| naive(part, flight)).fold(Some(true), and), false),
        Sketch::Or(parts) => (parts.iter().map(|part| naive(part, flight)).fold(Some(false), or), false),
        Sketch::Not(inner) => (naive(inner, flight), true),
        Sketch::Compare(left, relation, right) => (compare(left, *relation, right), false),
        Sketch::In(side, list, negated) => {
            let equalities = list.iter().map(|item| compare(side, Relation::Equal, item));
            (equalities.fold(Some(false), or), *negated)
        }
        Sketch::Between(side, low, high, negated) => {
            let bounds = and(compare(low, Relation::LessOrEqual, side), compare(side, Relation::LessOrEqual, high));
            (bounds, *negated)
        }
        Sketch::IsNull(side, negated) => (Some(value(side).is_none()), *negated),
    };
    answer.map(|answer| answer != negated)
}

/// Writes a sketch with every parenthesis; `loud` in the other spelling of everything that has two.
fn written(sketch: &Sketch, loud: bool) -> String {
    let word = |word: &str| if loud { word.to_uppercase() } else { word.to_owned() };
    let space = if loud { "\n\t" } else { " " };
    let side = |side: &Side| match side {
        Side::Dimension(index @ (2 | 3)) => format!("\"{}\"", DIMENSIONS[*index]),
        Side::Dimension(index) if loud => format!("\"{}\"", DIMENSIONS[*index]),
        Side::Dimension(index) => DIMENSIONS[*index].to_owned(),
        Side::Measure(index @ 2) => format!("\"{}\"", MEASURES[*index].0),
        Side::Measure(index) => MEASURES[*index].0.to_owned(),
        Side::Status => "status".to_owned(),
        Side::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Side::Number(number) if loud => format!("{}e-{}", number.unscaled(), number.scale()),
        Side::Number(number) => number.to_string(),
    };
    let join = |parts: &[Sketch], by: &str| {
        let parts: Vec<_> = parts.iter().map(|part| format!("({})", written(part, loud))).collect();
        parts.join(&format!("{space}{}{space}", word(by)))
    };
    let not = |negated: bool| if negated { format!("{}{space}", word("not")) } else { String::new() };
    match sketch {
        Sketch::And(parts) => join(parts, "and"),
        Sketch::Or(parts) => join(parts, "or"),
        Sketch::Not(inner) => format!("{}({})", not(true), written(inner, loud)),
        Sketch::Compare(left, Relation::NotEqual, right) if loud => format!("{}<>{}", side(left), side(right)),
        Sketch::Compare(left, relation, right) => {
            format!("{}{space}{}{space}{}", side(left), relation.as_str(), side(right))
        }
        Sketch::In(subject, list, negated) => {
            let list: Vec<_> = list.iter().map(side).collect();
            format!("{} {}{} ({})", side(subject), not(*negated), word("in"), list.join(","))
        }
        Sketch::Between(subject, low, high, negated) => {
            let (between, and) = (word("between"), word("and"));
            format!("{} {}{between} {} {and} {}", side(subject), not(*negated), side(low), side(high))
        }
        Sketch::IsNull(subject, negated) => {
            format!("{} {} {}{}", side(subject), word("is"), not(*negated), word("null"))
        }
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "UA", "DL", "it's", "''", "é", "B4", "final", "a\nb"]).prop_map(str::to_owned)
}

/// Few values, so that they meet, and now and then any.
fn unscaled() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -3..=3_i64, 4 => (-3..=3_i64).prop_map(|n| n * 100), 1 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX])]
}

fn numbers() -> impl Strategy<Value = Number> {
    prop_oneof![
        6 => (-350..=350_i128, 0..=3_u8).prop_map(|(unscaled, scale)| Number::new(unscaled, scale)),
        2 => (unscaled(), 0..=12_u8).prop_map(|(unscaled, scale)| Number::new(unscaled.into(), scale)),
        1 => ((-i128::MAX..=i128::MAX), 0..=36_u8).prop_map(|(unscaled, scale)| Number::new(unscaled, scale)),
        1 => (-1..=1_i128).prop_map(|delta| Number::new(i128::from(i64::MAX) + delta, 0)),
        1 => (-1..=1_i128).prop_map(|delta| Number::new(i128::from(i64::MIN) + delta, 0)),
    ]
}

fn relations() -> impl Strategy<Value = Relation> {
    prop::sample::select(Relation::ALL.to_vec())
}

/// Tests of a field of one type: `fields` and `constants` of it.
fn tests_of(
    fields: impl Strategy<Value = Side> + Clone + 'static,
    constants: impl Strategy<Value = Side> + Clone + 'static,
) -> impl Strategy<Value = Sketch> {
    let any_side = prop_oneof![1 => fields.clone(), 2 => constants.clone()];
    let lists = prop::collection::vec(constants.clone(), 1..6);
    prop_oneof![
        4 => (fields.clone(), relations(), any_side.clone()).prop_map(|(l, r, s)| Sketch::Compare(l, r, s)),
        1 => (constants.clone(), relations(), fields.clone()).prop_map(|(l, r, s)| Sketch::Compare(l, r, s)),
        2 => (fields.clone(), lists, any::<bool>()).prop_map(|(f, list, negated)| Sketch::In(f, list, negated)),
        2 => (fields.clone(), any_side.clone(), any_side, any::<bool>())
            .prop_map(|(f, low, high, negated)| Sketch::Between(f, low, high, negated)),
        1 => (constants, fields.clone(), fields.clone(), any::<bool>())
            .prop_map(|(c, low, high, negated)| Sketch::Between(c, low, high, negated)),
        1 => (fields, any::<bool>()).prop_map(|(f, negated)| Sketch::IsNull(f, negated)),
    ]
}

fn sketches() -> impl Strategy<Value = Sketch> {
    let statuses = prop::sample::select(Status::ALL.to_vec()).prop_map(|status| Side::Text(status.as_str().into()));
    let equality = prop::sample::select(vec![Relation::Equal, Relation::NotEqual]);
    let leaf = prop_oneof![
        3 => tests_of((0..4_usize).prop_map(Side::Dimension).boxed(), texts().prop_map(Side::Text).boxed()),
        3 => tests_of((0..3_usize).prop_map(Side::Measure).boxed(), numbers().prop_map(Side::Number).boxed()),
        1 => (equality, statuses.clone()).prop_map(|(r, s)| Sketch::Compare(Side::Status, r, s)),
        1 => (prop::collection::vec(statuses, 1..4), any::<bool>())
            .prop_map(|(list, negated)| Sketch::In(Side::Status, list, negated)),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Sketch::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Sketch::Or),
            inner.prop_map(|inner| Sketch::Not(Box::new(inner))),
        ]
    })
}

fn flights() -> impl Strategy<Value = Flight> {
    let dimension = || prop::option::weighted(0.7, texts());
    let measure = || prop::option::weighted(0.7, unscaled());
    (
        [dimension(), dimension(), dimension(), dimension()],
        [measure(), measure(), measure()],
        prop::sample::select(Status::ALL.to_vec()),
    )
        .prop_map(|(dimensions, measures, status)| Flight { dimensions, measures, status })
}

/// Both parsers take any text; what they refuse, they place inside it.
fn survives(source: &str) -> Result<(), TestCaseError> {
    let kind = flight();
    let predicate = Predicate::parse_and_check(source, &kind);
    if let Ok(predicate) = &predicate {
        let again = Predicate::parse_and_check(&predicate.to_string(), &kind);
        prop_assert_eq!(again.as_ref(), Ok(predicate));
    }
    for error in [predicate.err(), parse_aggregate(source, &kind).err()].into_iter().flatten() {
        prop_assert!(source.get(error.position..error.position + error.length).is_some(), "{}", error);
        prop_assert!(error.to_string().len() < 1000, "{}", error);
        let caret = error.caret(source);
        prop_assert_eq!(caret.matches('\n').count(), 1);
        prop_assert!(caret.ends_with('^'));
    }
    Ok(())
}

const SOUP: [&str; 48] = [
    "and",
    "OR",
    "not",
    "in",
    "is",
    "null",
    "between",
    "(",
    ")",
    ",",
    "=",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "carrier",
    "origin",
    "\"gate-no\"",
    "\"status\"",
    "status",
    "arr_delay",
    "fare",
    "\"null\"",
    "gate-no",
    "unknown",
    "'UA'",
    "'final'",
    "''",
    "'it''s'",
    "'",
    "\"",
    "\"\"",
    "1",
    "-2.5",
    "1e400",
    "1e30",
    "0.95",
    "-",
    "é",
    "\0",
    "count",
    "sum",
    "quantile",
    "ratio",
    "distinct",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(source in any::<String>()) {
        survives(&source)?;
    }

    #[test]
    fn token_soup_is_survived(
        tokens in prop::collection::vec((prop::sample::select(SOUP.to_vec()), prop::sample::select(vec!["", " ", "\n"])), 0..40)
    ) {
        let source: String = tokens.into_iter().flat_map(|(token, space)| [token, space]).collect();
        survives(&source)?;
    }

    #[test]
    fn a_slip_of_the_pen_is_survived(sketch in sketches(), loud: bool, place: prop::sample::Index, insert in ".?") {
        let mut source: Vec<char> = written(&sketch, loud).chars().collect();
        let place = place.index(source.len());
        source.splice(place..=place, insert.chars());
        survives(&source.into_iter().collect::<String>())?;
    }

    #[test]
    fn the_canonical_form_reads_as_itself(sketch in sketches()) {
        let kind = flight();
        let (source, loud) = (written(&sketch, false), written(&sketch, true));
        prop_assume!(source.len().max(loud.len()) <= MAX_EXPRESSION_BYTES);
        let predicate = Predicate::parse_and_check(&source, &kind);
        let predicate = predicate.map_err(|error| TestCaseError::fail(format!("{source}: {error}")))?;
        let again = Predicate::parse_and_check(&predicate.to_string(), &kind);
        prop_assert_eq!(again.as_ref(), Ok(&predicate));
        // Another spelling of the same is the same.
        prop_assert_eq!(Predicate::parse_and_check(&loud, &kind), Ok(predicate.clone()));
    }

    #[test]
    fn answers_are_those_of_three_valued_logic(sketch in sketches(), flights in prop::collection::vec(flights(), 8)) {
        let source = written(&sketch, false);
        prop_assume!(source.len() <= MAX_EXPRESSION_BYTES);
        let predicate = Predicate::parse_and_check(&source, &flight()).expect(&source);
        let opposite = Predicate::parse_and_check(&format!("not ({source})"), &flight()).expect(&source);
        for flight in &flights {
            let answer = naive(&sketch, flight);
            prop_assert_eq!(predicate.matches(flight), answer == Some(true), "{} of {:?}", predicate, flight);
            prop_assert_eq!(opposite.matches(flight), answer == Some(false), "{} of {:?}", opposite, flight);
        }
    }

    #[test]
    fn measures_compare_as_fractions(
        measure in unscaled(), index in 0..3_usize, relation in relations(), number in numbers(),
        tenths in prop::option::of(prop::sample::select(vec![-10, -1, 0, 1, 10_i128])),
    ) {
        let (name, scale) = MEASURES[index];
        // Half of the numbers are the measure itself or right beside it.
        let number = tenths.map_or(number, |tenths| Number::new(i128::from(measure) * 10 + tenths, scale + 1));
        let source = format!("\"{name}\" {} {number}", relation.as_str());
        let predicate = Predicate::parse_and_check(&source, &flight()).expect(&source);
        let mut measures = [None; 3];
        measures[index] = Some(measure);
        let flight = Flight { dimensions: Default::default(), measures, status: Status::Final };
        // measure / 10^scale against number, both multiplied by both denominators where that fits.
        let sides = i128::from(measure)
            .checked_mul(pow10(number.scale()))
            .zip(number.unscaled().checked_mul(pow10(scale)));
        let ordering: Ordering = match sides {
            Some((left, right)) => left.cmp(&right),
            None => Number::new(measure.into(), scale).cmp(&number),
        };
        prop_assert_eq!(predicate.matches(&flight), relation.holds(ordering), "{} of {}", source, measure);
    }
}
