//! What connect and the command line do with a mapping: find it by its name, make events of a record, and reject what is none. The
//! gateway uses [`Mapper`] itself: it tells the client what is wrong, and rejects nothing.

use crate::envelope::envelope;
use crate::mapper::Mapper;
use crate::record::{MappedEvent, Outcome, Record, Unmapped};
use crate::zones::Zones;
use daybook_contracts::reject::MAX_ORIGINAL_BYTES;
use daybook_contracts::subjects::UNMAPPED_TENANT;
use daybook_domain::catalogue::Kind;
use daybook_domain::ids::{Name, NameError, TenantId};
use daybook_domain::mapping::{Mapping, Pick};
use daybook_domain::nearest::nearest;
use daybook_domain::time::Instant;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Mappings that an error lists.
const MAX_LISTED: usize = 12;

/// Which mapping is meant: `KIND/NAME`, or `NAME` where only one kind has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingName {
    pub kind: Option<Name>,
    pub name: Name,
}

/// A text that names no mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingNameError {
    #[error("the kind {0}")]
    Kind(NameError),
    #[error("the mapping {0}")]
    Mapping(NameError),
}

impl FromStr for MappingName {
    type Err = MappingNameError;

    fn from_str(text: &str) -> Result<Self, MappingNameError> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(Name::new(kind).map_err(MappingNameError::Kind)?), name),
            None => (None, text),
        };
        Ok(Self { kind, name: Name::new(name).map_err(MappingNameError::Mapping)? })
    }
}

impl fmt::Display for MappingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{kind}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// A mapping that a door cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindMappingError {
    #[error("there is no kind {0}; `daybook get kinds` shows them")]
    NoKind(Name),
    #[error("there is no mapping {name}; {hint}")]
    NoMapping { name: Name, hint: String },
    #[error("the kinds {one} and {other} both have a mapping {name}; say which, as in {one}/{name}")]
    Ambiguous { one: Name, other: Name, name: Name },
    #[error("the mapping {name} cannot be used: {mistake}; apply it again")]
    Mistaken { name: Name, mistake: String },
    #[error(
        "the mapping {0} does not say for whom events are; name the tenant: `--tenant ID` of a command, `tenant: ID` of a source"
    )]
    NoTenant(Name),
}

/// A mapping of a kind, ready for records.
#[derive(Clone, Debug)]
pub struct RecordMapper {
    pub kind: Kind,
    pub mapper: Mapper,
    zones: Arc<Zones>,
    /// For whom all events are, whatever the mapping says.
    tenant: Option<TenantId>,
    /// All of a record is for one tenant, rather than each item for its own.
    has_one_tenant: bool,
}

impl RecordMapper {
    /// Finds the mapping among kinds.
    ///
    /// # Errors
    /// When there is none of that name, several kinds have it, it cannot be compiled, or nobody says for whom events are.
    pub fn find(
        kinds: &[Kind],
        wanted: &MappingName,
        zones: impl Into<Arc<Zones>>,
        tenant: Option<TenantId>,
    ) -> Result<Self, FindMappingError> {
        let (kind, mapping) = find(kinds, wanted)?;
        let mapper = Mapper::compile(mapping, kind).map_err(|mistakes| FindMappingError::Mistaken {
            name: mapping.name.clone(),
            mistake: mistakes[0].to_string(),
        })?;
        if tenant.is_none() && !mapper.names_tenant() {
            return Err(FindMappingError::NoTenant(mapping.name.clone()));
        }
        let of_item = |pick: &Pick| pick.path.iter().chain(&pick.or).any(|path| path.starts_with('.'));
        let has_one_tenant = tenant.is_some() || !mapping.tenant.as_ref().is_some_and(of_item);
        Ok(Self { kind: kind.clone(), mapper, zones: zones.into(), tenant, has_one_tenant })
    }

    /// The mapping as it is defined.
    pub fn mapping(&self) -> &Mapping {
        let found = self.kind.mappings.iter().find(|mapping| mapping.name == *self.mapper.name());
        found.expect("the mapper was compiled from a mapping of its kind")
    }

    /// What becomes of record `number`, which arrived at `arrived`.
    pub fn map(&self, number: u64, body: &[u8], arrived: Instant) -> Vec<Outcome> {
        self.map_record(&Record { sequence: Some(number), arrived: Some(arrived), ..Record::of(body) })
    }

