//! What to do to connect: the settings, free of contradictions.

use super::identity::{self, Identity};
use super::options::{NatsOptions, OptionsError};
use super::servers::Servers;
use std::path::PathBuf;

/// What to do to connect: the settings, free of contradictions.
#[derive(Debug)]
pub(super) struct ConnectPlan {
    pub(super) servers: Servers,
    pub(super) identity: Identity,
    pub(super) tls: TlsPlan,
}

/// How the connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsPlan {
    pub(super) required: bool,
    pub(super) first: bool,
    pub(super) authorities: Option<PathBuf>,
    /// Certificate and private key to show.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

impl TlsPlan {
    /// Whether to try servers that no URL names but another server told of. It tells so before the handshake, where
    /// anybody on the way can write it; and a certificate of some name is to be had from the system's authorities.
    pub(super) fn trusts_discovered_servers(&self) -> bool {
        !self.required || self.first || self.authorities.is_some()
    }
}

impl NatsOptions {
    pub(super) fn plan(&self) -> Result<ConnectPlan, OptionsError> {
        let mut servers = self.nats.parse()?;
        let identity = identity::choose(self, servers.login.take())?;
        let client = match (&self.nats_cert, &self.nats_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (Some(_), None) => return Err(OptionsError::NoKey),
            (None, Some(_)) => return Err(OptionsError::NoCertificate),
        };
        let authorities = self.nats_ca.clone();
        let first = self.nats_tls_first;
        // Who names an authority or shows a certificate does not want to be answered in the clear.
        let required = self.nats_tls || first || servers.tls || authorities.is_some() || client.is_some();
        Ok(ConnectPlan { servers, identity, tls: TlsPlan { required, first, authorities, client } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_tls_requires_it() {
        let tls = |url: &str, change: fn(&mut NatsOptions)| {
            let mut options = NatsOptions::at(url);
            change(&mut options);
            options.plan().unwrap().tls
        };
        assert_eq!(tls("nats://h", |_| {}), TlsPlan::default());
        assert!(tls("nats://a,tls://b", |_| {}).required);
        assert!(tls("h", |options| options.nats_tls = true).required);
        assert!(tls("h", |options| options.nats_ca = Some("ca".into())).required);
        let first = tls("h", |options| options.nats_tls_first = true);
        assert!(first.required && first.first);
        let client = tls("h", |options| (options.nats_cert, options.nats_key) = (Some("c".into()), Some("k".into())));
        assert!(client.required && client.client.is_some());
    }

    #[test]
    fn servers_that_were_told_of_in_the_clear_are_tried_only_where_the_authority_is_ones_own() {
        let plan = |required, first, authorities: Option<&str>| TlsPlan {
            required,
            first,
            authorities: authorities.map(PathBuf::from),
            client: None,
        };
        assert!(plan(false, false, None).trusts_discovered_servers());
        assert!(!plan(true, false, None).trusts_discovered_servers());
        assert!(plan(true, true, None).trusts_discovered_servers());
        assert!(plan(true, false, Some("ca.pem")).trusts_discovered_servers());
    }
}
