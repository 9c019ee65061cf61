//! `daybook status`: who runs what, and how far it is.

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::table::{Table, count, duration};
use daybook_contracts::admin::DaysStanding;
use daybook_contracts::members::{Divergence, Foreign, HEARTBEAT, Heartbeat, Part};
use daybook_domain::ids::Partition;
use daybook_runtime::usage::StreamUsage;
use daybook_runtime::{clock, usage};
use futures::StreamExt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// The services, in the order of the flow.
const SERVICES: [&str; 4] = ["day-manager", "ingest", "aggregator-shard", "query"];
/// How much longer than a heartbeat's interval is listened.
const GRACE: Duration = Duration::from_millis(300);
/// Characters of an instance's name that are shown.
const SHOWN_NAME: usize = 8;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
}

/// Everything that is shown.
#[derive(Serialize)]
struct Status {
    partitions: u16,
    members: Vec<Heartbeat>,
    /// Of the tenants' days, as day-manager knows them; `None` when it does not answer.
    days: Option<DaysStanding>,
    /// Reports and rejects that are made but not written yet, by partition; `None` where no shard answers.
    outputs_waiting: Vec<Option<u64>>,
    /// Replicas that hold different states.
    divergences: Vec<Divergence>,
    /// What stands in streams that no service wrote, as the process tells that has met most of it.
    foreign: Vec<Foreign>,
    /// What the broker keeps of each stream; empty when it does not tell.
    streams: Vec<StreamUsage>,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let (members, standing) = tokio::join!(members(&client), client.days_standing());
    let members = members?;
    let status = Status {
        partitions: client.connection.partitions,
        divergences: divergences(&members),
        foreign: foreign(&members),
        members,
        days: standing.ok(),
        outputs_waiting: client.outputs_waiting().await,
        streams: usage::streams(&client.connection).await.unwrap_or_default(),
    };
    let is_whole = status.is_whole();
    if arguments.client.json {
        super::print_json(&status)?;
    } else {
        status.print()?;
    }
    Ok(if is_whole && status.divergences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Listens for as long as it takes every process to tell of itself.
async fn members(client: &Client) -> anyhow::Result<Vec<Heartbeat>> {
    let mut heard = client.connection.client.subscribe(client.connection.subjects.members("*")).await?;
    let mut members = BTreeMap::new();
    let listening = async {
        while let Some(message) = heard.next().await {
            if let Some(heartbeat) = Heartbeat::decode(&message.payload) {
                if heartbeat.gone {
                    members.remove(&heartbeat.instance);
                } else {
                    members.insert(heartbeat.instance.clone(), heartbeat);
                }
            }
        }
    };
    let _ = tokio::time::timeout(HEARTBEAT + GRACE, listening).await;
    let mut members: Vec<Heartbeat> = members.into_values().collect();
    let rank = |member: &Heartbeat| SERVICES.iter().position(|service| *service == member.service);
    members.sort_by_key(|member| (rank(member), member.instance.clone()));
    Ok(members)
}

/// What replicas tell of their states that contradicts what others do.
fn divergences(members: &[Heartbeat]) -> Vec<Divergence> {
    let pairs =
        members.iter().enumerate().flat_map(|(index, one)| members[..index].iter().map(move |other| (one, other)));
    let mut found: Vec<Divergence> = pairs.flat_map(|(one, other)| one.divergences(other)).collect();
    found.sort();
    found
}

/// By stream, what the process tells that has met most.
fn foreign(members: &[Heartbeat]) -> Vec<Foreign> {
    let mut most: BTreeMap<&str, &Foreign> = BTreeMap::new();
    for told in members.iter().flat_map(|member| &member.foreign) {
        let known = most.entry(&told.stream).or_insert(told);
        if (told.messages, told.sequence) > (known.messages, known.sequence) {
            *known = told;
        }
    }
    most.into_values().cloned().collect()
}

impl Status {
    fn of(&self, service: &str, partition: Partition) -> impl Iterator<Item = (&Heartbeat, &Part)> {
        let members = self.members.iter().filter(move |member| member.service == service);
        members.filter_map(move |member| Some((member, member.parts.get(&partition)?)))
    }

    /// Whether every partition is sequenced and served, days are managed and questions answered.
    fn is_whole(&self) -> bool {
        let runs = |service: &str| self.members.iter().any(|member| member.service == service);
        let served = |service: &str, p| self.of(service, p).any(|(_, part)| part.ready);
        runs("day-manager")
            && runs("query")
            && Partition::all(self.partitions).all(|p| served("ingest", p) && served("aggregator-shard", p))
    }

    fn print(&self) -> anyhow::Result<()> {
        let now = clock::now();
        let mut table = Table::new(["SERVICE", "INSTANCE", "HOST", "PID", "VERSION", "UP", "STATE", "PARTITIONS"]);
        for member in &self.members {
            let parts = match member.service.as_str() {
                "ingest" | "aggregator-shard" => format!("{} of {}", member.parts.len(), self.partitions),
                _ => String::new(),
            };
            table.row([
                member.service.to_string(),
                short(member).to_owned(),
                member.host.to_string(),
                member.pid.to_string(),
                member.version.to_string(),
                duration(now.since(member.started_at)),
                state(member).to_owned(),
                parts,
            ]);
        }
        table.print()?;
        for service in SERVICES.iter().filter(|service| !self.members.iter().any(|m| m.service == **service)) {
            super::print_line(&format!("no {service} runs"))?;
        }
        super::print_line("")?;
        let mut table = Table::new([
            "PARTITION",
            "INGEST",
            "INBOX",
            "LAG",
            "SHARDS",
            "LOG",
            "BEHIND",
            "LATE BY",
            "CHECKPOINT",
            "UNWRITTEN",
        ]);
        for partition in Partition::all(self.partitions) {
            table.row(self.partition_row(partition));
        }
        table.print()?;
        super::print_line("")?;
        self.disk().print()?;
        if let Some(days) = &self.days {
            let overdue = match days.overdue_ms {
                0 => "nothing is overdue".to_owned(),
                ms => format!("the oldest close or opening is {} overdue", duration(Duration::from_millis(ms))),
            };
            super::print_line(&format!(
                "\n{} tenants, {} with an open day, {} closing (past their cut-off, in their grace); {overdue}",
                count(days.tenants),
                count(days.open),
                count(days.closing)
            ))?;
        }
        for Divergence { partition, log, instance, other } in &self.divergences {
            super::print_line(&format!(
                "DIVERGED: at {log} in the log of partition {partition}, the shards {} and {} hold different states",
                shorten(instance),
                shorten(other)
            ))?;
        }
        for Foreign { stream, messages, sequence, subject, why } in &self.foreign {
            super::print_line(&format!(
                "FOREIGN: {} in {stream} that no service wrote, the newest at {sequence} on {subject}: {why}; they have no \
                 effect, but somebody may write there: see docs/SECURITY.md",
                if *messages == 1 { "1 message".to_owned() } else { format!("{} messages", count(*messages)) }
            ))?;
        }
        if !self.is_whole() {
            super::print_line("NOT WHOLE: something above does not run, or is not level with its log yet")?;
        }
        Ok(())
    }

    /// What is on disk: of the broker, and of each shard.
    fn disk(&self) -> Table {
        let now = clock::now();
        let mut table = Table::new(["KEPT IN", "BYTES", "MESSAGES", "FIRST", "OLDEST", "BOUND"]);
        for usage in &self.streams {
            table.row([
                usage.stream.clone(),
                count(usage.bytes),
                count(usage.messages),
                usage.first_sequence.to_string(),
                usage.oldest.map_or_else(|| "-".to_owned(), |at| duration(now.since(at))),
                bound(usage),
            ]);
        }
        for member in self.members.iter().filter(|member| member.service == "aggregator-shard") {
            let bytes: u64 = member.parts.values().map(|part| part.store_bytes).sum();
            let bound = "the state, some times over".to_owned();
            let none = String::new;
            table.row([format!("shard {}", short(member)), count(bytes), none(), none(), none(), bound]);
        }
        table
    }

    fn partition_row(&self, partition: Partition) -> [String; 10] {
        let (ingest, inbox, lag) = match self.of("ingest", partition).next() {
            Some((member, part)) => (short(member).to_owned(), part.inbox.to_string(), count(part.lag)),
            None => ("none".to_owned(), String::new(), String::new()),
        };
        let shards: Vec<(&Heartbeat, &Part)> = self.of("aggregator-shard", partition).collect();
        let standing = |member: &Heartbeat, part: &Part| match (part.ready, member.leaving) {
            (false, _) => " (catching up)",
            (true, true) => " (leaving)",
            (true, false) => "",
        };
        let names: Vec<String> =
            shards.iter().map(|(member, part)| format!("{}{}", short(member), standing(member, part))).collect();
        let best = shards.iter().map(|(_, part)| part).max_by_key(|part| part.log);
        let of = |read: fn(&Part) -> String| best.map(|part| read(part)).unwrap_or_default();
        let unwritten = self.outputs_waiting.get(usize::from(partition.0)).copied().flatten();
        [
            partition.to_string(),
            ingest,
            inbox,
            lag,
            if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            of(|part| part.log.to_string()),
            of(|part| count(part.lag)),
            of(|part| if part.lag_ms == 0 { "-".to_owned() } else { duration(Duration::from_millis(part.lag_ms)) }),
            of(|part| part.checkpoint.to_string()),
            unwritten.map(count).unwrap_or_default(),
        ]
    }
}

/// Such as `1 073 741 824 bytes (3 %)`, `90d`, or `none`.
fn bound(usage: &StreamUsage) -> String {
    let mut bounds = Vec::new();
    if let Some(bytes) = usage.max_bytes {
        let percent = u128::from(usage.bytes) * 100 / u128::from(bytes);
        bounds.push(format!("{} bytes ({percent} %)", count(bytes)));
    }
    bounds.extend(usage.max_age_seconds.map(|seconds| duration(Duration::from_secs(seconds))));
    bounds.extend(usage.max_messages_per_subject.map(|messages| format!("{messages} a subject")));
    match bounds.is_empty() {
        true => "none".to_owned(),
        false => bounds.join(", "),
    }
}

/// What a process is about.
fn state(member: &Heartbeat) -> &'static str {
    match (member.joining, member.leaving) {
        // It serves what it runs until others do.
        (_, true) => "leaving",
        (true, false) => "joining",
        (false, false) => "running",
    }
}

fn short(member: &Heartbeat) -> &str {
    shorten(&member.instance)
}

/// Names are ASCII; the last characters are those that differ between processes started together.
fn shorten(name: &str) -> &str {
    name.get(name.len().saturating_sub(SHOWN_NAME)..).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::{DIGEST_FORMAT, StateDigest};
    use daybook_domain::ids::LogSeq;

    #[test]
    fn replicas_of_different_states_are_found_once() {
        let member = |instance: &str, state: &str| {
            let digest = StateDigest { log: LogSeq(8), format: DIGEST_FORMAT, state: state.into(), seasons: None };
            Heartbeat {
                parts: [(Partition(2), Part { digests: [digest].into(), ..Part::default() })].into(),
                ..Heartbeat::of("aggregator-shard", instance)
            }
        };
        let members = [member("a", "x"), member("b", "y"), member("c", "x")];
        let found = divergences(&members);
        let pairs: Vec<_> = found.iter().map(|found| (found.instance.as_str(), found.other.as_str())).collect();
        assert_eq!(pairs, [("b", "a"), ("c", "b")]);
        assert_eq!((found[0].partition, found[0].log), (Partition(2), LogSeq(8)));
        assert_eq!(divergences(&members[2..]), []);
    }
}
