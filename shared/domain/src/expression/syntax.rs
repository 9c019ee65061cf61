//! What a condition says, before names are looked up. Written back, it is in its canonical form.
//!
//! The constructors normalise: a field stands left of a literal, `and`s and `or`s are flat, and `not` is only left
//! before a parenthesis.

use super::error::Span;
use super::lexer::is_plain_word;
use super::relation::Relation;
use crate::value::Number;
use std::fmt;
use std::mem::take;

/// A name as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identifier {
    pub(super) name: String,
    /// In double quotes, where it is never the reserved `status`.
    pub(super) quoted: bool,
    pub(super) place: Span,
}

impl Identifier {
    /// Whether this is the entity's state and no column.
    pub(super) fn is_status(&self) -> bool {
        !self.quoted && self.name == "status"
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_status() || (is_plain_word(&self.name) && self.name != "status") {
            f.write_str(&self.name)
        } else {
            write!(f, "\"{}\"", self.name)
        }
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Constant {
    Number(Number),
    Text(String),
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

/// A constant and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) constant: Constant,
    pub(super) place: Span,
}

/// One side of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    Field(Identifier),
    Literal(Literal),
}

impl Operand {
    pub(super) fn place(&self) -> Span {
        match self {
            Self::Field(field) => field.place,
            Self::Literal(literal) => literal.place,
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => field.fmt(f),
            Self::Literal(literal) => literal.constant.fmt(f),
        }
    }
}

/// A condition over one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Two or more, none of them an `All`.
    All(Vec<Condition>),
    /// Two or more, none of them an `Any`.
    Any(Vec<Condition>),
    /// Of an `All` or an `Any`.
    Not(Box<Condition>),
    Compare {
        left: Operand,
        relation: Relation,
        right: Operand,
    },
    In {
        subject: Operand,
        list: Vec<Literal>,
        negated: bool,
    },
    Between {
        subject: Operand,
        low: Operand,
        high: Operand,
        negated: bool,
    },
    IsNull {
        subject: Operand,
        negated: bool,
    },
}

/// One or more parts joined. A part of the same sort, of which `inner` takes the parts out, joins as its parts; one alone stands for
/// itself.
pub(super) fn joined<T>(parts: Vec<T>, inner: impl Fn(&mut T) -> Option<Vec<T>>, join: impl FnOnce(Vec<T>) -> T) -> T {
    let mut flat = Vec::with_capacity(parts.len());
    for mut part in parts {
        match inner(&mut part) {
            Some(inner) => flat.extend(inner),
            None => flat.push(part),
        }
    }
    match flat.len() {
        1 => flat.remove(0),
        _ => join(flat),
    }
}

impl Condition {
    /// One or more conditions that must all hold.
    pub(super) fn all(parts: Vec<Self>) -> Self {
        let inner = |part: &mut Self| if let Self::All(inner) = part { Some(take(inner)) } else { None };
        joined(parts, inner, Self::All)
    }

    /// One or more conditions of which one must hold.
    pub(super) fn any(parts: Vec<Self>) -> Self {
        let inner = |part: &mut Self| if let Self::Any(inner) = part { Some(take(inner)) } else { None };
        joined(parts, inner, Self::Any)
    }

    /// The opposite. With null it is unknown where this is, for every form of it.
    pub(super) fn not(self) -> Self {
        match self {
            Self::All(_) | Self::Any(_) => Self::Not(Box::new(self)),
            Self::Not(inner) => *inner,
            Self::Compare { left, relation, right } => Self::Compare { left, relation: relation.negated(), right },
            Self::In { subject, list, negated } => Self::In { subject, list, negated: !negated },
            Self::Between { subject, low, high, negated } => Self::Between { subject, low, high, negated: !negated },
            Self::IsNull { subject, negated } => Self::IsNull { subject, negated: !negated },
        }
    }

    /// A comparison, with a literal on the right where only one side is one.
    pub(super) fn compare(left: Operand, relation: Relation, right: Operand) -> Self {
        match (&left, &right) {
            (Operand::Literal(_), Operand::Field(_)) => {
                Self::Compare { left: right, relation: relation.mirrored(), right: left }
            }
            _ => Self::Compare { left, relation, right },
        }
    }

    fn write_joined(f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str, wrap: fn(&Self) -> bool) -> fmt::Result {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            match wrap(part) {
                true => write!(f, "({part})")?,
                false => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: &bool| if *negated { "not " } else { "" };
        match self {
            Self::All(parts) => Self::write_joined(f, parts, "and", |part| matches!(part, Self::Any(_))),
            Self::Any(parts) => Self::write_joined(f, parts, "or", |_| false),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::Compare { left, relation, right } => write!(f, "{left} {} {right}", relation.as_str()),
            Self::In { subject, list, negated } => {
                // Neither order nor repetition changes what a list means.
                let mut constants: Vec<&Constant> = list.iter().map(|literal| &literal.constant).collect();
                constants.sort();
                constants.dedup();
                write!(f, "{subject} {}in (", not(negated))?;
                for (index, constant) in constants.into_iter().enumerate() {
                    write!(f, "{}{constant}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::Between { subject, low, high, negated } => {
                write!(f, "{subject} {}between {low} and {high}", not(negated))
            }
            Self::IsNull { subject, negated } => write!(f, "{subject} is {}null", not(negated)),
        }
    }
}
