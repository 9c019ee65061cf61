//! A compiled mapping, and running it on records.

use crate::found::FoundValue;
use crate::outcomes::Outcomes;
use crate::reading::{AtTime, Columns, TextRule, TimeRule, VersionRule, moment, status};
use crate::record::{
    MAX_OUTCOMES, MAX_RECORD_BYTES, MAX_SPARE_BYTES, MappedEvent, Outcome, PassedOver, Record, Unmapped,
};
use crate::rule::{Origin, Rule, Values};
use crate::scan::ReadError;
use crate::shape::{Elements, Shape};
use crate::zones::Zones;
use compact_str::CompactString;
use daybook_contracts::event::{MAX_ID_BYTES, MAX_MESSAGE_EVENTS, Problem, ValidEvent};
use daybook_contracts::reject::Code;
use daybook_domain::catalogue::Status;
use daybook_domain::expression::PathPredicate;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::mapping::Take;
use daybook_domain::time::Instant;
use std::ops::Range;

/// Between the parts of an id. Within a part it is written `\:`, and `\` is `\\`, so that ids of different parts differ.
const ID_SEPARATOR: char = ':';

/// A mapping that was checked against its kind.
///
/// # Invariants
/// What it makes of a record depends on the record and the zones alone. It never panics, whatever the bytes.
#[derive(Clone, Debug)]
pub struct Mapper {
    pub(crate) name: Name,
    /// What is read of a record.
    pub(crate) record: Shape,
    /// What is read of an item or row of it.
    pub(crate) item: Shape,
    pub(crate) items: Items,
    pub(crate) when: Option<When>,
    pub(crate) tenant: Option<TextRule>,
    pub(crate) id: Vec<TextRule>,
    pub(crate) version: Option<VersionRule>,
    pub(crate) at: TimeRule,
    pub(crate) status: Option<Rule<Status>>,
    pub(crate) columns: Columns,
}

/// What `./` begins at.
#[derive(Clone, Debug)]
pub(crate) enum Items {
    None,
    /// Each item of the array in a slot of the record.
    Explode {
        slot: usize,
        path: Box<str>,
        slots: Option<u16>,
    },
    /// The first of these that holds an object.
    Rows(Vec<(usize, Box<str>)>),
}

#[derive(Clone, Debug)]
pub(crate) struct When {
    pub(crate) predicate: PathPredicate,
    /// For each name of the predicate.
    pub(crate) origins: Vec<Origin>,
    /// Whether it differs between items.
    pub(crate) of_item: bool,
}

impl Mapper {
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the mapping itself says for whom its events are.
    pub fn names_tenant(&self) -> bool {
        self.tenant.is_some()
    }

    /// What becomes of a record: at least one outcome and at most [`MAX_OUTCOMES`], in the order of the record.
    pub fn map(&self, record: &Record<'_>, zones: &Zones) -> Vec<Outcome> {
        self.outcomes(record, zones).into_numbered().into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// The same, each with the number of its record, from 0: where the body is an array of records, its place in the array. A problem
    /// of the whole array has 0.
    pub fn map_numbered(&self, record: &Record<'_>, zones: &Zones) -> impl Iterator<Item = (u32, Outcome)> + use<> {
        self.outcomes(record, zones).into_numbered().into_iter()
    }

    fn outcomes(&self, record: &Record<'_>, zones: &Zones) -> Outcomes {
        let mut outcomes = Outcomes::of(record.body.len());
        match text_of(record.body) {
            Ok(text) if text.starts_with('[') && !self.takes_array() => {
                match split(&Shape::default(), text, "the JSON array of records") {
                    Ok(parts) => self.map_each(parts.iter().map(|(part, _)| part), record, zones, &mut outcomes),
                    Err(problem) => outcomes.push(unmapped(problem, record.tenant.cloned(), None, whole_of(record))),
                }
            }
            Ok(text) => self.map_one(text, record, zones, &mut outcomes),
            Err(problem) => outcomes.push(unmapped(problem, record.tenant.cloned(), None, whole_of(record))),
        }
        if outcomes.len() == 0 {
            outcomes.push(Outcome::PassedOver(PassedOver::NoItems));
        }
        outcomes
    }

    /// Maps the records of an array: a small array can make many events, so their number and bytes are bounded.
    fn map_each<'r>(
        &self,
        parts: impl Iterator<Item = &'r str>,
        record: &Record<'r>,
        zones: &Zones,
        outcomes: &mut Outcomes,
    ) {
        for (number, part) in (0..).zip(parts) {
            outcomes.begin(number);
            self.map_one(part, record, zones, outcomes);
            if outcomes.is_full() || outcomes.len() > MAX_OUTCOMES {
                let reason = match outcomes.is_full() {
                    true => too_many_bytes("the array of records", record),
                    false => format!("the array of records makes more than {MAX_OUTCOMES} events; send fewer at once"),
                };
                let problem = Problem::new(Code::BatchSize, None, reason);
                outcomes.begin(0);
                return outcomes.replace(unmapped(problem, record.tenant.cloned(), None, whole_of(record)));
            }
        }
    }

