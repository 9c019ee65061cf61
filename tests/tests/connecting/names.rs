//! A name service that never answers: look-ups of one name hang for good, in the real programs.

use crate::broker;
use daybook_tests::eventually;
use daybook_tests::processes::{self, Process};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Stands before the C library's resolver. It leaves a mark in a file when a look-up begins to hang.
const RESOLVER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef int resolve(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (name && strcmp(name, "hangs.invalid") == 0) {
        close(creat(getenv("HANG_MARK"), 0600));
        for (;;) pause();
    }
    return ((resolve *)dlsym(RTLD_NEXT, "getaddrinfo"))(name, service, hints, found);
}
"#;

/// A query service whose look-ups of `hangs.invalid` hang.
fn query(folder: &Path, nats: &str) -> Process {
    let (source, library) = (folder.join("resolver.c"), folder.join("resolver.so"));
    std::fs::write(&source, RESOLVER).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (preload, mark) = (format!("LD_PRELOAD={}", library.display()), format!("HANG_MARK={}", mark(folder)));
    let binary = processes::binary("query").display().to_string();
    let arguments = [&preload, &mark, &binary, "--nats", nats, "--partitions", "2"].map(str::to_owned).to_vec();
    let mut process = Process::new("query", "/usr/bin/env".into(), arguments, folder);
    process.start();
    process
}

fn mark(folder: &Path) -> String {
    folder.join("hangs").display().to_string()
}

#[tokio::test]
async fn a_process_ends_when_asked_though_a_look_up_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let mut query = query(folder.path(), "nats://hangs.invalid:4222");
    eventually("a look-up hangs", async || Path::new(&mark(folder.path())).exists().then_some(())).await;
    let asked = Instant::now();
    query.signal(Signal::TERM);
    assert!(query.ended().await.success(), "{}", query.log());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn servers_whose_names_hang_do_not_keep_a_service_from_the_one_that_is_there() {
    let broker = broker(|_| {}).await;
    // The client tries them in any order.
    let hanging = (1..=4).map(|port| format!("nats://hangs.invalid:{port}"));
    let urls: Vec<String> = hanging.chain([broker.broker.client_url().to_owned()]).collect();
    let query = query(broker.folder.path(), &urls.join(","));
    eventually("it is connected", async || query.log().contains(" connected ").then_some(())).await;
}
