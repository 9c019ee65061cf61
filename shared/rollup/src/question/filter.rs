//! The condition of a question: the language of a metric's `where`, over the dimensions that the view groups by.

use super::{names, wrong};
use compact_str::CompactString;
use daybook_contracts::ask::{AskError, Asked};
use daybook_domain::catalogue::{Dimension, Kind, Status};
use daybook_domain::expression::{ExpressionError, Predicate, Row};
use daybook_domain::plan::Plan;
use daybook_domain::time::Instant;

/// A group's values of the view's dimensions, as a condition looks at them.
pub(super) struct Dimensions<'g>(pub(super) &'g [Option<CompactString>]);

/// A group has no more than its dimensions; [`compile`] lets no condition ask for more.
impl Row for Dimensions<'_> {
    fn dimension(&self, index: usize) -> Option<&str> {
        self.0[index].as_deref()
    }
    fn measure(&self, _: usize) -> Option<i64> {
        None
    }
    fn status(&self) -> Status {
        Status::Final
    }
    fn at(&self) -> Instant {
        Instant::MIN
    }
}

/// Reads and types a condition on groups.
pub(super) fn compile(text: &str, plan: &Plan, kind: &Kind) -> Asked<Predicate> {
    // What a group is made of, as if it were a kind: so positions are those of its dimensions.
    let groups = Kind {
        dimensions: plan.view.group_by.iter().map(|name| Dimension { name: name.clone(), field: None }).collect(),
        measures: Vec::new(),
        ..kind.clone()
    };
    let predicate = Predicate::parse_and_check(text, &groups).map_err(|error| explained(error, text, plan, kind))?;
    if predicate.mentions_status() {
        let quoted = if groups.dimension("status").is_some() {
            "; the dimension of that name is written \"status\", in double quotes"
        } else {
            ""
        };
        let error = wrong("where", "the status of entities is no dimension of the view")
            .hint(format!("{}{quoted}", names::listed("dimension", plan.view.group_by.iter().map(|n| n.as_str()))));
        return Err(match unquoted_status(text) {
            Some(position) => error.at(position),
            None => error,
        });
    }
    Ok(predicate)
}

/// With a better hint where the kind has what is asked for, but the view does not group by it.
fn explained(error: ExpressionError, text: &str, plan: &Plan, kind: &Kind) -> AskError {
    let place = error.position..error.position.saturating_add(error.length);
    let name = text.get(place).unwrap_or_default().trim_matches('"');
    let dropped = (kind.dimension(name).is_some() || kind.measure(name).is_some())
        && !plan.view.group_by.iter().any(|dimension| dimension.as_str() == name);
    let hint = if let Some(elsewhere) = elsewhere(name, plan) {
        Some(elsewhere)
    } else if dropped {
        let known = names::listed("dimension", plan.view.group_by.iter().map(|name| name.as_str()));
        Some(format!("the view {} does not group by {name}; {known}", plan.view.name))
    } else {
        error.hint
    };
    let wrong = wrong("where", error.message).at(error.position);
    AskError { hint, ..wrong }
}

/// The advice for a name that is in answers and is no dimension, so that a condition cannot look at it.
fn elsewhere(name: &str, plan: &Plan) -> Option<String> {
    if plan.view.group_by.iter().any(|dimension| dimension.as_str() == name) {
        return None;
    }
    match name {
        _ if plan.metric(name).is_some() => Some(format!(
            "{name} is a metric, and conditions look at dimensions only; order by it and give a limit, or define a metric with a \
             condition of its own"
        )),
        "rank" | "position" => Some(
            "conditions look at dimensions only; limit gives the first members, and rank.member one of them".to_owned(),
        ),
        "day" | "time" => Some("conditions look at dimensions only; choose days with the field days".to_owned()),
        _ => None,
    }
}

/// Where the word stands outside of texts and quoted names.
fn unquoted_status(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut word = None;
    // The blank ends the last word.
    for (position, character) in text.char_indices().chain([(text.len(), ' ')]) {
        let in_word = quote.is_none() && (character.is_ascii_alphanumeric() || character == '_');
        match word {
            None if in_word => word = Some(position),
            Some(start) if !in_word => {
                if &text[start..position] == "status" {
                    return Some(start);
                }
                word = None;
            }
            _ => {}
        }
        match quote {
            None if character == '\'' || character == '"' => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::unquoted_status;

    #[test]
    fn the_word_is_found_where_it_is_one() {
        assert_eq!(unquoted_status("status = 'final'"), Some(0));
        assert_eq!(unquoted_status("a='status''status' or \"status\" = 'x' or (status is null)"), Some(41));
        assert_eq!(unquoted_status("a = 'é' and b = status"), Some(17));
        assert_eq!(unquoted_status("mystatus = status2"), None);
        assert_eq!(unquoted_status(""), None);
    }
}
