//! Everything between a connection and a handler. Order matters: nothing of a body is read before the token is known to
//! allow the request.

use super::documents::Documents;
use super::route::{Action, Route};
use super::table::ROUTES;
use crate::access::{Permit, Turn, Use, check_caller};
use crate::events::body::media_type;
use crate::gateway::Gateway;
use crate::http::parameters::Given;
use crate::http::{Call, Format, Reply, finish, respond};
use crate::problem::{Code, Problem};
use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use daybook_domain::ids::TenantId;
use daybook_runtime::clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long a request for figures may take, all in all. Events by NDJSON and live views have bounds of their own.
const DEADLINE: Duration = Duration::from_secs(30);

/// The routes of the table, those `beside` them, and problem details for everything else. Each is for [callers](check_caller) that may
/// ask.
pub(crate) fn router(gateway: Arc<Gateway>, beside: Router) -> Router {
    let mut by_path: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for route in ROUTES {
        by_path.entry(route.path).or_default().push(route);
    }
    let documents = Arc::new(Documents::new());
    let mut router = Router::new();
    for (path, routes) in by_path {
        let routes: Arc<[&'static Route]> = routes.into();
        let documents = documents.clone();
        let answer =
            move |State(gateway): State<Arc<Gateway>>, parameters: Result<RawPathParams, _>, request: Request| {
                let (documents, routes) = (documents.clone(), routes.clone());
                // A path that is not UTF-8 has no parameters, and is refused for that.
                let parameters = parameters.ok();
                async move { serve(gateway, &documents, &routes, parameters, request).await }
            };
        router = router.route(path, any(answer));
    }
    router
        .fallback(|State(gateway): State<Arc<Gateway>>, request: Request| async move {
            let problem =
                Problem::new(Code::NotFound, "there is nothing at this path").hint("/v1/openapi.json has all paths");
            finish(&gateway, request.headers(), problem.into_response())
        })
        .with_state(gateway.clone())
        .merge(beside)
        .layer(middleware::from_fn_with_state(gateway, admit))
}

/// Answers a request if its caller may ask.
async fn admit(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    match check_caller(&gateway.door, &gateway.origins, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => finish(&gateway, request.headers(), problem.into_response()),
    }
}

/// Answers a request for a path of the table.
async fn serve(
    gateway: Arc<Gateway>,
    documents: &Documents,
    routes: &[&'static Route],
    parameters: Option<RawPathParams>,
    request: Request,
) -> Response {
    let began = Instant::now();
    let headers = request.headers().clone();
    let name = routes.first().map_or("", |route| route.path);
    let span = tracing::debug_span!("http", path = name, method = %request.method());
    let outcome = answer(&gateway, documents, routes, parameters, request).instrument(span).await;
    let response = match outcome {
        Ok((reply, turn)) => respond(&gateway, reply, turn, &headers).await,
        Err(problem) => {
            if problem.code == Code::Internal {
                tracing::error!(path = name, problem = problem.json(), "a request failed");
            }
            problem.into_response()
        }
    };
    let status = response.status().as_u16();
    metrics::counter!("daybook_http_requests_total", "path" => name, "status" => status.to_string()).increment(1);
    metrics::histogram!("daybook_http_request_seconds", "path" => name).record(began.elapsed().as_secs_f64());
    finish(&gateway, &headers, response)
}

async fn answer(
    gateway: &Arc<Gateway>,
    documents: &Documents,
    routes: &[&'static Route],
    parameters: Option<RawPathParams>,
    request: Request,
) -> Result<(Reply, Option<Turn>), Problem> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return Ok((preflight(routes), None));
    }
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method };
    let Some(route) = routes.iter().find(|route| route.method == method.as_str()) else {
        let problem = Problem::new(Code::MethodNotAllowed, format!("the path takes {}", allowed(routes)));
        let allow = HeaderValue::from_str(&allowed(routes)).expect("names of methods");
        return Err(problem.header(header::ALLOW, allow));
    };
    let (scope, handler) = match route.action {
        // Open to all: the document and its page.
        Action::Open(document) => {
            Format::choose(&parts.headers, route.formats)?;
            return Ok((documents.of(document).reply(&parts.headers), None));
        }
        Action::For(scope, handler) => (scope, handler),
    };
    let mut given = Given::default();
    let raw = parameters.ok_or_else(|| Problem::new(Code::BadRequest, "the path is not UTF-8 in percent encoding"))?;
    for (name, text) in &raw {
        if let Some(parameter) = route.path_parameters().find(|parameter| parameter.name == name) {
            given.take_path(parameter, text)?;
        }
    }
    let tenant = given.text("tenant").and_then(|tenant| TenantId::new(tenant).ok());
    let permit = Permit::ask(&gateway.door, &parts.headers, scope, tenant.clone(), clock::now())?;
    let turn =
        gateway.meter.begin(&permit.grant().holder, tenant, counted_as(route, &parts.headers), Instant::now())?;
    given.take_query(parts.uri.query().unwrap_or_default(), route.query)?;
    let format = Format::choose(&parts.headers, route.formats)?;
    let call = Call { state: gateway.clone(), permit, parameters: given, headers: parts.headers, body, format };
    let handled = handler(call);
    let reply = match route.is_stream {
        true => handled.await?,
        false => tokio::time::timeout(DEADLINE, handled)
            .await
            .map_err(|_| Problem::new(Code::Unavailable, format!("no answer within {DEADLINE:?}")))??,
    };
    Ok((reply, Some(turn)))
}

fn counted_as(route: &Route, headers: &HeaderMap) -> Use {
    match route.is_stream {
        true if route.is_live() => Use::Listener,
        true if media_type(headers) != "application/json" => Use::Upload,
        _ => Use::Request,
    }
}

fn allowed(routes: &[&'static Route]) -> String {
    let mut methods: Vec<_> = routes.iter().map(|route| route.method).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.join(", ")
}

/// What methods there are. Headers for other origins are added for every answer.
fn preflight(routes: &[&'static Route]) -> Reply {
    let reply = Reply::Whole { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: bytes::Bytes::new() };
    reply.with(header::ALLOW, &allowed(routes))
}
