//! What a checkpoint stores, and what comes back from it.

use super::fixtures::*;
use super::replica::{commit, restore};
use crate::PartitionState;
use crate::checkpoint::RestoreError;
use crate::day::Day;
use crate::entity::{Entity, EntityKey, Version};
use crate::window::{GroupKey, Window};
use daybook_contracts::ask::AskErrorCode;
use daybook_contracts::log::{Event, Record};
use daybook_domain::accumulator::{Accumulator, Shape, Sign};
use daybook_domain::catalogue::{Definition, Direction, Earliest, LatePolicy, RankedBy, Ranking, Status, Ties, View};
use daybook_domain::ids::{LogSeq, Partition, TenantId};
use daybook_domain::time::Date;
use std::collections::BTreeMap;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rows(shard: &mut Shard) -> Rows {
    let mut rows = Rows::new();
    commit(&mut rows, shard.state.checkpoint());
    rows
}

/// A tenant with two days, one of them closed, and one entity and one fact.
fn some_rows() -> Rows {
    let mut shard = Shard::new();
    shard.define(Definition::View(by_city("cities")));
    shard.orders(vec![order("x", Some(2), 0)]);
    shard.clicks(vec![click(Some("y"), 1)]);
    shard.close(0);
    rows(&mut shard)
}

fn refusal(rows: &Rows) -> Option<RestoreError> {
    PartitionState::restore(PARTITION, rows).err()
}

/// The keys of the rows of day 0 of ABQ: its head, its page of entities, and the page of a view.
fn keys() -> [Vec<u8>; 3] {
    [&b"d\x80\0\0\0ABQ\0h"[..], b"d\x80\0\0\0ABQ\0e\0\0\0\0", b"d\x80\0\0\0ABQ\0vtotals\0\0\0\0\0"].map(<[u8]>::to_vec)
}

/// The offsets of the local clock in a calendar's table, which earlier builds did not store.
const OFFSETS: &str = "960000ce00015f90cd0e10ce00014370cd0708";

#[test]
fn golden_bytes_of_the_meta_row() {
    let mut shard = Shard::new();
    let mut stored = rows(&mut shard);
    let meta = "\
        9a030302920300929295a56f72646572a6656e746974799292a463697479c092a3736b75c09292a37174790092a570726963\
         650201009295a5636c69636ba4666163749192a470616765c09192a26d730001009299a6746f74616c73a56f726465729094\
         94a16ea5636f756e74c091a566696e616c94a3717479a873756d2871747929c091a566696e616c94a6647261667473a5636f\
         756e74c091a5647261667494a5766f696473a5636f756e74c091a4766f696401a3646179a772657374617465c0c099a6636c\
         69636b73a5636c69636b909294a16ea5636f756e74c091a566696e616c94a26d73a773756d286d7329c091a566696e616c01\
         a3646179a772657374617465c0c0909196a363616c01a47465737400929300ce05265c000293ce0a15c980ce05265c00029600\
         00ce00015f90cd0e10ce00014370cd07080100";
    assert_eq!(hex(&stored[&b"m"[..]]), meta);

    // As it was without offsets.
    let earlier = meta.replacen("96a363616c", "95a363616c", 1).replacen(OFFSETS, "", 1);
    assert_eq!(earlier.len(), meta.len() - OFFSETS.len());
    let digits = earlier.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    stored.insert(b"m".to_vec(), digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect());
    let restored = PartitionState::restore(PARTITION, &stored).unwrap().expect("there is a state");
    let table = &restored.tables["cal"];
    assert!(table.offsets.is_empty());
    assert_eq!(table.cutoffs, shard.state.tables["cal"].cutoffs);
}

const ENTITIES: &str = "819200a1789602a566696e616c0092a44265726ea1619201cc96c0";
const GROUPS: &str = "819200909481a1630181a1739201c4100000000000000000000000000000000181a1630081a16300";
/// A day's head as it was stored when every page was a row of its own.
const HEAD: &str = "99a87570636f6d696e67c0970101000000000004c090000181a6746f74616c7393a8636f6d706c6574650001";

