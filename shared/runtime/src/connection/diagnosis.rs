//! Tells from the client library's errors what is wrong.

use super::error::Reason;
use super::identity::Identity;
use super::options::TlsPlan;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind,
};
use async_nats::rustls::{AlertDescription, CertificateError, Error as TlsError};
use async_nats::{ConnectError, ConnectErrorKind, ServerError};
use daybook_domain::time::Instant;
use std::error::Error;
use std::io;

/// Most characters of a stranger's text that are shown.
const MAX_SHOWN: usize = 200;

/// What was tried, for a reason that names it.
pub(super) struct Tried<'a> {
    pub(super) identity: &'a Identity,
    /// When its credentials expire.
    pub(super) expires: Option<Instant>,
    pub(super) now: Instant,
    pub(super) tls: &'a TlsPlan,
}

/// The reason why no connection came about.
pub(super) fn of_connecting(error: &ConnectError, tried: &Tried) -> Reason {
    match error.kind() {
        ConnectErrorKind::Dns => Reason::UnknownHost,
        ConnectErrorKind::TimedOut => Reason::Silent,
        ConnectErrorKind::AuthorizationViolation => of_refusal(tried),
        _ => of_source(error, tried.tls),
    }
}

/// The reason why the broker let nobody in: it says no more than that.
fn of_refusal(tried: &Tried) -> Reason {
    match (tried.identity, tried.expires) {
        (Identity::Anonymous, _) => Reason::NameWanted,
        (Identity::Credentials(path), Some(at)) if at <= tried.now => {
            Reason::Expired { path: path.clone(), at: at.to_string() }
        }
        (identity, _) => Reason::Refused { who: identity.to_string() },
    }
}

fn of_source(error: &ConnectError, tls: &TlsPlan) -> Reason {
    if let Some(error) = find::<TlsError>(error) {
        return of_tls(error, tls);
    }
    if let Some(ServerError::Other(text)) = find::<ServerError>(error) {
        return Reason::Says { text: shown(text) };
    }
    if let Some(error) = find::<io::Error>(error) {
        return match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Reason::NobodyAnswers
            }
            io::ErrorKind::TimedOut => Reason::Silent,
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                // After the handshake, a server that wants a certificate may just hang up.
                if tls.required && tls.client.is_none() { Reason::ClientCertificateWanted } else { Reason::Dropped }
            }
            // The client library says so of a line that is none of the protocol's.
            io::ErrorKind::InvalidInput => Reason::NotNats,
            _ => Reason::Other { text: shown(error) },
        };
    }
    // The library has no types for these.
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    match text.as_str() {
        "expected INFO, got nothing" => Reason::Closed,
        text if text.starts_with("expected INFO") => Reason::NotNats,
        "broken pipe" => Reason::Dropped,
        _ if error.kind() == ConnectErrorKind::Tls => Reason::Tls { text: shown(text) },
        _ => Reason::Other { text: shown(error) },
    }
}

fn of_tls(error: &TlsError, tls: &TlsPlan) -> Reason {
    match error {
        TlsError::InvalidMessage(_) => Reason::NotTls,
        TlsError::InvalidCertificate(error) => of_certificate(error, tls),
        TlsError::AlertReceived(alert) => match (alert, &tls.client) {
            (AlertDescription::CertificateRequired, _) => Reason::ClientCertificateWanted,
            // Said of a certificate: with none of ours, that is what is missing.
            (AlertDescription::BadCertificate | AlertDescription::HandshakeFailure, None) => {
                Reason::ClientCertificateWanted
            }
            (
                AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate,
                Some((path, _)),
            ) => Reason::ClientCertificateRefused { path: path.clone() },
            _ => Reason::Tls { text: shown(error) },
        },
        _ => Reason::Tls { text: shown(error) },
    }
}

fn of_certificate(error: &CertificateError, tls: &TlsPlan) -> Reason {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match &tls.authorities {
            Some(path) => Reason::ForeignAuthority { authorities: path.clone() },
            None => Reason::UnknownAuthority,
        },
        CertificateError::NotValidForName => Reason::OtherName { names: "unknown".to_owned() },
        CertificateError::NotValidForNameContext { presented, .. } => {
            Reason::OtherName { names: shown(presented.join(", ")) }
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Reason::CertificateExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Reason::CertificateTooEarly,
        other => Reason::Tls { text: shown(other) },
    }
}

/// The first error of this type in the chain. What an [`io::Error`] wraps is no source of it.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// A text that may come from outside, in one line and cut to a bound.
fn shown(text: impl ToString) -> String {
    text.to_string().chars().map(|one| if one.is_control() { ' ' } else { one }).take(MAX_SHOWN).collect()
}

/// What a failed request to JetStream tells of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JetStreamTrouble {
    /// There is none, or none for this account.
    NotEnabled,
    /// No answer: also where the user may not ask, or not hear the answer.
    Silent,
}

/// What the failed creation of a stream tells of the connection; `None` where it has to do with the stream.
pub(super) fn of_creating(error: &CreateStreamError) -> Option<JetStreamTrouble> {
    match error.kind() {
        CreateStreamErrorKind::JetStreamUnavailable => Some(JetStreamTrouble::NotEnabled),
        CreateStreamErrorKind::TimedOut => Some(JetStreamTrouble::Silent),
        CreateStreamErrorKind::JetStream(error) => of_code(error.error_code()),
        _ => None,
    }
}

/// What a stream that cannot be looked at tells of the connection; `None` where it has to do with the stream.
pub(super) fn of_getting(error: &GetStreamError) -> Option<JetStreamTrouble> {
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => of_code(error.error_code()),
        GetStreamErrorKind::Request => match find::<RequestError>(error)?.kind() {
            RequestErrorKind::NoResponders => Some(JetStreamTrouble::NotEnabled),
            RequestErrorKind::TimedOut => Some(JetStreamTrouble::Silent),
            _ => None,
        },
        _ => None,
    }
}

fn of_code(code: ErrorCode) -> Option<JetStreamTrouble> {
    let not_enabled = [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT];
    not_enabled.contains(&code).then_some(JetStreamTrouble::NotEnabled)
}
