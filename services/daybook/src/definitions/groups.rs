//! Groups of tenants. Whether the tenants exist is for day-manager to say.

use super::reader::Reader;
use daybook_domain::catalogue::{MAX_GROUP_TENANTS, TenantGroup};
use daybook_domain::ids::TenantId;
use daybook_yaml::Node;
use std::collections::BTreeSet;

/// The node that names the group, and the group where nothing is wrong with it.
pub(super) fn read<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> (Option<&'a Node>, Option<TenantGroup>) {
    let before = reader.mistakes();
    let Some(fields) = reader.fields(node, "group", &["id", "name", "tenants"]) else { return (None, None) };
    let id_node = reader.required(&fields, "id", "north");
    let id = id_node.and_then(|node| reader.name(node, "id"));
    let name = fields.get("name").and_then(|node| reader.text(node, "name")).map(str::to_owned);
    let listed = reader.required(&fields, "tenants", "[ABQ, ATL]").and_then(|node| reader.list(node, "tenants"));
    let tenants = read_tenants(listed.unwrap_or_default(), reader);
    if listed.is_some_and(<[Node]>::is_empty) {
        reader.mistake(node, "the group has no tenants");
    }
    let group = id.map(|id| TenantGroup { id, name, tenants, revision: 0 });
    (id_node, group.filter(|_| reader.mistakes() == before))
}

fn read_tenants<'a>(nodes: &'a [Node], reader: &mut Reader<'a, '_>) -> BTreeSet<TenantId> {
    if let Some(node) = nodes.get(MAX_GROUP_TENANTS) {
        let message = format!("the group has {} tenants; at most {MAX_GROUP_TENANTS} are allowed", nodes.len());
        reader.mistake(node, message);
    }
    let mut tenants = BTreeSet::new();
    for (node, tenant) in reader.names::<TenantId>(nodes, "tenant") {
        if let Some(twice) = tenants.replace(tenant) {
            reader.mistake(node, format!("the tenant {twice} stands here twice"));
        }
    }
    tenants
}