#[test]
fn golden_bytes_of_a_day() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(2), 0)]);
    let mut stored = rows(&mut shard);
    let head = HEAD.replacen("99", "9a", 1);
    assert_eq!(hex(&stored[&keys()[0]]), format!("{head}92c41b{ENTITIES}81a6746f74616c73c428{GROUPS}"));
    let [_, entities, groups] = keys();
    assert!(!stored.contains_key(&entities) && !stored.contains_key(&groups));

    // As it was before, and is of what is large.
    shard.state.small_page_bytes = 0;
    shard.state.dirty.day(&tenant_id("ABQ"), date(0));
    let apart = rows(&mut shard);
    assert_eq!(keys().map(|key| hex(&apart[&key])), [HEAD, ENTITIES, GROUPS]);
    let bytes = |hex: &str| -> Vec<u8> {
        hex.as_bytes().chunks(2).map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 16).unwrap()).collect()
    };
    for (key, hex) in keys().into_iter().zip([HEAD, ENTITIES, GROUPS]) {
        stored.insert(key, bytes(hex));
    }
    let mut restored = restore(&stored);
    [&mut shard.state, &mut restored].into_iter().for_each(PartitionState::keep_digests);
    assert_eq!(restored.digest(), shard.state.digest());

    // A page cannot be in both places.
    stored.insert(keys()[0].clone(), bytes(&format!("{head}92c41b{ENTITIES}81a6746f74616c73c428{GROUPS}")));
    assert!(matches!(refusal(&stored), Some(RestoreError::Row(_))));
}

#[test]
fn a_page_that_becomes_large_is_stored_by_itself_from_then_on() {
    let mut shard = Shard::new();
    let mut stored = Rows::new();
    let [head, page, _] = keys();
    let mut lengths = Vec::new();
    for id in 0..30_u64 {
        shard.orders(vec![order(&id.to_string(), Some(1), 0)]);
        commit(&mut stored, shard.state.checkpoint());
        lengths.push(stored[&head].len());
        let mut restored = restore(&stored);
        [&mut shard.state, &mut restored].into_iter().for_each(PartitionState::keep_digests);
        assert_eq!(restored.digest(), shard.state.digest(), "{id}");
    }
    assert!(stored.contains_key(&page) && lengths[0] < lengths[1] && lengths[29] < lengths[1], "{lengths:?}");
}

#[test]
fn golden_bytes_of_a_tenant() {
    let stored = some_rows();
    assert_eq!(
        hex(&stored[&b"tABQ"[..]]),
        "9799a3414251a754686520414251900000a673797374656d01a363616c9000c000ce05265c009080"
    );
}

/// A meta row of format 1, as its last version wrote it.
#[test]
fn a_row_of_format_1_is_refused() {
    let meta = b"\x98\x01\x03\x02\x92\x03\x00\x90\x90\x90\x00\x00".to_vec();
    assert!(matches!(refusal(&Rows::from([(b"m".to_vec(), meta)])), Some(RestoreError::Format(1))));
}

/// Versions before this one kept every value of facts and how often texts occur, as of entities.
#[test]
fn what_was_kept_of_facts_before_is_taken_over() {
    let metrics = ["min(ms)", "last(ms)", "distinct(page)"].iter().enumerate();
    let metrics = metrics.map(|(at, value)| metric(&format!("m{at}"), value, ANY, FINAL)).collect();
    let by = vec![RankedBy { metric: name("m0"), direction: Direction::Asc }];
    let ranking = Some(Ranking { by, ties: Ties::Dense, earliest: Earliest::LatestTime });
    let view = View { ranking, ..view("extremes", "click", &["page"], metrics) };
    let clicks = [7, 3, 5].map(|ms| Event { measures: vec![Some(ms)].into(), ..click(None, 0) });
    let shard = || {
        let mut shard = Shard::new();
        shard.define(Definition::View(view.clone()));
        shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 0, 1)]));
        shard.clicks(clicks.to_vec());
        shard
    };
    let present = shard().state;

    let before =
        [Shape::Multiset { measure: 0 }, Shape::Timed { measure: 0 }, Shape::Distinct { dimension: 0 }, Shape::Times];
    let mut shard = shard();
    let windows = &mut shard.state.tenants.get_mut("ABQ").unwrap().windows;
    for window in [windows.days.get_mut(&date(0)).unwrap(), windows.seasons.get_mut("hunt").unwrap()] {
        let groups = &mut window.get_mut("extremes").unwrap().groups;
        let group = groups.get_mut(&GroupKey { piece: 0, dims: [Some("home".into())].into_iter().collect() }).unwrap();
        assert_eq!(group.len(), before.len());
        for (accumulator, shape) in group.iter_mut().zip(before) {
            let present = std::mem::replace(accumulator, Accumulator::zero(shape));
            for click in &clicks {
                accumulator.update(Sign::Add, shape, &Version::from(click));
            }
            assert!(*accumulator != present, "kept otherwise");
        }
    }
    let restored = restore(&rows(&mut shard));
    let [mut present, mut restored] = [present, restored];
    present.keep_digests();
    restored.keep_digests();
    assert_eq!(restored.digest(), present.digest());
}

