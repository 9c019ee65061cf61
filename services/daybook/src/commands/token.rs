//! `daybook token`: credentials of tenants' clients.

use crate::access::issuing::{self, Wanted};
use crate::access::{AccessFolder, AccessSettings, writing};
use crate::cli::{ClientArguments, Outcome};
use crate::table::Table;
use anyhow::{Context as _, bail, ensure};
use daybook_access::config::AccountsMode;
use daybook_access::tenants::TokenScope;
use daybook_access::tokens::{TokenLedger, TokenRecord, Validity};
use daybook_contracts::admin::RevokeTokens;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use daybook_runtime::retention::Retention;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make a token of a tenant: a credentials file that any NATS client takes
    Create(CreateArguments),
    /// List tokens and what they may do
    List(ListArguments),
    /// Make a token void; whoever is connected with it is disconnected
    Revoke(Box<RevokeArguments>),
}

/// The folder that `daybook nats config` has made.
#[derive(Debug, clap::Args)]
struct FolderArgument {
    /// Folder of `daybook nats config`
    #[arg(long, env = "DAYBOOK_ACCESS", value_name = "DIR")]
    access: PathBuf,
}

#[derive(Debug, clap::Args)]
struct CreateArguments {
    tenant: TenantId,
    /// When it ends by itself, such as 30d or 12h; never when absent
    #[arg(long, value_name = "DURATION")]
    expires: Option<Retention>,
    /// Allow it to publish and nothing else
    #[arg(long)]
    publish_only: bool,
    /// Kinds that it may publish, separated by commas; every kind when absent
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    kinds: Vec<Name>,
    /// File to write [default: one in the folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    folder: FolderArgument,
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    tenant: Option<TenantId>,
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArgument,
}

#[derive(Debug, clap::Args)]
struct RevokeArguments {
    /// The token as `daybook token list` shows it, or the tenant with --all
    #[arg(value_name = "TOKEN")]
    name: String,
    /// Revoke every token of a tenant that was made so far, also those that are not in the folder
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    folder: FolderArgument,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        TokenCommand::Create(arguments) => create(&arguments),
        TokenCommand::List(arguments) => list(&arguments),
        TokenCommand::Revoke(arguments) => revoke(&arguments).await,
    }
}

/// Opens the folder, which must have settings.
fn open(argument: &FolderArgument) -> anyhow::Result<(AccessFolder, AccessSettings)> {
    let folder = AccessFolder::open(&argument.access)?;
    let settings = folder.settings()?.context("the folder has no settings")?;
    Ok((folder, settings))
}

fn create(arguments: &CreateArguments) -> Outcome {
    let (folder, settings) = open(&arguments.folder)?;
    let valid_for = match arguments.expires {
        Some(duration) => Some(duration.age().context("--expires 0 would be a token that never works; leave it out")?),
        None => None,
    };
    if settings.mode == AccountsMode::File {
        ensure!(
            valid_for.is_none(),
            "in mode file a token cannot expire, for servers keep no date with it; use mode full or cache, or revoke it later"
        );
        ensure!(
            settings.tenants.contains(&arguments.tenant),
            "{} has no account yet: name its definition in `daybook nats config --out {} --tenants FILE`",
            arguments.tenant,
            folder.path().display()
        );
    }
    let kinds = (!arguments.kinds.is_empty()).then(|| arguments.kinds.iter().cloned().collect());
    let scope = TokenScope { publish_only: arguments.publish_only, kinds };
    let out = arguments.out.as_deref();
    let mut ledger = folder.ledger()?;
    let wanted = Wanted { scope, valid_for, out };
    let issued = issuing::issue_token(&folder, &settings, &mut ledger, &arguments.tenant, wanted)?;
    folder.store_ledger(&ledger)?;
    super::print_line(&issued.file.display().to_string())?;
    let mut told = format!("Token {} of {}: {}.", short(&issued.record), arguments.tenant, may(&issued.record));
    match settings.mode {
        AccountsMode::File => {
            writing::write_accounts(&folder, &settings)?;
            told += " It works once every NATS server has read its file again: nats-server --signal reload=PID.";
        }
        _ => told += " It works as soon as the tenant is applied.",
    }
    eprintln!("{told}");
    Ok(ExitCode::SUCCESS)
}

