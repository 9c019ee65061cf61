//! The binary as its users meet it: `daybook up` kept running, and commands beside it.
#![allow(clippy::unwrap_used)]

use daybook::expected;
use daybook_contracts::report::Report;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
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
    websocket_port: u16,
}

impl Up {
    /// Starts it on the folder `data` and waits until it says that it is up.
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same with further arguments.
    fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        for attempt in 0..STARTS {
            let mut up = Self::launch(folder, &format!("up-{attempt}.log"), arguments);
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
    fn launch(folder: &Path, log: &str, arguments: &[&str]) -> Self {
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [one, other].map(|listener| listener.local_addr().unwrap().port());
        let log = folder.join(log);
        let child = command()
            .args(["up", "--partitions", "4", "--port", &ports[0].to_string()])
            .args(["--websocket-port", &ports[1].to_string(), "--data"])
            .arg(folder.join("data"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log, port: ports[0], websocket_port: ports[1] }
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
    let mut second = Up::launch(folder.path(), "second.log", &[]);
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

/// The definitions of a small shop, whose clock a test drives.
const SHOP: &str = r#"
kinds:
  - { name: order, mode: entity, dimensions: [store], measures: [{ name: total, type: decimal, scale: 2 }] }
views:
  - { name: sales, kind: order, metrics: [orders: count, revenue: sum(total)] }
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop }
"#;

#[test]
fn a_replay_ends_with_a_code_that_says_what_became_of_the_events() {
    let folder = TempDir::new().unwrap();
    let up = Up::start(folder.path());
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    up.said(&["apply", "-f", &write("shop.yaml", SHOP.as_bytes())]);
    let replay = |file: &str, more: &[&str]| {
        let output =
            up.run(&[&["replay", file, "--kind", "order", "--tenant", "acme", "--clock", "at"], more].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), errors)
    };
    // A spreadsheet's file, with a column that is of no use.
    let sound = write("sound.csv", b"\xef\xbb\xbfid;at;store;total;note\r\no-1;2024-03-01T12:00:00Z;east;2.50;x\r\n");
    let (code, said, errors) = replay(&sound, &["--keep-open"]);
    assert_eq!(code, 0, "{said}{errors}");
    assert!(said.contains("1 events published") && errors.contains("no kind has the columns note"), "{said}{errors}");
    let figures = up.json(&["query", "acme", "sales"]);
    assert_eq!((&figures["rows"][0]["orders"], &figures["rows"][0]["revenue"]), (&1.into(), &2.5.into()), "{figures}");

    let text = b"id,at,total\ro-2,2024-03-01T12:00:00Z,1.234\ro-3,2024-03-01T12:00:00Z,1.23\r";
    let (code, said, errors) = replay(&write("rejected.csv", text), &["--keep-open"]);
    assert_eq!(code, 3, "{said}{errors}");
    assert!(
        said.contains("too_many_digits 1") && errors.contains("line 2: too_many_digits: measures.total"),
        "{errors}"
    );

    let text = b"[{\"id\":\"o-4\",\"at\":\"2024-03-01T12:00:00Z\"},\n7]";
    let (code, said, errors) = replay(&write("half.json", text), &["--keep-open", "--json"]);
    assert_eq!(code, 1, "{said}{errors}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["published"], &said["unroutable_lines"][0][0], &said["rejected"]),
        (&1.into(), &2.into(), &0.into())
    );

    let utf16: Vec<u8> = "\u{feff}id,at\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (code, _, errors) = replay(&write("utf16.csv", &utf16), &[]);
    assert!(code == 1 && errors.contains("UTF-16; save it as UTF-8"), "{code} {errors}");
    let (code, _, errors) = replay(&write("order.csv", b"id,store\no-5,east\n"), &[]);
    assert!(code == 1 && errors.contains("no column `at`"), "{code} {errors}");
    let why = up.refused(&["replay", &sound, "--kind", "ordre", "--tenant", "acme"]);
    assert!(why.contains("there is no kind ordre") && why.contains("order"), "{why}");
    up.stop(Signal::INT);
}

/// A WebSocket to the broker of `daybook up`: as much of one as a test needs.
struct WebSocket(TcpStream);

impl WebSocket {
    /// Opens one as a page of `origin` does. `Err` with the status when that is refused.
    fn open(port: u16, origin: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: {origin}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        if head.starts_with("HTTP/1.1 101") { Ok(Self(stream)) } else { Err(head) }
    }

    /// Says who it is and asks for a sign of life; returns everything that the broker says until there is one or it closes.
    fn greet(mut self, options: &str) -> String {
        let text = format!("CONNECT {options}\r\nPING\r\n");
        // A frame of bytes, masked by zeros.
        let mut frame = vec![0x82, 0xfe];
        frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        assert!(text.len() > 125, "a shorter one has another form");
        self.0.write_all(&frame).unwrap();
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let count = self.0.read(&mut chunk).unwrap_or(0);
            said.extend_from_slice(&chunk[..count]);
            let text = String::from_utf8_lossy(&said).into_owned();
            if count == 0 || text.contains("PONG") {
                return text;
            }
        }
    }
}

#[test]
fn a_web_page_reaches_the_broker_only_from_a_named_origin_and_with_the_token() {
    let folder = TempDir::new().unwrap();
    let up = Up::start(folder.path());
    let refused = TcpStream::connect(("127.0.0.1", up.websocket_port)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(!up.log().contains("WebSocket"), "{}", up.log());
    up.stop(Signal::INT);

    let origin = "http://localhost:8080";
    let up = Up::start_with(folder.path(), &["--websocket-origins", origin]);
    let file = folder.path().join("data/websocket.token");
    let token = fs::read_to_string(&file).unwrap();
    let token = token.trim();
    assert!(up.log().contains(file.to_str().unwrap()) && !up.log().contains(token), "{}", up.log());
    for foreign in ["http://evil.example", "http://localhost:8081", "null"] {
        let status = WebSocket::open(up.websocket_port, foreign).err().expect(foreign);
        assert!(status.starts_with("HTTP/1.1 403"), "{foreign}: {status}");
    }
    let page = || WebSocket::open(up.websocket_port, origin).unwrap_or_else(|status| panic!("{status}"));
    let greeting = |token: &str| {
        format!(
            r#"{{"verbose":false,"pedantic":false,"lang":"page","version":"1.0","protocol":1,"headers":true,"no_responders":true,"x":"page"{token}}}"#
        )
    };
    for wrong in ["", r#","auth_token":"guessed""#] {
        let said = page().greet(&greeting(wrong));
        assert!(said.contains("Authorization Violation") && !said.contains("PONG"), "{said}");
    }
    let said = page().greet(&greeting(&format!(r#","auth_token":"{token}""#)));
    assert!(said.contains("PONG"), "{said}");
    // Others need none.
    assert_eq!(up.json(&["get", "tenants"]), serde_json::json!([]));
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

#[test]
fn an_api_key_is_shown_once_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let key = |arguments: &[&str]| {
        let output = command().arg("key").args(arguments).arg("--api-keys").arg(&file).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (made, text, _) = key(&["create", "acme,other", "--scopes", "publish", "--expires", "30d", "--name", "till 7"]);
    assert!(made && text.starts_with("daybook_"), "{text}");
    let stored = fs::read_to_string(&file).unwrap();
    let secret = text.splitn(3, '_').nth(2).unwrap();
    assert!(!stored.contains(secret), "{stored}");
    let keys: Value = serde_json::from_str(&key(&["list", "--json"]).1).unwrap();
    let id = keys[0]["id"].as_str().unwrap().to_owned();
    assert!(text.contains(&id) && keys[0]["tenants"] == serde_json::json!(["acme", "other"]), "{keys}");
    let (listed, table, _) = key(&["list"]);
    assert!(listed && table.contains("till 7") && table.contains("publish") && !table.contains(secret), "{table}");
    for wrong in [&["create"][..], &["create", "a b"], &["create", "acme", "--scopes", "all"], &["revoke", "nothing"]] {
        assert!(!key(wrong).0, "{wrong:?}");
    }
    assert!(key(&["revoke", &id]).0 && key(&["list", "--json"]).1 == "[]");
}
