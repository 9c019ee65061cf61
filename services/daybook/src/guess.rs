//! A mapping, kind and first view, guessed from samples: something to edit, never something to trust.
//!
//! Values are told by their names and their contents: a time, an id that differs everywhere, numbers, and texts of which
//! there are few. Nothing is guessed about what figures mean.

use crate::source::Record as Sample;
use daybook_domain::catalogue::MAX_SCALE;
use daybook_domain::ids::MAX_NAME_BYTES;
use daybook_mapping::Preset;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most dimensions, and most measures, that a guess has: more would only have to be removed.
const MAX_GUESSED: usize = 12;
/// Most different values of a path that are told apart.
const MAX_DISTINCT: usize = 1_000;
/// Longest text that can be a dimension's value, in bytes.
const MAX_DIMENSION_TEXT: usize = 64;
/// Deepest object that is looked into.
const MAX_DEPTH: usize = 8;
/// Names of times, the likeliest first.
const TIME_NAMES: [&str; 12] = [
    "occurred_at",
    "created_at",
    "created",
    "timestamp",
    "time",
    "at",
    "date",
    "datetime",
    "ts",
    "event_time",
    "placed_at",
    "updated_at",
];
const VERSION_NAMES: [&str; 6] = ["version", "revision", "updated_at", "updated", "modified_at", "sequence"];
const TENANT_NAMES: [&str; 8] = [
    "tenant",
    "tenant_id",
    "account",
    "account_id",
    "shop_domain",
    "merchant_id",
    "organization_id",
    "customer_account",
];
const ID_NAMES: [&str; 6] = ["id", "uuid", "guid", "message_id", "messageId", "event_id"];

/// What a guess is made for.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub kind: String,
    pub tenant: String,
}

/// What is known of the values at a path.
#[derive(Default)]
struct Seen {
    count: usize,
    numbers: usize,
    texts: usize,
    flags: usize,
    /// Texts that are numbers.
    numeric: usize,
    /// Most digits after a point.
    digits: usize,
    longest: usize,
    distinct: BTreeSet<String>,
    forms: BTreeMap<&'static str, usize>,
}

/// Definitions in YAML.
///
/// # Errors
/// When no sample is a JSON object.
pub fn guess(samples: &[Sample], wishes: &Wishes) -> anyhow::Result<String> {
    let records: Vec<Value> =
        samples.iter().filter_map(|sample| serde_json::from_slice(sample.content.as_ref().ok()?).ok()).collect();
    let records: Vec<Value> = records
        .into_iter()
        .flat_map(|record| match record {
            Value::Array(items) => items,
            other => vec![other],
        })
        .filter(Value::is_object)
        .collect();
    anyhow::ensure!(!records.is_empty(), "no sample is a JSON object; a mapping is guessed from objects");
    let preset = preset_of(&records[0]);
    let mut paths = BTreeMap::new();
    let mut arrays = BTreeSet::new();
    let base = base_of(preset);
    for record in &records {
        match preset {
            Some(Preset::Debezium | Preset::DebeziumPayload) => {
                let root = if preset == Some(Preset::Debezium) { "" } else { "/payload" };
                let row = ["after", "before"].map(|side| record.pointer(&format!("{root}/{side}")));
                if let Some(row) = row.into_iter().flatten().find(|row| row.is_object()) {
                    walk(row, ".".to_owned(), 0, &mut paths, &mut arrays);
                }
            }
            _ => {
                if let Some(part) = record.pointer(base) {
                    walk(part, base.to_owned(), 0, &mut paths, &mut arrays);
                }
            }
        }
    }
    Ok(Guess { preset, paths, arrays, records: records.len() }.yaml(wishes))
}

fn preset_of(record: &Value) -> Option<Preset> {
    let has = |path: &str| record.pointer(path).is_some();
    let is = |path: &str, word: &str| record.pointer(path).and_then(Value::as_str) == Some(word);
    match () {
        () if has("/specversion") && has("/source") => Some(Preset::CloudEvents),
        () if has("/op") && (has("/after") || has("/before")) && has("/source") => Some(Preset::Debezium),
        () if has("/payload/op") && (has("/payload/after") || has("/payload/before")) => Some(Preset::DebeziumPayload),
        () if is("/type", "track") && has("/messageId") => Some(Preset::Track),
        () if is("/object", "event") && has("/data/object/id") => Some(Preset::PaymentEvent),
        () => None,
    }
}

