//! Foreign records through a mapping of the catalogue: events to publish, and what becomes of the others.

use crate::client::Client;
use anyhow::{anyhow, bail};
use daybook_contracts::reject::MAX_ORIGINAL_BYTES;
use daybook_contracts::subjects::UNMAPPED_TENANT;
use daybook_domain::catalogue::Kind;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::nearest::nearest;
use daybook_domain::time::Instant;
use daybook_mapping::{Mapper, Outcome, Record, Unmapped, Zones, envelope};
use std::str::FromStr;

/// Records of one run that may turn out to be no events: with more, the mapping is wrong rather than they.
pub const MAX_UNMAPPED: u64 = 10_000;

/// Which mapping is meant: `KIND/NAME`, or `NAME` where only one kind has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingName {
    pub kind: Option<Name>,
    pub name: Name,
}

impl FromStr for MappingName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind.parse().map_err(|error| format!("the kind {error}"))?), name),
            None => (None, text),
        };
        Ok(Self { kind, name: name.parse().map_err(|error| format!("the mapping {error}"))? })
    }
}

/// A mapping, ready for records.
pub struct RecordMapper {
    pub kind: Kind,
    pub mapper: Mapper,
    zones: Zones,
    /// For whom all events are, whatever the mapping says.
    tenant: Option<TenantId>,
}

impl RecordMapper {
    /// Finds the mapping among kinds.
    ///
    /// # Errors
    /// When there is none of that name, several kinds have it, or it cannot be compiled.
    pub fn find(kinds: &[Kind], wanted: &MappingName, zones: Zones, tenant: Option<TenantId>) -> anyhow::Result<Self> {
        let kinds: Vec<&Kind> =
            kinds.iter().filter(|kind| wanted.kind.as_ref().is_none_or(|name| kind.name == *name)).collect();
        if let (Some(name), []) = (&wanted.kind, &kinds[..]) {
            bail!("there is no kind {name}; `daybook get kinds` shows them");
        }
        let all = || kinds.iter().flat_map(|kind| kind.mappings.iter().map(move |mapping| (*kind, mapping)));
        let found: Vec<_> = all().filter(|(_, mapping)| mapping.name == wanted.name).collect();
        let (kind, mapping) = match found[..] {
            [(kind, mapping)] => (kind, mapping),
            [] => {
                let hint = match nearest(wanted.name.as_str(), all().map(|(_, mapping)| mapping.name.as_str())) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None if all().next().is_none() => "no kind here has mappings".to_owned(),
                    None => {
                        let names: Vec<_> =
                            all().map(|(kind, m)| format!("{}/{}", kind.name, m.name)).take(12).collect();
                        format!("the mappings are {}", names.join(", "))
                    }
                };
                bail!("there is no mapping {}; {hint}", wanted.name)
            }
            [(one, _), (other, _), ..] => {
                let (one, other, name) = (&one.name, &other.name, &wanted.name);
                bail!("the kinds {one} and {other} both have a mapping {name}; say which, as in {one}/{name}")
            }
        };
        let mapper = Mapper::compile(mapping, kind).map_err(|mistakes| {
            anyhow!("the mapping {} cannot be used: {}; apply it again", mapping.name, mistakes[0])
        })?;
        if tenant.is_none() && !mapper.names_tenant() {
            bail!("the mapping {} does not say for whom events are; give --tenant ID", mapping.name);
        }
        Ok(Self { kind: kind.clone(), mapper, zones, tenant })
    }

    /// Finds the mapping in the catalogue in force.
    ///
    /// # Errors
    /// As [`RecordMapper::find`], and when the services do not answer.
    pub async fn load(client: &Client, wanted: &MappingName, tenant: Option<TenantId>) -> anyhow::Result<Self> {
        let kinds = client.catalogue().await?.kinds;
        let zones = Zones::of(&client.tenants().await?);
        Self::find(&kinds, wanted, zones, tenant)
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
    pub fn envelope(&self, made: &daybook_mapping::MappedEvent) -> Vec<u8> {
        envelope(made, &self.kind)
    }

    /// What is published of a record that could not be mapped, so that it is rejected with the reason.
    pub fn refuse(&self, body: &[u8], unmapped: &Unmapped) -> Refused {
        let piece = body.get(unmapped.piece.clone()).unwrap_or(body);
        Refused {
            tenant: unmapped.tenant.as_ref().map_or(UNMAPPED_TENANT, TenantId::as_str).to_owned(),
            kind: self.kind.name.clone(),
            // No reject keeps more of it.
            piece: piece[..piece.len().min(MAX_ORIGINAL_BYTES)].to_vec(),
            why: serde_json::to_string(&unmapped.problem).expect("a problem is plain values"),
        }
    }
}

/// A piece of a record that no event can be made of.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The tenant's token of the subject.
    pub tenant: String,
    pub kind: Name,
    pub piece: Vec<u8>,
    /// The problem, as in the header [`UNMAPPED`](daybook_contracts::headers::UNMAPPED).
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions;
    use std::path::PathBuf;

    fn kinds() -> Vec<Kind> {
        let yaml = "
kinds:
  - { name: order, mode: fact, mappings: [{ name: shop, tenant: /t, at: arrival }, { name: web, at: arrival }] }
  - { name: click, mode: fact, mappings: [{ name: web, tenant: /t, at: arrival }] }
";
        definitions::load(&[(PathBuf::from("x.yaml"), yaml.to_owned())], &[]).unwrap().apply.kinds
    }

    #[test]
    fn a_mapping_is_found_by_its_name_and_kind() {
        let find = |text: &str, tenant: Option<&str>| {
            let tenant = tenant.map(|id| TenantId::new(id).unwrap());
            RecordMapper::find(&kinds(), &text.parse().unwrap(), Zones::default(), tenant)
                .map(|found| format!("{}/{}", found.kind.name, found.mapper.name()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(find("shop", None).unwrap(), "order/shop");
        assert_eq!(find("click/web", None).unwrap(), "click/web");
        assert_eq!(find("order/web", Some("acme")).unwrap(), "order/web");
        assert!(find("order/web", None).unwrap_err().contains("--tenant"));
        assert!(find("web", None).unwrap_err().contains("order/web"));
        assert!(find("shp", None).unwrap_err().contains("did you mean shop?"));
        assert!(find("order/other", None).unwrap_err().contains("order/shop, order/web"));
        assert!(find("sale/shop", None).unwrap_err().contains("no kind sale"));
        assert!("a b/c".parse::<MappingName>().is_err() && "a/".parse::<MappingName>().is_err());
    }
}
