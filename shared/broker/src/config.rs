//! What can be set about a server, and the configuration file made from it.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;

/// Large enough for every packet Daybook writes, small enough that one message never stalls a connection: the server's
/// own default.
pub const DEFAULT_MAX_PAYLOAD_BYTES: u32 = 1024 * 1024;

/// How long a start may take by default. An empty store needs milliseconds, recovering a few gigabytes of streams
/// seconds.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(10);

/// How a server is run. [`Options::new`] gives the defaults; change fields as needed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `nats-server` to run, usually from [`locate`](crate::locate()).
    pub binary: PathBuf,
    /// Where streams, the configuration file and the log live. Created if missing; starting again on the same directory
    /// resumes its streams. Used by one program at a time.
    pub store_dir: PathBuf,
    /// The address every listener binds to. Default 127.0.0.1: without [`settings`](Self::settings) that say otherwise,
    /// the server lets everyone in.
    pub host: IpAddr,
    /// The port for NATS clients. Default free.
    pub port: Port,
    /// NATS over WebSocket, for browsers; off by default.
    pub websocket: Option<WebSocketOptions>,
    /// The HTTP port of the server's own monitoring pages (`/varz`, `/jsz`); off by default.
    pub monitor: Option<Port>,
    /// The largest message accepted. Default 1 MiB.
    pub max_payload_bytes: u32,
    /// When stream writes reach the disk. Default every 2 minutes, as the server does.
    pub sync_interval: SyncInterval,
    /// The bound on all streams on disk together; the server takes three quarters of what is free by default.
    pub max_file_store_bytes: Option<u64>,
    /// The bound on all streams in memory together; the server takes three quarters of the memory by default.
    pub max_memory_store_bytes: Option<u64>,
    /// Membership in a cluster; a single server by default.
    pub cluster: Option<ClusterOptions>,
    /// TLS for NATS clients; none by default.
    pub tls: Option<TlsOptions>,
    /// Further settings in the server's own notation, such as `accounts { … }`; none by default.
    pub settings: ServerSettings,
    /// A configuration file that is used as it is, in place of the one made from these options. Only `port`, where it is
    /// fixed, overrides what the file says; the file must switch JetStream on and name a directory for it.
    pub config_file: Option<PathBuf>,
    /// Where the server's output goes. Default `nats-server.log` in the store directory.
    pub log_file: Option<PathBuf>,
    /// How long the server may take to be ready. Default 10 s.
    pub start_timeout: Duration,
}

impl Options {
    /// A single server on 127.0.0.1 and a free port, without WebSocket and monitoring.
    pub fn new(binary: impl Into<PathBuf>, store_dir: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            store_dir: store_dir.into(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: Port::Free,
            websocket: None,
            monitor: None,
            max_payload_bytes: DEFAULT_MAX_PAYLOAD_BYTES,
            sync_interval: SyncInterval::Every(Duration::from_secs(120)),
            max_file_store_bytes: None,
            max_memory_store_bytes: None,
            cluster: None,
            tls: None,
            settings: ServerSettings::default(),
            config_file: None,
            log_file: None,
            start_timeout: DEFAULT_START_TIMEOUT,
        }
    }
}

/// A port to listen on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Port {
    /// Any free port, chosen by the server when it starts and kept over [`Broker::restart`](crate::Broker::restart).
    #[default]
    Free,
    /// This one; the start fails if it is taken.
    Fixed(u16),
}

/// `None` is any free port: what a command line without `--port` means.
impl From<Option<u16>> for Port {
    fn from(port: Option<u16>) -> Self {
        port.map_or(Self::Free, Self::Fixed)
    }
}

impl Port {
    /// The server's notation, in which -1 is any free port.
    fn setting(self) -> i32 {
        match self {
            Self::Free => -1,
            Self::Fixed(port) => i32::from(port),
        }
    }
}

/// NATS over WebSocket, without TLS: put a proxy in front of it where that matters.
#[derive(Debug, Clone, Default)]
pub struct WebSocketOptions {
    /// The port. Default free.
    pub port: Port,
    /// The origins (`http://localhost:8080`) whose pages may connect. Empty allows every web site that the user visits.
    pub allowed_origins: Vec<String>,
    /// What a client has to give as its token. None by default: whoever reaches the port is let in.
    pub token: Option<WebSocketToken>,
}