/// Where the values of a preset's records are.
fn base_of(preset: Option<Preset>) -> &'static str {
    match preset {
        Some(Preset::CloudEvents) => "/data",
        Some(Preset::Track) => "/properties",
        Some(Preset::PaymentEvent) => "/data/object",
        _ => "",
    }
}

fn walk(value: &Value, path: String, depth: usize, paths: &mut BTreeMap<String, Seen>, arrays: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if depth < MAX_DEPTH => {
            for (key, value) in fields {
                let step = key.replace('~', "~0").replace('/', "~1");
                walk(value, format!("{path}/{step}"), depth + 1, paths, arrays);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            arrays.insert(path);
        }
        Value::Null | Value::Array(_) | Value::Object(_) => {}
        single => paths.entry(path).or_default().note(single),
    }
}

impl Seen {
    fn note(&mut self, value: &Value) {
        self.count += 1;
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match value {
            Value::Bool(_) => self.flags += 1,
            Value::Number(_) => self.numbers += 1,
            _ => self.texts += 1,
        }
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && digits.matches('.').count() <= 1
            && !digits.ends_with('.');
        if is_number {
            self.numeric += 1;
            self.digits = self.digits.max(digits.split_once('.').map_or(0, |(_, fraction)| fraction.len()));
        }
        if let Some(form) = form_of(value) {
            *self.forms.entry(form).or_default() += 1;
        }
        self.longest = self.longest.max(text.len());
        if self.distinct.len() < MAX_DISTINCT {
            self.distinct.insert(text);
        }
    }

    /// The form of time that all values have.
    fn form(&self) -> Option<&'static str> {
        self.forms.iter().find(|(_, count)| **count == self.count).map(|(form, _)| *form)
    }

    fn is_numeric(&self) -> bool {
        self.numeric == self.count && self.flags == 0
    }
}

/// The form of time that a value may have.
fn form_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Number(number) => {
            // Seconds of 2001 to 2096, and the same in finer units.
            let number = number.as_f64()?;
            [(1e9, 4e9, "epoch_s"), (1e12, 4e12, "epoch_ms"), (1e15, 4e15, "epoch_us"), (1e18, 4e18, "epoch_ns")]
                .into_iter()
                .find(|(low, high, _)| (*low..*high).contains(&number))
                .map(|(_, _, form)| form)
        }
        Value::String(text) => {
            let bytes = text.as_bytes();
            let is_date = bytes.len() >= 10
                && bytes[..10].iter().enumerate().all(|(at, byte)| match at {
                    4 | 7 => *byte == b'-',
                    _ => byte.is_ascii_digit(),
                });
            let rest = bytes.get(10..).filter(|_| is_date)?;
            let has_offset = rest.ends_with(b"Z") || rest.iter().rev().take(6).any(|byte| matches!(byte, b'+' | b'-'));
            match (rest.first(), has_offset) {
                (None, _) => Some("local"),
                (Some(b'T' | b' '), true) => Some("rfc3339"),
                (Some(b'T' | b' '), false) => Some("local"),
                _ => None,
            }
        }
        _ => None,
    }
}

struct Guess {
    preset: Option<Preset>,
    paths: BTreeMap<String, Seen>,
    arrays: BTreeSet<String>,
    records: usize,
}

