//! The configuration of one nats-server: listeners, storage, its cluster, and where the accounts come from.
//!
//! A server's own file includes `accounts.conf`, which is the same for all servers: the accounts themselves
//! ([`accounts_in_file`]), or the operator whose signature makes an account ([`operator_accounts`]).

mod accounts;
mod text;

pub use accounts::{FileTenant, FileUser, accounts_in_file, operator_accounts};

use crate::limits::MAX_PAYLOAD_BYTES;
use serde::{Deserialize, Serialize};
use text::{Text, quoted, quoted_list};

/// The file with the accounts, beside a server's own.
pub const ACCOUNTS_FILE: &str = "accounts.conf";

/// How long a server that is told to end (`--signal ldm`) takes to send its clients to the others. Clients come back within
/// two seconds; ten times that keeps ten thousand of them from coming all at once.
const LAME_DUCK: &str = "30s";
/// How long it waits before the first client is sent away: the others elect leaders meanwhile.
const LAME_DUCK_GRACE: &str = "5s";
/// How long a client may take over its handshake. Longer ones hold a place that others wait for.
const HANDSHAKE_SECONDS: u32 = 5;
/// How often servers with a full set of accounts compare theirs: one that was down learns of revoked tokens within this.
const FULL_INTERVAL: &str = "30s";
/// Accounts that a server with a cache keeps on disk.
const CACHE_LIMIT: u32 = 200_000;
/// How long a cached account is used after a server's restart before day-manager is asked again.
const CACHE_TTL: &str = "1h";
/// How long a server waits for day-manager to answer for an account. Longer ones would pile up clients that wait.
const LOOKUP_TIMEOUT: &str = "1900ms";

/// Where servers find the accounts: the three sizes of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountsMode {
    /// In their configuration file. Up to about a thousand tenants; a change is a reload.
    File,
    /// In a folder of each server, as tokens that the operator signed; day-manager sends each tenant's when it is applied. Up
    /// to about ten thousand.
    Full,
    /// Asked for when a client comes; day-manager makes them from one seed. Any number.
    Cache,
}

impl AccountsMode {
    /// Whether accounts are signed by an operator, so that tokens can expire and be revoked one by one.
    pub fn has_operator(self) -> bool {
        self != Self::File
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Full => "full",
            Self::Cache => "cache",
        }
    }
}

/// A server's settings.
#[derive(Clone, Debug)]
pub struct Server<'a> {
    /// Its name: unique, and the same at every start.
    pub name: &'a str,
    /// The address that listeners bind to.
    pub listen: &'a str,
    /// The port for clients; -1 takes a free one.
    pub port: i32,
    /// `HOST:PORT` of the monitoring pages, which ask nobody who they are; closed when absent.
    pub monitor: Option<&'a str>,
    pub tls: Option<&'a Tls>,
    /// The folder of streams and accounts of this server.
    pub store_dir: &'a str,
    /// When writes reach the disk: `always` or a duration such as `2m`.
    pub sync_interval: &'a str,
    pub cluster: Option<Cluster<'a>>,
    pub mode: AccountsMode,
}

/// Certificates of a server, as paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate, with those that lead to a root, in PEM. Servers of a cluster show it to each other too.
    pub cert: String,
    /// Its key, in PEM.
    pub key: String,
    /// The root that the servers of a cluster must come from, in PEM.
    pub ca: String,
    /// Whether the handshake comes before anything else is said.
    #[serde(default)]
    pub first: bool,
}

/// What servers of a cluster share.
#[derive(Clone, Debug)]
pub struct Cluster<'a> {
    pub name: &'a str,
    /// The port for the other servers.
    pub port: i32,
    /// `HOST:PORT` of every server, this one included.
    pub routes: &'a [String],
    /// The password that servers show each other. Secret.
    pub password: &'a str,
}

/// The user that servers of a cluster log in as.
const ROUTE_USER: &str = "route";

/// A server's own configuration file. Secret where there is a cluster, for the password of its routes.
pub fn server(server: &Server<'_>) -> String {
    let mut text = Text::with_comment(&[
        "Written by `daybook nats config`, and again whenever it is repeated: changes are lost.",
        "Durations are quoted, for the server reads a bare 2m as two million.",
    ]);
    text.line("server_name", quoted(server.name));
    text.line("host", quoted(server.listen));
    text.line("port", server.port);
    if let Some(monitor) = server.monitor {
        text.comment("These pages ask nobody who they are: leave them on the loopback interface.");
        text.line("http", quoted(monitor));
    }
    text.line("max_payload", MAX_PAYLOAD_BYTES);
    text.line("lame_duck_duration", quoted(LAME_DUCK));
    text.line("lame_duck_grace_period", quoted(LAME_DUCK_GRACE));
    text.block("authorization", |text| text.line("timeout", HANDSHAKE_SECONDS));
    text.block("jetstream", |text| {
        text.line("store_dir", quoted(server.store_dir));
        let always = server.sync_interval == "always";
        text.line("sync_interval", if always { "always".to_owned() } else { quoted(server.sync_interval) });
    });
    if let Some(tls) = server.tls {
        text.block("tls", |text| {
            certificates(text, tls);
            if tls.first {
                text.line("handshake_first", true);
            }
        });
    }
    if let Some(routes) = &server.cluster {
        cluster(&mut text, server, routes);
    }
    if server.mode.has_operator() {
        resolver(&mut text, server);
    }
    text.item(&format!("include {}", quoted(ACCOUNTS_FILE)));
    text.finish()
}

