//! The binary as its users meet it: `daybook up` kept running, and commands beside it.
#![allow(clippy::unwrap_used)]

use daybook::expected;
use daybook_contracts::report::Report;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Within what `daybook up` must have ended after Ctrl-C.
const END: Duration = Duration::from_secs(15);
/// How often a start is tried with other ports: another program may take one between our look and its use.
const STARTS: usize = 5;

/// The binary with no settings of Daybook in its environment.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if (text.starts_with("DAYBOOK_") && text != "DAYBOOK_NATS_SERVER") || text.starts_with("OTEL_") {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A running `daybook up`. Dropping it kills it, and so its broker.
struct Up {
    child: Child,
    log: PathBuf,
    port: u16,
}

impl Up {
    /// Starts it on the folder `data` and waits until it says that it is up.
    fn start(folder: &Path) -> Self {
        for attempt in 0..STARTS {
            let mut up = Self::launch(folder, &format!("up-{attempt}.log"));
            let began = Instant::now();
            loop {
                let log = up.log();
                if log.contains("Daybook is up") {
                    return up;
                }
                if let Some(status) = up.child.try_wait().unwrap() {
                    assert!(log.contains("address already in use"), "daybook up ended with {status}:\n{log}");
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "daybook up is not up:\n{log}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("no free port was found in {STARTS} tries");
    }

    /// Starts it without waiting.
    fn launch(folder: &Path, log: &str) -> Self {
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [one, other].map(|listener| listener.local_addr().unwrap().port());
        let log = folder.join(log);
        let child = command()
            .args(["up", "--partitions", "4", "--port", &ports[0].to_string()])
            .args(["--websocket-port", &ports[1].to_string(), "--data"])
            .arg(folder.join("data"))
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log, port: ports[0] }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "daybook up does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as a terminal or a service manager does.
    fn stop(mut self, signal: Signal) {
        let asked = Instant::now();
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
        let status = self.ended();
        assert!(status.success() && asked.elapsed() < END, "{status} after {:?}:\n{}", asked.elapsed(), self.log());
        assert!(TcpListener::bind(("127.0.0.1", self.port)).is_ok(), "the broker is still there");
    }

    /// Runs another command against it.
    fn run(&self, arguments: &[&str]) -> Output {
        command().args(arguments).args(["--nats", &format!("nats://127.0.0.1:{}", self.port)]).output().unwrap()
    }

    /// What a command prints, which must succeed.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{errors}\n{}", output.status, self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON that a command prints.
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.said(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// What a command complains about, which must fail.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of the flights example.
fn flights(path: &str) -> String {
    format!("{}/../../examples/flights/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// `apply` with the flights' definitions, the airports beginning with the March slice.
fn apply_flights(folder: &Path) -> Vec<String> {
    let tenants = fs::read_to_string(flights("tenants.yaml")).unwrap();
    let ours = folder.join("tenants.yaml");
    fs::write(&ours, tenants.replace("first_day: 2013-01-01", "first_day: 2013-03-07")).unwrap();
    let files = [flights("kind.yaml"), flights("views.yaml"), ours.to_str().unwrap().to_owned()];
    ["apply".to_owned(), "-f".to_owned()].into_iter().chain(files).collect()
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

const MARCH: [&str; 7] = ["reports", "--from", "2013-03-08", "--to", "2013-03-12", "--format", "ndjson"];

#[test]
fn a_replay_gives_every_expected_report_and_all_is_kept_over_restarts() {
    let folder = TempDir::new().unwrap();
    let up = Up::start(folder.path());
    let apply = apply_flights(folder.path());
    let applied = up.json(&borrowed(&apply));
    let actions = |applied: &Value, action: &str| {
        applied.as_array().unwrap().iter().filter(|line| line["action"] == action).count()
    };
    assert_eq!(actions(&applied, "created"), 1 + 4 + 105);
    let again = up.json(&borrowed(&apply));
    assert_eq!(actions(&again, "unchanged"), 1 + 4 + 105, "{again}");
    assert!(up.said(&borrowed(&apply)).contains("110 unchanged"));

    let events = flights("data/march.ndjson.zst");
    let replayed = up.json(&["replay", &events, "--kind", "flight", "--clock", "seen_at"]);
    assert_eq!((&replayed["published"], &replayed["unroutable"]), (&13_543.into(), &0.into()), "{replayed}");
    assert_eq!(replayed["rejects"], serde_json::json!({}));

    let reports = up.said(&MARCH);
    let read: Vec<Report> = reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = fs::read_to_string(flights("expected/march/daily.csv")).unwrap();
    let outcome =
        expected::check(read.iter(), &expected, "2013-03-08".parse().unwrap(), "2013-03-12".parse().unwrap()).unwrap();
    assert!(outcome.is_match() && outcome.checked == 424, "{outcome:?}");

    // One report is the same bytes alone and in the list; people see a table.
    let report = up.said(&["report", "ATL", "2013-03-10", "--json"]);
    assert!(reports.lines().any(|line| line == report.trim_end()), "{report}");
    assert!(up.said(&["report", "ATL", "2013-03-10"]).contains("arr_delay_p95"));
    let answer = up.json(&["query", "ATL", "arrivals", "--day", "2013-03-10"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&answer["rows"], &answer["day"]), (&report["views"]["arrivals"]["rows"], &"closed".into()));

    let days = up.json(&["days", "ATL"]);
    let sealed = days["days"].as_array().unwrap().iter().find(|day| day["date"] == "2013-03-10").unwrap();
    assert_eq!(sealed["account"], report["dispositions"]);
    for day in days["days"].as_array().unwrap() {
        let count = |name: &str| day["account"][name].as_u64().unwrap();
        let parts = ["counted", "pending", "duplicate", "stale", "carried", "rejected"].map(count);
        assert_eq!(count("published"), parts.iter().sum::<u64>(), "{day}");
    }

    up.stop(Signal::INT);
    let up = Up::start(folder.path());
    assert_eq!(up.said(&MARCH), reports);
    assert_eq!(up.json(&["days", "ATL"])["days"], days["days"]);
    assert_eq!(up.json(&["query", "ATL", "arrivals", "--day", "2013-03-10"])["rows"], answer["rows"]);
    up.stop(Signal::TERM);
    let up = Up::start(folder.path());
    assert_eq!(up.said(&MARCH), reports);
    up.stop(Signal::INT);
}

#[test]
fn a_second_one_on_the_same_data_is_refused() {
    let folder = TempDir::new().unwrap();
    let up = Up::start(folder.path());
    let mut second = Up::launch(folder.path(), "second.log");
    let status = second.ended();
    let why = second.log();
    assert!(!status.success());
    let data = folder.path().join("data");
    assert!(why.contains(data.to_str().unwrap()) && why.contains("in use"), "{why}");
    // The first one is none the worse for it.
    assert_eq!(up.json(&["get", "tenants"]), serde_json::json!([]));
    up.stop(Signal::INT);
}

#[test]
fn a_bad_file_is_refused_as_a_whole_with_file_line_and_reason() {
    let folder = TempDir::new().unwrap();
    let up = Up::start(folder.path());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = write("kind.yaml", "kinds:\n  - name: order\n    mode: fact\n    measures: [amount, weight]\n");
    let bad = write("tenants.yaml", "tenants:\n  - id: SHOP\n    zone: Europe/Atlantis\n    cutoff: \"05:00\"\n");
    let why = up.refused(&["apply", "-f", &good, &bad]);
    assert!(why.contains(&format!("{bad}:2")) && why.contains("Europe/Atlantis"), "{why}");
    assert!(why.contains("nothing was changed"), "{why}");
    let unknown =
        write("views.yaml", "views:\n  - name: sums\n    kind: order\n    metrics:\n      - total: sum(amont)\n");
    let why = up.refused(&["apply", "-f", &good, &unknown]);
    assert!(why.contains(&format!("{unknown}:5")) && why.contains("amont") && why.contains("amount"), "{why}");
    for what in ["kinds", "tenants"] {
        assert_eq!(up.json(&["get", what]), serde_json::json!([]), "{what}");
    }
    assert_eq!(up.json(&["get", "views"])["views"], serde_json::json!([]));
    // What only day-manager can know is refused in the same way: measures are never taken away.
    up.said(&["apply", "-f", &good]);
    let less = write("less.yaml", "kinds:\n  - name: order\n    mode: fact\n    measures: [amount]\n");
    let why = up.refused(&["apply", "-f", &less]);
    assert!(why.contains(&format!("{less}:2")) && why.contains("nothing was changed"), "{why}");
    assert!(up.said(&["apply", "-f", &good]).contains("1 unchanged"));
    let missing = folder.path().join("missing.yaml");
    let why = up.refused(&["apply", "-f", missing.to_str().unwrap()]);
    assert!(why.contains(missing.to_str().unwrap()), "{why}");
    up.stop(Signal::INT);
}

#[test]
fn commands_say_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("nats://127.0.0.1:{free}");
    let output = command().args(["days", "ATL", "--nats", &url]).output().unwrap();
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && why.contains(&url), "{why}");

    let up = Up::start(folder.path());
    let why = up.refused(&["report", "NOBODY", "2013-03-10"]);
    assert!(why.contains("NOBODY") && why.contains("2013-03-10"), "{why}");
    let why = up.refused(&["query", "NOBODY", "arrivals"]);
    assert!(why.contains("NOBODY"), "{why}");
    let why = up.refused(&["replay", "no-such-file.ndjson", "--kind", "flight"]);
    assert!(why.contains("no-such-file.ndjson"), "{why}");
    assert_eq!(up.said(&["reports", "--format", "ndjson"]), "");
    assert_eq!(up.json(&["reports"]), serde_json::json!([]));
    up.stop(Signal::TERM);
}
