//! Requests that the gateway makes by HTTP or HTTPS. Each has a connection of its own and bounds of time and size. No redirect is followed.

use axum::body::{Body, BodyDataStream};
use axum::http::header::InvalidHeaderValue;
use axum::http::uri::{PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use futures::StreamExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long the authorities of this machine are taken from memory before they are read again.
const ROOTS_FRESH: Duration = Duration::from_secs(600);
/// Longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerBounds {
    /// From the beginning to the head of the answer.
    pub head: Duration,
    /// From there to its end. What has not come by then is left out.
    pub body: Duration,
    /// Bytes of the body that are read.
    pub bytes: usize,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// The body is longer than is read, or did not come to its end.
    pub is_cut: bool,
}

/// The port of an absolute URL, or of its scheme when it names none; `None` when it names one that cannot be, such as 0 or 99999.
pub(crate) fn port(url: &Uri) -> Option<u16> {
    let authority = url.authority()?;
    match authority.as_str().rsplit('@').next()?.strip_prefix(authority.host())? {
        "" if url.scheme() == Some(&Scheme::HTTPS) => Some(443),
        "" => Some(80),
        _ => authority.port_u16().filter(|port| *port > 0),
    }
}

/// Why no head of an answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the URL has no host")]
    NoHost,
    #[error("the URL has a port that cannot be")]
    Port,
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("TLS: {0}")]
    Greeting(std::io::Error),
    #[error("this machine has no certificates of authorities")]
    NoAuthorities,
    #[error(transparent)]
    Name(#[from] InvalidDnsNameError),
    #[error(transparent)]
    Tls(#[from] tokio_rustls::rustls::Error),
    #[error(transparent)]
    Header(#[from] InvalidHeaderValue),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Reading(#[from] JoinError),
}

/// The authorities of this machine, when they were read last.
#[derive(Debug)]
struct ReadAuthorities {
    at: Instant,
    config: Arc<ClientConfig>,
}

/// Sends requests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing {
    /// TLS that trusts the authorities of this machine.
    trusting: Arc<Mutex<Option<ReadAuthorities>>>,
}

impl Outgoing {
    /// Sends `request`, whose URI is absolute.
    ///
    /// # Errors
    /// When no head of an answer comes.
    pub(crate) async fn send(&self, request: Request<Body>, bounds: AnswerBounds) -> Result<HttpAnswer, SendError> {
        let deadline = Instant::now() + bounds.head;
        let late = |_| SendError::Late(bounds.head);
        let host = request.uri().host().ok_or(SendError::NoHost)?.to_owned();
        let is_tls = request.uri().scheme() == Some(&Scheme::HTTPS);
        let port = port(request.uri()).ok_or(SendError::Port)?;
        // A host in brackets is an IPv6 address.
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let connecting = timeout_at(deadline, TcpStream::connect((bare.as_str(), port))).await;
        let stream = connecting.map_err(late)?.map_err(SendError::Connect)?;
        if !is_tls {
            return exchange(stream, addressed(request, &host)?, deadline, bounds).await;
        }
        let name = ServerName::try_from(bare)?;
        let connector = TlsConnector::from(timeout_at(deadline, self.trusting()).await.map_err(late)??);
        let greeting = timeout_at(deadline, connector.connect(name, stream)).await;
        let stream = greeting.map_err(late)?.map_err(SendError::Greeting)?;
        exchange(stream, addressed(request, &host)?, deadline, bounds).await
    }

    /// TLS that trusts the authorities of this machine.
    async fn trusting(&self) -> Result<Arc<ClientConfig>, SendError> {
        let mut read = self.trusting.lock().await;
        if let Some(ReadAuthorities { at, config }) = &*read
            && at.elapsed() < ROOTS_FRESH
        {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        roots.add_parsable_certificates(found?.certs);
        if roots.is_empty() {
            // They may be about to be replaced: those that were there last are better than none, for a while.
            let known = read.as_ref().map(|known| known.config.clone());
            return known.ok_or(SendError::NoAuthorities);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        *read = Some(ReadAuthorities { at: Instant::now(), config: config.clone() });
        Ok(config)
    }
}

/// The request in the form that goes over a connection to its host.
fn addressed(mut request: Request<Body>, host: &str) -> Result<Request<Body>, SendError> {
    let host = request.uri().port_u16().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(&host)?);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    Ok(request)
}

async fn exchange<S>(
    stream: S,
    request: Request<Body>,
    deadline: Instant,
    bounds: AnswerBounds,
) -> Result<HttpAnswer, SendError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    // Within this future, so that whoever drops it closes the connection.
    let mut answered = pin!(async move {
        let response = timeout_at(deadline, sender.send_request(request)).await;
        let (head, body) = response.map_err(|_| SendError::Late(bounds.head))??.into_parts();
        let mut read = Vec::new();
        let reading = read_body(Body::new(body).into_data_stream(), bounds.bytes, &mut read);
        let is_whole = timeout(bounds.body, reading).await.unwrap_or(false);
        Ok(HttpAnswer { status: head.status, headers: head.headers, body: read, is_cut: !is_whole })
    });
    tokio::select! {
        answer = &mut answered => answer,
        // What came before the end is still to be read.
        _ = connection => answered.await,
    }
}

/// Reads at most `most` bytes of a body into `read`; returns whether that is all of it.
async fn read_body(mut pieces: BodyDataStream, most: usize, read: &mut Vec<u8>) -> bool {
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { return false };
        let room = most - read.len();
        read.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_is_not_replaced() {
        let port = |url: &str| port(&url.parse().unwrap());
        assert_eq!(["http://h", "https://h/p", "https://[::1]?q"].map(port), [Some(80), Some(443), Some(443)]);
        assert_eq!(
            ["http://h:8080/", "https://[::1]:1", "https://h:65535"].map(port),
            [Some(8080), Some(1), Some(65_535)]
        );
        assert_eq!(["https://h:99999", "http://h:0", "https://[::1]:65536/p"].map(port), [None; 3]);
    }
}
