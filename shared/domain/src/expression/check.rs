//! Conditions typed against a kind, and turned into what runs.

use super::MAX_EXPRESSION_BYTES;
use super::compiled::{self, Test};
use super::error::{ExpressionError, Span, excerpt};
use super::fields::{self, Field};
use super::relation::Relation;
use super::syntax::{Condition, Constant, Identifier, Literal, Operand};
use crate::catalogue::{Kind, Status};
use crate::nearest::nearest;
use crate::value::{Number, pow10};
use compact_str::CompactString;

/// What runs for a condition over entities of `kind`.
pub(super) fn test(condition: &Condition, kind: &Kind) -> Result<Test, ExpressionError> {
    let tests = |parts: &[Condition]| parts.iter().map(|part| test(part, kind)).collect::<Result<Vec<_>, _>>();
    let negated_if = |negated: &bool, test: Test| if *negated { test.negated() } else { test };
    match condition {
        Condition::All(parts) => tests(parts).map(Test::all),
        Condition::Any(parts) => tests(parts).map(Test::any),
        Condition::Not(inner) => test(inner, kind).map(Test::negated),
        Condition::Compare { left, relation, right } => compare(left, *relation, right, kind),
        Condition::In { subject, list, negated } => {
            let (name, field) = subject_field(subject, "in", kind)?;
            membership(name, field, list).map(|test| negated_if(negated, test))
        }
        Condition::Between { subject, low, high, negated } => {
            let bounds = vec![
                compare(subject, Relation::GreaterOrEqual, low, kind)?,
                compare(subject, Relation::LessOrEqual, high, kind)?,
            ];
            Ok(negated_if(negated, Test::all(bounds)))
        }
        Condition::IsNull { subject, negated } => {
            let null = !negated;
            match subject_field(subject, "is null", kind)? {
                (_, Field::Dimension(dimension)) => Ok(Test::DimensionNull { dimension, null }),
                (_, Field::Measure { index, .. }) => Ok(Test::MeasureNull { measure: index, null }),
                (name, Field::Status) => Err(name.place.error_with_hint("status is never null", "leave this test out")),
            }
        }
    }
}

/// The canonical text of a condition that was read from `source`.
pub(super) fn canonical(condition: &Condition, source: &str) -> Result<String, ExpressionError> {
    let text = condition.to_string();
    if text.len() > MAX_EXPRESSION_BYTES {
        // Else it could be stored and shown, but never read again.
        let place = Span { start: 0, end: source.len() };
        return Err(place.error(format!(
            "written out in full the expression is {} bytes long; at most {MAX_EXPRESSION_BYTES} are allowed",
            text.len()
        )));
    }
    Ok(text)
}

fn compare(left: &Operand, relation: Relation, right: &Operand, kind: &Kind) -> Result<Test, ExpressionError> {
    match (left, right) {
        (Operand::Literal(_), Operand::Literal(_)) => Err(left.place().to(right.place()).error_with_hint(
            format!("{left} and {right} are both constants", left = shown(left), right = shown(right)),
            "compare the name of a field with one of them",
        )),
        (Operand::Literal(literal), Operand::Field(name)) => {
            compare_literal(name, fields::field(name, kind)?, relation.mirrored(), literal)
        }
        (Operand::Field(name), Operand::Literal(literal)) => {
            compare_literal(name, fields::field(name, kind)?, relation, literal)
        }
        (Operand::Field(left), Operand::Field(right)) => {
            compare_fields(left, fields::field(left, kind)?, relation, right, fields::field(right, kind)?)
        }
    }
}

fn compare_literal(
    name: &Identifier,
    field: Field,
    relation: Relation,
    literal: &Literal,
) -> Result<Test, ExpressionError> {
    let equality = match relation {
        Relation::Equal => Some(true),
        Relation::NotEqual => Some(false),
        _ => None,
    };
    match (field, equality) {
        (Field::Dimension(dimension), Some(member)) => {
            Ok(Test::DimensionIn { dimension, values: [text(name, literal)?].into(), member })
        }
        (Field::Dimension(dimension), None) => {
            Ok(Test::DimensionCompare { dimension, relation, value: text(name, literal)? })
        }
        (Field::Measure { index, scale }, _) => Ok(measure_range(index, scale, relation, number(name, literal)?)),
        (Field::Status, Some(equal)) => {
            let only = compiled::position(status(literal)?);
            Ok(Test::Status(Status::ALL.map(|status| (compiled::position(status) == only) == equal)))
        }
        (Field::Status, None) => Err(unordered_status(name.place)),
    }
}

