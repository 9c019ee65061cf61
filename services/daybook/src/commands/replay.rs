//! `daybook replay`: publishes recorded events, and drives a clock with them.

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::mapped::{MAX_UNMAPPED, MappingName, RecordMapper};
use crate::replayer::{ReplayOptions, Replayer, Tally};
use crate::source::Source;
use crate::table::{count, duration};
use anyhow::bail;
use daybook_contracts::reject::{Reject, Rejects};
use daybook_domain::catalogue::SYSTEM_CLOCK;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use daybook_mapping::Outcome as Mapped;
use daybook_runtime::append::last_message;
use daybook_runtime::clock;
use daybook_runtime::reader::Reader;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Records that are shown of those that cannot be mapped.
const MAX_SHOWN: usize = 10;
/// How far the clock runs on after the last event, so that the last days close too.
const RUN_ON: Duration = Duration::from_secs(48 * 3600);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// File of events, one JSON object a line; .zst and .gz are decompressed; - for standard input
    file: PathBuf,
    /// Kind of the events
    #[arg(long)]
    kind: Name,
    /// Make events of the file's records by this mapping of the kind
    #[arg(long, value_name = "NAME", conflicts_with = "tenant_field")]
    mapping: Option<Name>,
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

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let clock = match &arguments.clock {
        Some(field) => Some((field.clone(), clock_name(&client, arguments.clock_name.clone()).await?)),
        None => None,
    };
    let mapping = match &arguments.mapping {
        Some(name) => {
            if arguments.clock.as_ref().is_some_and(|field| field != "at") {
                bail!("with --mapping the clock follows the events' own time: write --clock at");
            }
            let wanted = MappingName { kind: Some(arguments.kind.clone()), name: name.clone() };
            Some(RecordMapper::load(&client, &wanted, arguments.tenant.clone()).await?)
        }
        None => None,
    };
    let options = ReplayOptions {
        kind: arguments.kind.clone(),
        tenant_field: arguments.tenant_field.clone(),
        // A mapped event says itself for whom it is.
        tenant: arguments.tenant.clone().filter(|_| mapping.is_none()),
        clock,
    };
    let source = Source::open(&arguments.file)?;
    let bar = progress(source.length, arguments.client.json);
    let work = replay_through(&client, mapping.as_ref(), options, source, arguments.until, !arguments.keep_open, &bar);
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
    show(&outcome, arguments.client.json)?;
    Ok(if outcome.unroutable + outcome.unmapped > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
    /// Records, or items of them, that the mapping could not make events of: they were published to be rejected.
    pub unmapped: u64,
    /// The first of them: line number and reason.
    pub unmapped_lines: Vec<(u64, String)>,
    /// Records, or items of them, that are no events by the mapping's `when`.
    pub passed_over: u64,
    /// Rejected and stale events, by code.
    pub rejects: BTreeMap<String, u64>,
}

/// Replays a source to its end, or to `until`, and waits until everything rests in the figures.
///
/// # Errors
/// When the source cannot be read, or a service or the broker stays away for too long.
pub async fn replay(
    client: &Client,
    options: ReplayOptions,
    source: Source,
    until: Option<Instant>,
    run_on: bool,
    bar: &ProgressBar,
) -> anyhow::Result<Summary> {
    replay_through(client, None, options, source, until, run_on, bar).await
}

/// The same, with events that are made of the source's records by a mapping, if there is one.
///
/// # Errors
/// As [`replay`], and when too many records cannot be mapped.
pub async fn replay_through(
    client: &Client,
    mapping: Option<&RecordMapper>,
    options: ReplayOptions,
    source: Source,
    until: Option<Instant>,
    run_on: bool,
    bar: &ProgressBar,
) -> anyhow::Result<Summary> {
    let mut mapped = MappedTally::default();
    let began = tokio::time::Instant::now();
    let rejects_before = last_reject(client).await;
    let mut replayer = Replayer::new(client.clone(), options);
    let mut source = source.into_lines();
    while let Some((number, line)) = source.next().await? {
        let more = match mapping {
            None => replayer.publish(number, line, until).await?,
            Some(mapping) => publish_mapped(&mut replayer, mapping, number, &line, until, &mut mapped).await?,
        };
        if !more {
            break;
        }
        if number % 512 == 0 {
            bar.set_position(source.position());
            let time = replayer.last_time().map(|time| format!(", at {time}")).unwrap_or_default();
            bar.set_message(format!("{} events published{time}", count(replayer.tally.published)));
        }
    }
    replayer.flush().await?;
    let seconds = began.elapsed().as_secs_f64();
    bar.set_position(source.position());
    bar.set_message("closing the last days");
    match (until, replayer.last_time()) {
        (Some(until), _) => replayer.advance(until).await?,
        (None, Some(last)) if run_on => replayer.advance(last.after(RUN_ON)).await?,
        (None, Some(last)) => replayer.advance(last).await?,
        (None, None) => {}
    }
    bar.set_message("waiting for the figures");
    client.settle().await?;
    let rejects = count_rejects(client, rejects_before).await;
    bar.finish_and_clear();
    let Tally { published, bytes, repeated, markers, unroutable, unroutable_shown, .. } = replayer.tally;
    Ok(Summary {
        published,
        bytes,
        seconds,
        events_per_second: published as f64 / seconds.max(0.001),
        repeated,
        markers,
        unroutable,
        unroutable_lines: unroutable_shown,
        unmapped: mapped.unmapped,
        unmapped_lines: mapped.shown,
        passed_over: mapped.passed_over,
        rejects,
    })
}

