//! No secret in what a program prints, whatever goes wrong.

use crate::{SECRET, address, broker};
use daybook_broker::ServerSettings;
use daybook_tests::processes;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a program may run: a service that waits for its broker is ended.
const RUN: Duration = Duration::from_millis(1500);

/// What a program prints to both outputs within [`RUN`], or until it ends.
async fn printed(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        let (ended, has_ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if has_ended.recv_timeout(RUN).is_err() {
                // It has not been waited for, so the id is still its own.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        let _ = ended.send(());
        output
    });
    let output = output.await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn program(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = processes::command(&processes::binary(name));
    command.args(arguments).envs(variables.iter().copied());
    // Everything that there is to be logged.
    command.env("DAYBOOK_LOG", "trace,async_nats=trace,async_nats::connector=trace");
    command
}

#[tokio::test]
async fn nothing_that_programs_print_holds_one() {
    let settings = ServerSettings("authorization { user: ann, password: \"quite another\" }\n".to_owned());
    let broker = broker(|options| options.settings = settings).await;
    let address = address(&broker);
    let file = |name: &str, text: &str| {
        let path = broker.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = format!("nats://{address}");
    let in_url = format!("nats://ann:{SECRET}@{address}");
    let nobody = format!("nats://ann:{SECRET}@127.0.0.1:1,nats://ann:{SECRET}@127.0.0.1:2");
    let token_in_url = format!("nats://{SECRET}@{address}");
    let bad_urls = [format!("nats://ann:{SECRET}/x@{address}"), format!("nats://ann:a,{SECRET}@{address}")];
    let secret_file = file("secret", SECRET);
    let lines_file = file("lines", &format!("{SECRET}\n{SECRET}\n"));
    let config = file("config.yaml", &format!("nats: {in_url}\nnats_password: {SECRET}\nnats_token: {SECRET}\n"));
    let broken = file("broken.yaml", &format!("nats_password: *{SECRET}\n"));
    let credentials =
        file("rubbish.creds", &format!("-----BEGIN NATS USER JWT-----\n{SECRET}\n------END NATS USER JWT------\n"));
    let by_flags: Vec<Vec<&str>> = vec![
        vec!["--nats", &in_url],
        vec!["--nats", &nobody],
        vec!["--nats", &token_in_url],
        vec!["--nats", &bad_urls[0]],
        vec!["--nats", &bad_urls[1]],
        vec!["--nats", &plain, "--nats-user", "ann", "--nats-password", SECRET],
        vec!["--nats", &plain, "--nats-password", SECRET],
        vec!["--nats", &in_url, "--nats-token", SECRET],
        vec!["--nats", &plain, "--nats-token-file", &secret_file],
        vec!["--nats", &plain, "--nats-token-file", &lines_file],
        vec!["--nats", &plain, "--nats-nkey", &secret_file],
        vec!["--nats", &plain, "--nats-credentials", &credentials],
        vec!["--nats", &in_url, "--nats-tls"],
        vec!["--nats", &in_url, "--nats-ca", &secret_file],
        vec!["--nats", &in_url, "--no-such-flag"],
        vec!["--nats", &in_url, "--nats-tls=perhaps"],
        vec!["--nats", &in_url, "--help"],
    ];
    let variables =
        [("DAYBOOK_NATS", in_url.as_str()), ("DAYBOOK_NATS_PASSWORD", SECRET), ("DAYBOOK_NATS_TOKEN", SECRET)];
    let mut commands: Vec<(String, Command)> = Vec::new();
    let mut add = |name: &str, arguments: &[&str], variables: &[(&str, &str)]| {
        commands.push((format!("{name} {arguments:?} {variables:?}"), program(name, arguments, variables)));
    };
    for flags in &by_flags {
        add("query", flags, &[]);
        add("query", &[flags.as_slice(), &["--print-config"]].concat(), &[]);
        add("daybook", &[&["days", "acme"], flags.as_slice()].concat(), &[]);
    }
    let data = broker.folder.path().join("data").to_str().unwrap().to_owned();
    add("daybook", &["up", "--data", &data, "--nats", &in_url], &[]);
    add("daybook", &["up", "--data", &data, "--nats", &plain], &variables[1..]);
    for name in ["query", "ingest", "day-manager", "aggregator-shard"] {
        add(name, &["--print-config"], &variables);
        add(name, &["--help"], &variables);
    }
    for arguments in [&["status"][..], &["status", "--help"], &["up", "--help"], &["days", "acme", "-h"]] {
        add("daybook", arguments, &variables);
    }
    for config in [&config, &broken] {
        add("query", &["--config", config], &[]);
        add("query", &["--config", config, "--print-config"], &[]);
    }
    for (shown, command) in commands {
        let text = printed(command).await;
        assert!(!text.is_empty(), "{shown} prints nothing");
        assert!(!text.contains(SECRET), "{shown} prints\n{text}");
    }
}

#[tokio::test]
async fn printed_settings_say_what_they_leave_out() {
    let url = format!("nats://ann:{SECRET}@broker:4222");
    let command = program("query", &["--nats", &url, "--nats-password-file", "p.txt", "--print-config"], &[]);
    let text = printed(command).await;
    assert!(text.starts_with("# Set, but secret and not shown: user, password or token in nats."), "{text}");
    assert!(text.contains("\nnats: nats://broker:4222\n") && text.contains("\nnats_password_file: p.txt\n"), "{text}");
}
