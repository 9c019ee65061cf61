//! A condition over the figures of one group of a view: its metrics, and the dimensions that the view groups by.
//!
//! The language is that of `where`. Nulls are as there: a comparison with one is unknown, and a condition holds only when it is true.

use super::check;
use super::error::{ExpressionError, excerpt};
use super::fields::unknown;
use super::parser;
use super::paths::all;
use super::relation::Relation;
use super::syntax::{Condition, Constant, Identifier, Literal, Operand};
use crate::ids::Name;
use crate::value::Number;
use compact_str::CompactString;
use std::fmt;

/// A condition over a group, checked against the columns of its view.
///
/// ```
/// use daybook_domain::expression::FigurePredicate;
/// use daybook_domain::ids::Name;
/// use daybook_domain::value::Number;
/// let name = |text| Name::new(text).unwrap();
/// let low = FigurePredicate::parse_and_check("revenue < 0 and store != 'S2'", &[name("store")], &[name("revenue")]).unwrap();
/// let loss = Some(Number::new(-320, 2));
/// assert!(low.holds(&[Some("S1".into())], &[loss]));
/// assert!(!low.holds(&[Some("S2".into())], &[loss]));
/// assert!(!low.holds(&[Some("S1".into())], &[None]), "null is not below 0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FigurePredicate {
    canonical: Box<str>,
    test: Test,
}

/// What runs, with columns by their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare(Side, Relation, Side),
    In(Side, Vec<Side>),
    IsNull(Side),
}

/// One side of a comparison. Both sides of one are of the same type.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Dimension(usize),
    Metric(usize),
    Text(String),
    Number(Number),
}

/// The columns of a view by name.
#[derive(Clone, Copy)]
struct Columns<'c> {
    dimensions: &'c [Name],
    metrics: &'c [Name],
}

/// The figures of a group, as far as they are known.
#[derive(Clone, Copy)]
struct Group<'g> {
    dimensions: &'g [Option<CompactString>],
    metrics: &'g [Option<Number>],
}

/// What a side is of a group.
#[derive(PartialEq, PartialOrd)]
enum Value<'v> {
    Text(&'v str),
    Number(Number),
}

impl FigurePredicate {
    /// Reads a condition over the dimensions and metrics of these names, which all differ.
    ///
    /// # Errors
    /// With its place, the first mistake: in the grammar, a name that the view has not, a value of the wrong type, or a limit of this
    /// module exceeded.
    pub fn parse_and_check(text: &str, dimensions: &[Name], metrics: &[Name]) -> Result<Self, ExpressionError> {
        let condition = parser::condition(text)?;
        let test = Columns { dimensions, metrics }.test(&condition)?;
        let canonical = check::canonical(&condition, text)?;
        Ok(Self { canonical: canonical.into(), test })
    }

    /// Whether it is true of a group with these dimensions and metrics, in the order of their names.
    pub fn holds(&self, dimensions: &[Option<CompactString>], metrics: &[Option<Number>]) -> bool {
        self.test.truth(Group { dimensions, metrics }) == Some(true)
    }
}

impl fmt::Display for FigurePredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.canonical)
    }
}

