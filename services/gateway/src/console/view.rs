//! A view: its figures as a table or ranking that moves, over time as bars, and the question as commands to copy.

use super::asked::Asked;
use super::chart::{self, Bar};
use super::page::{Page, above, wide};
use super::snippets::Snippets;
use super::visitor::Visitor;
use super::wanted::Wanted;
use super::{Console, rows, words};
use crate::asker::Asker;
use crate::http::parameters::Given;
use crate::problem::{Code, Problem};
use crate::questions::view::question;
use crate::routes::QUESTION;
use daybook_contracts::ask::{Answer, DAYS_VIEW, DaySelector, DayState, Days, MAX_RANGE_DAYS, Pieces, Query};
use daybook_contracts::lists::{DatesQuery, ViewEntry};
use daybook_contracts::report::{Coverage, Figure, Row};
use daybook_domain::catalogue::{Grain, Tenant};
use daybook_domain::ids::Name;
use daybook_domain::time::{Date, Instant};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows on a page when the question names no limit.
const A_PAGE: u32 = 100;
/// Most rows on a page.
const MAX_ROWS: u32 = 500;
/// Days of the chart of a view that is kept by day, when one day is asked for.
const CHARTED_DAYS: u16 = 14;
/// Most bars of a chart: as many days as a question may ask for.
const MAX_BARS: usize = MAX_RANGE_DAYS as usize;
const HOUR: Duration = Duration::from_secs(3_600);
/// No clock is changed by less.
const QUARTER: Duration = Duration::from_secs(900);
const EVERY: Duration = Duration::from_secs(1);
/// Pieces of the URL that are the page's own and no question.
const OWN: [&str; 1] = ["chart"];
/// Days to choose from.
const DAYS: [&str; 6] = ["today", "yesterday", "last_7_days", "last_30_days", "week_to_date", "month_to_date"];

/// Makes the page.
///
/// # Errors
/// Those of the query service; the URL is no question.
pub(super) async fn page(console: &Console, visitor: &Visitor, wanted: &Wanted) -> Result<Page, Problem> {
    let tenant = wanted.tenant(console).await?;
    let name = wanted.view()?;
    let asker = &console.gateway.asker;
    let asked = wanted.asked.without(&OWN);
    let query = read(&asked)?;
    let shown = Query { limit: Some(query.limit.unwrap_or(A_PAGE).min(MAX_ROWS)), ..query.clone() };
    let views = asker.views(&tenant.id).await?;
    let Some(view) = views.into_iter().find(|view| view.name == name) else {
        return Err(Problem::new(Code::UnknownView, format!("{} has no view {name} in force", tenant.id)).field("view"));
    };
    let metric =
        wanted.asked.text("chart").and_then(|wanted| view.metrics.iter().find(|metric| metric.as_str() == wanted));
    let metric = metric.or(view.metrics.first()).cloned();
    let charted = async { Some(chart(console, &tenant, &view, &query, metric.as_ref()?).await) };
    let (answer, chart) = tokio::join!(asker.read::<Answer>(&tenant.id, name.as_str(), &shown), charted);
    let answer = answer?;
    let snippets = Snippets {
        origin: visitor.origin.clone(),
        needs_token: !visitor.is_local,
        tenant: tenant.id.to_string(),
        view: name.to_string(),
        query: asked.query(),
        question: written(&query),
        prefix: console.gateway.connection.subjects.prefix().to_owned(),
    };
    Ok(Page {
        title: words::heading(name.as_str()),
        above: above(&tenant),
        lead: form(&wanted.asked, &wanted.path, &view, &query, metric.as_ref(), &tenant),
        live: html! {
            (standing(&answer))
            @if let Some(chart) = chart { (chart) }
            (figures(&answer, &view, wanted, &tenant))
            (snippets.markup())
        },
        every: EVERY,
    })
}

/// The question of a URL: the parameters are those of the API.
fn read(asked: &Asked) -> Result<Query, Problem> {
    // A form sends fields that are left empty; only a list may be.
    let blank: Vec<&str> =
        asked.pieces().filter(|(name, text)| text.is_empty() && *name != "dimensions").map(|(name, _)| name).collect();
    let mut given = Given::default();
    given.take_query(&asked.without(&blank).query(), QUESTION)?;
    let object = question(given.object(QUESTION))?;
    serde_json::from_value(Value::Object(object)).map_err(|error| Problem::new(Code::BadRequest, error.to_string()))
}

/// The question as JSON, without what is so by default.
fn written(query: &Query) -> String {
    let all = serde_json::to_value(query).unwrap_or_default();
    let usual = serde_json::to_value(Query::default()).unwrap_or_default();
    let Value::Object(all) = all else { return String::new() };
    let said: serde_json::Map<_, _> = all.into_iter().filter(|(name, value)| usual.get(name) != Some(value)).collect();
    Value::Object(said).to_string()
}