impl Guess {
    fn yaml(&self, wishes: &Wishes) -> String {
        let mut used = BTreeSet::new();
        let id = self.id();
        let at = self.named(&TIME_NAMES, |seen| seen.form().is_some());
        let version =
            self.named(&VERSION_NAMES, |seen| seen.form().is_some() || (seen.is_numeric() && seen.digits == 0));
        let version = version.filter(|path| Some(*path) != at);
        let tenant = self.named(&TENANT_NAMES, |seen| seen.longest <= MAX_NAME_BYTES);
        used.extend([id, at, version, tenant].into_iter().flatten());
        let (dims, measures) = self.columns(&used);
        let has_preset_id = matches!(self.preset, Some(Preset::CloudEvents | Preset::Track | Preset::PaymentEvent));
        let is_entity = id.is_some() || has_preset_id;
        let mut yaml =
            String::from("# Guessed from samples. Look at every line, then try it: daybook map try FILE --mapping ");
        yaml.push_str(&format!("{0}/{0}_records -f THIS_FILE\nkinds:\n  - name: {0}\n", wishes.kind));
        yaml.push_str(if is_entity { "    mode: entity" } else { "    mode: fact  " });
        yaml.push_str("        # entity: a newer version takes the place of an older one; fact: everything counts\n");
        let names = |columns: &[Column<'_>]| columns.iter().map(|c| c.declared()).collect::<Vec<_>>().join(", ");
        yaml.push_str(&format!("    dimensions: [{}]\n    measures: [{}]\n", names(&dims), names(&measures)));
        yaml.push_str(&format!("    mappings:\n      - name: {}_records\n", wishes.kind));
        if let Some(preset) = self.preset {
            yaml.push_str(&format!("        extends: {}\n", preset.as_str()));
        }
        match tenant {
            Some(path) => yaml.push_str(&format!(
                "        tenant: {}        # add map: {{ theirs: ours }} where ids differ\n",
                quoted(path)
            )),
            None => yaml
                .push_str(&format!("        tenant: {{ const: {} }}        # whose events these are\n", wishes.tenant)),
        }
        for array in &self.arrays {
            yaml.push_str(&format!(
                "        # explode: {}        # an event for each item; then ./ begins at the item\n",
                quoted(array)
            ));
        }
        match id {
            Some(path) if !has_preset_id => yaml.push_str(&format!("        id: [{}]\n", quoted(path))),
            None if !is_entity => {
                yaml.push_str("        # id: [/…]        # facts with an id count once, however often they come\n")
            }
            _ => {}
        }
        if let Some(path) = version.filter(|_| is_entity) {
            let form = self.paths[path].form().map_or(String::new(), |form| format!(", as: {form}"));
            yaml.push_str(&format!("        version: {{ path: {}{form} }}\n", quoted(path)));
        }
        match at {
            Some(path) => {
                let form = self.paths[path].form().unwrap_or("rfc3339");
                yaml.push_str(&format!(
                    "        at: {{ path: {}, as: {form} }}        # the time that decides the business day\n",
                    quoted(path)
                ));
            }
            None if self.preset.is_none() => {
                yaml.push_str("        at: arrival        # no value looks like the time of the event\n")
            }
            None => {}
        }
        yaml.push_str(&picks("dims", &dims));
        yaml.push_str(&picks("measures", &measures));
        yaml.push_str(&view(wishes, &dims, &measures));
        yaml
    }

    /// The path of the likeliest name whose values are right; of several paths with that name, the shortest.
    fn named(&self, names: &[&str], is_right: impl Fn(&Seen) -> bool) -> Option<&str> {
        names.iter().find_map(|name| {
            let has_name = |path: &str| last(path).eq_ignore_ascii_case(name);
            let all =
                self.paths.iter().filter(|(path, seen)| has_name(path) && seen.count == self.records && is_right(seen));
            all.min_by_key(|(path, _)| path.len()).map(|(path, _)| path.as_str())
        })
    }

    /// A value that every record has and no two share.
    fn id(&self) -> Option<&str> {
        let is_id =
            |seen: &Seen| seen.distinct.len() == self.records.min(MAX_DISTINCT) && seen.flags == 0 && seen.digits == 0;
        self.named(&ID_NAMES, is_id).or_else(|| {
            let ids = self
                .paths
                .iter()
                .filter(|(path, seen)| last(path).ends_with("id") && seen.count == self.records && is_id(seen));
            ids.min_by_key(|(path, _)| path.len()).map(|(path, _)| path.as_str())
        })
    }

    fn columns(&self, used: &BTreeSet<&str>) -> (Vec<Column<'_>>, Vec<Column<'_>>) {
        let (mut dims, mut measures) = (Vec::new(), Vec::new());
        let mut names = BTreeSet::new();
        for (path, seen) in
            self.paths.iter().filter(|(path, seen)| !used.contains(path.as_str()) && seen.form().is_none())
        {
            let is_key = last(path).ends_with("id") || last(path).ends_with("_no");
            let few = seen.distinct.len() <= (self.records / 2).max(20) && seen.longest <= MAX_DIMENSION_TEXT;
            let is_measure = seen.is_numeric() && !is_key && seen.digits <= usize::from(MAX_SCALE);
            let list = if is_measure { &mut measures } else { &mut dims };
            if list.len() == MAX_GUESSED || (!is_measure && !few) {
                continue;
            }
            let name = column_name(path, &mut names);
            list.push(Column {
                name,
                path,
                is_measure,
                digits: seen.digits,
                text: seen.numbers > 0 && seen.digits > 0,
            });
        }
        (dims, measures)
    }
}

struct Column<'g> {
    name: String,
    path: &'g str,
    is_measure: bool,
    digits: usize,
    text: bool,
}

