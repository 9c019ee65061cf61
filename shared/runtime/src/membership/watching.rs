//! Watches the processes of all services, and tells of lost redundancy in heartbeats, metrics and the log.

use super::redundancy::{Tracker, replicas};
use super::{Board, HEARTBEAT};
use crate::clock;
use crate::connection::Connection;
use compact_str::CompactString;
use daybook_contracts::members::{Heartbeat, LOSS, Missing};
use futures::StreamExt;
use std::collections::BTreeMap;
use tokio::time::{Instant, MissedTickBehavior};

/// The services whose missing processes are always shown as a metric, also when they are none.
const SERVICES: [&str; 4] = ["day-manager", "ingest", "aggregator-shard", "query"];
/// Most further services that are shown; those of the clients around the four.
const MAX_OTHER_SERVICES: usize = 12;

/// Watches until the connection is closed. What is missing goes onto `board`.
///
/// # Errors
/// When the connection is closed already.
pub async fn watch_all(connection: Connection, board: Board) -> Result<(), async_nats::SubscribeError> {
    let mut heard = connection.client.subscribe(connection.subjects.members("*")).await?;
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let mut tracker = Tracker::new(began);
    let mut shown: BTreeMap<CompactString, usize> = SERVICES.iter().map(|service| ((*service).into(), 0)).collect();
    loop {
        tokio::select! {
            message = heard.next() => match message {
                Some(message) => {
                    if let Some(heartbeat) = Heartbeat::decode(&message.payload) {
                        tracker.hear(heartbeat, Instant::now());
                    }
                }
                None => return Ok(()),
            },
            _ = beat.tick() => {
                let is_connected = connection.client.connection_state() == async_nats::connection::State::Connected;
                for Missing { service, instance, host, pid, .. } in tracker.look(is_connected, Instant::now(), clock::now()) {
                    tracing::warn!(%service, %instance, %host, pid, "a process fell silent without a farewell; start another one");
                }
                board.set_missing(tracker.missing().cloned().collect());
                show_missing(&tracker, &mut shown);
                // Before, not everyone has been heard.
                if began.elapsed() > LOSS {
                    show_replicas(&tracker, connection.partitions);
                }
            }
        }
    }
}

fn show_missing(tracker: &Tracker, shown: &mut BTreeMap<CompactString, usize>) {
    shown.values_mut().for_each(|count| *count = 0);
    for missing in tracker.missing() {
        if shown.contains_key(&missing.service) || shown.len() < SERVICES.len() + MAX_OTHER_SERVICES {
            *shown.entry(missing.service.clone()).or_default() += 1;
        }
    }
    for (service, count) in shown {
        metrics::gauge!("daybook_processes_missing", "service" => service.to_string()).set(*count as f64);
    }
}

fn show_replicas(tracker: &Tracker, partitions: u16) {
    for replicas in replicas(tracker.live(), partitions) {
        let label = || replicas.partition.to_string();
        metrics::gauge!("daybook_partition_replicas", "partition" => label()).set(replicas.serving as f64);
        // Without any shard nobody tells how many there should be; what was told last holds then.
        if replicas.wanted > 0 {
            metrics::gauge!("daybook_partition_replicas_wanted", "partition" => label()).set(replicas.wanted as f64);
        }
    }
}
