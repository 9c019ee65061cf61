//! Reads a request: what is asked for by the subject, and the query in the body. Mistakes are told with their place.

use crate::encoding::Encoding;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, DAYS_VIEW, POSITION_VIEW, Query};
use daybook_contracts::lists::{ALERTS_VIEW, REJECTS_VIEW, REPORT_VIEW, REPORTS_VIEW, VIEWS_VIEW};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::nearest::nearest;
use serde::Deserialize;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Largest body of a request, in bytes: a query of the longest expressions and lists stays far below, and it becomes a
/// key of the cache.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Nothing, in MessagePack.
const NIL: u8 = 0xc0;

/// What a subject asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    View(Name),
    /// [`DAYS_VIEW`].
    Days,
    /// [`POSITION_VIEW`].
    Position,
    /// [`REPORTS_VIEW`].
    Reports,
    /// [`REPORT_VIEW`].
    Report,
    /// [`REJECTS_VIEW`].
    Rejects,
    /// [`ALERTS_VIEW`].
    Alerts,
    /// [`VIEWS_VIEW`].
    Views,
}

/// The reserved views, and what each asks for.
pub const RESERVED: [(&str, Target); 7] = [
    (DAYS_VIEW, Target::Days),
    (REPORTS_VIEW, Target::Reports),
    (REPORT_VIEW, Target::Report),
    (REJECTS_VIEW, Target::Rejects),
    (ALERTS_VIEW, Target::Alerts),
    (VIEWS_VIEW, Target::Views),
    (POSITION_VIEW, Target::Position),
];

/// The two tokens of a subject.
///
/// # Errors
/// When one is no name, or the view is reserved and not one that there is.
pub fn target(tenant: &str, view: &str) -> Asked<(TenantId, Target)> {
    let tenant = TenantId::new(tenant).map_err(|error| bad_request(format!("the tenant {error}")))?;
    if let Some((_, target)) = RESERVED.into_iter().find(|(name, _)| *name == view) {
        return Ok((tenant, target));
    }
    if view.starts_with('~') {
        let error = AskError::new(AskErrorCode::UnknownView, format!("there is no reserved view {}", shorten(view)));
        let hint = match nearest(view, RESERVED.iter().map(|(name, _)| *name)) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("there are {}", RESERVED.map(|(name, _)| name).join(", ")),
        };
        return Err(error.hint(hint));
    }
    let target = Target::View(Name::new(view).map_err(|error| bad_request(format!("the view {error}")))?);
    Ok((tenant, target))
}

/// The query in a request's body; that for today when it is empty.
///
/// # Errors
/// Those of [`read`].
pub fn query(body: &[u8], encoding: Encoding) -> Asked<Query> {
    read(body, encoding)
}

/// A request's body; the default of `T` when it is empty. A null counts as empty, for earlier clients send one where there
/// is nothing to say.
///
/// # Errors
/// [`AskErrorCode::TooLarge`] beyond [`MAX_REQUEST_BYTES`]; [`AskErrorCode::BadRequest`] when it cannot be read, with the
/// field, if one is to blame, or the place in the body.
pub fn read<T: DeserializeOwned + Default>(body: &[u8], encoding: Encoding) -> Asked<T> {
    if body.len() > MAX_REQUEST_BYTES {
        let message = format!("the request has {} bytes; at most {MAX_REQUEST_BYTES} are read", body.len());
        return Err(AskError::new(AskErrorCode::TooLarge, message));
    }
    match (body, encoding) {
        ([], _) | (b"null", Encoding::Json) | (&[NIL], Encoding::MessagePack) => Ok(T::default()),
        (_, Encoding::Json) => from_json(body),
        (_, Encoding::MessagePack) => from_messagepack(body),
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Asked<T> {
    // Serde would take a list for the fields in their order, which nobody means.
    let blank = body.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    match body.get(blank) {
        None | Some(b'{') => {}
        Some(_) => return Err(bad_request("a query is a JSON object".to_owned()).at(blank)),
    }
    serde_json::from_slice(body).map_err(|error| {
        let place = offset(body, &error);
        let guilty = match serde_json::from_slice::<Fields>(body) {
            Ok(Fields(fields)) => guilty_field::<T>(fields.iter().map(|(name, value)| (name.as_str(), value.get()))),
            Err(_) => None,
        };
        guilty.unwrap_or_else(|| bad_request(format!("the request cannot be read: {}", bare(&error))).at(place))
    })
}

fn from_messagepack<T: DeserializeOwned>(body: &[u8]) -> Asked<T> {
    // fixmap, map 16, map 32. A list would be taken for the fields in their order.
    if !matches!(body[0], 0x80..=0x8f | 0xde | 0xdf) {
        return Err(bad_request("a query is a map in MessagePack".to_owned()).at(0));
    }
    rmp_serde::from_slice(body).map_err(|error| {
        let guilty = match rmp_serde::from_slice::<serde_json::Map<String, serde_json::Value>>(body) {
            Ok(fields) => {
                let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, value.to_string())).collect();
                // Places in a JSON text that the client never wrote would only confuse.
                guilty_field::<T>(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())))
                    .map(|error| AskError { position: None, ..error })
            }
            Err(_) => None,
        };
        guilty.unwrap_or_else(|| bad_request(format!("the request cannot be read: {error}")))
    })
}

