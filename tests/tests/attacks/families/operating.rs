//! What operators, services and whoever runs the servers may do.

use crate::attack::{Attack, Probe, Step, Without, ask};

fn command(name: &'static str, subject: &str, payload: &str, text: &'static str, effect: &'static str) -> Attack {
    let guard = "not exported, not imported, not permitted";
    let (steps, probe) = (ask(subject, payload), Probe::Told(text));
    Attack { name, steps, probe, guard, without: Without::OpenDaybook, effect }
}

fn system(name: &'static str, subject: &str, effect: &'static str) -> Attack {
    let guard = "the system account is not the tenant's, and its subjects are not permitted";
    let steps = ask(&format!("$SYS.REQ.{subject}"), "");
    Attack { name, steps, probe: Probe::Told("server"), guard, without: Without::System, effect }
}

pub(crate) fn attacks() -> Vec<Attack> {
    let tenant =
        r#"{"tenants":[{"id":"mallory","zone":"Etc/UTC","cutoff_minutes":0,"first_day":"2024-03-01","clock":"shop"}]}"#;
    let reads = "learns of servers, clients and subjects";
    vec![
        command("applies a definition", "daybook.admin.apply", tenant, "created", "a tenant is there"),
        command("reads the catalogue", "daybook.admin.catalogue", "", "kinds", "learns of all definitions"),
        command("reads the views' progress", "daybook.admin.views", "", "views", "learns of all views"),
        command(
            "drives a clock",
            "daybook.admin.clock",
            r#"{"clock":"other","advance_to":"2030-01-01T00:00:00Z"}"#,
            "now",
            "days of others close",
        ),
        command(
            "closes another's day",
            "daybook.admin.close",
            r#"{"tenant":"acme","date":"1999-01-01"}"#,
            "Nats-Service-Error",
            "day-manager judges the request: with the open day's date it would close",
        ),
        command(
            "revokes another's tokens",
            "daybook.admin.revoke",
            r#"{"tenant":"acme"}"#,
            "Nats-Service-Error",
            "day-manager judges the request: with a seed it would revoke",
        ),
        command("asks a shard", "daybook.shard.0", r#""Position""#, "as_of", "learns how much all tenants publish"),
        command("looks for services", "$SRV.PING", "", "daybook-admin", "learns of all services"),
        command("reads what services offer", "$SRV.INFO", "", "daybook.admin.apply", "learns of all endpoints"),
        command("reads what services did", "$SRV.STATS", "", "num_requests", "learns how much others ask"),
        system("looks for servers", "SERVER.PING", reads),
        system("reads who is connected", "SERVER.PING.CONNZ", reads),
        system("reads all subscriptions", "SERVER.PING.SUBSZ", reads),
        system("reads all streams of the server", "SERVER.PING.JSZ", reads),
        system("reads all accounts", "SERVER.PING.ACCOUNTZ", reads),
        Attack {
            name: "listens to the servers' events",
            steps: vec![Step::Listen("$SYS.>", None), Step::Wait],
            probe: Probe::Heard,
            guard: "the system account is not the tenant's, and its subjects are not permitted",
            without: Without::System,
            effect: "hears who connects",
        },
    ]
}
