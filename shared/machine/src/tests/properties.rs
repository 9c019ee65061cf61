//! Random histories against the model, replica against replica, and before and after a restart.

use super::fixtures::*;
use super::histories::{TENANTS, capped, history, long_history, recut};
use super::model::{Demand, Model, Note};
use super::replica::{Replica, Timing, position, restore};
use super::specs::{Cells, Spec, channel_spec, specs};
use crate::{Effect, PartitionState, SealedReport};
use daybook_contracts::ask::{Answer, AskErrorCode, Asked, DaySelector, Days, Pieces, Query};
use daybook_contracts::log::Record;
use daybook_contracts::report::{Account, Change, Coverage, Report, Row};
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{LogSeq, Name, TenantId};
use daybook_domain::time::Date;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a replica does to its jobs and to itself before a batch; the first of them before the first batch, and so on
/// round and round.
pub(super) type Timings = Vec<Timing>;

pub(super) fn timings() -> impl Strategy<Value = Timings> {
    let flag = || prop::bool::weighted(0.25);
    let timing = (0_usize..5, flag(), flag(), flag(), 0_usize..4);
    let timing = timing.prop_map(|(job_steps, stores, evicts, crashes, upkeep)| Timing {
        job_steps,
        stores,
        evicts,
        crashes,
        upkeep,
    });
    prop::collection::vec(timing, 1..9)
}

fn tenants() -> [TenantId; 2] {
    TENANTS.map(tenant_id)
}

fn ask(state: &mut PartitionState, tenant: &TenantId, view: &str, days: DaySelector) -> Asked<Answer> {
    state.view(tenant, &name(view), &Query::days(days))
}

/// With a column `time` if the view has pieces of the day.
fn ask_finely(state: &mut PartitionState, tenant: &TenantId, spec: &Spec, days: DaySelector) -> Asked<Answer> {
    let query = Query { grain: Pieces::from(spec.view.grain), ..Query::days(days) };
    state.view(tenant, &spec.view.name, &query)
}

fn cells(rows: &[Row]) -> Vec<Cells> {
    let cells = |row: &Row| row.0.iter().map(|(name, figure)| (name.to_string(), text(figure))).collect();
    rows.iter().map(cells).collect()
}

/// Checks every answer against the model.
fn check_answers(replica: &mut Replica<'_>, model: &Model, versions: &BTreeMap<(TenantId, Date), SealedReport>) {
    check_progress(replica, model);
    for tenant in tenants() {
        check_days(&mut replica.state, model, &tenant, versions);
        let views = model.views(&tenant, model.len());
        for view in Model::every_view() {
            if views.iter().all(|spec| spec.view.name.as_str() != view) {
                let refused = ask(&mut replica.state, &tenant, &view, DaySelector::Today).unwrap_err().code;
                let is_pending = model.is_pending_for(&view, &tenant) && refused == AskErrorCode::Unavailable;
                assert!(is_pending || refused == AskErrorCode::UnknownView, "{tenant} {view}: {refused:?}");
            }
        }
        for spec in &views {
            check_view(&mut replica.state, model, &tenant, spec);
            check_seasons(replica, model, &tenant, spec);
        }
    }
}

