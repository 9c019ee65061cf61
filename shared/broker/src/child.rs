//! The server process: in a process group of its own, and never alive without this program.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child as Process, Command};

use crate::backoff::delays;

/// Starts the server, `$@`, in the shell's place, with a watcher beside it.
///
/// The watcher reads the lifeline, a pipe whose other end only this program holds. At its end, when this program has
/// died in whatever way, it kills the server; after a line, when the server has ended, it leaves. The kernel's own
/// means (`PR_SET_PDEATHSIG`) is Linux only, needs `unsafe`, and goes by the thread that started the process, which an
/// async runtime may end at any time.
///
/// The lock comes in as standard error, for lack of other ways to pass a file, and becomes the server's standard input.
const SCRIPT: &str = r#"
exec 3<&0 0<&2 2>&1
{ read -r _ <&3 || kill -9 $$; } </dev/null >/dev/null 2>&1 &
exec "$@" 3<&-
"#;

/// How long a drop waits for a killed server to be gone. It takes a few milliseconds.
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// A running server. Dropping it kills the server and waits until it is gone.
pub(crate) struct Child {
    process: Process,
    pid: u32,
    /// Taken when the process has been waited for.
    lifeline: Option<File>,
}

impl Child {
    /// Runs `binary` with its output going to `log`; it holds `lock` for as long as it lives.
    pub(crate) fn spawn(binary: &Path, arguments: &[OsString], log: File, lock: File) -> io::Result<Self> {
        let mut process = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "daybook-broker"])
            .arg(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(lock)
            // Ctrl-C goes to the terminal's group: our services are to drain before their broker goes.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().expect("a process not yet waited for has an id");
        let lifeline = process.stdin.take().expect("standard input is piped");
        Ok(Self { process, pid, lifeline: Some(lifeline.into_owned_fd()?.into()) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the server to end by itself. Can be dropped and called again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait().await?;
        self.release_watcher();
        Ok(status)
    }

    /// Ends the server at once.
    pub(crate) async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.process.start_kill()?;
        self.wait().await
    }

    /// Asks the server to end, and ends it when it has not within `grace`.
    pub(crate) async fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        // Until it has been waited for, the id cannot have been given to another process.
        if let Some(pid) = self.process.id().and_then(|id| Pid::from_raw(id as i32)) {
            kill_process(pid, Signal::TERM)?;
        }
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(status) => status,
            Err(_elapsed) => {
                tracing::warn!(pid = self.pid, ?grace, "nats-server did not stop in time and is killed");
                self.kill().await
            }
        }
    }

    /// Tells the watcher that there is nothing to kill any more.
    fn release_watcher(&mut self) {
        if let Some(mut lifeline) = self.lifeline.take() {
            // Fails only if somebody killed the watcher, and then it need not be told.
            let _ = lifeline.write_all(b"\n");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.lifeline.is_none() {
            return;
        }
        // Wait for the end, or the port and the files in the store would still be in use when we return.
        let _ = self.process.start_kill();
        for pause in delays(DROP_LIMIT) {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(pause),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        self.release_watcher();
    }
}
