//! Kinds: the semantic models of events.

use super::mappings;
use super::reader::Reader;
use daybook_domain::catalogue::{
    Dimension, Kind, LARGEST_REMEMBER_DAYS, LEAST_REMEMBER_DAYS, MAX_COLUMNS, MAX_SCALE, Measure, Mode,
};
use daybook_domain::ids::Name;
use daybook_yaml::{Node, Value};
use std::collections::BTreeMap;

/// In expressions this is always an entity's state.
const RESERVED_COLUMN: &str = "status";
/// The event's own fields, which have meanings of their own and are no dimensions.
const EVENT_FIELDS: [&str; 8] = ["tenant", "kind", "id", "version", "status", "at", "dims", "measures"];

/// The node that names the kind, and the kind where nothing is wrong with it.
pub(super) fn read<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> (Option<&'a Node>, Option<Kind>) {
    let before = reader.mistakes();
    let Some(fields) = reader.fields(node, "kind", &["name", "mode", "dimensions", "measures", "mappings", "remember"])
    else {
        return (None, None);
    };
    let name_node = reader.required(&fields, "name", "order");
    let name = name_node.and_then(|node| reader.name(node, "name"));
    let mode = reader
        .required(&fields, "mode", "entity")
        .and_then(|node| reader.word(node, "mode", &[("entity", Mode::Entity), ("fact", Mode::Fact)]));
    let mut columns = Columns::default();
    let dimensions = columns.read(reader.optional_list(&fields, "dimensions"), "dimension", read_dimension, reader);
    let measures = columns.read(reader.optional_list(&fields, "measures"), "measure", read_measure, reader);
    let remember = fields.get("remember").and_then(|node| read_remember(node, reader));
    let columns_are_sound = reader.mistakes() == before;
    let drafts = mappings::read(reader.optional_list(&fields, "mappings"), reader);
    let kind = match (name, mode) {
        // With a column that could not be read, none can be called unknown.
        (Some(name), Some(mode)) if columns_are_sound => {
            let mut kind = Kind { name, mode, dimensions, measures, revision: 0, mappings: Vec::new(), remember };
            kind.mappings = mappings::check(drafts, &kind, reader);
            Some(kind).filter(|_| reader.mistakes() == before)
        }
        _ => None,
    };
    (name_node, kind)
}

/// The columns of a kind so far.
#[derive(Default)]
struct Columns<'a> {
    /// What each one is called and is: a dimension or a measure.
    names: BTreeMap<&'a str, &'static str>,
    /// Top-level fields that dimensions are taken from.
    fields: BTreeMap<Name, &'a str>,
}

impl<'a> Columns<'a> {
    fn read<T>(
        &mut self,
        nodes: &'a [Node],
        what: &'static str,
        read_one: impl Fn(&mut Self, &'a Node, &mut Reader<'a, '_>) -> Option<T>,
        reader: &mut Reader<'a, '_>,
    ) -> Vec<T> {
        if let Some(node) = nodes.get(MAX_COLUMNS) {
            reader.mistake(node, format!("{} {what}s; at most {MAX_COLUMNS} are allowed", nodes.len()));
        }
        nodes.iter().filter_map(|node| read_one(self, node, reader)).collect()
    }

    /// Takes the name, which no other column may have.
    fn name(&mut self, node: &'a Node, what: &'static str, reader: &mut Reader<'a, '_>) -> Option<Name> {
        let name: Name = reader.name(node, "name")?;
        let text = node.as_text()?;
        if text == RESERVED_COLUMN {
            let hint = "where expressions say status they mean whether an entity is draft, final or void";
            reader.mistake_with_hint(node, format!("a {what} cannot be called {text}"), hint);
            return None;
        }
        match self.names.insert(text, what) {
            Some(other) if other == what => reader.mistake(node, format!("the {what} {text} is defined twice")),
            Some(_) => reader.mistake(node, format!("{text} is both a dimension and a measure; rename one of them")),
            None => return Some(name),
        }
        None
    }
}

/// `carrier`, or `{ name: event, field: event }`.
fn read_dimension<'a>(columns: &mut Columns<'a>, node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Dimension> {
    if !matches!(node.value(), Value::Mapping(_)) {
        return columns.name(node, "dimension", reader).map(|name| Dimension { name, field: None });
    }
    let fields = reader.fields(node, "dimension", &["name", "field"])?;
    let name_node = reader.required(&fields, "name", "carrier");
    let name = name_node.and_then(|node| columns.name(node, "dimension", reader));
    let field = match fields.get("field") {
        None => None,
        Some(node) => {
            let field: Name = reader.name(node, "field")?;
            if EVENT_FIELDS.contains(&field.as_str()) {
                let hint = "take the dimension from another field, or leave `field` out to take it from `dims`";
                reader.mistake_with_hint(node, format!("the event's own field {field} is no dimension"), hint);
            }
            if let Some(other) = columns.fields.insert(field.clone(), name_node?.as_text()?) {
                reader.mistake(node, format!("the field {field} is taken by the dimension {other} already"));
            }
            Some(field)
        }
    };
    Some(Dimension { name: name?, field })
}

/// `distance`, or `{ name: fare, type: decimal, scale: 2 }`.
fn read_measure<'a>(columns: &mut Columns<'a>, node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Measure> {
    if !matches!(node.value(), Value::Mapping(_)) {
        return columns.name(node, "measure", reader).map(|name| Measure { name, scale: 0 });
    }
    let fields = reader.fields(node, "measure", &["name", "type", "scale"])?;
    let name = reader.required(&fields, "name", "distance").and_then(|node| columns.name(node, "measure", reader));
    let scale_node = fields.get("scale");
    let scale = scale_node.and_then(|node| read_scale(node, reader));
    let is_decimal = match fields.get("type") {
        Some(node) => reader.word(node, "type", &[("integer", false), ("decimal", true)])?,
        None => scale_node.is_some(),
    };
    match scale_node {
        None if is_decimal => {
            let hint = format!("say how many digits it has after the point, 0 to {MAX_SCALE}, such as scale: 2");
            reader.mistake_with_hint(node, "the decimal measure has no scale", hint);
        }
        Some(node) if !is_decimal && scale.is_some_and(|scale| scale > 0) => {
            reader.mistake_with_hint(node, "an integer has no digits after the point", "write type: decimal");
        }
        _ => {}
    }
    Some(Measure { name: name?, scale: scale.unwrap_or(0) })
}

/// A number of days.
fn read_remember(node: &Node, reader: &mut Reader<'_, '_>) -> Option<u16> {
    let Value::Integer(days) = node.value() else {
        reader.wrong_type(node, "a number of days, such as remember: 400");
        return None;
    };
    let read = u16::try_from(*days).ok().filter(|days| Kind::check_remember(*days).is_ok());
    if read.is_none() {
        let found = reader.source.describe(node);
        let message = format!("remember is {LEAST_REMEMBER_DAYS} to {LARGEST_REMEMBER_DAYS} days, found {found}");
        reader.mistake(node, message);
    }
    read
}

fn read_scale(node: &Node, reader: &mut Reader<'_, '_>) -> Option<u8> {
    match node.value() {
        Value::Integer(scale) => {
            let scale = u8::try_from(*scale).ok().filter(|scale| *scale <= MAX_SCALE);
            if scale.is_none() {
                let message = format!("a scale is 0 to {MAX_SCALE}, found {}", reader.source.describe(node));
                reader.mistake(node, message);
            }
            scale
        }
        _ => {
            reader.wrong_type(node, &format!("a scale, 0 to {MAX_SCALE}"));
            None
        }
    }
}
