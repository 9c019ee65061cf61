//! A tenant: its days as a strip, the account of each, its reports and views.

use super::page::{Page, table_section};
use super::state::{self, State};
use super::today::badge;
use super::wanted::Wanted;
use super::{Console, words};
use crate::problem::{Code, Problem};
use daybook_contracts::ask::{DAYS_VIEW, DayAccount, DayState, Days};
use daybook_contracts::lists::{DatesQuery, ViewEntry};
use daybook_contracts::report::Account;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{NamedBy, Season, Tenant};
use daybook_domain::time::Date;
use daybook_runtime::clock;
use maud::{Markup, html};
use std::time::Duration;

/// Days on a page: five weeks.
const A_PAGE: u32 = 35;
const EVERY: Duration = Duration::from_secs(2);
const USUAL: Duration = Duration::from_secs(86_400);

/// Makes the page.
///
/// # Errors
/// Those of the query service; there is no such tenant.
pub(super) async fn page(console: &Console, wanted: &Wanted) -> Result<Page, Problem> {
    let tenant = wanted.tenant(console).await?;
    let asker = &console.gateway.asker;
    let question = DatesQuery {
        limit: Some(A_PAGE),
        cursor: wanted.asked.text("cursor").map(str::to_owned),
        ..DatesQuery::default()
    };
    let days = asker.read::<Days>(&tenant.id, DAYS_VIEW, &question);
    let (days, views) = tokio::join!(days, asker.views(&tenant.id));
    let (days, views) = (days?, views?);
    let chosen = match wanted.asked.text("day") {
        Some(text) => {
            Some(text.parse::<Date>().map_err(|error| Problem::new(Code::BadRequest, error.to_string()).field("day"))?)
        }
        None => None,
    };
    let day = match chosen {
        Some(date) => days.days.iter().find(|day| day.date == date),
        None => state::today(&days),
    };
    Ok(Page {
        title: words::name(&tenant),
        above: vec![("Today".to_owned(), "/".to_owned())],
        lead: html! { (about(&tenant)) },
        live: html! {
            (strip(&days, &tenant, day.map(|day| day.date)))
            @match day {
                Some(day) => (account(day, &days, &tenant)),
                None => p.notice { "There is no such day on this page of days." },
            }
            (views_list(&tenant, &views))
            (table(&days, &tenant))
            @if let Some(next) = &days.next {
                nav.pages aria-label="Pages" {
                    a rel="next" href=(wanted.asked.without(&["day"]).with("cursor", next).link(&wanted.path)) { "Earlier days" }
                }
            }
        },
        every: EVERY,
    })
}

fn about(tenant: &Tenant) -> Markup {
    html! {
        dl.facts {
            div { dt { "Tenant" } dd { code { (tenant.id) } } }
            @for rule in &tenant.calendar {
                div {
                    dt { @if tenant.calendar.len() > 1 { "Calendar from " (rule.from) } @else { "Calendar" } }
                    dd { (rule.zone) ", cut-off " (cutoff(rule.cutoff_minutes)) }
                }
            }
            @if tenant.named_by() == NamedBy::Close {
                div { dt { "Days" } dd { "named by the date on which they close" } }
            }
            @if tenant.grace_ms > 0 {
                div { dt { "Grace" } dd { (words::span(Duration::from_millis(tenant.grace_ms))) } }
            }
            div { dt { "Clock" } dd { @if tenant.is_by_system_clock() { "real time" } @else { code { (tenant.clock) } ", moved by a replay" } } }
            div { dt { "Rejects" } dd { a href={ "/tenants/" (tenant.id) "/rejects" } { "What was refused, and why" } } }
        }
    }
}

