//! Where two JSON texts differ first, in the order in which they are written.

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Longest value that is shown, in characters.
const MAX_SHOWN: usize = 200;
/// How a value that is not there is shown.
const NOTHING: &str = "(nothing)";

/// The first place at which two reports differ, and what each of them has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstDifference {
    /// As in JSONPath: `$.views.board.rows[3].flights`.
    pub path: String,
    pub stored: String,
    pub reproduced: String,
}

/// Where `stored` and `reproduced`, which are not the same bytes, differ first.
///
/// ```
/// use daybook::verification::paths::first_difference;
/// let place = first_difference(br#"{"version":1,"rows":[{"n":2}]}"#, br#"{"version":1,"rows":[{"n":3}]}"#);
/// assert_eq!((place.path.as_str(), place.stored.as_str(), place.reproduced.as_str()), ("$.rows[0].n", "2", "3"));
/// ```
pub fn first_difference(stored: &[u8], reproduced: &[u8]) -> FirstDifference {
    let raw = |bytes| serde_json::from_slice::<&RawValue>(bytes).ok();
    match raw(stored).zip(raw(reproduced)) {
        Some((stored_raw, reproduced_raw)) => {
            compare("$", stored_raw.get(), reproduced_raw.get()).unwrap_or_else(|| of_bytes("$", stored, reproduced))
        }
        None => of_bytes("$", stored, reproduced),
    }
}

/// `None` when the texts are the same.
fn compare(path: &str, stored: &str, reproduced: &str) -> Option<FirstDifference> {
    if stored == reproduced {
        return None;
    }
    let inner = match (members(stored), members(reproduced)) {
        (Some(stored), Some(reproduced)) => compare_objects(path, &stored, &reproduced),
        _ => match (elements(stored), elements(reproduced)) {
            (Some(stored), Some(reproduced)) => compare_arrays(path, &stored, &reproduced),
            _ => return Some(place(path.to_owned(), stored, reproduced)),
        },
    };
    // Everything in them is the same: they are written differently.
    Some(inner.unwrap_or_else(|| of_bytes(path, stored.as_bytes(), reproduced.as_bytes())))
}

fn compare_objects(path: &str, stored: &[Member<'_>], reproduced: &[Member<'_>]) -> Option<FirstDifference> {
    for index in 0..stored.len().max(reproduced.len()) {
        match (stored.get(index), reproduced.get(index)) {
            (Some(one), Some(other)) if one.0 == other.0 => {
                if let Some(place) = compare(&member_path(path, &one.0), one.1.get(), other.1.get()) {
                    return Some(place);
                }
            }
            (Some((name, value)), _) if !has(reproduced, name) => {
                return Some(place(member_path(path, name), value.get(), NOTHING));
            }
            (_, Some((name, value))) if !has(stored, name) => {
                return Some(place(member_path(path, name), NOTHING, value.get()));
            }
            // In another order.
            _ => return None,
        }
    }
    None
}

fn compare_arrays(path: &str, stored: &[&RawValue], reproduced: &[&RawValue]) -> Option<FirstDifference> {
    (0..stored.len().max(reproduced.len())).find_map(|index| {
        let path = format!("{path}[{index}]");
        match (stored.get(index), reproduced.get(index)) {
            (Some(stored), Some(reproduced)) => compare(&path, stored.get(), reproduced.get()),
            (stored, reproduced) => {
                let text = |value: Option<&&RawValue>| value.map_or(NOTHING, |value| value.get()).to_owned();
                Some(place(path, &text(stored), &text(reproduced)))
            }
        }
    })
}

/// A difference that has no value of its own: the bytes from the first one that differs.
fn of_bytes(path: &str, stored: &[u8], reproduced: &[u8]) -> FirstDifference {
    let same = stored.iter().zip(reproduced).take_while(|(one, other)| one == other).count();
    let shown =
        |bytes: &[u8]| format!("byte {same}: {}", String::from_utf8_lossy(bytes.get(same..).unwrap_or_default()));
    place(path.to_owned(), &shown(stored), &shown(reproduced))
}

fn place(path: String, stored: &str, reproduced: &str) -> FirstDifference {
    FirstDifference { path, stored: cut(stored), reproduced: cut(reproduced) }
}

/// The text, with its end left out when it is long.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn member_path(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if plain { format!("{path}.{name}") } else { format!("{path}[{name:?}]") }
}

type Member<'a> = (String, &'a RawValue);

fn has(members: &[Member<'_>], name: &str) -> bool {
    members.iter().any(|member| member.0 == name)
}

fn elements(text: &str) -> Option<Vec<&RawValue>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// The members of an object, in the order in which they are written.
fn members(text: &str) -> Option<Vec<Member<'_>>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<Member<'de>>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    text.starts_with('{').then(|| serde_json::Deserializer::from_str(text).deserialize_map(Members).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(stored: &str, reproduced: &str) -> (String, String, String) {
        let FirstDifference { path, stored, reproduced } = first_difference(stored.as_bytes(), reproduced.as_bytes());
        (path, stored, reproduced)
    }

    fn is(found: (String, String, String), path: &str, stored: &str, reproduced: &str) {
        assert_eq!(found, (path.to_owned(), stored.to_owned(), reproduced.to_owned()));
    }

    #[test]
    fn the_first_value_that_differs_is_named() {
        is(
            found(r#"{"a":{"b":[1,{"c":"x"}]},"z":1}"#, r#"{"a":{"b":[1,{"c":"y"}]},"z":2}"#),
            "$.a.b[1].c",
            "\"x\"",
            "\"y\"",
        );
        is(found(r#"{"z":1,"a":1}"#, r#"{"z":2,"a":2}"#), "$.z", "1", "2");
        is(found(r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#), "$.a", "[1]", r#"{"b":1}"#);
    }

    #[test]
    fn numbers_are_compared_as_they_are_written() {
        is(found(r#"{"a":2.5}"#, r#"{"a":2.50}"#), "$.a", "2.5", "2.50");
        is(
            found(r#"{"a":90071992547409930}"#, r#"{"a":90071992547409931}"#),
            "$.a",
            "90071992547409930",
            "90071992547409931",
        );
    }

    #[test]
    fn what_is_on_one_side_only_is_named() {
        is(found(r#"{"a":1,"b":2}"#, r#"{"a":1}"#), "$.b", "2", NOTHING);
        is(found(r#"{"a":1}"#, r#"{"x y":0,"a":1}"#), "$[\"x y\"]", NOTHING, "0");
        is(found("[1,2]", "[1,2,3]"), "$[2]", NOTHING, "3");
    }

    #[test]
    fn what_is_only_written_differently_is_a_byte() {
        is(found(r#"{"a": 1}"#, r#"{"a":1}"#), "$", "byte 5:  1}", "byte 5: 1}");
        is(found(r#"{"a":1,"b":1}"#, r#"{"b":1,"a":1}"#), "$", r#"byte 2: a":1,"b":1}"#, r#"byte 2: b":1,"a":1}"#);
        is(found("no json", r#"{"a":1}"#), "$", "byte 0: no json", r#"byte 0: {"a":1}"#);
        is(found("{}", "{} "), "$", "byte 2: ", "byte 2:  ");
    }

    #[test]
    fn long_values_are_cut() {
        let long = format!("\"{}\"", "ä".repeat(1_000));
        assert_eq!(found(&long, "1").1.chars().count(), MAX_SHOWN + 1);
    }
}