/// What became of records that are no events.
#[derive(Default)]
struct MappedTally {
    unmapped: u64,
    shown: Vec<(u64, String)>,
    passed_over: u64,
}

/// Publishes what the mapping makes of a record. `false` when one of its events is after `until`.
async fn publish_mapped(
    replayer: &mut Replayer,
    mapping: &RecordMapper,
    number: u64,
    record: &[u8],
    until: Option<Instant>,
    tally: &mut MappedTally,
) -> anyhow::Result<bool> {
    for outcome in mapping.map(number, record, clock::now()) {
        match outcome {
            Mapped::Event(made) => {
                if !replayer.publish(number, mapping.envelope(&made), until).await? {
                    return Ok(false);
                }
            }
            Mapped::Unmapped(unmapped) => {
                mapping.publish_unmapped(replayer.client(), record, &unmapped).await?;
                tally.unmapped += 1;
                if tally.shown.len() < MAX_SHOWN {
                    tally.shown.push((number, unmapped.problem.reason));
                }
                anyhow::ensure!(
                    tally.unmapped < MAX_UNMAPPED,
                    "{MAX_UNMAPPED} records could not be mapped, the last in line {number}: {}; change the mapping and \
                     replay the file again",
                    tally.shown[0].1
                );
            }
            Mapped::PassedOver(_) => tally.passed_over += 1,
        }
    }
    Ok(true)
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

async fn last_reject(client: &Client) -> u64 {
    let subjects = &client.connection.subjects;
    let last = last_message(&client.connection, &subjects.rejects_stream(), &subjects.rejects("*")).await;
    last.map_or(0, |message| message.sequence)
}

/// How many events were rejected since, by code.
async fn count_rejects(client: &Client, since: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let end = last_reject(client).await;
    let subjects = &client.connection.subjects;
    let mut reader = Reader::new(&client.connection, subjects.rejects_stream(), subjects.rejects("*"), since + 1);
    while reader.position() <= end {
        let message = reader.next().await;
        if let Ok(rejects) = serde_json::from_slice::<Rejects>(&message.payload) {
            count_events(&rejects.rejects, &mut counts);
        }
    }
    counts
}

fn count_events(rejects: &[Reject], counts: &mut BTreeMap<String, u64>) {
    for reject in rejects {
        *counts.entry(reject.code.to_string()).or_default() += reject.events();
    }
}

fn show(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        return super::print_json(summary);
    }
    super::print_line(&describe(summary))?;
    if !summary.rejects.is_empty() {
        let codes: Vec<_> = summary.rejects.iter().map(|(code, n)| format!("{code} {}", count(*n))).collect();
        super::print_line(&format!("not counted: {}; see `daybook rejects TENANT`", codes.join(", ")))?;
    }
    if summary.passed_over > 0 {
        super::print_line(&format!(
            "passed over, for they are no events of the mapping: {}",
            count(summary.passed_over)
        ))?;
    }
    if summary.unmapped > 0 {
        eprintln!("{} could not be mapped, and are told by `daybook rejects`:", count(summary.unmapped));
        for (number, reason) in &summary.unmapped_lines {
            eprintln!("  line {number}: {reason}");
        }
    }
    if summary.unroutable > 0 {
        eprintln!("{} lines were not published:", count(summary.unroutable));
        for (number, reason) in &summary.unroutable_lines {
            eprintln!("  line {number}: {reason}");
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::reject::{Code, Original, Span};
    use daybook_domain::ids::InboxSeq;

    #[test]
    fn a_reject_that_stands_for_several_events_counts_as_so_many() {
        let reject = |code, span| Reject {
            code,
            reason: "r".into(),
            tenant: "acme".into(),
            kind: "order".into(),
            inbox: InboxSeq(1),
            index: 0,
            field: None,
            date: None,
            original: Original::new(b""),
            span,
        };
        let span = |events| Some(Span { events, last: InboxSeq(9) });
        let mut counts = BTreeMap::new();
        count_events(&[reject(Code::Malformed, None), reject(Code::QuotaEvents, span(50_000))], &mut counts);
        count_events(&[reject(Code::QuotaEvents, span(1)), reject(Code::Malformed, None)], &mut counts);
        assert_eq!(counts, BTreeMap::from([("malformed".to_owned(), 2), ("quota_events".to_owned(), 50_001)]));
    }
}
