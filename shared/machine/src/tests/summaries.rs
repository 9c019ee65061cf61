//! Summaries: what a restart reads of days in the place of their pages, that it is checked, and that nothing is told by it that is not so.

use super::fixtures::*;
use super::replica::{commit, passing};
use super::residency::{MANY, Twins, many};
use crate::PartitionState;
use crate::pages::stable_hash;
use crate::residency::PageId;
use daybook_contracts::rows::RowSum;
use daybook_domain::catalogue::Status;
use std::collections::{BTreeMap, BTreeSet};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What follows the day in a key.
fn what(key: &[u8]) -> Option<u8> {
    let behind = key.strip_prefix(b"d")?.get(4..)?;
    let end = behind.iter().position(|byte| *byte == 0)?;
    behind.get(end + 1).copied()
}

/// A closed day of a few orders, one of which has left, one of which came late, and an open day.
fn few() -> Twins {
    let mut twins = Twins::new();
    twins.orders((0..30).map(|id| order(&id.to_string(), Some(1), 0)).collect());
    twins.close(0);
    twins.store(usize::MAX);
    twins.orders(vec![
        order("0", Some(2), 1),
        order("late", Some(1), 0),
        with_status(Status::Draft, order("1", Some(2), 0)),
    ]);
    twins.store(usize::MAX);
    twins
}

/// What a store checks: how many rows there are, and what their hashes sum up to.
fn ledger(rows: impl Iterator<Item = RowSum>) -> (usize, u64, u128) {
    rows.fold((0, 0, 0), |(count, bytes, sum), row| {
        (count + 1, bytes + u64::from(row.bytes), sum.wrapping_add(u128::from_be_bytes(row.hash)))
    })
}

fn ledger_of(rows: &Rows) -> (usize, u64, u128) {
    ledger(rows.iter().map(|(key, value)| RowSum::of(key, value)))
}

/// The page that is stored under that key.
fn page_of(key: &[u8]) -> PageId {
    let date = date((u32::from_be_bytes(key[1..5].try_into().unwrap()) ^ 0x8000_0000) as i32);
    let number = u32::from_be_bytes(*key.last_chunk().unwrap());
    match what(key) {
        Some(b'd') => PageId::Hashes { tenant: tenant_id("ABQ"), date, part: number },
        Some(b'e') => PageId::Entities { tenant: tenant_id("ABQ"), date, page: number },
        other => panic!("{other:?} of {key:?}"),
    }
}

/// Whether a store that has these rows is found out before anything is told of them: when it is opened, or when the row comes that
/// is under that key.
fn is_noticed(rows: &Rows, expected: (usize, u64, u128), key: &[u8]) -> bool {
    let (read, passed) = passing(rows);
    if ledger(read.iter().map(|(key, value)| RowSum::of(key, value)).chain(passed.iter().map(|(_, row)| *row)))
        != expected
    {
        return true;
    }
    assert!(passed.iter().any(|(passed, _)| passed == key), "a row that was read is another one");
    let Ok(state) = PartitionState::restore_passing(PARTITION, read, 0) else { return true };
    let mut state = state.unwrap();
    // A store says so of one that is missing.
    rows.get(key).is_none_or(|value| state.supply(&page_of(key), value).is_err())
}

#[test]
fn golden_bytes() {
    let mut twins = Twins::new();
    twins.orders((0..20).map(|id| order(&id.to_string(), Some(1), 0)).collect());
    twins.close(0);
    twins.store(usize::MAX);
    let of = |wanted: u8| twins.rows.iter().filter(move |(key, _)| what(key) == Some(wanted)).map(|(_, value)| value);
    assert_eq!(of(b'c').map(|value| hex(value)).collect::<Vec<_>>(), [SUMMARY]);
    // The upper six bytes of each hash, seven in a row here.
    let lengths: Vec<usize> = of(b'd').map(Vec::len).collect();
    assert_eq!(lengths, [42, 42, 36]);
    let stored: BTreeSet<&[u8]> = of(b'd').flat_map(|value| value.chunks(6)).collect();
    let hashes: Vec<[u8; 8]> = (0..20).map(|id| stable_hash(0, id.to_string().as_bytes()).to_be_bytes()).collect();
    assert_eq!(stored, hashes.iter().map(|hash| &hash[..6]).collect());
}

