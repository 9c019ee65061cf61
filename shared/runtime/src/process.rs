//! A service as a process of its own: settings, telemetry, health, the broker, signals.

use crate::config::{self, ConfigError, ProcessOptions};
use crate::connection::{Connection, connect_service};
use crate::http::{self, Health};
use crate::membership::Board;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the state of the connection is looked at for /healthz.
const BROKER_LOOK: Duration = Duration::from_millis(200);

/// What a service is given to run with.
#[derive(Clone)]
pub struct Context {
    pub connection: Connection,
    pub health: Health,
    /// What this process runs, for the others of its service to know.
    pub board: Board,
    /// Cancelled when the service is to end.
    pub stop: CancellationToken,
}

/// Runs `service` as this process until it ends or a signal (Ctrl-C, SIGTERM) asks it to.
pub fn main<S, F>(name: &'static str, service: impl FnOnce(S, Context) -> F) -> ExitCode
where
    S: Args + Serialize + Clone,
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    let options = match config::load::<S>(std::env::args_os().collect()) {
        Ok(options) => options,
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => return fail(name, &error),
    };
    if options.print_config {
        print!("{}", config::print(&options));
        return ExitCode::SUCCESS;
    }
    // Before the runtime: the trace exporter has a blocking client of its own.
    let _telemetry = match crate::telemetry::start(name, &options.operations) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(name, &error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, &error),
    };
    match runtime.block_on(run(name, options, service)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, error.as_ref()),
    }
}

async fn run<S, F>(
    name: &'static str,
    options: ProcessOptions<S>,
    service: impl FnOnce(S, Context) -> F,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: Args + Serialize + Clone,
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        signalled.cancel();
    });
    http::metrics_handle();
    let health = Health::default();
    health.set("broker", false);
    if let Some(address) = &options.operations.http {
        let address = http::serve(address, health.clone(), stop.clone())
            .await
            .map_err(|error| format!("cannot listen on {address} (--http): {error}"))?;
        tracing::info!(%address, "health and metrics are served");
    }
    let connection = tokio::select! {
        connection = connect_service(&options.broker, name) => connection?,
        () = stop.cancelled() => return Ok(()),
    };
    tokio::spawn(watch_broker(connection.client.clone(), health.clone()));
    health.set("broker", true);
    tracing::info!(service = name, partitions = connection.partitions, "connected");
    service(options.service, Context { connection, health, board: Board::default(), stop }).await?;
    tracing::info!(service = name, "stopped");
    Ok(())
}

/// Tells of the connection to the broker for as long as the process lives.
async fn watch_broker(client: async_nats::Client, health: Health) {
    loop {
        health.set("broker", client.connection_state() == async_nats::connection::State::Connected);
        tokio::time::sleep(BROKER_LOOK).await;
    }
}

/// Returns on Ctrl-C or SIGTERM.
pub async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

fn fail(name: &str, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{name}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
    ExitCode::FAILURE
}
