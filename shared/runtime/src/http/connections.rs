//! Connections to the HTTP port. It is open to whatever can reach it, so each connection is bounded in time and size, and all
//! of them in number: clients that send half a request take neither file handles nor memory from the service.

use axum::Router;
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Connections at a time. Probes and scrapers need a few; for a new one beyond these, the oldest is closed.
pub const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send the head of a request, and how long a connection waits for the next one.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes: the requests of probes and scrapers take less than one KiB.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long a connection is kept for further requests. Then it is closed, also where the client does not read the answers.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long an answer under way may take when its connection is to be closed.
pub const CLOSING: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted, which happens when the process has no file handle left.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` to whoever connects, until `stop` is cancelled and answers under way are sent.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut open = Open::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.tasks.join_next(), if !open.tasks.is_empty() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => open.add(stream, router.clone(), stop.clone()),
            Err(error) => {
                tracing::debug!(%error, "a connection to the HTTP port could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.tasks.join_next().await.is_some() {}
}

/// The connections that are open.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    /// The oldest first; those that have ended are taken out when there are too many.
    order: VecDeque<AbortHandle>,
}

impl Open {
    fn add(&mut self, stream: TcpStream, router: Router, stop: CancellationToken) {
        if self.order.len() >= MAX_CONNECTIONS {
            self.order.retain(|connection| !connection.is_finished());
        }
        if self.order.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(converse(stream, router, stop)));
    }
}

/// Answers the requests of one connection.
async fn converse(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let end = async {
        tokio::select! {
            () = tokio::time::sleep(LIFETIME) => {}
            () = stop.cancelled() => {}
        }
    };
    converse_until(connection, end).await;
}

/// Answers the requests of a connection until it ends, or until `end` does: then the answer under way may take [`CLOSING`].
pub async fn converse_until<I, S, B>(connection: http1::Connection<I, S>, end: impl Future<Output = ()>)
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = end => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(CLOSING, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to an HTTP port ended");
    }
}
