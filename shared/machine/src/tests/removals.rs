//! What is removed is gone, and what has its name next begins afresh: rule by rule, and in random histories against the same
//! history in which the removed tenant had another id.

use super::fixtures::*;
use super::histories::{history, recut};
use super::properties::{Timings, answers, check_restarts, reports_of, timings};
use super::replica::Replica;
use crate::removal::Purge;
use crate::{Effect, PartitionState, SealedReport};
use daybook_contracts::ask::AskErrorCode;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::figures::Figures;
use daybook_contracts::log::{Events, Record, Restate};
use daybook_contracts::reject::Reject;
use daybook_domain::catalogue::{Definition, Kind, Measure, Removal, Tenant, View};
use daybook_domain::ids::LogSeq;
use proptest::prelude::*;
use proptest::sample::Index;

fn removed_tenant(id: &str, purge: bool) -> Definition {
    Definition::Removal(Removal::Tenant { id: tenant_id(id), revision: 2, generation: 0, purge })
}

fn removed_view(text: &str) -> Definition {
    Definition::Removal(Removal::View { name: name(text), revision: 2 })
}

/// The tenant as one of the next generation.
fn reborn(definition: Definition) -> Definition {
    match definition {
        Definition::Tenant(tenant) => Definition::Tenant(Tenant { generation: 1, ..tenant }),
        other => other,
    }
}

fn reborn_marker(edge: Edge, day: i32) -> Record {
    Record::Day(DayMarker { generation: 1, ..marker("ABQ", edge, day) })
}

/// The rows that are stored of a state.
fn keys(state: &mut PartitionState, rows: &mut std::collections::BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<String> {
    super::replica::commit(rows, state.checkpoint());
    rows.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
}

#[test]
fn nothing_of_a_removed_tenant_is_answered_sealed_or_stored() {
    let mut shard = Shard::new();
    shard.state.keep_digests();
    shard.define(tenant("JFK"));
    shard.define(gathered(tenant_with_seasons("ABQ", 2, vec![season("hunt", 0, 2)])));
    shard.orders((0..600).map(|number| order(&format!("x{number}"), Some(1), 0)).collect());
    shard.clicks(vec![click(Some("c"), 0), click(None, 1)]);
    shard.open(0);
    shard.open(1);
    shard.close(0);
    let mut rows = std::collections::BTreeMap::new();
    assert!(keys(&mut shard.state, &mut rows).iter().any(|key| key.contains("ABQ")));
    // A restatement waits, and one more record of the day comes in the batch of the removal.
    shard.orders(vec![order("late", Some(1), 0)]);
    assert_eq!(shard.restating(), [0]);
    let late = shard.events("order", vec![order("later", Some(1), 0)]);
    let effects = shard.apply(vec![
        late,
        Record::Restate(Restate { tenant: None }),
        Record::Define(removed_tenant("ABQ", false)),
        Record::Day(marker("ABQ", Edge::Closed, 1)),
        Record::Restate(Restate { tenant: Some(tenant_id("ABQ")) }),
    ]);
    assert_eq!(effects, [], "what is removed seals nothing");
    assert_eq!(shard.ask("ABQ", "totals", &Default::default()), Err(AskErrorCode::UnknownTenant));
    assert!(shard.state.days(&tenant_id("ABQ")).is_err() && !shard.state.knows(&tenant_id("ABQ"), &name("order")));
    assert_eq!(shard.state.sizes().tenants, 1);
    assert_eq!((shard.state.sizes().days, shard.state.sizes().entities, shard.state.sizes().groups), (0, 0, 0));
    let left: Vec<String> = keys(&mut shard.state, &mut rows)
        .into_iter()
        .filter(|key| key.contains("ABQ") || key.starts_with('d'))
        .collect();
    assert_eq!(left, [""; 0]);
    let mut restored = PartitionState::restore(PARTITION, &rows).unwrap().unwrap();
    restored.keep_digests();
    assert_eq!(restored.digest(), shard.state.digest());
    // Rejects of it are told still, and a second removal does nothing.
    let effects =
        shard.apply(vec![Record::Rejected(reject("ABQ", 99, None)), Record::Define(removed_tenant("ABQ", false))]);
    assert!(matches!(&effects[..], [Effect::Rejects { .. }]), "{effects:?}");
}

#[test]
fn a_tenant_of_the_same_id_begins_afresh() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(5), 0)]);
    shard.open(0);
    shard.open(1);
    shard.close(0);
    shard.define(removed_tenant("ABQ", false));
    shard.define(reborn(tenant("ABQ")));
    // Days of the removed one come late.
    shard.open(2);
    shard.close(0);
    assert_eq!(shard.accounts().len(), 0);
    shard.orders(vec![order("x", Some(1), 0)]);
    assert_eq!(shard.rows("totals", 0), ["1 1 0 0"], "no version of it is known");
    shard.apply(vec![reborn_marker(Edge::Opened, 0), reborn_marker(Edge::Opened, 1), reborn_marker(Edge::Closed, 0)]);
    assert_eq!(shard.versions(), [(0, 1), (0, 1)]);
    let report = shard.last_report();
    assert_eq!((report.generation, report.supersedes), (1, None));
    assert_eq!(shard.reports[1].generation, 1);
    // A view that comes later is made of the new tenant's events alone.
    shard.define_and_activate(by_city("later"));
    assert_eq!(shard.rows("later", 0), ["Bern 1 1"]);
}