#[test]
fn golden_bytes_of_what_is_held() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(2), 0)]);
    shard.close(0);
    // Of x its first version is held, of y nothing.
    shard.orders(vec![with_qty(7, order("x", Some(3), 0))]);
    shard.state.small_page_bytes = 0;
    let held = hex(&rows(&mut shard)[&keys()[1]]);
    assert_eq!(
        held,
        "819200a1789603a566696e616c0092a44265726ea1619207cc969192009602a566696e616c0092a44265726ea1619201cc96c0"
    );
    shard.orders(vec![order("y", Some(1), 0)]);
    assert!(hex(&rows(&mut shard)[&keys()[1]]).contains("91c0"));
}

#[test]
fn nothing_stored_is_no_state() {
    assert!(PartitionState::restore(PARTITION, Rows::new()).unwrap().is_none());
}

#[test]
fn rows_of_another_format_or_partition_are_refused() {
    let stored = some_rows();
    let other = PartitionState::restore(Partition(4), &stored).unwrap_err();
    assert!(matches!(other, RestoreError::Partition(partition) if partition == PARTITION));
    // Older and newer ones.
    for format in [1, 9] {
        let mut other = stored.clone();
        other.get_mut(&b"m"[..]).unwrap()[1] = format;
        assert!(matches!(refusal(&other), Some(RestoreError::Format(refused)) if refused == format));
    }
}

#[test]
fn a_row_that_is_cut_anywhere_is_refused() {
    let stored = some_rows();
    for (key, value) in &stored {
        for length in 0..value.len() {
            let mut cut = stored.clone();
            cut.insert(key.clone(), value[..length].to_vec());
            assert!(refusal(&cut).is_some(), "{} cut to {length} bytes", String::from_utf8_lossy(key));
        }
    }
}

#[test]
fn a_row_under_another_key_is_refused() {
    let mut shard = Shard::new();
    shard.orders((0..30).map(|id| order(&id.to_string(), Some(1), 0)).collect());
    let stored = rows(&mut shard);
    let page = keys()[1].clone();
    let after = |page: &[u8], byte: u8| [page, &[byte]].concat();
    // Keys of no form at all, a page number too long, and one whose predecessors are missing.
    let gap = after(&page[..page.len() - 1], 2);
    let wrong = [b"x".to_vec(), b"d".to_vec(), b"mm".to_vec(), after(&page, 0), gap];
    for key in wrong {
        let mut moved = stored.clone();
        moved.insert(key.clone(), stored[&page].clone());
        assert!(refusal(&moved).is_some(), "{}", String::from_utf8_lossy(&key));
    }
}

#[test]
fn the_loss_of_any_row_is_noticed() {
    let mut shard = Shard::new();
    shard.orders((0..30).map(|id| order(&id.to_string(), Some(1), 0)).collect());
    for stored in [some_rows(), rows(&mut shard)] {
        for key in stored.keys() {
            let mut without = stored.clone();
            without.remove(key);
            assert!(refusal(&without).is_some(), "{}", String::from_utf8_lossy(key));
        }
    }
}

#[test]
fn without_its_meta_row_or_a_tenant_with_days_nothing_is_read() {
    let mut stored = some_rows();
    let tenant = stored.remove(&b"tABQ"[..]).unwrap();
    assert!(matches!(refusal(&stored), Some(RestoreError::Row(_))));
    stored.insert(b"tABQ".to_vec(), tenant);
    stored.remove(&b"m"[..]);
    assert!(matches!(refusal(&stored), Some(RestoreError::NoMeta)));
}

