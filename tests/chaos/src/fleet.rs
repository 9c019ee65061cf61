//! The services' processes, two of each, and what is done to them.

use crate::cluster::NODES;
use anyhow::Context as _;
use daybook_random::Random;
use daybook_tests::processes::{PARTITIONS, Process, Service, binary, wait_until_ready_with};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::path::{Path, PathBuf};

/// Processes of each service.
pub const INSTANCES: usize = 2;
/// Buffered by INBOX: far more than a run publishes, and little enough that three brokers find the room.
const INBOX_MAX_BYTES: &str = "67108864";
/// Messages of a tenant and kind in INBOX: with the two kilobytes that the hostile tenant's may have, a quarter of it.
const INBOX_MAX_MESSAGES: &str = "4096";
/// What a file may not grow beyond while the disk is "full": less than any file of a store is long.
const FULL_BYTES: u64 = 512;
/// Bytes that are changed in each damaged file.
const DAMAGED_BYTES: u64 = 8;

/// Every process, in the order of [`Service::ALL`], two by two.
pub struct Fleet {
    processes: Vec<Process>,
    folder: PathBuf,
}

impl Fleet {
    /// Starts everything and waits until it is ready.
    pub async fn start(urls: &str, folder: &Path) -> Self {
        let all = Service::ALL.into_iter().flat_map(|service| (0..INSTANCES).map(move |instance| (service, instance)));
        let mut processes: Vec<Process> =
            all.map(|(service, instance)| describe(service, instance, urls, folder)).collect();
        processes.iter_mut().for_each(Process::start);
        let mut fleet = Self { processes, folder: folder.to_owned() };
        fleet.ready().await;
        fleet
    }

    /// The process of a service.
    pub fn process(&mut self, service: Service, instance: usize) -> &mut Process {
        &mut self.processes[service as usize * INSTANCES + instance]
    }

    /// Waits until every process says that it is ready.
    pub async fn ready(&mut self) {
        for service in Service::ALL {
            for instance in 0..INSTANCES {
                self.ready_one(service, instance).await;
            }
        }
    }

    /// Waits until a process says that it is ready.
    pub async fn ready_one(&mut self, service: Service, instance: usize) {
        let parts = match service {
            Service::Ingest => 1 + usize::from(PARTITIONS) / INSTANCES,
            // Every partition is kept by both.
            Service::AggregatorShard => 1 + usize::from(PARTITIONS),
            Service::DayManager | Service::Query => 2,
        };
        wait_until_ready_with(self.process(service, instance), parts).await;
    }

    /// The sum of a counter over all processes, since each was started last.
    pub async fn counted(&mut self, series: &str) -> f64 {
        let mut sum = 0.0;
        for process in &mut self.processes {
            sum += process.metric(series).await;
        }
        sum
    }

    /// Lines of any process's log, of all its runs, that hold `text`.
    pub fn logged(&self, text: &str) -> Vec<String> {
        let of_process = |log: PathBuf| {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect::<Vec<_>>()
        };
        let all = Service::ALL.into_iter().flat_map(|service| (0..INSTANCES).map(move |instance| (service, instance)));
        all.flat_map(|(service, instance)| of_process(self.folder.join(format!("{}.log", label(service, instance)))))
            .collect()
    }

    /// Deletes a shard's checkpoints.
    ///
    /// # Errors
    /// When something of them stays.
    pub fn delete_data(&self, instance: usize) -> anyhow::Result<()> {
        let data = data(&self.folder, instance);
        loop {
            match std::fs::remove_dir_all(&data) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                // The running shard has just put a file into it.
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(error).context("deleting a shard's data"),
            }
        }
    }

    /// Changes bytes of a shard's checkpoints, in about half of the files; in how many.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub fn corrupt_data(&self, instance: usize, random: &mut Random) -> anyhow::Result<u64> {
        let mut damaged = 0;
        for path in files_under(&data(&self.folder, instance))? {
            let mut bytes = std::fs::read(&path)?;
            if bytes.is_empty() || random.percent(50) {
                continue;
            }
            for _ in 0..DAMAGED_BYTES {
                let index = random.below(bytes.len() as u64) as usize;
                bytes[index] ^= 0xff;
            }
            std::fs::write(&path, bytes)?;
            damaged += 1;
        }
        Ok(damaged)
    }

    /// Lets a running shard write to no file beyond its first bytes, or everywhere again.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn fill_disk(&mut self, instance: usize, is_full: bool) -> anyhow::Result<()> {
        let pid = self.process(Service::AggregatorShard, instance).id().context("the shard does not run")?;
        let own = getrlimit(Resource::Fsize);
        // The hard limit stays, so that no right is needed to lift the soft one.
        let limit = Rlimit { current: if is_full { Some(FULL_BYTES) } else { own.maximum }, maximum: own.maximum };
        let pid = Pid::from_raw(pid.cast_signed()).context("a process has an id")?;
        prlimit(Some(pid), Resource::Fsize, limit).context("limiting the files of a shard")?;
        Ok(())
    }
}

fn label(service: Service, instance: usize) -> String {
    format!("{}-{}", service.name(), instance + 1)
}

fn data(folder: &Path, instance: usize) -> PathBuf {
    folder.join(format!("{}-data", label(Service::AggregatorShard, instance)))
}

fn describe(service: Service, instance: usize, urls: &str, folder: &Path) -> Process {
    let mut arguments: Vec<String> = ["--http", "127.0.0.1:0", "--log-format", "json"].map(str::to_owned).to_vec();
    let mut set = |flag: &str, value: &str| arguments.extend([flag, value].map(str::to_owned));
    set("--nats", urls);
    set("--partitions", &PARTITIONS.to_string());
    set("--stream-replicas", &NODES.to_string());
    set("--inbox-max-bytes", INBOX_MAX_BYTES);
    set("--inbox-max-messages-per-kind", INBOX_MAX_MESSAGES);
    let binary = binary(service.name());
    match service {
        Service::Ingest => set("--trim-interval-ms", "500"),
        Service::AggregatorShard => {
            set("--data", &data(folder, instance).to_string_lossy());
            set("--replicas", "2");
            // Often, so that every fault finds some under way.
            set("--checkpoint-interval-ms", "300");
            set("--snapshot-interval-ms", "2000");
            // Entities of closed days are on disk alone, in one process of two: figures are the same all the same.
            set("--closed-days-mib", if instance == 0 { "0" } else { "1024" });
            // A write beyond the limit of a file's size is to fail, not to end the process: what is ignored stays so.
            let script = ["-c", "trap '' XFSZ; exec \"$0\" \"$@\""].map(str::to_owned);
            let arguments = script.into_iter().chain([binary.to_string_lossy().into_owned()]).chain(arguments);
            return Process::new(&label(service, instance), "/bin/sh".into(), arguments.collect(), folder);
        }
        Service::DayManager | Service::Query => {}
    }
    Process::new(&label(service, instance), binary, arguments, folder)
}

fn files_under(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_under(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
