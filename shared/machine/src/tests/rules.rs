//! One small log per rule.

use super::fixtures::*;
use crate::backfill::Found;
use crate::{KEEP_DAYS, PartitionState};
use daybook_contracts::ask::{AskErrorCode, DaySelector, DayState, Query};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Batch, FORMAT, Record, Through};
use daybook_contracts::reject::{Code, Reject};
use daybook_contracts::report::{Account, MAX_CHANGES};
use daybook_domain::catalogue::{Activation, Definition, Status, Tenant};
use daybook_domain::ids::{InboxSeq, LogSeq};

/// Two ids of orders that fall on the same hash.
const SAME_HASH: [&str; 2] = ["3vrodq7zhbkwg", "scge3cau36htd"];

fn account(published: u64, counted: u64) -> Account {
    Account { published, counted, ..Account::default() }
}

// --- versions ---

#[test]
fn the_newest_version_takes_the_place_of_the_older_one() {
    let mut shard = Shard::new();
    shard.orders(vec![with_qty(5, order("x", Some(1), 0)), with_qty(7, order("x", Some(3), 0))]);
    assert_eq!(shard.rows("totals", 0), ["1 7 0 0"]);
    assert_eq!(shard.accounts()[&0], account(2, 2));
}

#[test]
fn a_draft_becomes_final_and_then_void() {
    let mut shard = Shard::new();
    let shown = [(Status::Draft, "0 0 1 0"), (Status::Final, "1 1 0 0"), (Status::Void, "0 0 0 1")];
    for (version, (status, rows)) in shown.into_iter().enumerate() {
        shard.orders(vec![with_status(status, order("x", Some(version as u64), 0))]);
        assert_eq!(shard.rows("totals", 0), [rows]);
    }
    assert_eq!(shard.accounts()[&0], Account { drafts: 1, ..account(3, 3) });
}

#[test]
fn a_draft_is_pending_until_a_newer_version_comes() {
    let mut shard = Shard::new();
    let draft = |version: u64, day: i32| with_status(Status::Draft, order("x", Some(version), day));
    shard.open(0);
    shard.orders(vec![draft(1, 0)]);
    assert_eq!(shard.accounts()[&0], Account { pending: 1, drafts: 1, ..account(1, 0) });
    // Said again, or too old: the draft is as open as before.
    shard.orders(vec![draft(1, 0), draft(0, 0)]);
    assert_eq!(shard.accounts()[&0], Account { pending: 1, drafts: 1, duplicate: 1, stale: 1, ..account(3, 0) });
    shard.close(0);
    shard.open(1);
    // It moves to another day; the day that it leaves is closed, and no figure of its changes.
    shard.orders(vec![draft(2, 1)]);
    let left = Account { drafts: 1, duplicate: 1, stale: 1, ..account(3, 1) };
    assert_eq!(shard.accounts()[&0], left);
    assert_eq!(shard.accounts()[&1], Account { pending: 1, drafts: 1, ..account(1, 0) });
    shard.orders(vec![order("x", Some(3), 1)]);
    assert_eq!(shard.accounts()[&0], left);
    assert_eq!(shard.accounts()[&1], Account { drafts: 1, ..account(2, 2) });
}

#[test]
fn an_older_version_is_stale_even_if_it_says_the_same() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(4), 0), with_qty(9, order("x", Some(3), 0)), order("x", Some(3), 0)]);
    assert_eq!(shard.rows("totals", 0), ["1 1 0 0"]);
    assert_eq!(shard.accounts()[&0], Account { stale: 2, ..account(3, 1) });
    assert_eq!(shard.rejects.iter().map(|reject| reject.code).collect::<Vec<_>>(), [Code::StaleVersion; 2]);
}

#[test]
fn the_same_version_is_a_duplicate_or_a_conflict() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(4), 0), order("x", Some(4), 0), with_qty(9, order("x", Some(4), 0))]);
    assert_eq!(shard.rows("totals", 0), ["1 1 0 0"]);
    assert_eq!(shard.accounts()[&0], Account { duplicate: 1, rejected: 1, ..account(3, 1) });
    assert_eq!(shard.rejects[0].code, Code::VersionConflict);
    assert_eq!((shard.rejects[0].index, shard.rejects[0].date), (2, Some(date(0))));
}