fn check_days(
    state: &mut PartitionState,
    model: &Model,
    tenant: &TenantId,
    versions: &BTreeMap<(TenantId, Date), SealedReport>,
) {
    let expected = model.days(tenant, model.len());
    let days = state.days(tenant).unwrap().days;
    assert_eq!(days.iter().map(|day| day.date).collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
    for day in days {
        let version = versions.get(&(tenant.clone(), day.date)).map(|report| report.version);
        assert!(day.account.balances(), "{tenant} {} {:?}", day.date, day.account);
        let expected = &expected[&day.date];
        assert_eq!((day.day, day.account), (expected.state, expected.account), "{tenant} {}", day.date);
        assert_eq!(day.report, version);
        assert_eq!(day.restating, model.is_waiting(tenant, day.date), "{tenant} {}", day.date);
        for spec in model.views(tenant, model.len()) {
            let answer = ask(state, tenant, spec.view.name.as_str(), DaySelector::Date(day.date)).unwrap();
            assert_eq!((answer.day, answer.report), (day.day, version));
        }
    }
}

/// A view on every day that is kept, and on ranges of them.
fn check_view(state: &mut PartitionState, model: &Model, tenant: &TenantId, spec: &Spec) {
    let days: Vec<Date> = model.days(tenant, model.len()).into_keys().collect();
    let mut asked: Vec<(DaySelector, &[Date])> = Vec::new();
    for (index, date) in days.iter().enumerate() {
        asked.push((DaySelector::Date(*date), &days[index..=index]));
        asked.push((DaySelector::Range(*date, days[days.len() - 1]), &days[index..]));
    }
    for (selector, dates) in asked {
        let context = format!("{tenant} {} {selector}", spec.view.name);
        let answer = ask(state, tenant, spec.view.name.as_str(), selector.clone()).expect(&context);
        let rows = model.rows(spec, tenant, dates, false, model.len());
        assert_eq!(cells(&answer.rows), rows, "{context}");
        assert_eq!((answer.total, answer.definition), (rows.len() as u64, spec.view.revision), "{context}");
        assert_eq!(answer.coverage, Coverage::Complete);
        let answer = ask_finely(state, tenant, spec, selector).expect(&context);
        assert_eq!(cells(&answer.rows), model.rows(spec, tenant, dates, true, model.len()), "{context} in pieces");
    }
}

fn check_seasons(replica: &mut Replica<'_>, model: &Model, tenant: &TenantId, spec: &Spec) {
    for season in model.seasons(tenant) {
        let selector = DaySelector::Season(season.name.clone());
        match ask(&mut replica.state, tenant, spec.view.name.as_str(), selector) {
            Ok(answer) => {
                let context = format!("{tenant} {} {season:?}", spec.view.name);
                assert_eq!(cells(&answer.rows), model.season_rows(spec, tenant, &season), "{context}");
            }
            Err(error) => {
                assert_eq!(error.code, AskErrorCode::Unavailable);
                assert!(!replica.is_settled() && !model.is_complete(tenant, &season), "{tenant} {season:?}: {error}");
            }
        }
    }
}

/// Which revisions are in force and pending; once everything is made, each pending one is ready.
fn check_progress(replica: &Replica<'_>, model: &Model) {
    let views = replica.state.views(50);
    let revisions = |view: &daybook_contracts::ask::ViewProgress| {
        (view.view.to_string(), (view.active, view.pending.as_ref().map(|pending| pending.revision)))
    };
    assert_eq!(views.iter().map(revisions).collect::<BTreeMap<_, _>>(), model.revisions());
    let is_ready = views.iter().filter_map(|view| view.pending.as_ref()).all(|pending| pending.ready);
    assert!(is_ready || !replica.is_settled(), "{views:?}");
}

/// Checks one report against the demand for it.
fn check_report(sealed: &SealedReport, demand: &Demand, model: &Model, before: Option<&SealedReport>, at: LogSeq) {
    let Demand { tenant, date, entries, account, changes } = demand;
    assert_eq!((&sealed.tenant, sealed.date), (tenant, *date));
    assert_eq!(sealed.hash, blake3::hash(&sealed.payload).to_hex().to_string());
    let report: Report = serde_json::from_slice(&sealed.payload).unwrap();
    assert_eq!((&report.tenant, report.date, report.version), (tenant, *date, sealed.version));
    assert_eq!(report.version, before.map_or(1, |before| before.version + 1));
    let superseded = report.supersedes.map(|superseded| (superseded.version, superseded.hash));
    assert_eq!(superseded, before.map(|before| (before.version, before.hash.clone())));
    let named = |(change, (_, _, note)): (&Change, &(u64, u32, Note))| {
        let carried_from = change.what.strip_prefix("carried from ").map(|from| from.parse::<Date>().unwrap());
        let as_expected = match note {
            Note::Changed => carried_from.is_none(),
            Note::CarriedFrom(from) => carried_from == Some(*from),
        };
        assert!(as_expected, "{change:?} instead of {note:?}");
    };
    report.changes.iter().zip(changes).for_each(named);
    assert_eq!(
        report.changes.iter().map(|change| (change.inbox.0, change.index)).collect::<Vec<_>>(),
        changes.iter().map(|(inbox, index, _)| (*inbox, *index)).collect::<Vec<_>>(),
        "{tenant} {date} version {}",
        report.version
    );
    assert_eq!(report.changes_omitted, 0);
    assert_eq!((report.log.partition, report.log.through), (PARTITION, at));
    assert!(report.log.from <= at);
    assert!(report.dispositions.balances());
    assert_eq!(report.dispositions, *account);
    assert_eq!(report.coverage, Coverage::Complete);
    let views: BTreeMap<Name, Spec> =
        model.views(tenant, *entries).into_iter().map(|spec| (spec.view.name.clone(), spec)).collect();
    assert_eq!(report.views.keys().collect::<Vec<_>>(), views.keys().collect::<Vec<_>>());
    for (view, spec) in &views {
        let shown = &report.views[view];
        let rows = model.rows(spec, tenant, &[*date], true, *entries);
        assert_eq!(cells(&shown.rows), rows, "{tenant} {view} {date} version {}", report.version);
        assert_eq!((shown.total, shown.late_policy), (rows.len() as u64, spec.view.late_on(*date)));
        assert_eq!(shown.adjustments, model.adjustments(spec, tenant, *date, *entries), "{tenant} {view} {date}");
        assert_eq!(report.definitions.views[view], spec.view.revision);
    }
}

pub(super) fn reports_of(effects: &[Effect]) -> Vec<SealedReport> {
    let report = |effect: &Effect| match effect {
        Effect::Report(report) => Some(report.clone()),
        Effect::Rejects { .. } | Effect::Alerts { .. } | Effect::Purge(_) => None,
    };
    effects.iter().filter_map(report).collect()
}

/// Applies a history and checks reports after every batch, and answers after every `step`th.
fn check_history(batches: &[Vec<Record>], timings: &Timings, step: usize) {
    let mut replica = Replica::new(batches);
    let mut model = Model::new();
    let mut versions: BTreeMap<(TenantId, Date), SealedReport> = BTreeMap::new();
    for (number, records) in batches.iter().enumerate() {
        replica.prepare(timings[number % timings.len()]);
        let begin = model.len();
        records.iter().for_each(|record| model.push(record));
        let reports = reports_of(&replica.apply());
        let demands = model.demands(begin);
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
        if number.is_multiple_of(step) {
            check_answers(&mut replica, &model, &versions);
        }
    }
    check_answers(&mut replica, &model, &versions);
    replica.settle();
    check_answers(&mut replica, &model, &versions);
}

/// Everything that can be asked, in every way, of the tenants that are there.
pub(super) fn answers(state: &mut PartitionState) -> (Vec<Days>, Vec<Answer>, Vec<Option<Answer>>) {
    let days: Vec<Days> = tenants().iter().filter_map(|tenant| state.days(tenant).ok()).collect();
    let mut of_days = Vec::new();
    let mut of_seasons = Vec::new();
    for Days { tenant, days, .. } in &days {
        for view in Model::every_view() {
            for day in days {
                for grain in [Pieces::Total, Pieces::Hour, Pieces::QuarterHour, Pieces::ClockHour] {
                    let query = Query { grain, ..Query::days(DaySelector::Date(day.date)) };
                    of_days.extend(state.view(tenant, &name(&view), &query));
                }
            }
            for season in ["hunt", "spring"] {
                of_seasons.push(ask(state, tenant, &view, DaySelector::Season(name(season))).ok());
            }
        }
    }
    (days, of_days, of_seasons)
}

/// Asserts that both say the same, but for seasons that only one of them has made.
fn assert_same(one: &mut PartitionState, other: &mut PartitionState, context: &str) {
    let ((days, of_days, of_seasons), (other_days, other_of_days, other_of_seasons)) = (answers(one), answers(other));
    assert_eq!(days, other_days, "{context}");
    assert_eq!(of_days, other_of_days, "{context}");
    for (one, other) in of_seasons.iter().zip(&other_of_seasons) {
        if let (Some(one), Some(other)) = (one, other) {
            assert_eq!(one, other, "{context}");
        }
    }
}

/// Asserts that replicas find no difference. That of each is kept up from batch to batch, or was begun anew after a crash:
/// one that looks at everything now must come to the same.
fn assert_same_digests(one: &mut PartitionState, other: &mut PartitionState, context: &str) {
    let digest = |state: &mut PartitionState| state.digest().expect("digests are kept");
    let (ours, theirs) = (digest(one), digest(other));
    assert_eq!((ours.log, &ours.state), (theirs.log, &theirs.state), "{context}");
    assert!(!ours.contradicts(&theirs), "{context}: {ours:?} and {theirs:?}");
}

/// What does not depend on how the log was cut into batches.
fn figures(replica: &mut Replica<'_>) -> impl PartialEq + std::fmt::Debug + use<> {
    replica.settle();
    let (days, of_days, of_seasons) = answers(&mut replica.state);
    let days: Vec<_> =
        days.into_iter().flat_map(|of| of.days).map(|day| (day.date, day.day, day.opens_at, day.account)).collect();
    let figures = |answer: Answer| (answer.view, answer.from, answer.rows, answer.definition);
    let of_days: Vec<_> = of_days.into_iter().map(figures).collect();
    let of_seasons: Vec<_> = of_seasons.into_iter().map(|answer| answer.map(figures)).collect();
    (days, of_days, of_seasons)
}

/// Runs a history with checkpoints and crashes, and compares with a run without any that does its jobs at other times:
/// effects after every batch, answers after every `step`th.
pub(super) fn check_restarts(batches: &[Vec<Record>], one: &Timings, other: &Timings, step: usize) {
    let mut reference = Replica::new(batches);
    let mut replica = Replica::new(batches);
    reference.state.keep_digests();
    replica.state.keep_digests();
    let mut effects = Vec::new();
    for number in 0..batches.len() {
        (0..one[number % one.len()].job_steps).for_each(|_| {
            reference.step_job();
        });
        effects.push(reference.apply());
        let timing = other[number % other.len()];
        (0..timing.job_steps).for_each(|_| {
            replica.step_job();
        });
        assert_eq!(replica.apply(), effects[number], "batch {number}");
        if timing.stores {
            replica.store();
        }
        if timing.evicts {
            replica.evict();
        }
        replica.keep_up(timing.upkeep);
        if timing.crashes {
            for (again, these) in replica.crash() {
                assert_eq!(these, effects[again], "batch {again} again");
            }
        }
        assert_same_digests(&mut reference.state, &mut replica.state, &format!("after batch {number}"));
        if number.is_multiple_of(step) {
            assert_same(&mut reference.state, &mut replica.state, &format!("after batch {number}"));
        }
    }
    reference.settle();
    replica.settle();
    assert_same(&mut reference.state, &mut replica.state, "once everything is made");
    assert_same_digests(&mut reference.state, &mut replica.state, "once everything is made");
    let both = [&mut reference.state, &mut replica.state].map(|state| state.digest().and_then(|digest| digest.seasons));
    assert!(both[0].is_some() && both[0] == both[1], "the digests of seasons, which are complete: {both:?}");
    let (.., seasons) = answers(&mut reference.state);
    assert_eq!(seasons, answers(&mut replica.state).2);
    // No row of what is gone stays behind, for such are refused.
    replica.store();
    let mut restored = restore(&replica.rows);
    restored.keep_digests();
    assert_same_digests(&mut reference.state, &mut restored, "once everything is stored");
}

/// Fewer cases than usual, by that factor; `PROPTEST_CASES` still asks for more.
fn cases(divisor: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(divisor), ..usual }
}

