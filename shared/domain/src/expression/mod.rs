//! The language of metrics: what a metric computes, and `where` says which entities take part.
//!
//! There are two entry points. [`Aggregate`] reads texts such as `quantile(arr_delay, 0.95)`, [`Predicate`] texts such as
//! `carrier in ('UA', 'DL') and not arr_delay is null`. Both are parsed and typed against a kind when a view is
//! applied, so that no mistake waits for the first event. A mistake is an [`ExpressionError`] that knows its place.
//!
//! A text goes through `lexer` → `parser` (giving `syntax`) → `check` (with names looked up by `fields`) → `predicate`,
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

mod aggregate;
mod check;
mod error;
mod fields;
mod lexer;
mod parser;
mod predicate;
#[cfg(test)]
mod properties;
mod syntax;

pub use aggregate::{Aggregate, AggregateSyntax, parse_aggregate};
pub use error::ExpressionError;
pub use predicate::{Predicate, Row};

/// Longest expression, in bytes, as written and in its canonical form: what a person still reads.
pub const MAX_EXPRESSION_BYTES: usize = 4096;
/// Deepest nesting of parentheses and `not`s; parsing and evaluating recurse this far and no further.
pub const MAX_NESTING: usize = 64;
/// Most literals of one `in (…)`; a longer list should be a dimension of its own.
pub const MAX_LIST_LITERALS: usize = 1_000;
/// Most digits after the point of a quantile's `q`, so that `q` times a count of 64 bits fits an `i128`.
pub const MAX_QUANTILE_DIGITS: u8 = 12;