impl Columns<'_> {
    fn test(self, condition: &Condition) -> Result<Test, ExpressionError> {
        let tests = |parts: &[Condition]| parts.iter().map(|part| self.test(part)).collect::<Result<Vec<_>, _>>();
        let not_if = |negated: bool, test: Test| if negated { Test::Not(Box::new(test)) } else { test };
        match condition {
            Condition::All(parts) => tests(parts).map(Test::All),
            Condition::Any(parts) => tests(parts).map(Test::Any),
            Condition::Not(inner) => self.test(inner).map(|test| not_if(true, test)),
            Condition::Compare { left, relation, right } => self.compare(left, *relation, right),
            Condition::Between { subject, low, high, negated } => {
                let low = self.compare(subject, Relation::GreaterOrEqual, low)?;
                let high = self.compare(subject, Relation::LessOrEqual, high)?;
                Ok(not_if(*negated, Test::All(vec![low, high])))
            }
            Condition::In { subject, list, negated } => {
                let (name, column) = self.subject(subject, "in")?;
                let values = list.iter().map(|literal| constant(name, &column, literal)).collect::<Result<_, _>>()?;
                Ok(not_if(*negated, Test::In(column, values)))
            }
            Condition::IsNull { subject, negated } => {
                let (_, column) = self.subject(subject, "is null")?;
                Ok(not_if(*negated, Test::IsNull(column)))
            }
        }
    }

    fn compare(self, left: &Operand, relation: Relation, right: &Operand) -> Result<Test, ExpressionError> {
        match (left, right) {
            (Operand::Field(name), Operand::Literal(literal)) => {
                let column = self.column(name)?;
                let value = constant(name, &column, literal)?;
                Ok(Test::Compare(column, relation, value))
            }
            (Operand::Literal(_), Operand::Field(_)) => self.compare(right, relation.mirrored(), left),
            (Operand::Field(one), Operand::Field(other)) => {
                let sides = (self.column(one)?, self.column(other)?);
                match sides {
                    (Side::Dimension(_), Side::Dimension(_)) | (Side::Metric(_), Side::Metric(_)) => {
                        Ok(Test::Compare(sides.0, relation, sides.1))
                    }
                    _ => Err(one.place.to(other.place).error_with_hint(
                        format!("the {} {one} cannot be compared with the {} {other}", sides.0.what(), sides.1.what()),
                        "dimensions are texts, and metrics are numbers",
                    )),
                }
            }
            (Operand::Literal(_), Operand::Literal(_)) => {
                let place = left.place().to(right.place());
                Err(place.error_with_hint("both sides are constants", "compare a metric or dimension with one of them"))
            }
        }
    }

    fn subject<'o>(self, subject: &'o Operand, test: &str) -> Result<(&'o Identifier, Side), ExpressionError> {
        match subject {
            Operand::Field(name) => Ok((name, self.column(name)?)),
            Operand::Literal(literal) => {
                let message = format!("expected a metric or dimension before {test}, found {}", literal.constant);
                Err(literal.place.error(message))
            }
        }
    }

    fn column(self, identifier: &Identifier) -> Result<Side, ExpressionError> {
        let position = |names: &[Name]| names.iter().position(|name| name.as_str() == identifier.name);
        if identifier.is_status() {
            let hint = if position(self.dimensions).is_some() {
                "the dimension of that name stands in double quotes: \"status\""
            } else {
                "a metric counts only some with `status:` or `where:` of its own"
            };
            let message = "status is of single entities, and this condition is over the figures of a group";
            return Err(identifier.place.error_with_hint(message, hint));
        }
        match (position(self.dimensions), position(self.metrics)) {
            (Some(dimension), _) => Ok(Side::Dimension(dimension)),
            (None, Some(metric)) => Ok(Side::Metric(metric)),
            (None, None) => {
                let known = self.dimensions.iter().chain(self.metrics).map(Name::as_str);
                Err(unknown(identifier, "column of the view", known))
            }
        }
    }
}

/// A literal that a column of that type is compared with.
fn constant(name: &Identifier, column: &Side, literal: &Literal) -> Result<Side, ExpressionError> {
    match (column, &literal.constant) {
        (Side::Dimension(_), Constant::Text(text)) => Ok(Side::Text(text.clone())),
        (Side::Metric(_), Constant::Number(number)) => Ok(Side::Number(*number)),
        (Side::Dimension(_), Constant::Number(number)) => Err(literal.place.error_with_hint(
            format!("{name} is a dimension: expected a text, found the number {number}"),
            format!("dimension values are texts: write '{number}' in quotes"),
        )),
        (_, Constant::Text(text)) => Err(literal.place.error_with_hint(
            format!("{name} is a metric: expected a number, found the text '{}'", excerpt(text)),
            "metrics are numbers, such as 12.5",
        )),
        (Side::Text(_) | Side::Number(_), _) => unreachable!("a constant is no column"),
    }
}