fn form(asked: &Asked, path: &str, view: &ViewEntry, query: &Query, metric: Option<&Name>, tenant: &Tenant) -> Markup {
    let days = query.days.to_string();
    let seasons: Vec<String> = tenant.seasons.iter().map(|season| format!("season:{}", season.name)).collect();
    let known: Vec<&str> = DAYS.into_iter().chain(seasons.iter().map(String::as_str)).collect();
    html! {
        form.filters method="get" action=(path) {
            @for (name, text) in asked.pieces().filter(|(name, _)| !["days", "where", "chart", "cursor"].contains(name)) {
                input type="hidden" name=(name) value=(text);
            }
            div {
                label for="days-chosen" { "Days" }
                input #days-chosen name="days" value=(days) list="days-known" autocomplete="off" spellcheck="false";
                datalist #days-known { @for one in &known { option value=(one) {} } }
            }
            @if !view.dimensions.is_empty() {
                div.grow {
                    label for="where" { "Where" }
                    input #where name="where" value=[query.filter.as_deref()] autocomplete="off" spellcheck="false"
                        placeholder=(format!("{} = '…'", view.dimensions[0]));
                }
            }
            div {
                label for="chart" { "Chart of" }
                select #chart name="chart" {
                    @for one in &view.metrics { option value=(one) selected[Some(one) == metric] { (words::heading(one.as_str())) } }
                }
            }
            button type="submit" { "Ask" }
        }
    }
}

/// What an answer rests on.
fn standing(answer: &Answer) -> Markup {
    let state = match answer.day {
        DayState::Open => "open",
        DayState::Closed => "sealed",
        DayState::Upcoming => "upcoming",
    };
    html! {
        ul.standing {
            li { span class={ "state " (state) } { (state) } }
            li { @if answer.from == answer.to { (words::date(answer.from)) } @else { (answer.from) " to " (answer.to) } }
            @if answer.day == DayState::Closed {
                @if let Some(version) = answer.report { li { "report version " (version) } }
            } @else {
                li { "position " (words::count(answer.as_of.inbox.0)) }
            }
            li { (coverage(&answer.coverage)) }
            @if answer.stale { li.warn { "stale: the shard is away, these figures are " (words::millis(answer.freshness_ms)) " old" } }
            li.hint { "definition " (answer.definition) }
        }
    }
}

/// Whether figures rest on everything.
pub(super) fn coverage(coverage: &Coverage) -> Markup {
    html! {
        @match coverage {
            Coverage::Complete => "complete",
            Coverage::Missing { tenants } => span.warn { "figures of " (tenants.len()) " tenants are missing" },
            Coverage::Partial { from, reason } => span.warn { "partial, from " (from.0) " in the log: " (reason) },
            Coverage::Capped { from, reason } => span.warn { "capped, from " (from.0) " in the log: " (reason) },
        }
    }
}

fn figures(answer: &Answer, view: &ViewEntry, wanted: &Wanted, tenant: &Tenant) -> Markup {
    let metrics: Vec<String> = view.metrics.iter().map(ToString::to_string).collect();
    let shown = answer.rows.len() as u64;
    let caption = html! {
        (words::heading(view.name.as_str()))
        @if shown < answer.total { ", " (words::count(shown)) " of " (words::count(answer.total)) " rows" }
    };
    html! {
        @if answer.rows.is_empty() {
            p.notice { "Nothing is counted for these days." }
        } @else if answer.rows.len() == 1 && view.dimensions.is_empty() {
            (single(&answer.rows[0].0))
        } @else {
            (wide(view.name.as_str(), &rows::table(&caption, &answer.rows, &metrics, &words::zone(tenant, answer.to))))
        }
        @if let Some(next) = &answer.next {
            nav.pages aria-label="Pages" {
                a rel="next" href=(wanted.asked.with("cursor", next).link(&wanted.path)) { "Further rows" }
            }
        }
    }
}

/// The figures of the one row that there is.
pub(super) fn single(row: &[(Name, Figure)]) -> Markup {
    html! {
        dl.figures {
            @for (name, value) in row {
                div data-key=(name) { dt { (words::heading(name.as_str())) } dd { (words::figure(value)) } }
            }
        }
    }
}

