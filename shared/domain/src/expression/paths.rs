//! A condition over the values of a foreign record, whose types nobody has declared.
//!
//! The language is that of `where`. A name is a path: a plain word such as `currency` is a field of the record, and a text
//! in double quotes such as `"/data/type"` is what the caller takes it for.

use super::check;
use super::error::ExpressionError;
use super::parser;
use super::relation::Relation;
use super::syntax::{Condition, Constant, Identifier, Literal, Operand};
use crate::value::Number;
use std::borrow::Cow;
use std::fmt;

/// A value of a record, as a condition sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<'v> {
    /// Absent or null.
    Null,
    /// A text; of a boolean `true` or `false`.
    Text(Cow<'v, str>),
    /// A number as it is written.
    Number(&'v str),
    /// An array or object: it is not null, and equals nothing.
    Compound,
}

/// A name in a condition over paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathName {
    pub name: String,
    /// Whether it stands in double quotes.
    pub quoted: bool,
    /// Where it stands in the condition: bytes from its start.
    pub position: usize,
}

/// A condition over paths, ready to be tried on records.
///
/// Numbers are compared as numbers where the other side is one, also when they are written as texts. A value that is null,
/// or that cannot be compared, makes a test unknown; a condition holds only when it is true.
///
/// ```
/// use daybook_domain::expression::{PathPredicate, Seen};
/// let paid = PathPredicate::parse(r#"state != 'open' and "/total/net" >= 10"#).unwrap();
/// assert_eq!(paid.names().iter().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["state", "/total/net"]);
/// let record = [Seen::Text("paid".into()), Seen::Text("10.50".into())];
/// assert!(paid.holds(&|name| record[name].clone()));
/// assert!(!paid.holds(&|_| Seen::Null));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPredicate {
    condition: Condition,
    names: Vec<PathName>,
    canonical: Box<str>,
}

impl PathPredicate {
    /// # Errors
    /// The first mistake in the grammar, or a limit of this module exceeded, with its place.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let condition = parser::condition(text)?;
        let canonical = check::canonical(&condition, text)?;
        let mut names = Vec::new();
        collect(&condition, &mut names)?;
        Ok(Self { condition, names, canonical: canonical.into() })
    }

    /// The names in it, each once for each form in which it is written.
    pub fn names(&self) -> &[PathName] {
        &self.names
    }

    /// Whether it is true; `value` gives the value of the name at that position of [`PathPredicate::names`].
    pub fn holds<'v>(&self, value: &dyn Fn(usize) -> Seen<'v>) -> bool {
        let lookup = |name: &Identifier| {
            let is_it = |known: &PathName| known.name == name.name && known.quoted == name.quoted;
            value(self.names.iter().position(is_it).expect("every name of the condition was collected"))
        };
        truth(&self.condition, &lookup) == Some(true)
    }
}

impl fmt::Display for PathPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.canonical)
    }
}

/// Notes the names of a condition, and refuses tests that compare nothing of the record.
fn collect(condition: &Condition, names: &mut Vec<PathName>) -> Result<(), ExpressionError> {
    let mut note = |operand: &Operand| match operand {
        Operand::Field(Identifier { name, quoted, place }) => {
            if !names.iter().any(|known| known.name == *name && known.quoted == *quoted) {
                names.push(PathName { name: name.clone(), quoted: *quoted, position: place.start });
            }
            true
        }
        Operand::Literal(_) => false,
    };
    let constant = |operand: &Operand| {
        let hint = "compare a path with it; a path that is no plain word stands in double quotes: \"/data/type\"";
        Err(operand.place().error_with_hint("both sides are constants", hint))
    };
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().try_for_each(|part| collect(part, names)),
        Condition::Not(inner) => collect(inner, names),
        Condition::Compare { left, right, .. } => match note(left) | note(right) {
            true => Ok(()),
            false => constant(left),
        },
        Condition::Between { subject, low, high, .. } => match note(subject) | note(low) | note(high) {
            true => Ok(()),
            false => constant(subject),
        },
        Condition::In { subject, .. } | Condition::IsNull { subject, .. } => match note(subject) {
            true => Ok(()),
            false => constant(subject),
        },
    }
}

/// Whether it is true or false; `None` where a null leaves it unknown, as in SQL.
fn truth<'v>(condition: &Condition, value: &impl Fn(&Identifier) -> Seen<'v>) -> Option<bool> {
    match condition {
        Condition::All(parts) => all(parts.iter().map(|part| truth(part, value))),
        Condition::Any(parts) => all(parts.iter().map(|part| truth(part, value).map(|is| !is))).map(|is| !is),
        Condition::Not(inner) => truth(inner, value).map(|is| !is),
        Condition::Compare { left, relation, right } => compare(&side(left, value), *relation, &side(right, value)),
        Condition::In { subject, list, negated } => {
            let found = side(subject, value);
            let equal = |literal: &Literal| compare(&found, Relation::Equal, &Side::Constant(&literal.constant));
            all(list.iter().map(|literal| equal(literal).map(|is| !is))).map(|none| none == *negated)
        }
        Condition::Between { subject, low, high, negated } => {
            let subject = side(subject, value);
            all([
                compare(&subject, Relation::GreaterOrEqual, &side(low, value)),
                compare(&subject, Relation::LessOrEqual, &side(high, value)),
            ])
            .map(|is| is != *negated)
        }
        Condition::IsNull { subject, negated } => {
            Some(matches!(side(subject, value), Side::Value(Seen::Null)) != *negated)
        }
    }
}

