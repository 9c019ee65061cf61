//! Versions of `nats-server`, and asking a binary for its own.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command;

/// The oldest server Daybook works with.
///
/// Appending by compare-and-set on a subject is older; 2.10 brought subject transforms with `partition()` and sources
/// that use them, 2.11 per-message TTL, and 2.12 message schedules (`Nats-Schedule`).
pub const MIN_VERSION: Version = Version::new(2, 12, 0);

/// The oldest server that protects tenants from each other, and so the oldest one that is chosen without being named.
///
/// An earlier one believes a `Nats-Stream-Source` header that a client made up, with which one client stops the days of
/// all tenants. Services refuse such a server, unless they are told that every client is trusted.
pub const SAFE_VERSION: Version = Version::new(2, 15, 0);

/// Printing a version takes milliseconds; a binary that takes longer than this is something else.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// A server version. A pre-release sorts before its release.
///
/// ```
/// use daybook_broker::Version;
/// assert!(Version::parse("nats-server: v2.12.0-RC.1").unwrap() < Version::new(2, 12, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    /// False for `-RC.1` and the like; false sorts before true.
    released: bool,
}

impl Version {
    /// The release `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch, released: true }
    }

    /// Reads what `nats-server --version` prints: `nats-server: v2.15.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let version = text.trim().strip_prefix("nats-server: v")?;
        let (numbers, suffix) = match version.find(['-', '+']) {
            Some(at) => version.split_at(at),
            None => (version, ""),
        };
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        let version = Self {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
            released: !suffix.starts_with('-'),
        };
        numbers.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.released { "" } else { " (pre-release)" };
        write!(formatter, "{}.{}.{}{suffix}", self.major, self.minor, self.patch)
    }
}

/// Why a binary did not tell its version.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be run, or did not end within 10 s.
    #[error("it cannot be run")]
    Run(#[from] io::Error),
    /// It ran but is not a NATS server.
    #[error("`--version` printed {0:?} instead of a NATS server's version")]
    Answer(String),
}

/// Runs `binary --version`.
///
/// # Errors
/// [`ProbeError`] when it cannot be run or prints something else.
pub fn probe(binary: &Path) -> Result<Version, ProbeError> {
    let finished = command::run(Command::new(binary).arg("--version"), PROBE_LIMIT)?;
    match Version::parse(&finished.text) {
        Some(version) if finished.status.success() => Ok(version),
        _ => Err(ProbeError::Answer(finished.text.lines().next().unwrap_or_default().chars().take(200).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_print() {
        let parse = |text| Version::parse(text).map(|version| version.to_string());
        assert_eq!(parse("nats-server: v2.15.1\n").unwrap(), "2.15.1");
        assert_eq!(parse("nats-server: v2.12.0-RC.3").unwrap(), "2.12.0 (pre-release)");
        assert_eq!(parse("nats-server: v2.15.1+build").unwrap(), "2.15.1");
        for wrong in [
            "",
            "v2.15.1",
            "nats-server: 2.15.1",
            "nats-server: v2.15",
            "nats-server: v2.15.1.0",
            "nats-server: v2.x.1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn orders_by_number_and_release() {
        let parse = |text: &str| Version::parse(&format!("nats-server: v{text}")).unwrap();
        let sorted = ["2.9.30", "2.10.0", "2.12.0-RC.1", "2.12.0", "3.0.0"].map(parse);
        assert!(sorted.is_sorted());
        assert!(parse("2.12.0-RC.1") < MIN_VERSION && parse("2.12.0") >= MIN_VERSION);
    }

    #[test]
    fn refuses_other_programs() {
        assert!(matches!(probe(Path::new("/bin/echo")), Err(ProbeError::Answer(_))));
        assert!(matches!(probe(Path::new("/no/such/file")), Err(ProbeError::Run(_))));
    }
}
