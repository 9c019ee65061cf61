//! The first screen: all tenants, each with the state of its day and the figures of one view.

use super::asked::Asked;
use super::page::{Page, wide};
use super::state::{self, State};
use super::survey::Newest;
use super::visitor::Visitor;
use super::wanted::Wanted;
use super::{Console, words};
use crate::problem::Problem;
use daybook_contracts::ask::{Answer, Query};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::catalogue::{Tenant, View};
use daybook_domain::ids::Name;
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use futures::{FutureExt as _, StreamExt as _};
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Tenants on a page.
const A_PAGE: usize = 25;
/// Tenants whose days are all asked for, to sort and pick by state. With more of them the list is by id or name.
const SURVEYED: usize = 500;
/// Figures of the chosen view that are shown.
const MAX_METRICS: usize = 4;
/// Questions for figures under way at once for one page.
const AT_ONCE: usize = 8;
const EVERY: Duration = Duration::from_secs(2);

/// The orders of the list.
const ORDERS: [(&str, &str); 4] =
    [("state", "State, urgent first"), ("id", "Tenant"), ("name", "Name"), ("closes", "Closing time")];

/// A tenant with its day.
struct Line {
    tenant: Arc<Tenant>,
    newest: Option<Newest>,
    state: State,
    closes_at: Option<Instant>,
}

impl Line {
    fn new(tenant: Arc<Tenant>, newest: Option<Newest>, now: Instant) -> Self {
        let (mut state, mut closes_at) = (State::None, None);
        match newest.as_deref() {
            Some(Ok(days)) => {
                if let Some(day) = state::today(days) {
                    (state, closes_at) = (state::of_day(day, days, &tenant, now), day.closes_at);
                }
            }
            Some(Err(_)) => state = State::Unknown,
            None => {}
        }
        Self { tenant, newest, state, closes_at }
    }
}

/// The list as it was asked for.
struct List {
    lines: Vec<Line>,
    /// How many tenants match.
    total: usize,
    page: usize,
    /// How many tenants are in each state; none when there are too many tenants to ask for all.
    states: Option<BTreeMap<State, usize>>,
    order: &'static str,
}

/// Makes the page.
///
/// # Errors
/// None but those of the framework: a tenant that cannot be asked for says so in its row.
pub(super) async fn page(console: &Console, visitor: &Visitor, wanted: &Wanted) -> Result<Page, Problem> {
    let views: Vec<Arc<View>> =
        console.gateway.definitions.views().into_iter().filter(|view| visitor.may_ask(view)).collect();
    let chosen = wanted.asked.text("view");
    let view = views.iter().find(|view| Some(view.name.as_str()) == chosen);
    let view = view.or_else(|| views.iter().find(|view| view.group_by.is_empty())).or(views.first());
    let list = list(console, visitor, &wanted.asked).await;
    let figures = match view {
        Some(view) => figures(console, &list.lines, view).await,
        None => Vec::new(),
    };
    Ok(Page {
        title: "Today".to_owned(),
        above: Vec::new(),
        lead: form(&wanted.asked, &views, view.map(|view| &view.name), list.order, list.states.is_some()),
        live: body(&wanted.asked, &list, view, &figures),
        every: EVERY,
    })
}

async fn list(console: &Console, visitor: &Visitor, asked: &Asked) -> List {
    let search = asked.text("q").unwrap_or_default().to_lowercase();
    let matches = |tenant: &Tenant| {
        let has = |text: &str| text.to_lowercase().contains(&search);
        visitor.may_see(tenant)
            && (search.is_empty() || has(tenant.id.as_str()) || tenant.name.as_deref().is_some_and(has))
    };
    let tenants = console.gateway.definitions.tenants(matches);
    let now = clock::now();
    let is_surveyed = tenants.len() <= SURVEYED;
    let asked_for = asked.text("sort").unwrap_or("state");
    let order = ORDERS.iter().map(|(order, _)| *order).find(|order| *order == asked_for).unwrap_or("state");
    let order = if is_surveyed || order == "name" { order } else { "id" };
    let mut lines: Vec<Line> = if is_surveyed {
        let newest = console.survey.newest(tenants.iter().map(|tenant| tenant.id.clone())).await;
        tenants.into_iter().zip(newest).map(|(tenant, newest)| Line::new(tenant, Some(newest), now)).collect()
    } else {
        tenants.into_iter().map(|tenant| Line::new(tenant, None, now)).collect()
    };
    let states = is_surveyed.then(|| {
        let mut states = BTreeMap::new();
        lines.iter().for_each(|line| *states.entry(line.state).or_insert(0) += 1);
        states
    });
    if let Some(word) = asked.text("state").filter(|_| is_surveyed) {
        lines.retain(|line| line.state.word() == word);
    }
    // They come in the order of their ids, and sorting keeps that among equals.
    match order {
        "state" => lines.sort_by_key(|line| line.state),
        "name" => {
            lines.sort_by_key(|line| line.tenant.name.clone().map_or((true, String::new()), |name| (false, name)))
        }
        "closes" => lines.sort_by_key(|line| (line.closes_at.is_none(), line.closes_at)),
        _ => {}
    }
    if asked.has("down") {
        lines.reverse();
    }
    let total = lines.len();
    let last = total.div_ceil(A_PAGE).max(1);
    let page = asked.whole("page").map_or(1, |page| page as usize).clamp(1, last);
    let mut lines: Vec<Line> = lines.into_iter().skip((page - 1) * A_PAGE).take(A_PAGE).collect();
    if !is_surveyed {
        let newest = console.survey.newest(lines.iter().map(|line| line.tenant.id.clone())).await;
        lines = lines.into_iter().zip(newest).map(|(line, newest)| Line::new(line.tenant, Some(newest), now)).collect();
    }
    List { lines, total, page, states, order }
}

