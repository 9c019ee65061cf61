//! A checked `where`, ready to run per event.

use super::compiled::{Row, Test};
use super::error::ExpressionError;
use super::{check, parser};
use crate::catalogue::Kind;
use std::fmt;

/// A `where`: which entities take part in a metric.
///
/// Two predicates of a kind are equal when their canonical texts are. [`Display`](fmt::Display) writes that text, and
/// reading it again gives an equal predicate.
///
/// ```
/// use daybook_domain::catalogue::{Dimension, Kind, Measure, Mode, Status};
/// use daybook_domain::expression::{Predicate, Row};
/// use daybook_domain::ids::Name;
/// use daybook_domain::time::Instant;
///
/// struct Flight(&'static str, Option<i64>);
/// impl Row for Flight {
///     fn dimension(&self, _: usize) -> Option<&str> { Some(self.0) }
///     fn measure(&self, _: usize) -> Option<i64> { self.1 }
///     fn status(&self) -> Status { Status::Final }
///     fn at(&self) -> Instant { Instant::MIN }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kind = Kind {
///     name: Name::new("flight")?,
///     mode: Mode::Entity,
///     dimensions: vec![Dimension { name: Name::new("carrier")?, field: None }],
///     measures: vec![Measure { name: Name::new("arr_delay")?, scale: 0 }],
///     revision: 1,
///     mappings: Vec::new(), remember: None,
/// };
/// let on_time = Predicate::parse_and_check("carrier IN ('UA','DL') AND NOT arr_delay>15", &kind)?;
/// assert_eq!(on_time.to_string(), "carrier in ('DL', 'UA') and arr_delay <= 15");
/// assert!(on_time.matches(&Flight("UA", Some(15))));
/// assert!(!on_time.matches(&Flight("UA", None)), "null is not at most 15");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicate {
    canonical: Box<str>,
    test: Test,
}

impl Predicate {
    /// Reads a `where` and types it against the model of `kind`.
    ///
    /// # Errors
    /// With its place, the first mistake: in the grammar, a name the kind has not, a value of the wrong type, or a
    /// limit of this module exceeded (also by the canonical form).
    pub fn parse_and_check(text: &str, kind: &Kind) -> Result<Self, ExpressionError> {
        let condition = parser::condition(text)?;
        let test = check::test(&condition, kind)?;
        let canonical = check::canonical(&condition, text)?;
        Ok(Self { canonical: canonical.into(), test })
    }

    /// Whether the condition is true of `row`. Where a null leaves it unknown, as in SQL, it is not.
    #[inline]
    pub fn matches(&self, row: &impl Row) -> bool {
        self.test.holds(row)
    }

    /// Whether the condition speaks of the status itself.
    pub fn mentions_status(&self) -> bool {
        self.test.mentions_status()
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.canonical)
    }
}