/// A secret that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocketToken(pub String);

impl std::fmt::Debug for WebSocketToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WebSocketToken(…)")
    }
}

/// TLS for NATS clients. The files are in PEM form, the paths absolute or relative to the configuration file's folder.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// The server's certificate, with those between it and the authority's.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authority that signs clients' certificates; with one, every client must show a certificate.
    pub client_authority: Option<PathBuf>,
    /// Whether the TLS handshake comes before anything else. Clients have to be told.
    pub handshake_first: bool,
}

/// Settings of a server in its own notation. They may hold passwords, so `Debug` does not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServerSettings(pub String);

impl std::fmt::Debug for ServerSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ServerSettings({} bytes)", self.0.len())
    }
}

/// Membership in a cluster.
///
/// Every member needs its port known before the first starts: JetStream refuses to run clustered without routes.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The same for all members.
    pub name: String,
    /// This member's name: unique, and the same at every start, for streams are assigned to it.
    pub server_name: String,
    /// The port for the other members.
    pub port: u16,
    /// The members, `nats://127.0.0.1:7001`; this one may be among them.
    pub routes: Vec<String>,
    /// `HOST:PORT` that the others are told to reach this member at, where it is not the one it listens on: behind a
    /// proxy.
    pub advertise: Option<String>,
}

/// When stream writes are forced to the disk. Until then a power loss, though not a crash of the server, loses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before a write is acknowledged: safe on a single server, at about a thousand appends a second.
    Always,
    /// Regularly; in whole milliseconds.
    Every(Duration),
}

/// The configuration file. `store_dir` is where JetStream keeps its own directory.
///
/// # Errors
/// [`Error::PathNotUtf8`].
pub(crate) fn render(options: &Options, store_dir: &Path) -> Result<String, Error> {
    let store_dir = utf8(store_dir)?;
    let mut text = String::from("# Written by Daybook at every start. Changes are lost.\n");
    let server_name = match &options.cluster {
        Some(cluster) => &cluster.server_name,
        None => "daybook",
    };
    line(&mut text, "server_name", quoted(server_name));
    line(&mut text, "host", quoted(&options.host.to_string()));
    line(&mut text, "port", options.port.setting());
    if let Some(port) = options.monitor {
        line(&mut text, "http_port", port.setting());
    }
    line(&mut text, "max_payload", options.max_payload_bytes);
    block(&mut text, "jetstream", |text| {
        line(text, "  store_dir", quoted(store_dir));
        line(text, "  sync_interval", sync_interval(options.sync_interval));
        if let Some(bytes) = options.max_file_store_bytes {
            line(text, "  max_file_store", bytes);
        }
        if let Some(bytes) = options.max_memory_store_bytes {
            line(text, "  max_memory_store", bytes);
        }
    });
    if let Some(websocket) = &options.websocket {
        block(&mut text, "websocket", |text| {
            line(text, "  host", quoted(&options.host.to_string()));
            line(text, "  port", websocket.port.setting());
            line(text, "  no_tls", true);
            if !websocket.allowed_origins.is_empty() {
                line(text, "  allowed_origins", list(&websocket.allowed_origins));
            }
            if let Some(WebSocketToken(token)) = &websocket.token {
                line(text, "  authorization", format!("{{ token: {} }}", quoted(token)));
            }
        });
    }
    if let Some(cluster) = &options.cluster {
        block(&mut text, "cluster", |text| {
            line(text, "  name", quoted(&cluster.name));
            line(text, "  host", quoted(&options.host.to_string()));
            line(text, "  port", cluster.port);
            line(text, "  routes", list(&cluster.routes));
            if let Some(advertise) = &cluster.advertise {
                line(text, "  advertise", quoted(advertise));
            }
        });
    }
    if let Some(tls) = &options.tls {
        render_tls(&mut text, tls)?;
    }
    text.push_str(&options.settings.0);
    Ok(text)
}