/// One row of figures for each line: the whole view in one, as it stands on the newest open day.
async fn figures(console: &Console, lines: &[Line], view: &View) -> Vec<Result<Answer, Problem>> {
    let metrics: Vec<Name> = view.metrics.iter().take(MAX_METRICS).map(|metric| metric.name.clone()).collect();
    let query = Query { dimensions: Some(Vec::new()), metrics: Some(metrics), ..Query::default() };
    let ask = |line: &Line| {
        let (asker, query, tenant) = (console.gateway.asker.clone(), query.clone(), line.tenant.clone());
        let view = view.name.clone();
        async move { asker.read(&tenant.id, view.as_str(), &query).await }.boxed()
    };
    let asks: Vec<_> = lines.iter().map(ask).collect();
    futures::stream::iter(asks).buffered(AT_ONCE).collect().await
}

fn form(asked: &Asked, views: &[Arc<View>], view: Option<&Name>, order: &str, has_states: bool) -> Markup {
    let states =
        [State::Overdue, State::Closing, State::Restating, State::Open, State::Sealed, State::Final, State::Unknown];
    html! {
        form.filters method="get" action="/" role="search" {
            div { label for="q" { "Search" } input #q type="search" name="q" value=[asked.text("q")] placeholder="id or name"; }
            div {
                label for="view" { "Figures of" }
                select #view name="view" {
                    @for one in views { option value=(one.name) selected[Some(&one.name) == view] { (words::heading(one.name.as_str())) } }
                }
            }
            @if has_states {
                div {
                    label for="state" { "State" }
                    select #state name="state" {
                        option value="" { "all" }
                        @for state in states {
                            option value=(state.word()) selected[asked.text("state") == Some(state.word())] { (state.word()) }
                        }
                    }
                }
            }
            div {
                label for="sort" { "Sorted by" }
                select #sort name="sort" {
                    @for (name, text) in ORDERS { option value=(name) selected[name == order] { (text) } }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

fn body(asked: &Asked, list: &List, view: Option<&Arc<View>>, figures: &[Result<Answer, Problem>]) -> Markup {
    let metrics: Vec<&str> = view.map_or_else(Vec::new, |view| {
        view.metrics.iter().take(MAX_METRICS).map(|metric| metric.name.as_str()).collect()
    });
    html! {
        (summary(asked, list))
        @if list.lines.is_empty() {
            p.notice { "No tenant matches." }
        } @else {
            (wide("Tenants", &html! {
                table {
                    caption.hidden { "Tenants with their business day" @if let Some(view) = view { ", and figures of the view " (view.name) } }
                    thead { tr {
                        (sorted("Tenant", "id", asked, list.order))
                        (sorted("State", "state", asked, list.order))
                        th scope="col" { "Business day" }
                        (sorted("Closes", "closes", asked, list.order))
                        th scope="col" { "Newest report" }
                        @for metric in &metrics { th.number scope="col" { (words::heading(metric)) } }
                        th.number scope="col" { "As of" }
                    } }
                    tbody {
                        @for (place, line) in list.lines.iter().enumerate() {
                            (row(line, view, &metrics, figures.get(place)))
                        }
                    }
                }
            }))
        }
        (pages(asked, list))
    }
}

fn summary(asked: &Asked, list: &List) -> Markup {
    let all: usize = list.states.as_ref().map_or(list.total, |states| states.values().sum());
    html! {
        div.summary {
            p { strong { (words::count(all as u64)) } @if all == 1 { " tenant" } @else { " tenants" } }
            @match &list.states {
                Some(states) => ul.states {
                    @for (state, count) in states {
                        li {
                            a class={ "state " (slug(*state)) } href=(asked.without(&["page"]).with("state", state.word()).link("/"))
                                title=(state.meaning()) { (words::count(*count as u64)) " " (state.word()) }
                        }
                    }
                }
                None => p.hint { "With more than " (SURVEYED) " tenants the list is by id or name. Search to sort by state." }
            }
        }
    }
}

/// A heading that sorts by its column, and the other way round when it does already.
fn sorted(name: &str, order: &str, asked: &Asked, current: &str) -> Markup {
    let (is_current, is_down) = (order == current, asked.has("down"));
    let next = asked.without(&["page", "down"]).with("sort", order);
    let next = if is_current && !is_down { next.with("down", "1") } else { next };
    let direction = if is_down { "descending" } else { "ascending" };
    html! {
        th scope="col" aria-sort=[is_current.then_some(direction)] { a href=(next.link("/")) { (name) } }
    }
}

fn row(line: &Line, view: Option<&Arc<View>>, metrics: &[&str], figures: Option<&Result<Answer, Problem>>) -> Markup {
    let id = line.tenant.id.as_str();
    let days = line.newest.as_deref().and_then(|newest| newest.as_ref().ok());
    let day = days.and_then(state::today);
    let report = days.and_then(state::newest_report);
    let answer = figures.and_then(|answer| answer.as_ref().ok());
    let cell = |metric: &str| answer.and_then(|answer| answer.rows.first()).and_then(|row: &Row| row.get(metric));
    html! {
        tr data-key=(id) {
            th scope="row" {
                a href={ "/tenants/" (id) } { (id) }
                @if let Some(name) = &line.tenant.name { span.name { (name) } }
            }
            td { (badge(line.state)) }
            td { @if let Some(day) = day { (day.date) } }
            td {
                @if let Some((day, closes_at)) = day.and_then(|day| Some((day, day.closes_at?))) {
                    (words::time(closes_at, &words::zone(&line.tenant, day.date)))
                }
            }
            td {
                @if let Some((date, version)) = report.and_then(|day| Some((day.date, day.report?))) {
                    a href={ "/tenants/" (id) "/reports/" (date) } { (date) }
                    @if version > 1 { " " span.version { "v" (version) } }
                }
            }
            @for metric in metrics {
                td.number {
                    @match (cell(metric), view) {
                        (Some(figure), Some(view)) => a.plain href={ "/tenants/" (id) "/views/" (view.name) } { (words::figure(figure)) },
                        (Some(figure), None) => (words::figure(figure)),
                        _ => (words::figure(&Figure::Null)),
                    }
                }
            }
            td.number.fresh { (freshness(figures)) }
        }
    }
}

/// How old figures are, or why there are none.
fn freshness(answer: Option<&Result<Answer, Problem>>) -> Markup {
    html! {
        @match answer {
            Some(Ok(answer)) if answer.stale => span.warn { (words::millis(answer.freshness_ms)) " ago, stale" },
            Some(Ok(answer)) if answer.freshness_ms < 1_000 => "now",
            Some(Ok(answer)) => { (words::millis(answer.freshness_ms)) " ago" },
            Some(Err(problem)) => span.warn title=(problem.detail()) { (problem.code.as_str()) },
            None => "",
        }
    }
}

/// A state as a badge: a word and a colour.
pub(super) fn badge(state: State) -> Markup {
    html! { span class={ "state " (slug(state)) } title=(state.meaning()) { (state.word()) } }
}

fn slug(state: State) -> &'static str {
    if state == State::None { "none" } else { state.word() }
}

fn pages(asked: &Asked, list: &List) -> Markup {
    let last = list.total.div_ceil(A_PAGE).max(1);
    let link = |page: usize| asked.with("page", &page.to_string()).link("/");
    html! {
        @if last > 1 {
            nav.pages aria-label="Pages" {
                @if list.page > 1 { a rel="prev" href=(link(list.page - 1)) { "Earlier page" } }
                span { "Page " (list.page) " of " (words::count(last as u64)) }
                @if list.page < last { a rel="next" href=(link(list.page + 1)) { "Next page" } }
            }
        }
    }
}
