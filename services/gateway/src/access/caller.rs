//! Who may ask at all while everyone is let in: what runs on this machine, and no web page of elsewhere.

use super::doorkeeper::Doorkeeper;
use crate::options::Origins;
use crate::problem::{Code, Problem};
use axum::http::{HeaderMap, header};
use std::net::IpAddr;

/// Without tokens, whoever is on this machine may do everything; a web page that its user visits may not. A browser names
/// the page's origin, and a page that got this address by a name of its own (DNS rebinding) names that as the host.
///
/// # Errors
/// [`Code::WrongHost`], [`Code::ForeignOrigin`].
pub(crate) fn check_caller(door: &Doorkeeper, origins: &Origins, headers: &HeaderMap) -> Result<(), Problem> {
    if !door.is_open() {
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
    if is_own || origins.allow(origin) {
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