proptest! {
    #![proptest_config(cases(2))]

    #[test]
    fn figures_accounts_and_reports_are_those_of_the_model(batches in history(90), timings in timings()) {
        check_history(&batches, &timings, 1);
    }

    #[test]
    fn figures_do_not_depend_on_the_batches(batches in history(90), sizes in prop::collection::vec(1_usize..12, 1..5)) {
        let run = |batches: &[Vec<Record>]| {
            let mut replica = Replica::new(batches);
            (0..batches.len()).for_each(|_| {
                replica.apply();
            });
            figures(&mut replica)
        };
        prop_assert_eq!(run(&batches), run(&recut(&batches, &sizes)));
    }

    #[test]
    fn restarts_and_the_time_of_jobs_change_nothing(batches in history(90), one in timings(), other in timings()) {
        check_restarts(&batches, &one, &other, 1);
    }
}

/// The columns of a row that do not depend on which other rows there are.
fn own_cells(row: &Row) -> Cells {
    let is_own = |(name, _): &(String, String)| name != "rank" && name != "position";
    cells(std::slice::from_ref(row)).remove(0).into_iter().filter(is_own).collect()
}

/// Runs a history beside the same one under quotas of groups: the rows there are the same, but for those left out where
/// it says so; accounts and seasons do not differ at all.
fn check_caps(batches: &[Vec<Record>], groups: &[Option<u64>], timings: &Timings) {
    let capped_batches = capped(batches, groups);
    let (mut whole, mut capped) = (Replica::new(batches), Replica::new(&capped_batches));
    let mut made_later = BTreeSet::new();
    for number in 0..batches.len() {
        (0..timings[number % timings.len()].job_steps).for_each(|_| {
            whole.step_job();
        });
        whole.apply();
        capped.apply();
        let activated = batches[number].iter().filter_map(|record| match record {
            Record::Define(Definition::Activation(activation)) => Some(activation.view.clone()),
            _ => None,
        });
        made_later.extend(activated);
        compare_caps(&mut whole.state, &mut capped.state, &made_later, groups);
    }
    whole.settle();
    capped.settle();
    compare_caps(&mut whole.state, &mut capped.state, &made_later, groups);
    assert_eq!(answers(&mut whole.state).2, answers(&mut capped.state).2, "seasons");
}

