//! A service as a process of its own: settings, telemetry, health, the broker, signals.

use crate::config::{self, ConfigError, ProcessOptions};
use crate::connection::Connection;
use crate::http::{self, Health};
use crate::joining::connect_service;
use crate::membership::{Board, Readiness};
use crate::memory;
use crate::telemetry::{self, fail};
use clap::Args;
use daybook_domain::ids::Partition;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often the state of the connection is looked at for /healthz.
const BROKER_LOOK: Duration = Duration::from_millis(200);
/// How long what was said last may take to reach the broker when a process ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long calls that block may go on when all work has ended. What matters has been waited for by then.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// What a service is given to run with.
#[derive(Clone)]
pub struct Context {
    pub connection: Connection,
    pub health: Health,
    /// What this process runs, for the others of its service to know.
    pub board: Board,
    /// Cancelled when the service is to end as soon as others have taken over from it; with `stop` at the latest.
    pub leave: CancellationToken,
    /// Cancelled when the service is to end at once.
    pub stop: CancellationToken,
}

impl Context {
    /// For a service on `connection` that ends when `stop` is cancelled.
    pub fn new(connection: Connection, health: Health, stop: CancellationToken) -> Self {
        Self { connection, health, board: Board::default(), leave: stop.child_token(), stop }
    }

    /// Whether the partition is ready, as an actor that begins now will tell.
    pub fn begin(&self, partition: Partition) -> Readiness {
        Readiness::begin(self.health.clone(), self.board.clone(), partition)
    }
}

/// Runs `work` on a runtime of its own, and returns once it has ended. Calls that still block then, such as name look-ups,
/// get [`LAST_CALLS`] and are left behind: the process must end, whatever the name service does.
///
/// # Errors
/// When the runtime cannot be started.
pub fn run_to_end<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_CALLS);
    Ok(outcome)
}

/// Runs `service` as this process until it ends or a signal (Ctrl-C, SIGTERM) asks it to. The first one lets it hand over
/// what it runs, for as long as `--drain-timeout-ms` says; a second one ends it at once.
pub fn main<S, F>(name: &'static str, service: impl FnOnce(S, Context) -> F) -> ExitCode
where
    S: Args + Serialize + Clone,
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    let arguments: Vec<_> = std::env::args_os().collect();
    // What is wrong with the settings is said in the form that they ask for.
    telemetry::use_format(config::log_format(&arguments));
    let options = match config::load::<S>(name, arguments) {
        Ok(options) => options,
        Err(ConfigError::Arguments(error)) => telemetry::exit(name, &error),
        Err(error) => return fail(name, &error),
    };
    if options.print_config {
        return match config::print(&options) {
            Ok(settings) => {
                print!("{settings}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(name, &error),
        };
    }
    if let Err(error) = options.broker.nats.check() {
        return fail(name, &error);
    }
    // Before the runtime: the trace exporter has a blocking client of its own.
    let _telemetry = match telemetry::start(name, &options.operations) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(name, &error),
    };
    match run_to_end(run(name, options, service)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(name, error.as_ref()),
        Err(error) => fail(name, &error),
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
    let leave = stop.child_token();
    let drain = Duration::from_millis(options.operations.drain_timeout_ms);
    tokio::spawn(end_when_asked(Signals::new(), leave.clone(), stop.clone(), drain));
    http::metrics_handle();
    memory::watch(options.operations.memory);
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
        () = leave.cancelled() => return Ok(()),
    };
    let client = connection.client.clone();
    tokio::spawn(watch_broker(client.clone(), health.clone(), leave.clone(), stop.clone()));
    health.set("broker", true);
    tracing::info!(service = name, partitions = connection.partitions, "connected");
    service(options.service, Context { leave, ..Context::new(connection, health, stop) }).await?;
    let _ = tokio::time::timeout(LAST_WORDS, client.flush()).await;
    tracing::info!(service = name, "stopped");
    Ok(())
}

/// Asks the service to hand over at the first signal, and to end at the second one or after `drain`.
async fn end_when_asked(mut signals: Signals, leave: CancellationToken, stop: CancellationToken, drain: Duration) {
    signals.next().await;
    if !drain.is_zero() {
        tracing::info!(patience = ?drain, "asked to end; handing over");
        leave.cancel();
        tokio::select! {
            () = tokio::time::sleep(drain) => tracing::warn!("not everything was taken over in time; ending"),
            () = signals.next() => tracing::info!("asked to end once more; ending at once"),
        }
    }
    stop.cancel();
}

/// Tells of the connection to the broker for as long as the process lives. Without it nothing can be handed over.
async fn watch_broker(client: async_nats::Client, health: Health, leave: CancellationToken, stop: CancellationToken) {
    loop {
        let is_connected = client.connection_state() == async_nats::connection::State::Connected;
        health.set("broker", is_connected);
        if leave.is_cancelled() && !is_connected {
            stop.cancel();
        }
        tokio::time::sleep(BROKER_LOOK).await;
    }
}

/// Ctrl-C and SIGTERM, none of which is lost between two waits.
struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl Signals {
    fn new() -> Self {
        // One that cannot be listened to ends the process, as it does by default.
        Self { terminate: signal(SignalKind::terminate()).ok(), interrupt: signal(SignalKind::interrupt()).ok() }
    }

    async fn next(&mut self) {
        tokio::select! {
            () = heard(&mut self.terminate) => {}
            () = heard(&mut self.interrupt) => {}
        }
    }
}

/// Returns when the signal comes; never where it cannot be listened to.
pub async fn heard(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// Returns on Ctrl-C or SIGTERM.
pub async fn wait_for_signal() {
    Signals::new().next().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_call_that_blocks_does_not_hold_up_the_end() {
        let (release, blocked) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel();
        std::thread::spawn(move || {
            let outcome = run_to_end(async {
                let hangs = move || (begun.send(()).unwrap(), blocked.recv().is_err());
                drop(tokio::task::spawn_blocking(hangs));
                has_begun.recv().unwrap();
                7
            });
            ended.send(outcome.unwrap()).unwrap();
        });
        let outcome = has_ended.recv_timeout(10 * LAST_CALLS);
        drop(release);
        assert_eq!(outcome, Ok(7));
    }
}
