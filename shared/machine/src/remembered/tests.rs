//! Runs and buckets by themselves. That ids are those of the model whatever is done to them is with the machine's tests.

use super::page::Id;
use super::*;
use crate::pages::stable_hash;

fn ids<'t>(texts: &'t [String], day: i32) -> Vec<Id<'t>> {
    let id = |text: &'t String| Id { hash: stable_hash(0, text.as_bytes()), text, date: Date::from_days(day) };
    texts.iter().map(id).collect()
}

fn texts(day: i32, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{day}-{number}")).collect()
}

fn remembered(days: i32, count: usize) -> Remembered {
    let mut remembered = Remembered::new(SMALL_CUT);
    for day in 0..days {
        let texts = texts(day, count);
        let sum = ids(&texts, day).iter().fold(0, |sum: u128, id| sum.wrapping_add(id_sum(id.hash, id.date)));
        remembered.days.push(days::DayOfIds { date: Date::from_days(day), count: count as u64, sum });
        remembered.add(ids(&texts, day));
    }
    remembered
}

fn find(remembered: &Remembered, text: &str) -> Option<i32> {
    remembered.find(stable_hash(0, text.as_bytes()), text).map(Date::as_days)
}

#[test]
fn every_id_is_found_with_its_day_and_no_other() {
    let mut remembered = remembered(6, 40);
    for day in 0..6 {
        assert!(texts(day, 40).iter().all(|text| find(&remembered, text) == Some(day)));
    }
    assert_eq!(find(&remembered, "7-1"), None);
    assert!(remembered.divisions().len() > 4);
    remembered.days.forget_before(Date::from_days(3));
    assert_eq!((find(&remembered, "2-1"), find(&remembered, "3-1")), (None, Some(3)));
    let dropped = remembered.drop_forgotten();
    assert!(dropped.iter().all(|(_, run)| run.days.1 < Date::from_days(3)) && !dropped.is_empty());
    assert_eq!((find(&remembered, "2-1"), find(&remembered, "3-1")), (None, Some(3)));
}

#[test]
fn pages_that_left_are_needed_and_come_back() {
    let mut remembered = remembered(3, 40);
    let mut stored = std::collections::BTreeMap::new();
    let mut runs = Vec::new();
    remembered.hand_out(|start, run| {
        runs.push((start, run.number));
        for (number, page) in (0..).zip(&run.pages) {
            stored.insert(Spot { start, run: run.number, page: number }, page.bytes.clone().unwrap());
        }
    });
    let before = remembered.bytes();
    let gone: u64 = runs.iter().map(|(start, number)| remembered.evict_run(*start, *number)).sum();
    assert_eq!((gone, remembered.unsaved_ids()), (120, 0));
    assert!(remembered.bytes().1 < before.1 && remembered.bytes().0 == remembered.bytes().1);
    for text in texts(1, 40) {
        let hash = stable_hash(0, text.as_bytes());
        let mut needs = Vec::new();
        remembered.needs(hash, |spot| needs.push(spot));
        assert!(!needs.is_empty());
        for spot in &needs {
            let other = stored.iter().find(|(_, page)| page[5] != stored[spot][5]).unwrap().1;
            assert!(!remembered.supply(*spot, other), "another page");
            assert!(remembered.supply(*spot, &stored[spot]) && remembered.supply(*spot, b""), "it is here");
        }
        assert_eq!(find(&remembered, &text), Some(1));
        needs.into_iter().for_each(|spot| remembered.evict_page(spot));
    }
    assert!(remembered.supply(Spot { start: 1, run: 0, page: 0 }, b""), "it is no more");
}

#[test]
#[should_panic(expected = "pages of ids come back before anyone looks at them")]
fn nobody_looks_at_what_is_out() {
    let mut remembered = remembered(1, 4);
    let mut runs = Vec::new();
    remembered.hand_out(|start, run| runs.push((start, run.number)));
    for (start, number) in runs {
        remembered.evict_run(start, number);
    }
    find(&remembered, "0-1");
}

#[test]
fn ids_of_one_hash_are_found_across_pages() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let ids: Vec<Id<'_>> = names.iter().map(|text| Id { hash: 7 << 40, text, date: Date::from_days(1) }).collect();
    let mut remembered = Remembered::new(SMALL_CUT);
    remembered.days.push(days::DayOfIds { date: Date::from_days(1), count: 8, sum: 0 });
    remembered.add(ids);
    assert!(names.iter().all(|text| remembered.find(7 << 40, text).is_some()));
    assert_eq!(remembered.find(7 << 40, "i"), None);
}
