//! The URLs of the brokers, and what may be seen of them.

use super::secret::Secret;
use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// One URL of a NATS server, or several separated by commas: `nats://HOST:PORT`, or `tls://HOST:PORT` where TLS is
/// required. Each may hold a user and a password, or a token: `nats://USER:PASSWORD@HOST`, `nats://TOKEN@HOST`.
///
/// `Display`, `Debug` and serialization leave those out. Any text can be held, since a reason to refuse it would quote
/// it; connecting refuses what is no URL.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrls(String);

/// A URL that cannot be used. The message does not quote it, because it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("URL {position} of --nats is empty; write nats://HOST:PORT, and one comma between two URLs")]
    Empty { position: usize },
    #[error(
        "URL {position} of --nats cannot be read: {reason}; write nats://HOST:PORT or nats://USER:PASSWORD@HOST:PORT, \
         and the characters @ : / ? # , % of a password as %40 %3A %2F %3F %23 %2C %25"
    )]
    Unreadable { position: usize, reason: String },
    #[error("URL {position} of --nats is for WebSocket; Daybook speaks nats:// and tls:// only")]
    WebSocket { position: usize },
    #[error("URL {position} of --nats has a password but no user; write nats://USER:PASSWORD@HOST:PORT")]
    NoUser { position: usize },
    #[error(
        "the URLs of --nats name different users, or only some name one; write the same into each of them, or into none \
         and use --nats-user with --nats-password-file"
    )]
    MixedLogins,
}

/// Servers to connect to. The addresses hold no user: the client library logs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) addresses: Vec<ServerAddr>,
    pub(super) login: Option<UrlLogin>,
    /// Whether one of the URLs requires TLS. It is required of all then: a server that another one tells of has no URL
    /// of ours.
    pub(super) tls: bool,
}

/// What a URL says of who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlLogin {
    Password { user: String, password: Secret },
    Token(Secret),
}

impl ServerUrls {
    /// Reads the URLs.
    pub(super) fn parse(&self) -> Result<Servers, UrlError> {
        let mut servers = Servers { addresses: Vec::new(), login: None, tls: false };
        for (index, text) in self.0.split(',').enumerate() {
            let (address, login) = parse_one(text.trim(), index + 1)?;
            // A comma within a password also ends here: its first part has no user.
            if index > 0 && login != servers.login {
                return Err(UrlError::MixedLogins);
            }
            servers.tls |= address.tls_required();
            servers.addresses.push(address);
            servers.login = login;
        }
        Ok(servers)
    }

    /// Checks that all URLs can be read.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), UrlError> {
        self.parse().map(|_| ())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text as it was given, users and passwords included: for another process of one's own.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

fn parse_one(text: &str, position: usize) -> Result<(ServerAddr, Option<UrlLogin>), UrlError> {
    let unreadable = |reason: &str| UrlError::Unreadable { position, reason: reason.to_owned() };
    if text.is_empty() {
        return Err(UrlError::Empty { position });
    }
    let address: ServerAddr = text.parse().map_err(|error: std::io::Error| unreadable(&error.to_string()))?;
    if address.is_websocket() {
        return Err(UrlError::WebSocket { position });
    }
    if address.host().is_empty() {
        return Err(unreadable("it names no host"));
    }
    let mut url = address.into_inner();
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(unreadable("something follows host and port"));
    }
    let decode = |part: &str| {
        let decoded = percent_decode_str(part).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| unreadable("its user or password is not UTF-8"))
    };
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        ("", Some(_)) => return Err(UrlError::NoUser { position }),
        (token, None) => Some(UrlLogin::Token(decode(token)?.into())),
        (user, Some(password)) => Some(UrlLogin::Password { user: decode(user)?, password: decode(password)?.into() }),
    };
    // Neither fails where there is a host.
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| unreadable("its user cannot be taken out"))?;
    url.set_path("");
    let address = ServerAddr::from_url(url).map_err(|error| unreadable(&error.to_string()))?;
    Ok((address, login))
}