    /// Whether the record itself is the array to explode.
    fn takes_array(&self) -> bool {
        matches!(&self.items, Items::Explode { path, .. } if path.is_empty())
    }

    fn map_one<'r>(&self, text: &'r str, record: &Record<'r>, zones: &Zones, outcomes: &mut Outcomes) {
        let slots = match self.record.read(text) {
            Ok(slots) => slots,
            Err(error) => {
                let problem = Problem::new(Code::Malformed, None, format!("not a JSON record: {error}"));
                return outcomes.push(unmapped(problem, record.tenant.cloned(), None, piece_of(record, text)));
            }
        };
        let values = Values { record, slots: &slots, item: &[], index: None };
        if self.when.as_ref().is_some_and(|when| !when.of_item && !when.holds(&values)) {
            return outcomes.push(Outcome::PassedOver(PassedOver::When { item: None }));
        }
        match &self.items {
            Items::None => outcomes.push(self.event(text, &values, zones, "")),
            Items::Rows(rows) => outcomes.push(self.map_row(text, rows, &values, zones)),
            Items::Explode { slot, path, slots: most } => match FoundValue::of(slots[*slot]) {
                FoundValue::Array => {
                    let array = Array { text: slots[*slot].unwrap_or_default(), path, slots: *most };
                    self.map_items(&array, &values, zones, outcomes);
                }
                found => {
                    let missing = matches!(found, FoundValue::Missing | FoundValue::Null);
                    let code = if missing { Code::MissingField } else { Code::WrongType };
                    let reason = format!("{path} is {found}; it must be the array with the items");
                    let tenant = self.tenant(&values).unwrap_or_default();
                    let problem = Problem::new(code, Some(path), reason);
                    outcomes.push(unmapped(problem, tenant, None, piece_of(record, text)));
                }
            },
        }
    }

    fn map_row(&self, text: &str, rows: &[(usize, Box<str>)], values: &Values<'_, '_>, zones: &Zones) -> Outcome {
        let row = rows.iter().find(|(slot, _)| FoundValue::of(values.slots[*slot]) == FoundValue::Object);
        let Some((slot, path)) = row else {
            let names: Vec<&str> = rows.iter().map(|(_, path)| &**path).collect();
            let reason = format!("there is an object in none of {}", names.join(", "));
            let problem = Problem::new(Code::MissingField, names.first().copied(), reason);
            let piece = piece_of(values.record, text);
            return unmapped(problem, self.tenant(values).unwrap_or_default(), None, piece);
        };
        let text = values.slots[*slot].unwrap_or_default();
        let read = self.item.read(text);
        self.map_item(text, read.as_deref(), path, values, zones)
    }

    fn map_items<'r>(&self, array: &Array<'_, 'r>, values: &Values<'_, 'r>, zones: &Zones, outcomes: &mut Outcomes) {
        let Array { text, path, slots } = *array;
        let items = split(&self.item, text, path).and_then(|items| match slots {
            Some(slots) if items.len() > usize::from(slots) => {
                let reason = format!("{path} has {} items and the mapping {slots} slots; give it more", items.len());
                Err(Problem::new(Code::BatchSize, None, reason))
            }
            _ => Ok(items),
        });
        let items = match items {
            Ok(items) => items,
            Err(problem) => {
                let problem = Problem { field: Some(path.to_owned()), ..problem };
                let piece = piece_of(values.record, text);
                return outcomes.push(unmapped(problem, self.tenant(values).unwrap_or_default(), None, piece));
            }
        };
        for (index, (item, read)) in (0_u32..).zip(items.iter()) {
            let values = Values { index: Some(index), ..*values };
            let outcome = match self.map_item(item, read, path, &values, zones) {
                Outcome::PassedOver(_) if slots.is_some() => self.void(item, &values, zones),
                outcome => outcome,
            };
            outcomes.push(outcome);
            if outcomes.is_full() {
                break;
            }
        }
        for index in items.len() as u32..u32::from(slots.unwrap_or(0)) {
            outcomes.push(self.void(text, &Values { index: Some(index), ..*values }, zones));
        }
        if outcomes.is_full() {
            let problem = Problem::new(Code::BatchSize, Some(path), too_many_bytes(path, values.record));
            let piece = piece_of(values.record, text);
            outcomes.replace(unmapped(problem, self.tenant(values).unwrap_or_default(), None, piece));
        }
    }

    /// The event of a slot that no item takes: void, and without columns.
    fn void(&self, piece: &str, values: &Values<'_, '_>, zones: &Zones) -> Outcome {
        let mut tenant = None;
        let event = self.head(values, zones, "", &mut tenant).map(|Head { at, id, version }| ValidEvent {
            at,
            id,
            version,
            status: Status::Void,
            dims: self.columns.dims.iter().map(|_| None).collect(),
            measures: self.columns.measures.iter().map(|_| None).collect(),
        });
        made_of(event, tenant, piece, values)
    }

    /// `path` is where the row, or the array with the item, stands in the record.
    fn map_item<'r>(
        &self,
        item: &'r str,
        read: Result<&[Option<&'r str>], &ReadError>,
        path: &str,
        values: &Values<'_, 'r>,
        zones: &Zones,
    ) -> Outcome {
        let slots = match read {
            Ok(slots) => slots,
            Err(error) => {
                let path = item_path(path, values.index);
                let problem = Problem::new(Code::Malformed, Some(&path), format!("{path} cannot be read: {error}"));
                let piece = piece_of(values.record, item);
                return unmapped(problem, self.tenant(values).unwrap_or_default(), values.index, piece);
            }
        };
        let values = Values { item: slots, ..*values };
        if self.when.as_ref().is_some_and(|when| when.of_item && !when.holds(&values)) {
            return Outcome::PassedOver(PassedOver::When { item: values.index });
        }
        self.event(item, &values, zones, path)
    }

    /// `piece` is what the event is made of.
    fn event(&self, piece: &str, values: &Values<'_, '_>, zones: &Zones, path: &str) -> Outcome {
        let mut tenant = None;
        let event = self.read(values, zones, path, &mut tenant);
        made_of(event, tenant, piece, values)
    }

    /// Reads what every event has, and first of all for whom it is.
    fn head(
        &self,
        values: &Values<'_, '_>,
        zones: &Zones,
        path: &str,
        tenant: &mut Option<TenantId>,
    ) -> Result<Head, Problem> {
        let placed = |place: &str, problem: Problem| place_problem(problem, place, path, values.index);
        *tenant = self
            .tenant(values)
            .map_err(|problem| placed(self.tenant.as_ref().map_or("tenant", |rule| &rule.rule.place), problem))?;
        if tenant.is_none() {
            let place = self.tenant.as_ref().map_or("tenant", |rule| &rule.rule.place);
            let reason = match &self.tenant {
                Some(_) => format!("{place} is missing; it holds the tenant"),
                None => "the mapping does not say for whom the event is".to_owned(),
            };
            return Err(placed(place, Problem::new(Code::MissingField, None, reason)));
        }
        let id = self.id(values).map_err(|(place, problem)| placed(place, problem))?;
        let at = self.at(values, tenant.as_ref(), zones).map_err(|problem| placed(&self.at.rule.place, problem))?;
        let version = match &self.version {
            None => None,
            Some(rule) => rule.read(values, tenant.as_ref(), zones).map_err(|p| placed(&rule.rule.place, p))?,
        };
        Ok(Head { at, id, version })
    }

    fn read(
        &self,
        values: &Values<'_, '_>,
        zones: &Zones,
        path: &str,
        tenant: &mut Option<TenantId>,
    ) -> Result<ValidEvent, Problem> {
        let Head { at, id, version } = self.head(values, zones, path, tenant)?;
        let placed = |place: &str, problem: Problem| place_problem(problem, place, path, values.index);
        let status = match &self.status {
            None => Status::Final,
            Some(rule) => status(rule, values).map_err(|problem| placed(&rule.place, problem))?,
        };
        let dims = self.columns.dims.iter().map(|rule| match rule {
            None => Ok(None),
            Some(rule) => rule.dimension(values).map_err(|problem| placed(&rule.rule.place, problem)),
        });
        let dims = dims.collect::<Result<_, _>>()?;
        let measures = self.columns.measures.iter().map(|rule| match rule {
            None => Ok(None),
            Some(rule) => rule.read(values).map_err(|problem| placed(&rule.rule.place, problem)),
        });
        Ok(ValidEvent { at, id, version, status, dims, measures: measures.collect::<Result<_, _>>()? })
    }

    /// For whom the event is, if that is said.
    fn tenant(&self, values: &Values<'_, '_>) -> Result<Option<TenantId>, Problem> {
        if let Some(tenant) = values.record.tenant {
            return Ok(Some(tenant.clone()));
        }
        let Some(rule) = &self.tenant else { return Ok(None) };
        let Some(text) = rule.read(values)? else { return Ok(None) };
        let tenant = TenantId::new(&text).map(Some);
        tenant.map_err(|error| {
            let shown: String = text.chars().take(64).collect();
            Problem::new(Code::InvalidTenant, None, format!("{} is {shown:?}; as a tenant it {error}", rule.rule.place))
        })
    }

    /// The id of its parts, which are all there; `None` for a fact whose mapping has no id.
    fn id(&self, values: &Values<'_, '_>) -> Result<Option<CompactString>, (&str, Problem)> {
        let mut id = CompactString::default();
        for (at, part) in self.id.iter().enumerate() {
            let place = &*part.rule.place;
            let text = part.read(values).map_err(|problem| (place, problem))?;
            let text = text.filter(|text| !text.is_empty()).ok_or_else(|| {
                let found = values.find(&part.rule.origin);
                let code = if matches!(found, FoundValue::Text(_)) { Code::InvalidText } else { Code::MissingField };
                (place, Problem::new(code, None, format!("{place} is {found}; it is a part of the id")))
            })?;
            if at > 0 {
                id.push(ID_SEPARATOR);
            }
            if self.id.len() > 1 && text.contains([ID_SEPARATOR, '\\']) {
                id.push_str(&text.replace('\\', "\\\\").replace(ID_SEPARATOR, "\\:"));
            } else {
                id.push_str(&text);
            }
        }
        match id.len() {
            0 => Ok(None),
            1..=MAX_ID_BYTES => Ok(Some(id)),
            length => {
                let reason = format!("the id is {length} bytes long; at most {MAX_ID_BYTES} are allowed");
                Err((&self.id[0].rule.place, Problem::new(Code::InvalidText, None, reason)))
            }
        }
    }

    fn at(&self, values: &Values<'_, '_>, tenant: Option<&TenantId>, zones: &Zones) -> Result<Instant, Problem> {
        let TimeRule { rule, forms } = &self.at;
        let found = rule.value(values, |found| moment(found, &rule.place, forms, tenant, zones).map(AtTime::Fixed))?;
        let found = if rule.origin == Origin::Take(Take::Arrival) { Some(AtTime::Arrival) } else { found };
        match found {
            Some(AtTime::Fixed(moment)) => moment
                .instant()
                .map_err(|error| Problem::new(error.code, None, format!("{}: {}", rule.place, error.reason))),
            Some(AtTime::Arrival) => values.record.arrived.ok_or_else(|| {
                let reason = "the record has no time of arrival here, and the mapping wants it for at";
                Problem::new(Code::MissingField, None, reason)
            }),
            None => {
                let reason = format!("{} is missing; it decides the business day", rule.place);
                Err(Problem::new(Code::MissingField, None, reason))
            }
        }
    }
}

