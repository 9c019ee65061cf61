//! What the operator is told: what lies where, how to start, what to give to whom.

use super::folder::{AccessFolder, SEED, SERVERS, SERVICES, TOKENS};
use super::issuing::{SystemUser, service_file};
use super::settings::AccessSettings;
use daybook_access::config::AccountsMode;
use daybook_access::limits::SMALL_PAYLOAD_BYTES;
use daybook_access::services::Role;
use daybook_contracts::subjects::DEFAULT_PREFIX;
use std::fmt::Write;

/// The text of the README, which the command prints as well. Pure: `folder` only gives the path.
pub fn summary(folder: &AccessFolder, settings: &AccessSettings) -> String {
    let mut text = String::new();
    let root = folder.path().display().to_string();
    let mode = match settings.mode {
        AccountsMode::File => "accounts in the servers' file: up to about 1,000 tenants, a change is a reload",
        AccountsMode::Full => "accounts signed by an operator, all of them on every server: up to about 10,000 tenants",
        AccountsMode::Cache => {
            "accounts signed by an operator, fetched from day-manager when a client comes: any number"
        }
    };
    let mut say = |line: &str| writeln!(text, "{line}").expect("a String takes every write");
    say(&format!("Access to the broker of Daybook, mode {}: {mode}.", settings.mode.as_str()));
    say("");
    files(settings, &mut say);
    say("");
    start(&root, settings, &mut say);
    say("");
    tenants(&root, settings, &mut say);
    say("");
    bounds(settings, &mut say);
    text
}

fn files(settings: &AccessSettings, say: &mut impl FnMut(&str)) {
    say("Files. Everything is readable by you only; keep a copy of this folder where nobody else looks.");
    say(&format!("  {SERVERS}/    for the machines of the NATS servers, which must be able to read them"));
    say(&format!(
        "  {SERVICES}/   one file for each service, for the operator, and for whoever runs the servers (system)"
    ));
    say(&format!("  {TOKENS}/     tokens of tenants, as they are made; hand each over and delete it"));
    if settings.mode.has_operator() {
        say(&format!("  {SEED}  makes every account and every token: give it to day-manager and to nobody else"));
    }
}

fn start(root: &str, settings: &AccessSettings, say: &mut impl FnMut(&str)) {
    say("Start the servers");
    for server in &settings.servers {
        say(&format!("  nats-server --config {root}/{SERVERS}/{}.conf", server.name));
    }
    say("Settings that all services share, as environment");
    for (name, value) in shared_settings(settings) {
        say(&format!("  export {name}={value}"));
    }
    say("Start the services, and look at them");
    let flag = if settings.mode.has_operator() { "--nats-credentials" } else { "--nats-nkey" };
    let file = |name: &str| format!("{root}/{}", service_file(settings.mode, name).display());
    for role in Role::ALL {
        let command = if role == Role::Operator { "daybook status" } else { role.name() };
        say(&format!("  {command} {flag} {}", file(role.name())));
        if role == Role::DayManager && settings.mode.has_operator() {
            say(&format!("    with --account-seed {root}/{SEED}"));
            say(&format!("         --account-credentials {}", file(SystemUser::AccountKeeper.name())));
            say(&format!("         --account-resolver {}", settings.mode.as_str()));
        }
    }
    if settings.tls.is_none() {
        say("There is no TLS: whoever is on the way reads and changes everything. Give certificates, or try");
        say("--self-signed HOST.");
    }
}

/// What every service must be told alike, by the names of the environment.
fn shared_settings(settings: &AccessSettings) -> Vec<(&'static str, String)> {
    let mut shared = vec![
        ("DAYBOOK_NATS", settings.urls()),
        ("DAYBOOK_INBOX_MAX_BYTES", settings.inbox_max_bytes.to_string()),
        ("DAYBOOK_INBOX_MAX_MESSAGES_PER_KIND", settings.inbox_max_messages_per_kind.to_string()),
    ];
    if settings.prefix != DEFAULT_PREFIX {
        shared.push(("DAYBOOK_PREFIX", settings.prefix.clone()));
    }
    if settings.servers.len() >= 3 {
        shared.push(("DAYBOOK_STREAM_REPLICAS", "3".to_owned()));
    }
    if let Some(tls) = &settings.tls {
        shared.push(("DAYBOOK_NATS_CA", tls.ca.clone()));
        if tls.first {
            shared.push(("DAYBOOK_NATS_TLS_FIRST", "true".to_owned()));
        }
    }
    shared
}

fn tenants(root: &str, settings: &AccessSettings, say: &mut impl FnMut(&str)) {
    say("Tenants");
    say(&format!("  daybook token create TENANT --access {root}    then give the file to the tenant"));
    say(&format!("  daybook token list --access {root}"));
    say(&format!("  daybook token revoke TOKEN --access {root}"));
    if settings.mode.has_operator() {
        say("A tenant that is applied gets its account from day-manager at once; no server is reloaded.");
    } else {
        let tenants = settings.tenants.len();
        say(&format!("{tenants} tenants have an account. For more, repeat the command with their definitions:"));
        say(&format!("  daybook nats config --out {root} --tenants FILE"));
        say(
            "After each change of tenants or tokens: nats-server --signal reload=PID, on every server. Tokens do not expire.",
        );
    }
}

fn bounds(settings: &AccessSettings, say: &mut impl FnMut(&str)) {
    let share = settings.share();
    let (messages, inbox) = (settings.inbox_max_messages_per_kind, mebibytes(settings.inbox_max_bytes));
    say("Share of INBOX");
    let kinds = settings.kinds.len();
    if kinds == 0 && settings.mode.has_operator() {
        say("  Day-manager bounds a tenant's messages by the kinds that are defined.");
        return;
    }
    say(&format!(
        "  {kinds} kinds, {messages} messages of each, {} bytes a message: a tenant fills at most {} MiB of {inbox} MiB.",
        share.payload_bytes,
        mebibytes(share.share_bytes)
    ));
    if settings.mode.has_operator() {
        say("  Day-manager goes by the kinds that are defined, which may be others.");
    }
    if kinds == 0 {
        say(
            "  WARNING: no kinds are named, so a tenant may invent kinds, and has a share for each. Name the files with kinds",
        );
        say("  in --tenants too.");
    }
    if share.is_small() {
        say(&format!(
            "  WARNING: a message holds less than {} KiB. Raise --inbox-max-bytes, or lower --inbox-max-messages-per-kind,",
            SMALL_PAYLOAD_BYTES / 1024
        ));
        say("  here and in the settings of the services.");
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}
