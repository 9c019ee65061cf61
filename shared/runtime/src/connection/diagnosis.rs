//! Tells from the client library's errors what is wrong.

use super::error::{Cause, Reason};
use super::identity::Identity;
use super::plan::TlsPlan;
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

fn of_source(cause: &ConnectError, tls: &TlsPlan) -> Reason {
    if let Some(error) = find::<TlsError>(cause) {
        return of_tls(error, tls);
    }
    if let Some(ServerError::Other(text)) = find::<ServerError>(cause) {
        return Reason::Says { text: shown(text) };
    }
    if let Some(error) = find::<io::Error>(cause) {
        return match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Reason::NobodyAnswers
            }
            io::ErrorKind::TimedOut => Reason::Silent,
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                Reason::Dropped
            }
            // The client library says so of a line that is none of the protocol's.
            io::ErrorKind::InvalidInput if cause.kind() != ConnectErrorKind::Tls => Reason::NotNats,
            _ => of_text(cause),
        };
    }
    of_text(cause)
}

/// Reads what the library has no types for.
fn of_text(error: &ConnectError) -> Reason {
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    match text.as_str() {
        "expected INFO, got nothing" => Reason::Closed,
        text if text.starts_with("expected INFO") => Reason::NotNats,
        "broken pipe" => Reason::Dropped,
        // A system without any, such as a container with nothing but a program.
        text if text.contains("could not load platform certs") => Reason::UnknownAuthority,
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

/// What the client library says, to be shown below the reason. It names its own sources.
pub(super) fn cause(error: &dyn Error) -> Cause {
    Cause(shown(error))
}

/// A text that may come from outside, in one line and cut to a bound.
fn shown(text: impl std::fmt::Display) -> String {
    text.to_string().chars().map(|one| if one.is_control() { ' ' } else { one }).take(MAX_SHOWN).collect()
}

/// What a failed request to JetStream tells of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JetStreamTrouble {
    /// There is none, or none for this account.
    NotEnabled,
    /// Nobody takes requests: there is none, or the servers that have it are away.
    NobodyResponds,
    /// Its cluster, or the stream, has no leader now.
    NoLeader,
    /// No answer: also where the user may not ask, or not hear the answer.
    Silent,
}

impl JetStreamTrouble {
    /// Whether it may pass within seconds though nobody does anything, as an election does.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::NobodyResponds | Self::NoLeader | Self::Silent)
    }
}

/// Whether the leader says that there is no such stream. Nobody else can say so.
pub(super) fn is_absent(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
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
            RequestErrorKind::NoResponders => Some(JetStreamTrouble::NobodyResponds),
            RequestErrorKind::TimedOut => Some(JetStreamTrouble::Silent),
            _ => None,
        },
        _ => None,
    }
}

fn of_code(code: ErrorCode) -> Option<JetStreamTrouble> {
    match code {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            Some(JetStreamTrouble::NotEnabled)
        }
        ErrorCode::CLUSTER_NOT_AVAILABLE | ErrorCode::CLUSTER_NOT_LEADER => Some(JetStreamTrouble::NoLeader),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(kind: ConnectErrorKind, source: impl Into<async_nats::Error>) -> Reason {
        of_source(&ConnectError::with_source(kind, source), &TlsPlan::default())
    }

    #[test]
    fn only_the_leader_says_that_a_stream_is_absent() {
        let says = |code: u64| {
            let error = serde_json::json!({ "code": 503, "err_code": code, "description": "as the server says it" });
            let error = serde_json::from_value(error).unwrap();
            GetStreamError::new(GetStreamErrorKind::JetStream(error))
        };
        let request = |kind| GetStreamError::with_source(GetStreamErrorKind::Request, RequestError::new(kind));
        let passes = |error: &GetStreamError| of_getting(error).is_some_and(JetStreamTrouble::may_pass);
        for (error, absent, wait) in [
            (says(10059), true, false),
            (says(10008), false, true),
            (says(10009), false, true),
            (says(10039), false, false),
            (says(10076), false, false),
            (says(10025), false, false),
            (request(RequestErrorKind::TimedOut), false, true),
            (request(RequestErrorKind::NoResponders), false, true),
            (request(RequestErrorKind::Other), false, false),
        ] {
            assert_eq!((is_absent(&error), passes(&error)), (absent, wait), "{error}");
        }
    }

    fn wrapped(error: TlsError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn what_is_wrapped_in_other_errors_is_found() {
        let issuer = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(reason(ConnectErrorKind::Io, wrapped(issuer.clone())), Reason::UnknownAuthority);
        assert_eq!(reason(ConnectErrorKind::Io, io::Error::other(wrapped(issuer))), Reason::UnknownAuthority);
        let none = io::Error::other("could not load platform certs: no such file");
        assert_eq!(reason(ConnectErrorKind::Tls, none), Reason::UnknownAuthority);
        assert_eq!(reason(ConnectErrorKind::Io, io::Error::from(io::ErrorKind::ConnectionReset)), Reason::Dropped);
        assert_eq!(reason(ConnectErrorKind::Io, "broken pipe"), Reason::Dropped);
    }

    #[test]
    fn strangers_texts_are_cut_and_cleaned() {
        let text = format!("\x1b[31m{}", "x".repeat(1000));
        let Reason::Says { text } = reason(ConnectErrorKind::Io, ServerError::Other(text)) else { panic!() };
        assert_eq!(text, format!(" [31m{}", "x".repeat(MAX_SHOWN - 5)));
    }
}
