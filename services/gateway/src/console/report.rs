//! A sealed report: its figures, its manifest, what a version changed, and whether its hash holds.

use super::page::{Page, above, wide};
use super::wanted::Wanted;
use super::{Console, digits, rows, tenant, view, words};
use crate::problem::{Code, Problem};
use crate::questions::report::{Sealed, sealed};
use daybook_contracts::comparison::{Comparison, FigureComparison, RowChange, RowComparison, ViewComparison, compare};
use daybook_contracts::lists::ViewEntry;
use daybook_contracts::report::{Report, Row};
use daybook_domain::catalogue::Tenant;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows of a view that are shown.
const MAX_ROWS: usize = 100;
/// Rows of a view that are shown of what differs.
const MAX_CHANGES: usize = 50;
/// A column that is not shown among what differs: the change of another row moves it. The rank is.
const POSITION: &str = "position";
/// Versions to choose from, the newest.
const MAX_VERSIONS: u32 = 50;
const EVERY: Duration = Duration::from_secs(5);

/// A version of the report, with the digits that people read.
struct Version {
    report: Report,
    sealed: Sealed,
}

impl Version {
    /// The hash of the bytes that came.
    fn computed(&self) -> String {
        blake3::hash(&self.sealed.payload).to_hex().to_string()
    }
}

/// The metrics of each view, by name.
type Metrics = BTreeMap<String, Vec<String>>;

/// Makes the page.
///
/// # Errors
/// Those of the query service; there is no such report.
pub(super) async fn page(console: &Console, wanted: &Wanted) -> Result<Page, Problem> {
    let tenant = wanted.tenant(console).await?;
    let date = wanted.date()?;
    let asker = &console.gateway.asker;
    let whole = |name: &str| match wanted.asked.text(name) {
        None => Ok(None),
        Some(text) => match text.parse::<u32>() {
            Ok(version) if version > 0 => Ok(Some(version)),
            _ => Err(Problem::new(Code::BadRequest, "a version is a whole number from 1").field(name)),
        },
    };
    let (version, beside) = (whole("version")?, whole("beside")?);
    let fetch = async |version: Option<u32>| {
        let sealed = sealed(asker, &tenant.id, date, version).await?;
        let mut report = sealed.report()?;
        digits::restore(&mut report, &console.gateway.definitions);
        Ok::<_, Problem>(Version { report, sealed })
    };
    let newest = fetch(None).await?;
    let most = newest.report.version;
    let is_restating = newest.sealed.is_restating;
    let shown = match version.filter(|version| *version != most) {
        Some(version) => fetch(Some(version)).await?,
        None => newest,
    };
    let beside = beside.or(shown.report.supersedes.as_ref().map(|supersedes| supersedes.version));
    let other = match beside.filter(|other| *other != shown.report.version) {
        // An older version may be over its retention.
        Some(other) => Some((other, fetch(Some(other)).await)),
        None => None,
    };
    let views = asker.views(&tenant.id).await.unwrap_or_default();
    let metrics = metrics(&views);
    let zone = words::zone(&tenant, date);
    Ok(Page {
        title: format!("Report of {}", words::date(date)),
        above: above(&tenant),
        lead: html! {},
        live: html! {
            (versions(&shown.report, most, is_restating, wanted))
            (tenant::equation(&shown.report.dispositions))
            (figures(&shown.report, &metrics, &zone))
            @if let Some((version, other)) = &other { (changes(&shown.report, *version, other, &zone)) }
            (manifest(&shown, &tenant))
            (verify(&shown, other.as_ref().and_then(|(_, other)| other.as_ref().ok())))
        },
        every: EVERY,
    })
}

fn metrics(views: &[ViewEntry]) -> Metrics {
    views.iter().map(|view| (view.name.to_string(), view.metrics.iter().map(ToString::to_string).collect())).collect()
}

fn versions(report: &Report, most: u32, is_restating: bool, wanted: &Wanted) -> Markup {
    let first = most.saturating_sub(MAX_VERSIONS - 1).max(1);
    html! {
        nav.versions aria-label="Versions" {
            @for version in (first..=most).rev() {
                a href=(wanted.asked.without(&["beside"]).with("version", &version.to_string()).link(&wanted.path))
                    aria-current=[(version == report.version).then_some("page")] { "Version " (version) @if version == most { ", newest" } }
            }
            @if is_restating { span.state.restating { "a further version will come" } }
        }
        @if report.version < most {
            p.notice { "This version was replaced. " a href=(wanted.asked.without(&["version", "beside"]).link(&wanted.path)) { "Show the newest" } }
        }
    }
}

