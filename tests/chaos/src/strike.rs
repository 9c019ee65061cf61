//! Faults are done to the processes and the brokers, and lifted again.

use crate::cluster::{Cluster, NODES, level};
use crate::fault::{Fault, Kind};
use crate::fleet::Fleet;
use crate::load::Board;
use daybook::client::Client;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_domain::ids::InboxSeq;
use daybook_random::Random;
use daybook_tests::processes::Service;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Within what everything must work again when nothing is wrong any more.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// How long one question may take while recovery is waited for.
const PROBE_DEADLINE: Duration = Duration::from_secs(4);
/// Between two looks at whether it has come.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// What a shard counts when it cannot write a checkpoint.
const FAILURES: &str = "daybook_checkpoint_failures_total";
/// Within what a shard must have tried to write one: intervals are short, but it may be replaying just now.
const NOTICE_LIMIT: Duration = Duration::from_secs(20);

/// What faults are done to.
pub struct World {
    // Dropped in this order: services first.
    pub fleet: Fleet,
    pub cluster: Cluster,
    pub client: Client,
}

impl World {
    /// Does it, waits for as long as it is to last, and lifts it.
    ///
    /// # Errors
    /// When something cannot be started again, or three brokers do not become level before one of them goes.
    pub async fn strike(&mut self, fault: &Fault) -> anyhow::Result<()> {
        if fault.kind.is_of_brokers() {
            level(&self.client.connection.jetstream, &self.client.connection.subjects).await?;
        }
        let (service, instance) = (fault.service, fault.instance);
        match fault.kind {
            Kind::Kill => {
                self.fleet.process(service, instance).kill();
                tokio::time::sleep(fault.hold).await;
                self.fleet.process(service, instance).start();
            }
            Kind::Restart => self.restart(service, instance).await?,
            Kind::Pause => {
                self.fleet.process(service, instance).pause();
                tokio::time::sleep(fault.hold).await;
                self.fleet.process(service, instance).resume();
            }
            Kind::BrokerKill => {
                self.cluster.brokers[fault.node].kill().await?;
                tokio::time::sleep(fault.hold).await;
                self.cluster.brokers[fault.node].restart().await?;
            }
            Kind::BrokerRoll => self.roll(fault).await?,
            Kind::BrokerCut => {
                self.cluster.cut_off(fault.node);
                tokio::time::sleep(fault.hold).await;
                self.cluster.mend();
            }
            Kind::DataDeleted => {
                self.fleet.process(service, instance).kill();
                self.fleet.delete_data(instance)?;
                tokio::time::sleep(fault.hold).await;
                self.fleet.process(service, instance).start();
            }
            Kind::DataDeletedRunning => {
                self.fleet.delete_data(instance)?;
                tokio::time::sleep(fault.hold).await;
            }
            Kind::DataCorrupted => {
                self.fleet.process(service, instance).kill();
                // It may have lost all of it a moment ago.
                let damaged = self.fleet.corrupt_data(instance, &mut Random::new(fault.seed)).unwrap_or(0);
                tell(&format!("{damaged} files damaged"));
                tokio::time::sleep(fault.hold).await;
                self.fleet.process(service, instance).start();
            }
            Kind::DiskFull => self.fill(fault).await?,
            Kind::HandOver => self.hand_over(fault).await?,
        }
        Ok(())
    }

    /// Restarts the brokers one after the other.
    async fn roll(&mut self, fault: &Fault) -> anyhow::Result<()> {
        for turn in 0..NODES {
            if turn > 0 {
                level(&self.client.connection.jetstream, &self.client.connection.subjects).await?;
            }
            let node = (fault.node + turn) % NODES;
            self.cluster.brokers[node].kill().await?;
            tokio::time::sleep(fault.hold).await;
            self.cluster.brokers[node].restart().await?;
        }
        Ok(())
    }

    /// Fills a shard's disk until it has noticed.
    async fn fill(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let (service, instance) = (fault.service, fault.instance);
        // One that has only just been started would find the disk full before it has a checkpoint to write.
        self.fleet.ready_one(service, instance).await;
        let before = self.fleet.process(service, instance).metric(FAILURES).await;
        self.fleet.fill_disk(instance, true)?;
        let filled = Instant::now();
        while self.fleet.process(service, instance).metric(FAILURES).await <= before {
            anyhow::ensure!(filled.elapsed() < NOTICE_LIMIT, "no checkpoint failed on a full disk");
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        tokio::time::sleep(fault.hold).await;
        self.fleet.fill_disk(instance, false)
    }

    /// Has a process end in good order while a broker is away.
    async fn hand_over(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let (service, instance) = (fault.service, fault.instance);
        self.fleet.process(service, instance).signal(Signal::TERM);
        self.cluster.brokers[fault.node].kill().await?;
        let (status, ()) = tokio::join!(self.fleet.process(service, instance).ended(), async {
            tokio::time::sleep(fault.hold).await;
        });
        anyhow::ensure!(status.success(), "{} ended with {status}", service.name());
        self.cluster.brokers[fault.node].restart().await?;
        self.fleet.process(service, instance).start();
        Ok(())
    }

    async fn restart(&mut self, service: Service, instance: usize) -> anyhow::Result<()> {
        let process = self.fleet.process(service, instance);
        let (status, _) = process.terminate().await;
        anyhow::ensure!(status.success(), "{} ended with {status}", service.name());
        process.start();
        Ok(())
    }

    /// Waits until something that was published after `since` is in the live figures of every tenant; how long that
    /// took.
    ///
    /// # Errors
    /// When it takes longer than [`RECOVERY_LIMIT`].
    pub async fn recovered(&self, board: &Board, since: Instant) -> anyhow::Result<Duration> {
        for (tenant, described) in board.tenants.iter().enumerate() {
            let mut last = "nothing was acknowledged".to_owned();
            loop {
                let date = described.day_of(board.now_ms(tenant));
                if let Some(newest) = board.newest(tenant, Some(since)) {
                    let query = Query {
                        at_least: Some(InboxSeq(newest)),
                        accept_stale: false,
                        ..Query::days(DaySelector::Date(date))
                    };
                    let answer = self.client.query(&described.id, "outcomes", &query);
                    match tokio::time::timeout(PROBE_DEADLINE, answer).await {
                        Ok(Ok(_)) => break,
                        Ok(Err(error)) => last = error.to_string(),
                        Err(_) => "no answer".clone_into(&mut last),
                    }
                }
                let waited = since.elapsed();
                anyhow::ensure!(
                    waited < RECOVERY_LIMIT,
                    "{} has no live figures after {waited:?}: {last}",
                    described.id
                );
                tokio::time::sleep(PROBE_INTERVAL).await;
            }
        }
        Ok(since.elapsed())
    }
}

/// Tells on the standard error what happens, for those who watch.
pub fn tell(text: &str) {
    eprintln!("{text}");
}