#[test]
fn what_a_purge_deletes_is_told_behind_what_was_written_before() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.open(0);
    let position = LogSeq(shard.log.last().unwrap().0.0 + 2);
    let mut of_new = reject("ABQ", 101, None);
    of_new.reason = "of the next tenant".into();
    let effects = shard.apply(vec![
        Record::Rejected(reject("ABQ", 100, None)),
        Record::Day(marker("ABQ", Edge::Opened, 1)),
        Record::Day(marker("ABQ", Edge::Closed, 0)),
        Record::Define(removed_tenant("ABQ", true)),
        Record::Rejected(of_new.clone()),
    ]);
    let [Effect::Report(report), Effect::Purge(purge), Effect::Rejects { rejects, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(report.date, date(0));
    assert_eq!(*purge, Purge { tenant: tenant_id("ABQ"), generation: 0, before: position });
    assert_eq!(*rejects, [of_new], "those before are purged, and so not written");
}

#[test]
fn a_removed_view_is_gone_and_one_of_its_name_is_made_from_the_log() {
    let mut shard = Shard::new();
    shard.state.keep_digests();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.open(0);
    shard.open(1);
    shard.close(0);
    let mut rows = std::collections::BTreeMap::new();
    keys(&mut shard.state, &mut rows);
    shard.define(removed_view("totals"));
    assert_eq!(shard.ask("ABQ", "totals", &Default::default()), Err(AskErrorCode::UnknownView));
    assert!(!keys(&mut shard.state, &mut rows).iter().any(|key| key.contains("totals")));
    assert!(shard.state.views(0).iter().all(|view| view.view.as_str() != "totals"));
    shard.orders(vec![order("late", Some(1), 0)]);
    assert_eq!(shard.versions(), [(0, 1), (0, 2)]);
    assert!(!shard.last_report().views.contains_key(&name("totals")));
    // An activation of the removed one does nothing.
    shard.activate("totals", 1);
    shard.define(Definition::View(View { revision: 3, ..totals() }));
    shard.make_everything();
    shard.activate("totals", 3);
    assert_eq!(shard.rows("totals", 0), ["2 2 0 0"]);
    assert_eq!(shard.answer("totals", 0).definition, 3);
}

#[test]
fn a_view_that_is_removed_while_it_is_made_comes_into_force_nowhere() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(by_city("a")));
    shard.define(Definition::View(by_city("b")));
    let scratch = shard.begin_job();
    shard.define(removed_view("a"));
    shard.orders(vec![order("y", Some(1), 0)]);
    shard.end_job(scratch);
    shard.activate("a", 1);
    shard.activate("b", 1);
    assert_eq!(shard.ask("ABQ", "a", &Default::default()), Err(AskErrorCode::UnknownView));
    assert_eq!(shard.rows("b", 0), ["Bern 2 2"]);
    // One of the same name and content has another revision, and is made anew.
    shard.define(Definition::View(View { revision: 3, ..by_city("a") }));
    assert!(shard.state.wants_backfill());
    shard.make_everything();
    shard.activate("a", 3);
    assert_eq!(shard.rows("a", 0), ["Bern 2 2"]);
}

#[test]
fn a_tenant_that_is_removed_while_a_view_is_made_leaves_nothing_in_it() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(by_city("a")));
    let scratch = shard.begin_job();
    shard.define(removed_tenant("ABQ", false));
    shard.define(reborn(tenant("ABQ")));
    shard.orders(vec![order("y", Some(1), 0)]);
    shard.end_job(scratch);
    shard.activate("a", 1);
    assert_eq!(shard.rows("a", 0), ["Bern 1 1"]);
}

