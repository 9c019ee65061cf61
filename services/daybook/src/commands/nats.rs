//! `daybook nats config`: writes the configuration of the NATS servers, with accounts and credentials.

use crate::access::issuing::{self, Wanted};
use crate::access::settings::ServerAddress;
use crate::access::{AccessFolder, AccessSettings, certificates, summary, writing};
use crate::cli::Outcome;
use crate::definitions;
use anyhow::{Context as _, bail, ensure};
use daybook_access::config::{AccountsMode, Tls};
use daybook_access::limits::InboxBounds;
use daybook_contracts::subjects::{DEFAULT_PREFIX, Subjects};
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::clock;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: NatsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum NatsCommand {
    /// Write a configuration of NATS servers that keeps tenants apart; repeated, it keeps keys and adds tenants
    Config(Box<ConfigArguments>),
}

/// Where the accounts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ModeArgument {
    /// In the servers' file: up to about 1,000 tenants
    File,
    /// On every server, sent by day-manager: up to about 10,000
    Full,
    /// Made by day-manager when a client comes: any number
    Cache,
}

#[derive(Debug, clap::Args)]
struct ConfigArguments {
    /// Folder for everything that is written
    #[arg(long, env = "DAYBOOK_ACCESS", value_name = "DIR")]
    out: PathBuf,
    /// Where the accounts are [default: file]
    #[arg(long, value_enum)]
    mode: Option<ModeArgument>,
    /// YAML files with kinds, views and tenants, as for `daybook apply`
    #[arg(long, num_args = 1.., value_name = "FILE")]
    tenants: Vec<PathBuf>,
    /// Make a token for each tenant of the files that has none
    #[arg(long)]
    tokens: bool,
    /// First token of Daybook's subjects [default: daybook]
    #[arg(long, env = "DAYBOOK_PREFIX")]
    prefix: Option<String>,
    /// Bytes that INBOX buffers, as the services are told [default: 4294967296]
    #[arg(long, env = "DAYBOOK_INBOX_MAX_BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..))]
    inbox_max_bytes: Option<u64>,
    /// Messages of one tenant and kind that INBOX holds [default: 16384]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    inbox_max_messages_per_kind: Option<u64>,
    /// A NATS server: NAME, NAME=HOST, NAME=HOST:PORT or NAME=HOST:PORT:CLUSTER_PORT; once for each, three make a cluster
    /// [default: nats-1=127.0.0.1]
    #[arg(long = "server", value_name = "SERVER")]
    servers: Vec<ServerAddress>,
    /// Address that servers listen on [default: 0.0.0.0 with TLS, 127.0.0.1 without]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// HOST:PORT of the monitoring pages, which ask nobody who they are; closed when absent
    #[arg(long, value_name = "ADDRESS")]
    monitor: Option<String>,
    /// Folder of the streams, one for each server below it [default: data in the folder]
    #[arg(long, value_name = "DIR")]
    store_dir: Option<String>,
    /// When writes reach the disk: always, or a duration [default: 2m]
    #[arg(long, value_name = "INTERVAL")]
    sync_interval: Option<String>,
    /// PEM file with the servers' certificate
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file with the authority that servers of the cluster and clients trust
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Have clients begin with the TLS handshake
    #[arg(long)]
    tls_first: bool,
    /// Make a private authority and a certificate for these host names and addresses, for trying things out
    #[arg(long, num_args = 1.., value_name = "HOST", conflicts_with = "tls_cert")]
    self_signed: Vec<String>,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let NatsCommand::Config(arguments) = arguments.command;
    // Files and signatures only: nothing here waits for the network.
    tokio::task::spawn_blocking(move || config(&arguments)).await?
}

fn config(arguments: &ConfigArguments) -> Outcome {
    let Some(read) = read_definitions(&arguments.tenants)? else { return Ok(ExitCode::FAILURE) };
    let folder = AccessFolder::open_or_make(&arguments.out)?;
    let before = folder.settings()?;
    let mut settings = settings(arguments, before, &folder)?;
    settings.tenants.extend(read.tenants.iter().cloned());
    settings.kinds.extend(read.kinds);
    ensure!(
        settings.mode != AccountsMode::File || !settings.tenants.is_empty(),
        "in mode file the configuration names the tenants: give their definitions with --tenants FILE"
    );
    if !arguments.self_signed.is_empty() {
        settings.tls = Some(certificates::make(&folder, &arguments.self_signed, arguments.tls_first)?);
    }
    // The settings first: what is made from them can be made again.
    folder.store_settings(&settings)?;
    writing::write_all(&folder, &settings)?;
    if arguments.tokens {
        make_tokens(&folder, &settings, &read.tenants)?;
    }
    let text = summary::summary(&folder, &settings);
    folder.write("README.txt", &text)?;
    super::print_line(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Tenants and kinds of definitions.
#[derive(Default)]
struct Read {
    tenants: BTreeSet<TenantId>,
    kinds: BTreeSet<Name>,
}

/// `None` when there are mistakes in the files, which are shown.
fn read_definitions(paths: &[PathBuf]) -> anyhow::Result<Option<Read>> {
    let mut files = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        files.push((path.clone(), text));
    }
    match definitions::load(&files, &[]) {
        Ok(definitions) => Ok(Some(Read {
            tenants: definitions.apply.tenants.into_iter().map(|tenant| tenant.id).collect(),
            kinds: definitions.apply.kinds.into_iter().map(|kind| kind.name).collect(),
        })),
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            eprintln!("daybook: nothing was written; name all files that belong together");
            Ok(None)
        }
    }
}