fn cutoff(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// How long a day is; `None` while its calendar is not published that far.
fn interval(day: &DayAccount) -> Option<BusinessDay> {
    Some(BusinessDay { date: day.date, opens_at: day.opens_at?, closes_at: day.closes_at? })
}

fn is_unusual(day: &BusinessDay) -> bool {
    day.closes_at.since(day.opens_at) != USUAL
}

/// The days as a strip, oldest first.
fn strip(days: &Days, tenant: &Tenant, chosen: Option<Date>) -> Markup {
    let now = clock::now();
    html! {
        section aria-labelledby="days" {
            h2 #days { "Business days" }
            ol.strip {
                @for day in &days.days {
                    @let state = state::of_day(day, days, tenant, now);
                    li data-key=(day.date) {
                        a class=(state.word()) href={ "/tenants/" (tenant.id) "?day=" (day.date) }
                            aria-current=[(Some(day.date) == chosen).then_some("date")] {
                            span.weekday { (words::weekday(day.date)) }
                            span.date { (&day.date.to_string()[5..]) }
                            span.word { (state.word()) @if let Some(version) = day.report.filter(|version| *version > 1) { " v" (version) } }
                            @if let Some(interval) = interval(day) {
                                span.length .unusual[is_unusual(&interval)] { (words::length(&interval)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The account of a day, as an equation.
fn account(day: &DayAccount, days: &Days, tenant: &Tenant) -> Markup {
    let zone = words::zone(tenant, day.date);
    let state = state::of_day(day, days, tenant, clock::now());
    html! {
        section aria-labelledby="account" {
            h2 #account { (words::date(day.date)) " " (badge(state)) }
            p {
                (state.meaning())
                @if let Some(interval) = interval(day) {
                    " It "
                    @if day.day == DayState::Closed { "lasted" } @else { "lasts" }
                    " from " (words::time(interval.opens_at, &zone)) " to " (words::time(interval.closes_at, &zone))
                    ", " strong .unusual[is_unusual(&interval)] { (words::length(&interval)) } "."
                }
                @if let Some(version) = day.report {
                    " " a href={ "/tenants/" (tenant.id) "/reports/" (day.date) } { "Report, version " (version) }
                }
            }
            (equation(&day.account))
            @if day.as_reported { p.hint { "The account is that of the report." } }
        }
    }
}

/// The dispositions of an account; they add up to what was published.
fn terms(account: &Account) -> [(&'static str, u64, &'static str); 6] {
    [
        ("counted", account.counted, "took effect: final or void"),
        ("pending", account.pending, "took effect as a draft"),
        ("duplicate", account.duplicate, "said again what was known"),
        ("stale", account.stale, "older than what was known"),
        ("carried", account.carried, "late, and posted to the open day"),
        ("rejected", account.rejected, "refused"),
    ]
}

/// An account as an equation that adds up.
pub(super) fn equation(account: &Account) -> Markup {
    let is_balanced = account.balances();
    html! {
        div.equation role="group" aria-label="Account of the events" {
            div.term.sum { span.figure { (words::count(account.published)) } span.what { "published" } }
            @for (place, (name, count, about)) in terms(account).into_iter().enumerate() {
                div.pair {
                    span.sign { @if place == 0 { "=" } @else { "+" } }
                    div.term .zero[count == 0] title=(about) { span.figure { (words::count(count)) } span.what { (name) } }
                }
            }
        }
        @if !is_balanced { p.notice.bad { "The account does not add up. This is a defect of Daybook: please report it." } }
    }
}

fn views_list(tenant: &Tenant, views: &[ViewEntry]) -> Markup {
    html! {
        section aria-labelledby="views" {
            h2 #views { "Views" }
            @if views.is_empty() { p.notice { "No view is in force for this tenant." } }
            ul.cards {
                @for view in views {
                    li {
                        a href={ "/tenants/" (tenant.id) "/views/" (view.name) } { (words::heading(view.name.as_str())) }
                        span.hint {
                            (view.metrics.len()) @if view.metrics.len() == 1 { " metric" } @else { " metrics" }
                            @if !view.dimensions.is_empty() {
                                " by " (view.dimensions.iter().map(|name| words::heading(name.as_str())).collect::<Vec<_>>().join(", "))
                            }
                            @if view.ranked { ", ranked" }
                        }
                    }
                }
                @for season in &tenant.seasons { (season_card(tenant, season, views)) }
            }
        }
    }
}

/// A season, by the first view that ranks.
fn season_card(tenant: &Tenant, season: &Season, views: &[ViewEntry]) -> Markup {
    html! {
        @if let Some(view) = views.iter().find(|view| view.ranked).or(views.first()) {
            li {
                a href={ "/tenants/" (tenant.id) "/views/" (view.name) "?days=season%3A" (season.name) } { "Season " (season.name) }
                span.hint { (season.from) " to " (season.to) }
            }
        }
    }
}

fn table(days: &Days, tenant: &Tenant) -> Markup {
    let now = clock::now();
    let caption = "Business days, newest first, with the accounts of their events";
    let table = html! {
        thead { tr {
            th scope="col" { "Business day" } th scope="col" { "State" } th scope="col" { "Closes" }
            th.number scope="col" { "Length" } th.number scope="col" { "Version" } th.number scope="col" { "Published" }
            @for (name, _, _) in terms(&Account::default()) { th.number scope="col" { (name) } }
        } }
        tbody { @for day in days.days.iter().rev() { (line(day, state::of_day(day, days, tenant, now), tenant)) } }
    };
    table_section("accounts", "Accounts", caption, &table)
}

fn line(day: &DayAccount, state: State, tenant: &Tenant) -> Markup {
    let zone = words::zone(tenant, day.date);
    html! {
        tr data-key=(day.date) {
            th scope="row" {
                @match day.report {
                    Some(_) => a href={ "/tenants/" (tenant.id) "/reports/" (day.date) } { (words::date(day.date)) },
                    None => (words::date(day.date)),
                }
            }
            td { (badge(state)) }
            td { @if let Some(closes_at) = day.closes_at { (words::time(closes_at, &zone)) } }
            td.number { @if let Some(interval) = interval(day) { span .unusual[is_unusual(&interval)] { (words::length(&interval)) } } }
            td.number { @if let Some(version) = day.report { (version) } }
            td.number { (words::count(day.account.published)) }
            @for (_, count, _) in terms(&day.account) { td.number .zero[count == 0] { (words::count(count)) } }
        }
    }
}
