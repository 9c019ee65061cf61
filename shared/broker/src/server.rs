//! The running server.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::Error;
use crate::backoff::delays;
use crate::child::Child;
use crate::config::{Options, Port, render};
use crate::ports::{Ports, same_port};
use crate::store::Store;

/// How long [`Broker::stop`] and [`Broker::restart`] let the server shut down by itself. It needs well under a second
/// unless it has a cluster to hand leadership to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A `nats-server` with JetStream, as a child process.
///
/// While it exists its store directory is locked. Dropping it kills the server with SIGKILL and blocks for the few
/// milliseconds until it is gone; [`stop`](Self::stop) is the graceful way. If this program dies, however it does, the
/// server is killed too. The server is in a process group of its own, so Ctrl-C does not reach it.
pub struct Broker {
    /// From the first start on with the ports the server chose, so that a restart asks for the same.
    options: Options,
    child: Child,
    running: bool,
    ports: Ports,
    // Last: the lock is released when the child is gone.
    store: Store,
}

impl Broker {
    /// Starts a server and waits until it accepts clients.
    ///
    /// # Errors
    /// The store directory cannot be used or is in use by another program, or the server cannot be run, ends at once,
    /// or is not ready within [`Options::start_timeout`]; the last two carry the end of its log.
    pub async fn start(mut options: Options) -> Result<Self, Error> {
        let store = Store::open(&options.store_dir, options.log_file.as_deref()).await?;
        let (child, ports) = launch(&options, &store).await?;
        options.port = same_port(&ports.nats).unwrap_or(options.port);
        options.monitor = same_port(&ports.monitoring).or(options.monitor);
        if let Some(websocket) = &mut options.websocket {
            websocket.port = same_port(&ports.websocket).unwrap_or(websocket.port);
        }
        Ok(Self { options, child, running: true, ports, store })
    }

    /// Where NATS clients connect: `nats://127.0.0.1:4222`, or `tls://127.0.0.1:4222` where the server wants TLS. Stays
    /// the same over restarts.
    pub fn client_url(&self) -> &str {
        let url = self.ports.nats.first();
        url.expect("a ports file without a client URL is not accepted")
    }

    /// Where browsers connect, `ws://127.0.0.1:9222`, if WebSocket is on.
    pub fn websocket_url(&self) -> Option<&str> {
        self.ports.websocket.first().map(String::as_str)
    }

    /// The server's own monitoring pages, `http://127.0.0.1:8222`, if they are on.
    pub fn monitor_url(&self) -> Option<&str> {
        self.ports.monitoring.first().map(String::as_str)
    }

    /// The process id of the server; `None` once its end has been noticed by [`wait`](Self::wait) or
    /// [`kill`](Self::kill).
    pub fn pid(&self) -> Option<u32> {
        self.running.then(|| self.child.pid())
    }

    /// The file the server's output goes to.
    pub fn log_file(&self) -> &Path {
        self.store.log_path()
    }

    /// Waits until the server ends by itself, which it should not: for a supervisor to notice. Cancel-safe, and returns
    /// the same status at every later call until a restart.
    ///
    /// # Errors
    /// The operating system refuses to wait.
    pub async fn wait(&mut self) -> Result<ExitStatus, Error> {
        let pid = self.child.pid();
        let status = self.child.wait().await.map_err(control(pid))?;
        self.running = false;
        Ok(status)
    }

    /// Kills the server with SIGKILL, as a crash would, and waits for its end. [`restart`](Self::restart) brings it
    /// back. Does nothing when it has ended.
    ///
    /// # Errors
    /// The operating system refuses to signal or wait.
    pub async fn kill(&mut self) -> Result<(), Error> {
        if self.running {
            let pid = self.child.pid();
            self.child.kill().await.map_err(control(pid))?;
            self.running = false;
        }
        Ok(())
    }

    /// Starts the server again with the same ports and store, stopping it gracefully if it runs.
    ///
    /// While the server was away another program may have taken its port: this keeps trying for
    /// [`Options::start_timeout`]. After an error the server is down and the restart can be repeated.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.terminate().await?;
        let mut pauses = delays(self.options.start_timeout);
        let (child, ports) = loop {
            match launch(&self.options, &self.store).await {
                Err(Error::Exited { tail, .. }) if tail.contains("address already in use") => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => break launch(&self.options, &self.store).await?,
                },
                outcome => break outcome?,
            }
        };
        self.child = child;
        self.ports = ports;
        self.running = true;
        Ok(())
    }

    /// Stops the server gracefully: SIGTERM, after 10 s SIGKILL. Its store can be used again when this returns.
    ///
    /// # Errors
    /// The operating system refuses to signal or wait.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.terminate().await
    }

    async fn terminate(&mut self) -> Result<(), Error> {
        if self.running {
            let pid = self.child.pid();
            let ended = self.child.terminate(STOP_LIMIT).await;
            let status = ended.map_err(control(pid))?;
            self.running = false;
            tracing::debug!(pid, %status, "nats-server stopped");
        }
        Ok(())
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Broker")
            .field("pid", &self.pid())
            .field("ports", &self.ports)
            .field("store_dir", &self.store.directory())
            .finish_non_exhaustive()
    }
}

/// Runs the server and waits for its ports file, which appears when every listener accepts connections.
async fn launch(options: &Options, store: &Store) -> Result<(Child, Ports), Error> {
    let binary = &options.binary;
    if !binary.is_file() {
        // The shell would say so too, but in the log.
        return Err(Error::Spawn { binary: binary.clone(), source: std::io::ErrorKind::NotFound.into() });
    }
    let ports_directory = store.fresh_ports_directory()?;
    let arguments = arguments(options, store, &ports_directory)?;
    let (log, log_start) = store.open_log()?;
    let lock = store.shared_lock()?;
    let mut child = Child::spawn(binary, &arguments, log, lock)
        .map_err(|source| Error::Spawn { binary: binary.clone(), source })?;
    let pid = child.pid();
    for pause in delays(options.start_timeout) {
        if let Some(ports) = Ports::read(&ports_directory, pid) {
            tracing::debug!(pid, url = ports.nats[0], "nats-server runs");
            return Ok((child, ports));
        }
        if let Ok(ended) = tokio::time::timeout(pause, child.wait()).await {
            return Err(Error::Exited {
                binary: binary.clone(),
                status: ended.map_err(control(pid))?,
                log: store.log_path().to_owned(),
                tail: store.log_tail(log_start),
            });
        }
    }
    child.kill().await.map_err(control(pid))?;
    Err(Error::NotReady {
        binary: binary.clone(),
        limit_ms: options.start_timeout.as_millis(),
        log: store.log_path().to_owned(),
        tail: store.log_tail(log_start),
    })
}

/// The server's command line. Writes its configuration file, unless there is one of the user's.
fn arguments(options: &Options, store: &Store, ports_directory: &Path) -> Result<Vec<OsString>, Error> {
    let mut port = None;
    let config = match &options.config_file {
        Some(file) => {
            if let Port::Fixed(fixed) = options.port {
                port = Some(fixed.to_string());
            }
            file.clone()
        }
        None => store.write_config(&render(options, store.directory())?)?,
    };
    let mut arguments = vec!["--config".into(), config.into(), "--ports_file_dir".into(), ports_directory.into()];
    if let Some(port) = port {
        arguments.extend(["--port".into(), port.into()]);
    }
    Ok(arguments)
}

fn control(pid: u32) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Control { pid, source }
}
