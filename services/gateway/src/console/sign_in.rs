//! Signing in and out: the only two forms that change anything, and that is the cookie.

use super::Console;
use super::asked::Asked;
use super::page;
use super::visitor::{COOKIE, MAX_TOKEN_BYTES, bearer, is_token};
use crate::events::body::whole;
use crate::http::{Reply, finish, respond};
use crate::problem::{Code, Problem};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use daybook_runtime::clock;
use maud::{Markup, html};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest form, in bytes.
const MAX_FORM_BYTES: usize = 16 << 10;
/// How long the browser keeps a token that has no end: 30 days.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Stands for whoever has no token yet, in the meter.
const NOBODY: &str = "sign-in";

/// Shows the form, or takes a token and keeps it in a cookie.
pub(super) async fn sign_in(State(console): State<Arc<Console>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let answered = match *request.method() {
        Method::GET | Method::HEAD => show(request.uri().query().unwrap_or_default()),
        Method::POST => take(&console, &headers, request.into_body()).await,
        _ => Err(Problem::new(Code::MethodNotAllowed, "the path takes GET and POST")),
    };
    send(&console, &headers, answered).await
}

/// Forgets the token.
pub(super) async fn sign_out(State(console): State<Arc<Console>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let answered = match *request.method() {
        Method::POST => check_origin(&headers).map(|_| go("/sign-in", &format!("{COOKIE}=; Max-Age=0"), false)),
        _ => Err(Problem::new(Code::MethodNotAllowed, "the path takes POST")),
    };
    send(&console, &headers, answered).await
}

async fn send(console: &Console, headers: &HeaderMap, answered: Result<Reply, Problem>) -> Response {
    let reply = answered.unwrap_or_else(|problem| page::trouble(&problem));
    let response = respond(&console.gateway, reply, None, headers).await;
    finish(&console.gateway, headers, response)
}

fn show(query: &str) -> Result<Reply, Problem> {
    let asked = Asked::read(query)?;
    let why = asked.has("again").then_some("Your token is not valid any more.");
    Ok(page::reply(StatusCode::OK, &form(local(asked.text("next")), why)))
}

async fn take(console: &Console, headers: &HeaderMap, body: Body) -> Result<Reply, Problem> {
    let gateway = &console.gateway;
    let is_secure = check_origin(headers)? || console.is_tls;
    let _turn = gateway.meter.begin(NOBODY, None, crate::access::Use::Request, Instant::now())?;
    let whole = whole(gateway.rooms.questions.place(None), body, headers, MAX_FORM_BYTES).await?;
    let text = String::from_utf8_lossy(&whole.bytes).into_owned();
    let asked = Asked::read(&text)?;
    let next = local(asked.text("next"));
    let token = asked.text("token").unwrap_or_default().trim();
    let refused = |why: &str| Ok(page::reply(StatusCode::UNPROCESSABLE_ENTITY, &form(next, Some(why))));
    if token.len() > MAX_TOKEN_BYTES {
        return refused("A browser keeps tokens of at most 3,800 characters. Use a shorter one.");
    }
    if !is_token(token) {
        return refused("Give an API key of `daybook key create`, or a JWT.");
    }
    let now = clock::now();
    let grant = match gateway.door.grant(&[(header::AUTHORIZATION, bearer(token))].into_iter().collect(), now) {
        Ok(grant) => grant,
        Err(problem) => return refused(&format!("{}.", problem.detail())),
    };
    let left = grant.expires_at.map_or(LONGEST, |end| end.since(now).min(LONGEST));
    Ok(go(next, &format!("{COOKIE}={token}; Max-Age={}", left.as_secs()), is_secure))
}

/// Whether the form came by HTTPS.
///
/// # Errors
/// It is of another site: that could sign its visitors in with a token of its own.
fn check_origin(headers: &HeaderMap) -> Result<bool, Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    match (origin, text(header::HOST)) {
        (Some((scheme, authority)), Some(host)) if authority.eq_ignore_ascii_case(host) => Ok(scheme == "https"),
        _ => {
            Err(Problem::new(Code::ForeignOrigin, "the form is not of this gateway's own page").field("header Origin"))
        }
    }
}

/// A path of this gateway to go to; never another site.
fn local(next: Option<&str>) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    let is_local = |text: &&str| text.starts_with('/') && !text.starts_with("//") && text.bytes().all(is_plain);
    next.filter(is_local).unwrap_or("/")
}

fn go(next: &str, cookie: &str, is_secure: bool) -> Reply {
    let secure = if is_secure { "; Secure" } else { "" };
    let empty = maud::PreEscaped(String::new());
    page::reply(StatusCode::SEE_OTHER, &empty)
        .with(header::LOCATION, next)
        .with(header::SET_COOKIE, &format!("{cookie}; Path=/; HttpOnly; SameSite=Strict{secure}"))
}

fn form(next: &str, why: Option<&str>) -> Markup {
    let body = html! {
        main.narrow #main {
            p.brand { "Daybook" }
            h1 { "Sign in" }
            @if let Some(why) = why { p.notice.bad #why role="alert" { (why) } }
            form.stack method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                label for="token" { "Token" }
                input #token type="password" name="token" autocomplete="current-password" required
                    spellcheck="false" aria-describedby="about";
                p.hint #about {
                    "An API key of " code { "daybook key create" } " or a JWT, with the scope " code { "query" } ". "
                    "It stays in a cookie that no script reads."
                }
                button type="submit" { "Sign in" }
            }
        }
    };
    page::whole("Sign in", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_this_gateway_only() {
        assert_eq!(local(Some("/tenants/a?x=1")), "/tenants/a?x=1");
        for bad in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: x"] {
            assert_eq!(local(Some(bad)), "/", "{bad}");
        }
    }

    #[test]
    fn forms_of_other_sites_are_refused() {
        let of = |origin: &str| {
            let headers = [(header::ORIGIN, origin), (header::HOST, "books.example:8443")];
            check_origin(&headers.into_iter().map(|(name, text)| (name, text.parse().unwrap())).collect())
        };
        assert!(of("https://books.example:8443").unwrap() && !of("http://books.example:8443").unwrap());
        for bad in ["null", "https://books.example", "https://evil.example:8443"] {
            assert_eq!(of(bad).unwrap_err().code, Code::ForeignOrigin, "{bad}");
        }
        assert!(check_origin(&HeaderMap::new()).is_err());
    }
}