fn render_tls(text: &mut String, tls: &TlsOptions) -> Result<(), Error> {
    let (certificate, key) = (utf8(&tls.certificate)?, utf8(&tls.key)?);
    let client_authority = tls.client_authority.as_deref().map(utf8).transpose()?;
    block(text, "tls", |text| {
        line(text, "  cert_file", quoted(certificate));
        line(text, "  key_file", quoted(key));
        if let Some(authority) = client_authority {
            line(text, "  ca_file", quoted(authority));
            line(text, "  verify", true);
        }
        if tls.handshake_first {
            line(text, "  handshake_first", true);
        }
    });
    Ok(())
}

fn utf8(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| Error::PathNotUtf8 { path: path.to_owned() })
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(text, "{name}: {value}").expect("a String takes every write");
}

fn block(text: &mut String, name: &str, fill: impl FnOnce(&mut String)) {
    text.push_str(name);
    text.push_str(" {\n");
    fill(text);
    text.push_str("}\n");
}

/// Quoted because the server reads a bare `2m` as two million (seconds), not as two minutes.
fn sync_interval(interval: SyncInterval) -> String {
    match interval {
        SyncInterval::Always => "always".to_owned(),
        SyncInterval::Every(every) => quoted(&format!("{}ms", every.as_millis())),
    }
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A string in the server's notation, which knows these escapes and neither variables nor comments inside quotes.
fn quoted(value: &str) -> String {
    let mut text = String::from('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let options = Options::new("nats-server", "unused");
        assert_eq!(
            render(&options, Path::new("/data/broker")).unwrap(),
            r#"# Written by Daybook at every start. Changes are lost.
server_name: "daybook"
host: "127.0.0.1"
port: -1
max_payload: 1048576
jetstream {
  store_dir: "/data/broker"
  sync_interval: "120000ms"
}
"#
        );
    }

    #[test]
    fn everything_set() {
        let options = Options {
            host: "::1".parse().unwrap(),
            port: Port::Fixed(4222),
            websocket: Some(WebSocketOptions {
                port: Port::Free,
                allowed_origins: vec!["http://localhost:8080".into()],
                token: Some(WebSocketToken("secret of \"pages\"".into())),
            }),
            monitor: Some(Port::Fixed(8222)),
            max_payload_bytes: 8192,
            sync_interval: SyncInterval::Always,
            max_file_store_bytes: Some(1 << 30),
            max_memory_store_bytes: Some(1 << 20),
            cluster: Some(ClusterOptions {
                name: "days".into(),
                server_name: "days-1".into(),
                port: 7001,
                routes: vec!["nats://[::1]:7001".into(), "nats://[::1]:7002".into()],
                advertise: Some("[::1]:8001".into()),
            }),
            tls: Some(TlsOptions {
                certificate: "/tls/server.pem".into(),
                key: "/tls/server.key".into(),
                client_authority: Some("/tls/ca.pem".into()),
                handshake_first: true,
            }),
            settings: ServerSettings("authorization { token: secret }\n".into()),
            ..Options::new("nats-server", "unused")
        };
        assert_eq!(
            render(&options, Path::new("/a \"b\"\\c")).unwrap(),
            r#"# Written by Daybook at every start. Changes are lost.
server_name: "days-1"
host: "::1"
port: 4222
http_port: 8222
max_payload: 8192
jetstream {
  store_dir: "/a \"b\"\\c"
  sync_interval: always
  max_file_store: 1073741824
  max_memory_store: 1048576
}
websocket {
  host: "::1"
  port: -1
  no_tls: true
  allowed_origins: ["http://localhost:8080"]
  authorization: { token: "secret of \"pages\"" }
}
cluster {
  name: "days"
  host: "::1"
  port: 7001
  routes: ["nats://[::1]:7001", "nats://[::1]:7002"]
  advertise: "[::1]:8001"
}
tls {
  cert_file: "/tls/server.pem"
  key_file: "/tls/server.key"
  ca_file: "/tls/ca.pem"
  verify: true
  handshake_first: true
}
authorization { token: secret }
"#
        );
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
    }
}
