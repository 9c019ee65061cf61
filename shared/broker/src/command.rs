//! Running a short helper command to its end, within a bound.

use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::backoff::delays;

/// How long an executable may stay "text file busy". A program that forks while another of its threads writes a binary
/// hands the open file to the fork until that calls exec, a matter of milliseconds.
const BUSY_LIMIT: Duration = Duration::from_secs(2);

/// What a command left behind.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// Standard output and standard error, as they came.
    pub(crate) text: String,
}

/// Runs `command` without input and waits for its end, at most `limit`; then it is killed.
///
/// # Errors
/// Whatever kept the command from starting, or [`io::ErrorKind::TimedOut`].
pub(crate) fn run(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    // A file rather than a pipe: nothing has to drain it while we wait.
    let mut output = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = spawn(command)?;
    let mut pauses = delays(limit);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let Some(pause) = pauses.next() else {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {} s", limit.as_secs())));
        };
        thread::sleep(pause);
    };
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Finished { status, text })
}

fn spawn(command: &mut Command) -> io::Result<std::process::Child> {
    for pause in delays(BUSY_LIMIT) {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::sleep(pause),
            outcome => return outcome,
        }
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_status_and_both_outputs() {
        let finished =
            run(Command::new("/bin/sh").args(["-c", "echo out; echo err >&2; exit 3"]), Duration::from_secs(10))
                .unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.text, "out\nerr\n");
    }

    #[test]
    fn kills_what_takes_too_long() {
        let outcome = run(Command::new("/bin/sh").args(["-c", "exec sleep 600"]), Duration::from_millis(20));
        assert_eq!(outcome.err().unwrap().kind(), io::ErrorKind::TimedOut);
    }
}