/// The error of the first field that cannot be read by itself.
fn guilty_field<'a, T: DeserializeOwned>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Option<AskError> {
    for (name, value) in fields {
        let name_text = serde_json::to_string(name).expect("a text is JSON");
        let before = name_text.len() + 2;
        let alone = format!("{{{name_text}:{value}}}");
        let Err(error) = serde_json::from_str::<T>(&alone) else { continue };
        let text = bare(&error);
        let mut told = match Unknown::read(&text) {
            // Of the query itself, or of a structure in it.
            Some(unknown) => {
                let is_own = unknown.field == name && offset(alone.as_bytes(), &error) < before;
                let field = if is_own { shorten(name) } else { format!("{name}.{}", shorten(unknown.field)) };
                return Some(bad_request("there is no such field".to_owned()).field(field).hint(unknown.hint()));
            }
            None => bad_request(text).field(shorten(name)),
        };
        told.position = Some(offset(alone.as_bytes(), &error).saturating_sub(before).min(value.len()));
        return Some(told);
    }
    None
}

/// The texts in serde's message about an unknown field: ``unknown field `x`, expected one of `a`, `b` ``.
struct Unknown<'a> {
    field: &'a str,
    known: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (field, rest) = message.strip_prefix("unknown field `")?.rsplit_once("`, expected ")?;
        Some(Self { field, known: rest.split('`').skip(1).step_by(2).collect() })
    }

    fn hint(&self) -> String {
        match nearest(self.field, self.known.iter().copied()) {
            Some(name) => format!("did you mean {name:?}?"),
            None => format!("there are {}", self.known.join(", ")),
        }
    }
}

/// A JSON object's fields as they are written.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Where the mistake is, in bytes from the start. serde_json counts lines, and bytes in them, from one.
fn offset(body: &[u8], error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return body.len();
    }
    let before: usize =
        body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (before + error.column().saturating_sub(1)).min(body.len())
}

/// The message without its place, which is told by itself.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map_or(text.clone(), str::to_owned)
}

/// A name as a client wrote it, at no more than a name's length.
fn shorten(text: &str) -> String {
    text.chars().take(daybook_domain::ids::MAX_NAME_BYTES).collect()
}

