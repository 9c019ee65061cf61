//! Everything between a connection and a handler. Order matters: nothing of a body is read before the token is known to
//! allow the request.

use super::call::{Call, Reply};
use super::negotiation::{self, Format};
use super::parameters::Given;
use super::table::{self, Action, Route};
use crate::access::doorkeeper::Doorkeeper;
use crate::access::{Meter, Permit, Turn, Use};
use crate::definitions::Definitions;
use crate::events::body::media_type;
use crate::live::Hub;
use crate::options::Origins;
use crate::problem::{Code, Problem};
use crate::questions::Asker;
use crate::room::{Place, Rooms};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use daybook_domain::ids::TenantId;
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long a browser may remember what other origins may do.
const PREFLIGHT_AGE: &str = "600";
/// Answers up to this length take no room of their own, in bytes.
const SHORT: usize = 16 << 10;
/// How long a request for figures may take, all in all. Events by NDJSON and live views have bounds of their own.
const DEADLINE: Duration = Duration::from_secs(30);

/// What handlers share.
pub(crate) struct Gateway {
    pub connection: Connection,
    pub door: Arc<Doorkeeper>,
    pub meter: Meter,
    pub origins: Origins,
    pub definitions: Definitions,
    pub asker: Asker,
    pub hub: Hub,
    pub rooms: Rooms,
    pub max_body_bytes: usize,
    /// Most bytes of a message of events.
    pub payload_bytes: usize,
}

/// The routes of the table, those `beside` them, and problem details for everything else. Each is for [callers](check_caller) that may
/// ask.
pub(crate) fn router(gateway: Arc<Gateway>, beside: Router) -> Router {
    let mut by_path: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for route in table::ROUTES {
        by_path.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in by_path {
        let routes: Arc<[&'static Route]> = routes.into();
        let answer =
            move |State(gateway): State<Arc<Gateway>>, parameters: Result<RawPathParams, _>, request: Request| {
                let routes = routes.clone();
                // A path that is not UTF-8 has no parameters, and is refused for that.
                let parameters = parameters.ok();
                async move { serve(gateway, &routes, parameters, request).await }
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
    match check_caller(&gateway, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => finish(&gateway, request.headers(), problem.into_response()),
    }
}

/// Answers a request for a path of the table.
async fn serve(
    gateway: Arc<Gateway>,
    routes: &[&'static Route],
    parameters: Option<RawPathParams>,
    request: Request,
) -> Response {
    let began = Instant::now();
    let headers = request.headers().clone();
    let name = routes.first().map_or("", |route| route.path);
    let span = tracing::debug_span!("http", path = name, method = %request.method());
    let outcome = answer(&gateway, routes, parameters, request).instrument(span).await;
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
            return Ok((document().reply(&parts.headers), None));
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

/// Without tokens, whoever is on this machine may do everything; a web page that its user visits may not. A browser names
/// the page's origin, and a page that got this address by a name of its own (DNS rebinding) names that as the host.
fn check_caller(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Problem> {
    if !gateway.door.is_open() {
        return Ok(());
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_local(host) {
        return Err(Problem::new(Code::WrongHost, "without tokens only this machine is served, by its own address")
            .field("header Host")
            .hint("use http://127.0.0.1 or http://localhost, or run with --api-keys"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let is_own = origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    if is_own || gateway.origins.allow(origin) {
        return Ok(());
    }
    Err(Problem::new(Code::ForeignOrigin, "web pages of this origin may not use this gateway")
        .field("header Origin")
        .hint("name the origin in --cors-origins"))
}

/// Whether a host, perhaps with a port, is this machine by its loopback address.
pub fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
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

/// The body of an answer. The request counts, and has its room, for as long as the connection keeps the body.
struct Held {
    body: Body,
    _turn: Option<Turn>,
    _place: Option<Place>,
}

impl HttpBody for Held {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

pub(crate) async fn respond(gateway: &Gateway, reply: Reply, turn: Option<Turn>, asked: &HeaderMap) -> Response {
    match reply {
        Reply::Whole { status, mut headers, body } => {
            let is_plain =
                headers.contains_key(header::CONTENT_TYPE) && !headers.contains_key(header::CONTENT_ENCODING);
            let packed = if is_plain { negotiation::compress(asked, &body).await } else { None };
            headers.append(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
            if packed.is_some() {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            let body = packed.unwrap_or(body);
            // What nobody is counted for is short, or in memory once for all.
            let place = match &turn {
                Some(turn) if body.len() > SHORT => match gateway.rooms.answers.take(turn.tenant(), body.len()).await {
                    Ok(place) => Some(place),
                    Err(problem) => return problem.into_response(),
                },
                _ => None,
            };
            let mut response = Response::new(Body::new(Held { body: body.into(), _turn: turn, _place: place }));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Reply::Events(body) => {
            let mut response = Response::new(Body::new(Held { body, _turn: turn, _place: None }));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Format::EventStream.media_type()));
            // A proxy that collects events before it sends them would delay them.
            headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
            response
        }
    }
}

/// Headers of every answer.
pub(crate) fn finish(gateway: &Gateway, asked: &HeaderMap, mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CACHE_CONTROL, "no-store");
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(header::REFERRER_POLICY, "no-referrer");
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let origin =
        asked.get(header::ORIGIN).filter(|origin| origin.to_str().is_ok_and(|text| gateway.origins.allow(text)));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let mut allow = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        allow(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, OPTIONS");
        allow(header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-None-Match, Last-Event-ID");
        allow(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "ETag, Retry-After, Daybook-Next, Daybook-Newer, Daybook-As-Of, Daybook-Day, Daybook-Total, Daybook-Stale, \
             Daybook-Coverage, Daybook-Hash, Daybook-Restatement-Pending",
        );
        allow(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_loopback_addresses() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:8080", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "0.0.0.0", "10.0.0.1:80"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