fn compare_caps(
    whole: &mut PartitionState,
    capped: &mut PartitionState,
    made_later: &BTreeSet<Name>,
    groups: &[Option<u64>],
) {
    let most = groups.iter().copied().max_by_key(|groups| groups.unwrap_or(u64::MAX)).flatten().unwrap_or(u64::MAX);
    for tenant in tenants() {
        let accounts = |state: &PartitionState| -> BTreeMap<Date, Account> {
            let days = state.days(&tenant).unwrap().days.into_iter();
            days.map(|day| (day.date, day.account)).filter(|(_, account)| *account != Account::default()).collect()
        };
        assert_eq!(accounts(whole), accounts(capped), "{tenant}");
        for date in accounts(whole).into_keys() {
            for view in Model::every_view() {
                for grain in [Pieces::Total, Pieces::Hour, Pieces::QuarterHour, Pieces::ClockHour] {
                    let query = Query { grain, ..Query::days(DaySelector::Date(date)) };
                    let answers = [&mut *whole, &mut *capped].map(|state| state.view(&tenant, &name(&view), &query));
                    let [Ok(all), Ok(kept)] = answers else { continue };
                    let context = format!("{tenant} {view} {date} {grain:?}");
                    assert_eq!(all.coverage, Coverage::Complete);
                    if kept.coverage == Coverage::Complete {
                        assert_eq!(all.rows, kept.rows, "{context}");
                        continue;
                    }
                    assert!(matches!(kept.coverage, Coverage::Capped { .. }), "{context}");
                    if is_rolled_up(&view, grain) {
                        continue;
                    }
                    let all: BTreeSet<Cells> = all.rows.iter().map(own_cells).collect();
                    assert!(kept.rows.iter().all(|row| all.contains(&own_cells(row))), "{context}");
                    assert!(kept.total <= most || made_later.contains(view.as_str()), "{context}");
                }
            }
        }
    }
}