#[test]
fn an_event_without_a_version_is_newer_than_what_came_before() {
    let mut shard = Shard::new();
    let quantities = [(1, Some(4)), (2, None), (2, None), (3, Some(5)), (4, Some(6))];
    let event = |(qty, version)| with_qty(qty, order("x", version, 0));
    shard.orders(quantities.into_iter().map(event).collect());
    assert_eq!(shard.rows("totals", 0), ["1 4 0 0"]);
    // The second without one says the same; then 5 is taken.
    assert_eq!(shard.accounts()[&0], Account { duplicate: 1, rejected: 1, ..account(5, 3) });
}

#[test]
fn a_reject_found_here_carries_an_event_that_can_be_published_again() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(4), 0), with_qty(9, order("x", Some(4), 0))]);
    let original = shard.rejects[0].original.bytes();
    let read = daybook_contracts::event::read(original, daybook_contracts::event::Encoding::Json, "ABQ", &orders());
    let event = read[0].outcome.as_ref().unwrap();
    assert_eq!((event.id.as_deref(), event.version), (Some("x"), Some(4)));
    assert_eq!(event.measures[..], [Some(9), Some(150)]);
    assert_eq!(event.dims[..], [Some("Bern".into()), Some("a".into())]);
}

#[test]
fn facts_without_an_id_all_count_and_with_one_only_once() {
    let mut shard = Shard::new();
    let other = daybook_contracts::log::Event { measures: vec![Some(99)].into(), ..click(Some("x"), 0) };
    shard.clicks(vec![click(None, 0), click(None, 0), click(Some("x"), 0), click(Some("x"), 0), other]);
    assert_eq!(shard.rows("clicks", 0), ["3 60"]);
    assert_eq!(shard.accounts()[&0], Account { duplicate: 1, rejected: 1, ..account(5, 3) });
}

#[test]
fn kinds_have_ids_of_their_own() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.clicks(vec![click(Some("x"), 0)]);
    assert_eq!(shard.accounts()[&0], account(2, 2));
}

// --- days ---

#[test]
fn an_entity_that_moves_leaves_its_day() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.orders(vec![order("x", Some(2), 1)]);
    assert_eq!((shard.rows("totals", 0), shard.rows("totals", 1)), (vec!["0 0 0 0".into()], vec!["1 1 0 0".into()]));
    assert_eq!((shard.accounts()[&0], shard.accounts()[&1]), (account(1, 1), account(1, 1)));
    shard.orders(vec![order("x", Some(1), 0)]);
    assert_eq!(shard.accounts()[&0], Account { stale: 1, ..account(2, 1) });
}

#[test]
fn the_day_in_progress_is_the_newest_that_opened() {
    let mut shard = Shard::new();
    let today = |shard: &mut Shard| shard.ask("ABQ", "totals", &Query::default());
    assert_eq!(today(&mut shard).unwrap_err(), AskErrorCode::UnknownDay);
    shard.orders(vec![order("early", Some(1), 2)]);
    shard.open(0);
    assert_eq!(today(&mut shard).unwrap().from, date(0));
    shard.close(0);
    assert_eq!((today(&mut shard).unwrap().from, today(&mut shard).unwrap().day), (date(0), DayState::Closed));
    shard.open(1);
    assert_eq!((today(&mut shard).unwrap().from, today(&mut shard).unwrap().day), (date(1), DayState::Open));
    assert_eq!(shard.answer("totals", 2).day, DayState::Upcoming);
}

#[test]
fn a_marker_takes_effect_once() {
    let mut shard = Shard::new();
    for _ in 0..2 {
        shard.open(0);
        shard.close(0);
        shard.open(0);
        shard.close(0);
    }
    assert_eq!(shard.versions(), [(0, 1)]);
    assert_eq!(shard.answer("totals", 0).day, DayState::Closed);
}