/// What flags say, else what was so before, else the defaults.
fn settings(
    arguments: &ConfigArguments,
    before: Option<AccessSettings>,
    folder: &AccessFolder,
) -> anyhow::Result<AccessSettings> {
    let mode = arguments.mode.map(|mode| match mode {
        ModeArgument::File => AccountsMode::File,
        ModeArgument::Full => AccountsMode::Full,
        ModeArgument::Cache => AccountsMode::Cache,
    });
    let mut settings = before.unwrap_or_else(|| defaults(mode.unwrap_or(AccountsMode::File), folder));
    if let Some(mode) = mode {
        // Between the two with an operator all credentials stay as they are.
        let fits = settings.mode == mode || (settings.mode.has_operator() && mode.has_operator());
        ensure!(
            fits,
            "{} was made in mode {}, whose credentials are of another sort; choose another folder",
            folder.path().display(),
            settings.mode.as_str()
        );
        settings.mode = mode;
    }
    if let Some(prefix) = &arguments.prefix {
        Subjects::new(prefix)?;
        prefix.clone_into(&mut settings.prefix);
    }
    set(&mut settings.inbox_max_bytes, arguments.inbox_max_bytes);
    set(&mut settings.inbox_max_messages_per_kind, arguments.inbox_max_messages_per_kind);
    set(&mut settings.store_dir, arguments.store_dir.clone());
    set(&mut settings.sync_interval, arguments.sync_interval.clone());
    if !arguments.servers.is_empty() {
        let names: BTreeSet<&str> = arguments.servers.iter().map(|server| server.name.as_str()).collect();
        ensure!(names.len() == arguments.servers.len(), "two servers have the same name");
        settings.servers.clone_from(&arguments.servers);
    }
    if let Some(tls) = tls(arguments)? {
        settings.tls = Some(tls);
    }
    settings.monitor = arguments.monitor.clone().or(settings.monitor);
    let has_tls = settings.tls.is_some() || !arguments.self_signed.is_empty();
    let usual = if has_tls { "0.0.0.0" } else { "127.0.0.1" };
    match &arguments.listen {
        Some(listen) => listen.clone_into(&mut settings.listen),
        None if settings.listen.is_empty() => usual.clone_into(&mut settings.listen),
        None => {}
    }
    Ok(settings)
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

fn defaults(mode: AccountsMode, folder: &AccessFolder) -> AccessSettings {
    let bounds = InboxBounds::default();
    AccessSettings {
        mode,
        prefix: DEFAULT_PREFIX.to_owned(),
        tenants: BTreeSet::new(),
        kinds: BTreeSet::new(),
        inbox_max_bytes: bounds.max_bytes,
        inbox_max_messages_per_kind: bounds.max_messages_per_kind,
        // Decided once it is known whether there is TLS.
        listen: String::new(),
        monitor: None,
        store_dir: folder.file("data").display().to_string(),
        sync_interval: "2m".to_owned(),
        servers: vec!["nats-1=127.0.0.1".parse().expect("a server")],
        tls: None,
    }
}

fn tls(arguments: &ConfigArguments) -> anyhow::Result<Option<Tls>> {
    let (Some(cert), Some(key), Some(ca)) = (&arguments.tls_cert, &arguments.tls_key, &arguments.tls_ca) else {
        return Ok(None);
    };
    let path = |path: &PathBuf| match path.to_str() {
        // As it is on the servers' machines, which may be others: it need not exist here.
        Some(text) => Ok(text.to_owned()),
        None => bail!("{} is a name that is no text", path.display()),
    };
    Ok(Some(Tls { cert: path(cert)?, key: path(key)?, ca: path(ca)?, first: arguments.tls_first }))
}

fn make_tokens(folder: &AccessFolder, settings: &AccessSettings, tenants: &BTreeSet<TenantId>) -> anyhow::Result<()> {
    let mut ledger = folder.ledger()?;
    let has_one: BTreeSet<TenantId> = ledger.valid_tenants(clock::now()).cloned().collect();
    for tenant in tenants.difference(&has_one) {
        issuing::issue_token(folder, settings, &mut ledger, tenant, Wanted::default())?;
    }
    folder.store_ledger(&ledger)?;
    writing::write_accounts(folder, settings)
}
