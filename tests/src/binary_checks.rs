// Tests of a service's binary, included by each service's tests/binary.rs, which gives PROGRAM, its path; OWN, a setting
// of its own with its environment variable; and VALUES, three values of that setting.

use std::fs;
use std::process::{Command, Output};

/// Runs the binary with no settings in its environment but `variables`.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
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
        let flag = format!("--{}", key.replace('_', "-"));
        // What may be left out of a flag is in brackets.
        let is_there = help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}[="));
        assert!(is_there, "{flag} is not in\n{help}");
    }
    for variable in [OWN.1, "DAYBOOK_NATS", "DAYBOOK_HTTP", "DAYBOOK_CONFIG"] {
        assert!(help.contains(variable), "{variable} is not in\n{help}");
    }
}

#[test]
fn version_names_the_program() {
    let name = std::path::Path::new(PROGRAM).file_name().unwrap().to_str().unwrap();
    assert_eq!(printed(&["--version"], &[]).trim_end(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
    with_file("version: 1\n", |file| {
        let why = refused(&["--config", file, "--print-config"], &[]);
        assert!(why.contains("\"version\""), "{why}");
    });
}

#[test]
fn printed_settings_can_be_fed_back() {
    let flag = format!("--{}", OWN.0.replace('_', "-"));
    let flags = [flag.as_str(), VALUES[0], "--partitions", "3", "--log", "query=debug,info", "--http", "127.0.0.1:0"];
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
    let [a, b, c] = VALUES;
    let flag = format!("--{}", key.replace('_', "-"));
    with_file(&format!("{key}: {a}\npartitions: 3\n"), |file| {
        let settings = |flags: &[&str], variables: &[(&str, &str)]| {
            printed(&[&["--config", file, "--print-config"][..], flags].concat(), variables)
        };
        let only_file = settings(&[], &[]);
        assert!(has_line(&only_file, &format!("{key}: {a}")) && has_line(&only_file, "partitions: 3"), "{only_file}");
        let environment = settings(&[], &[(variable, b), ("DAYBOOK_PARTITIONS", "4")]);
        assert!(
            has_line(&environment, &format!("{key}: {b}")) && has_line(&environment, "partitions: 4"),
            "{environment}"
        );
        let flags = settings(&[&flag, c, "--partitions", "5"], &[(variable, b), ("DAYBOOK_PARTITIONS", "4")]);
        assert!(has_line(&flags, &format!("{key}: {c}")) && has_line(&flags, "partitions: 5"), "{flags}");
    });
}

#[test]
fn unknown_and_impossible_settings_are_refused_by_name() {
    with_file(&format!("{}s: {}\n", OWN.0, VALUES[0]), |file| {
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