/// What every event has, also one that is void.
struct Head {
    at: Instant,
    id: Option<CompactString>,
    version: Option<u64>,
}

/// An array to explode.
struct Array<'m, 'r> {
    text: &'r str,
    path: &'m str,
    slots: Option<u16>,
}

fn made_of(
    event: Result<ValidEvent, Problem>,
    tenant: Option<TenantId>,
    piece: &str,
    values: &Values<'_, '_>,
) -> Outcome {
    match event {
        Ok(event) => {
            let tenant = tenant.expect("an event is read for a tenant");
            Outcome::Event(MappedEvent { tenant, event, item: values.index })
        }
        Err(problem) => unmapped(problem, tenant, values.index, piece_of(values.record, piece)),
    }
}

impl When {
    fn holds(&self, values: &Values<'_, '_>) -> bool {
        self.predicate.holds(&|name| values.seen(&self.origins[name]))
    }
}

/// The record as text, without what may stand before JSON.
fn text_of(body: &[u8]) -> Result<&str, Problem> {
    if body.len() > MAX_RECORD_BYTES {
        let reason = format!("the record is {} bytes long; at most {MAX_RECORD_BYTES} are allowed", body.len());
        return Err(Problem::new(Code::TooLarge, None, reason));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let reason = format!("byte {} is not UTF-8; JSON must be", error.valid_up_to());
        Problem::new(Code::InvalidUtf8, None, reason)
    })?;
    Ok(text.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r']))
}

