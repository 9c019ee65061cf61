//! The mappings of a kind: rules that make its events out of foreign records.
//!
//! A value is a mapping such as `{ path: /created, as: epoch_s }`, or in short: a path (`/created`, `./price`, `.`), or one
//! of the words `arrival`, `sequence` and `index`.

use super::mistake::Mistake;
use super::reader::{Fields, Reader};
use daybook_domain::catalogue::{Kind, Mode};
use daybook_domain::expression::{ExpressionError, PathPredicate};
use daybook_domain::ids::Name;
use daybook_domain::mapping::{Explode, MAX_MAPPINGS, MAX_MAPPINGS_BYTES, Mapping, Pick, Round, Take};
use daybook_mapping::{Mapper, MappingMistake, Preset};
use daybook_yaml::{Node, Value, excerpt};
use std::collections::BTreeMap;

const MAPPING_KEYS: [&str; 12] =
    ["name", "extends", "when", "tenant", "explode", "rows", "id", "version", "at", "status", "dims", "measures"];
const PICK_KEYS: [&str; 14] = [
    "path", "header", "token", "const", "take", "as", "zone", "map", "else", "default", "text", "shift", "divide",
    "round",
];

/// The nodes of a mapping by the names that [`MappingMistake::field`] gives them.
type Nodes<'a> = BTreeMap<String, &'a Node>;

/// A mapping whose form is right, to be checked against its kind.
pub(super) struct Draft<'a> {
    mapping: Mapping,
    preset: Option<Preset>,
    node: &'a Node,
    nodes: Nodes<'a>,
}

/// The mappings in a list; those with mistakes of form are left out.
pub(super) fn read<'a>(nodes: &'a [Node], reader: &mut Reader<'a, '_>) -> Vec<Draft<'a>> {
    if let Some(node) = nodes.get(MAX_MAPPINGS) {
        reader.mistake(node, format!("{} mappings; at most {MAX_MAPPINGS} are allowed", nodes.len()));
    }
    let mut names: Vec<Name> = Vec::new();
    let mut drafts = Vec::new();
    for node in nodes {
        let Some(draft) = read_one(node, reader) else { continue };
        if names.contains(&draft.mapping.name) {
            reader.mistake(node, format!("the mapping {} is defined twice", draft.mapping.name));
        }
        names.push(draft.mapping.name.clone());
        drafts.push(draft);
    }
    drafts
}

/// Checks mappings against their kind, and gives those without mistakes.
pub(super) fn check<'a>(drafts: Vec<Draft<'a>>, kind: &Kind, reader: &mut Reader<'a, '_>) -> Vec<Mapping> {
    let mut mappings = Vec::with_capacity(drafts.len());
    let mut bytes = 0;
    for mut draft in drafts {
        if let Some(preset) = draft.preset {
            draft.mapping = preset.extended(draft.mapping, kind.mode == Mode::Fact);
        }
        bytes += serde_json::to_vec(&draft.mapping).map_or(0, |json| json.len());
        if bytes > MAX_MAPPINGS_BYTES {
            let message =
                format!("the mappings take more than {MAX_MAPPINGS_BYTES} bytes; make kinds of their own for some");
            reader.mistake(draft.node, message);
            break;
        }
        if let Err(mistakes) = Mapper::compile(&draft.mapping, kind) {
            mistakes.into_iter().for_each(|mistake| draft.tell(mistake, reader));
        }
        mappings.push(draft.mapping);
    }
    mappings
}

impl Draft<'_> {
    /// Tells a mistake at the place of its field, or of the nearest thing around that.
    fn tell(&self, mistake: MappingMistake, reader: &mut Reader<'_, '_>) {
        let MappingMistake { field, position, message, hint } = mistake;
        let mut around = field.as_str();
        let node = loop {
            match self.nodes.get(around) {
                Some(node) => break *node,
                None => match around.rfind(['.', '[']) {
                    Some(end) => around = &around[..end],
                    None => break self.node,
                },
            }
        };
        let mut told = Mistake::new(Some(reader.place(node)), message);
        if let (Some(position), Some(text)) = (position, node.as_text()) {
            told.place = Some(reader.source.place_within(node, position));
            if field == "when"
                && let Err(error) = PathPredicate::parse(text)
            {
                told.caret = caret(&error, text);
            }
        }
        told.hint = hint;
        reader.push(told);
    }
}

/// Longest line of a condition that is shown with carets under it, in characters: a terminal's line or two.
const MAX_CARET_CHARACTERS: usize = 200;

fn caret(error: &ExpressionError, text: &str) -> Option<String> {
    Some(error.caret(text)).filter(|caret| caret.chars().count() <= 2 * MAX_CARET_CHARACTERS)
}