/// Whether all are true; `None` where one is unknown and none is false.
pub(super) fn all(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut every = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            Some(true) => {}
            None => every = None,
        }
    }
    every
}

/// One side of a test.
enum Side<'s> {
    Value(Seen<'s>),
    Constant(&'s Constant),
}

impl Side<'_> {
    /// Whether it is written as a number.
    fn is_number(&self) -> bool {
        matches!(self, Self::Value(Seen::Number(_)) | Self::Constant(Constant::Number(_)))
    }

    fn number(&self) -> Option<Number> {
        match self {
            Self::Value(Seen::Number(text)) => Number::parse(text).ok(),
            Self::Value(Seen::Text(text)) => Number::parse(text).ok(),
            Self::Constant(Constant::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Value(Seen::Number(text)) => Some(text),
            Self::Value(Seen::Text(text)) => Some(text),
            Self::Constant(Constant::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing can be said of it.
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Value(Seen::Null | Seen::Compound))
    }
}

fn side<'s, 'v: 's>(operand: &'s Operand, value: &impl Fn(&Identifier) -> Seen<'v>) -> Side<'s> {
    match operand {
        Operand::Field(name) => Side::Value(value(name)),
        Operand::Literal(literal) => Side::Constant(&literal.constant),
    }
}

fn compare(left: &Side<'_>, relation: Relation, right: &Side<'_>) -> Option<bool> {
    if left.is_unknown() || right.is_unknown() {
        return None;
    }
    // A text that the user wrote in the condition compares with what a number looks like: ids are often numbers.
    let as_texts = [left, right].iter().any(|side| matches!(side, Side::Constant(Constant::Text(_))));
    let ordering = if !as_texts && (left.is_number() || right.is_number()) {
        left.number().zip(right.number()).map(|(left, right)| left.cmp(&right))
    } else {
        left.text().zip(right.text()).map(|(left, right)| left.cmp(right))
    };
    match (ordering, relation) {
        (Some(ordering), _) => Some(relation.holds(ordering)),
        // What is no number differs from every number, and has no order with it.
        (None, Relation::Equal) => Some(false),
        (None, Relation::NotEqual) => Some(true),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str) -> bool {
        let predicate = PathPredicate::parse(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        assert_eq!(PathPredicate::parse(&predicate.to_string()).unwrap().to_string(), predicate.to_string());
        predicate.holds(&|name| match predicate.names()[name].name.as_str() {
            "state" => Seen::Text("paid".into()),
            "price" => Seen::Text("12.50".into()),
            "status" => Seen::Text("open".into()),
            "count" => Seen::Number("3.0"),
            "id" => Seen::Number("9007199254740993"),
            "huge" => Seen::Number("1e999"),
            "live" => Seen::Text("true".into()),
            "/lines" => Seen::Compound,
            _ => Seen::Null,
        })
    }

    #[test]
    fn conditions_hold_of_values_of_any_type() {
        for (condition, expected) in [
            ("state = 'paid'", true),
            ("state != 'paid'", false),
            ("status = 'open'", true),
            ("price >= 12.5 and price < 12.6", true),
            ("12.5 = price", true),
            ("price = '12.5'", false),
            ("price > count", true),
            ("count = 3", true),
            ("count in (1, 3)", true),
            ("count not in (1, 3)", false),
            ("state in ('open', 'paid')", true),
            ("state not in ('open')", true),
            ("state in (1, 2)", false),
            ("state not in (1, 2)", true),
            ("state = 5", false),
            ("state != 5", true),
            ("state > 5", false),
            ("not state > 5", false),
            ("id = '9007199254740993'", true),
            ("id = 9007199254740993 and id != 9007199254740992", true),
            ("huge = 5", false),
            ("huge != 5", true),
            ("live = 'true'", true),
            ("gone = 'x'", false),
            ("gone != 'x'", false),
            ("not gone = 'x'", false),
            ("gone in ('x')", false),
            ("gone not in ('x')", false),
            ("gone is null", true),
            ("gone is null or gone = 'x'", true),
            ("not (gone = 'x' and state = 'open')", true),
            ("not (gone = 'x' or state = 'paid')", false),
            ("\"/lines\" is not null", true),
            ("\"/lines\" = 'x'", false),
            ("\"/lines\" != 'x'", false),
            ("count between 1 and 3", true),
            ("count not between 1 and 3", false),
            ("2 between count and gone", false),
        ] {
            assert_eq!(holds(condition), expected, "{condition}");
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        for (condition, position, message) in
            [("1 = 2", 0, "constants"), ("a = 'x' and '/b' = 'y'", 12, "constants"), ("'x' is null", 0, "constants")]
        {
            let error = PathPredicate::parse(condition).unwrap_err();
            assert_eq!(error.position, position, "{condition}: {error}");
            assert!(error.message.contains(message), "{condition}: {error}");
        }
        assert!(PathPredicate::parse("a =").is_err());
    }
}
