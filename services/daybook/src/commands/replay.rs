//! `daybook replay`: publishes recorded events, and drives a clock with them.

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::fact_ids::FactIds;
use crate::mapped::{self, MAX_UNMAPPED};
use crate::rejected::{self, Rejected, RejectedLine};
use crate::replayer::{ReplayOptions, Replayer, Tally};
use crate::source::{Columns, EventSource, Format, Record, Records};
use crate::table::{count, duration};
use anyhow::{Context as _, bail};
use daybook_domain::catalogue::{Kind, Mode, SYSTEM_CLOCK};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use daybook_mapping::{MappingName, Originals, Outcome as Mapped, RecordMapper};
use daybook_runtime::clock;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The exit code when everything was read, and events were rejected.
const REJECTED: u8 = 3;
const EXIT_CODES: &str = "Exit codes: 0 when every event counts, or was known already; 3 when events were rejected; 1 when events \
    could not be published, or the replay failed; 2 for a wrong command line; 130 when it was interrupted. The file may be replayed \
    again: entities that say the same, and facts with an id, count once.";
/// How far the clock runs on after the last event, so that the last days close too.
const RUN_ON: Duration = Duration::from_secs(48 * 3600);

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    /// File of events: one JSON object a line, a JSON array, or CSV with a header; plain, gzip or zstd; - for standard input
    file: PathBuf,
    /// Kind of all events; without it each says its own in the field `kind`
    #[arg(long)]
    kind: Option<Name>,
    /// Make events of the file's records by this mapping of the kind
    #[arg(long, value_name = "NAME", requires = "kind", conflicts_with = "tenant_field")]
    mapping: Option<Name>,
    /// How the file is written. In CSV the header names the fields of the event (id, version, at, status) and the dimensions
    /// and measures of its kind; with a mapping they are its paths
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where facts without an id get one from, so that one that is published again counts once
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t)]
    fact_ids: IdsFrom,
    /// Field with the time at which each event became known: it drives the tenants' clock, so that days close as they
    /// did. Without it the events are published as they are. With a mapping it can only be `at`, the events' own time
    #[arg(long, value_name = "FIELD")]
    clock: Option<String>,
    /// The clock that is driven; by default the one that the tenants follow
    #[arg(long, value_name = "NAME", requires = "clock")]
    clock_name: Option<Name>,
    /// Field with the tenant
    #[arg(long, value_name = "FIELD", default_value = "tenant", conflicts_with = "tenant")]
    tenant_field: String,
    /// All events are for this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Stop before the first event after this time, and leave the clock there
    #[arg(long, value_name = "INSTANT", requires = "clock")]
    until: Option<Instant>,
    /// Leave the clock at the last event, with the last days open; by default it runs on for two days
    #[arg(long, requires = "clock")]
    keep_open: bool,
    #[command(flatten)]
    client: ClientArguments,
}

/// Where the ids of facts come from that have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum IdsFrom {
    /// The file's bytes and the line: replaying the same file again counts nothing twice. Standard input is as with run
    #[default]
    File,
    /// This run: replaying the file again counts its facts again
    Run,
    /// Nowhere: they are published as they are, take no room for an id, and may count twice when a publish is repeated
    None,
}

/// Ids for the facts of `source`, if there are kinds of facts. Reads all of a file to tell it from others.
async fn fact_ids(
    client: &Client,
    source: EventSource,
    kinds: &[Kind],
    from: IdsFrom,
) -> anyhow::Result<(EventSource, Option<FactIds>)> {
    if from == IdsFrom::None || !kinds.iter().any(|kind| kind.mode == Mode::Fact) {
        return Ok((source, None));
    }
    let hashing = tokio::task::spawn_blocking(move || {
        let hash = if from == IdsFrom::File { source.content_hash()? } else { None };
        anyhow::Ok((source, hash))
    });
    let (source, hash) = hashing.await??;
    let run = || *blake3::hash(client.connection.client.new_inbox().as_bytes()).as_bytes();
    Ok((source, Some(FactIds::new(kinds, hash.unwrap_or_else(run)))))
}