fn figures(report: &Report, metrics: &Metrics, zone: &TimeZone) -> Markup {
    let empty = report.views.iter().filter(|(_, view)| view.rows.is_empty());
    let empty: Vec<_> = empty.map(|(name, _)| words::heading(name.as_str())).collect();
    html! {
        section aria-labelledby="figures" {
            h2 #figures { "Figures" }
            @for (name, view) in report.views.iter().filter(|(_, view)| !view.rows.is_empty()) {
                h3 { (words::heading(name.as_str())) }
                @match view.rows.as_slice() {
                    [row] if is_alone(row, metrics.get(name.as_str())) => (view::single(&row.0)),
                    rows => {
                        @let columns = metrics.get(name.as_str()).cloned().unwrap_or_default();
                        @let shown = &rows[..rows.len().min(MAX_ROWS)];
                        @let caption = html! {
                            (words::heading(name.as_str()))
                            @if (shown.len() as u64) < view.total { ", " (shown.len()) " of " (words::count(view.total)) " rows" }
                        };
                        (wide(name.as_str(), &rows::table(&caption, shown, &columns, zone)))
                    }
                }
                @if view.adjustments > 0 {
                    p.hint { (words::count(view.adjustments)) " late changes to earlier days are posted to this one." }
                }
            }
            @if !empty.is_empty() { p.hint { "Nothing was counted in " (empty.join(", ")) "." } }
        }
    }
}

/// Whether a row has figures only.
fn is_alone(row: &Row, metrics: Option<&Vec<String>>) -> bool {
    metrics.is_some_and(|metrics| row.0.iter().all(|(name, _)| metrics.iter().any(|metric| metric == name.as_str())))
}

fn changes(report: &Report, version: u32, other: &Result<Version, Problem>, zone: &TimeZone) -> Markup {
    html! {
        section aria-labelledby="changes" {
            h2 #changes { "Version " (version) " beside version " (report.version) }
            @match other {
                Err(problem) => p.notice { "Version " (version) " cannot be had: " (problem.detail()) "." },
                Ok(other) => {
                    (differences(&compare(&other.report, report), zone))
                }
            }
            @if !report.changes.is_empty() {
                h3 { "Why" }
                ul.changes {
                    @for change in &report.changes {
                        li {
                            code { (change.kind) @if let Some(id) = &change.id { " " (id) } } ": " (change.what)
                            span.hint { ", position " (words::count(change.inbox.0)) }
                        }
                    }
                    @if report.changes_omitted > 0 { li { "and " (words::count(report.changes_omitted)) " more" } }
                }
            }
        }
    }
}

fn differences(comparison: &Comparison, zone: &TimeZone) -> Markup {
    let shown = |row: &&RowComparison| row.row != RowChange::Changed || figures_of(row).next().is_some();
    let of_view = |view: &ViewComparison| view.rows.iter().filter(shown).cloned().collect::<Vec<_>>();
    let views: Vec<_> = comparison.views.iter().map(|(name, view)| (name, of_view(view), view.rows_unknown)).collect();
    html! {
        @if views.iter().all(|(_, rows, unknown)| rows.is_empty() && *unknown == 0) { p.notice { "No figure differs." } }
        @for (name, rows, unknown) in views.iter().filter(|(_, rows, unknown)| !rows.is_empty() || *unknown > 0) {
            @let omitted = rows.len().saturating_sub(MAX_CHANGES);
            (wide(&format!("Changes of {name}"), &html! {
                table.differences {
                    caption {
                        (words::heading(name.as_str()))
                        @if omitted > 0 { ", and " (omitted) " more rows" }
                        @if *unknown > 0 { ", and " (words::count(*unknown)) " rows that a report has no room for" }
                    }
                    thead { tr {
                        th scope="col" { "Row" } th scope="col" { "Figure" }
                        th.number scope="col" { "Version " (comparison.from) } th.number scope="col" { "Version " (comparison.to) }
                    } }
                    tbody { @for row in rows.iter().take(MAX_CHANGES) { (difference_of(row, zone)) } }
                }
            }))
        }
    }
}

