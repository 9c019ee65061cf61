//! `daybook rejects resend`: sends rejected originals again, after a mapping or a definition is mended.

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::fact_ids::FactIds;
use crate::mapped;
use crate::rejected::{self, Rejected, RejectedLine};
use crate::replayer::{ReplayOptions, Replayer};
use crate::resend::{self, Meant, Reading};
use crate::table::count;
use anyhow::{Context as _, bail};
use connect::sources::SourceSpec;
use daybook_contracts::reject::Reject;
use daybook_contracts::subjects::UNMAPPED_TENANT;
use daybook_domain::catalogue::Kind;
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::Instant;
use daybook_mapping::MappingName;
use daybook_runtime::append::last_message;
use daybook_runtime::clock;
use daybook_runtime::reader::Reader;
use daybook_runtime::retention::Retention;
use daybook_runtime::written;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// The exit code when something was not sent, was rejected again, or is left for another run.
const NOT_ALL: u8 = 3;
/// Rejects that are sent together: their originals are in memory, 64 KiB each. A message may bring some more.
const PAGE_REJECTS: usize = 500;
/// Most rejects that one run can be told to take. It remembers 32 bytes of each.
const MAX_LIMIT: u64 = 1_000_000;
/// Originals that are shown of those that are not sent.
const MAX_SHOWN: usize = 10;
/// What the ids of facts are made of that have none: another one would count facts again that were sent again before.
const IDS: &[u8] = b"daybook rejects resend";
const NOTES: &str = "Sending again counts nothing twice, however often it is repeated: events keep their ids, and a fact without one gets an \
    id of its reject. Exit codes: 0 when everything was sent and taken; 3 when something was not sent, was rejected again, or more \
    rejects are left than --limit; 1 when the command failed.";

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Arguments {
    /// The tenant whose rejects are sent again; without it, foreign records whose tenant could not be told
    tenant: Option<TenantId>,
    /// Only rejects with these codes
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    code: Vec<String>,
    /// Only rejects of this kind
    #[arg(long)]
    kind: Option<Name>,
    /// Only rejects that were stored at or after this time, or within this time: 2024-03-01T00:00:00Z, or 2h
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Take at most N rejects, the oldest ones, and say with which --since to go on [1..=1000000]
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: u64,
    /// Originals are foreign records: make events of them by this mapping, KIND/NAME
    #[arg(long, value_name = "NAME", conflicts_with = "source")]
    mapping: Option<MappingName>,
    /// Originals are foreign records of this source of connect: by its mapping, and for its tenants alone
    #[arg(long, value_name = "NAME", requires = "sources")]
    source: Option<Name>,
    /// The file that defines the source
    #[arg(long, env = "DAYBOOK_SOURCES", value_name = "FILE")]
    sources: Option<PathBuf>,
    /// Send entities without a version, too: each replaces what came since
    #[arg(long)]
    replace: bool,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: ClientArguments,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    At(Instant),
    Within(std::time::Duration),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(instant) = text.parse() {
            return Ok(Self::At(instant));
        }
        let within = text.parse::<Retention>().ok().and_then(Retention::age);
        within
            .map(Self::Within)
            .ok_or_else(|| "write a time such as 2024-03-01T00:00:00Z, or a duration such as 2h".into())
    }
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Rejects that were looked at.
    rejects: u64,
    /// Events that were sent.
    sent: u64,
    /// Rejects that have the same original as one before them.
    repeated: u64,
    /// Rejects of which nothing was sent.
    not_sent: u64,
    /// The first of them: INBOX sequence and place of the original, and why.
    not_sent_shown: Vec<(InboxSeq, u32, String)>,
    /// Events that were sent and rejected again, or are stale, by code.
    rejected_again: BTreeMap<String, u64>,
    /// The first of them: INBOX sequence of the original, code and reason.
    rejected_again_shown: Vec<(Option<InboxSeq>, String, String)>,
    /// From when on rejects are left for another run: what to give to `--since`. None when all were taken.
    next_since: Option<Instant>,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await.context("only operators can send rejects again")?;
    let kinds = client.catalogue().await?.kinds;
    let source = source(&arguments, &client)?;
    let meant = source.as_ref().map(|(place, all)| Meant { source: &all[*place], all });
    let mapper = match meant.map(|meant| &meant.source.mapping).or(arguments.mapping.as_ref()) {
        Some(mapping) => {
            let tenant = meant.and_then(|meant| meant.source.tenant.clone()).or(arguments.tenant.clone());
            Some(mapped::load(&client, &kinds, mapping, tenant).await?)
        }
        None if arguments.tenant.is_none() => {
            bail!("without a tenant these are foreign records: give --mapping KIND/NAME, or --source NAME")
        }
        None => None,
    };
    let reading = match &mapper {
        Some(mapper) => Reading::Mapped { mapper, source: meant },
        None => Reading::Canonical { kinds: &kinds },
    };
    let tenant = arguments.tenant.as_ref().filter(|_| mapper.is_none());
    let mut rejects = WantedRejects::begin(&client, &arguments).await;
    let (mut summary, mut seen) = (Summary::default(), BTreeSet::new());
    loop {
        let page = rejects.next_page(&client).await;
        if page.is_empty() {
            break;
        }
        summary.rejects += page.len() as u64;
        let events = judge(&arguments, &page, reading, &mut seen, &mut summary);
        if !arguments.dry_run {
            send(&client, events, &kinds, tenant, &mut summary).await?;
        }
    }
    summary.next_since = rejects.next_since;
    show(&summary, &arguments)?;
    let is_all = summary.not_sent == 0 && summary.rejected_again.is_empty() && summary.next_since.is_none();
    Ok(if is_all { ExitCode::SUCCESS } else { ExitCode::from(NOT_ALL) })
}

