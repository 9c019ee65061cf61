//! Every target over its seeds, over what once failed, and over mutations of both: always the same ones.

use daybook_fuzzing::Target;
use daybook_fuzzing::mutation::mutate;
use daybook_fuzzing::targets::ALL;
use daybook_random::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Mutations of each target, at most.
const MUTATIONS: u64 = 3_000;
/// After so long a target is done with, however many there were: the slow ones have seeds of some kilobytes.
const BUDGET: Duration = Duration::from_secs(2);
/// Mutations of each target, at least.
const LEAST: u64 = 100;

fn hold(name: &str) {
    let target = Target::find(name).expect("a target of that name");
    let mut seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    for (index, seed) in seeds.iter().enumerate() {
        run(&target, &format!("seed {index}"), seed);
    }
    for (path, bytes) in target.regressions().expect("the folder can be read") {
        run(&target, &path.display().to_string(), &bytes);
        seeds.push(bytes);
    }
    let began = Instant::now();
    for number in 0..MUTATIONS {
        if number >= LEAST && began.elapsed() > BUDGET {
            break;
        }
        run(&target, &format!("mutation {number}"), &mutate(&seeds, &mut Random::new(number)));
    }
}

fn run(target: &Target, what: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("{}-{}", target.name, what.replace([' ', '/'], "-")));
        std::fs::write(&file, input).expect("the build folder can be written to");
        eprintln!("{what} of {} fails; its input is in {}", target.name, file.display());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn events() {
    hold("events");
}

#[test]
fn batches() {
    hold("batches");
}

#[test]
fn subjects() {
    hold("subjects");
}

#[test]
fn definitions() {
    hold("definitions");
}

#[test]
fn admin() {
    hold("admin");
}

#[test]
fn expressions() {
    hold("expressions");
}

#[test]
fn queries() {
    hold("queries");
}

#[test]
fn cursors() {
    hold("cursors");
}

#[test]
fn questions() {
    hold("questions");
}

#[test]
fn lists() {
    hold("lists");
}

#[test]
fn live() {
    hold("live");
}

#[test]
fn figures() {
    hold("figures");
}

#[test]
fn checkpoints() {
    hold("checkpoints");
}

#[test]
fn snapshots() {
    hold("snapshots");
}

#[test]
fn heartbeats() {
    hold("heartbeats");
}

#[test]
fn mappings() {
    hold("mappings");
}

#[test]
fn sources() {
    hold("sources");
}

#[test]
fn every_target_is_run_here_and_under_the_fuzzer() {
    let here = include_str!("targets.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for Target { name, .. } in ALL {
        assert!(here.contains(&format!("fn {name}() {{")), "{name} has no test");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no binary of fuzz/");
        let body = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(body.contains(&format!("targets::{name}::run")), "fuzz_targets/{name}.rs runs something else");
    }
}
