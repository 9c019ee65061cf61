//! The flights that the demo embeds: their events, their definitions, and how they are replayed.

use crate::client::Client;
use crate::definitions;
use crate::replayer::ReplayOptions;
use anyhow::bail;
use daybook_domain::ids::Name;
use std::path::PathBuf;

const KIND: &str = include_str!("../../../../examples/flights/kind.yaml");
const VIEWS: &str = include_str!("../../../../examples/flights/views.yaml");
const TENANTS: &str = include_str!("../../../../examples/flights/tenants.yaml");
pub(super) const EVENTS: &[u8] = include_bytes!("../../../../examples/flights/data/march.ndjson.zst");
/// The day before the first of the slice, in which its first flights are announced.
const FIRST_DAY: &str = "2013-03-07";

/// How the flights are replayed.
pub(super) fn replaying() -> anyhow::Result<ReplayOptions> {
    Ok(ReplayOptions {
        kind: Some(Name::new("flight")?),
        tenant_field: "tenant".to_owned(),
        tenant: None,
        clock: Some(("seen_at".to_owned(), Name::new("flights")?)),
        // Flights are entities.
        fact_ids: None,
    })
}

/// Puts the flights' definitions into force.
pub(super) async fn define(client: &Client) -> anyhow::Result<()> {
    let mut definitions = flights()?;
    let first_day = FIRST_DAY.parse()?;
    definitions.apply.tenants.iter_mut().for_each(|tenant| tenant.first_day = Some(first_day));
    match super::apply::apply(client, &definitions, false).await? {
        Ok(applied) => eprintln!("{} definitions put into force", applied.len()),
        Err(refusals) => bail!("{refusals:?}"),
    }
    Ok(())
}

/// The definitions of the flights, as the demo embeds them.
///
/// # Errors
/// Never with the files of this repository.
pub fn flights() -> anyhow::Result<definitions::Definitions> {
    let files = [("kind.yaml", KIND), ("views.yaml", VIEWS), ("tenants.yaml", TENANTS)]
        .map(|(name, text)| (PathBuf::from(name), text.to_owned()));
    definitions::load(&files, &[]).map_err(|mistakes| {
        anyhow::anyhow!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}
