//! What is known of one entity: its newest version.

use super::pages::{PageKey, stable_hash};
use compact_str::CompactString;
use daybook_contracts::log::Event;
use daybook_domain::catalogue::{Kind, Status};
use daybook_domain::expression::Row;
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Serialize};

/// The number of a kind in its partition, in the order in which kinds were defined there.
pub type KindId = u16;

/// Which entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityKey {
    pub kind: KindId,
    pub id: CompactString,
}

impl PageKey for EntityKey {
    fn page_hash(&self) -> u64 {
        stable_hash(u64::from(self.kind), self.id.as_bytes())
    }
}

/// The newest version of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    pub version: u64,
    pub status: Status,
    pub at: Instant,
    pub dims: Box<[Option<CompactString>]>,
    pub measures: Box<[Option<i64>]>,
    /// What views hold that reject late changes, where that is not this version; see [`super::late`].
    pub held: Option<Box<Held>>,
}

/// What rejecting views hold of an entity. With a named field, for nothing inside a bare option would be stored as no
/// option at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The day and the version; `None` when they hold nothing.
    pub version: Option<(Date, Entity)>,
}

/// What views see of a version of an entity, be it kept or told by an event that has just come.
#[derive(Clone, Copy, Debug)]
pub struct Version<'e> {
    status: Status,
    at: Instant,
    dims: &'e [Option<CompactString>],
    measures: &'e [Option<i64>],
}

impl<'e> From<&'e Entity> for Version<'e> {
    fn from(entity: &'e Entity) -> Self {
        let Entity { status, at, dims, measures, .. } = entity;
        Self { status: *status, at: *at, dims, measures }
    }
}

impl<'e> From<&'e Event> for Version<'e> {
    fn from(event: &'e Event) -> Self {
        let Event { status, at, dims, measures, .. } = event;
        Self { status: *status, at: *at, dims, measures }
    }
}

impl Entity {
    /// The entity as `event` describes it, at `version`: takes the columns out of the event.
    pub fn of(event: &mut Event, version: u64) -> Self {
        let (dims, measures) = (event.dims.drain(..).collect(), event.measures.drain(..).collect());
        Self { version, status: event.status, at: event.at, dims, measures, held: None }
    }

    /// Whether the event says what is known already, apart from its version.
    pub fn says_the_same(&self, event: &Event) -> bool {
        self.status == event.status
            && self.at == event.at
            && same(&self.dims, &event.dims)
            && same(&self.measures, &event.measures)
    }
}

/// Equal but for columns that were added to the kind since, which are null in the older one.
fn same<T: PartialEq>(one: &[Option<T>], other: &[Option<T>]) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    long.starts_with(short) && long[short.len()..].iter().all(Option::is_none)
}

impl Row for Version<'_> {
    fn dimension(&self, index: usize) -> Option<&str> {
        self.dims.get(index)?.as_deref()
    }

    fn measure(&self, index: usize) -> Option<i64> {
        *self.measures.get(index)?
    }

    fn status(&self) -> Status {
        self.status
    }

    fn at(&self) -> Instant {
        self.at
    }
}

/// The event as JSON, for rejects that are found only here: the bytes that were published are in INBOX by then, or gone.
pub fn event_json(event: &Event, kind: &Kind) -> Vec<u8> {
    use daybook_domain::value::Number;
    use serde_json::{Map, Value};
    let mut dims = Map::new();
    let mut object = Map::new();
    object.insert("id".into(), event.id.as_deref().into());
    object.insert("version".into(), event.version.into());
    object.insert("status".into(), event.status.as_str().into());
    object.insert("at".into(), event.at.to_string().into());
    for (dimension, value) in kind.dimensions.iter().zip(&event.dims) {
        let value: Value = value.as_deref().into();
        match &dimension.field {
            Some(field) => object.insert(field.to_string(), value),
            None => dims.insert(dimension.name.to_string(), value),
        };
    }
    let measures: Map<String, Value> = kind
        .measures
        .iter()
        .zip(&event.measures)
        .map(|(measure, value)| {
            let value = match (value, measure.scale) {
                (None, _) => Value::Null,
                (Some(integer), 0) => (*integer).into(),
                // As text, which is read back exactly.
                (Some(unscaled), scale) => Number::new((*unscaled).into(), scale).to_string().into(),
            };
            (measure.name.to_string(), value)
        })
        .collect();
    object.insert("dims".into(), dims.into());
    object.insert("measures".into(), measures.into());
    Value::Object(object).to_string().into_bytes()
}
