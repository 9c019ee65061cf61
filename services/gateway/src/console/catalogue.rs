//! What is defined: kinds and views, and how far each view is in force.

use super::page::{Page, wide};
use super::visitor::Visitor;
use super::{Console, words};
use crate::definitions::KnownKind;
use crate::problem::Problem;
use daybook_contracts::lists::ViewEntry;
use daybook_domain::catalogue::{Earliest, Grain, Mode, Status, View, only_final};
use daybook_domain::ids::{Partition, TenantId};
use futures::{FutureExt as _, StreamExt as _};
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Tenants that are asked which views are in force; each stands for its partition.
const MAX_ASKED: usize = 64;
/// Of them at once.
const AT_ONCE: usize = 8;
const EVERY: Duration = Duration::from_secs(3);

/// The views in force for some tenants.
type InForce = Vec<(TenantId, Vec<ViewEntry>)>;

/// Makes the page.
///
/// # Errors
/// None: what cannot be asked for is not told.
pub(super) async fn page(console: &Console, visitor: &Visitor) -> Result<Page, Problem> {
    let definitions = &console.gateway.definitions;
    let views: Vec<Arc<View>> = definitions.views().into_iter().filter(|view| visitor.may_ask(view)).collect();
    let in_force = in_force(console, visitor, &views).await;
    let of_kind =
        |kind: &KnownKind| views.iter().filter(|view| view.kind == kind.kind.name).cloned().collect::<Vec<_>>();
    // A tenant sees the kinds of its views.
    let kinds = definitions.kinds().into_iter().filter(|kind| visitor.is_operator() || !of_kind(kind).is_empty());
    let kinds: Vec<_> = kinds.map(|kind| (of_kind(&kind), kind)).collect();
    Ok(Page {
        title: "Catalogue".to_owned(),
        above: Vec::new(),
        lead: html! { p.hint { "Kinds of events, and the views over them. Define them with " code { "daybook apply" } "." } },
        live: html! {
            @if kinds.is_empty() { p.notice { "Nothing is defined yet." } }
            @for (views, kind) in &kinds {
                (kind_section(kind))
                @for view in views { (view_section(view, &in_force)) }
            }
        },
        every: EVERY,
    })
}

/// Asks one tenant of each partition, for views of named tenants some of those, which views are in force.
async fn in_force(console: &Console, visitor: &Visitor, views: &[Arc<View>]) -> InForce {
    let count = console.gateway.connection.partitions;
    let mut chosen = BTreeMap::<(Option<usize>, Partition), TenantId>::new();
    for tenant in console.gateway.definitions.tenants(|tenant| visitor.may_see(tenant)) {
        let partition = Partition::of(tenant.id.as_str(), count);
        let named = views.iter().enumerate().filter(|(_, view)| view.tenants.is_some() && view.is_for(&tenant.id));
        for place in named.map(|(place, _)| Some(place)).chain([None]) {
            chosen.entry((place, partition)).or_insert_with(|| tenant.id.clone());
        }
    }
    let mut tenants: Vec<TenantId> = chosen.into_values().collect();
    tenants.sort();
    tenants.dedup();
    tenants.truncate(MAX_ASKED);
    let ask = |tenant: TenantId| {
        let asker = console.gateway.asker.clone();
        async move { Some((tenant.clone(), asker.views(&tenant).await.ok()?)) }.boxed()
    };
    let asks: Vec<_> = tenants.into_iter().map(ask).collect();
    futures::stream::iter(asks).buffered(AT_ONCE).filter_map(|found| async { found }).collect().await
}

fn kind_section(known: &KnownKind) -> Markup {
    let kind = &known.kind;
    html! {
        h2 #{ "kind-" (kind.name) } { (kind.name) span.hint { " kind, revision " (kind.revision) } }
        p {
            @match kind.mode {
                Mode::Entity => "An entity: it has an id, and its newest version counts.",
                Mode::Fact => "A fact: it counts once, and is never changed.",
            }
        }
        dl.facts {
            div { dt { "Dimensions" } dd { (list(kind.dimensions.iter().map(|dimension| dimension.name.to_string()))) } }
            div { dt { "Measures" } dd { (list(kind.measures.iter().map(|measure| match measure.scale {
                0 => measure.name.to_string(),
                scale => format!("{} ({scale} digits after the point)", measure.name),
            }))) } }
            @if !kind.mappings.is_empty() {
                div { dt { "Mappings" } dd { (list(kind.mappings.iter().map(|mapping| mapping.name.to_string()))) } }
            }
        }
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn view_section(view: &View, in_force: &InForce) -> Markup {
    html! {
        section.view aria-labelledby={ "view-" (view.name) } {
            h3 #{ "view-" (view.name) } { (words::heading(view.name.as_str())) " " (standing(view, in_force)) }
            p.hint {
                "Revision " (view.revision)
                ", by " (list(view.group_by.iter().map(ToString::to_string)).replace("none", "nothing"))
                @match view.grain { Grain::Day => "", Grain::Hour => ", kept by hour", Grain::QuarterHour => ", kept by quarter of an hour", Grain::ClockHour => ", kept by hour of the clock" }
                ", late changes: " (view.late_text().replace('_', " "))
                @if let Some(ranking) = &view.ranking {
                    ", ranked by " (list(ranking.by.iter().map(|by| by.metric.to_string())))
                    @if ranking.earliest != Earliest::No { ", the earlier first among equals" }
                }
                @if let Some(tenants) = &view.tenants { ", for " (words::count(tenants.len() as u64)) " named tenants" }
            }
            (wide(&format!("Metrics of {}", view.name), &html! {
                table {
                    caption.hidden { "Metrics of " (view.name) }
                    thead { tr { th scope="col" { "Metric" } th scope="col" { "What" } th scope="col" { "Which" } } }
                    tbody {
                        @for metric in &view.metrics {
                            tr {
                                th scope="row" { (words::heading(metric.name.as_str())) }
                                td { code { (metric.value) } }
                                td {
                                    @if let Some(filter) = &metric.filter { code { (filter) } " " }
                                    @if metric.status != only_final() { (list(metric.status.iter().map(|status: &Status| status.as_str().to_owned()))) }
                                }
                            }
                        }
                    }
                }
            }))
        }
    }
}

/// How far the newest definition is in force, by the tenants that were asked.
fn standing(view: &View, in_force: &InForce) -> Markup {
    let asked: Vec<_> = in_force.iter().filter(|(tenant, _)| view.is_for(tenant)).collect();
    let is_level =
        |views: &[ViewEntry]| views.iter().any(|entry| entry.name == view.name && entry.definition == view.revision);
    let level = asked.iter().filter(|(_, views)| is_level(views)).count();
    html! {
        @if asked.is_empty() { span.state { "not known" } }
        @else if level == asked.len() { span.state.sealed { "in force" } }
        @else { span.state.closing { "backfilling: in force for " (level) " of " (asked.len()) " partitions asked" } }
    }
}