fn read_one<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Draft<'a>> {
    let before = reader.mistakes();
    let fields = reader.fields(node, "mapping", &MAPPING_KEYS)?;
    let name = reader.required(&fields, "name", "shop_order").and_then(|node| reader.name(node, "name"));
    let mut nodes = Nodes::new();
    let mut mapping = Mapping::new(name.clone().unwrap_or_else(|| Name::new("unnamed").expect("a plain name")));
    if let Some(node) = fields.get("when") {
        nodes.insert("when".to_owned(), node);
        mapping.when = reader.text(node, "when").map(str::to_owned);
    }
    mapping.explode = fields.get("explode").and_then(|node| read_explode(node, &mut nodes, reader));
    mapping.rows = read_rows(&fields, &mut nodes, reader);
    let mut pick = |key: &'static str, reader: &mut Reader<'a, '_>| {
        fields.get(key).and_then(|node| read_pick(node, key, &mut nodes, reader))
    };
    mapping.tenant = pick("tenant", reader);
    mapping.version = pick("version", reader);
    mapping.at = pick("at", reader);
    mapping.status = pick("status", reader);
    if let Some(node) = fields.get("id") {
        nodes.insert("id".to_owned(), node);
        let read = node.one_or_many().iter().enumerate();
        mapping.id = read.filter_map(|(at, part)| read_pick(part, &format!("id[{at}]"), &mut nodes, reader)).collect();
    }
    mapping.dims = read_columns(&fields, "dims", &mut nodes, reader);
    mapping.measures = read_columns(&fields, "measures", &mut nodes, reader);
    let presets = Preset::ALL.map(|preset| (preset.as_str(), preset));
    let preset = fields.get("extends").and_then(|node| reader.word(node, "preset", &presets));
    (name.is_some() && reader.mistakes() == before).then_some(Draft { mapping, preset, node, nodes })
}

/// `/lines`, or `{ path: /lines, slots: 20 }`.
fn read_explode<'a>(node: &'a Node, nodes: &mut Nodes<'a>, reader: &mut Reader<'a, '_>) -> Option<Explode> {
    nodes.insert("explode".to_owned(), node);
    if !matches!(node.value(), Value::Mapping(_)) {
        return Some(Explode {
            path: reader.text(node, "the path to explode")?.to_owned(),
            complete: false,
            slots: None,
        });
    }
    let fields = reader.fields(node, "array to explode", &["path", "slots", "complete"])?;
    let path = reader.required(&fields, "path", "/lines")?;
    nodes.insert("explode.path".to_owned(), path);
    let complete = match fields.get("complete") {
        Some(node) => {
            nodes.insert("explode.complete".to_owned(), node);
            reader.flag(node, "complete")?
        }
        None => false,
    };
    let slots = match fields.get("slots") {
        Some(node) => {
            nodes.insert("explode.slots".to_owned(), node);
            Some(whole(node, "how many items there are at most", reader)?)
        }
        None => None,
    };
    Some(Explode { path: reader.text(path, "path")?.to_owned(), complete, slots })
}

fn read_rows<'a>(fields: &Fields<'a>, nodes: &mut Nodes<'a>, reader: &mut Reader<'a, '_>) -> Vec<String> {
    let items = reader.optional_list(fields, "rows");
    let read = items.iter().enumerate().filter_map(|(at, node)| {
        nodes.insert(format!("rows[{at}]"), node);
        reader.text(node, "the path of a row").map(str::to_owned)
    });
    read.collect()
}

/// The values of columns, by name.
fn read_columns<'a>(
    fields: &Fields<'a>,
    key: &str,
    nodes: &mut Nodes<'a>,
    reader: &mut Reader<'a, '_>,
) -> BTreeMap<Name, Pick> {
    let Some(node) = fields.get(key) else { return BTreeMap::new() };
    let Value::Mapping(entries) = node.value() else {
        reader.wrong_type(node, &format!("a mapping of {key} to where each comes from, such as total: /price"));
        return BTreeMap::new();
    };
    let mut columns = BTreeMap::new();
    for (name_node, value) in entries {
        let Some(name) = reader.name::<Name>(name_node, "name") else { continue };
        let field = format!("{key}.{name}");
        let pick = read_pick(value, &field, nodes, reader);
        // An unknown column is told at its name, and what is wrong with its value at the value.
        nodes.insert(field, name_node);
        if columns.insert(name, pick.unwrap_or_default()).is_some() {
            reader
                .mistake(name_node, format!("{} stands here twice", excerpt(name_node.as_text().unwrap_or_default())));
        }
    }
    columns
}

