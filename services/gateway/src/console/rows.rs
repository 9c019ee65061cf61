//! Rows of figures as a table.

use super::words::{figure, heading, moment};
use daybook_contracts::report::{Figure, Row};
use jiff::tz::TimeZone;
use maud::{Markup, html};

/// Columns that a ranking adds.
pub(super) const RANKED: [&str; 2] = ["position", "rank"];

/// The column with the start of an hour.
const TIME: &str = "time";

/// The values that identify a row: those of its dimensions, and its time.
pub(super) fn key(row: &Row, metrics: &[String]) -> String {
    let is_own = |name: &str| !metrics.iter().any(|metric| metric == name) && !RANKED.contains(&name);
    let own = row.0.iter().filter(|(name, _)| is_own(name.as_str()));
    own.map(|(_, figure)| figure.to_string()).collect::<Vec<_>>().join("\u{1f}")
}

/// A table of rows. `metrics` are the columns of figures; `caption` names the table; times are shown in `zone`.
pub(super) fn table(caption: &Markup, rows: &[Row], metrics: &[String], zone: &TimeZone) -> Markup {
    let columns: Vec<&str> =
        rows.first().map_or_else(Vec::new, |row| row.0.iter().map(|(name, _)| name.as_str()).collect());
    let is_ranked = columns.contains(&"position");
    let is_figure = |name: &str| metrics.iter().any(|metric| metric == name);
    html! {
        table {
            caption { (caption) }
            thead {
                tr {
                    @if is_ranked { th scope="col" { "Rank" } th.movement scope="col" { span.hidden { "Movement" } } }
                    @for name in columns.iter().filter(|name| !RANKED.contains(name)) {
                        th scope="col" .number[is_figure(name)] { (heading(name)) }
                    }
                }
            }
            tbody {
                @for row in rows { (line(row, metrics, is_ranked, zone)) }
            }
        }
    }
}

fn line(row: &Row, metrics: &[String], is_ranked: bool, zone: &TimeZone) -> Markup {
    let position = row.get("position").map(Figure::to_string);
    let rank = row.get("rank").map(Figure::to_string).unwrap_or_default();
    let is_figure = |name: &str| metrics.iter().any(|metric| metric == name);
    let cells: Vec<_> = row.0.iter().filter(|(name, _)| !RANKED.contains(&name.as_str())).collect();
    let head = cells.iter().position(|(name, _)| !is_figure(name.as_str()));
    html! {
        tr data-key=(key(row, metrics)) data-position=[position] {
            @if is_ranked { td.rank { (rank) } td.movement {} }
            @for (place, (name, value)) in cells.iter().enumerate() {
                @if Some(place) == head {
                    th scope="row" { (shown(name.as_str(), value, zone)) }
                } @else {
                    td .number[is_figure(name.as_str())] { (shown(name.as_str(), value, zone)) }
                }
            }
        }
    }
}

/// A dimension without a value says so.
fn shown(name: &str, value: &Figure, zone: &TimeZone) -> Markup {
    match value {
        Figure::Null => html! { span.none { "–" } },
        value => html! { (text(name, value, zone)) },
    }
}

/// A cell as a text: a number with all its digits, the start of an hour in the tenant's zone.
pub(super) fn text(name: &str, value: &Figure, zone: &TimeZone) -> String {
    let at = (name == TIME).then(|| value.to_string().parse().ok()).flatten();
    at.map_or_else(|| figure(value), |at| moment(at, zone))
}