fn certificates(text: &mut Text, tls: &Tls) {
    text.line("cert_file", quoted(&tls.cert));
    text.line("key_file", quoted(&tls.key));
    text.line("ca_file", quoted(&tls.ca));
    text.line("timeout", HANDSHAKE_SECONDS);
}

fn cluster(text: &mut Text, server: &Server<'_>, cluster: &Cluster<'_>) {
    text.block("cluster", |text| {
        text.line("name", quoted(cluster.name));
        text.line("host", quoted(server.listen));
        text.line("port", cluster.port);
        text.comment("Clients have the servers in their settings; addresses inside the network are no use outside it.");
        text.line("no_advertise", true);
        text.block("authorization", |text| {
            text.line("user", quoted(ROUTE_USER));
            text.line("password", quoted(cluster.password));
            text.line("timeout", HANDSHAKE_SECONDS);
        });
        if let Some(tls) = server.tls {
            text.block("tls", |text| {
                certificates(text, tls);
                // Both sides of a route show a certificate.
                text.line("verify", true);
            });
        }
        let route = |address: &String| format!("nats://{ROUTE_USER}:{}@{address}", cluster.password);
        let routes: Vec<String> = cluster.routes.iter().map(route).collect();
        text.line("routes", quoted_list(&routes));
    });
}

fn resolver(text: &mut Text, server: &Server<'_>) {
    text.block("resolver", |text| {
        text.line("type", server.mode.as_str());
        text.line("dir", quoted(&format!("{}/accounts", server.store_dir)));
        text.line("timeout", quoted(LOOKUP_TIMEOUT));
        if server.mode == AccountsMode::Cache {
            text.line("limit", CACHE_LIMIT);
            text.line("ttl", quoted(CACHE_TTL));
        } else {
            text.line("interval", quoted(FULL_INTERVAL));
            text.line("allow_delete", false);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_server_of_a_small_installation() {
        let config = server(&Server {
            name: "nats-1",
            listen: "127.0.0.1",
            port: 4222,
            monitor: None,
            tls: None,
            store_dir: "/data \"x\"",
            sync_interval: "always",
            cluster: None,
            mode: AccountsMode::File,
        });
        assert_eq!(
            config,
            r#"# Written by `daybook nats config`, and again whenever it is repeated: changes are lost.
# Durations are quoted, for the server reads a bare 2m as two million.
server_name: "nats-1"
host: "127.0.0.1"
port: 4222
max_payload: 1048576
lame_duck_duration: "30s"
lame_duck_grace_period: "5s"
authorization {
  timeout: 5
}
jetstream {
  store_dir: "/data \"x\""
  sync_interval: always
}
include "accounts.conf"
"#
        );
    }

    #[test]
    fn one_server_of_three_with_everything() {
        let tls = Tls { cert: "c.pem".into(), key: "k.pem".into(), ca: "ca.pem".into(), first: true };
        let routes = ["a:6222", "b:6222"].map(str::to_owned);
        let config = server(&Server {
            name: "a",
            listen: "0.0.0.0",
            port: 4222,
            monitor: Some("127.0.0.1:8222"),
            tls: Some(&tls),
            store_dir: "/data/a",
            sync_interval: "2m",
            cluster: Some(Cluster { name: "daybook", port: 6222, routes: &routes, password: "p" }),
            mode: AccountsMode::Cache,
        });
        let (_, rest) = config.split_once("lame_duck_grace_period").unwrap();
        assert_eq!(
            rest,
            r#": "5s"
authorization {
  timeout: 5
}
jetstream {
  store_dir: "/data/a"
  sync_interval: "2m"
}
tls {
  cert_file: "c.pem"
  key_file: "k.pem"
  ca_file: "ca.pem"
  timeout: 5
  handshake_first: true
}
cluster {
  name: "daybook"
  host: "0.0.0.0"
  port: 6222
  # Clients have the servers in their settings; addresses inside the network are no use outside it.
  no_advertise: true
  authorization {
    user: "route"
    password: "p"
    timeout: 5
  }
  tls {
    cert_file: "c.pem"
    key_file: "k.pem"
    ca_file: "ca.pem"
    timeout: 5
    verify: true
  }
  routes: ["nats://route:p@a:6222", "nats://route:p@b:6222"]
}
resolver {
  type: cache
  dir: "/data/a/accounts"
  timeout: "1900ms"
  limit: 200000
  ttl: "1h"
}
include "accounts.conf"
"#
        );
        assert!(config.contains("http: \"127.0.0.1:8222\"\n"));
    }
}