pub async fn run(arguments: Arguments) -> Outcome {
    let source = EventSource::open(&arguments.file)?.with_format(arguments.format);
    let client = arguments.client.connect().await?;
    let kinds = client.catalogue().await?.kinds;
    if let Some(kind) = &arguments.kind
        && !kinds.iter().any(|known| known.name == *kind)
    {
        let known: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
        bail!("there is no kind {kind}; define it by `daybook apply`, or name one of: {}", known.join(", "));
    }
    let (source, fact_ids) = fact_ids(&client, source, &kinds, arguments.fact_ids).await?;
    let mapping = mapping(&arguments, &client, &kinds).await?;
    let columns = Columns {
        as_they_are: mapping.is_some(),
        kinds,
        kind: arguments.kind.clone(),
        tenant: arguments.tenant.is_none().then(|| arguments.tenant_field.clone()),
        clock: arguments.clock.clone(),
        ignored: Arc::default(),
    };
    let ignored = columns.ignored.clone();
    let source = source.with_columns(columns);
    let clock = match &arguments.clock {
        Some(field) => Some((field.clone(), clock_name(&client, arguments.clock_name.clone()).await?)),
        None => None,
    };
    let options = ReplayOptions {
        kind: arguments.kind.clone(),
        fact_ids,
        tenant_field: arguments.tenant_field.clone(),
        // A mapped event says itself for whom it is.
        tenant: arguments.tenant.clone().filter(|_| mapping.is_none()),
        clock,
    };
    let bar = progress(source.length, arguments.client.json);
    let work = replay(&client, mapping.as_ref(), options, source, arguments.until, !arguments.keep_open, &bar);
    let outcome = tokio::select! {
        outcome = work => outcome?,
        () = daybook_runtime::process::wait_for_signal() => {
            let so_far = bar.message();
            bar.finish_and_clear();
            let so_far = if so_far.is_empty() { "at the beginning" } else { &so_far };
            eprintln!("stopped: {so_far}; every event that was acknowledged is counted");
            return Ok(ExitCode::from(130));
        }
    };
    let outcome = Summary { ignored_columns: ignored.get().cloned().unwrap_or_default(), ..outcome };
    show(&outcome, arguments.client.json)?;
    Ok(match (outcome.rejected, outcome.unroutable) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(REJECTED),
    })
}

/// The mapping that records go through, if one is wanted.
async fn mapping(arguments: &Arguments, client: &Client, kinds: &[Kind]) -> anyhow::Result<Option<RecordMapper>> {
    let Some(name) = &arguments.mapping else { return Ok(None) };
    if arguments.clock.as_ref().is_some_and(|field| field != "at") {
        bail!("with --mapping the clock follows the events' own time: write --clock at");
    }
    let wanted = MappingName { kind: arguments.kind.clone(), name: name.clone() };
    mapped::load(client, kinds, &wanted, arguments.tenant.clone()).await.map(Some)
}

/// What a replay did.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub published: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    pub repeated: u64,
    pub markers: u64,
    pub unroutable: u64,
    pub unroutable_lines: Vec<(u64, String)>,
    /// Rejected and stale events, by code.
    pub rejects: BTreeMap<String, u64>,
    /// Events that were rejected, without stale ones.
    pub rejected: u64,
    /// The first of them.
    pub rejected_lines: Vec<RejectedLine>,
    /// Older rejects have made way for newer ones, and are not counted here.
    pub has_more_rejects: bool,
    /// Columns of a CSV file that mean nothing to any kind.
    pub ignored_columns: Vec<String>,
    /// Records, or items of them, that the mapping could not make events of: they are among the rejects.
    pub unmapped: u64,
    /// Records, or items of them, that are no events by the mapping's `when`.
    pub passed_over: u64,
}

/// Replays a source to its end, or to `until`, and waits until everything rests in the figures. With a mapping the events are made of
/// the source's records by it.
///
/// # Errors
/// When the source cannot be read, too many records cannot be mapped, or a service or the broker stays away for too long.
pub async fn replay(
    client: &Client,
    mapping: Option<&RecordMapper>,
    options: ReplayOptions,
    source: EventSource,
    until: Option<Instant>,
    run_on: bool,
    bar: &ProgressBar,
) -> anyhow::Result<Summary> {
    let mut mapped = MappedTally::default();
    let began = tokio::time::Instant::now();
    let rejects_before = rejected::newest(client).await;
    let mut replayer = Replayer::new(client.clone(), options);
    let mut records = source.into_records();
    let read = match mapping {
        None => publish_all(&mut replayer, &mut records, until, bar).await,
        Some(mapping) => publish_mapped(&mut replayer, mapping, &mut records, until, &mut mapped).await,
    };
    replayer.flush().await?;
    read.with_context(|| format!("the replay stopped behind {} published events", count(replayer.tally.published)))?;
    let seconds = began.elapsed().as_secs_f64();
    bar.set_position(records.position());
    bar.set_message("closing the last days");
    match (until, replayer.last_time()) {
        (Some(until), _) => replayer.advance(until).await?,
        (None, Some(last)) if run_on => replayer.advance(last.after(RUN_ON)).await?,
        (None, Some(last)) => replayer.advance(last).await?,
        (None, None) => {}
    }
    bar.set_message("waiting for the figures");
    client.settle().await?;
    let rejected = rejected::since(client, rejects_before, &replayer.acknowledged).await;
    bar.finish_and_clear();
    let Tally { published, bytes, repeated, markers, unroutable, unroutable_shown, .. } = replayer.tally;
    let Rejected { by_code, events, shown, has_more } = rejected;
    Ok(Summary {
        published,
        bytes,
        seconds,
        events_per_second: published as f64 / seconds.max(0.001),
        repeated,
        markers,
        unroutable,
        unroutable_lines: unroutable_shown,
        rejects: by_code,
        rejected: events,
        rejected_lines: shown,
        has_more_rejects: has_more,
        ignored_columns: Vec::new(),
        unmapped: mapped.unmapped,
        passed_over: mapped.passed_over,
    })
}

/// What became of records that are no events.
#[derive(Default)]
struct MappedTally {
    unmapped: u64,
    passed_over: u64,
}

