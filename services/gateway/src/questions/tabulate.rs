//! Rows of an answer as CSV and NDJSON. Values stay as the query service wrote them, so no number loses a digit.

use crate::asker::decode;
use crate::problem::Problem;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// An object with its fields in the order in which they are written.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The field of that name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// A field that is a text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some(field) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// The object that a reply of the query service is.
pub(super) fn fields(reply: &[u8]) -> Result<Fields<'_>, Problem> {
    decode(reply)
}

/// The rows in a field of a reply.
pub(super) fn rows<'a>(fields: &Fields<'a>, name: &str) -> Result<Vec<&'a RawValue>, Problem> {
    let rows = fields.get(name).map_or("[]", RawValue::get);
    decode(rows.as_bytes())
}

/// One row on each line.
pub(super) fn ndjson(rows: &[&RawValue]) -> Bytes {
    let mut text = Vec::with_capacity(rows.iter().map(|row| row.get().len() + 1).sum());
    for row in rows {
        // JSON as the query service writes it has no line ends.
        text.extend_from_slice(row.get().as_bytes());
        text.push(b'\n');
    }
    text.into()
}

/// A header line and the rows (RFC 4180). Objects within a row are columns with a point in their names; lists are JSON. The
/// columns are `known` first, then those of the rows as they come.
pub(super) fn csv(rows: &[&RawValue], known: Vec<String>) -> Result<Bytes, Problem> {
    let mut columns = known;
    let mut table = Vec::with_capacity(rows.len());
    for row in rows {
        let mut cells = Vec::new();
        flatten("", &fields(row.get().as_bytes())?, &mut cells)?;
        for (name, _) in &cells {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        table.push(cells);
    }
    let mut text = Vec::new();
    line(&mut text, columns.iter().map(|name| Cow::Borrowed(name.as_str())));
    for cells in &table {
        let value =
            |name: &String| cells.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_ref());
        line(&mut text, columns.iter().map(|name| Cow::Borrowed(value(name))));
    }
    Ok(text.into())
}

/// The cells of an object.
fn flatten<'a>(prefix: &str, row: &Fields<'a>, cells: &mut Vec<(String, Cow<'a, str>)>) -> Result<(), Problem> {
    for (name, value) in &row.0 {
        let name = format!("{prefix}{name}");
        let raw = value.get();
        match raw.as_bytes().first() {
            Some(b'{') => flatten(&format!("{name}."), &fields(raw.as_bytes())?, cells)?,
            Some(b'"') => {
                let text: Cow<'a, str> = decode(raw.as_bytes())?;
                cells.push((name, text));
            }
            Some(b'n') => cells.push((name, Cow::Borrowed(""))),
            _ => cells.push((name, Cow::Borrowed(raw))),
        }
    }
    Ok(())
}

fn line<'a>(text: &mut Vec<u8>, cells: impl Iterator<Item = Cow<'a, str>>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            text.push(b',');
        }
        if cell.contains([',', '"', '\n', '\r']) || cell.starts_with(' ') || cell.ends_with(' ') {
            text.push(b'"');
            text.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            text.push(b'"');
        } else {
            text.extend_from_slice(cell.as_bytes());
        }
    }
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = r#"{"rows":[{"store":"a, \"b\"","revenue":129.90,"n":9007199254740993},
        {"store":null,"revenue":-0.10,"n":1,"account":{"counted":2,"day":{"x":"y"}},"tags":["p","q"]}],"next":"c"}"#;

    #[test]
    fn numbers_keep_every_digit_and_texts_are_quoted_where_they_must() {
        let all = fields(REPLY.as_bytes()).unwrap();
        let rows = rows(&all, "rows").unwrap();
        let text = csv(&rows, vec!["store".into()]).unwrap();
        let expected = "store,revenue,n,account.counted,account.day.x,tags\r\n\
            \"a, \"\"b\"\"\",129.90,9007199254740993,,,\r\n\
            ,-0.10,1,2,y,\"[\"\"p\"\",\"\"q\"\"]\"\r\n";
        assert_eq!(String::from_utf8(text.to_vec()).unwrap(), expected);
        assert_eq!(ndjson(&rows).iter().filter(|byte| **byte == b'\n').count(), 2);
        assert_eq!(all.text("next").as_deref(), Some("c"));
        assert!(all.text("rows").is_none() && fields(b"[]").is_err() && fields(b"{").is_err());
        assert_eq!(csv(&[], vec!["a".into(), "b".into()]).unwrap(), "a,b\r\n");
    }
}