/// One page; the number of entities of a kind and the sum of their ids; three rows of hashes, and none beside them.
const SUMMARY: &str = "9501c428000000140000022301dd8bb15522fa68c17f52d6202dfcf2d9d5d143cbf54a2df8961ff8008dfb9b91930014c410d457\
                       67264d294306bdec1cd39567a475c43c0000003841dd07e93edd8f5187c58f84cea2c6c70000003805f3422f3e756471e649f0e1\
                       fd37a09400000032e1108ece987562c060cc0e9a6e06b9a2c400";

#[test]
fn pages_are_passed_and_come_back_when_they_are_needed() {
    let mut twins = Twins::new();
    for day in 0..3 {
        twins.orders(many(day));
        twins.close(day);
    }
    twins.orders(many(3));
    twins.restart();
    let (read, passed) = passing(&twins.rows);
    let of_passed = |wanted: u8| passed.iter().filter(|(key, _)| what(key) == Some(wanted)).count();
    let pages = twins.rows.keys().filter(|key| what(key) == Some(b'e') && key[4] < 3).count();
    assert_eq!(of_passed(b'e'), pages);
    assert!(read.iter().all(|(key, _)| what(key) != Some(b'd')));
    assert_eq!(read.len() + passed.len(), twins.rows.len());
    assert_eq!(twins.out(), pages);
    let of_hashes =
        |needs: &BTreeSet<PageId>| needs.iter().filter(|page| matches!(page, PageId::Hashes { .. })).count();
    let click = twins.batch(vec![twins.events("click", vec![click(None, 3)])]);
    assert!(twins.sparse.needs(&click).is_empty(), "it has no id");
    let new = twins.batch(vec![twins.events("order", vec![order("new", Some(1), 3)])]);
    let needs = twins.sparse.needs(&new);
    assert_eq!(of_hashes(&needs), needs.len(), "which pages these are is said by the hashes");
    assert_eq!(needs.len(), of_passed(b'd'));
    assert_eq!(twins.orders(vec![order("new", Some(1), 3)]), BTreeSet::new());
    assert_eq!(twins.orders(vec![order("1-7", Some(2), 3)]).len(), 1, "an order of day 1");
    twins.restart();
    assert_eq!(twins.sparse.sizes().entities, 4 * MANY + 1);
}

#[test]
#[should_panic(expected = "all hashes are read before anyone asks where an entity is")]
fn nobody_asks_before_all_hashes_are_read() {
    let mut twins = few();
    twins.restart();
    let batch = twins.batch(vec![twins.events("order", vec![order("7", Some(2), 1)])]);
    twins.sparse.apply(daybook_domain::ids::LogSeq(1_000), batch);
}

#[test]
fn each_byte_that_flips_and_each_row_that_is_lost_is_noticed() {
    let rows = few().rows;
    let expected = ledger_of(&rows);
    assert!(rows.keys().filter(|key| what(key) == Some(b'd')).count() > 1);
    for (key, value) in &rows {
        for at in 0..value.len() {
            let mut damaged = rows.clone();
            damaged.get_mut(key).unwrap()[at] ^= 1 << (at % 8);
            assert!(is_noticed(&damaged, expected, key), "byte {at} of {:?}", String::from_utf8_lossy(key));
        }
        let mut without = rows.clone();
        without.remove(key);
        assert!(is_noticed(&without, expected, key), "{:?} is lost", String::from_utf8_lossy(key));
    }
}

/// Where the whole store is read, a summary has to be that of the pages.
#[test]
fn a_summary_that_is_not_of_its_pages_is_refused() {
    let rows = few().rows;
    for limit in [None, Some(0)] {
        let refuses = |rows: &Rows| PartitionState::restore_limited(PARTITION, rows, limit).is_err();
        assert!(!refuses(&rows));
        for (key, value) in rows.iter().filter(|(key, _)| matches!(what(key), Some(b'c' | b'd'))) {
            let mut without = rows.clone();
            without.remove(key);
            assert!(refuses(&without), "{:?} is lost", String::from_utf8_lossy(key));
            for at in 0..value.len() {
                let mut damaged = rows.clone();
                damaged.get_mut(key).unwrap()[at] ^= 1 << (at % 8);
                assert!(refuses(&damaged), "byte {at} of {:?}", String::from_utf8_lossy(key));
            }
        }
    }
}