/// The kind `order` once more, with other columns and another mode.
fn other_orders() -> Kind {
    let measures = vec![Measure { name: name("weight"), scale: 1 }];
    Kind { name: name("order"), measures, revision: 3, ..clicks() }
}

#[test]
fn a_kind_goes_with_its_entities_and_one_of_its_name_is_another() {
    let mut shard = Shard::new();
    shard.state.keep_digests();
    shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 1)]);
    shard.clicks(vec![click(Some("c"), 0)]);
    let mut rows = std::collections::BTreeMap::new();
    keys(&mut shard.state, &mut rows);
    shard.define(removed_view("totals"));
    shard.define(Definition::Removal(Removal::Kind { name: name("order"), revision: 2 }));
    assert!(!shard.state.knows(&tenant_id("ABQ"), &name("order")));
    assert_eq!(shard.state.sizes().entities, 1, "the click");
    shard.define(Definition::Kind(other_orders()));
    let weights = view("weights", "order", &[], vec![metric("weight", "sum(weight)", ANY, FINAL)]);
    shard.define(Definition::View(View { revision: 1, ..weights.clone() }));
    shard.orders(vec![click(Some("x"), 0)]);
    assert_eq!(shard.rows("weights", 0), ["2"], "in force at once, for the kind had no events");
    keys(&mut shard.state, &mut rows);
    let mut restored = PartitionState::restore(PARTITION, &rows).unwrap().unwrap();
    restored.keep_digests();
    assert_eq!(restored.digest(), shard.state.digest());
    // A later view reads the log, in which the removed kind has events with other columns.
    shard.define_and_activate(View { name: name("later"), ..weights });
    assert_eq!(shard.rows("later", 0), ["2"]);
    assert_eq!(shard.rows("clicks", 0), ["1 20"]);
}

#[test]
fn a_scratch_behind_a_snapshot_skips_what_was_removed_since() {
    let mut shard = Shard::new();
    shard.define(tenant("JFK"));
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.clicks(vec![click(Some("c"), 0)]);
    let stored = shard.state.checkpoint().put;
    let before = PartitionState::restore(PARTITION, stored).unwrap().unwrap();
    let since = LogSeq(before.position().0 + 1);
    shard.define(removed_view("clicks"));
    shard.define(Definition::Removal(Removal::Kind { name: name("click"), revision: 2 }));
    shard.define(removed_tenant("ABQ", false));
    shard.define(reborn(tenant("ABQ")));
    shard.orders(vec![order("y", Some(1), 0)]);
    shard.define(Definition::View(by_city("later")));
    let mut scratch = shard.state.begin_backfill();
    scratch.begin_with(before);
    for (position, batch) in shard.log.iter().filter(|(at, _)| *at >= since).cloned() {
        scratch.apply(position, batch);
    }
    shard.state.finish_backfill(crate::backfill::Found::of(scratch, Some(since)));
    while shard.state.add_backfill() {}
    shard.define(Definition::Activation(daybook_domain::catalogue::Activation {
        view: name("later"),
        revision: 1,
        since: Some(since),
    }));
    assert_eq!(shard.rows("later", 0), ["Bern 1 1"]);
}

/// The history with `ABQ` removed before some batch and defined afresh in the same, and the history in which the tenant that is
/// removed has another id.
fn with_removal(batches: &[Vec<Record>], at: usize) -> [Vec<Vec<Record>>; 2] {
    let newest = batches[..at].iter().flatten().rev().find_map(|record| match record {
        Record::Define(Definition::Tenant(tenant)) if tenant.id.as_str() == "ABQ" => Some(tenant.clone()),
        _ => None,
    });
    let fresh = newest.map(|tenant| Definition::Tenant(Tenant { generation: 1, seasons: Vec::new(), ..tenant }));
    let fresh = Record::Define(fresh.expect("the first batch defines it"));
    let told = |is_renamed: bool| {
        let before =
            batches[..at].iter().map(|batch| batch.iter().map(|record| told_before(record, is_renamed)).collect());
        // Removed in both: a late policy that is to change may go by the closed days of all tenants.
        let removed = removed_tenant(if is_renamed { "GONE" } else { "ABQ" }, false);
        let between = vec![Record::Define(removed), fresh.clone()];
        let behind = batches[at..].iter().map(|batch| batch.iter().map(told_behind).collect());
        before.chain([between]).chain(behind).collect::<Vec<Vec<Record>>>()
    };
    [told(false), told(true)]
}