#[test]
fn a_marker_of_an_unknown_tenant_is_left_behind() {
    let mut shard = Shard::new();
    let effects = shard.apply(vec![Record::Day(marker("JFK", Edge::Closed, 0))]);
    assert_eq!(effects, []);
    assert_eq!(shard.state.days(&tenant_id("JFK")).unwrap_err().code, AskErrorCode::UnknownTenant);
}

#[test]
fn a_tenant_is_told_the_views_it_may_ask_for() {
    let shard = Shard::new();
    let views = shard.state.views_for(&tenant_id("ABQ")).unwrap().views;
    let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    assert!(names.contains(&"totals") && names.is_sorted(), "{names:?}");
    for view in &views {
        let answer = shard.state.check(&tenant_id("ABQ"), &view.name, &Query::default());
        assert_eq!(answer, Ok(()), "{}", view.name);
    }
    assert_eq!(shard.state.views_for(&tenant_id("JFK")).unwrap_err().code, AskErrorCode::UnknownTenant);
}

#[test]
fn what_ingest_refused_is_on_the_account_of_its_day_or_of_the_open_one() {
    let mut shard = Shard::new();
    shard.apply(vec![Record::Rejected(reject("ABQ", 1, None))]);
    shard.open(3);
    shard.apply(vec![Record::Rejected(reject("ABQ", 2, None)), Record::Rejected(reject("ABQ", 3, Some(1)))]);
    let refused = Account { rejected: 1, ..account(1, 0) };
    assert_eq!(shard.accounts().into_iter().collect::<Vec<_>>(), [(0, refused), (1, refused), (3, refused)]);
    let effects = shard.apply(vec![Record::Rejected(reject("nobody", 4, None))]);
    assert_eq!(effects.len(), 1, "told, though on nobody's account");
}

// --- reports ---

#[test]
fn a_close_seals_the_figures_as_of_its_marker() {
    let mut shard = Shard::new();
    shard.open(0);
    let (before, after) = (shard.events("order", vec![order("x", Some(1), 0)]), order("y", Some(1), 0));
    let after = shard.events("order", vec![after]);
    shard.apply(vec![before, Record::Day(marker("ABQ", Edge::Closed, 0)), after]);
    assert_eq!(shard.versions(), [(0, 1), (0, 2)]);
    let read =
        |index: usize| serde_json::from_slice::<daybook_contracts::report::Report>(&shard.reports[index].payload);
    let n = |index| read(index).unwrap().views[&name("totals")].rows[0].get("n").unwrap().to_string();
    assert_eq!((n(0), n(1)), ("1".to_owned(), "2".to_owned()));
    assert_eq!(read(1).unwrap().supersedes.unwrap().hash, shard.reports[0].hash);
    assert_eq!(shard.answer("totals", 0).report, Some(2));
}

#[test]
fn late_events_of_one_batch_make_one_version() {
    let mut shard = Shard::new();
    shard.close(0);
    shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 0)]);
    shard.orders(vec![order("z", Some(1), 0)]);
    assert_eq!(shard.versions(), [(0, 1), (0, 2), (0, 3)]);
    let changes = shard.last_report().changes;
    assert_eq!(changes.iter().map(|change| change.id.as_deref().unwrap()).collect::<Vec<_>>(), ["z"]);
}

#[test]
fn late_events_that_change_nothing_make_no_version() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(2), 0)]);
    shard.close(0);
    shard.orders(vec![order("x", Some(2), 0), order("x", Some(1), 0), with_qty(9, order("x", Some(2), 0))]);
    assert_eq!(shard.versions(), [(0, 1)]);
    assert_eq!(shard.accounts()[&0], Account { duplicate: 1, stale: 1, rejected: 1, ..account(4, 1) });
}

#[test]
fn an_entity_that_leaves_a_closed_day_makes_a_version_of_it() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.close(0);
    shard.orders(vec![order("x", Some(2), 1)]);
    assert_eq!(shard.versions(), [(0, 1), (0, 2)]);
    assert_eq!(shard.last_report().changes[0].what, "moved to 1970-01-02");
    assert_eq!(shard.rows("totals", 0), ["0 0 0 0"]);
}

