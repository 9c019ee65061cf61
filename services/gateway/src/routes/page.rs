//! The document as a page: HTML and CSS of our own, without scripts and without requests to other hosts.

use super::answers::problems_of;
use super::route::{Action, Route};
use super::table::ROUTES;
use crate::http::parameters::Parameter;
use crate::http::{Fixed, Format};
use crate::problem::Code;
use axum::http::{HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// The page as it is served. The one style sheet is allowed by its hash.
pub(super) fn fixed() -> Fixed {
    let hash = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(hash)
    );
    let policy = HeaderValue::from_str(&policy).expect("letters of base64");
    Fixed::new(Format::Html.media_type(), write()).with(header::CONTENT_SECURITY_POLICY, policy)
}

/// Text as HTML shows it; `code` between backticks.
fn text(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let pieces = escaped.split('`').enumerate();
    pieces
        .map(|(place, piece)| if place % 2 == 1 { format!("<code>{piece}</code>") } else { piece.to_owned() })
        .collect()
}

fn write() -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str(
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Daybook over HTTP</title>",
    );
    let _ = write!(page, "<style>{STYLE}</style></head><body><main><h1>Daybook over HTTP</h1>");
    let _ = write!(
        page,
        "<p>Version {}. <a href=\"/v1/openapi.json\">The OpenAPI 3.1 document</a> says the same for machines.</p><nav><ul>",
        text(env!("CARGO_PKG_VERSION"))
    );
    for route in ROUTES {
        let _ = write!(page, "<li><a href=\"#{}\">{}</a></li>", route.id, text(route.summary));
    }
    page.push_str("<li><a href=\"#errors\">Errors</a></li></ul></nav>");
    for route in ROUTES {
        section(&mut page, route);
    }
    page.push_str("<section><h2 id=\"errors\">Errors</h2><p>Errors are <code>application/problem+json</code> (RFC 9457). \
        <code>code</code> is stable; <code>field</code>, <code>position</code> and <code>hint</code> are there where they help.</p>\
        <div class=\"wide\"><table><thead><tr><th scope=\"col\">code</th><th scope=\"col\">status</th><th scope=\"col\">meaning</th></tr></thead><tbody>");
    for code in Code::ALL {
        let (name, title) = (code.as_str(), text(code.title()));
        let _ = write!(
            page,
            "<tr id=\"error-{name}\"><td><code>{name}</code></td><td>{}</td><td>{title}</td></tr>",
            code.status().as_u16()
        );
    }
    page.push_str("</tbody></table></div></section></main></body></html>\n");
    page
}

fn section(page: &mut String, route: &Route) {
    let _ = write!(page, "<section><h2 id=\"{}\">{}</h2>", route.id, text(route.summary));
    let _ = write!(
        page,
        "<p class=\"route\"><b>{}</b> <code>{}</code></p><p>{}</p>",
        route.method,
        text(route.path),
        text(route.about)
    );
    match route.action {
        Action::Open(_) => page.push_str("<p>No token is needed.</p>"),
        Action::For(scope, _) => {
            let _ = write!(page, "<p>The token needs the scope <code>{}</code>.</p>", scope.as_str());
        }
    }
    let parameters: Vec<&Parameter> = route.path_parameters().chain(route.query).collect();
    if !parameters.is_empty() {
        page.push_str("<div class=\"wide\"><table><thead><tr><th scope=\"col\">parameter</th><th scope=\"col\">such as</th><th scope=\"col\">meaning</th></tr></thead><tbody>");
        for Parameter { name, about, example, .. } in parameters {
            let (name, example, about) = (text(name), text(example), text(about));
            let _ =
                write!(page, "<tr><td><code>{name}</code></td><td><code>{example}</code></td><td>{about}</td></tr>");
        }
        page.push_str("</tbody></table></div>");
    }
    if !route.bodies.is_empty() {
        let media: Vec<_> = route.bodies.iter().map(|(media, _)| format!("<code>{media}</code>")).collect();
        let _ = write!(page, "<p>Body: {}.</p>", media.join(" or "));
    }
    let formats: Vec<_> = route.formats.iter().map(|format| format!("<code>{}</code>", format.name())).collect();
    let _ = write!(page, "<p>Formats by <code>Accept</code>: {}.</p><ul>", formats.join(", "));
    for (status, about, _) in route.answers {
        let _ = write!(page, "<li>{status}: {}</li>", text(about));
    }
    for (status, codes) in problems_of(route) {
        let codes: Vec<_> =
            codes.iter().map(|code| format!("<a href=\"#error-{0}\"><code>{0}</code></a>", code.as_str())).collect();
        let _ = write!(page, "<li>{status}: {}</li>", codes.join(", "));
    }
    page.push_str("</ul></section>");
}
