//! A panic in a process whose log is JSON. The test runs itself as that process: the form belongs to a process as a whole.

use daybook_runtime::config::LogFormat;
use daybook_runtime::telemetry::use_format;
use serde_json::Value;
use std::process::Command;

#[test]
#[ignore = "the process of the test below"]
fn panics_with_a_log_in_json() {
    use_format(LogFormat::Json);
    let thread = std::thread::Builder::new().name("worker".to_owned());
    let panicked = thread.spawn(|| panic!("two\nlines of \"reason\"")).unwrap().join();
    assert!(panicked.is_err());
}

#[test]
fn a_panic_is_a_line_of_json() {
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "panics_with_a_log_in_json", "--ignored", "--nocapture"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(process.stderr).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!(lines[0]["error"], "two\nlines of \"reason\"");
    assert_eq!((&lines[0]["level"], &lines[0]["thread"]), (&"ERROR".into(), &"worker".into()));
    assert!(lines[0]["location"].as_str().unwrap().contains("panics.rs:"), "{text}");
    assert!(lines[0]["backtrace"].as_str().unwrap().contains("panics"), "{text}");
}
