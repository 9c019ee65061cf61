//! A thousand seeds hold; every mutation is noticed; a failing run is made small.

use daybook_simulation::mutation::Mutation;
use daybook_simulation::settings::{Place, Settings};
use daybook_simulation::shrink::shrink;
use daybook_simulation::{Runs, run, run_all};
use std::fmt::Write;

/// What is rare happens at least so often in a thousand runs.
const SEEN_AT_LEAST: u64 = 5;
/// Of a thousand runs, so many may end because replicas can no longer be made to agree.
const APART_AT_MOST: u64 = 8;
/// Seeds in which every mutation must be noticed.
const MUTATION_SEEDS: u64 = 3_000;
/// Seeds in which mutations that few seeds notice were noticed last: they are tried first. Any change of the code makes them other runs; then all
/// seeds are tried, which takes longer.
const TRIED_FIRST: [(Mutation, u64); 4] = [
    (Mutation::TrustTornCommit, 1_281),
    (Mutation::ReuseUnnamed, 1_422),
    (Mutation::DefineWithoutFence, 434),
    (Mutation::StalePage, 434),
];

#[test]
fn a_thousand_seeds_hold() {
    let Runs { failed, reached } = run_all(&Settings::new(0), 0..1_000);
    let mut told = String::new();
    for (seed, failure) in failed.iter().take(5) {
        let settings = Settings::new(*seed);
        writeln!(told, "{}: {:?}", settings.command(), failure.violation).unwrap();
    }
    assert!(failed.is_empty(), "{} runs failed; `just sim` makes one small:\n{told}", failed.len());
    let rare = |place: &&Place| reached.get(place).copied().unwrap_or(0) < SEEN_AT_LEAST && **place != Place::Apart;
    let unseen: Vec<&Place> = Place::ALL.iter().filter(rare).collect();
    assert!(unseen.is_empty(), "these hardly ever happen: {unseen:?}, of {reached:?}");
    assert!(reached.get(&Place::Apart).is_none_or(|ended| *ended <= APART_AT_MOST), "{reached:?}");
}

#[test]
fn a_run_is_the_same_again() {
    let settings = Settings { mutation: Some(Mutation::AppendWithoutFence), ..Settings::new(0) };
    let failing = (0..MUTATION_SEEDS).map(|seed| Settings { seed, ..settings.clone() });
    let (settings, first) = failing.map(|it| (it.clone(), run(&it, 60))).find(|(_, it)| it.is_err()).unwrap();
    let (first, again) = (first.unwrap_err(), run(&settings, 60).unwrap_err());
    assert_eq!(first.violation, again.violation);
    assert_eq!(first.trace, again.trace);
    let smallest = shrink(&settings, first.violation.invariant);
    assert!(smallest.steps < settings.steps && smallest.faults.missing().count() > 5, "{}", smallest.command());
    assert_eq!(run(&smallest, 0).unwrap_err().violation.invariant, first.violation.invariant);
}

#[test]
fn every_mutation_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutation in Mutation::ALL {
        let of = |seed| Settings { mutation: Some(*mutation), ..Settings::new(seed) };
        let first = TRIED_FIRST.iter().filter(|(of, _)| of == mutation).map(|(_, seed)| *seed);
        let found = first.chain(0..MUTATION_SEEDS).find_map(|seed| Some((seed, run(&of(seed), 0).err()?)));
        match found {
            Some((seed, failure)) => println!("| `{mutation}` | {:?} | {seed} |", failure.violation.invariant),
            None => unnoticed.push(mutation.as_str()),
        }
    }
    assert!(unnoticed.is_empty(), "nothing in {MUTATION_SEEDS} seeds is broken by {unnoticed:?}");
}
