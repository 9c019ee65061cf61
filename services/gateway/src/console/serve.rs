//! A request to a page: who may see it, and the page or its changes.

use super::asked::Asked;
use super::visitor::Visitor;
use super::wanted::Wanted;
use super::{Console, Screen, live, page, screens};
use crate::access::{Turn, Use};
use crate::http::{Reply, finish, respond};
use crate::problem::{Code, Problem};
use axum::extract::{RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use daybook_runtime::clock;
use std::sync::Arc;
use tokio::time::Instant;

/// Answers a request to a screen; `name` is its path in the table.
pub(super) async fn serve(
    console: Arc<Console>,
    name: &'static str,
    screen: Screen,
    place: Option<RawPathParams>,
    request: Request,
) -> Response {
    let began = Instant::now();
    // A body is of no use here, and dropped.
    let (request, _) = request.into_parts();
    let headers = request.headers.clone();
    let (reply, turn) = match answer(&console, screen, place, &request).await {
        Ok(answered) => answered,
        Err(problem) => {
            if problem.code == Code::Internal {
                tracing::error!(path = name, problem = problem.json(), "a page failed");
            }
            let trouble = page::trouble(&problem);
            let is_method = problem.code == Code::MethodNotAllowed;
            (if is_method { trouble.with(header::ALLOW, "GET, HEAD") } else { trouble }, None)
        }
    };
    let response = respond(&console.gateway, reply, turn, &headers).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("daybook_http_requests_total", "path" => name, "status" => status).increment(1);
    metrics::histogram!("daybook_http_request_seconds", "path" => name).record(began.elapsed().as_secs_f64());
    finish(&console.gateway, &headers, response)
}

async fn answer(
    console: &Arc<Console>,
    screen: Screen,
    place: Option<RawPathParams>,
    request: &Parts,
) -> Result<(Reply, Option<Turn>), Problem> {
    let (gateway, headers) = (&console.gateway, &request.headers);
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Problem::new(Code::MethodNotAllowed, "pages only read"));
    }
    let raw = place.ok_or_else(|| Problem::new(Code::BadRequest, "the path is not UTF-8 in percent encoding"))?;
    let asked = Asked::read(request.uri.query().unwrap_or_default())?;
    let is_live = asked.has("live");
    let wanted = Wanted {
        screen,
        path: request.uri.path().to_owned(),
        asked: asked.without(&["live"]),
        place: raw.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
    };
    let tenant = wanted.of_path("tenant").ok();
    let visitor = match Visitor::of(console, headers, tenant.clone(), clock::now()) {
        Ok(visitor) => visitor,
        Err(problem) if problem.code == Code::Unauthorized && !is_live => {
            return Ok((to_sign_in(&wanted, headers), None));
        }
        Err(problem) => return Err(problem),
    };
    let counted_as = if is_live { Use::Page } else { Use::Request };
    let turn = gateway.meter.begin(&visitor.grant().holder, tenant, counted_as, Instant::now())?;
    if is_live {
        return Ok((Reply::Events(live::follow(console.clone(), visitor, wanted)?), Some(turn)));
    }
    let made = screens::page(console, &visitor, &wanted).await?;
    let follow = wanted.asked.with("live", "").link(&wanted.path);
    Ok((page::document(&made, &visitor, &wanted.path, &follow), Some(turn)))
}

/// Sends whoever has no valid token to the page that takes one, and from there back here.
fn to_sign_in(wanted: &Wanted, headers: &HeaderMap) -> Reply {
    let mut asked = Asked::default().with("next", &wanted.asked.link(&wanted.path));
    if headers.contains_key(header::COOKIE) {
        asked = asked.with("again", "");
    }
    let empty = maud::PreEscaped(String::new());
    page::reply(StatusCode::SEE_OTHER, &empty).with(header::LOCATION, &asked.link("/sign-in"))
}