fn compare_fields(
    left_name: &Identifier,
    left: Field,
    relation: Relation,
    right_name: &Identifier,
    right: Field,
) -> Result<Test, ExpressionError> {
    match (left, right) {
        (Field::Dimension(left), Field::Dimension(right)) => Ok(Test::DimensionPair { left, relation, right }),
        (Field::Measure { index: left, scale: left_scale }, Field::Measure { index: right, scale: right_scale }) => {
            // Scales are at most 12, so a factor fits an i64 and a product an i128.
            let factor = |from: u8, to: u8| 10_i64.pow(u32::from(to.saturating_sub(from)));
            Ok(Test::MeasurePair {
                left,
                left_factor: factor(left_scale, right_scale),
                relation,
                right,
                right_factor: factor(right_scale, left_scale),
            })
        }
        _ => Err(left_name.place.to(right_name.place).error_with_hint(
            format!("the {left} {left_name} cannot be compared with the {right} {right_name}"),
            match (left, right) {
                (Field::Status, _) | (_, Field::Status) => "a status is compared with 'draft', 'final' or 'void'",
                _ => "dimensions are texts, measures are numbers",
            },
        )),
    }
}

fn membership(name: &Identifier, field: Field, list: &[Literal]) -> Result<Test, ExpressionError> {
    match field {
        Field::Dimension(dimension) => {
            let mut values = list.iter().map(|literal| text(name, literal)).collect::<Result<Vec<_>, _>>()?;
            values.sort();
            values.dedup();
            Ok(Test::DimensionIn { dimension, values: values.into(), member: true })
        }
        Field::Measure { index, scale } => {
            let numbers = list.iter().map(|literal| number(name, literal)).collect::<Result<Vec<_>, _>>()?;
            // What the measure cannot hold, it never equals.
            let mut values: Vec<i64> = numbers.into_iter().filter_map(|n| n.at_scale(scale).ok()).collect();
            values.sort_unstable();
            values.dedup();
            Ok(Test::MeasureIn { measure: index, values: values.into(), member: true })
        }
        Field::Status => {
            let mut accepted = [false; 3];
            for literal in list {
                accepted[compiled::position(status(literal)?)] = true;
            }
            Ok(Test::Status(accepted))
        }
    }
}

/// Comparing an unscaled measure with a number, as a range of integers. Exact for any number: one that falls between
/// two integers, or beyond all of an `i64`, moves to the next bound that means the same.
fn measure_range(measure: usize, scale: u8, relation: Relation, number: Number) -> Test {
    let (floor, exact) = floor_at_scale(number, scale);
    let (smallest, largest) = (i128::from(i64::MIN), i128::from(i64::MAX));
    let below = if exact { floor.saturating_sub(1) } else { floor };
    let above = floor.saturating_add(1);
    let (low, high) = match relation {
        Relation::Equal | Relation::NotEqual if !exact => (above, floor),
        Relation::Equal | Relation::NotEqual => (floor, floor),
        Relation::Less => (smallest, below),
        Relation::LessOrEqual => (smallest, floor),
        Relation::Greater => (above, largest),
        Relation::GreaterOrEqual if exact => (floor, largest),
        Relation::GreaterOrEqual => (above, largest),
    };
    let (low, high) = match (i64::try_from(low.max(smallest)), i64::try_from(high.min(largest))) {
        (Ok(low), Ok(high)) if low <= high => (low, high),
        _ => (1, 0),
    };
    Test::MeasureRange { measure, low, high, inside: relation != Relation::NotEqual }
}

/// The greatest integer that is at most `number * 10^scale`, and whether it is equal. Beyond an `i128` it stays at the
/// end, which is beyond every measure as well.
fn floor_at_scale(number: Number, scale: u8) -> (i128, bool) {
    if scale >= number.scale() {
        return (number.unscaled().saturating_mul(pow10(scale - number.scale())), true);
    }
    let unit = pow10(number.scale() - scale);
    (number.unscaled().div_euclid(unit), number.unscaled().rem_euclid(unit) == 0)
}