/// Publishes what the mapping makes of every record, up to `until`.
async fn publish_mapped(
    replayer: &mut Replayer,
    mapping: &RecordMapper,
    records: &mut Records,
    until: Option<Instant>,
    tally: &mut MappedTally,
) -> anyhow::Result<()> {
    while let Some(Record { line, content }) = records.next().await? {
        let record = match content {
            Ok(record) => record,
            Err(reason) => {
                replayer.pass_over(line, reason);
                continue;
            }
        };
        let mut originals = Originals::of(record.len());
        for outcome in mapping.map(line, &record, clock::now()) {
            match outcome {
                Mapped::Event(made) => {
                    if !replayer.publish(line, mapping.envelope(&made), until).await? {
                        return Ok(());
                    }
                }
                Mapped::Unmapped(unmapped) => {
                    replayer.publish_unmapped(line, mapping.refuse(&record, &unmapped, &mut originals)).await?;
                    tally.unmapped += 1;
                    anyhow::ensure!(
                        tally.unmapped < MAX_UNMAPPED,
                        "{MAX_UNMAPPED} records could not be mapped, the last in line {line}: {}; change the mapping and \
                         replay the file again",
                        unmapped.problem.reason
                    );
                }
                Mapped::PassedOver(_) => tally.passed_over += 1,
            }
        }
    }
    Ok(())
}

/// Publishes every event up to `until`.
async fn publish_all(
    replayer: &mut Replayer,
    records: &mut Records,
    until: Option<Instant>,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    while let Some(Record { line, content }) = records.next().await? {
        match content {
            Err(reason) => replayer.pass_over(line, reason),
            Ok(event) => {
                if !replayer.publish(line, event, until).await? {
                    break;
                }
            }
        }
        if replayer.tally.published.is_multiple_of(512) {
            bar.set_position(records.position());
            let time = replayer.last_time().map(|time| format!(", at {time}")).unwrap_or_default();
            bar.set_message(format!("{} events published{time}", count(replayer.tally.published)));
        }
    }
    Ok(())
}

/// A bar on standard error, over the bytes of a file; nothing for machines.
pub fn progress(length: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:32} {percent:>3}%  {msg}  ({elapsed}, {eta} left)"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}  ({elapsed})"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is sound");
    bar.with_style(style)
}

/// The one named clock that tenants follow, unless one is named.
async fn clock_name(client: &Client, named: Option<Name>) -> anyhow::Result<Name> {
    if let Some(name) = named {
        return Ok(name);
    }
    let tenants = client.tenants().await?;
    let clocks: BTreeSet<Name> = tenants.into_iter().map(|tenant| tenant.clock).collect();
    let mut named = clocks.iter().filter(|clock| clock.as_str() != SYSTEM_CLOCK);
    match (named.next(), named.next()) {
        (Some(clock), None) => Ok(clock.clone()),
        (None, _) => bail!(
            "no tenant follows a clock that can be driven; define the tenants with `clock: NAME`, or leave out --clock to publish in real time"
        ),
        (Some(_), Some(_)) => {
            let names: Vec<_> = clocks.iter().map(Name::as_str).collect();
            bail!("the tenants follow several clocks ({}); say which with --clock-name", names.join(", "))
        }
    }
}

fn show(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        return super::print_json(summary);
    }
    super::print_line(&describe(summary))?;
    if !summary.rejects.is_empty() {
        let codes: Vec<_> = summary.rejects.iter().map(|(code, n)| format!("{code} {}", count(*n))).collect();
        let least = if summary.has_more_rejects { ", and older ones that are no longer kept" } else { "" };
        super::print_line(&format!("not counted: {}{least}; see `daybook rejects TENANT`", codes.join(", ")))?;
    }
    if summary.passed_over > 0 {
        super::print_line(&format!(
            "passed over, for they are no events of the mapping: {}",
            count(summary.passed_over)
        ))?;
    }
    if summary.rejected > 0 {
        eprintln!("{} events were rejected; the first ones:", count(summary.rejected));
        for RejectedLine { line, code, reason } in &summary.rejected_lines {
            let line = line.map_or("a line".to_owned(), |line| format!("line {line}"));
            eprintln!("  {line}: {code}: {reason}");
        }
    }
    if summary.unroutable > 0 {
        eprintln!("{} events were not published; the first ones:", count(summary.unroutable));
        for (number, reason) in &summary.unroutable_lines {
            eprintln!("  line {number}: {reason}");
        }
    }
    if !summary.ignored_columns.is_empty() {
        eprintln!("no kind has the columns {}: they were ignored", summary.ignored_columns.join(", "));
    }
    Ok(())
}

/// One line for people.
pub fn describe(summary: &Summary) -> String {
    let rate = count(summary.events_per_second as u64);
    let took = duration(Duration::from_secs_f64(summary.seconds));
    let mut text = format!("{} events published in {took} ({rate}/s)", count(summary.published));
    if summary.markers > 0 {
        text.push_str(&format!(", {} day markers", count(summary.markers)));
    }
    if summary.repeated > 0 {
        text.push_str(&format!(", {} published again", count(summary.repeated)));
    }
    text
}