impl From<&str> for ServerUrls {
    fn from(urls: &str) -> Self {
        Self(urls.to_owned())
    }
}

impl From<String> for ServerUrls {
    fn from(urls: String) -> Self {
        Self(urls)
    }
}

impl FromStr for ServerUrls {
    type Err = Infallible;

    fn from_str(urls: &str) -> Result<Self, Infallible> {
        Ok(urls.into())
    }
}

impl fmt::Display for ServerUrls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(servers) = self.parse() else {
            return formatter.write_str("(a URL that cannot be read)");
        };
        for (index, address) in servers.addresses.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(formatter, "{separator}{}", address.as_url_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ServerUrls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

impl Serialize for ServerUrls {
    /// Fails where a URL cannot be read, rather than to write a setting that means something else.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parse().map_err(S::Error::custom)?;
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(urls: &str) -> String {
        let urls = ServerUrls::from(urls);
        assert_eq!(format!("{urls:?}"), format!("\"{urls}\""));
        urls.to_string()
    }

    fn login(urls: &str) -> Option<UrlLogin> {
        ServerUrls::from(urls).parse().unwrap().login
    }

    #[test]
    fn hosts_and_ports_are_kept_and_logins_are_not_shown() {
        assert_eq!(shown("nats://127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(shown("broker"), "nats://broker");
        assert_eq!(shown("nats://user:hunter2@[::1]:4222/"), "nats://[::1]:4222");
        assert_eq!(shown("tls://t0ken@a:1, tls://t0ken@b:2"), "tls://a:1,tls://b:2");
        let servers = ServerUrls::from("nats://u:hunter2@a,tls://u:hunter2@b").parse().unwrap();
        assert!(servers.tls && servers.addresses.len() == 2);
        assert!(!format!("{servers:?}").contains("hunter2"), "{servers:?}");
        assert!(servers.addresses.iter().all(|address| !address.as_url_str().contains('@')));
    }

    #[test]
    fn logins_are_decoded() {
        let password = |user: &str, password: &str| {
            Some(UrlLogin::Password { user: user.to_owned(), password: password.to_owned().into() })
        };
        assert_eq!(login("nats://ann:p%40s%2Cs%25@host:4222"), password("ann", "p@s,s%"));
        assert_eq!(login("ann:a:b@host"), password("ann", "a:b"));
        assert_eq!(login("nats://ann:p@ss@host"), password("ann", "p@ss"));
        assert_eq!(login("nats://a%20b@host"), Some(UrlLogin::Token("a b".to_owned().into())));
        assert_eq!(login("nats://host"), None);
        assert_eq!(login("nats://u:p@a,nats://u:p@b"), password("u", "p"));
    }

    #[test]
    fn what_is_no_url_is_refused_and_never_quoted() {
        for urls in [
            "",
            "nats://a,,nats://b",
            "nats://u:hunter2/x@host",
            "nats://u:12/hunter2@host",
            "nats://u:12#hunter2@host",
            "nats://u:12?hunter2@host",
            "nats://u:hunter2,x@host",
            "nats://u:12,hunter2@host",
            "nats://u:hunter2@a,nats://b",
            "nats://u:hunter2@a,nats://u:hunter3@b",
            "nats://:hunter2@host",
            "nats://u:hunter2%ff@host",
            "nats://u:hunter2@",
            "nats://u:hunter2@host:99999",
            "http://u:hunter2@host",
            "ws://u:hunter2@host",
            "nats://",
        ] {
            let given = ServerUrls::from(urls);
            let error = given.parse().unwrap_err().to_string();
            assert!(error.contains("--nats") && !error.contains("hunter"), "{urls}: {error}");
            assert_eq!(given.to_string(), "(a URL that cannot be read)", "{urls}");
            let printed = serde_json::to_string(&given).unwrap_err().to_string();
            assert!(!printed.contains("hunter"), "{printed}");
        }
    }
}