#[test]
fn an_entity_that_was_in_no_figure_leaves_a_closed_day_silently() {
    let mut shard = Shard::new();
    let mut finals_only = totals();
    finals_only.metrics.truncate(2);
    shard.define(Definition::View(finals_only));
    shard.orders(vec![with_status(Status::Draft, order("x", Some(1), 0))]);
    shard.close(0);
    shard.orders(vec![order("x", Some(2), 1)]);
    assert_eq!(shard.versions(), [(0, 1)]);
}

#[test]
fn reasons_beyond_the_limit_are_counted() {
    let mut shard = Shard::new();
    shard.close(0);
    shard.orders((0..MAX_CHANGES + 7).map(|id| order(&id.to_string(), None, 0)).collect());
    let report = shard.last_report();
    assert_eq!((report.changes.len(), report.changes_omitted), (MAX_CHANGES, 7));
    shard.orders(vec![order("one more", None, 0)]);
    let report = shard.last_report();
    assert_eq!((report.changes.len(), report.changes_omitted), (1, 0));
}

// --- definitions ---

#[test]
fn a_column_that_is_added_is_null_in_what_was_there() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::Kind(wider_orders()));
    let fees = vec![metric("n", "count", ANY, FINAL), metric("fee", "sum(fee)", ANY, FINAL)];
    shard.define_and_activate(view("fees", "order", &["channel"], fees));
    assert_eq!(shard.rows("fees", 0), [" 1 0"]);
    let wider = |version, channel: Option<&str>, fee| daybook_contracts::log::Event {
        dims: vec![Some("Bern".into()), Some("a".into()), channel.map(Into::into)].into(),
        measures: vec![Some(1), Some(150), fee].into(),
        ..order("x", Some(version), 0)
    };
    shard.orders(vec![wider(1, None, None)]);
    assert_eq!(shard.accounts()[&0].duplicate, 1, "it says the same as before");
    shard.orders(vec![wider(2, Some("web"), Some(25))]);
    assert_eq!(shard.rows("fees", 0), ["web 1 0.25"]);
    assert_eq!(shard.rows("totals", 0), ["1 1 0 0"]);
}

#[test]
fn a_group_goes_with_its_last_entity() {
    let mut shard = Shard::new();
    shard.define(Definition::View(by_city("cities")));
    shard.orders(vec![order("x", Some(1), 0)]);
    assert_eq!(shard.rows("cities", 0), ["Bern 1 1"]);
    shard.orders(vec![with_status(Status::Void, order("x", Some(2), 0))]);
    assert_eq!(shard.rows("cities", 0), [""; 0]);
    assert_eq!(shard.state.sizes().groups, 1, "only that of the view without groups");
}

// --- views that come later ---

#[test]
fn a_view_made_of_another_part_of_the_log_than_is_activated_is_told() {
    let mut shard = Shard::new();
    shard.clicks(vec![click(None, 0)]);
    shard.define(Definition::View(click_totals("later")));
    let scratch = shard.begin_job();
    shard.state.finish_backfill(Found::of(scratch, Some(LogSeq(4))));
    while shard.state.add_backfill() {}
    let differs = |view: &str, since: Option<u64>| {
        let activation = Activation { view: name(view), revision: 1, since: since.map(LogSeq) };
        let records = vec![Record::Define(Definition::Activation(activation))];
        shard.state.differs_in_history(&Batch { format: FORMAT, through: Through::default(), records })
    };
    assert!([None, Some(3), Some(5)].into_iter().all(|since| differs("later", since)));
    assert!(!differs("later", Some(4)));
    assert!(!differs("clicks", None), "it is in force");
}

// --- what is let go of ---

#[test]
fn days_are_kept_for_a_while_after_they_closed() {
    let mut shard = Shard::new();
    for day in 0..=KEEP_DAYS {
        shard.orders(vec![order(&day.to_string(), Some(1), day)]);
        shard.close(day);
    }
    assert_eq!(shard.accounts().len() as i32, KEEP_DAYS + 1);
    shard.close(KEEP_DAYS + 1);
    assert_eq!(shard.accounts().keys().next(), Some(&1));
    assert_eq!(shard.state.sizes().entities as i32, KEEP_DAYS);
}