#[test]
fn drafts_that_an_earlier_build_stored_are_counted_again() {
    let mut shard = Shard::new();
    let draft = |id: &str| with_status(Status::Draft, order(id, Some(1), 0));
    shard.orders(vec![draft("x"), draft("y"), draft("z"), order("x", Some(2), 0), order("y", Some(2), 1)]);
    let expected = shard.accounts();
    let id = TenantId::new("ABQ").unwrap();
    // So they were counted.
    for day in shard.state.tenants.get_mut("ABQ").unwrap().days.values_mut() {
        let ended = day.account.drafts - day.account.pending;
        (day.account.pending, day.account.drafts) = (day.account.drafts, 0);
        day.account.counted -= ended;
    }
    for day in [0, 1] {
        shard.state.dirty.day(&id, date(day));
    }
    shard.state = PartitionState::restore(PARTITION, &rows(&mut shard)).unwrap().unwrap();
    assert_eq!(shard.accounts(), expected);
    assert_eq!((expected[&0].counted, expected[&0].pending, expected[&0].drafts), (3, 1, 3));
    shard.orders(vec![order("z", Some(2), 0)]);
    assert_eq!((shard.accounts()[&0].counted, shard.accounts()[&0].pending), (5, 0));
}

#[test]
fn a_draft_that_was_set_aside_is_stored_so() {
    let entity =
        |is_set_aside| Entity { is_set_aside, ..Entity::of(&with_status(Status::Draft, order("x", Some(1), 0)), 1) };
    for is_set_aside in [false, true] {
        let bytes = rmp_serde::to_vec(&entity(is_set_aside)).unwrap();
        assert_eq!(bytes[0], if is_set_aside { 0x97 } else { 0x96 });
        assert_eq!(rmp_serde::from_slice::<Entity>(&bytes).unwrap(), entity(is_set_aside));
    }
}

#[test]
fn what_no_log_leads_to_is_refused() {
    type Spoil = fn(&mut PartitionState);
    let refused = |spoil: Spoil| {
        let mut shard = with_late_events();
        spoil(&mut shard.state);
        // So that all of it is stored.
        let days = shard.state.tenants.iter();
        let days = days.flat_map(|(id, tenant)| tenant.days.keys().map(|date| (id.clone(), *date)));
        let days: Vec<(TenantId, Date)> = days.collect();
        for (id, date) in days {
            shard.state.dirty.tenant(&id);
            shard.state.dirty.day(&id, date);
        }
        match refusal(&rows(&mut shard)) {
            Some(RestoreError::Unsound(what)) => what,
            other => panic!("{other:?}"),
        }
    };
    fn first_day(state: &mut PartitionState) -> &mut Day {
        state.tenants.get_mut("ABQ").unwrap().days.first_entry().unwrap().into_mut()
    }
    fn view<'s>(state: &'s mut PartitionState, view: &str) -> &'s mut Window {
        state.tenants.get_mut("ABQ").unwrap().windows.days.get_mut(&date(0)).unwrap().get_mut(view).unwrap()
    }
    let spoils: [(&str, Spoil); 14] = [
        ("its account", |state| first_day(state).account.counted += 1),
        ("its marker", |state| first_day(state).marker = None),
        ("its marker", |state| first_day(state).marker.as_mut().unwrap().day.date = date(7)),
        ("its report", |state| first_day(state).sealed.as_mut().unwrap().version = u32::MAX),
        ("entity", |state| {
            let key = EntityKey { kind: 9, id: "x".into() };
            first_day(state).entities.insert(key, Entity::of(&order("x", None, 0), 1));
        }),
        ("figures of view restate", |state| {
            let groups = &mut view(state, "restate").groups;
            let key = groups.iter().next().unwrap().0.clone();
            groups.get_mut(&key).unwrap().reverse();
        }),
        ("figures of view restate", |state| {
            let groups = &mut view(state, "restate").groups;
            let key = groups.iter().next().unwrap().0.clone();
            groups.get_mut(&key).unwrap()[0] = Accumulator::Count(i64::MAX);
        }),
        ("figures of view restate", |state| {
            let groups = &mut view(state, "restate").groups;
            let (key, group) = groups.iter().next().map(|(key, group)| (key.clone(), group.clone())).unwrap();
            groups.insert(GroupKey { piece: 1, ..key }, group);
        }),
        ("which is not in force", |state| {
            let views = state.tenants.get_mut("ABQ").unwrap().windows.days.get_mut(&date(0)).unwrap();
            let window = views.remove("restate").unwrap();
            views.insert(name("other"), window);
        }),
        ("seasons", |state| {
            state.tenants.get_mut("ABQ").unwrap().complete_seasons.insert(name("other"));
        }),
        ("the last of all days", |state| state.tenants.get_mut("ABQ").unwrap().expired_before = Date::MAX),
        ("a position", |state| state.position = LogSeq(u64::MAX)),
        ("cut-offs", |state| state.tables.get_mut("cal").unwrap().cutoffs.reverse()),
        ("pending view", |state| drop(state.pending.insert(name("p"), view_of_nothing()))),
    ];
    for (index, (what, spoil)) in spoils.into_iter().enumerate() {
        let told = refused(spoil);
        assert!(told.contains(what), "{index}: {told}");
    }
}

