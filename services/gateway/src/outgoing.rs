//! Requests that the gateway makes by HTTP or HTTPS. Each has a connection of its own and bounds of time and size. No redirect is followed.

use axum::body::{Body, BodyDataStream};
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
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
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

/// Sends `request`, whose URI is absolute.
///
/// # Errors
/// When no head of an answer comes: the reason, for people.
pub(crate) async fn send(request: Request<Body>, bounds: AnswerBounds) -> Result<HttpAnswer, String> {
    let deadline = Instant::now() + bounds.head;
    let late = |_| format!("no answer within {:?}", bounds.head);
    let host = request.uri().host().ok_or("the URL has no host")?.to_owned();
    let is_tls = request.uri().scheme() == Some(&Scheme::HTTPS);
    let port = port(request.uri()).ok_or("the URL has a port that cannot be")?;
    // A host in brackets is an IPv6 address.
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let connecting = timeout_at(deadline, TcpStream::connect((bare.as_str(), port))).await;
    let stream = connecting.map_err(late)?.map_err(|error| format!("no connection: {error}"))?;
    if !is_tls {
        return exchange(stream, addressed(request, &host)?, deadline, bounds).await;
    }
    let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(timeout_at(deadline, trusting()).await.map_err(late)??);
    let greeting = timeout_at(deadline, connector.connect(name, stream)).await;
    let stream = greeting.map_err(late)?.map_err(|error| format!("TLS: {error}"))?;
    exchange(stream, addressed(request, &host)?, deadline, bounds).await
}

/// TLS that trusts the authorities of this machine.
async fn trusting() -> Result<Arc<ClientConfig>, String> {
    static READ: Mutex<Option<(Instant, Arc<ClientConfig>)>> = Mutex::const_new(None);
    let mut read = READ.lock().await;
    if let Some((at, config)) = &*read
        && at.elapsed() < ROOTS_FRESH
    {
        return Ok(config.clone());
    }
    let mut roots = RootCertStore::empty();
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    roots.add_parsable_certificates(found.map_err(|error| error.to_string())?.certs);
    if roots.is_empty() {
        // They may be about to be replaced: those that were there last are better than none, for a while.
        let known = read.as_ref().map(|(_, config)| config.clone());
        return known.ok_or("this machine has no certificates of authorities".to_owned());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    *read = Some((Instant::now(), config.clone()));
    Ok(config)
}

/// The request in the form that goes over a connection to its host.
fn addressed(mut request: Request<Body>, host: &str) -> Result<Request<Body>, String> {
    let host = request.uri().port_u16().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let host = HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::HOST, host);
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
) -> Result<HttpAnswer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    // Within this future, so that whoever drops it closes the connection.
    let mut answered = pin!(async move {
        let response = timeout_at(deadline, sender.send_request(request)).await;
        let response = response.map_err(|_| format!("no answer within {:?}", bounds.head))?;
        let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
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
