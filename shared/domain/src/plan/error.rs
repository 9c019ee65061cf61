//! Why a view cannot be computed.

use crate::expression::ExpressionError;
use crate::ids::Name;

/// A view that cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("view {view}: kind {found} was given, but it is a view of {expected}")]
    Kind { view: Name, expected: Name, found: Name },
    #[error("view {view}: {kind} has no dimension {dimension:?} to group by{}", suggest(.known))]
    GroupBy { view: Name, kind: Name, dimension: Name, known: Vec<Name> },
    #[error("view {view}: {what}")]
    Shape { view: Name, what: String },
    #[error("view {view}, metric {metric}: {field} {source}\n{caret}")]
    Expression { view: Name, metric: Name, field: &'static str, source: Box<ExpressionError>, caret: String },
    #[error("view {view}, alert {alert}: when {source}\n{caret}")]
    Alert { view: Name, alert: Name, source: Box<ExpressionError>, caret: String },
}

fn suggest(known: &[Name]) -> String {
    let known: Vec<_> = known.iter().map(Name::as_str).collect();
    if known.is_empty() { String::new() } else { format!("; it has {}", known.join(", ")) }
}