/// A value: where it comes from, and what is made of it. `field` is what mistakes call it.
fn read_pick<'a>(node: &'a Node, field: &str, nodes: &mut Nodes<'a>, reader: &mut Reader<'a, '_>) -> Option<Pick> {
    nodes.insert(field.to_owned(), node);
    if !matches!(node.value(), Value::Mapping(_)) {
        return read_short(node, field, nodes, reader);
    }
    let before = reader.mistakes();
    let fields = reader.fields(node, "value", &PICK_KEYS)?;
    for key in PICK_KEYS {
        if let Some(node) = fields.get(key) {
            nodes.insert(format!("{field}.{key}"), node);
        }
    }
    let text = |key: &str, reader: &mut Reader<'a, '_>| {
        fields.get(key).and_then(|node| reader.text(node, key)).map(str::to_owned)
    };
    let (header, zone) = (text("header", reader), text("zone", reader));
    let mut paths = fields.get("path").map_or_else(Vec::new, |node| read_paths(node, field, nodes, reader)).into_iter();
    let shift = fields.get("shift");
    let has_shifts = shift.is_some_and(|node| matches!(node.value(), Value::Mapping(_)));
    let takes = Take::ALL.map(|take| (take.as_str(), take));
    let rounds = Round::ALL.map(|round| (round.as_str(), round));
    let pick = Pick {
        path: paths.next(),
        or: paths.collect(),
        header,
        token: fields.get("token").and_then(|node| whole(node, "a token's number, from 1", reader)),
        constant: fields.get("const").and_then(|node| scalar(node, reader)),
        take: fields.get("take").and_then(|node| reader.word(node, "value", &takes)),
        form: fields.get("as").map_or_else(Vec::new, |node| read_forms(node, reader)),
        zone,
        map: fields.get("map").map_or_else(BTreeMap::new, |node| read_map(node, field, nodes, reader)),
        otherwise: fields.get("else").and_then(|node| scalar(node, reader)),
        default: fields.get("default").and_then(|node| scalar(node, reader)),
        text: fields.get("text").and_then(|node| reader.flag(node, "text")).unwrap_or(false),
        shift: shift.filter(|_| !has_shifts).and_then(|node| whole(node, "digits to shift the point by", reader)),
        shift_by: shift
            .filter(|_| has_shifts)
            .and_then(|node| read_pick(node, &format!("{field}.shift_by"), nodes, reader))
            .map(Box::new),
        divide: fields.get("divide").and_then(|node| whole(node, "a whole number to divide by", reader)),
        round: fields.get("round").and_then(|node| reader.word(node, "rounding", &rounds)),
    };
    (reader.mistakes() == before).then_some(pick)
}

/// A path, or a word for what is not in the record.
fn read_short<'a>(node: &'a Node, field: &str, nodes: &mut Nodes<'a>, reader: &mut Reader<'a, '_>) -> Option<Pick> {
    let Some(text) = node.as_text() else {
        reader.wrong_type(node, "a path such as /id, or a value such as { path: /id }");
        return None;
    };
    if let Some(take) = Take::ALL.into_iter().find(|take| take.as_str() == text) {
        nodes.insert(format!("{field}.take"), node);
        return Some(Pick { take: Some(take), ..Pick::default() });
    }
    nodes.insert(format!("{field}.path"), node);
    Some(Pick::path(text))
}

/// A path, or a list of paths of which the first that holds something counts.
fn read_paths<'a>(node: &'a Node, field: &str, nodes: &mut Nodes<'a>, reader: &mut Reader<'a, '_>) -> Vec<String> {
    if let Value::List(items) = node.value() {
        nodes.extend(items.iter().enumerate().map(|(at, node)| match at {
            0 => (format!("{field}.path"), node),
            at => (format!("{field}.or[{}]", at - 1), node),
        }));
    }
    node.one_or_many().iter().filter_map(|node| reader.text(node, "path")).map(str::to_owned).collect()
}

/// `rfc3339`, or a list of forms.
fn read_forms<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Vec<String> {
    node.one_or_many().iter().filter_map(|node| reader.text(node, "a form of time").map(str::to_owned)).collect()
}

/// What stands for which text.
fn read_map<'a>(
    node: &'a Node,
    field: &str,
    nodes: &mut Nodes<'a>,
    reader: &mut Reader<'a, '_>,
) -> BTreeMap<String, String> {
    let Value::Mapping(entries) = node.value() else {
        reader.wrong_type(node, "a map such as { paid: final, refunded: void }");
        return BTreeMap::new();
    };
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        let (Some(word), Some(meaning)) = (scalar(key, reader), scalar(value, reader)) else { continue };
        nodes.insert(format!("{field}.map.{word}"), value);
        if map.insert(word.clone(), meaning).is_some() {
            reader.mistake(key, format!("the map says twice what {:?} stands for", excerpt(&word)));
        }
    }
    map
}

/// A single value, as it is written.
fn scalar<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<String> {
    match node.value() {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Integer(integer) => Some(integer.to_string()),
        Value::Fraction => reader.source.written(node).map(str::to_owned),
        Value::Null | Value::List(_) | Value::Mapping(_) => {
            reader.wrong_type(node, "a single value");
            None
        }
    }
}

fn whole<T: TryFrom<i128>>(node: &Node, what: &str, reader: &mut Reader<'_, '_>) -> Option<T> {
    let found = match node.value() {
        Value::Integer(integer) => T::try_from(*integer).ok(),
        _ => None,
    };
    if found.is_none() {
        reader.wrong_type(node, what);
    }
    found
}
