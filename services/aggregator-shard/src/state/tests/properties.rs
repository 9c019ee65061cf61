//! Random histories against the model, replica against replica, and before and after a restart.

use super::fixtures::*;
use super::histories::{TENANTS, history, long_history, recut};
use super::model::{Cells, Demand, Model};
use crate::state::{Effect, PartitionState, SealedReport};
use daybook_contracts::ask::{Answer, Asked, DaySelector, Days, Query};
use daybook_contracts::log::{Batch, FORMAT, Record, Through};
use daybook_contracts::report::{Coverage, Report, Row};
use daybook_domain::ids::{InboxSeq, LogSeq, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::store::Changes;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn tenants() -> [TenantId; 2] {
    TENANTS.map(tenant_id)
}

/// Every third position is this partition's.
fn position(batch: usize) -> LogSeq {
    LogSeq(batch as u64 * 3 + 1)
}

/// Applies the batch with that number.
fn apply(state: &mut PartitionState, number: usize, records: &[Record]) -> Vec<Effect> {
    let through = Through { inbox: InboxSeq(number as u64 * 1_000), events: 0 };
    state.apply(position(number), Batch { format: FORMAT, through, records: records.to_vec() })
}

fn ask(state: &PartitionState, tenant: &TenantId, view: &str, date: Date) -> Asked<Answer> {
    state.view(tenant, &name(view), Query::days(DaySelector::Date(date)))
}

fn cells(rows: &[Row]) -> Vec<Cells> {
    let cells = |row: &Row| row.0.iter().map(|(name, figure)| (name.to_string(), figure.to_string())).collect();
    rows.iter().map(cells).collect()
}

fn partial_from(coverage: &Coverage) -> Option<u64> {
    match coverage {
        Coverage::Complete => None,
        Coverage::Partial { from, .. } => Some(from.0),
    }
}

/// Checks every answer against the model.
fn check_answers(state: &PartitionState, model: &Model, versions: &BTreeMap<(TenantId, Date), SealedReport>) {
    let upto = model.len();
    for tenant in tenants() {
        let expected = model.days(&tenant, upto);
        let days = state.days(&tenant).unwrap().days;
        assert_eq!(days.iter().map(|day| day.date).collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
        for day in days {
            let version = versions.get(&(tenant.clone(), day.date)).map(|report| report.version);
            assert!(day.account.balances(), "{tenant} {} {:?}", day.date, day.account);
            assert_eq!(
                (day.day, day.account),
                (expected[&day.date].state, expected[&day.date].account),
                "{}",
                day.date
            );
            assert_eq!(day.report, version);
            for spec in model.views(upto) {
                let answer = ask(state, &tenant, spec.view.name.as_str(), day.date).unwrap();
                let rows = model.rows(spec, &tenant, day.date, upto);
                assert_eq!(cells(&answer.rows), rows, "{tenant} {} {}", spec.view.name, day.date);
                assert_eq!(answer.total, rows.len() as u64);
                assert_eq!((answer.day, answer.report), (day.day, version));
                assert_eq!(partial_from(&answer.coverage), model.partial_from(spec, &tenant, day.date, upto));
            }
        }
    }
}

/// Checks one report against the demand for it.
fn check_report(sealed: &SealedReport, demand: &Demand, model: &Model, before: Option<&SealedReport>, at: LogSeq) {
    let Demand { tenant, date, entries, changes } = demand;
    assert_eq!((&sealed.tenant, sealed.date), (tenant, *date));
    assert_eq!(sealed.hash, blake3::hash(&sealed.payload).to_hex().to_string());
    let report: Report = serde_json::from_slice(&sealed.payload).unwrap();
    assert_eq!((&report.tenant, report.date, report.version), (tenant, *date, sealed.version));
    assert_eq!(report.version, before.map_or(1, |before| before.version + 1));
    let superseded = report.supersedes.map(|superseded| (superseded.version, superseded.hash));
    assert_eq!(superseded, before.map(|before| (before.version, before.hash.clone())));
    assert_eq!(report.changes.iter().map(|change| (change.inbox.0, change.index)).collect::<Vec<_>>(), *changes);
    assert_eq!(report.changes_omitted, 0);
    assert_eq!((report.log.partition, report.log.through), (PARTITION, at));
    assert!(report.log.from <= at);
    assert!(report.dispositions.balances());
    assert_eq!(report.dispositions, model.days(tenant, *entries)[date].account);
    let views: Vec<_> = model.views(*entries).collect();
    assert_eq!(report.views.len(), views.len());
    for spec in &views {
        let shown = &report.views[&spec.view.name];
        let rows = model.rows(spec, tenant, *date, *entries);
        assert_eq!(cells(&shown.rows), rows, "{tenant} {} {date} version {}", spec.view.name, report.version);
        assert_eq!(shown.total, rows.len() as u64);
    }
    let partial = views.iter().any(|spec| model.partial_from(spec, tenant, *date, *entries).is_some());
    assert_eq!(report.coverage != Coverage::Complete, partial);
}

/// Applies a history and checks reports after every batch, and answers after every `step`th.
fn check_history(batches: &[Vec<Record>], step: usize) {
    let mut state = PartitionState::new(PARTITION);
    let mut model = Model::new();
    let mut versions: BTreeMap<(TenantId, Date), SealedReport> = BTreeMap::new();
    for (number, records) in batches.iter().enumerate() {
        let begin = model.len();
        records.iter().for_each(|record| model.push(position(number).0, record));
        let effects = apply(&mut state, number, records);
        let reports = effects.into_iter().filter_map(|effect| match effect {
            Effect::Report(report) => Some(report),
            Effect::Rejects { .. } => None,
        });
        let (reports, demands): (Vec<_>, _) = (reports.collect(), model.demands(begin));
        let named = |report: &SealedReport| (report.tenant.clone(), report.date);
        assert_eq!(
            reports.iter().map(named).collect::<Vec<_>>(),
            demands.iter().map(|demand| (demand.tenant.clone(), demand.date)).collect::<Vec<_>>()
        );
        for (report, demand) in reports.into_iter().zip(&demands) {
            let key = (report.tenant.clone(), report.date);
            check_report(&report, demand, &model, versions.get(&key), position(number));
            versions.insert(key, report);
        }
        if number.is_multiple_of(step) || number + 1 == batches.len() {
            check_answers(&state, &model, &versions);
        }
    }
}

/// Everything that can be asked.
fn answers(state: &PartitionState) -> (Vec<Days>, Vec<Answer>) {
    let days: Vec<Days> = tenants().iter().map(|tenant| state.days(tenant).unwrap()).collect();
    let views = Model::every_view();
    let asked = days.iter().flat_map(|of| of.days.iter().map(|day| (of.tenant.clone(), day.date)));
    let answers = asked.flat_map(|(tenant, date)| {
        views.iter().filter_map(move |view| ask(state, &tenant, view, date).ok()).collect::<Vec<_>>()
    });
    let answers = answers.collect();
    (days, answers)
}

/// What does not depend on how the log was cut into batches.
fn figures(state: &PartitionState) -> impl PartialEq + std::fmt::Debug + use<> {
    let (days, answers) = answers(state);
    let days: Vec<_> =
        days.into_iter().flat_map(|of| of.days).map(|day| (day.date, day.day, day.opens_at, day.account)).collect();
    let answer = |answer: Answer| (answer.view, answer.from, answer.rows, answer.coverage == Coverage::Complete);
    (days, answers.into_iter().map(answer).collect::<Vec<_>>())
}

/// A store as sled is: removals first, then puts.
pub(super) fn commit(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Changes) {
    for key in changes.remove {
        rows.remove(&key);
    }
    rows.extend(changes.put);
}

pub(super) fn restore(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> PartitionState {
    let restored = PartitionState::restore(PARTITION, rows).expect("what was stored can be read");
    restored.unwrap_or_else(|| PartitionState::new(PARTITION))
}

/// Runs a history with checkpoints and crashes after some batches, and compares with a run without any: effects after
/// every batch, answers after every `step`th.
fn check_restarts(batches: &[Vec<Record>], checkpoints: &[bool], crashes: &[bool], step: usize) {
    let answers = |number: usize, state: &PartitionState| {
        (number.is_multiple_of(step) || number + 1 == batches.len()).then(|| answers(state))
    };
    let mut reference = PartitionState::new(PARTITION);
    let expected: Vec<_> = batches
        .iter()
        .enumerate()
        .map(|(number, records)| (apply(&mut reference, number, records), answers(number, &reference)))
        .collect();

    let mut rows = BTreeMap::new();
    let mut state = PartitionState::new(PARTITION);
    let mut stored = 0;
    for number in 0..batches.len() {
        assert_eq!(apply(&mut state, number, &batches[number]), expected[number].0, "batch {number}");
        if checkpoints[number % checkpoints.len()] {
            commit(&mut rows, state.checkpoint());
            stored = number + 1;
        }
        if crashes[number % crashes.len()] {
            state = restore(&rows);
            for again in stored..=number {
                assert_eq!(apply(&mut state, again, &batches[again]), expected[again].0, "batch {again} again");
            }
        }
        assert_eq!(answers(number, &state), expected[number].1, "after batch {number}");
    }
    // No row of what is gone stays behind: a replica that stores everything at once has the same rows.
    commit(&mut rows, state.checkpoint());
    let mut fresh = BTreeMap::new();
    commit(&mut fresh, reference.checkpoint());
    assert_eq!(rows.keys().collect::<Vec<_>>(), fresh.keys().collect::<Vec<_>>());
}

fn some() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.3), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn figures_accounts_and_reports_are_those_of_the_model(batches in history(90)) {
        check_history(&batches, 1);
    }

    #[test]
    fn figures_do_not_depend_on_the_batches(batches in history(90), sizes in prop::collection::vec(1_usize..12, 1..5)) {
        let run = |batches: &[Vec<Record>]| {
            let mut state = PartitionState::new(PARTITION);
            for (number, records) in batches.iter().enumerate() {
                apply(&mut state, number, records);
            }
            figures(&state)
        };
        prop_assert_eq!(run(&batches), run(&recut(&batches, &sizes)));
    }

    #[test]
    fn replicas_have_the_same_effects_byte_by_byte(batches in history(90)) {
        let mut replicas = [PartitionState::new(PARTITION), PartitionState::new(PARTITION)];
        for (number, records) in batches.iter().enumerate() {
            let [one, other] = replicas.each_mut().map(|state| apply(state, number, records));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn a_restart_changes_nothing(batches in history(90), checkpoints in some(), crashes in some()) {
        check_restarts(&batches, &checkpoints, &crashes, 1);
    }
}

proptest! {
    // Each of them is some two hundred and fifty batches.
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn days_expire_as_in_the_model(batches in long_history()) {
        check_history(&batches, 83);
    }

    #[test]
    fn a_restart_changes_nothing_when_days_expire(batches in long_history(), checkpoints in some(), crashes in some()) {
        check_restarts(&batches, &checkpoints, &crashes, 29);
    }
}
