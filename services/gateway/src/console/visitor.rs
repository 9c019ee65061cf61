//! Who looks at a page. A browser sends the token in a cookie that no script reads and no other site makes it send.

use super::Console;
use crate::Tenants;
use crate::access::{Grant, Permit, Scope};
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, header};
use daybook_domain::catalogue::{Tenant, View};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;

/// The cookie with the token.
pub(super) const COOKIE: &str = "daybook_token";
/// Longest token in a cookie, in bytes: browsers drop longer ones.
pub(super) const MAX_TOKEN_BYTES: usize = 3_800;

/// Who looks at a page.
pub(super) struct Visitor {
    permit: Permit,
    /// Nobody signs in: `daybook up` on the loopback interface.
    pub is_local: bool,
    /// The gateway as the browser calls it, such as `http://127.0.0.1:8080`.
    pub origin: String,
}

impl Visitor {
    /// Whoever the request's cookie names, for a page about `tenant`.
    ///
    /// # Errors
    /// [`Code::Unauthorized`](crate::problem::Code::Unauthorized) when the cookie is absent or its token not valid,
    /// [`Code::Forbidden`](crate::problem::Code::Forbidden) when the token is not for this.
    pub(super) fn of(
        console: &Console,
        headers: &HeaderMap,
        tenant: Option<TenantId>,
        now: Instant,
    ) -> Result<Self, Problem> {
        let door = &console.gateway.door;
        let mut asked = HeaderMap::new();
        if let Some(token) = token(headers) {
            asked.insert(header::AUTHORIZATION, bearer(&token));
        }
        let permit = Permit::ask(door, &asked, Scope::Query, tenant, now)?;
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        let host = if host.bytes().all(is_plain) && !host.is_empty() { host } else { "localhost" };
        let scheme = if console.is_tls { "https" } else { "http" };
        Ok(Self { permit, is_local: door.is_open(), origin: format!("{scheme}://{host}") })
    }

    /// What their token allows.
    pub(super) fn grant(&self) -> &Grant {
        self.permit.grant()
    }

    /// Checks that they may still look at the page.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Problem> {
        self.permit.check(now)
    }

    /// Whether they may see all tenants, and so the installation.
    pub(super) fn is_operator(&self) -> bool {
        self.grant().tenants == Tenants::All
    }

    /// Whether they may see the tenant.
    pub(super) fn may_see(&self, tenant: &Tenant) -> bool {
        self.grant().tenants.contain(&tenant.id)
    }

    /// Whether the view is for a tenant that they may see.
    pub(super) fn may_ask(&self, view: &View) -> bool {
        view.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|tenant| self.grant().tenants.contain(tenant)))
    }
}

/// A token as the API takes it.
pub(super) fn bearer(token: &str) -> HeaderValue {
    // Of the characters that a cookie holds.
    HeaderValue::from_str(&format!("Bearer {token}")).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a text can be a token: of the characters of API keys and JWTs.
pub(super) fn is_token(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    !text.is_empty() && text.len() <= MAX_TOKEN_BYTES && text.bytes().all(is_plain)
}

/// The token of the cookie.
fn token(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    pairs.find(|(name, text)| *name == COOKIE && is_token(text)).map(|(_, text)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_in_its_cookie() {
        let of = |cookie: &str| token(&[(header::COOKIE, cookie.parse().unwrap())].into_iter().collect());
        assert_eq!(of("a=b; daybook_token=dk_1_x; c=d").as_deref(), Some("dk_1_x"));
        for bad in ["", "daybook_token=", "daybook_token=a b", "xdaybook_token=a", "daybook_token=a\"b"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert!(!is_token(&"a".repeat(MAX_TOKEN_BYTES + 1)) && !is_token("a\r\nb"));
    }
}