#[test]
fn the_last_report_of_a_day_accounts_for_all_of_its_events() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(2), 0)]);
    shard.close(0);
    shard.orders(vec![order("x", Some(2), 0), order("x", Some(1), 0)]);
    shard.close(1);
    assert_eq!(shard.versions(), [(0, 1), (1, 1)], "no figure has changed");
    shard.close(KEEP_DAYS + 1);
    assert_eq!(shard.versions()[2..], [(KEEP_DAYS + 1, 1), (0, 2)]);
    let report = shard.last_report();
    assert_eq!(report.dispositions, Account { duplicate: 1, stale: 1, ..account(3, 1) });
    assert_eq!((report.supersedes.unwrap().version, report.changes.len()), (1, 0));
    shard.close(KEEP_DAYS + 2);
    assert_eq!(shard.versions().len(), 5, "day 1 goes as it was sealed");
}

#[test]
fn a_named_clock_limits_how_far_ahead_of_the_open_day_events_may_be() {
    let limited = |revision, clock: &str, hours: u64| match tenant_with_seasons("ABQ", revision, vec![]) {
        Definition::Tenant(tenant) => {
            Definition::Tenant(Tenant { clock: name(clock), max_ahead_ms: Some(hours * 3_600_000), ..tenant })
        }
        other => panic!("{other:?}"),
    };
    let mut shard = Shard::new();
    shard.define(limited(2, "shop", 1));
    // Before a day is open nothing says what is ahead.
    shard.clicks(vec![click(None, 2)]);
    shard.open(0);
    let ahead = |minutes| after_minutes(minutes, click(None, 1));
    // Some of a day may be too far ahead and some not, with and without ids.
    shard.clicks(vec![ahead(0), ahead(60), ahead(61)]);
    shard.orders(vec![after_minutes(60, order("x", Some(1), 1)), after_minutes(61, order("y", Some(1), 1))]);
    let refused: Vec<_> = shard.rejects.iter().map(|reject| (reject.code, reject.index)).collect();
    assert_eq!(refused, [(Code::TooFarAhead, 2), (Code::TooFarAhead, 1)]);
    assert!(shard.rejects[0].reason.contains("max_ahead"), "{}", shard.rejects[0].reason);
    let accounts = shard.accounts().into_iter().collect::<Vec<_>>();
    assert_eq!(accounts, [(0, Account { rejected: 2, ..account(2, 0) }), (1, account(3, 3)), (2, account(1, 1))]);
    // When the next day is open they may come, and by the system clock ingest has judged.
    shard.close(0);
    shard.open(1);
    shard.clicks(vec![ahead(61), click(None, 2), after_minutes(61, click(None, 2))]);
    assert_eq!(shard.rejects.len(), 3);
    shard.define(limited(3, "system", 1));
    shard.clicks(vec![click(None, 9)]);
    assert_eq!(shard.rejects.len(), 3);
}

#[test]
fn an_event_of_a_day_that_is_gone_is_refused_on_the_open_day() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.close(0);
    shard.open(50);
    shard.close(50);
    let versions = shard.versions();
    shard.orders(vec![order("x", Some(2), 14), order("y", Some(1), 15)]);
    assert_eq!(shard.rejects.iter().map(|reject| reject.code).collect::<Vec<_>>(), [Code::DayExpired]);
    assert_eq!((shard.rejects[0].date, shard.rejects[0].field.as_deref()), (Some(date(14)), Some("at")));
    // The newest day that opened has closed, so the next one takes what comes too late.
    let advice = format!("with another id and a time of the open day {}", date(51));
    assert!(shard.rejects[0].reason.contains(&advice), "{}", shard.rejects[0].reason);
    let accounts = shard.accounts().into_iter().collect::<Vec<_>>();
    assert_eq!(accounts, [(15, account(1, 1)), (50, Account { rejected: 1, ..account(1, 0) })]);
    assert_eq!(shard.versions(), versions);
}

#[test]
fn an_entity_whose_day_is_gone_is_not_known_any_more() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(7), 0)]);
    shard.close(50);
    shard.orders(vec![order("x", Some(1), 40)]);
    assert_eq!(shard.accounts()[&40], account(1, 1));
}

