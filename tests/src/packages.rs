//! The client packages of `clients`: runs their tests, and the examples of their READMEs, against a Daybook. Nothing is
//! written into the checkout.

use crate::python::{self, finish, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// A suite takes half a minute; one that takes longer than this waits for something that does not happen.
const SUITE_LIMIT: Duration = Duration::from_secs(240);
/// The packages have less than 1 MB; a network that needs longer than this for them is as good as none.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(120);

/// What the suites and READMEs talk about.
pub const DEFINITIONS: &str = include_str!("../../clients/definitions.yaml");

/// The package for JavaScript with what it needs, in a folder of its own.
pub struct JavaScript {
    folder: TempDir,
}

impl JavaScript {
    /// Installs the package; `None` where this machine has no Node.js or npm.
    pub async fn install() -> Option<Self> {
        for program in ["node", "npm"] {
            if Command::new(program).arg("--version").output().await.is_err() {
                eprintln!("SKIPPED: the tests of clients/javascript need {program}, which is not on PATH");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        copy(&source("javascript"), folder.path());
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]).current_dir(folder.path());
        complete(&mut npm, DOWNLOAD_LIMIT, "npm ci").await;
        Some(Self { folder })
    }

    /// Runs Node.js in the package, with these arguments, against the broker at `url`.
    pub async fn run(&self, arguments: &[&str], url: &str) {
        let mut node = Command::new("node");
        node.args(arguments).current_dir(self.folder.path()).env("DAYBOOK_URL", url);
        complete(&mut node, SUITE_LIMIT, &arguments.join(" ")).await;
    }
}

/// Runs Python in the package for Python, with these arguments, against the broker at `url`.
pub async fn run_python(arguments: &[&str], url: &str) {
    let folder = source("python");
    let path = python::path(python::REQUIREMENTS).await;
    let mut python = Command::new("python3");
    // No bytecode: the checkout stays as it is.
    python.arg("-B").args(arguments).current_dir(&folder).env("PYTHONPATH", path).env("DAYBOOK_URL", url);
    complete(&mut python, SUITE_LIMIT, &arguments.join(" ")).await;
}

/// Runs a command to its end; panics with all that it said when it fails.
async fn complete(command: &mut Command, limit: Duration, name: &str) {
    let output = finish(command, limit, name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name} failed ({}):\n{}", output.status, text(&output));
}

/// A folder of `clients`.
fn source(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients").join(language)
}

/// Copies a folder without what npm has installed in it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_name() == "node_modules" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
