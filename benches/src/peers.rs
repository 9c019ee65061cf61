//! Others on the same work, in the same run: each loads the files of [`export`](crate::export), is checked, and asked.
//!
//! A peer is a program that prints its rows, one JSON object a line: `{"table": …, "name": …, "figures": {…}}`. Those in
//! `benches/peers/` are of one Python program; `benches/peers/dbsp` is a Rust package of its own, which takes minutes to build.
//! [`mod@daybook`] is Daybook on the same work; [`row`] is what a peer prints.

pub mod daybook;
pub mod row;

use self::row::Row;
use crate::apply;
use crate::export::{self, Exported};
use crate::report::Report;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// Settings of `peers`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub work: export::Options,
    /// Only these: daybook, postgresql, redis, clickhouse, dbsp
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// DBSP as well, which is built first: for ten to fifteen minutes, once
    #[arg(long)]
    pub dbsp: bool,
}

/// The peers that the Python program knows.
const PYTHON: [&str; 3] = ["postgresql", "redis", "clickhouse"];
/// In this order.
pub const TABLES: [(&str, &str); 3] = [
    ("bids", "Nexmark bids, by peer"),
    ("orders", "Orders of many tenants with corrections, by peer"),
    ("rows", "Hot rows, and a ranking of a million, by peer"),
];

/// # Errors
/// When the files cannot be written or Daybook's figures are wrong; what is wrong with a peer stands in its row.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let temporary = tempfile::tempdir()?;
    let folder = options.work.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    eprintln!("writing the work to {}", folder.display());
    let exported = export::write(&folder, &options.work)?;
    let mut rows = Vec::new();
    if wanted("daybook") {
        rows.extend(daybook(&exported, options).await?);
    }
    if PYTHON.into_iter().any(wanted) {
        let python = environment().await;
        for peer in PYTHON.into_iter().filter(|peer| wanted(peer)) {
            let mut command = Command::new(&python);
            command.arg("-B").arg(source().join("main.py")).arg(peer).arg(&folder);
            rows.extend(rows_of(peer, command).await);
        }
    }
    if options.dbsp || options.only.iter().any(|only| only == "dbsp") {
        rows.extend(dbsp(&folder).await);
    }
    tables(rows, report);
    Ok(())
}

async fn daybook(exported: &Exported, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (table, work) in [("bids", "q15"), ("bids", "q17"), ("orders", "orders, 1,000 tenants")] {
        eprintln!("Daybook, apply alone, {work}");
        let rate = apply::rate(work, options.work.events)?;
        rows.push(Row::new(table, &format!("Daybook, apply alone, {work}"), &[("per busy core", rate)]));
    }
    rows.push(self::daybook::bids(exported).await?);
    rows.push(self::daybook::orders(exported).await?);
    rows.iter().for_each(say);
    Ok(rows)
}

/// The folder of the peers' programs.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// A Python with the packages of `requirements.txt`, kept below `target`: those that there are, for a peer says itself
/// what it misses.
async fn environment() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers-python");
    let requirements = source().join("requirements.txt");
    let installed = folder.join("requirements.txt");
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let python = folder.join("bin/python");
    if python.exists() && read(&installed) == read(&requirements) {
        return python;
    }
    eprintln!("installing the clients of the peers");
    // There, for Python would take modules from where we are, whatever they are.
    let mut failed = std::fs::create_dir_all(&folder).is_err();
    let mut venv = Command::new("python3");
    failed |= !succeeds(venv.current_dir(&folder).args(["-m", "venv"]).arg(&folder)).await;
    let text = std::fs::read_to_string(&requirements).unwrap_or_default();
    for package in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut pip = Command::new(&python);
        failed |= !succeeds(pip.current_dir(&folder).args(["-m", "pip", "install", "--quiet", package])).await;
    }
    if !failed {
        // Without this copy it is tried again the next time.
        let _ = std::fs::copy(&requirements, &installed);
    }
    if python.exists() { python } else { PathBuf::from("python3") }
}

/// Built at low priority, and only then measured.
async fn dbsp(work: &Path) -> Vec<Row> {
    let package = source().join("dbsp");
    let mut build = Command::new("nice");
    build.args(["cargo", "build", "--release", "--locked", "--manifest-path"]).arg(package.join("Cargo.toml"));
    eprintln!("building DBSP, for ten to fifteen minutes when it is the first time");
    succeeds(&mut build).await;
    let mut program = Command::new(package.join("target/release/daybook-peer-dbsp"));
    program.arg(work);
    rows_of("dbsp", program).await
}

async fn succeeds(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).status().await;
    if let Err(error) = &status {
        eprintln!("{:?}: {error}", command.as_std().get_program());
    }
    status.is_ok_and(|status| status.success())
}

/// What a peer prints, until it ends. A peer that cannot be run has one row, which says so.
async fn rows_of(peer: &str, command: Command) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Err(error) = read_rows(command, &mut rows).await {
        let row = Row::new("orders", peer, &[("note", format!("not measured: {error:#}"))]);
        say(&row);
        rows.push(row);
    }
    rows
}

async fn read_rows(mut command: Command, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    while let Some(line) = lines.next_line().await? {
        let row: Row = serde_json::from_str(&line).with_context(|| line.clone())?;
        say(&row);
        rows.push(row);
    }
    let status = child.wait().await?;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}

fn say(row: &Row) {
    let figures: Vec<String> = row.figures.iter().map(|(key, value)| format!("{key} {value}")).collect();
    eprintln!("{}: {}", row.name, figures.join(", "));
}

/// Puts the rows into their tables, with how many times sooner than elsewhere a correction is seen in Daybook.
fn tables(rows: Vec<Row>, report: &mut Report) {
    const CORRECTION: &str = "correction p50 ms";
    let mut of: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    rows.into_iter().for_each(|row| of.entry(row.table.clone()).or_default().push(row));
    for (table, title) in TABLES {
        let Some(rows) = of.get(table) else { continue };
        let correction = |row: &Row| {
            let figure = row.figures.iter().find(|(key, _)| key == CORRECTION)?;
            figure.1.parse::<f64>().ok()
        };
        let ours =
            rows.iter().find(|row| row.name.starts_with("Daybook") && correction(row).is_some()).and_then(correction);
        report.part(title);
        for row in rows {
            let mut figures: Vec<(&str, String)> =
                row.figures.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
            if let (Some(ours), Some(theirs)) = (ours, correction(row)) {
                figures.push(("of Daybook's", format!("{:.1}", theirs / ours)));
            }
            report.row(&row.name, &figures);
        }
    }
}