fn figures_of(row: &RowComparison) -> impl Iterator<Item = &FigureComparison> {
    row.figures.iter().filter(|figure| figure.name.as_str() != POSITION)
}

fn difference_of(row: &RowComparison, zone: &TimeZone) -> Markup {
    let key: Vec<_> = row.key.0.iter().map(|(name, figure)| rows::text(name.as_str(), figure, zone)).collect();
    let name = if key.is_empty() { "all".to_owned() } else { key.join(", ") };
    html! {
        @match row.row {
            RowChange::New => tr.added { th scope="row" { (name) } td colspan="3" { "new" } },
            RowChange::Gone => tr.removed { th scope="row" { (name) } td colspan="3" { "gone" } },
            RowChange::Changed => {
                @for figure in figures_of(row) {
                    tr {
                        th scope="row" { (name) }
                        td { (words::heading(figure.name.as_str())) }
                        td.number { del { (words::figure(&figure.before)) } }
                        td.number { ins { (words::figure(&figure.after)) } }
                    }
                }
            }
        }
    }
}

fn manifest(Version { report, sealed }: &Version, tenant: &Tenant) -> Markup {
    let zone = words::zone(tenant, report.date);
    html! {
        section aria-labelledby="manifest" {
            h2 #manifest { "Manifest" }
            dl.facts {
                div { dt { "Opened" } dd { (words::time(report.day.opens_at, &zone)) } }
                div { dt { "Closed" } dd { (words::time(report.day.closes_at, &zone)) } }
                div { dt { "Length" } dd { (words::length(&report.day)) } }
                div { dt { "Coverage" } dd { (view::coverage(&report.coverage)) } }
                div { dt { "Log" } dd {
                    "partition " (report.log.partition.0) ", batches " (words::count(report.log.from.0)) " to " (words::count(report.log.through.0))
                    ", events up to position " (words::count(report.log.inbox_through.0))
                } }
                @if let Some(calendar) = &report.definitions.calendar {
                    div { dt { "Calendar" } dd { code { (calendar) } ", revision " (report.definitions.calendar_revision) } }
                }
                div { dt { "Time zones" } dd { (report.definitions.tzdb) } }
                div { dt { "Definitions" } dd {
                    "tenant " (report.definitions.tenant)
                    @for (name, revision) in report.definitions.kinds.iter().chain(&report.definitions.views) { ", " (name) " " (revision) }
                } }
                @if let Some(supersedes) = &report.supersedes {
                    div { dt { "Replaces" } dd { "version " (supersedes.version) ", " code.hash { (supersedes.hash) } } }
                }
                div { dt { "Size" } dd { (words::bytes(sealed.payload.len() as u64)) } }
                div { dt { "Hash" } dd { code.hash { (sealed.hash) } } }
            }
        }
    }
}

/// What the console can check at once, and the command that proves the rest.
fn verify(shown: &Version, before: Option<&Version>) -> Markup {
    let report = &shown.report;
    let is_whole = shown.sealed.hash == shown.computed();
    let chain = report.supersedes.as_ref().zip(before).filter(|(told, before)| told.version == before.report.version);
    let command = format!("daybook verify {} {}", report.tenant, report.date);
    html! {
        section aria-labelledby="verify" {
            h2 #verify { "Verify" }
            ul.checks {
                (check(is_whole, "The bytes of the report have its hash (BLAKE3).", "The bytes of the report do not have its hash."))
                (check(report.dispositions.balances(), "The account adds up.", "The account does not add up."))
                @if let Some((told, before)) = chain {
                    (check(told.hash == before.computed(), "It names the hash of the version before it.", "It names another hash than that of the version before it."))
                }
            }
            p { "This replays the log, and must make every version of the report again, byte for byte:" }
            div.snippet {
                h3 { "Command" }
                button.quiet type="button" hidden data-copy="snippet-verify" { "Copy" span.hidden { " the command" } }
                pre #snippet-verify tabindex="0" { code { (command) } }
            }
        }
    }
}

fn check(holds: bool, yes: &str, no: &str) -> Markup {
    html! {
        @if holds { li.yes { (yes) } } @else { li.no { (no) } }
    }
}
