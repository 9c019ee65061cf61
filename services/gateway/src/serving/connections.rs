//! Accepts connections and answers their requests.

use super::sending::Sending;
use axum::Router;
use axum::http::Request;
use daybook_runtime::http::paced::{Pace, Paced};
use daybook_runtime::http::{CLOSING, converse_until};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// How long a client may take for the head of a request; also how long a connection is kept without one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes. A token takes up to 8 KiB of it, a cursor 16.
const MAX_HEAD_BYTES: usize = 48 << 10;
/// Most header fields of a request.
const MAX_HEADERS: usize = 64;
/// How fast a client must read an answer that does not fit the buffers of its connection: 2 KiB a second.
const PACE: Pace = Pace { bytes: 64 << 10, within: Duration::from_secs(30) };
/// Pause after a connection could not be accepted, which happens when the process has no file handle left.
const PAUSE: Duration = Duration::from_millis(100);
/// File handles that every gateway needs for other things than connections.
const OTHER_HANDLES: u64 = 256;

/// Bounds of a [`Server`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at a time. For one more, the longest idle one is closed; if none is idle, the new one.
    pub connections: usize,
}

impl Bounds {
    /// At most `connections`, and no more than the process may open beside `others`: its soft limit of files is raised as far as it
    /// goes.
    pub(crate) fn within_file_limit(connections: u32, others: u64) -> Self {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let others = others + OTHER_HANDLES;
        let wanted = u64::from(connections) + others;
        if limit.current.is_some_and(|current| current < wanted) {
            let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
            limit.current = limit.current.max(Some(raised));
            // Where it cannot be raised, it stays as it is.
            let _ = setrlimit(Resource::Nofile, limit);
        }
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = files.saturating_sub(others).max(16).min(u64::from(connections));
        if most < u64::from(connections) {
            tracing::warn!(
                connections = most,
                wanted = connections,
                files,
                "fewer connections than asked for: too few files may be open"
            );
        }
        Self { connections: usize::try_from(most).unwrap_or(usize::MAX) }
    }
}

/// Serves a router to whoever connects.
pub(crate) struct Server {
    pub listener: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub router: Router,
    pub bounds: Bounds,
}

impl Server {
    /// Serves until `leave` is cancelled and answers under way are sent.
    pub(crate) async fn serve(self, leave: CancellationToken) {
        let Self { listener, tls, router, bounds } = self;
        let mut open = Open { tasks: JoinSet::new(), all: Vec::new(), most: bounds.connections };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = open.tasks.join_next(), if !open.tasks.is_empty() => {
                    metrics::gauge!("daybook_http_connections").set(open.tasks.len() as f64);
                    continue;
                }
                () = leave.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => open.add(stream, tls.clone(), router.clone(), leave.clone()),
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(listener);
        let all = async { while open.tasks.join_next().await.is_some() {} };
        // Each ends itself in CLOSING; one that hangs does not keep the process.
        let _ = tokio::time::timeout(2 * CLOSING, all).await;
    }
}

/// The connections that are open.
struct Open {
    tasks: JoinSet<()>,
    /// Those that have ended are taken out when there are too many.
    all: Vec<(AbortHandle, Activity)>,
    most: usize,
}

impl Open {
    fn add(&mut self, stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, leave: CancellationToken) {
        if self.all.len() >= self.most {
            self.all.retain(|(connection, _)| !connection.is_finished());
        }
        if self.all.len() >= self.most && !self.close_an_idle_one() {
            metrics::counter!("daybook_http_connections_refused_total").increment(1);
            return;
        }
        // What is small must not wait for more.
        let _ = stream.set_nodelay(true);
        let activity = Activity::new();
        let task = self.tasks.spawn(connect(stream, tls, router, activity.clone(), leave));
        self.all.push((task, activity));
        metrics::gauge!("daybook_http_connections").set(self.tasks.len() as f64);
    }

    /// Closes the connection that is idle longest; tells whether there was one.
    fn close_an_idle_one(&mut self) -> bool {
        let idle =
            self.all.iter().enumerate().filter_map(|(place, (_, activity))| Some((activity.idle_since()?, place)));
        let Some((_, place)) = idle.min() else { return false };
        let (connection, _) = self.all.swap_remove(place);
        connection.abort();
        true
    }
}

/// How many requests of a connection are under way, their answers included, and since when it has none.
#[derive(Clone)]
struct Activity(Arc<Mutex<(u32, Instant)>>);

impl Activity {
    /// Idle from now on.
    fn new() -> Self {
        Self(Arc::new(Mutex::new((0, Instant::now()))))
    }

    /// Since when the connection is idle; `None` while it is busy.
    fn idle_since(&self) -> Option<Instant> {
        let (under_way, since) = *self.lock();
        (under_way == 0).then_some(since)
    }

    fn begin(&self) -> Busy {
        self.lock().0 += 1;
        Busy(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, (u32, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut activity = self.0.lock();
        *activity = (activity.0.saturating_sub(1), Instant::now());
    }
}

async fn connect(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    activity: Activity,
    leave: CancellationToken,
) {
    let Some(acceptor) = tls else {
        return converse(stream, router, activity, leave).await;
    };
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, router, activity, leave).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Answers the requests of one connection.
async fn converse<S>(stream: S, router: Router, activity: Activity, leave: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (busy, mut router) = (activity.begin(), router.clone());
        async move {
            let response = router.call(request).await?;
            Ok::<_, Infallible>(response.map(|body| Sending::new(body, busy)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Paced::new(stream, PACE)), service);
    converse_until(connection, leave.cancelled()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_under_way_until_nearly_all_of_it_is_read() {
        const LONG: usize = 1 << 20;
        let router = Router::new()
            .route("/", get(|| async { vec![b'x'; LONG] }))
            .route("/none", get(|| async { axum::http::StatusCode::NO_CONTENT }));
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let (activity, leave) = (Activity::new(), CancellationToken::new());
        tokio::spawn(converse(near, router, activity.clone(), leave));
        let (mut had, mut piece) = (0, vec![0; 1 << 10]);
        far.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(far.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains(&format!("content-length: {LONG}\r\n")) && !head.contains("chunked"), "{head}");
        while had < LONG {
            if LONG - had > 128 << 10 {
                assert!(activity.idle_since().is_none(), "{had} bytes were read");
            }
            had += far.read(&mut piece).await.unwrap();
        }
        assert_eq!(had, LONG);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(activity.idle_since().is_some());
        // The connection serves further requests, also such without a body.
        for _ in 0..2 {
            far.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let read = far.read(&mut piece).await.unwrap();
            assert!(piece[..read].starts_with(b"HTTP/1.1 204 "));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_longest_is_closed() {
        let mut open = Open { tasks: JoinSet::new(), all: Vec::new(), most: 3 };
        let activities: Vec<Activity> = (0..3).map(|_| Activity::new()).collect();
        for activity in &activities {
            let task = open.tasks.spawn(std::future::pending());
            open.all.push((task, activity.clone()));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first one has just had a request, and the second has one.
        drop(activities[0].begin());
        let busy = activities[1].begin();
        let is_open = |open: &Open, number: usize| {
            open.all.iter().any(|(_, activity)| Arc::ptr_eq(&activity.0, &activities[number].0))
        };
        assert!(open.close_an_idle_one() && !is_open(&open, 2));
        assert!(open.close_an_idle_one() && !is_open(&open, 0));
        assert!(!open.close_an_idle_one() && is_open(&open, 1));
        drop(busy);
        assert!(open.close_an_idle_one());
    }
}
