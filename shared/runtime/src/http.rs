//! `/healthz` and `/metrics` over HTTP; and [`paced`], for every server whose clients are strangers.

mod connections;
pub mod paced;

pub use connections::{CLOSING, HEAD_TIMEOUT, MAX_CONNECTIONS, converse_until};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long listening may take to begin: an address may hold a name that has to be looked up.
const LISTEN_LIMIT: Duration = Duration::from_secs(5);

/// Whether the parts of a process are ready. A part is not ready until it says so.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Health {
    /// Says whether `part` is ready.
    pub fn set(&self, part: &str, ready: bool) {
        self.lock().insert(part.to_owned(), ready);
    }

    /// The part is no longer this process's.
    pub fn remove(&self, part: &str) {
        self.lock().remove(part);
    }

    /// Whether there are parts and all of them are ready.
    pub fn is_ready(&self) -> bool {
        let parts = self.lock();
        !parts.is_empty() && parts.values().all(|ready| *ready)
    }

    /// Every part, and whether it is ready.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> BTreeMap<String, bool> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, bool>> {
        self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The process-wide registry of metrics.
pub fn metrics_handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
            .expect("there are buckets")
            .set_buckets_for_metric(
                Matcher::Full("daybook_checkpoint_rows".to_owned()),
                &[1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0],
            )
            .expect("there are buckets")
            // A receiver may be away for days.
            .set_buckets_for_metric(
                Matcher::Full("daybook_webhook_delay_seconds".to_owned()),
                &[0.1, 0.5, 1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0],
            )
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        // A second recorder in the process (a test's own) keeps its place; ours then stays empty.
        let _ = metrics::set_global_recorder(recorder);
        metrics::gauge!("daybook_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    })
}

/// Serves until `stop` is cancelled; returns the address it listens on.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: &str, health: Health, stop: CancellationToken) -> std::io::Result<std::net::SocketAddr> {
    let listener = tokio::time::timeout(LISTEN_LIMIT, tokio::net::TcpListener::bind(address)).await??;
    let local = listener.local_addr()?;
    let router = routes(health, stop.clone());
    tokio::spawn(connections::serve(listener, router, stop));
    Ok(local)
}

/// `/healthz` and `/metrics`, for a server of the caller's own. Keeps the metrics small until `stop` is cancelled.
pub fn routes(health: Health, stop: CancellationToken) -> Router {
    tokio::spawn(async move {
        // Histograms are folded now and then, or they would grow until someone asks.
        while tokio::time::timeout(Duration::from_secs(5), stop.cancelled()).await.is_err() {
            metrics_handle().run_upkeep();
        }
    });
    Router::new()
        .route("/healthz", get(ready))
        .route("/healthz/live", get(|| async { "live\n" }))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let ready = health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "live": true, "ready": ready, "parts": *health.lock() }).to_string() + "\n";
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

async fn metrics_text() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics_handle().render())
}
