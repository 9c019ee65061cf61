//! What a process takes, as the system tells it.

use anyhow::Context as _;
use std::time::Duration;

/// A process of this machine, by its id.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// Processor time so far, of all its threads, to a hundredth of a second.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn processor_time(self) -> anyhow::Result<Duration> {
        let stat = self.read("stat")?;
        // The name in parentheses may hold anything. Behind it come the third field and so on: the times are the 14th
        // and 15th.
        let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
        let ticks: u64 = fields.split_ascii_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Bytes in memory now.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn resident_bytes(self) -> anyhow::Result<u64> {
        Ok(self.field("status", "VmRSS:")? << 10)
    }

    /// The most bytes in memory so far.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn peak_bytes(self) -> anyhow::Result<u64> {
        Ok(self.field("status", "VmHWM:")? << 10)
    }

    /// Bytes that it has written to disks, whole pages as the system counts them; nothing in memory counts.
    ///
    /// # Errors
    /// When there is no such process, or it is another user's.
    pub fn written_bytes(self) -> anyhow::Result<u64> {
        self.field("io", "write_bytes:")
    }

    /// The number on a line that begins with `name`.
    fn field(self, file: &str, name: &str) -> anyhow::Result<u64> {
        let text = self.read(file)?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok());
        value.with_context(|| format!("no {name} in {file}"))
    }

    fn read(self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        std::fs::read_to_string(&path).with_context(|| path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let this = Process(std::process::id());
        let began = this.processor_time().unwrap();
        let filled = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(this.resident_bytes().unwrap() > filled.len() as u64);
        assert!(this.peak_bytes().unwrap() >= this.resident_bytes().unwrap() / 2);
        while this.processor_time().unwrap() == began {
            std::hint::black_box(filled.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
    }
}
