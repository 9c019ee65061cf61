//! Kills, and what was found after them.

use crate::rows::{Model, PASS, number};
use daybook_random::Random;
use daybook_runtime::store::{Backend, Reading, Row, Store, StoreError, wipe};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time from the first commit of a run to its kill.
const LONGEST_RUN_MS: u64 = 300;

/// What came of so many kills.
#[derive(Debug, Default)]
pub struct Outcome {
    pub kills: u64,
    /// Stores whose rows were not those of one checkpoint.
    pub torn: u64,
    /// Stores that went back behind a checkpoint that was told to be committed.
    pub lost: u64,
    /// Stores that could not be opened, and said so.
    pub unusable: u64,
    pub checkpoints: u64,
    pub rows: u64,
    pub running: Duration,
    /// Of the last store.
    pub disk_bytes: u64,
    pub live_bytes: u64,
    /// The most that a victim had when it was killed.
    pub resident_bytes: u64,
    /// Opening the store and reading it, all of them together.
    pub restoring: Duration,
}

impl Outcome {
    pub fn is_sound(&self) -> bool {
        (self.torn, self.lost, self.unusable) == (0, 0, 0)
    }
}

/// A process that commits, and what it has told.
struct Victim {
    child: Child,
    told: Lines<BufReader<ChildStdout>>,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Victim {
    fn start(binary: &Path, backend: Backend, folder: &Path, seed: u64) -> Self {
        let mut child = Command::new(binary)
            .args(["victim", "--store", backend.name(), "--seed", &seed.to_string(), "--folder"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, told }
    }

    /// Kills it, and returns what it has told since it was started: the last checkpoint and how many rows in how many.
    fn kill(mut self, first: (u64, u64)) -> (u64, u64, u64) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (mut last, mut rows, mut checkpoints) = (first.0, first.1, 1);
        // A line that was cut short was not told.
        while let Some(Ok(line)) = self.told.next() {
            let Some((number, count)) = parse(&line) else { break };
            (last, rows, checkpoints) = (number, rows + count, checkpoints + 1);
        }
        (last, rows, checkpoints)
    }
}

fn parse(line: &str) -> Option<(u64, u64)> {
    let (number, rows) = line.split_once(' ')?;
    Some((number.parse().ok()?, rows.parse().ok()?))
}

/// Kills a victim on one store as long as `go_on` says so, given how often it has been.
pub fn torture(binary: &Path, backend: Backend, seed: u64, mut go_on: impl FnMut(u64) -> bool) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p0");
    let mut random = Random::new(seed);
    let mut model = Model::new(seed);
    let mut outcome = Outcome::default();
    while go_on(outcome.kills) {
        let mut victim = Victim::start(binary, backend, &path, seed);
        let line = victim.told.next().expect("the victim commits").unwrap();
        let first = parse(&line).unwrap();
        let began = Instant::now();
        // The moment is what is random here; nothing is waited for.
        std::thread::sleep(Duration::from_micros(random.below(LONGEST_RUN_MS * 1_000)));
        outcome.resident_bytes = outcome.resident_bytes.max(resident_bytes(victim.child.id()));
        outcome.running += began.elapsed();
        let (told, rows, checkpoints) = victim.kill(first);
        outcome.kills += 1;
        outcome.rows += rows - first.1;
        outcome.checkpoints += checkpoints;
        let began = Instant::now();
        match open(backend, &path, outcome.kills.is_multiple_of(2)) {
            Ok((store, rows, reading)) => {
                outcome.restoring += began.elapsed();
                let there = number(&rows);
                outcome.lost += u64::from(there < told);
                model.go_to(there.max(told));
                let is_whole = match reading {
                    Reading::Whole => model.is(&rows),
                    Reading::Passing => {
                        let keys = model.keys();
                        let read = store.read(keys.clone());
                        read.is_ok_and(|values| model.is(&keys.into_iter().zip(values).collect::<Vec<_>>()))
                    }
                };
                outcome.torn += u64::from(there >= told && !is_whole);
                outcome.disk_bytes = store.disk_bytes();
                outcome.live_bytes = store.live_bytes().unwrap();
            }
            Err(error) => {
                eprintln!("{} after kill {}: {error}", backend.name(), outcome.kills);
                match error {
                    StoreError::Damaged { .. } => outcome.torn += 1,
                    _ => outcome.unusable += 1,
                }
                wipe(&path).unwrap();
                model = Model::new(seed);
            }
        }
    }
    outcome
}

/// Opens a store, of which all rows are read, or those that no summary speaks for.
fn open(backend: Backend, path: &Path, passes: bool) -> Result<(Store, Vec<Row>, Reading), StoreError> {
    let (store, (rows, reading)) = match passes {
        true => Store::open_passing(backend, path, PASS, |rows, reading| Ok((rows.collect(), reading)))?,
        false => Store::open_with(backend, path, |rows| Ok((rows.collect(), Reading::Whole)))?,
    };
    Ok((store, rows, reading))
}

/// Of a process that lives; 0 where there is no such file.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1_024)
}