impl Column<'_> {
    fn declared(&self) -> String {
        match (self.is_measure, self.digits) {
            (true, digits) if digits > 0 => {
                format!(
                    "{{ name: {}, type: decimal, scale: {} }}",
                    self.name,
                    digits.max(2).min(usize::from(MAX_SCALE))
                )
            }
            _ => self.name.clone(),
        }
    }

    fn pick(&self) -> String {
        let path = quoted(self.path);
        if self.text && !self.is_measure { format!("{{ path: {path}, text: true }}") } else { path }
    }
}

/// The values of columns, under their key.
fn picks(key: &str, columns: &[Column<'_>]) -> String {
    let lines = columns.iter().map(|column| format!("          {}: {}\n", column.name, column.pick()));
    if columns.is_empty() { String::new() } else { format!("        {key}:\n{}", lines.collect::<String>()) }
}

fn view(wishes: &Wishes, dims: &[Column<'_>], measures: &[Column<'_>]) -> String {
    let by = dims.first().map_or("", |dimension| dimension.name.as_str());
    let kind = &wishes.kind;
    let mut yaml = format!(
        "views:\n  - name: {kind}_figures\n    kind: {kind}\n    group_by: [{by}]\n    metrics:\n      - events: count\n"
    );
    for measure in measures.iter().filter(|measure| measure.name != "events") {
        yaml.push_str(&format!("      - sum_{0}: sum({1})\n", measure.name, in_expression(&measure.name)));
    }
    yaml
}

/// A name as it stands in an expression.
fn in_expression(name: &str) -> String {
    let keywords = ["and", "or", "not", "in", "is", "null", "between", "status"];
    let is_plain = !name.contains('-') && !name.starts_with(|c: char| c.is_ascii_digit());
    if is_plain && !keywords.contains(&name.to_ascii_lowercase().as_str()) {
        name.to_owned()
    } else {
        format!("'\"{name}\"'")
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A name for the column of a path: its last step, or more of them where that is taken.
fn column_name(path: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |text: &str| -> String {
        let name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let name = name.trim_matches('_').to_lowercase();
        let name: String = name.chars().take(MAX_NAME_BYTES - 8).collect();
        // Expressions and envelopes have these for themselves.
        match name.as_str() {
            "" => "value".to_owned(),
            "status" | "day" | "time" | "rank" | "position" | "null" | "true" | "false" => format!("{name}_of_record"),
            name if name.starts_with(|c: char| c.is_ascii_digit()) => format!("n{name}"),
            _ => name,
        }
    };
    let steps: Vec<&str> = path.split('/').collect();
    let names = (1..=steps.len()).map(|count| plain(&steps[steps.len() - count..].join("_")));
    let numbered = (2..).map(|number| format!("{}{number}", plain(last(path))));
    let name = names.chain(numbered).find(|name| !taken.contains(name)).expect("numbers do not end");
    taken.insert(name.clone());
    name
}

/// A path as YAML has it: quoted where it is not plain.
fn quoted(path: &str) -> String {
    let is_plain =
        path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'.' | b'~'));
    if is_plain && !path.is_empty() { path.to_owned() } else { serde_json::Value::from(path).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions;
    use daybook_mapping::{Outcome, Record, RecordMapper, Zones};
    use std::path::PathBuf;

    /// What a guess makes of its own samples, and the guess.
    fn guessed(lines: &[&str]) -> (Vec<Outcome>, String) {
        let samples: Vec<Sample> =
            (1..).zip(lines).map(|(line, text)| Sample { line, content: Ok(text.as_bytes().to_vec()) }).collect();
        let wishes = Wishes { kind: "sale".into(), tenant: "acme".into() };
        let yaml = guess(&samples, &wishes).unwrap();
        let loaded = definitions::load(&[(PathBuf::from("guess.yaml"), yaml.clone())], &[])
            .unwrap_or_else(|mistakes| panic!("{}\n{yaml}", mistakes[0]));
        let mut zones = Zones::default();
        zones.define(
            &"acme".parse().unwrap(),
            &[daybook_domain::catalogue::CalendarRule {
                from: daybook_domain::time::Date::MIN,
                zone: "Etc/UTC".into(),
                cutoff_minutes: 0,
                named_by: Default::default(),
            }],
        );
        let mapper = RecordMapper::find(&loaded.apply.kinds, &"sale_records".parse().unwrap(), zones, None).unwrap();
        let arrived = Some("2024-03-01T10:00:00Z".parse().unwrap());
        let outcomes = samples
            .iter()
            .flat_map(|sample| mapper.map_record(&Record { arrived, ..Record::of(sample.content.as_ref().unwrap()) }));
        (outcomes.collect(), yaml)
    }

    fn assert_guess(lines: &[&str], parts: &[&str]) {
        let (outcomes, yaml) = guessed(lines);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Event(_))), "{outcomes:?}\n{yaml}");
        for part in parts {
            assert!(yaml.contains(part), "{part} is not in\n{yaml}");
        }
    }

    #[test]
    fn a_guess_maps_its_own_samples() {
        assert_guess(
            &[
                r#"{"order_id": 17, "created": 1709287386, "shop": {"city": "Oslo", "id": 4}, "total": "12.50", "lines": [{"sku": 1}], "status": "paid"}"#,
                r#"{"order_id": 18, "created": 1709287400, "shop": {"city": "Oslo", "id": 4}, "total": "7.00", "lines": [], "status": "open"}"#,
            ],
            &[
                "mode: entity",
                "id: [/order_id]",
                "at: { path: /created, as: epoch_s }",
                "city: /shop/city",
                "{ name: total, type: decimal, scale: 2 }",
                "# explode: /lines",
                "sum(total)",
                "const: acme",
            ],
        );
        assert_guess(
            &[r#"{"when is it": "x", "when": "2024-03-01 10:00", "a/b~c": 1.5, "9 lives": true}"#],
            &["mode: fact", "at: arrival", "\"/when is it\"", "/a~1b~0c"],
        );
        assert_guess(
            &[
                r#"[{"uuid": "a", "date": "2024-03-01", "tenant": "acme"}, {"uuid": "b", "date": "2024-03-02", "tenant": "acme"}]"#,
            ],
            &["as: local", "tenant: /tenant"],
        );
    }

    #[test]
    fn known_shapes_extend_a_preset() {
        assert_guess(
            &[
                r#"{"specversion": "1.0", "type": "t", "source": "s", "id": "1", "time": "2024-03-01T10:00:00Z", "data": {"ms": 12, "route": "/v1"}}"#,
            ],
            &["extends: cloudevents", "ms: /data/ms", "route: /data/route"],
        );
        assert_guess(
            &[
                r#"{"before": null, "after": {"id": 2, "store": "east", "total": "21.40"}, "op": "u", "source": {"ts_ms": 1709289000000}}"#,
            ],
            &["extends: debezium", "id: [./id]", "total: ./total"],
        );
        assert_guess(
            &[
                r#"{"type": "track", "messageId": "m", "timestamp": "2024-03-01T10:00:00Z", "properties": {"revenue": 49.99}}"#,
            ],
            &["extends: track", "revenue: /properties/revenue"],
        );
        assert_guess(
            &[
                r#"{"object": "event", "data": {"object": {"id": "c", "amount": 1, "created": 1709287386, "status": "succeeded"}}}"#,
            ],
            &["extends: payment_event", "amount: /data/object/amount"],
        );
    }

    #[test]
    fn nothing_is_guessed_from_no_object() {
        let samples = [Sample { line: 1, content: Ok(b"17".to_vec()) }];
        assert!(guess(&samples, &Wishes { kind: "k".into(), tenant: "t".into() }).is_err());
    }
}