fn subject_field<'a>(
    subject: &'a Operand,
    test: &str,
    kind: &Kind,
) -> Result<(&'a Identifier, Field), ExpressionError> {
    match subject {
        Operand::Field(name) => Ok((name, fields::field(name, kind)?)),
        Operand::Literal(_) => {
            let message = format!("expected the name of a field before {test}, found {}", shown(subject));
            Err(subject.place().error(message))
        }
    }
}

fn text(name: &Identifier, literal: &Literal) -> Result<CompactString, ExpressionError> {
    match &literal.constant {
        Constant::Text(text) => Ok(CompactString::new(text)),
        Constant::Number(number) => Err(literal.place.error_with_hint(
            format!("{name} is a dimension: expected a text, found the number {number}"),
            format!("dimension values are texts: write '{number}' in quotes"),
        )),
    }
}

fn number(name: &Identifier, literal: &Literal) -> Result<Number, ExpressionError> {
    match &literal.constant {
        Constant::Number(number) => Ok(*number),
        Constant::Text(text) => Err(literal.place.error_with_hint(
            format!("{name} is a measure: expected a number, found the text '{}'", excerpt(text)),
            match Number::parse(text) {
                Ok(number) => format!("measures are numbers: write {number} without quotes"),
                Err(_) => "measures are numbers, such as 12.5".to_owned(),
            },
        )),
    }
}

fn status(literal: &Literal) -> Result<Status, ExpressionError> {
    let Constant::Text(text) = &literal.constant else {
        let message = format!("expected a status, found {}", literal.constant);
        return Err(literal.place.error_with_hint(message, "a status is 'draft', 'final' or 'void'"));
    };
    compiled::status(text).ok_or_else(|| {
        literal.place.error_with_hint(
            format!("unknown status '{}'", excerpt(text)),
            match nearest(text, Status::ALL.map(Status::as_str)) {
                Some(status) => format!("did you mean '{status}'?"),
                None => "a status is 'draft', 'final' or 'void'".to_owned(),
            },
        )
    })
}

fn unordered_status(place: Span) -> ExpressionError {
    place.error_with_hint("a status has no order", "compare it by =, != or in")
}