/// Whether the rows of that view put groups together, of which some may be left out.
fn is_rolled_up(view: &str, grain: Pieces) -> bool {
    [specs(), vec![channel_spec()]].concat().iter().any(|spec| {
        spec.view.name.as_str() == view && (Pieces::from(spec.view.grain) != grain || spec.view.group_by.is_empty())
    })
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn what_a_quota_leaves_out_is_told_and_the_rest_is_whole(
        batches in history(90),
        groups in caps(),
        timings in timings(),
    ) {
        check_caps(&batches, &groups, &timings);
    }

    #[test]
    fn restarts_and_the_time_of_jobs_change_nothing_under_quotas(
        batches in history(90),
        groups in caps(),
        one in timings(),
        other in timings(),
    ) {
        check_restarts(&capped(&batches, &groups), &one, &other, 3);
    }

    #[test]
    fn quotas_do_not_depend_on_the_batches(
        batches in history(90),
        groups in caps(),
        sizes in prop::collection::vec(1_usize..12, 1..5),
    ) {
        let run = |batches: &[Vec<Record>]| {
            let mut replica = Replica::new(batches);
            (0..batches.len()).for_each(|_| {
                replica.apply();
            });
            figures(&mut replica)
        };
        let batches = capped(&batches, &groups);
        prop_assert_eq!(run(&batches), run(&recut(&batches, &sizes)));
    }
}

/// One to three quotas of groups, some of them none.
fn caps() -> impl Strategy<Value = Vec<Option<u64>>> {
    prop::collection::vec(prop::option::weighted(0.9, 1_u64..4), 1..4)
}

proptest! {
    // Each of them is some two hundred and fifty batches.
    #![proptest_config(cases(64))]

    #[test]
    fn days_expire_as_in_the_model(batches in long_history(), timings in timings()) {
        check_history(&batches, &timings, 83);
    }

    #[test]
    fn restarts_change_nothing_when_days_expire(batches in long_history(), one in timings(), other in timings()) {
        check_restarts(&batches, &one, &other, 29);
    }
}
