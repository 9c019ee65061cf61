//! `daybook rejects`: a tenant's rejected events, and sending them again.

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::commands::resend;
use crate::table::{Table, count};
use anyhow::Context as _;
use daybook_contracts::reject::Reject;
use daybook_contracts::subjects::{Subjects, UNMAPPED_TENANT};
use daybook_domain::ids::{Partition, TenantId};
use daybook_runtime::append::last_message;
use daybook_runtime::reader::Reader;
use daybook_runtime::written;
use std::collections::VecDeque;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The tenant that the events were published for, whether it exists or not; an operator leaves it out for events
    /// whose tenant is not even a valid id
    tenant: Option<TenantId>,
    /// Show the newest N
    #[arg(long, value_name = "N", default_value_t = 100)]
    last: usize,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send rejected originals again, after a mapping or a definition is mended
    Resend(Box<resend::Arguments>),
}

pub async fn run(arguments: Arguments) -> Outcome {
    if let Some(Command::Resend(arguments)) = arguments.command {
        return resend::run(*arguments).await;
    }
    let (rejects, has_older) = match &arguments.tenant {
        Some(tenant) => arguments.client.connect_to_ask().await?.rejects(tenant, arguments.last).await?,
        None => {
            let client = arguments.client.connect().await;
            let client = client.context("rejects without a tenant are for operators; name a tenant to see its own")?;
            without_tenant(&client, arguments.last).await?
        }
    };
    if arguments.client.json {
        super::print_json(&rejects)?;
        return Ok(ExitCode::SUCCESS);
    }
    if rejects.is_empty() {
        super::print_line("no rejects")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["INBOX", "EVENT", "KIND", "CODE", "FIELD", "REASON", "ORIGINAL"]);
    for reject in &rejects {
        let original: String = String::from_utf8_lossy(reject.original.bytes()).chars().take(60).collect();
        table.row([
            messages(reject),
            events(reject),
            reject.kind.clone(),
            reject.code.to_string(),
            reject.field.clone().unwrap_or_default(),
            reject.reason.clone(),
            original,
        ]);
    }
    table.print()?;
    if has_older {
        let shown = count(rejects.len() as u64);
        super::print_line(&format!("the newest {shown}; --last N shows more, --json the whole originals"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The message it came in, or the first and the last that it stands for.
fn messages(reject: &Reject) -> String {
    match reject.span {
        Some(span) if span.last != reject.inbox => format!("{}..{}", reject.inbox, span.last),
        _ => reject.inbox.to_string(),
    }
}

/// Its place in the message, or how many events it stands for.
fn events(reject: &Reject) -> String {
    match reject.span {
        Some(span) => format!("{} in all", count(span.events)),
        None => reject.index.to_string(),
    }
}

/// The newest `count` rejects of events whose tenant is no valid id, as the streams of all partitions have them, and of
/// foreign records without a tenant, and whether there are older ones.
///
/// # Errors
/// When a message cannot be read.
pub async fn without_tenant(client: &Client, count: usize) -> anyhow::Result<(Vec<Reject>, bool)> {
    let (mut all, mut total) = (Vec::new(), 0);
    let partitions = Partition::all(client.connection.partitions).map(Subjects::invalid_tenant);
    for token in partitions.chain([UNMAPPED_TENANT.to_owned()]) {
        let (rejects, number) = newest_under(client, &token, count).await?;
        all.extend(rejects);
        total += number;
    }
    all.sort_by_key(|reject| (reject.inbox, reject.index));
    all.drain(..all.len().saturating_sub(count));
    let has_older = total > all.len();
    Ok((all, has_older))
}

async fn newest_under(client: &Client, token: &str, count: usize) -> anyhow::Result<(Vec<Reject>, usize)> {
    let subjects = &client.connection.subjects;
    let (stream, subject) = (subjects.rejects_stream(), subjects.rejects(token));
    let Some(last) = last_message(&client.connection, &stream, &subject).await else {
        return Ok((Vec::new(), 0));
    };
    let mut reader = Reader::new(&client.connection, stream, subject, 1);
    let mut kept = VecDeque::new();
    let mut total = 0;
    while reader.position() <= last.sequence {
        let message = reader.next().await;
        let is_last = message.pending == 0;
        let read = written::rejects(subjects, (&message).into());
        for reject in read.map(|read| read.rejects).unwrap_or_default() {
            total += 1;
            kept.push_back(reject);
            if kept.len() > count {
                kept.pop_front();
            }
        }
        // The oldest may have been dropped meanwhile, and what was last with them.
        if is_last {
            break;
        }
    }
    Ok((kept.into(), total))
}