fn shown(operand: &Operand) -> String {
    match operand {
        Operand::Literal(Literal { constant: Constant::Text(text), .. }) => format!("'{}'", excerpt(text)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::{flight, number_of};
    use super::super::{Predicate, Row};
    use super::*;

    struct Flight {
        carrier: Option<&'static str>,
        origin: Option<&'static str>,
        arr_delay: Option<i64>,
        fare: Option<i64>,
        status: Status,
    }

    const FLIGHT: Flight = Flight {
        carrier: Some("UA"),
        origin: Some("ABQ"),
        arr_delay: Some(15),
        fare: Some(1250),
        status: Status::Final,
    };

    impl Row for Flight {
        fn dimension(&self, index: usize) -> Option<&str> {
            [self.carrier, self.origin, None, None][index]
        }
        fn measure(&self, index: usize) -> Option<i64> {
            [self.arr_delay, self.fare, None][index]
        }
        fn at(&self) -> crate::time::Instant {
            crate::time::Instant::MIN
        }
        fn status(&self) -> Status {
            self.status
        }
    }

    #[test]
    fn conditions_hold_of_a_row() {
        let nulls = Flight { carrier: None, origin: None, arr_delay: None, fare: None, status: Status::Draft };
        // The second is about a row of nulls, where only tests for null and for status can be true.
        for (source, flight_matches, nulls_match) in [
            ("carrier = 'UA'", true, false),
            ("carrier != 'UA'", false, false),
            ("not carrier = 'DL'", true, false),
            ("'DL' < carrier", true, false),
            ("carrier >= 'UAX'", false, false),
            ("carrier = origin", false, false),
            ("carrier > origin", true, false),
            ("carrier in ('DL', 'UA', 'AA')", true, false),
            ("carrier not in ('DL', 'AA')", true, false),
            ("carrier in ('ua')", false, false),
            ("carrier between 'A' and 'V'", true, false),
            ("carrier not between 'A' and 'V'", false, false),
            ("carrier is null", false, true),
            ("carrier is not null", true, false),
            ("arr_delay <= 15", true, false),
            ("arr_delay < 15", false, false),
            ("arr_delay > 14.5", true, false),
            ("arr_delay >= 15.5", false, false),
            ("arr_delay = 15.0", true, false),
            ("arr_delay = 15.5", false, false),
            ("arr_delay != 15.5", true, false),
            ("arr_delay in (1, 15.5, 15)", true, false),
            ("arr_delay in (15.5)", false, false),
            ("arr_delay not in (15.5)", true, false),
            ("arr_delay between 15 and 15", true, false),
            ("arr_delay between 16 and 14", false, false),
            ("arr_delay not between 16 and 14", true, false),
            ("14 between arr_delay and fare", false, false),
            ("fare = 12.5", true, false),
            ("fare < 12.501", true, false),
            ("fare > 12.499999999999999999", true, false),
            ("fare < arr_delay", true, false),
            ("arr_delay = fare", false, false),
            ("arr_delay < 1e30 and arr_delay > -1e30", true, false),
            ("fare > 1e36", false, false),
            ("fare is null", false, true),
            ("status = 'final'", true, false),
            ("status != 'final'", false, true),
            ("status in ('draft', 'final')", true, true),
            ("not (status = 'draft' or carrier = 'DL')", true, false),
            ("carrier = 'DL' or status = 'draft'", false, true),
            ("not (carrier = 'DL' and status = 'draft')", true, false),
            ("not (carrier = 'DL' and status = 'final')", true, true),
        ] {
            let predicate = Predicate::parse_and_check(source, &flight()).expect(source);
            assert_eq!(predicate.matches(&FLIGHT), flight_matches, "{source}");
            assert_eq!(predicate.matches(&nulls), nulls_match, "{source} of nulls");
        }
    }

    #[test]
    fn mistakes_of_type_are_found_where_they_are() {
        for (source, position, length, message, hint) in [
            ("distance >= 1 and arr_dela < 5", 0, 8, "unknown field \"distance\"", "single quotes: 'distance'"),
            ("fare > 1 and arr_dela < 5", 13, 8, "unknown field \"arr_dela\"", "did you mean \"arr_delay\"?"),
            ("Carrier = 'UA'", 0, 7, "unknown field", "did you mean \"carrier\"?"),
            ("carrier = UA", 10, 2, "unknown field \"UA\"", "single quotes: 'UA'"),
            ("carrier = \"UA\"", 10, 4, "unknown field \"UA\"", "single quotes: 'UA'"),
            ("status = final", 9, 5, "unknown field \"final\"", "single quotes: 'final'"),
            ("'é' = carier", 7, 6, "unknown field \"carier\"", "\"carrier\""),
            ("x = 1", 0, 1, "unknown field", "the fields are carrier, origin, gate-no, status, arr_delay, fare, null"),
            ("carrier = 5", 10, 1, "expected a text, found the number 5", "write '5' in quotes"),
            ("5 < carrier", 0, 1, "expected a text", "write '5' in quotes"),
            ("carrier < 5", 10, 1, "expected a text", "write '5' in quotes"),
            ("carrier in ('UA', 5)", 18, 1, "expected a text", "write '5' in quotes"),
            ("arr_delay = '5'", 12, 3, "expected a number, found the text '5'", "write 5 without quotes"),
            ("arr_delay in (1, 'late')", 17, 6, "expected a number", "such as 12.5"),
            ("arr_delay between 1 and '2'", 24, 3, "expected a number", "write 2 without"),
            (
                "carrier = arr_delay",
                0,
                19,
                "the dimension carrier cannot be compared with the measure arr_delay",
                "texts",
            ),
            ("status = carrier", 0, 16, "cannot be compared", "'draft', 'final' or 'void'"),
            ("status = 'Final'", 9, 7, "unknown status 'Final'", "did you mean 'final'?"),
            ("status in ('final', 'gone')", 20, 6, "unknown status 'gone'", "'draft', 'final' or 'void'"),
            ("status = 1", 9, 1, "expected a status, found 1", "'draft'"),
            ("status < 'final'", 0, 6, "no order", "in"),
            ("status between 'draft' and 'final'", 0, 6, "no order", "in"),
            ("status is null", 0, 6, "never null", ""),
            ("1 = 1", 0, 5, "both constants", "field"),
            ("carrier = 'UA' and 'a' = 'b'", 19, 9, "both constants", "field"),
            ("1 between 0 and fare", 0, 11, "both constants", "field"),
            ("'a' in ('a')", 0, 3, "before in, found 'a'", ""),
            ("1 is null", 0, 1, "before is null, found 1", ""),
        ] {
            let error = Predicate::parse_and_check(source, &flight()).expect_err(source);
            assert_eq!((error.position, error.length), (position, length), "{source}: {error}");
            assert!(error.message.contains(message), "{source}: {error}");
            assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{source}: {error}");
        }
    }

    #[test]
    fn quoted_names_reach_every_column() {
        let predicate = Predicate::parse_and_check("\"gate-no\" = 'B4' and \"status\" = status", &flight());
        assert_eq!(predicate.unwrap_err().position, 21, "a column named status is no status");
        let predicate =
            Predicate::parse_and_check("\"status\" = 'on' or \"gate-no\" = 'B4' or \"null\" = 1", &flight());
        let predicate = predicate.unwrap();
        assert_eq!(predicate.to_string(), "\"status\" = 'on' or \"gate-no\" = 'B4' or \"null\" = 1");
        assert!(!predicate.mentions_status());
        assert!(Predicate::parse_and_check("not (fare > 1 and status = 'void')", &flight()).unwrap().mentions_status());
    }

    #[test]
    fn a_broken_model_is_refused() {
        let mut kind = flight();
        kind.measures[1].scale = 13;
        assert_eq!(Predicate::parse_and_check("1 < fare", &kind).unwrap_err().position, 4);
        let mut kind = flight();
        kind.measures[0].name = kind.dimensions[0].name.clone();
        let error = Predicate::parse_and_check("carrier = 'UA'", &kind).unwrap_err();
        assert!(error.message.contains("both a dimension and a measure"));
    }

    #[test]
    fn the_canonical_form_is_bounded() {
        let source = format!("fare in ({})", vec!["1e36"; 700].join(","));
        assert!(Predicate::parse_and_check(&source, &flight()).is_ok(), "repetitions go");
        let numbers: Vec<_> = (1..500).map(|n| format!("{n}e30")).collect();
        let source = format!("fare in ({})", numbers.join(","));
        assert!(source.len() < MAX_EXPRESSION_BYTES);
        let error = Predicate::parse_and_check(&source, &flight()).unwrap_err();
        assert!(error.message.contains("written out in full"), "{error}");
        assert_eq!((error.position, error.length), (0, source.len()));
    }

    #[test]
    fn numbers_become_ranges_of_integers() {
        let range = |scale: u8, relation: Relation, text: &str| match measure_range(0, scale, relation, number_of(text))
        {
            Test::MeasureRange { low, high, inside, .. } => (low, high, inside),
            other => panic!("{other:?}"),
        };
        use Relation::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        assert_eq!(range(0, LessOrEqual, "2.5"), (i64::MIN, 2, true));
        assert_eq!(range(0, Less, "2.5"), (i64::MIN, 2, true));
        assert_eq!(range(0, Less, "2"), (i64::MIN, 1, true));
        assert_eq!(range(0, Greater, "-2.5"), (-2, i64::MAX, true));
        assert_eq!(range(0, GreaterOrEqual, "-2.5"), (-2, i64::MAX, true));
        assert_eq!(range(2, GreaterOrEqual, "-2.5"), (-250, i64::MAX, true));
        assert_eq!(range(2, Equal, "1.005"), (1, 0, true));
        assert_eq!(range(2, NotEqual, "1.005"), (1, 0, false));
        assert_eq!(range(12, Equal, "9223372.036854775807"), (i64::MAX, i64::MAX, true));
        assert_eq!(range(12, Equal, "9223372.036854775808"), (1, 0, true));
        assert_eq!(range(12, Greater, "9223372.036854775807"), (1, 0, true));
        assert_eq!(range(0, Less, "-9223372036854775808"), (1, 0, true));
        assert_eq!(range(0, LessOrEqual, "-9223372036854775808"), (i64::MIN, i64::MIN, true));
        assert_eq!(range(12, Less, "170141183460469231731687303715884105727"), (i64::MIN, i64::MAX, true));
        assert_eq!(range(12, Less, "-170141183460469231731687303715884105727"), (1, 0, true));
    }
}