/// The place of the source that is meant among those of its file, and these.
fn source(arguments: &Arguments, client: &Client) -> anyhow::Result<Option<(usize, Vec<SourceSpec>)>> {
    let (Some(name), Some(file)) = (&arguments.source, &arguments.sources) else { return Ok(None) };
    let sources = connect::sources::load(file, &client.connection.subjects)?;
    let Some(place) = sources.iter().position(|source| source.name == *name) else {
        bail!("{} has no source {name}", file.display())
    };
    if let (Some(asked), Some(own)) = (&arguments.tenant, &sources[place].tenant)
        && asked != own
    {
        bail!("all events of the source {name} are for {own}, not for {asked}");
    }
    Ok(Some((place, sources)))
}

/// The rejects that the arguments mean, oldest first, a page at a time. What is rejected while the command runs is none of them.
struct WantedRejects<'a> {
    arguments: &'a Arguments,
    since: Instant,
    subject: String,
    reader: Reader,
    /// The sequence of the last one.
    last: u64,
    taken: u64,
    /// When the newest of those taken was stored.
    newest: Instant,
    /// When the first was stored that another run is to take.
    next_since: Option<Instant>,
}

impl<'a> WantedRejects<'a> {
    async fn begin(client: &Client, arguments: &'a Arguments) -> Self {
        let since = match arguments.since {
            None => Instant::MIN,
            Some(Since::At(instant)) => instant,
            Some(Since::Within(age)) => Instant::from_millis(clock::now().as_millis() - age.as_millis() as i64),
        };
        let subjects = &client.connection.subjects;
        let token = arguments.tenant.as_ref().map_or(UNMAPPED_TENANT, TenantId::as_str);
        let (stream, subject) = (subjects.rejects_stream(), subjects.rejects(token));
        let last = last_message(&client.connection, &stream, &subject).await.map_or(0, |last| last.sequence);
        let reader = Reader::new(&client.connection, stream, subject.clone(), 1);
        Self { arguments, since, subject, reader, last, taken: 0, newest: Instant::MIN, next_since: None }
    }

    /// The next rejects; none when all were taken, or as many as one run takes.
    async fn next_page(&mut self, client: &Client) -> Vec<Reject> {
        let mut page = Vec::new();
        // The oldest may have been dropped meanwhile, and what was last with them: then nothing would come.
        let stream = client.connection.subjects.rejects_stream();
        let end = last_message(&client.connection, &stream, &self.subject).await.map_or(0, |last| last.sequence);
        self.last = self.last.min(end);
        while page.len() < PAGE_REJECTS && self.next_since.is_none() && self.reader.position() <= self.last {
            let message = self.reader.next().await;
            let is_last = message.pending == 0;
            let read = written::rejects(&client.connection.subjects, (&message).into());
            let wanted = read.map(|read| read.rejects).unwrap_or_default().into_iter();
            let before = page.len();
            page.extend(wanted.filter(|reject| message.stored_at >= self.since && self.is_wanted(reject)));
            if page.len() > before {
                // A time means all rejects that were stored then, so those of one millisecond stay together.
                if self.taken >= self.arguments.limit && message.stored_at > self.newest {
                    page.truncate(before);
                    self.next_since = Some(message.stored_at);
                    break;
                }
                self.taken += (page.len() - before) as u64;
                self.newest = message.stored_at;
            }
            if is_last {
                self.last = 0;
            }
        }
        page
    }

    fn is_wanted(&self, reject: &Reject) -> bool {
        let Arguments { code, kind, .. } = self.arguments;
        (code.is_empty() || code.iter().any(|code| code == reject.code.as_str()))
            && kind.as_ref().is_none_or(|kind| reject.kind == kind.as_str())
    }
}