/// A record of before, with another id if it `is_renamed`. Views name their tenants.
fn told_before(record: &Record, is_renamed: bool) -> Record {
    let other = |id: &str| if is_renamed && id == "ABQ" { "GONE".to_owned() } else { id.to_owned() };
    let renamed = |id: &str| tenant_id(&other(id));
    match record.clone() {
        Record::Events(events) => Record::Events(Events { tenant: renamed(events.tenant.as_str()), ..events }),
        Record::Rejected(reject) => Record::Rejected(Reject { tenant: other(&reject.tenant), ..reject }),
        Record::Day(marker) => Record::Day(DayMarker { tenant: renamed(marker.tenant.as_str()), ..marker }),
        Record::Restate(mark) => {
            Record::Restate(Restate { tenant: mark.tenant.map(|tenant| renamed(tenant.as_str())) })
        }
        Record::Define(Definition::Tenant(tenant)) => {
            Record::Define(Definition::Tenant(Tenant { id: renamed(tenant.id.as_str()), ..tenant }))
        }
        Record::Define(Definition::View(view)) => {
            let mut view = for_named(view);
            if let Some(tenants) = &mut view.tenants
                && is_renamed
                && tenants.contains(&tenant_id("ABQ"))
            {
                tenants.insert(tenant_id("GONE"));
            }
            Record::Define(Definition::View(view))
        }
        other => other,
    }
}

/// A record of behind: days are of the next generation.
fn told_behind(record: &Record) -> Record {
    match record.clone() {
        Record::Day(marker) if marker.tenant.as_str() == "ABQ" => Record::Day(DayMarker { generation: 1, ..marker }),
        Record::Define(definition @ Definition::Tenant(_)) => match definition {
            Definition::Tenant(tenant) if tenant.id.as_str() == "ABQ" => {
                Record::Define(Definition::Tenant(Tenant { generation: 1, ..tenant }))
            }
            other => Record::Define(other),
        },
        Record::Define(Definition::View(view)) => Record::Define(Definition::View(for_named(view))),
        other => other,
    }
}

fn for_named(view: View) -> View {
    match view.tenants {
        None => only_for(&["ABQ", "JFK"], view),
        Some(_) => view,
    }
}

/// Applies a history with jobs at those times, and returns the state with all reports of tenants that are there in the end.
fn run(batches: &[Vec<Record>], timings: &Timings) -> (Vec<SealedReport>, PartitionState) {
    let mut replica = Replica::new(batches);
    let mut reports = Vec::new();
    for number in 0..batches.len() {
        replica.prepare(timings[number % timings.len()]);
        reports.extend(reports_of(&replica.apply()));
    }
    replica.settle();
    reports.retain(|report| report.tenant.as_str() == "JFK" || report.generation == 1);
    (reports, replica.state)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    /// Nothing tells a tenant whose id was used before from one whose id is new; others do not notice.
    #[test]
    fn a_removed_tenant_leaves_no_trace(
        batches in history(120),
        at in any::<Index>(),
        one in timings(),
        other in timings(),
    ) {
        let [reused, renamed] = with_removal(&batches, 1 + at.index(batches.len()));
        let ((reports, mut state), (expected, mut reference)) = (run(&reused, &one), run(&renamed, &other));
        prop_assert_eq!(answers(&mut state), answers(&mut reference));
        prop_assert_eq!(reports.len(), expected.len());
        for (report, expected) in reports.iter().zip(&expected) {
            prop_assert_eq!(String::from_utf8_lossy(&report.payload), String::from_utf8_lossy(&expected.payload));
            // The views of figures name the other tenant, too.
            let groups = |report: &SealedReport| {
                let days = |figures: &Option<Figures>| figures.as_ref().map(|figures| figures.days.clone());
                report.figures.iter().map(|(view, figures)| (view.clone(), days(figures))).collect::<Vec<_>>()
            };
            prop_assert_eq!(groups(report), groups(expected));
        }
    }

    /// Replicas agree, wherever their checkpoints, crashes and jobs are, and nothing is left in the store.
    #[test]
    fn replicas_agree_on_removals(
        batches in history(100),
        at in any::<Index>(),
        sizes in prop::collection::vec(1_usize..6, 1..8),
        one in timings(),
        other in timings(),
    ) {
        let [reused, _] = with_removal(&batches, 1 + at.index(batches.len()));
        check_restarts(&reused, &one, &other, 7);
        // A removal in the middle of a batch.
        check_restarts(&recut(&reused, &sizes), &one, &other, 7);
    }
}
