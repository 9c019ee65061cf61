//! Why the broker cannot be used, with what to do about it.

use super::files::FileError;
use super::options::OptionsError;
use super::servers::ServerUrls;
use super::{ATTEMPT_LIMIT, REQUEST_TIMEOUT, SERVER_LIMIT};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::CreateStreamErrorKind;
use std::path::PathBuf;

/// The broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Prefix(#[from] daybook_contracts::subjects::PrefixError),
    #[error("the broker at {servers} cannot be used: {reason}")]
    Broker {
        servers: ServerUrls,
        reason: Reason,
        #[source]
        source: Option<Cause>,
    },
    #[error(transparent)]
    Streams(#[from] StreamError),
}

/// Streams cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(
        "this Daybook has {stored} partitions, but {wanted} were asked for; the number is fixed once events exist: \
         start with --partitions {stored}"
    )]
    Partitions { stored: String, wanted: u16 },
    #[error("cannot change the bounds of stream {name}")]
    Update {
        name: String,
        #[source]
        source: async_nats::Error,
    },
    #[error("cannot make stream {name}")]
    Create {
        name: String,
        #[source]
        source: async_nats::jetstream::context::CreateStreamError,
    },
}

impl StreamError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Partitions { .. } => false,
            Self::Update { .. } => true,
            Self::Create { source, .. } => match source.kind() {
                // A subject overlap, a limit or a bad name will not go away by itself.
                CreateStreamErrorKind::JetStream(error) => matches!(
                    error.error_code(),
                    ErrorCode::JETSTREAM_NOT_ENABLED
                        | ErrorCode::CLUSTER_NOT_AVAILABLE
                        | ErrorCode::CLUSTER_NO_PEERS
                        | ErrorCode::CLUSTER_NOT_LEADER
                        | ErrorCode::INSUFFICIENT_RESOURCES
                        // Among others, another process is just making the same stream.
                        | ErrorCode::STREAM_CREATE
                ),
                _ => true,
            },
        }
    }
}

/// What the client library says of a failure, without what could do harm on a terminal: some of it is a stranger's text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(pub(super) String);

impl ConnectError {
    /// Whether trying again may help though nobody changes the settings or files of this process.
    pub fn heals(&self) -> bool {
        match self {
            Self::Options(_) | Self::File(_) | Self::Prefix(_) => false,
            Self::Broker { reason, .. } => reason.heals(),
            Self::Streams(error) => error.is_transient(),
        }
    }

    /// The reason, where it lies with the broker.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Broker { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// Why a broker cannot be used. The text says what to do, and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    #[error("nobody answers there; start a NATS server, or say where it is with --nats")]
    NobodyAnswers,
    #[error("its host name is not known; correct the name in --nats, or repair the name service")]
    UnknownHost,
    #[error(
        "nothing was heard within {} s; it is away or behind a firewall, or it waits for the TLS handshake \
         (--nats-tls-first)", SERVER_LIMIT.as_secs()
    )]
    Silent,
    #[error(
        "the whole attempt took longer than {} s; check the name service, and leave out servers that are gone from --nats",
        ATTEMPT_LIMIT.as_secs()
    )]
    Slow,
    #[error(
        "it closed the connection before it said what it is; it is no NATS server, or it waits for the TLS handshake \
         (--nats-tls-first)"
    )]
    Closed,
    #[error(
        "it closed the connection during the greeting; look into the server's log: it is being stopped, or does not like the \
         client certificate, or wants one (--nats-cert)"
    )]
    Dropped,
    #[error("what answers there is no NATS server; correct host and port in --nats")]
    NotNats,
    #[error(
        "authorization refused: it lets nobody in without a name; give --nats-credentials, --nats-user with \
         --nats-password-file, --nats-token-file or --nats-nkey"
    )]
    NameWanted,
    #[error(
        "authorization refused: it does not accept {who}; check both, and that the server knows them (after a change, reload \
         it)"
    )]
    Refused { who: String },
    #[error(
        "authorization refused: the credentials in {path:?} expired at {at}; put new ones into this file, and check the clock \
         if they should still hold"
    )]
    Expired { path: PathBuf, at: String },
    #[error("it refuses the connection, and says {text:?}")]
    Says { text: String },
    #[error(
        "what answers there does not speak TLS at this point; leave out --nats-tls-first if the server has no handshake_first. \
         If it has no TLS at all, switch it on there, or do without --nats-tls, --nats-ca, --nats-cert and tls://"
    )]
    NotTls,
    #[error(
        "its certificate comes from no authority in {authorities:?} (--nats-ca); give the file of the authority that made it"
    )]
    ForeignAuthority { authorities: PathBuf },
    #[error(
        "its certificate comes from no authority that this system trusts; give the authority's certificate with --nats-ca"
    )]
    UnknownAuthority,
    #[error(
        "its certificate is for other names ({names}); use one of them as the host in --nats, or have a new one made"
    )]
    OtherName { names: String },
    #[error("its certificate has expired; have it renewed, and check the clock of this machine")]
    CertificateExpired,
    #[error("its certificate is not valid yet; check the clock of this machine")]
    CertificateTooEarly,
    #[error("it wants a client certificate; give one with --nats-cert and --nats-key")]
    ClientCertificateWanted,
    #[error(
        "it does not accept the client certificate in {path:?} (--nats-cert); give one of the authority that it trusts"
    )]
    ClientCertificateRefused { path: PathBuf },
    #[error("TLS fails: {text}")]
    Tls { text: String },
    #[error(
        "it is version {version}, which believes a forged Nats-Stream-Source header, so that one client can stop the days of \
         all tenants; upgrade it to 2.15.0 or later, or give --nats-allow-old if every client is trusted"
    )]
    TooOld { version: String },
    #[error(
        "it does not say that it is 2.15.0 or later (its version: {version:?}), and earlier ones let one client stop the days \
         of all tenants; give --nats-allow-old if it is new enough or every client is trusted"
    )]
    UnknownVersion { version: String },
    #[error(
        "it has no JetStream for this user; switch it on in the server's configuration, for the account of the services, and \
         connect as a user of that account"
    )]
    NoJetStream,
    #[error(
        "it does not permit this user to {action} {subject:?}; add it to the user's permissions, or connect as a user of the \
         services' account"
    )]
    NotPermitted { action: &'static str, subject: String },
    #[error(
        "its JetStream did not answer within {} s; it is starting, or its cluster has no leader",
        REQUEST_TIMEOUT.as_secs()
    )]
    JetStreamSilent,
    #[error(
        "its JetStream has no leader now; an election takes some seconds, and without more than half of its servers there is none"
    )]
    NoLeader,
    #[error("the connection fails: {text}")]
    Other { text: String },
}

impl Reason {
    /// Whether trying again may help though nobody changes the settings or files of this process.
    ///
    /// What lies at the broker may be set right there: a user or permission is added, a certificate is exchanged. What
    /// lies in a file of this process, or needs another program to be installed, is not.
    fn heals(&self) -> bool {
        !matches!(self, Self::Expired { .. } | Self::TooOld { .. } | Self::UnknownVersion { .. })
    }
}