impl Test {
    /// Whether it is true or false; `None` where a null leaves it unknown.
    fn truth(&self, group: Group<'_>) -> Option<bool> {
        let not = |truth: Option<bool>| truth.map(|is| !is);
        let equals = |left: &Value<'_>, right: &Side| right.value(group).map(|right| *left == right);
        match self {
            Self::All(parts) => all(parts.iter().map(|part| part.truth(group))),
            Self::Any(parts) => not(all(parts.iter().map(|part| not(part.truth(group))))),
            Self::Not(inner) => not(inner.truth(group)),
            Self::Compare(left, relation, right) => {
                let ordering = left.value(group)?.partial_cmp(&right.value(group)?)?;
                Some(relation.holds(ordering))
            }
            Self::In(subject, list) => {
                let subject = subject.value(group)?;
                Some(list.iter().any(|one| equals(&subject, one) == Some(true)))
            }
            Self::IsNull(column) => Some(column.value(group).is_none()),
        }
    }
}

impl Side {
    fn value<'v>(&'v self, group: Group<'v>) -> Option<Value<'v>> {
        match self {
            Self::Dimension(at) => group.dimensions[*at].as_deref().map(Value::Text),
            Self::Metric(at) => group.metrics[*at].map(Value::Number),
            Self::Text(text) => Some(Value::Text(text)),
            Self::Number(number) => Some(Value::Number(*number)),
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Dimension(_) => "dimension",
            Self::Metric(_) => "metric",
            Self::Text(_) | Self::Number(_) => "constant",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| Name::new(text).unwrap()).collect()
    }

    fn parse(text: &str) -> Result<FigurePredicate, ExpressionError> {
        FigurePredicate::parse_and_check(
            text,
            &names(&["store", "status"]),
            &names(&["revenue", "orders", "per-order"]),
        )
    }

    #[test]
    fn conditions_hold_of_figures() {
        let dimensions = [Some("S1".into()), None];
        let metrics = [Some(Number::new(-320, 2)), Some(Number::integer(4)), None];
        for (text, expected) in [
            ("revenue < 0", true),
            ("0 > revenue", true),
            ("revenue < -3.2", false),
            ("revenue = -3.20", true),
            ("revenue != -3.2", false),
            ("revenue <= orders", true),
            ("revenue < 0 and orders > 4", false),
            ("revenue < 0 or orders > 4", true),
            ("not (revenue < 0 and orders > 4)", true),
            ("orders between 1 and 4", true),
            ("orders not between 1 and 4", false),
            ("orders in (1, 4.0)", true),
            ("orders not in (1, 4.0)", false),
            ("store = 'S1' and revenue < 0", true),
            ("store in ('S2', 'S3')", false),
            ("store not in ('S2', 'S3')", true),
            ("store >= 'S'", true),
            ("\"per-order\" < 1", false),
            ("not \"per-order\" < 1", false),
            ("\"per-order\" in (1)", false),
            ("\"per-order\" not in (1)", false),
            ("\"per-order\" is null", true),
            ("\"status\" is null and store is not null", true),
            ("\"per-order\" < 1 or revenue < 0", true),
            ("orders > 1e30 or orders < 123456789012345678901234567890", true),
        ] {
            let predicate = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(predicate.holds(&dimensions, &metrics), expected, "{text}");
            assert_eq!(parse(&predicate.to_string()).unwrap().to_string(), predicate.to_string());
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (text, position, message, hint) in [
            ("revenu < 0", 0, "unknown column of the view \"revenu\"", "did you mean \"revenue\"?"),
            ("revenue < 0 and shop = 'S1'", 16, "unknown column", "store, status, revenue"),
            ("revenue < '0'", 10, "expected a number, found the text '0'", "such as 12.5"),
            ("store = 5", 8, "expected a text, found the number 5", "write '5' in quotes"),
            ("store in ('S1', 5)", 16, "expected a text", "quotes"),
            ("store = revenue", 0, "the dimension store cannot be compared with the metric revenue", "numbers"),
            ("status = 'final'", 0, "status is of single entities", "double quotes: \"status\""),
            ("1 = 1", 0, "both sides are constants", "metric"),
            ("1 in (1)", 0, "expected a metric or dimension before in", ""),
            ("revenue <", 9, "expected", ""),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
            assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{text}: {error}");
        }
    }
}
