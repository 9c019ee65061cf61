//! Settings of gateway, and their contradictions.

use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Most origins of web pages that may be named.
const MAX_ORIGINS: usize = 64;

/// Settings of gateway.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Gateway")]
pub struct Options {
    /// Address to serve clients on
    #[arg(long, env = "DAYBOOK_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: String,
    #[command(flatten)]
    #[serde(flatten)]
    pub door: DoorOptions,
}

/// What `daybook up` shares with the service: everything but the address.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Gateway")]
pub struct DoorOptions {
    /// Certificate chain in PEM; clients must then use HTTPS
    #[arg(long, env = "DAYBOOK_HTTP_CERT", value_name = "FILE", requires = "http_key")]
    pub http_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, env = "DAYBOOK_HTTP_KEY", value_name = "FILE", requires = "http_cert")]
    pub http_key: Option<PathBuf>,
    /// File with API keys, as `daybook key create` writes it; read again when it changes
    #[arg(long, env = "DAYBOOK_API_KEYS", value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    /// Keys that sign JWTs: a file (JWKS, or a public key in PEM), or a URL of a JWKS
    #[arg(long, env = "DAYBOOK_JWT_KEYS", value_name = "FILE|URL")]
    pub jwt_keys: Option<String>,
    /// The `iss` that a JWT must have; any when absent
    #[arg(long, env = "DAYBOOK_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// The `aud` that a JWT must have; without it, a JWT that names an audience is refused
    #[arg(long, env = "DAYBOOK_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Origins of web pages that may use the gateway, such as https://app.example, separated by commas
    #[arg(long, env = "DAYBOOK_CORS_ORIGINS", default_value_t = Self::default().cors_origins)]
    pub cors_origins: Origins,
    /// Connections at a time; for one more, the longest idle one is closed [16..=1000000]
    #[arg(long, env = "DAYBOOK_MAX_CONNECTIONS", default_value_t = Self::default().max_connections, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub max_connections: u32,
    /// Longest body that is held in memory as a whole, in bytes; NDJSON is read as a stream [65536..=67108864]
    #[arg(long, env = "DAYBOOK_MAX_BODY_BYTES", default_value_t = Self::default().max_body_bytes, value_parser = clap::value_parser!(u32).range(65_536..=67_108_864))]
    pub max_body_bytes: u32,
    /// Most bytes of a message of events, as for tenants' NATS accounts; a larger event is refused. Messages of a tenant and kind
    /// times kinds times this should fit half of INBOX [1024..=1048576]
    #[arg(long, env = "DAYBOOK_TENANT_PAYLOAD_BYTES", default_value_t = Self::default().tenant_payload_bytes, value_parser = clap::value_parser!(u32).range(1_024..=1_048_576))]
    pub tenant_payload_bytes: u32,
    /// Requests a second of one token, with a burst of twice as many; more are refused [1..=1000000]
    #[arg(long, env = "DAYBOOK_TOKEN_REQUESTS_PER_SECOND", default_value_t = Self::default().token_requests_per_second, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub token_requests_per_second: u32,
    /// YAML file with the webhooks that alerts are sent to, the same for all processes of gateway; none are sent when absent. A change
    /// takes effect within seconds
    #[arg(long, env = "DAYBOOK_WEBHOOKS", value_name = "FILE")]
    pub webhooks: Option<PathBuf>,
    /// Pauses between the tries of an alert, and the three days of them, are shorter by this factor. For tests: no process can be told
    /// so.
    #[arg(skip = Self::default().webhook_haste)]
    #[serde(skip)]
    pub webhook_haste: u32,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            http_cert: None,
            http_key: None,
            api_keys: None,
            jwt_keys: None,
            jwt_issuer: None,
            jwt_audience: None,
            cors_origins: Origins::default(),
            max_connections: 16_384,
            max_body_bytes: 8 << 20,
            tenant_payload_bytes: 128 << 10,
            token_requests_per_second: 1_000,
            webhooks: None,
            webhook_haste: 1,
        }
    }
}

impl DoorOptions {
    /// Whether clients need a token.
    pub fn has_tokens(&self) -> bool {
        self.api_keys.is_some() || self.jwt_keys.is_some()
    }
}

/// Origins of web pages: scheme, host and perhaps a port, as a browser sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Whether pages of `origin` may ask.
    pub fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }
}

/// Texts that are no origins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginsError {
    #[error("{0} origins; at most {MAX_ORIGINS} can be named")]
    TooMany(usize),
    #[error("{0:?} is no origin: use a scheme and a host, such as https://app.example or http://localhost:8080")]
    NoOrigin(String),
}

impl FromStr for Origins {
    type Err = OriginsError;

    fn from_str(text: &str) -> Result<Self, OriginsError> {
        let origins: Vec<String> =
            text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
        if origins.len() > MAX_ORIGINS {
            return Err(OriginsError::TooMany(origins.len()));
        }
        let is_origin = |origin: &String| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']))
        };
        match origins.iter().find(|origin| !is_origin(origin)) {
            Some(bad) => Err(OriginsError::NoOrigin(bad.clone())),
            None => Ok(Self(origins)),
        }
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_and_host() {
        let origins: Origins = "https://app.example, http://localhost:8080".parse().unwrap();
        assert!(origins.allow("https://app.example") && origins.allow("http://localhost:8080"));
        assert!(!origins.allow("http://app.example") && !origins.allow("null") && !Origins::default().allow(""));
        assert_eq!(origins.to_string().parse::<Origins>().unwrap(), origins);
        for bad in ["*", "https://*", "app.example", "https://app.example/", "null"] {
            assert!(bad.parse::<Origins>().is_err(), "{bad}");
        }
    }
}
