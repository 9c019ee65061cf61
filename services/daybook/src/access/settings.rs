//! What a configuration is made from, kept so that the command can be repeated with fewer flags.

use daybook_access::config::{AccountsMode, Tls};
use daybook_access::limits::{InboxBounds, PayloadShare};
use daybook_access::tenants::Publishable;
use daybook_domain::ids::{Name, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::str::FromStr;

/// The settings of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSettings {
    pub mode: AccountsMode,
    /// First token of Daybook's subjects.
    pub prefix: String,
    /// Tenants that were read from definitions.
    pub tenants: BTreeSet<TenantId>,
    /// Kinds that were read from definitions; any kind may be published when there are none.
    pub kinds: BTreeSet<Name>,
    pub inbox_max_bytes: u64,
    pub inbox_max_messages_per_kind: u64,
    /// The address that servers listen on.
    pub listen: String,
    /// Address of the monitoring pages; closed when absent.
    pub monitor: Option<String>,
    /// The folder of a server's streams; one for each below it.
    pub store_dir: String,
    pub sync_interval: String,
    pub servers: Vec<ServerAddress>,
    pub tls: Option<Tls>,
}

impl AccessSettings {
    /// The kinds that tenants may publish, where the accounts are in the servers' file.
    pub fn publishable(&self) -> Publishable {
        if self.kinds.is_empty() { Publishable::AnyKind } else { Publishable::Kinds(self.kinds.clone()) }
    }

    /// How large a tenant's messages may be.
    pub fn share(&self) -> PayloadShare {
        let bounds =
            InboxBounds { max_bytes: self.inbox_max_bytes, max_messages_per_kind: self.inbox_max_messages_per_kind };
        PayloadShare::of(bounds, self.kinds.len())
    }

    /// Where clients connect.
    pub fn urls(&self) -> String {
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        let url = |server: &ServerAddress| format!("{scheme}://{}:{}", server.host, server.port);
        self.servers.iter().map(url).collect::<Vec<_>>().join(",")
    }
}

/// Port for clients unless another is given.
const CLIENT_PORT: i32 = 4222;
/// Port for the other servers of a cluster unless another is given.
const CLUSTER_PORT: i32 = 6222;

/// A NATS server: `NAME`, `NAME=HOST`, `NAME=HOST:PORT` or `NAME=HOST:PORT:CLUSTER_PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerAddress {
    pub name: String,
    /// Where others reach it.
    pub host: String,
    /// For clients; -1 is any free one.
    pub port: i32,
    /// For the other servers.
    pub cluster_port: i32,
}

/// A text that is no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a server as NAME, NAME=HOST, NAME=HOST:PORT or NAME=HOST:PORT:CLUSTER_PORT; a name has letters, digits, - and _, an \
     IPv6 address stands in brackets"
)]
pub struct ServerAddressError;

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let (name, address) = text.split_once('=').unwrap_or((text, text));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let (host, ports) = match address.find(']') {
            Some(end) => address.split_at(end + 1),
            None => address.split_at(address.find(':').unwrap_or(address.len())),
        };
        let host_is_plain = host.chars().all(|c| plain(c) || matches!(c, '[' | ']' | ':'));
        if name.is_empty() || host.is_empty() || !name.chars().all(plain) || !host_is_plain {
            return Err(ServerAddressError);
        }
        let mut ports = ports.strip_prefix(':').into_iter().flat_map(|ports| ports.split(':'));
        let mut port = |default: i32| match ports.next() {
            None => Ok(default),
            Some("-1") => Ok(-1),
            Some(text) => text.parse::<u16>().map(i32::from).map_err(|_| ServerAddressError),
        };
        let (client, cluster) = (port(CLIENT_PORT)?, port(CLUSTER_PORT)?);
        match ports.next() {
            None => Ok(Self { name: name.to_owned(), host: host.to_owned(), port: client, cluster_port: cluster }),
            Some(_) => Err(ServerAddressError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        let read = |text: &str| {
            let server: ServerAddress = text.parse().unwrap();
            (server.name, server.host, server.port, server.cluster_port)
        };
        let expected = |name: &str, host: &str, port, cluster| (name.to_owned(), host.to_owned(), port, cluster);
        assert_eq!(read("nats-1"), expected("nats-1", "nats-1", 4222, 6222));
        assert_eq!(read("a=10.0.0.1"), expected("a", "10.0.0.1", 4222, 6222));
        assert_eq!(read("a=b.example:1:2"), expected("a", "b.example", 1, 2));
        assert_eq!(read("a=[::1]:-1"), expected("a", "[::1]", -1, 6222));
        for bad in ["", "=a", "a=", "a b", "a=b:x", "a=b:1:2:3", "a=b:99999", "a=b/c", "a\"=b"] {
            assert_eq!(bad.parse::<ServerAddress>(), Err(ServerAddressError), "{bad}");
        }
    }
}