fn view_of_nothing() -> View {
    super::fixtures::view("p", "nothing", &[], vec![metric("n", "count", ANY, FINAL)])
}

#[test]
fn only_what_changed_is_stored_again() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.orders(vec![order("y", Some(1), 1)]);
    rows(&mut shard);
    assert_eq!(rows(&mut shard).len(), 1, "position only");
    shard.orders(vec![order("z", Some(1), 0)]);
    let days: Vec<_> =
        rows(&mut shard).into_keys().filter(|key| key[0] == b'd').map(|key| key[1..5].to_vec()).collect();
    assert!(!days.is_empty() && days.iter().all(|day| *day == [0x80, 0, 0, 0]), "{days:?}");
}

#[test]
fn many_entities_and_groups_come_back_page_by_page() {
    let mut shard = Shard::new();
    let by_sku = |text: &str, group_by: &[&str]| View { ..view(text, "order", group_by, by_city(text).metrics) };
    let mut stored = Rows::new();
    let is_of_skus = |key: &[u8]| key.windows(6).any(|part| part == b"vskus\0");
    shard.define(Definition::View(by_sku("skus", &["sku", "city"])));
    for round in 0..6_u64 {
        let event = |id: u64| {
            let event = order(&id.to_string(), Some(round), (id % 2) as i32);
            let dims = vec![Some("Bern".into()), Some(id.to_string().as_str().into())];
            daybook_contracts::log::Event { dims: dims.into(), ..event }
        };
        shard.orders((0..=round * 300).map(event).collect());
        if round == 4 {
            // Far fewer pages than before, of which none is stored by itself.
            shard.define_and_activate(View { revision: 2, ..by_sku("skus", &["city"]) });
            assert!(stored.keys().any(|key| is_of_skus(key)));
        }
        commit(&mut stored, shard.state.checkpoint());
        assert!(round != 4 || !stored.keys().any(|key| is_of_skus(key)));
        let mut restored = restore(&stored);
        for day in 0..2 {
            let ask = |state: &mut PartitionState, view: &str| {
                let query = daybook_contracts::ask::Query::days(daybook_contracts::ask::DaySelector::Date(date(day)));
                state.view(&tenant_id("ABQ"), &name(view), &query).map(|answer| answer.rows).unwrap_or_default()
            };
            assert_eq!(ask(&mut restored, "skus"), ask(&mut shard.state, "skus"));
            assert_eq!(ask(&mut restored, "totals"), ask(&mut shard.state, "totals"));
        }
        assert_eq!(restored.sizes(), shard.state.sizes());
    }
    assert_eq!(shard.state.unsaved_rows(), 0);
    shard.orders(vec![order("7", Some(6), 1)]);
    let (unsaved, all) = (shard.state.unsaved_rows(), shard.state.sizes().rows());
    assert!(unsaved > 0 && unsaved < all / 4, "a page of {unsaved} of {all}");
    shard.close(40);
    commit(&mut stored, shard.state.checkpoint());
    assert!(stored.keys().all(|key| !key.starts_with(b"d\x80\0\0\0") && !key.starts_with(b"d\x80\0\0\x01")));
}

