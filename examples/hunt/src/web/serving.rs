//! Connections with bounds: how many there are, how long a client may take for the head of a request, and how fast it must read.

use super::room::MAX_STREAMS;
use axum::Router;
use daybook_runtime::http::paced::{Pace, Paced};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at once; a further one waits until one ends. Streams leave 4,900 of them to all other requests.
const MAX_CONNECTIONS: usize = MAX_STREAMS + 4_900;
/// How long the head of a request may take, also on an idle connection: so long may a further connection wait for a place.
const HEAD_LIMIT: Duration = Duration::from_secs(20);
/// How fast a client must read: a stream that is not read would keep old pages in memory.
const PACE: Pace = Pace { bytes: 8 << 10, within: Duration::from_secs(30) };
/// Largest head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Pause when the process may open no more connections.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is cancelled.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // A verdict is one small packet, and waits for no other.
        let _ = socket.set_nodelay(true);
        let (service, stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        tokio::spawn(async move {
            let mut builder = hyper::server::conn::http1::Builder::new();
            metrics::gauge!("hunt_connections").increment(1);
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(MAX_HEAD_BYTES);
            tokio::select! {
                // Whoever breaks off a connection tells nobody anything new.
                _ = builder.serve_connection(TokioIo::new(Paced::new(socket, PACE)), service) => {}
                () = stop.cancelled() => {}
            }
            metrics::gauge!("hunt_connections").decrement(1);
            drop(place);
        });
    }
}
