//! What all pages have: head, navigation, the part that changes, and footer.

use super::assets::{ICON, SCRIPT, STYLE};
use super::visitor::Visitor;
use super::words;
use crate::http::{Format, Reply};
use crate::problem::{Code, Problem};
use axum::http::{HeaderName, StatusCode, header};
use daybook_domain::catalogue::Tenant;
use maud::{DOCTYPE, Markup, html};
use std::time::Duration;

/// Everything comes from here, and nothing is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page of the console.
pub(super) struct Page {
    pub title: String,
    /// The pages above, with their links.
    pub above: Vec<(String, String)>,
    /// What stays while the page is looked at, such as forms.
    pub lead: Markup,
    /// What changes.
    pub live: Markup,
    /// How often that is looked at.
    pub every: Duration,
}

/// The pages above those of a tenant: the first one, and the tenant.
pub(super) fn above(tenant: &Tenant) -> Vec<(String, String)> {
    vec![("Today".to_owned(), "/".to_owned()), (words::name(tenant), format!("/tenants/{}", tenant.id))]
}

/// A place of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NavigationLink {
    pub path: &'static str,
    pub name: &'static str,
    pub is_for_operators: bool,
}

/// The navigation.
pub(super) const NAVIGATION: &[NavigationLink] = &[
    NavigationLink { path: "/", name: "Today", is_for_operators: false },
    NavigationLink { path: "/catalogue", name: "Catalogue", is_for_operators: false },
    NavigationLink { path: "/cluster", name: "Cluster", is_for_operators: true },
];

/// The page as a document. `path` is that of the request; `follow` is where its changes come from.
pub(super) fn document(page: &Page, visitor: &Visitor, path: &str, follow: &str) -> Reply {
    let body = html! {
        header.top {
            a.skip href="#main" { "Skip to the content" }
            a.brand href="/" { "Daybook" }
            nav aria-label="Console" {
                ul {
                    @for place in NAVIGATION.iter().filter(|place| visitor.is_operator() || !place.is_for_operators) {
                        li { a href=(place.path) aria-current=[(place.path == path).then_some("page")] { (place.name) } }
                    }
                }
            }
            (account(visitor))
        }
        main #main tabindex="-1" {
            div.title {
                @if !page.above.is_empty() {
                    nav.above aria-label="Above this page" {
                        ol { @for (name, link) in &page.above { li { a href=(link) { (name) } } } }
                    }
                }
                h1 { (page.title) }
                div.following {
                    span.pulse #following role="status" { "Not live" }
                    button #pause type="button" hidden { "Pause" }
                }
            }
            (page.lead)
            div #live data-follow=(follow) { (page.live) }
        }
        (footer())
    };
    reply(StatusCode::OK, &whole(&page.title, &body))
}

fn account(visitor: &Visitor) -> Markup {
    html! {
        @if visitor.is_local {
            p.holder { "This machine, without a token" }
        } @else {
            form.holder method="post" action="/sign-out" {
                span { (visitor.grant().holder) }
                button.quiet type="submit" { "Sign out" }
            }
        }
    }
}

fn footer() -> Markup {
    html! {
        footer {
            p {
                "Daybook " (env!("CARGO_PKG_VERSION")) " · pages only read · "
                a href="/v1/docs" { "The API" }
            }
        }
    }
}

/// A page that says why there is none.
pub(super) fn trouble(problem: &Problem) -> Reply {
    let (field, hint) = problem.advice();
    let title = problem.code.title();
    let body = html! {
        header.top { a.skip href="#main" { "Skip to the content" } a.brand href="/" { "Daybook" } }
        main #main tabindex="-1" {
            div.title { h1 { (title) } }
            div.notice.bad {
                p { @if let Some(field) = field { code { (field) } ": " } (problem.detail()) "." }
                @if let Some(hint) = hint { p { (hint) } }
            }
            p {
                a href="/" { "Back to today" }
                @if problem.code == Code::Forbidden { " or " a href="/sign-in" { "sign in with another token" } }
            }
        }
        (footer())
    };
    reply(problem.status(), &whole(title, &body))
}

/// A document with this body.
pub(super) fn whole(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Daybook" }
                link rel="icon" href=(ICON) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE);
                script src=(SCRIPT) defer {}
            }
            body { (body) }
        }
    }
}

/// HTML with its policy. A page tells other sites nothing, and this one where its forms come from.
pub(super) fn reply(status: StatusCode, body: &Markup) -> Reply {
    Reply::of(status, Format::Html.media_type(), body.0.clone())
        .with(header::CONTENT_SECURITY_POLICY, POLICY)
        .with(header::REFERRER_POLICY, "same-origin")
        .with(HeaderName::from_static("cross-origin-opener-policy"), "same-origin")
}

/// A section that is one table. The caption is for those who do not see it.
pub(super) fn table_section(id: &str, title: &str, caption: &str, table: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 #{ (id) } { (title) }
            (wide(title, &html! { table { caption.hidden { (caption) } (table) } }))
        }
    }
}

/// A table in a region of its own, which scrolls where the window is narrower, also by the keyboard.
pub(super) fn wide(name: &str, table: &Markup) -> Markup {
    html! { div.wide role="region" aria-label={ "Table: " (name) } tabindex="0" { (table) } }
}