/// An earlier commit's summary among the rows of a later one.
#[test]
fn a_summary_of_an_earlier_commit_is_refused() {
    let mut twins = few();
    let earlier = twins.rows.clone();
    twins.orders(vec![with_qty(9, order("7", Some(5), 0))]);
    twins.store(usize::MAX);
    let is_summary = |(key, _): &(&Vec<u8>, &Vec<u8>)| what(key) == Some(b'c');
    let mut stale = twins.rows.clone();
    stale.extend(earlier.iter().filter(is_summary).map(|(key, value)| (key.clone(), value.clone())));
    assert!(stale != twins.rows && PartitionState::restore(PARTITION, &stale).is_err());
    let changed: Vec<&Vec<u8>> =
        twins.rows.keys().filter(|key| what(key) == Some(b'e') && earlier[*key] != twins.rows[*key]).collect();
    let mut state = PartitionState::restore_passing(PARTITION, passing(&stale).0, 0).unwrap().unwrap();
    assert_eq!(changed.len(), 1);
    assert!(state.supply(&page_of(changed[0]), &stale[changed[0]]).is_err());
}

/// Where nothing leaves memory, no summary is made, and one that is there stays what it is of.
#[test]
fn a_machine_without_a_limit_keeps_summaries_up() {
    let mut twins = few();
    let mut state = PartitionState::restore(PARTITION, &twins.rows).unwrap().unwrap();
    state.keep_digests();
    for step in 0..20_u64 {
        let events = vec![
            order(&format!("later-{step}"), Some(1), 0),
            with_qty(3, order("3", Some(10 + step), (step % 2) as i32)),
        ];
        let batch = twins.batch(vec![twins.events("order", events)]);
        state.apply(daybook_domain::ids::LogSeq(100 + step), batch);
        commit(&mut twins.rows, state.checkpoint());
        let mut whole = PartitionState::restore(PARTITION, &twins.rows).unwrap().unwrap();
        let mut passed = PartitionState::restore_passing(PARTITION, passing(&twins.rows).0, 0).unwrap().unwrap();
        for state in [&mut whole, &mut passed] {
            state.keep_digests();
        }
        assert!(passed.closed_residence().0 > 0 && passing(&twins.rows).1.len() > 1);
        assert_eq!([whole.digest(), passed.digest()], [(); 2].map(|()| state.digest()));
    }
    // Those that left and came back are not kept for ever.
    let hashes =
        twins.rows.iter().filter(|(key, _)| what(key) == Some(b'd')).map(|(_, value)| value.len() / 6).sum::<usize>();
    assert!(hashes < 120, "{hashes}");
}

/// A day of which an earlier build has stored pages alone.
#[test]
fn a_state_without_summaries_is_read_whole() {
    let mut twins = Twins::new();
    twins.sparse.limit_closed(None);
    twins.orders(many(0));
    twins.close(0);
    commit(&mut twins.rows, twins.sparse.checkpoint());
    assert_eq!(passing(&twins.rows).1, []);
    twins.sparse = PartitionState::restore_passing(PARTITION, passing(&twins.rows).0, 0).unwrap().unwrap();
    twins.sparse.keep_digests();
    let pages = twins.out();
    assert!(pages > 2);
    // Not all of its pages are here, so it has no summary; the next day has one.
    assert_eq!(twins.orders(vec![order("0-7", Some(2), 0)]).len(), 1);
    twins.orders(many(1));
    twins.close(1);
    twins.restart();
    let passed = passing(&twins.rows).1;
    assert!(!passed.is_empty() && passed.iter().all(|(key, _)| key[4] == 1), "{passed:?}");
    // When all of them are here it gets one.
    twins.orders((0..400).map(|id| order(&format!("late-{id}"), Some(1), 0)).collect());
    twins.restart();
    assert!(passing(&twins.rows).1.iter().any(|(key, _)| key[4] == 0));
}

/// The rows of a day's summary go with the day.
#[test]
fn nothing_is_left_of_a_day_that_is_gone() {
    let mut twins = Twins::new();
    twins.orders(many(0));
    twins.close(0);
    twins.restart();
    assert!(twins.rows.keys().any(|key| what(key) == Some(b'c')));
    twins.close(40);
    twins.restart();
    assert!(!twins.rows.keys().any(|key| key[0] == b'd' && key[4] == 0), "{:?}", twins.rows.keys());
}