fn bad_request(message: String) -> AskError {
    AskError::new(AskErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::{DaySelector, Pieces};
    use daybook_domain::ids::InboxSeq;

    fn refused(body: &str) -> AskError {
        let error = query(body.as_bytes(), Encoding::Json).unwrap_err();
        assert_eq!(error.code, AskErrorCode::BadRequest, "{error}");
        error
    }

    fn packed(value: serde_json::Value) -> Vec<u8> {
        rmp_serde::to_vec_named(&value).unwrap()
    }

    #[test]
    fn subjects_name_a_view_or_a_reserved_one() {
        let of = |view: &str| target("ATL", view).map(|(_, target)| target);
        assert_eq!(of("flights").unwrap(), Target::View(Name::new("flights").unwrap()));
        assert_eq!(of("~days").unwrap(), Target::Days);
        assert_eq!(of("~position").unwrap(), Target::Position);
        let error = of("~day").unwrap_err();
        assert_eq!(error.code, AskErrorCode::UnknownView);
        assert!(error.hint.unwrap().contains("~days"));
        assert_eq!(of("a b").unwrap_err().code, AskErrorCode::BadRequest);
        assert_eq!(target("", "flights").unwrap_err().code, AskErrorCode::BadRequest);
    }

    #[test]
    fn both_encodings_read_the_same() {
        assert_eq!(query(b"", Encoding::Json).unwrap(), Query::default());
        assert_eq!(query(b"", Encoding::MessagePack).unwrap(), Query::default());
        let text = r#"{"days": "last_7_days", "metrics": ["flights"], "where": "carrier = 'B6'", "grain": "day",
            "order": ["flights desc"], "limit": 5, "rank": {"member": ["B6", null], "around": 2}, "at_least": 77}"#;
        let read = query(text.as_bytes(), Encoding::Json).unwrap();
        assert_eq!(
            (read.days.clone(), read.grain, read.at_least),
            (DaySelector::Last(7), Pieces::Day, Some(InboxSeq(77)))
        );
        let body = packed(serde_json::from_str(text).unwrap());
        assert_eq!(query(&body, Encoding::MessagePack).unwrap(), read);
        assert_eq!(query(&rmp_serde::to_vec_named(&read).unwrap(), Encoding::MessagePack).unwrap(), read);
    }

    #[test]
    fn syntax_errors_have_their_byte() {
        let at = |body: &str| refused(body).position;
        assert_eq!(at("{\"days\": today}"), Some(10), "the second letter: `t` began the word true");
        assert_eq!(at("{\n  \"limit\": 5,,\n}"), Some(15));
        assert_eq!(at("{\"days\":\"today\""), Some(15), "the end");
        assert_eq!(at("{} x"), Some(3));
        assert_eq!(at("  [\"today\"]"), Some(2));
        assert_eq!(at("{\"days\":\"today\",\"days\":\"today\"}").map(|at| at > 15), Some(true));
        assert_eq!(refused("  7").field, None);
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_with_the_place_in_it() {
        let error = refused("{\"metrics\":[\"a\"], \"limit\": \"many\"}");
        assert_eq!(error.field.as_deref(), Some("limit"));
        assert!(error.message.contains("many"), "{error}");
        let error = refused("{\"days\": \"tomorow\"}");
        assert_eq!(error.field.as_deref(), Some("days"));
        assert!(error.message.contains("yesterday"), "{error}");
        let error = refused("{\"metrics\": [\"a\", \"b c\"], \"limit\": 1}");
        assert_eq!((error.field.as_deref(), error.position), (Some("metrics"), Some(11)), "just behind the name");
        let error = refused("{\"order\": [\"a downwards\"]}");
        assert!(error.message.contains("asc or desc"), "{error}");
        assert!(!error.message.contains("column 1"), "{error}");
    }

    #[test]
    fn unknown_fields_have_a_hint() {
        let error = refused("{\"metrisc\": []}");
        assert_eq!((error.field.as_deref(), error.position), (Some("metrisc"), None));
        assert!(error.hint.unwrap().contains("metrics"));
        let error = refused("{\"frobnicate\": 1}");
        assert!(error.hint.unwrap().contains("at_least"));
        let error = refused("{\"rank\": {\"arround\": 1}}");
        assert_eq!(error.field.as_deref(), Some("rank.arround"));
        assert!(error.hint.unwrap().contains("around"));
    }

    #[test]
    fn messagepack_mistakes_name_their_field() {
        let refused = |body: &[u8]| query(body, Encoding::MessagePack).unwrap_err();
        let error = refused(&packed(serde_json::json!({"limit": "many"})));
        assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::BadRequest, Some("limit")));
        let error = refused(&packed(serde_json::json!({"metrisc": []})));
        assert!(error.hint.unwrap().contains("metrics"));
        assert_eq!(refused(&packed(serde_json::json!(["today"]))).position, Some(0));
        assert_eq!(refused(&[0x81]).code, AskErrorCode::BadRequest);
    }

    #[test]
    fn a_request_is_bounded() {
        let at = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
        assert!(query(at(MAX_REQUEST_BYTES).as_bytes(), Encoding::Json).is_ok());
        let error = query(at(MAX_REQUEST_BYTES + 1).as_bytes(), Encoding::Json).unwrap_err();
        assert_eq!(error.code, AskErrorCode::TooLarge);
    }
}
