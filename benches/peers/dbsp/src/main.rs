//! DBSP on the work that `bench export` wrote: `daybook-peer-dbsp FOLDER`. Prints rows as `peers/main.py` does.
//!
//! In process, with two workers, in transactions of 10,000 events; nothing is durable. Numbers are parsed before the clock
//! runs, and texts are replaced by numbers, so that DBSP has less to do than the others.

mod bids;
mod measure;
mod orders;

use anyhow::Context as _;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Events of a transaction.
const BATCH: usize = 10_000;
const WORKERS: usize = 2;

#[global_allocator]
static ALLOCATOR: dbsp::mimalloc::MiMalloc = dbsp::mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("the folder of the work is missing")?);
    let expected: Value = serde_json::from_str(&read(&folder, "expected.json")?)?;
    bids::q15(&folder, &expected["q15"])?;
    bids::q17(&folder, &expected["q17"])?;
    orders::orders(&folder, &expected["orders"])
}

fn read(folder: &Path, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())
}

/// Each line behind the names, as `make` makes something of its fields.
fn records<T>(folder: &Path, name: &str, mut make: impl FnMut(&[&str]) -> Option<T>) -> anyhow::Result<Vec<T>> {
    let text = read(folder, name)?;
    let record = |line: &str| make(&line.split(',').collect::<Vec<_>>()).with_context(|| format!("{name}: {line}"));
    text.lines().skip(1).map(record).collect()
}
