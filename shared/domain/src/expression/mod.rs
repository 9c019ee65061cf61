//! The language of metrics: what a metric computes, and `where` says which entities take part.
//!
//! There are three entry points. [`Aggregate`] reads texts such as `quantile(arr_delay, 0.95)`, [`Predicate`] texts such as
//! `carrier in ('UA', 'DL') and not arr_delay is null`. Both are parsed and typed against a kind when a view is
//! applied, so that no mistake waits for the first event. A mistake is an [`ExpressionError`] that knows its place.
//! [`PathPredicate`] reads a `where` over the paths of a foreign record, whose types nobody has declared, and [`FigurePredicate`] one over
//! the figures of a group.
//!
//! A text goes through `lexer` → `parser` (giving `syntax`) → `check` (with names looked up by `fields`) → `compiled`,
//! which is what runs per event: positions instead of names, integers instead of decimals, no negations.
//!
//! ```text
//! condition  = conjunction { "or" conjunction }
//! conjunction= negation { "and" negation }
//! negation   = "not" negation | "(" condition ")" | test
//! test       = operand ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) operand
//!            | operand [ "not" ] "in" "(" literal { "," literal } ")"
//!            | operand [ "not" ] "between" operand "and" operand
//!            | operand "is" [ "not" ] "null"
//! operand    = field | literal
//! field      = dimension | measure | "status"
//! literal    = 'text' | number
//! aggregate  = function [ "(" [ argument { "," argument } ] ")" ]
//! ```
//!
//! Keywords and functions may be in either case; names are case-sensitive. A name that is no plain word (it holds a
//! `-`, starts with a digit, or is a keyword) is written in double quotes. Unquoted `status` is always the entity's
//! state; a column of that name is `"status"`. Texts are ordered by their UTF-8 bytes.
//!
//! The functions, with `m` a measure, `s` the digits after its point, and `d` a dimension. Nulls take no part.
//!
//! | function | figure | digits | of nothing |
//! | --- | --- | --- | --- |
//! | `count`, `count(m)` | entities; those that have `m` | exact | 0 |
//! | `sum(m)` | | exact, `s` | 0 |
//! | `avg(m)` | | rounded, `s + 6` | null |
//! | `min(m)`, `max(m)` | | exact, `s` | null |
//! | `variance(m)` | of a sample, by `n − 1` | rounded, `2s + 6` | null below two values |
//! | `stddev(m)` | its root, rounded once | rounded, `s + 6` | null below two values |
//! | `median(m)`, `quantile(m, q)` | the smallest value that at least `q · n` values do not exceed | exact, `s` | null |
//! | `approx_quantile(m, q)` | the middle of that value's bucket | within 1/128 of it; exact below 128 units of the last digit | null |
//! | `distinct(d)` | different values | exact | 0 |
//! | `approx_distinct(d)` | about how many | standard error 1.6 % | 0 |
//! | `first(m)`, `last(m)` | at the earliest and latest event time; of equals in time the smallest, and the largest | exact, `s` | null |
//! | `ratio(a, b)` | one metric above it by another | rounded, 6 | null, also by 0 |
//!
//! Rounding is half to even and happens once, when a figure is read; what is kept is exact. Each function says more at
//! its variant of [`Aggregate`].

mod aggregate;
mod check;
mod compiled;
mod error;
mod fields;
mod figures;
mod lexer;
mod parser;
mod paths;
mod predicate;
#[cfg(test)]
mod properties;
mod relation;
mod syntax;

pub use aggregate::{Aggregate, AggregateSyntax, parse_aggregate};
pub use compiled::Row;
pub use error::ExpressionError;
pub use figures::FigurePredicate;
pub use paths::{PathName, PathPredicate, Seen};
pub use predicate::Predicate;

/// Longest expression, in bytes, as written and in its canonical form: what a person still reads.
pub const MAX_EXPRESSION_BYTES: usize = 4096;
/// Deepest nesting of parentheses and `not`s; parsing and evaluating recurse this far and no further.
pub const MAX_NESTING: usize = 64;
/// Most literals of one `in (…)`; a longer list should be a dimension of its own.
pub const MAX_LIST_LITERALS: usize = 1_000;
/// Most digits after the point of a quantile's `q`, so that `q` times a count of 64 bits fits an `i128`.
pub const MAX_QUANTILE_DIGITS: u8 = 12;