    /// What becomes of a record, which is for the tenant of this mapper if it has one.
    pub fn map_record(&self, record: &Record<'_>) -> Vec<Outcome> {
        self.mapper.map(&Record { tenant: self.tenant.as_ref(), ..*record }, &self.zones)
    }

    /// The event as it is published.
    pub fn envelope(&self, made: &MappedEvent) -> Vec<u8> {
        envelope(made, &self.kind)
    }

    /// What is published of a record, or an item of it, that could not be mapped, so that it is rejected with the reason. Its
    /// original is the whole record where a reject can keep that and all of it is the tenant's: an item alone could not be mapped
    /// once the mapping is mended.
    pub fn refuse(&self, body: &[u8], unmapped: &Unmapped, originals: &mut Originals) -> Refused {
        // An array of records may hold those of several tenants.
        let is_one_record = body.trim_ascii_start().starts_with(b"{");
        let piece = match is_one_record && self.has_one_tenant && body.len() <= MAX_ORIGINAL_BYTES {
            true => body,
            false => body.get(unmapped.piece.clone()).unwrap_or(body),
        };
        Refused {
            tenant: unmapped.tenant.as_ref().map_or(UNMAPPED_TENANT, TenantId::as_str).to_owned(),
            kind: self.kind.name.clone(),
            // A reject keeps no more. The byte above the bound shows that the piece was longer.
            piece: originals.take(&piece[..piece.len().min(MAX_ORIGINAL_BYTES + 1)]),
            why: serde_json::to_string(&unmapped.problem).expect("a problem is plain values"),
        }
    }
}

/// Bounds the originals of one record: each of its items may fail with all of it.
#[derive(Debug)]
pub struct Originals {
    bytes_left: usize,
}

impl Originals {
    /// Of a record of so many bytes: together they take as many, and the bytes of one original more.
    pub fn of(record_bytes: usize) -> Self {
        Self { bytes_left: record_bytes + MAX_ORIGINAL_BYTES }
    }

    /// The original, or nothing when there were too many of the record before.
    pub fn take(&mut self, original: &[u8]) -> Vec<u8> {
        match self.bytes_left.checked_sub(original.len()) {
            Some(left) => {
                self.bytes_left = left;
                original.to_vec()
            }
            None => Vec::new(),
        }
    }
}

/// A piece of a record that no event can be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The tenant's token of the subject.
    pub tenant: String,
    pub kind: Name,
    /// At most one byte more than a reject keeps of an original; empty when the rejects of the record have no room for more.
    pub piece: Vec<u8>,
    /// The problem, as in the header [`UNMAPPED`](daybook_contracts::headers::UNMAPPED).
    pub why: String,
}

fn find<'k>(kinds: &'k [Kind], wanted: &MappingName) -> Result<(&'k Kind, &'k Mapping), FindMappingError> {
    let kinds: Vec<&Kind> =
        kinds.iter().filter(|kind| wanted.kind.as_ref().is_none_or(|name| kind.name == *name)).collect();
    if let (Some(name), []) = (&wanted.kind, &kinds[..]) {
        return Err(FindMappingError::NoKind(name.clone()));
    }
    let all = || kinds.iter().flat_map(|kind| kind.mappings.iter().map(move |mapping| (*kind, mapping)));
    let found: Vec<_> = all().filter(|(_, mapping)| mapping.name == wanted.name).collect();
    match found[..] {
        [found] => Ok(found),
        [] => {
            let hint = match nearest(wanted.name.as_str(), all().map(|(_, mapping)| mapping.name.as_str())) {
                Some(meant) => format!("did you mean {meant}?"),
                None if all().next().is_none() => "no kind here has mappings".to_owned(),
                None => {
                    let name = |(kind, mapping): (&Kind, &Mapping)| format!("{}/{}", kind.name, mapping.name);
                    let names: Vec<_> = all().map(name).take(MAX_LISTED).collect();
                    format!("the mappings are {}", names.join(", "))
                }
            };
            Err(FindMappingError::NoMapping { name: wanted.name.clone(), hint })
        }
        [(one, _), (other, _), ..] => Err(FindMappingError::Ambiguous {
            one: one.name.clone(),
            other: other.name.clone(),
            name: wanted.name.clone(),
        }),
    }
}
