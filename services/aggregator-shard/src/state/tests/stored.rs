//! What a checkpoint stores, and what comes back from it.

use super::fixtures::*;
use super::properties::{commit, restore};
use crate::state::PartitionState;
use crate::state::checkpoint::RestoreError;
use daybook_contracts::log::Record;
use daybook_domain::catalogue::{Definition, View};
use daybook_domain::ids::Partition;
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

#[test]
fn golden_bytes_of_the_meta_row() {
    let mut shard = Shard::new();
    let stored = rows(&mut shard);
    assert_eq!(
        hex(&stored[&b"m"[..]]),
        "980103029203009295a56f72646572a6656e746974799292a463697479c092a3736b75c09292a37174790092a57072696365\
         020195a5636c69636ba4666163749192a470616765c09192a26d7300019295a6746f74616c73a56f72646572909494a16ea5\
         636f756e74c091a566696e616c94a3717479a873756d2871747929c091a566696e616c94a6647261667473a5636f756e74c0\
         91a5647261667494a5766f696473a5636f756e74c091a4766f69640195a6636c69636b73a5636c69636b909294a16ea5636f\
         756e74c091a566696e616c94a26d73a773756d286d7329c091a566696e616c010100"
    );
}

#[test]
fn golden_bytes_of_a_page_of_entities() {
    let stored = some_rows();
    assert_eq!(hex(&stored[&keys()[1]]), "819200a1789502a566696e616c0092a44265726ea1619201cc96");
}

#[test]
fn golden_bytes_of_a_page_of_a_view() {
    let stored = some_rows();
    assert_eq!(
        hex(&stored[&keys()[2]]),
        "819092019481a1630181a1739201c4100000000000000000000000000000000181a1630081a16300"
    );
}

#[test]
fn golden_bytes_of_a_tenant_and_a_day() {
    let stored = some_rows();
    assert_eq!(hex(&stored[&b"tABQ"[..]]), "9398a3414251a754686520414251900000a673797374656d01a363616cc000");
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(2), 0)]);
    assert_eq!(
        hex(&rows(&mut shard)[&keys()[0]]),
        "97a87570636f6d696e67c0970101000000000004c00181a6746f74616c7393a8636f6d706c6574650101"
    );
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
    let mut newer = stored;
    newer.get_mut(&b"m"[..]).unwrap()[1] = 9;
    assert!(matches!(refusal(&newer), Some(RestoreError::Format(9))));
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
    let stored = some_rows();
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
    let stored = some_rows();
    for key in stored.keys() {
        let mut without = stored.clone();
        without.remove(key);
        assert!(refusal(&without).is_some(), "{}", String::from_utf8_lossy(key));
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
    shard.define(Definition::View(by_sku("skus", &["sku", "city"])));
    for round in 0..6_u64 {
        let event = |id: u64| {
            let event = order(&id.to_string(), Some(round), (id % 2) as i32);
            let dims = vec![Some("Bern".into()), Some(id.to_string().as_str().into())];
            daybook_contracts::log::Event { dims, ..event }
        };
        shard.orders((0..=round * 300).map(event).collect());
        if round == 4 {
            // Far fewer pages than before.
            shard.define(Definition::View(by_sku("skus", &["city"])));
        }
        commit(&mut stored, shard.state.checkpoint());
        let restored = restore(&stored);
        for day in 0..2 {
            let ask = |state: &PartitionState, view: &str| {
                let query = daybook_contracts::ask::Query::days(daybook_contracts::ask::DaySelector::Date(date(day)));
                state.view(&tenant_id("ABQ"), &name(view), query).map(|answer| answer.rows).unwrap_or_default()
            };
            assert_eq!(ask(&restored, "skus"), ask(&shard.state, "skus"));
            assert_eq!(ask(&restored, "totals"), ask(&shard.state, "totals"));
        }
        assert_eq!(restored.sizes(), shard.state.sizes());
    }
    shard.close(40);
    commit(&mut stored, shard.state.checkpoint());
    assert!(stored.keys().all(|key| !key.starts_with(b"d\x80\0\0\0") && !key.starts_with(b"d\x80\0\0\x01")));
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