#[test]
fn refusals_before_any_day_opened_are_never_on_a_day_that_is_gone() {
    let mut shard = Shard::new();
    shard.close(50);
    shard.apply(vec![Record::Rejected(reject("ABQ", 1, None)), Record::Rejected(reject("ABQ", 1, Some(3)))]);
    assert_eq!(shard.accounts()[&15], Account { rejected: 2, ..account(2, 0) });
}

// --- positions and hashes ---

#[test]
fn an_answer_waits_for_what_the_asker_wrote() {
    let mut shard = Shard::new();
    let reached = shard.state.through().inbox.0;
    let mut ask = |at_least| {
        let query = Query { at_least: Some(InboxSeq(at_least)), ..Query::default() };
        shard.ask("ABQ", "totals", &query).unwrap_err()
    };
    assert_eq!((ask(reached), ask(reached + 1)), (AskErrorCode::UnknownDay, AskErrorCode::NotYet));
}

#[test]
fn unknown_tenants_and_views_are_told() {
    let mut shard = Shard::new();
    let mut ask = |tenant: &str, view: &str| shard.ask(tenant, view, &Query::default()).unwrap_err();
    assert_eq!(ask("JFK", "totals"), AskErrorCode::UnknownTenant);
    assert_eq!(ask("ABQ", "total"), AskErrorCode::UnknownView);
}

#[test]
#[should_panic(expected = "does not follow")]
fn a_batch_that_does_not_follow_is_a_defect() {
    let mut state = PartitionState::new(PARTITION);
    let batch = || Batch { format: FORMAT, through: Through::default(), records: vec![] };
    state.apply(LogSeq(5), batch());
    state.apply(LogSeq(5), batch());
}

#[test]
fn entities_with_the_same_hash_are_told_apart() {
    let [one, other] = SAME_HASH;
    let mut shard = Shard::new();
    shard.orders(vec![order(one, Some(1), 0), order(other, Some(1), 1)]);
    assert_eq!(shard.state.sizes().entities, 2);
    for (version, day) in [(2, 2), (3, 0), (4, 1)] {
        shard.orders(vec![order(one, Some(version), day), order(other, Some(version), 3 - day)]);
        shard.orders(vec![order(one, Some(version - 1), day), order(other, Some(version - 1), 0)]);
    }
    let accounts = shard.accounts();
    assert_eq!(accounts.values().map(|account| account.stale).sum::<u64>(), 6);
    assert_eq!(shard.state.sizes().entities, 2);
    assert_eq!((shard.rows("totals", 1), shard.rows("totals", 2)), (vec!["1 1 0 0".into()], vec!["1 1 0 0".into()]));
}

#[test]
fn an_entity_whose_namesake_in_the_hash_expired_is_still_known() {
    let [one, other] = SAME_HASH;
    let mut shard = Shard::new();
    shard.orders(vec![order(one, Some(1), 40), order(other, Some(1), 0)]);
    shard.close(50);
    shard.orders(vec![order(one, Some(1), 40)]);
    assert_eq!(shard.rows("totals", 40), ["1 1 0 0"]);
    assert_eq!(shard.accounts()[&40].duplicate, 1);
}

#[test]
fn a_message_split_over_two_batches_is_applied() {
    let mut state = PartitionState::new(PARTITION);
    let batch = |events| Batch { format: FORMAT, through: Through { inbox: InboxSeq(7), events }, records: vec![] };
    state.apply(LogSeq(1), batch(3_000));
    state.apply(LogSeq(2), batch(0));
}

#[test]
fn a_message_that_is_covered_in_part_is_not_there_yet() {
    let mut state = PartitionState::new(PARTITION);
    let through = Through { inbox: InboxSeq(7), events: 3_000 };
    state.apply(LogSeq(1), Batch { format: FORMAT, through, records: vec![Record::Define(tenant("ABQ"))] });
    let query = Query { at_least: Some(InboxSeq(7)), ..Query::default() };
    let refused = state.view(&tenant_id("ABQ"), &name("totals"), &query).unwrap_err();
    assert_eq!(refused.code, AskErrorCode::NotYet);
}