/// The chart: by hour where the view is kept by hour and few days are asked for, else by day.
async fn chart(console: &Console, tenant: &Tenant, view: &ViewEntry, query: &Query, metric: &Name) -> Markup {
    let is_one_day = matches!(query.days, DaySelector::Today | DaySelector::Yesterday | DaySelector::Date(_));
    let by_hour = is_one_day && view.grain != Grain::Day;
    let (grain, days) = match (by_hour, &query.days) {
        (true, days) if view.grain == Grain::ClockHour => (Pieces::ClockHour, days.clone()),
        (true, days) => (Pieces::Hour, days.clone()),
        (false, DaySelector::Date(date)) => (
            Pieces::Day,
            DaySelector::Range(date.plus(1 - i32::from(CHARTED_DAYS)).max(tenant.first_day).min(*date), *date),
        ),
        (false, _) if is_one_day => (Pieces::Day, DaySelector::Last(CHARTED_DAYS)),
        (false, days) => (Pieces::Day, days.clone()),
    };
    let asked = Query {
        days,
        metrics: Some(vec![metric.clone()]),
        dimensions: Some(Vec::new()),
        filter: query.filter.clone(),
        grain,
        limit: u32::try_from(MAX_BARS).ok(),
        ..Query::default()
    };
    let unit = words::heading(metric.as_str());
    let asker = &console.gateway.asker;
    let answer = match asker.read::<Answer>(&tenant.id, view.name.as_str(), &asked).await {
        Ok(answer) => answer,
        Err(problem) => return html! { p.hint { "There is no chart: " (problem.detail()) "." } },
    };
    let zone = words::zone(tenant, answer.to);
    let title = match (by_hour, zone.iana_name()) {
        (true, Some(name)) => format!("{unit} by hour, {name}"),
        (true, None) => format!("{unit} by hour"),
        (false, _) => format!("{unit} by day"),
    };
    let bars = match by_hour {
        true if view.grain == Grain::ClockHour => {
            clock_hours(&answer, metric, opening(asker, tenant, answer.to).await, &zone)
        }
        true => hours(&answer, metric, opening(asker, tenant, answer.to).await, &zone),
        false => days_of(&answer, metric),
    };
    chart::bars(&title, &unit, &bars)
}

/// When a day opens and closes; `None` while nobody tells.
async fn opening(asker: &Asker, tenant: &Tenant, date: Date) -> Option<(Instant, Instant)> {
    let question = DatesQuery { from: Some(date), to: Some(date), ..DatesQuery::default() };
    let days: Days = asker.read(&tenant.id, DAYS_VIEW, &question).await.ok()?;
    days.days.iter().find(|day| day.date == date).and_then(|day| day.opens_at.zip(day.closes_at))
}

/// A bar for each hour of the day, also for those without a figure: 23, 24 or 25.
fn hours(answer: &Answer, metric: &Name, day: Option<(Instant, Instant)>, zone: &TimeZone) -> Vec<Bar> {
    let at = |row: &Row| row.get("time").and_then(|time| time.to_string().parse::<Instant>().ok());
    let mut hours: BTreeMap<Instant, Figure> = BTreeMap::new();
    if let Some((opens_at, closes_at)) = day {
        let starts = std::iter::successors(Some(opens_at), |at| Some(at.after(HOUR)));
        hours.extend(starts.take_while(|at| *at < closes_at).take(MAX_BARS).map(|at| (at, Figure::Null)));
    }
    hours.extend(answer.rows.iter().filter_map(|row| Some((at(row)?, row.get(metric.as_str())?.clone()))));
    hours.into_iter().map(|(at, figure)| Bar { label: words::hour(at, zone), figure, is_open: false }).collect()
}

/// A bar for each hour that clocks show on the day, also for those without a figure.
fn clock_hours(answer: &Answer, metric: &Name, day: Option<(Instant, Instant)>, zone: &TimeZone) -> Vec<Bar> {
    let mut hours: BTreeMap<String, Figure> = BTreeMap::new();
    if let Some((opens_at, closes_at)) = day {
        let moments = std::iter::successors(Some(opens_at), |at| Some(at.after(QUARTER)));
        let shown = moments.take_while(|at| *at < closes_at).take(MAX_BARS);
        hours.extend(shown.map(|at| (words::clock_hour(at, zone), Figure::Null)));
    }
    let of = |row: &Row| Some((row.get("time")?.to_string(), row.get(metric.as_str())?.clone()));
    hours.extend(answer.rows.iter().filter_map(of));
    let label = |time: String| time.split_once('T').map_or_else(|| time.clone(), |(_, hour)| hour.to_owned());
    hours.into_iter().map(|(time, figure)| Bar { label: label(time), figure, is_open: false }).collect()
}

/// A bar for each day, also for those without a figure.
fn days_of(answer: &Answer, metric: &Name) -> Vec<Bar> {
    let of = |date: &str| {
        let row = answer.rows.iter().find(|row| row.get("day").is_some_and(|day| day.to_string() == date));
        row.and_then(|row| row.get(metric.as_str())).cloned().unwrap_or(Figure::Null)
    };
    let dates =
        std::iter::successors(Some(answer.from), |date| Some(date.next())).take_while(|date| *date <= answer.to);
    let bar = |date: Date| {
        let label = date.to_string();
        Bar { figure: of(&label), is_open: answer.day == DayState::Open && date == answer.to, label }
    };
    dates.take(MAX_BARS).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_the_question_of_the_api() {
        let asked = Asked::read("days=last_7_days&where=&dimensions=&rank.by=revenue+desc&limit=3").unwrap();
        let query = read(&asked).unwrap();
        assert_eq!(
            (query.days, query.filter.clone(), query.dimensions.clone()),
            (DaySelector::Last(7), None, Some(Vec::new()))
        );
        assert!(read(&Asked::read("dais=today").unwrap()).is_err());
        let query = read(&Asked::read("days=2024-03-01&limit=3").unwrap()).unwrap();
        assert_eq!(written(&query), r#"{"days":"2024-03-01","limit":3}"#);
        assert_eq!(written(&Query::default()), "{}");
    }
}
