//! `daybook audit`: the story of one entity.

use super::replay::progress;
use crate::cli::{ClientArguments, Outcome};
use crate::table::{Table, count};
use crate::verification::audit::{Chapter, EntityStanding, RefusedUnread, ReportOf, Story, Subject, audit, expired};
use crate::verification::replay::Trimmed;
use compact_str::CompactString;
use daybook_domain::ids::{Name, TenantId};
use daybook_machine::audit::Known;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    tenant: TenantId,
    /// The entity's id, as in its events
    id: CompactString,
    /// Only the entity of this kind; by default the id in every kind
    #[arg(long)]
    kind: Option<Name>,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let Arguments { tenant, id, kind, client: options } = arguments;
    let bar = progress(Some(0), options.json);
    let story = tokio::select! {
        story = audit(&client.connection, Subject { tenant, kind, id }, &bar) => story?,
        () = daybook_runtime::process::wait_for_signal() => {
            bar.abandon_with_message("stopped");
            return Ok(ExitCode::from(130));
        }
    };
    if options.json {
        super::print_json(&story)?;
    } else {
        show(&story)?;
    }
    Ok(if story.broken.is_some() || story.chapters.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(story: &Story) -> anyhow::Result<()> {
    let line = |text: String| super::print_line(&text);
    if story.chapters.is_empty() {
        line(format!("the log has no event of {:?} for {}", story.id.as_str(), story.tenant))?;
    } else {
        table(story).print()?;
        line("\nRECORDED AT is when the broker stored the event's batch in EVENTS.".to_owned())?;
    }
    if let Some(RefusedUnread { events, first, last }) = story.refused_unread {
        line(format!(
            "{} events of {} between INBOX {first} and {last} were refused unread; some of them may have been of this entity",
            count(events),
            story.tenant
        ))?;
    }
    if story.omitted > 0 {
        line(format!("{} earlier events are left out", count(story.omitted)))?;
    }
    if let Some(Trimmed { begins, snapshot }) = story.trimmed {
        line(format!(
            "the log begins at {begins}, what stood before is deleted by its retention: told from position {snapshot} on, \
             with what the snapshot there knows"
        ))?;
    }
    for standing in &story.standings {
        line(format!("now: {}", stands(standing)))?;
    }
    if let Some(broken) = &story.broken {
        line(format!("the story may go on differently: {broken}"))?;
    }
    Ok(())
}

fn table(story: &Story) -> Table {
    let mut table = Table::new([
        "INBOX",
        "EVENT",
        "LOG",
        "RECORDED AT",
        "KIND",
        "VERSION",
        "STATUS",
        "DAY",
        "AT",
        "BECAME",
        "REPLACED",
        "REPORTS",
        "REASON",
    ]);
    for chapter in &story.chapters {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            chapter.inbox.to_string(),
            chapter.index.to_string(),
            chapter.position.to_string(),
            or_none(chapter.recorded_at.map(|at| at.to_string())),
            chapter.kind.clone(),
            or_none(chapter.version.map(|version| version.to_string())),
            or_none(chapter.status.map(|status| status.as_str().to_owned())),
            or_none(chapter.day.map(|day| day.to_string())),
            or_none(chapter.at.map(|at| at.to_string())),
            became(chapter),
            or_none(chapter.replaced.as_ref().map(|known| version_of(known, chapter))),
            or_none(reports(&chapter.reports)),
            chapter.reason.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn became(chapter: &Chapter) -> String {
    let disposition = chapter.disposition.as_str();
    let code = chapter.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let on = chapter.counted_on.map(|on| format!(" on {on}")).unwrap_or_default();
    format!("{disposition}{code}{on}")
}

/// The version that was replaced, with its day where that is another one.
fn version_of(known: &Known, chapter: &Chapter) -> String {
    let on = if chapter.day == Some(known.date) { String::new() } else { format!(" of {}", known.date) };
    format!("{} {}{on}", known.version, known.status.as_str())
}

/// Such as `2024-03-01 version 2, 2024-03-02 when it closes`.
fn reports(reports: &[ReportOf]) -> Option<String> {
    let text = |report: &ReportOf| match report.sealed_at {
        Some(_) => format!("{} version {}", report.date, report.version),
        None if report.closed => format!("{} version {}, which is to come", report.date, report.version),
        None => format!("{} when it closes", report.date),
    };
    (!reports.is_empty()).then(|| reports.iter().map(text).collect::<Vec<_>>().join(", "))
}

fn stands(standing: &EntityStanding) -> String {
    let Some(now) = &standing.now else { return format!("{} {}", standing.kind, expired()) };
    let report = match standing.report {
        Some(version) => format!("closed with report version {version}"),
        None => "not closed yet".to_owned(),
    };
    format!("{} version {}, {}, in {}, {report}", standing.kind, now.version, now.status.as_str(), now.date)
}
