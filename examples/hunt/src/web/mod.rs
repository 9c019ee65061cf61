//! The door for browsers and programs over HTTP.
//!
//! - [`api`]: JSON for programs; [`pages`]: pages for players, the public and organisers; [`live`]: what changes, as server-sent
//!   events; [`rendered`]: pages made once for all who watch them; [`view`]: what a player may see;
//! - [`serving`]: connections with bounds; [`body`]: bodies with bounds; [`room`]: how much is done at once.
//!
//! Pages are live by the hunt's own events, not by the gateway's. A browser's `EventSource` sends no token, a gateway follows a
//! season once a second, and pages also show what is not in Daybook: challenges, attempts and hints. The rankings in these events
//! are Daybook's.

pub mod api;
pub mod body;
pub mod live;
pub mod pages;
pub mod rendered;
pub mod room;
pub mod serving;
pub mod view;

use crate::game::Refusal;
use crate::node::Node;
use crate::node::tokens::Bearer;
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::middleware;
use axum::routing::{get, post};
use daybook_runtime::http::metrics_handle;
use pages::Own;
use rendered::Rendered;
use room::Room;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a browser keeps a cookie.
const COOKIE_SECONDS: u32 = 30 * 86_400;
/// Cookies of players and organisers.
const COOKIES: [&str; 2] = ["hunt_player", "hunt_organiser"];
/// Everything comes from here, and nothing is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the handlers share.
#[derive(Clone)]
pub struct Door {
    pub node: Arc<Node>,
    pub room: Room,
    pub rendered: Arc<Rendered>,
    /// What stands in pages of teams where something is a player's own.
    pub holes: Arc<Own>,
    /// Browsers come by HTTPS, through a proxy: cookies are for that alone.
    pub is_https: bool,
}

/// What is sent back.
pub type Answer = Response<Body>;

impl Door {
    /// Begins to make pages; that ends when the node stops.
    pub fn new(node: Arc<Node>, is_https: bool) -> Self {
        let room = Room::new();
        let rendered = Arc::new(Rendered::new(room.clone()));
        tokio::spawn(rendered::turn(node.clone(), rendered.clone()));
        Self { holes: Arc::new(Own::holes(&node)), node, room, rendered, is_https }
    }

    /// All routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/api/hunt", get(api::hunt))
            .route("/api/join", post(api::join))
            .route("/api/submit", post(api::submit))
            .route("/api/hint", post(api::take_hint))
            .route("/api/state", get(api::state))
            .route("/api/ranking", get(api::ranking))
            .route("/api/live", get(live::ranking))
            .route("/api/organiser/teams", post(api::teams))
            .route("/api/organiser/ask", post(api::organise))
            .route("/api/organiser/reveal", post(api::reveal))
            .route("/api/organiser/rules", post(api::rules))
            .route("/", get(pages::player))
            .route("/join", post(pages::join))
            .route("/submit", post(pages::submit))
            .route("/hint", post(pages::hint))
            .route("/leave", post(pages::leave))
            .route("/board", get(pages::board))
            .route("/organiser", get(pages::organiser).post(pages::organise))
            .route("/live/player", get(live::player))
            .route("/live/board", get(live::board))
            .route("/live/organiser", get(live::organiser))
            .route("/hunt.css", get(|| async { asset("text/css; charset=utf-8", include_str!("hunt.css")) }))
            .route("/hunt.js", get(|| async { asset("text/javascript; charset=utf-8", include_str!("hunt.js")) }))
            .route("/healthz", get(health))
            .route("/healthz/ready", get(health))
            .route("/healthz/live", get(|| async { asset("text/plain", "live\n") }))
            .route("/metrics", get(|| async { asset("text/plain; version=0.0.4", metrics_handle().render()) }))
            // The body has been taken in, and was bounded, before a handler sees it.
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(self.clone(), body::take))
            .with_state(self)
    }

    /// Whoever the token in the header or a cookie names.
    pub fn bearer(&self, headers: &HeaderMap) -> Option<(String, Bearer)> {
        let token = token(headers)?;
        let bearer = self.node.secret.bearer(&token)?;
        Some((token, bearer))
    }

    /// Sends the browser to another page with a cookie; an empty value removes it.
    pub fn go_with_cookie(&self, path: &str, name: &str, value: &str) -> Answer {
        let age = if value.is_empty() { 0 } else { COOKIE_SECONDS };
        let secure = if self.is_https { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
        let mut response = go_to(path);
        response.headers_mut().extend(HeaderValue::from_str(&cookie).map(|cookie| (header::SET_COOKIE, cookie)));
        response
    }

    /// The token of an organiser.
    ///
    /// # Errors
    /// When the request has none.
    pub fn organiser(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let tokens = token(headers).into_iter().chain(cookie(headers, COOKIES[1]));
        let is_organiser = |token: &String| self.node.secret.bearer(token) == Some(Bearer::Organiser);
        tokens.into_iter().find(is_organiser).ok_or(Refusal::Forbidden)
    }
}

/// Ready once the process has a ranking or no event can be there yet, and knows the rules.
async fn health(axum::extract::State(door): axum::extract::State<Door>) -> Answer {
    let (position, has_rules) = {
        let world = door.node.world();
        (world.position, world.rules.is_some())
    };
    let waiting = door.node.outbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner).waiting.len();
    let members = door.node.members.borrow().len();
    let is_connected = door.node.client.connection_state() == async_nats::connection::State::Connected;
    let is_ready = has_rules && is_connected && door.node.is_usable().is_ok();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": is_ready, "connected": is_connected, "position": position, "members": members,
        "events_waiting": waiting});
    reply(status, "application/json", body.to_string())
}

fn token(headers: &HeaderMap) -> Option<String> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    bearer.map(str::to_owned).or_else(|| cookie(headers, COOKIES[0]))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get(header::COOKIE)?.to_str().ok()?;
    all.split(';').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// A response of this type.
pub fn reply(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn asset(media_type: &'static str, text: impl Into<Body>) -> Answer {
    reply(StatusCode::OK, media_type, text)
}

/// Sends the browser to another page.
pub fn go_to(path: &str) -> Answer {
    let mut response = reply(StatusCode::SEE_OTHER, "text/plain", "");
    let place = HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, place);
    response
}

/// JSON of a value.
pub fn json_of(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, "application/json", body),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

/// A refusal as JSON, with its message for people.
pub fn refused(refusal: &Refusal) -> Answer {
    let mut body = serde_json::to_value(refusal).unwrap_or_default();
    body["message"] = refusal.to_string().into();
    json_of(status_of(refusal), &body)
}

/// The HTTP status of a refusal.
pub fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Forbidden => StatusCode::UNAUTHORIZED,
        Refusal::NoHunt | Refusal::UnknownTeam | Refusal::NotOpen | Refusal::UnknownHint => StatusCode::NOT_FOUND,
        Refusal::Bad { .. } => StatusCode::BAD_REQUEST,
        Refusal::TooManyAttempts { .. } | Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

/// The fields of a form.
pub fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body).replace('+', " ");
    let decode = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_cookies_are_read() {
        let fields = form(b"answer=iron+gate%21&challenge=a&x");
        assert_eq!((fields["answer"].as_str(), fields["challenge"].as_str(), fields.len()), ("iron gate!", "a", 2));
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; hunt_player=p.t.x.00; hunt_players=no"));
        assert_eq!(token(&headers).as_deref(), Some("p.t.x.00"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer other"));
        assert_eq!(token(&headers).as_deref(), Some("other"));
    }
}
