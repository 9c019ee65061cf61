//! Hides the key in a file of rules: clear answers become salted hashes, and everything else stays as it is written.

use super::answer::{Hashed, normalised};
use super::read::root;
use daybook_yaml::{Mistake, Node, Source, Value};

/// The file with `exact` as `exact_hash` and `normalised` as `normalised_hash`, and how many that were. `salt` gives a new salt
/// each time.
///
/// # Errors
/// When the file is no YAML, or an answer is written in a form that cannot be replaced.
pub fn hash_answers(source: &Source<'_>, mut salt: impl FnMut() -> String) -> Result<(String, usize), Mistake> {
    let mut places = Vec::new();
    collect(root(source)?, false, &mut places);
    let mut text = source.text.to_owned();
    let mut edits = Vec::new();
    for (key, value) in places {
        let (Some(name), Some(clear)) = (key.as_text(), value.as_text()) else { continue };
        let hashed = match name {
            "exact" => Hashed::of(clear.trim(), &salt()),
            _ => Hashed::of(&normalised(clear), &salt()),
        };
        let spans = source.span(key).zip(source.span(value));
        let Some((key_span, value_span)) = spans else {
            return Err(source.mistake(value, "cannot replace an answer that is written like this; put it in quotes"));
        };
        edits.push((value_span, format!("\"{}\"", String::from(hashed))));
        edits.push((key_span, format!("{name}_hash")));
    }
    let count = edits.len() / 2;
    // From the end, so that the places before stay.
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    for (span, new) in edits {
        text.replace_range(span, &new);
    }
    Ok((text, count))
}

/// Finds `exact: …` and `normalised: …` below every `answer`.
fn collect<'n>(node: &'n Node, is_answer: bool, found: &mut Vec<(&'n Node, &'n Node)>) {
    match node.value() {
        Value::List(items) => items.iter().for_each(|item| collect(item, is_answer, found)),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                match key.as_text() {
                    Some("exact" | "normalised") if is_answer => found.push((key, value)),
                    name => collect(value, name == Some("answer"), found),
                }
            }
        }
        _ => {}
    }
}