fn list(arguments: &ListArguments) -> Outcome {
    let (folder, _) = open(&arguments.folder)?;
    let ledger = folder.ledger()?;
    let is_wanted = |token: &&TokenRecord| arguments.tenant.as_ref().is_none_or(|tenant| token.tenant == *tenant);
    let tokens: Vec<&TokenRecord> = ledger.tokens.iter().filter(is_wanted).collect();
    if arguments.json {
        super::print_json(&tokens)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["TENANT", "TOKEN", "STATE", "MADE", "EXPIRES", "MAY"]);
    let now = clock::now();
    for token in tokens {
        let state = match token.validity(now) {
            Validity::Valid => "valid",
            Validity::Expired => "expired",
            Validity::Revoked => "revoked",
        };
        let expires = token.expires_at.map_or("never".to_owned(), |at| at.to_string());
        let row =
            [token.tenant.to_string(), short(token), state.to_owned(), token.made_at.to_string(), expires, may(token)];
        table.row(row);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

async fn revoke(arguments: &RevokeArguments) -> Outcome {
    let (folder, settings) = open(&arguments.folder)?;
    let mut ledger = folder.ledger()?;
    let request = wanted(arguments, &mut ledger)?;
    let now = clock::now();
    let told = if settings.mode == AccountsMode::File {
        "void once every NATS server has read its file again: nats-server --signal reload=PID".to_owned()
    } else {
        // The ledger says so only once it is so.
        let reply = arguments.client.connect().await?.revoke(&request).await?;
        match reply.servers {
            0 => "stored; no NATS server has confirmed it yet, day-manager goes on sending it".to_owned(),
            1 => "void: one NATS server has confirmed it".to_owned(),
            servers => format!("void: {servers} NATS servers have confirmed it"),
        }
    };
    mark(&mut ledger, &request, now);
    folder.store_ledger(&ledger)?;
    if settings.mode == AccountsMode::File {
        writing::write_accounts(&folder, &settings)?;
    }
    let what = match &request.user {
        Some(user) => format!("token {user} of {}", request.tenant),
        None => format!("every token of {} that was made so far", request.tenant),
    };
    super::print_line(&format!("{what}: {told}"))?;
    Ok(ExitCode::SUCCESS)
}

/// What day-manager is asked for.
fn wanted(arguments: &RevokeArguments, ledger: &mut TokenLedger) -> anyhow::Result<RevokeTokens> {
    if arguments.all {
        let tenant = arguments.name.parse().with_context(|| format!("{:?} is no tenant", arguments.name))?;
        return Ok(RevokeTokens { tenant, user: None, expires_at: None });
    }
    if let Ok(tenant) = arguments.name.parse::<TenantId>()
        && ledger.tokens.iter().any(|token| token.tenant == tenant)
    {
        bail!("{tenant} is a tenant; name one of its tokens (`daybook token list {tenant}`), or say --all");
    }
    let token = ledger.find(&arguments.name)?;
    Ok(RevokeTokens { tenant: token.tenant.clone(), user: Some(token.user.clone()), expires_at: token.expires_at })
}

fn mark(ledger: &mut TokenLedger, request: &RevokeTokens, now: Instant) {
    for token in &mut ledger.tokens {
        let is_meant = request.user.as_ref().is_none_or(|user| token.user == *user);
        if token.tenant == request.tenant && is_meant && token.revoked_at.is_none() {
            token.revoked_at = Some(now);
        }
    }
}

/// Enough of a token's name to name it.
fn short(token: &TokenRecord) -> String {
    token.user.chars().take(12).collect()
}

fn may(token: &TokenRecord) -> String {
    let kinds = match &token.scope.kinds {
        Some(kinds) => kinds.iter().map(Name::to_string).collect::<Vec<_>>().join(", "),
        None => "every kind".to_owned(),
    };
    if token.scope.publish_only { format!("publish {kinds}, nothing else") } else { format!("publish {kinds}, read") }
}
