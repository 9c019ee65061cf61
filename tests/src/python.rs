//! Python scripts with nats-py, a client that this project did not write. What they need is pinned by version and hash
//! in a file of requirements, fetched with pip once, and kept beside the fetched broker.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// The wheels have 100 kB; a network that needs longer than this for them is as good as none.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);
/// A script that has not come to its end by then waits for something that does not happen.
const SCRIPT_LIMIT: Duration = Duration::from_secs(180);

/// What the scripts of `tests/python` need.
pub(crate) const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
/// What `examples/postgresql` needs.
pub const POSTGRESQL_REQUIREMENTS: &str = include_str!("../../examples/postgresql/requirements.txt");

/// What a script exits with when something that it needs is not on this machine; its last line says what.
const MISSING: i32 = 77;

/// A file of `tests/python`.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

/// Runs a script of `tests/python` to its end; panics with all that it said when it fails.
pub async fn run(script: &str, arguments: &[&str]) {
    let output = output(script, arguments, REQUIREMENTS).await;
    assert!(output.status.success(), "{script} failed ({}):\n{}", output.status, text(&output));
}

/// As [`run`], with the packages of `requirements`. Returns false, and says so, when something that the script needs is not here.
pub async fn run_where_possible(script: &str, arguments: &[&str], requirements: &str) -> bool {
    let output = output(script, arguments, requirements).await;
    if output.status.code() == Some(MISSING) {
        eprintln!("{script}: {}", text(&output).trim());
        return false;
    }
    assert!(output.status.success(), "{script} failed ({}):\n{}", output.status, text(&output));
    true
}

async fn output(script: &str, arguments: &[&str], requirements: &str) -> Output {
    let mut python = Command::new("python3");
    // No bytecode: the checkout stays as it is.
    python.arg("-B").arg(file(script)).args(arguments).env("PYTHONPATH", path(requirements).await);
    finish(&mut python, SCRIPT_LIMIT, "Python").await.unwrap_or_else(|error| panic!("{script}: {error}"))
}

/// What `PYTHONPATH` is: the packages of `requirements`, and Daybook's own for clients.
pub(crate) async fn path(requirements: &str) -> OsString {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/python/src");
    std::env::join_paths([packages(requirements).await, client]).unwrap()
}

/// The folder of the pinned packages; fetched if they are not there.
///
/// Nothing is ever written there: the folder appears by a rename, complete, so tests that run at once do no harm. They
/// only repeat the work.
async fn packages(requirements: &str) -> PathBuf {
    let cache = daybook_broker::cache_directory().unwrap_or_else(|error| panic!("{error}"));
    let cache = std::path::absolute(cache).unwrap();
    let folder = cache.join(folder_name(requirements));
    if folder.exists() {
        return folder;
    }
    fs::create_dir_all(&cache).unwrap();
    // Beside the final folder, because a rename cannot cross file systems. Removed on every way out.
    let scratch = tempfile::Builder::new().prefix("python-download-").tempdir_in(&cache).unwrap();
    let fetched = scratch.path().join("packages");
    install(requirements, scratch.path(), &fetched).await.unwrap_or_else(|why| panic!("{why}"));
    match fs::rename(&fetched, &folder) {
        Ok(()) => {}
        // Another test was faster.
        Err(_) if folder.exists() => {}
        Err(error) => panic!("cannot write {}: {error}", folder.display()),
    }
    folder
}

/// `python-nats-py-2.16.0-…`: other pins, another folder.
fn folder_name(requirements: &str) -> String {
    let pins = requirements.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let pins: Vec<String> = pins.map(|(pin, _hash)| pin.replace("==", "-")).collect();
    assert!(!pins.is_empty(), "nothing is pinned");
    format!("python-{}", pins.join("-"))
}

/// Puts the pinned packages into a new folder.
async fn install(requirements: &str, scratch: &Path, folder: &Path) -> Result<(), String> {
    let pins = scratch.join("requirements.txt");
    fs::write(&pins, requirements).map_err(|error| format!("cannot write {}: {error}", pins.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--no-compile", "--require-hashes", "-r"])
        .arg(&pins)
        .arg("--target")
        .arg(folder);
    let output = finish(&mut pip, DOWNLOAD_LIMIT, "pip").await?;
    let said = text(&output);
    match output.status.success() {
        true => Ok(()),
        false if said.contains("No module named pip") => {
            Err("this test fetches Python packages with pip, and python3 has no module pip; install it".to_owned())
        }
        false => Err(format!(
            "fetching Python packages failed; check the network and pip's configuration; pip said:\n{said}"
        )),
    }
}

/// Runs a command without input, at most for `limit`; then it is killed.
pub(crate) async fn finish(command: &mut Command, limit: Duration, name: &str) -> Result<Output, String> {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(limit, running).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err("this test needs python3 with pip, and there is no python3 on PATH; install it".to_owned())
        }
        Ok(Err(error)) => Err(format!("{name} cannot be run: {error}")),
        Err(_) => Err(format!("{name} did not end within {limit:?}")),
    }
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_by_what_is_pinned() {
        let pins = "# why\nnats-py==2.1.0 --hash=sha256:aa\nother==3 --hash=sha256:bb\n";
        assert_eq!(folder_name(pins), "python-nats-py-2.1.0-other-3");
        assert!(folder_name(REQUIREMENTS).contains("nats-py-"));
    }
}
