//! `daybook status`: who runs what, and how far it is. [`webhooks`] has what waits for the receivers of alerts.

mod webhooks;

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::table::{Table, count, counted, duration};
use daybook_contracts::admin::DaysStanding;
use daybook_contracts::members::{
    self, Divergence, Foreign, HEARTBEAT, Heartbeat, Memory, Missing, Part, SourceStanding,
};
use daybook_domain::ids::Partition;
use daybook_domain::time::Instant;
use daybook_runtime::membership::replicas;
use daybook_runtime::memory::mebibytes;
use daybook_runtime::usage::{StreamUsage, Usage};
use daybook_runtime::webhooks::WebhookStanding;
use daybook_runtime::{clock, usage};
use futures::StreamExt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// The services, in the order of the flow.
const SERVICES: [&str; 4] = ["day-manager", "ingest", "aggregator-shard", "query"];
/// The service that may be missing: without sources nothing is to be read.
const CONNECT: &str = "connect";
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
    /// What the broker keeps of each stream of which it tells.
    streams: Vec<StreamUsage>,
    /// What is lost of the redundancy that there should be, a sentence each.
    missing: Vec<String>,
    /// Processes that have used up their memory, a sentence each.
    full: Vec<String>,
    /// What waits for the receivers of alerts; `None` when the broker does not tell.
    webhooks: Option<Vec<WebhookStanding>>,
    /// Webhooks that have taken nothing for long, a sentence each.
    refused: Vec<String>,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let backlogs = daybook_runtime::webhooks::backlogs(&client.connection);
    let (members, standing, backlogs) = tokio::join!(listen(&client), client.days_standing(), backlogs);
    let members = members?;
    let webhooks = backlogs.map(|backlogs| daybook_runtime::webhooks::standings(backlogs, &members));
    let refused = webhooks::refused_long(webhooks.as_deref().unwrap_or_default(), clock::now());
    let Usage { streams, unanswered } = usage::streams(&client.connection).await;
    let full = full(&members);
    let mut missing = missing_members(&members, client.connection.partitions, clock::now());
    missing.extend(missing_copies(&streams, &unanswered));
    let status = Status {
        partitions: client.connection.partitions,
        divergences: members::divergences(&members),
        foreign: members::foreign(&members),
        members,
        days: standing.ok(),
        outputs_waiting: client.outputs_waiting().await,
        streams,
        missing,
        full,
        webhooks,
        refused,
    };
    let is_sound = status.is_whole()
        && [&status.missing, &status.full, &status.refused].iter().all(|sentences| sentences.is_empty())
        && status.divergences.is_empty();
    if arguments.client.json {
        super::print_json(&status)?;
    } else {
        status.print()?;
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Listens for as long as it takes every process to tell of itself.
async fn listen(client: &Client) -> anyhow::Result<Vec<Heartbeat>> {
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
    let order = || SERVICES.iter().chain([&CONNECT]);
    let rank = |member: &Heartbeat| order().position(|service| *service == member.service);
    members.sort_by_key(|member| (rank(member), member.instance.clone()));
    Ok(members)
}

/// Processes that fell silent, as the day-manager tells that misses most, and partitions with too few replicas.
fn missing_members(members: &[Heartbeat], partitions: u16, now: Instant) -> Vec<String> {
    let silent = members.iter().map(|member| &member.missing).max_by_key(|missing| missing.len());
    let mut sentences: Vec<String> = silent.into_iter().flatten().map(|missing| {
        let Missing { service, instance, host, pid, since } = missing;
        format!(
            "{service} {} (host {host}, pid {pid}) fell silent {} ago without a farewell; start another {service}, or, if it was \
             taken away for good, restart day-manager",
            shorten(instance),
            duration(now.since(*since))
        )
    }).collect();
    let too_few = replicas(members, partitions).into_iter().filter(|replicas| replicas.are_missing());
    sentences.extend(too_few.map(|replicas| {
        format!(
            "partition {} is served by {} of {} shards; start another aggregator-shard, or wait for those that catch up",
            replicas.partition, replicas.serving, replicas.wanted
        )
    }));
    sentences
}

/// Processes that take in nothing more.
fn full(members: &[Heartbeat]) -> Vec<String> {
    let is_full = |member: &&Heartbeat| member.memory.is_some_and(|memory| memory.is_full);
    let sentence = |member: &Heartbeat| {
        let Memory { used, limit, .. } = member.memory?;
        let service = &member.service;
        Some(format!(
            "{service} {} (host {}) uses about {} of {} and takes in nothing more; what it has it answers. Give it more memory \
             (--memory, or the limit of its container), or start another {service}",
            short(member),
            member.host,
            mebibytes(used),
            mebibytes(limit)
        ))
    };
    members.iter().filter(is_full).filter_map(sentence).collect()
}

/// Such as `165 MiB of 2048 MiB (8 %)`.
fn memory_share(memory: &Memory) -> String {
    let percent = u128::from(memory.used) * 100 / u128::from(memory.limit.max(1));
    format!("{} of {} ({percent} %)", mebibytes(memory.used), mebibytes(memory.limit))
}

/// Copies of streams that are not current, and streams of which the broker does not tell.
fn missing_copies(streams: &[StreamUsage], unanswered: &[String]) -> Vec<String> {
    let too_few = streams.iter().filter(|usage| usage.replicas_current < usage.replicas);
    let copies = too_few.map(|usage| {
        let StreamUsage { stream, replicas, replicas_current, not_current, .. } = usage;
        let why = if not_current.is_empty() { "no server has the others".to_owned() } else { not_current.join(", ") };
        format!("{stream} has {replicas_current} of {replicas} copies that are current: {why}; see to that NATS server")
    });
    let silent = unanswered.iter().map(|stream| {
        format!("the broker does not tell of {stream}: it has no leader now, or too few NATS servers run")
    });
    copies.chain(silent).collect()
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
        self.process_table(now).print()?;
        for service in SERVICES.iter().filter(|service| !self.members.iter().any(|m| m.service == **service)) {
            super::print_line(&format!("no {service} runs"))?;
        }
        super::print_line("")?;
        self.partition_table().print()?;
        super::print_line("")?;
        if let Some(table) = self.sources() {
            table.print()?;
            super::print_line("")?;
        }
        match &self.webhooks {
            Some(webhooks) => {
                if let Some(table) = webhooks::table(webhooks, now) {
                    table.print()?;
                    super::print_line("")?;
                }
            }
            None => super::print_line(
                "the broker does not tell of webhooks; may this user list the consumers of ALERTS?\n",
            )?,
        }
        self.disk().print()?;
        if let Some(days) = &self.days {
            super::print_line(&format!("\n{}", days_text(days)))?;
        }
        self.print_troubles()?;
        if !self.is_whole() {
            super::print_line("NOT WHOLE: something above does not run, or is not level with its log yet")?;
        }
        Ok(())
    }

    /// Every process that tells of itself.
    fn process_table(&self, now: Instant) -> Table {
        let mut table =
            Table::new(["SERVICE", "INSTANCE", "HOST", "PID", "VERSION", "UP", "STATE", "PARTITIONS", "MEMORY"]);
        for member in &self.members {
            let parts = match member.service.as_str() {
                "ingest" | "aggregator-shard" => format!("{} of {}", member.parts.len(), self.partitions),
                CONNECT => counted(member.sources.iter().filter(|source| source.running).count() as u64, "source"),
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
                member.memory.as_ref().map(memory_share).unwrap_or_default(),
            ]);
        }
        table
    }

    /// Who serves each partition, and how far.
    fn partition_table(&self) -> Table {
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
        table
    }

    /// What is wrong, a line each.
    fn print_troubles(&self) -> anyhow::Result<()> {
        for (member, why) in self.members.iter().filter_map(|it| Some((it, it.sources_refused.as_ref()?))) {
            super::print_line(&format!(
                "REFUSED: the file of sources of connect {} on {}; it goes on with those of before: {why}",
                short(member),
                member.host
            ))?;
        }
        for missing in &self.missing {
            super::print_line(&format!("MISSING: {missing}"))?;
        }
        for full in &self.full {
            super::print_line(&format!("FULL: {full}"))?;
        }
        for refused in &self.refused {
            super::print_line(&format!("REFUSED: {refused}"))?;
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
                counted(*messages, "message")
            ))?;
        }
        Ok(())
    }

    /// Every source that a process of connect knows; nothing where none is.
    fn sources(&self) -> Option<Table> {
        let members = self.members.iter().filter(|member| member.service == CONNECT);
        let told = members.flat_map(|member| member.sources.iter().map(move |source| (member, source)));
        let mut sources: BTreeMap<&str, Vec<(&Heartbeat, &SourceStanding)>> = BTreeMap::new();
        told.for_each(|(member, source)| sources.entry(&source.name).or_default().push((member, source)));
        if sources.is_empty() {
            return None;
        }
        let mut table = Table::new(["SOURCE", "READ BY", "MESSAGES", "EVENTS", "UNMAPPED", "LAG", "STATE"]);
        for (name, known) in sources {
            let running = || known.iter().filter(|(_, source)| source.running);
            let sum = |read: fn(&SourceStanding) -> u64| count(known.iter().map(|(_, source)| read(source)).sum());
            let names: Vec<&str> = running().map(|(member, _)| short(member)).collect();
            let lag = running().find_map(|(_, source)| source.lag);
            let trouble = running().find_map(|(_, source)| source.trouble.as_deref());
            table.row([
                name.to_owned(),
                if names.is_empty() { "nobody".to_owned() } else { names.join(", ") },
                sum(|source| source.messages),
                sum(|source| source.events),
                sum(|source| source.unmapped),
                lag.map_or_else(|| "-".to_owned(), count),
                trouble.unwrap_or(if names.is_empty() { "not read" } else { "reading" }).to_owned(),
            ]);
        }
        Some(table)
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
            let out: u64 = member.parts.values().map(|part| part.closed_pages_out).sum();
            let bound = match out {
                0 => "the state, some times over".to_owned(),
                out => format!("the state, some times over; {} pages of closed days are only there", count(out)),
            };
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

/// How the tenants' days stand.
fn days_text(days: &DaysStanding) -> String {
    let overdue = match days.overdue_ms {
        0 => "nothing is overdue".to_owned(),
        ms => format!("the oldest close or opening is {} overdue", duration(Duration::from_millis(ms))),
    };
    format!(
        "{} tenants, {} with an open day, {} closing (past their cut-off, in their grace); {overdue}",
        count(days.tenants),
        count(days.open),
        count(days.closing)
    )
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

    #[test]
    fn what_is_missing_is_named() {
        let missing = |instance: &str| Missing {
            service: "query".into(),
            instance: instance.into(),
            host: "h".into(),
            pid: 7,
            since: Instant::MIN,
        };
        let manager = |missing| Heartbeat { missing, ..Heartbeat::of("day-manager", "m") };
        let shard = |replicas| Heartbeat {
            replicas: Some(replicas),
            parts: [(Partition(0), Part { ready: true, ..Part::default() })].into(),
            ..Heartbeat::of("aggregator-shard", "s")
        };
        let told = |members: &[Heartbeat]| missing_members(members, 1, Instant::MIN);
        assert_eq!(told(&[manager(vec![]), shard(1)]), [""; 0]);
        let both = told(&[manager(vec![]), manager(vec![missing("q-12345678")]), shard(2)]);
        assert_eq!(both.len(), 2);
        assert!(both[0].starts_with("query 12345678 (host h, pid 7) fell silent"), "{both:?}");
        assert!(both[1].starts_with("partition 0 is served by 1 of 2 shards"), "{both:?}");
    }

    #[test]
    fn copies_that_are_not_current_are_named_with_their_server() {
        let usage = |current, not_current: &[&str]| StreamUsage {
            stream: "S".to_owned(),
            messages: 0,
            bytes: 0,
            first_sequence: 1,
            last_sequence: 0,
            oldest: None,
            max_bytes: None,
            max_age_seconds: None,
            max_messages_per_subject: None,
            replicas: 3,
            replicas_current: current,
            not_current: not_current.iter().map(|why| (*why).to_owned()).collect(),
        };
        assert_eq!(missing_copies(&[usage(3, &[])], &[]), [""; 0]);
        let missing = missing_copies(&[usage(2, &["nats-2 is offline"]), usage(2, &[])], &["T".to_owned()]);
        assert!(missing[0].starts_with("S has 2 of 3 copies that are current: nats-2 is offline"), "{missing:?}");
        assert!(missing[1].contains("no server has the others") && missing[2].contains("does not tell of T"));
    }
}
