//! Foreign records through a mapping of the catalogue in force.

use crate::client::Client;
use daybook_domain::catalogue::Kind;
use daybook_domain::ids::TenantId;
use daybook_mapping::{MappingName, RecordMapper, Zones};

/// Records of one run that may turn out to be no events: with more, the mapping is wrong rather than they.
pub const MAX_UNMAPPED: u64 = 10_000;

/// Finds the mapping among the kinds in force.
///
/// # Errors
/// As [`RecordMapper::find`], and when the services do not answer.
pub async fn load(
    client: &Client,
    kinds: &[Kind],
    wanted: &MappingName,
    tenant: Option<TenantId>,
) -> anyhow::Result<RecordMapper> {
    let zones = Zones::of(&client.tenants().await?);
    Ok(RecordMapper::find(kinds, wanted, zones, tenant)?)
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