/// The items of an array, each read by a shape; `what` names the array.
fn split<'r>(shape: &Shape, array: &'r str, what: &str) -> Result<Elements<'r>, Problem> {
    shape.read_each(array, MAX_MESSAGE_EVENTS).map_err(|error| {
        let code = if error.is_length { Code::BatchSize } else { Code::Malformed };
        Problem::new(code, None, format!("{what} cannot be read: {error}"))
    })
}

/// Why the outcomes of `what` have no room.
fn too_many_bytes(what: &str, record: &Record<'_>) -> String {
    format!(
        "{what} makes events of more than {} bytes, for values of the record are copied into each; send fewer items at once",
        record.body.len() + MAX_SPARE_BYTES
    )
}

/// Where an item stands in the record; a row has no index.
fn item_path(path: &str, index: Option<u32>) -> String {
    index.map_or_else(|| path.to_owned(), |index| format!("{path}/{index}"))
}

/// Names the place of the value at fault; of a value within an item, the whole path.
fn place_problem(problem: Problem, place: &str, path: &str, index: Option<u32>) -> Problem {
    let whole = place.strip_prefix('.').map(|rest| format!("{}{rest}", item_path(path, index)));
    let field = whole.as_deref().unwrap_or(place);
    Problem::new(problem.code, Some(field), problem.reason)
}

fn whole_of(record: &Record<'_>) -> Range<usize> {
    0..record.body.len()
}

/// Where in the record a piece of its text stands.
fn piece_of(record: &Record<'_>, piece: &str) -> Range<usize> {
    let start = (piece.as_ptr() as usize).saturating_sub(record.body.as_ptr() as usize);
    let end = start.saturating_add(piece.len());
    if end <= record.body.len() { start..end } else { whole_of(record) }
}

fn unmapped(problem: Problem, tenant: Option<TenantId>, item: Option<u32>, piece: Range<usize>) -> Outcome {
    Outcome::Unmapped(Unmapped { problem, tenant, item, piece })
}
