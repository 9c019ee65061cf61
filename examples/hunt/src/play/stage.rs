//! Daybook and the engine as processes of their own, for demonstrations, load and tests.

use crate::broker::connect;
use crate::node::daybook::Daybook;
use anyhow::{Context as _, bail};
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long Daybook may take to be up; it may have to fetch a nats-server first.
const UP_LIMIT: Duration = Duration::from_secs(180);
/// How long an engine may take to serve.
const SERVE_LIMIT: Duration = Duration::from_secs(60);
/// How long a process gets to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// `daybook up` on a folder of its own.
pub struct Up {
    child: Child,
    pub binary: PathBuf,
    pub nats: String,
    /// Where its console is.
    pub http: String,
    _folder: tempfile::TempDir,
}

impl Up {
    /// Starts Daybook.
    ///
    /// # Errors
    /// When its binary is not beside this one, or it does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("daybook");
        if !binary.is_file() {
            let is_release = if cfg!(debug_assertions) { "" } else { " --release" };
            bail!("there is no {}; build it with `cargo build{is_release} -p daybook`", binary.display());
        }
        let folder = tempfile::Builder::new().prefix("hunt-demo-").tempdir()?;
        let (port, http_port) = (free_port()?, free_port()?);
        let log = std::fs::File::create(folder.path().join("daybook.log"))?;
        let http = format!("127.0.0.1:{http_port}");
        let child = Command::new(&binary)
            .args(["up", "--data"])
            .arg(folder.path().join("data"))
            .args(["--port", &port.to_string(), "--http", &http])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let nats = format!("nats://127.0.0.1:{port}");
        let mut up = Self { child, binary, nats, http: format!("http://{http}"), _folder: folder };
        up.wait().await?;
        Ok(up)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self._folder.path().join("daybook.log")).unwrap_or_default();
                bail!("daybook ended ({status}):\n{log}");
            }
            if let Ok(client) = connect(&self.nats).await
                && Daybook::new(&client, "x").admin("catalogue", &json!(null)).await.is_ok()
            {
                return Ok(());
            }
            anyhow::ensure!(began.elapsed() < UP_LIMIT, "daybook did not come up within {UP_LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lets Daybook verify the report of a day; returns what it prints.
    ///
    /// # Errors
    /// When it finds a difference.
    pub async fn verify(&self, tenant: &str, date: &str) -> anyhow::Result<String> {
        let output = Command::new(&self.binary).args(["verify", tenant, date, "--nats", &self.nats]).output().await?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        anyhow::ensure!(output.status.success(), "daybook verify: {}\n{text}", output.status);
        Ok(text)
    }

    /// Ends it in good order.
    pub async fn stop(mut self) {
        end(&mut self.child).await;
    }
}

/// A process of the engine.
pub struct Engine {
    child: Child,
    pub url: String,
}

impl Engine {
    /// Starts `hunt serve` by this binary, and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(binary: &Path, nats: &str, hunt: &str, listen: &str) -> anyhow::Result<Self> {
        Self::start_with(binary, &["--nats".into(), nats.into()], hunt, listen).await
    }

    /// The same with other arguments about the broker.
    ///
    /// # Errors
    /// When it does not serve.
    pub async fn start_with(binary: &Path, broker: &[OsString], hunt: &str, listen: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(binary)
            .args(["serve", hunt, "--listen", listen])
            .args(broker)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let first =
            tokio::time::timeout(SERVE_LIMIT, lines.next_line()).await.context("the engine does not serve")??;
        let url = first.as_deref().and_then(|line| line.rsplit_once(' ')).map(|(_, url)| url.to_owned());
        Ok(Self { child, url: url.context("the engine ended")? })
    }

    /// Waits until it ends by itself; says whether it ended well.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(&mut self) -> anyhow::Result<bool> {
        let status =
            tokio::time::timeout(SERVE_LIMIT, self.child.wait()).await.context("the engine does not end")??;
        Ok(status.success())
    }

    /// Ends it as a crash does.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Ends it in good order.
    pub async fn stop(mut self) {
        end(&mut self.child).await;
    }
}

/// Sends SIGTERM, which std cannot, and waits.
async fn end(child: &mut Child) {
    if let Some(id) = child.id() {
        // The child has not been waited for, so its id is its own.
        let _ = Command::new("kill").arg(id.to_string()).status().await;
    }
    if tokio::time::timeout(END_LIMIT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// A port that nobody listens on.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
