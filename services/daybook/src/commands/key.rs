//! `daybook key`: API keys for clients that use HTTP.

use crate::cli::Outcome;
use crate::table::Table;
use anyhow::{Context as _, ensure};
use daybook_domain::ids::TenantId;
use daybook_runtime::clock;
use daybook_runtime::retention::Retention;
use gateway::keys::{KeyFile, StoredKey, new_key};
use gateway::{Scope, Tenants};
use std::path::PathBuf;
use std::process::ExitCode;

/// Most keys in a file: what the gateway reads.
const MAX_KEYS: usize = 20_000;
/// Longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 128;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key and print it once; the file keeps its hash
    Create(CreateArguments),
    /// List keys and what they may do
    List(ListArguments),
    /// Remove a key; a running gateway refuses it within some seconds
    Revoke(RevokeArguments),
}

/// The file that the gateway reads with `--api-keys`.
#[derive(Debug, clap::Args)]
struct FileArgument {
    /// File of API keys, as the gateway has it
    #[arg(long, env = "DAYBOOK_API_KEYS", value_name = "FILE")]
    api_keys: PathBuf,
}

#[derive(Debug, clap::Args)]
struct CreateArguments {
    /// Tenants that the key is for, separated by commas
    #[arg(value_delimiter = ',', required_unless_present = "all_tenants")]
    tenants: Vec<TenantId>,
    /// The key is for every tenant, also for those to come
    #[arg(long, conflicts_with = "tenants")]
    all_tenants: bool,
    /// What it may do, separated by commas: publish, query
    #[arg(long, value_delimiter = ',', default_value = "query")]
    scopes: Vec<Scope>,
    /// When it ends by itself, such as 30d or 12h; never when absent
    #[arg(long, value_name = "DURATION")]
    expires: Option<Retention>,
    /// Whose key it is, for people
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    file: FileArgument,
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgument,
}

#[derive(Debug, clap::Args)]
struct RevokeArguments {
    /// The key as `daybook key list` shows it
    id: String,
    #[command(flatten)]
    file: FileArgument,
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        KeyCommand::Create(arguments) => create(arguments),
        KeyCommand::List(arguments) => list(&arguments),
        KeyCommand::Revoke(arguments) => revoke(&arguments),
    }
}

fn create(arguments: CreateArguments) -> Outcome {
    let path = &arguments.file.api_keys;
    let name = arguments.name;
    ensure!(
        name.as_ref().is_none_or(|name| name.chars().count() <= MAX_NAME_CHARS),
        "--name is longer than {MAX_NAME_CHARS} characters"
    );
    let expires_at = match arguments.expires {
        Some(duration) => {
            let age = duration.age().context("--expires 0 would be a key that never works; leave it out")?;
            Some(clock::now().after(age))
        }
        None => None,
    };
    let tenants = match arguments.all_tenants {
        true => Tenants::All,
        false => Tenants::These(arguments.tenants.into_iter().collect()),
    };
    let scopes = arguments.scopes.into_iter().collect();
    let (text, stored) = new_key(name, tenants, scopes, clock::now(), expires_at)
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let told = format!("Key {}: {} of {}. It is shown this once.", stored.id, scopes_of(&stored), tenants_of(&stored));
    KeyFile::change(path, |file| {
        ensure!(file.keys.len() < MAX_KEYS, "{} has {MAX_KEYS} keys; revoke some first", path.display());
        file.keys.push(stored);
        Ok(())
    })?;
    super::print_line(&text)?;
    eprintln!("{told}");
    Ok(ExitCode::SUCCESS)
}

fn list(arguments: &ListArguments) -> Outcome {
    let file = KeyFile::read(&arguments.file.api_keys)?;
    if arguments.json {
        super::print_json(&file.keys)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["key", "name", "tenants", "may", "created", "ends"]);
    for key in &file.keys {
        let ends = key.expires_at.map_or("never".to_owned(), |end| end.to_string());
        let name = key.name.clone().unwrap_or_default();
        table.row([key.id.clone(), name, tenants_of(key), scopes_of(key), key.created_at.to_string(), ends]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn revoke(arguments: &RevokeArguments) -> Outcome {
    let path = &arguments.file.api_keys;
    KeyFile::change(path, |file| {
        let before = file.keys.len();
        file.keys.retain(|key| key.id != arguments.id);
        ensure!(
            file.keys.len() < before,
            "{} has no key {}; `daybook key list` shows them",
            path.display(),
            arguments.id
        );
        Ok(())
    })?;
    eprintln!("Key {} is removed; a running gateway refuses it within some seconds.", arguments.id);
    Ok(ExitCode::SUCCESS)
}

fn tenants_of(key: &StoredKey) -> String {
    match &key.tenants {
        Tenants::All => "every tenant".to_owned(),
        Tenants::These(tenants) => tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn scopes_of(key: &StoredKey) -> String {
    key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
}
