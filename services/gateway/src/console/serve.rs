//! A request to a page: who may see it, and the page or its changes.

use super::asked::Asked;
use super::page::{self, Page};
use super::visitor::Visitor;
use super::{Console, Screen, catalogue, cluster, live, rejects, report, tenant, today, view};
use crate::access::{Turn, Use};
use crate::http::{Reply, finish, respond};
use crate::problem::{Code, Problem};
use axum::extract::{RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use daybook_domain::catalogue::Tenant;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a page may take, all in all.
const DEADLINE: Duration = Duration::from_secs(20);

/// A page that was asked for.
pub(super) struct Wanted {
    pub screen: Screen,
    pub path: String,
    pub asked: Asked,
    place: BTreeMap<String, String>,
}

impl Wanted {
    /// A name in the path.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of_path<T: std::str::FromStr<Err: std::fmt::Display>>(&self, what: &str) -> Result<T, Problem> {
        let text = self.place.get(what).map_or("", String::as_str);
        text.parse().map_err(|error| Problem::new(Code::BadRequest, format!("{error}")).field(what))
    }

    /// The tenant in the path.
    ///
    /// # Errors
    /// There is no such tenant.
    pub(super) async fn tenant(&self, console: &Console) -> Result<Arc<Tenant>, Problem> {
        let id: TenantId = self.of_path("tenant")?;
        console.gateway.definitions.tenant(&id).await
    }

    /// The view in the path.
    ///
    /// # Errors
    /// It is no name.
    pub(super) fn view(&self) -> Result<Name, Problem> {
        self.of_path("view")
    }

    /// The business day in the path.
    ///
    /// # Errors
    /// It is no date.
    pub(super) fn date(&self) -> Result<Date, Problem> {
        self.of_path("date")
    }
}

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
    let tenant = wanted.place.get("tenant").and_then(|id| TenantId::new(id).ok());
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
    let made = make(console, &visitor, &wanted).await?;
    let follow = wanted.asked.with("live", "").link(&wanted.path);
    Ok((page::document(&made, &visitor, &wanted.path, &follow), Some(turn)))
}

/// Makes the page.
///
/// # Errors
/// Those of the query service; what was asked for is not there.
pub(super) async fn make(console: &Console, visitor: &Visitor, wanted: &Wanted) -> Result<Page, Problem> {
    let made = async {
        match wanted.screen {
            Screen::Today => today::page(console, visitor, wanted).await,
            Screen::Tenant => tenant::page(console, wanted).await,
            Screen::View => view::page(console, visitor, wanted).await,
            Screen::Report => report::page(console, wanted).await,
            Screen::Rejects => rejects::page(console, wanted).await,
            Screen::Catalogue => catalogue::page(console, visitor).await,
            Screen::Cluster => cluster::page(console, visitor).await,
        }
    };
    let late = || Problem::new(Code::Unavailable, format!("no answer within {DEADLINE:?}"));
    tokio::time::timeout(DEADLINE, made).await.map_err(|_| late())?
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