/// What is to be sent, by kind: the number of its original, and the event.
type Events = BTreeMap<Name, Vec<(u64, Vec<u8>)>>;

/// Tells kind and original of a reject from those of others. No kind that is known has a line break in it.
fn hash(reject: &Reject) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(reject.kind.as_bytes())
        .update(b"\n")
        .update(reject.original.bytes())
        .finalize()
        .as_bytes()
}

/// `seen` are the originals of pages before, if they are foreign records.
fn judge(
    arguments: &Arguments,
    rejects: &[Reject],
    reading: Reading<'_>,
    seen: &mut BTreeSet<[u8; 32]>,
    summary: &mut Summary,
) -> Events {
    let mut events = Events::new();
    let is_foreign = matches!(reading, Reading::Mapped { .. });
    let tenant = arguments.tenant.as_ref().map_or(UNMAPPED_TENANT, TenantId::as_str);
    for reject in rejects {
        // Each item of a record that cannot be mapped is a reject with the whole record.
        if is_foreign && !reject.original.bytes().is_empty() && !seen.insert(hash(reject)) {
            summary.repeated += 1;
            continue;
        }
        match resend::events(reject, tenant, reading, arguments.replace) {
            Ok(made) => {
                let kind = Name::new(&reject.kind).expect("a kind that is known has a sound name");
                summary.sent += made.len() as u64;
                let made = made.into_iter().map(|event| (resend::number(reject), event));
                events.entry(kind).or_default().extend(made);
            }
            Err(why) => {
                summary.not_sent += 1;
                if summary.not_sent_shown.len() < MAX_SHOWN {
                    summary.not_sent_shown.push((reject.inbox, reject.index, why));
                }
            }
        }
    }
    events
}

/// Sends the events and waits for what becomes of them. Without `tenant` each event names its own.
async fn send(
    client: &Client,
    events: Events,
    kinds: &[Kind],
    tenant: Option<&TenantId>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let before = rejected::newest(client).await;
    let mut again = Vec::new();
    // A replayer publishes events of one kind.
    for (kind, events) in events {
        let options = ReplayOptions {
            kind: Some(kind),
            tenant_field: "tenant".to_owned(),
            tenant: tenant.cloned(),
            clock: None,
            fact_ids: Some(FactIds::new(kinds, *blake3::hash(IDS).as_bytes())),
        };
        let mut replayer = Replayer::new(client.clone(), options);
        for (number, event) in events {
            replayer.publish(number, event, None).await?;
        }
        replayer.flush().await?;
        again.push(replayer.acknowledged);
    }
    client.settle().await?;
    for acknowledged in again {
        let Rejected { by_code, shown, .. } = rejected::since(client, before, &acknowledged).await;
        for (code, events) in by_code {
            *summary.rejected_again.entry(code).or_default() += events;
        }
        let shown = shown
            .into_iter()
            .map(|RejectedLine { line, code, reason }| (line.map(resend::message), code.to_string(), reason));
        summary.rejected_again_shown.extend(shown);
    }
    summary.rejected_again_shown.truncate(MAX_SHOWN);
    Ok(())
}

fn show(summary: &Summary, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.client.json {
        return super::print_json(summary);
    }
    let verb = if arguments.dry_run { "would be sent" } else { "sent" };
    super::print_line(&format!(
        "{} rejects: {} events {verb} again, {} rejects not",
        count(summary.rejects),
        count(summary.sent),
        count(summary.not_sent)
    ))?;
    for (inbox, index, why) in &summary.not_sent_shown {
        eprintln!("  not sent, {inbox} event {index}: {why}");
    }
    if !summary.rejected_again.is_empty() {
        let codes: Vec<_> = summary.rejected_again.iter().map(|(code, n)| format!("{code} {}", count(*n))).collect();
        super::print_line(&format!("not counted again: {}", codes.join(", ")))?;
        for (inbox, code, reason) in &summary.rejected_again_shown {
            let inbox = inbox.map_or_else(|| "an original".to_owned(), |inbox| inbox.to_string());
            eprintln!("  rejected again, {inbox}: {code}: {reason}");
        }
    }
    if let Some(since) = summary.next_since {
        super::print_line(&format!("more rejects are left; go on with --since {since}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_a_duration_is_taken() {
        let time: Instant = "2024-03-01T00:00:00Z".parse().unwrap();
        assert_eq!("2024-03-01T00:00:00Z".parse(), Ok(Since::At(time)));
        assert_eq!("2h".parse(), Ok(Since::Within(std::time::Duration::from_secs(7_200))));
        for bad in ["0", "", "yesterday", "2 h"] {
            assert!(bad.parse::<Since>().is_err(), "{bad}");
        }
    }
}
