//! What is known of one entity: its newest version.

use super::columns::Columns;
use super::pages::{PageKey, stable_hash};
use compact_str::CompactString;
use daybook_contracts::log::Event;
use daybook_domain::catalogue::{Kind, Status};
use daybook_domain::expression::Row;
use daybook_domain::time::{Date, Instant};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    pub version: u64,
    pub status: Status,
    pub at: Instant,
    pub columns: Columns,
    /// What views hold that reject late changes, where that is not this version; see [`super::late`].
    pub held: Option<Box<Held>>,
    /// It is a draft that its day's account has among the carried or the rejected.
    pub is_set_aside: bool,
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
pub enum Version<'e> {
    Kept(&'e Entity),
    Told(&'e Event),
}

impl<'e> From<&'e Entity> for Version<'e> {
    fn from(entity: &'e Entity) -> Self {
        Self::Kept(entity)
    }
}

impl<'e> From<&'e Event> for Version<'e> {
    fn from(event: &'e Event) -> Self {
        Self::Told(event)
    }
}

impl Entity {
    /// The entity as `event` describes it, at `version`.
    pub fn of(event: &Event, version: u64) -> Self {
        let columns = Columns::new(event.dims.iter().map(Option::as_deref), event.measures.iter().copied());
        Self { version, status: event.status, at: event.at, columns, held: None, is_set_aside: false }
    }

    /// Whether its day's account has it among the pending: it is a draft that took effect, and nothing newer is known.
    pub fn is_pending(&self) -> bool {
        self.status == Status::Draft && !self.is_set_aside
    }

    /// Whether the event says what is known already, apart from its version.
    pub fn says_the_same(&self, event: &Event) -> bool {
        self.status == event.status
            && self.at == event.at
            && same(self.columns.dims(), event.dims.iter().map(Option::as_deref))
            && same(self.columns.measures(), event.measures.iter().copied())
    }
}

/// Equal but for columns that were added to the kind since, which are null in the older one.
fn same<T: PartialEq>(mut one: impl Iterator<Item = Option<T>>, mut other: impl Iterator<Item = Option<T>>) -> bool {
    loop {
        let (next, theirs) = (one.next(), other.next());
        if next.is_none() && theirs.is_none() {
            return true;
        }
        if next.flatten() != theirs.flatten() {
            return false;
        }
    }
}

impl Row for Version<'_> {
    fn dimension(&self, index: usize) -> Option<&str> {
        match self {
            Self::Told(event) => event.dims.get(index)?.as_deref(),
            Self::Kept(entity) => entity.columns.dims().nth(index)?,
        }
    }

    fn measure(&self, index: usize) -> Option<i64> {
        match self {
            Self::Told(event) => *event.measures.get(index)?,
            Self::Kept(entity) => entity.columns.measures().nth(index)?,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Told(event) => event.status,
            Self::Kept(entity) => entity.status,
        }
    }

    fn at(&self) -> Instant {
        match self {
            Self::Told(event) => event.at,
            Self::Kept(entity) => entity.at,
        }
    }
}

/// An entity as it is stored, and as it goes into digests. Read without memory for its columns: there are millions of them
/// when a shard starts.
#[derive(Deserialize)]
struct Stored<'s> {
    version: u64,
    status: Status,
    at: Instant,
    #[serde(borrow)]
    dims: SmallVec<[Option<&'s str>; 8]>,
    measures: SmallVec<[Option<i64>; 8]>,
    held: Option<Box<Held>>,
    /// The last field, and left out when it is false, as it was before it was there.
    #[serde(default)]
    is_set_aside: bool,
}

impl<'de> Deserialize<'de> for Entity {
    /// Of bytes that are at hand, not of a reader: its texts are borrowed.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { version, status, at, dims, measures, held, is_set_aside } = Stored::deserialize(deserializer)?;
        let columns = Columns::new(dims.into_iter(), measures.into_iter());
        Ok(Self { version, status, at, columns, held, is_set_aside })
    }
}

impl Serialize for Entity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stored = serializer.serialize_struct("Stored", 6 + usize::from(self.is_set_aside))?;
        stored.serialize_field("version", &self.version)?;
        stored.serialize_field("status", &self.status)?;
        stored.serialize_field("at", &self.at)?;
        stored.serialize_field("dims", &self.columns.dims().collect::<SmallVec<[_; 8]>>())?;
        stored.serialize_field("measures", &self.columns.measures().collect::<SmallVec<[_; 8]>>())?;
        stored.serialize_field("held", &self.held)?;
        if self.is_set_aside {
            stored.serialize_field("is_set_aside", &true)?;
        }
        stored.end()
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