#[test]
fn a_day_that_changes_late_and_expires_in_one_batch_is_sealed_first() {
    let mut shard = Shard::new();
    shard.close(0);
    let late = shard.events("order", vec![order("x", Some(1), 0)]);
    shard.apply(vec![late, Record::Day(marker("ABQ", Edge::Closed, 50))]);
    assert_eq!(shard.versions(), [(0, 1), (50, 1), (0, 2)]);
}

#[test]
fn tenants_that_are_no_ids_are_told_of_under_one_token() {
    let refused = |tenant: &str| daybook_contracts::reject::Reject {
        code: Code::InvalidTenant,
        reason: "no id".into(),
        tenant: tenant.into(),
        kind: "order".into(),
        inbox: InboxSeq(1),
        index: 0,
        field: None,
        date: None,
        original: daybook_contracts::reject::Original::new(b"x"),
        span: None,
    };
    let mut state = PartitionState::new(PARTITION);
    let records = ["a b", "", "a.b"].into_iter().map(|tenant| Record::Rejected(refused(tenant))).collect();
    let through = Through { inbox: InboxSeq(1), events: 0 };
    let effects = state.apply(LogSeq(1), Batch { format: FORMAT, through, records });
    let [crate::Effect::Rejects { tenant, rejects }] = &effects[..] else { panic!("{effects:?}") };
    let token = daybook_contracts::subjects::Subjects::invalid_tenant(PARTITION);
    assert_eq!((tenant, rejects.len()), (&token, 3));
    let through = Through { inbox: InboxSeq(2), events: 0 };
    let records = vec![Record::Rejected(refused("~unmapped"))];
    let effects = state.apply(LogSeq(2), Batch { format: FORMAT, through, records });
    let [crate::Effect::Rejects { tenant, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(tenant, "~unmapped", "records without a tenant have a subject of their own");
}

#[test]
fn a_message_of_many_stale_events_is_told_in_rejects_of_about_its_size() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(9), 0)]);
    shard.orders((0..5_000).map(|_| order("x", Some(3), 0)).collect());
    assert_eq!(shard.accounts()[&0], Account { stale: 5_000, ..account(5_001, 1) });
    assert_eq!(shard.rejects.iter().map(Reject::events).sum::<u64>(), 5_000);
    let original = shard.rejects[0].original.bytes().len();
    let bytes: usize = shard.rejects.iter().map(|reject| serde_json::to_vec(reject).unwrap().len()).sum();
    assert!(bytes < 5_000 * original * 3 / 2, "{bytes} bytes for 5,000 of {original}");
}

#[test]
fn a_season_has_ended_once_its_last_day_has_closed() {
    let mut shard = Shard::new();
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 1, 3), season("first", 0, 1)]));
    let state = |shard: &mut Shard, season: &str| {
        let answer = shard.ask("ABQ", "totals", &Query::days(DaySelector::Season(name(season)))).unwrap();
        (answer.from.as_days(), answer.to.as_days(), answer.day)
    };
    // What comes before its days have opened does not begin it.
    shard.orders(vec![order("early", None, 1)]);
    shard.open(0);
    assert_eq!(
        [state(&mut shard, "hunt"), state(&mut shard, "first")],
        [(1, 2, DayState::Upcoming), (0, 0, DayState::Open)]
    );
    shard.open(1);
    shard.close(0);
    assert_eq!(
        [state(&mut shard, "hunt"), state(&mut shard, "first")],
        [(1, 2, DayState::Open), (0, 0, DayState::Closed)]
    );
    shard.open(2);
    shard.close(1);
    assert_eq!(state(&mut shard, "hunt").2, DayState::Open);
    shard.close(2);
    assert_eq!(state(&mut shard, "hunt"), (1, 2, DayState::Closed));
    // A late order changes it all the same.
    shard.orders(vec![order("late", None, 2)]);
    assert_eq!((shard.season("totals", "hunt").unwrap().len(), state(&mut shard, "hunt").2), (1, DayState::Closed));
}
