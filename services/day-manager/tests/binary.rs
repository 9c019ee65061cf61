//! The binary itself: its settings by flag, environment and file.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output};

/// The service's own setting, and its environment variable; every service has the others.
const OWN: (&str, &str) = ("tick_interval_ms", "DAYBOOK_TICK_INTERVAL_MS");

/// Runs the binary with no settings in its environment but `variables`.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day-manager"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("DAYBOOK_") || text.starts_with("OTEL_") {
            command.env_remove(&name);
        }
    }
    command.args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the binary says when it refuses to start.
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn with_file(text: &str, check: impl FnOnce(&str)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.yaml");
    fs::write(&path, text).unwrap();
    check(path.to_str().unwrap());
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[test]
fn help_names_every_setting_and_its_variable() {
    let help = printed(&["--help"], &[]);
    let settings = printed(&["--print-config"], &[]);
    let keys: Vec<&str> = settings.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(keys.contains(&OWN.0) && keys.contains(&"nats") && keys.contains(&"http"), "{settings}");
    for key in keys {
        let flag = format!("--{} ", key.replace('_', "-"));
        assert!(help.contains(&flag), "{flag} is not in\n{help}");
    }
    for variable in [OWN.1, "DAYBOOK_NATS", "DAYBOOK_HTTP", "DAYBOOK_CONFIG"] {
        assert!(help.contains(variable), "{variable} is not in\n{help}");
    }
}

#[test]
fn printed_settings_can_be_fed_back() {
    let flag = format!("--{}", OWN.0.replace('_', "-"));
    let flags = [flag.as_str(), "70", "--partitions", "3", "--log", "day-manager=debug,info", "--http", "127.0.0.1:0"];
    let settings = printed(&[&flags[..], &["--print-config"]].concat(), &[]);
    assert!(has_line(&settings, "partitions: 3"), "{settings}");
    with_file(&settings, |file| {
        assert_eq!(printed(&["--config", file, "--print-config"], &[]), settings);
        assert_eq!(printed(&["--print-config"], &[("DAYBOOK_CONFIG", file)]), settings);
    });
}

#[test]
fn flags_beat_the_environment_and_the_environment_beats_the_file() {
    let (key, variable) = OWN;
    let flag = format!("--{}", key.replace('_', "-"));
    with_file(&format!("{key}: 70\npartitions: 3\n"), |file| {
        let settings = |flags: &[&str], variables: &[(&str, &str)]| {
            printed(&[&["--config", file, "--print-config"][..], flags].concat(), variables)
        };
        let only_file = settings(&[], &[]);
        assert!(has_line(&only_file, &format!("{key}: 70")) && has_line(&only_file, "partitions: 3"), "{only_file}");
        let environment = settings(&[], &[(variable, "80"), ("DAYBOOK_PARTITIONS", "4")]);
        assert!(
            has_line(&environment, &format!("{key}: 80")) && has_line(&environment, "partitions: 4"),
            "{environment}"
        );
        let flags = settings(&[&flag, "90", "--partitions", "5"], &[(variable, "80"), ("DAYBOOK_PARTITIONS", "4")]);
        assert!(has_line(&flags, &format!("{key}: 90")) && has_line(&flags, "partitions: 5"), "{flags}");
    });
}

#[test]
fn unknown_and_impossible_settings_are_refused_by_name() {
    with_file(&format!("{}s: 70\n", OWN.0), |file| {
        let why = refused(&["--config", file, "--print-config"], &[]);
        assert!(why.contains(&format!("\"{}s\"", OWN.0)) && why.contains(file), "{why}");
        // And the names that there are.
        assert!(why.contains(&format!("{},", OWN.0)), "{why}");
    });
    with_file("partitions: 0\n", |file| {
        let why = refused(&["--config", file, "--print-config"], &[]);
        assert!(why.contains("--partitions"), "{why}");
    });
    with_file("partitions: [1, 2]\n", |file| {
        let why = refused(&["--config", file, "--print-config"], &[]);
        assert!(why.contains("\"partitions\""), "{why}");
    });
    let missing = "there-is-no-such-file.yaml";
    assert!(refused(&["--config", missing], &[]).contains(missing));
    assert!(refused(&["--no-such-flag"], &[]).contains("--no-such-flag"));
    assert!(refused(&["--print-config"], &[("DAYBOOK_PARTITIONS", "many")]).contains("--partitions"));
}