/// A shard with a view of each late policy, a season, and late events.
fn with_late_events() -> Shard {
    let mut shard = Shard::new();
    for policy in LatePolicy::ALL {
        shard.define(Definition::View(with_policy(policy, by_city(policy.as_str()))));
    }
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 0, 2), season("gone", 0, 1)]));
    shard.open(0);
    shard.orders(vec![order("x", Some(1), 0), with_status(Status::Draft, order("y", Some(1), 0))]);
    shard.close(0);
    shard.open(1);
    shard.orders(vec![with_qty(5, order("x", Some(2), 0)), order("z", Some(1), 0)]);
    shard
}

#[test]
fn seasons_adjustments_and_what_is_held_come_back() {
    let mut shard = with_late_events();
    let mut stored = rows(&mut shard);
    let answers = |shard: &mut Shard| {
        let seasons = LatePolicy::ALL.map(|policy| shard.season(policy.as_str(), "hunt"));
        let days = LatePolicy::ALL.map(|policy| [0, 1].map(|day| shard.rows(policy.as_str(), day)));
        (seasons, days, shard.accounts())
    };
    let expected = answers(&mut shard);
    assert_eq!(expected.0, [["Bern 2 6"], ["Bern 2 6"], ["Bern 1 1"]].map(|rows| Ok(rows.map(Into::into).to_vec())));
    shard.state = restore(&stored);
    assert_eq!(answers(&mut shard), expected);
    // What is held decides about what comes next: of z nothing, of x its first version.
    shard.orders(vec![with_qty(3, order("z", Some(2), 1)), with_qty(4, order("x", Some(3), 1))]);
    assert_eq!(shard.rows("reject", 1), ["Bern 1 3"]);
    shard.close(1);
    assert_eq!(shard.last_report().views[&name("carry_forward")].adjustments, 5);
    // The rows of a season go with it.
    shard.define(tenant_with_seasons("ABQ", 3, vec![season("hunt", 0, 2)]));
    commit(&mut stored, shard.state.checkpoint());
    assert!(stored.keys().any(|key| key.starts_with(b"sABQ\0hunt\0")));
    assert!(!stored.keys().any(|key| key.starts_with(b"sABQ\0gone\0")));
    shard.state = restore(&stored);
    assert_eq!(shard.season("reject", "hunt"), Ok(vec!["Bern 2 4".into()]));
}

#[test]
fn the_loss_of_any_row_of_a_season_is_noticed() {
    let stored = rows(&mut with_late_events());
    let seasons: Vec<_> = stored.keys().filter(|key| key[0] == b's').cloned().collect();
    assert!(!seasons.is_empty());
    for key in seasons {
        let mut without = stored.clone();
        let page = without.remove(&key).unwrap();
        assert!(refusal(&without).is_some(), "{}", String::from_utf8_lossy(&key));
        for length in 0..page.len() {
            without.insert(key.clone(), page[..length].to_vec());
            assert!(refusal(&without).is_some(), "{} cut to {length} bytes", String::from_utf8_lossy(&key));
        }
    }
}

#[test]
fn the_latest_time_of_events_comes_back() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    let mut stored = rows(&mut shard);
    shard.orders(vec![order("y", Some(1), 2)]);
    commit(&mut stored, shard.state.checkpoint());
    shard.state = restore(&stored);
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 1, 3)]));
    assert_eq!(shard.season("totals", "hunt"), Err(AskErrorCode::Unavailable), "it has begun");
}

#[test]
fn pending_views_come_back_and_their_job_does_not() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(by_city("late")));
    let _ = shard.begin_job();
    let stored = rows(&mut shard);
    let restored = restore(&stored);
    assert!(restored.wants_backfill());
    assert_eq!(restored.views(0).iter().map(|view| view.active).collect::<Vec<_>>(), [1, 0, 1]);
}

#[test]
fn a_day_that_is_gone_and_a_batch_without_records_are_stored_too() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    let mut stored = rows(&mut shard);
    shard.apply(vec![Record::Day(marker("ABQ", daybook_contracts::day::Edge::Closed, 50))]);
    shard.apply(vec![]);
    commit(&mut stored, shard.state.checkpoint());
    let restored = restore(&stored);
    assert_eq!((restored.position(), restored.through()), (shard.state.position(), shard.state.through()));
    assert_eq!(restored.days(&tenant_id("ABQ")), shard.state.days(&tenant_id("ABQ")));
}
