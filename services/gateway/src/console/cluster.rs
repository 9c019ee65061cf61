//! The installation: processes, partitions, webhooks, and what the streams take.

use super::page::{Page, table_section};
use super::visitor::Visitor;
use super::{Console, webhooks, words};
use crate::problem::{Code, Problem};
use daybook_contracts::members::{self, Divergence, Foreign, Heartbeat, Part};
use daybook_domain::ids::Partition;
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use daybook_runtime::usage::{self, StreamUsage};
use daybook_runtime::webhooks::{WebhookBacklog, WebhookStanding, backlogs, standings};
use futures::StreamExt as _;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most processes that are known.
const MAX_MEMBERS: usize = 1_024;
/// How often the broker is asked, however many look.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Pause before heartbeats are subscribed to again.
const AGAIN: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(2);
/// Characters of an instance's name that are shown.
const SHOWN_NAME: usize = 8;
/// Services without which the installation is not whole, in the order of the flow.
const NEEDED: [&str; 4] = ["day-manager", "ingest", "aggregator-shard", "query"];

/// What the broker told.
#[derive(Clone)]
struct Told {
    streams: Vec<StreamUsage>,
    webhooks: Vec<WebhookBacklog>,
}

/// What was heard of the processes. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Heard {
    members: Arc<Mutex<BTreeMap<String, (Heartbeat, Instant)>>>,
    /// What the broker told last, and when.
    told: Arc<tokio::sync::Mutex<Option<(Instant, Told)>>>,
}

impl Heard {
    /// Listens until `stop`.
    pub(super) fn listen(connection: Connection, stop: CancellationToken) -> Self {
        let heard = Self::default();
        let listening = heard.clone().hear(connection);
        tokio::spawn(async move {
            tokio::select! {
                () = listening => {}
                () = stop.cancelled() => {}
            }
        });
        heard
    }

    async fn hear(self, connection: Connection) {
        loop {
            if let Ok(mut messages) = connection.client.subscribe(connection.subjects.members("*")).await {
                while let Some(message) = messages.next().await {
                    if let Some(heartbeat) = Heartbeat::decode(&message.payload) {
                        self.take(heartbeat, Instant::now());
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn take(&self, heartbeat: Heartbeat, now: Instant) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|_, (_, since)| now.duration_since(*since) < members::LOSS);
        if heartbeat.gone {
            members.remove(heartbeat.instance.as_str());
        } else if members.len() < MAX_MEMBERS || members.contains_key(heartbeat.instance.as_str()) {
            members.insert(heartbeat.instance.to_string(), (heartbeat, now));
        }
    }

    /// The processes that were heard lately: the needed services first, in the order of the flow.
    fn now(&self) -> Vec<Heartbeat> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = members.values().filter(|(_, since)| since.elapsed() < members::LOSS);
        let mut members: Vec<Heartbeat> = fresh.map(|(heartbeat, _)| heartbeat.clone()).collect();
        let rank =
            |member: &Heartbeat| NEEDED.iter().position(|service| *service == member.service).unwrap_or(NEEDED.len());
        members.sort_by_key(|member| (rank(member), member.service.clone(), member.instance.clone()));
        members
    }

    /// What the streams take and what waits for webhooks; nothing when the broker does not tell.
    async fn told(&self, connection: &Connection) -> Told {
        // Held while it is asked: whoever comes meanwhile waits for that answer.
        let mut kept = self.told.lock().await;
        if let Some((since, told)) = &*kept
            && since.elapsed() < LOOK_EVERY
        {
            return told.clone();
        }
        let (usage, webhooks) = tokio::join!(usage::streams(connection), backlogs(connection));
        let told = Told { streams: usage.streams, webhooks: webhooks.unwrap_or_default() };
        *kept = Some((Instant::now(), told.clone()));
        told
    }
}

/// Makes the page.
///
/// # Errors
/// [`Code::Forbidden`] for a token of some tenants.
pub(super) async fn page(console: &Console, visitor: &Visitor) -> Result<Page, Problem> {
    if !visitor.is_operator() {
        return Err(Problem::new(Code::Forbidden, "the installation is for tokens of all tenants"));
    }
    let connection = &console.gateway.connection;
    let Told { streams, webhooks } = console.heard.told(connection).await;
    let members = console.heard.now();
    let webhooks = standings(webhooks, &members);
    Ok(Page {
        title: "Cluster".to_owned(),
        above: Vec::new(),
        lead: html! {},
        live: html! {
            (alarms(&members, connection.partitions, &webhooks))
            (processes(&members, connection.partitions))
            (partitions(&members, connection.partitions))
            (webhooks::table(&webhooks, clock::now()))
            (stored(&streams))
        },
        every: EVERY,
    })
}

/// What is wrong, or that nothing is.
fn alarms(members: &[Heartbeat], count: u16, webhooks: &[WebhookStanding]) -> Markup {
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !members.iter().any(|member| member.service == *name)).collect();
    let unserved = |service: &str| {
        let serves = |p: &Partition| {
            members.iter().any(|m| m.service == service && m.parts.get(p).is_some_and(|part| part.ready))
        };
        Partition::all(count).filter(|partition| !serves(partition)).count()
    };
    let (unsequenced, unanswered) = (unserved("ingest"), unserved("aggregator-shard"));
    let (divergences, foreign) = (members::divergences(members), members::foreign(members));
    let is_whole = missing.is_empty() && unsequenced == 0 && unanswered == 0;
    let refused = webhooks::alarms(webhooks, clock::now());
    html! {
        @if is_whole && divergences.is_empty() && foreign.is_empty() {
            p.notice.good { "Everything runs: every partition is sequenced and served." }
        }
        (refused)
        @for name in &missing { p.notice.bad { "No " (name) " runs." } }
        @if unsequenced > 0 { p.notice.bad { (unsequenced) " of " (count) " partitions have no ingest that is level." } }
        @if unanswered > 0 { p.notice.bad { (unanswered) " of " (count) " partitions have no shard that is level with its log." } }
        @for Divergence { partition, log, instance, other } in &divergences {
            p.notice.bad {
                "Diverged: at " (words::count(log.0)) " in the log of partition " (partition.0) ", the shards " (short(instance)) " and "
                (short(other)) " hold different states."
            }
        }
        @for Foreign { stream, messages, sequence, subject, why } in &foreign {
            p.notice.bad {
                (stream) " has " (words::count(*messages)) @if *messages == 1 { " message" } @else { " messages" }
                " that no service wrote, the newest at " (words::count(*sequence)) " on " code { (subject) } ": " (why)
                ". They have no effect, but somebody may write there: see docs/SECURITY.md."
            }
        }
    }
}

/// An instance's name as it is shown: its last characters are those that differ between processes started together.
fn short(instance: &str) -> &str {
    instance.get(instance.len().saturating_sub(SHOWN_NAME)..).unwrap_or(instance)
}

fn processes(members: &[Heartbeat], count: u16) -> Markup {
    let now = clock::now();
    let table = html! {
        thead { tr {
            th scope="col" { "Service" } th scope="col" { "Instance" } th scope="col" { "Host" } th.number scope="col" { "Process" }
            th scope="col" { "Version" } th.number scope="col" { "Up" } th scope="col" { "State" } th.number scope="col" { "Partitions" }
        } }
        tbody {
            @for member in members {
                @let has_parts = matches!(member.service.as_str(), "ingest" | "aggregator-shard");
                tr data-key=(member.instance) {
                    th scope="row" { (member.service) } td { code { (short(&member.instance)) } } td { (member.host) }
                    td.number { (member.pid) } td { (member.version) } td.number { (words::span(now.since(member.started_at))) }
                    td { @if member.leaving { span.state.closing { "leaving" } } @else { span.state.sealed { "running" } } }
                    td.number { @if has_parts { (member.parts.len()) " of " (count) } }
                }
            }
        }
    };
    table_section("processes", "Processes", "Processes that were heard in the last seconds", &table)
}

fn partitions(members: &[Heartbeat], count: u16) -> Markup {
    let caption = "Partitions, who sequences and who serves each, and how far they are";
    let table = html! {
        thead { tr {
            th.number scope="col" { "Partition" } th scope="col" { "Ingest" } th.number scope="col" { "Inbox" } th.number scope="col" { "Lag" }
            th scope="col" { "Shards" } th.number scope="col" { "Log" } th.number scope="col" { "Behind" }
            th.number scope="col" { "Checkpoint" } th.number scope="col" { "On disk" }
        } }
        tbody { @for partition in Partition::all(count) { (partition_row(members, partition)) } }
    };
    table_section("partitions", "Partitions", caption, &table)
}

fn partition_row(members: &[Heartbeat], partition: Partition) -> Markup {
    let of = |service: &'static str| {
        let members = members.iter().filter(move |member| member.service == service);
        members
            .filter_map(move |member| Some((member, member.parts.get(&partition)?)))
            .collect::<Vec<(&Heartbeat, &Part)>>()
    };
    let (ingest, shards) = (of("ingest"), of("aggregator-shard"));
    let best = shards.iter().map(|(_, part)| *part).max_by_key(|part| part.log);
    html! {
        tr data-key=(partition.0) {
            th.number scope="row" { (partition.0) }
            @match ingest.first() {
                Some((member, part)) => {
                    td { code { (short(&member.instance)) } } td.number { (words::count(part.inbox.0)) } td.number { (words::count(part.lag)) }
                }
                None => { td { span.state.overdue { "none" } } td {} td {} }
            }
            td {
                @if shards.is_empty() { span.state.overdue { "none" } }
                @for (member, part) in &shards {
                    code { (short(&member.instance)) } @if !part.ready { " (catching up)" } " "
                }
            }
            @match best {
                Some(part) => {
                    td.number { (words::count(part.log.0)) }
                    td.number { (words::count(part.lag)) @if part.lag_ms > 0 { ", " (words::millis(part.lag_ms)) } }
                    td.number { (words::count(part.checkpoint.0)) } td.number { (words::bytes(part.store_bytes)) }
                }
                None => { td {} td {} td {} td {} }
            }
        }
    }
}

fn stored(streams: &[StreamUsage]) -> Markup {
    if streams.is_empty() {
        return html! { p.notice { "The broker does not tell what its streams take." } };
    }
    let now = clock::now();
    let table = html! {
        thead { tr {
            th scope="col" { "Stream" } th.number scope="col" { "Size" } th.number scope="col" { "Messages" }
            th.number scope="col" { "Oldest" } th scope="col" { "Bound" }
        } }
        tbody {
            @for usage in streams {
                tr data-key=(usage.stream) {
                    th scope="row" { (usage.stream) } td.number { (words::bytes(usage.bytes)) } td.number { (words::count(usage.messages)) }
                    td.number { @if let Some(oldest) = usage.oldest { (words::span(now.since(oldest))) } }
                    td { (bound(usage)) }
                }
            }
        }
    };
    table_section("streams", "Streams", "Streams of the broker, what they hold and what bounds them", &table)
}

/// What bounds a stream, and how much of that is used.
fn bound(usage: &StreamUsage) -> String {
    let mut bounds = Vec::new();
    if let Some(most) = usage.max_bytes {
        bounds.push(format!("{} ({} % used)", words::bytes(most), u128::from(usage.bytes) * 100 / u128::from(most)));
    }
    bounds.extend(usage.max_age_seconds.map(|seconds| words::span(Duration::from_secs(seconds))));
    bounds.extend(usage.max_messages_per_subject.map(|messages| format!("{messages} a subject")));
    if bounds.is_empty() { "none".to_owned() } else { bounds.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_or_says_farewell_is_gone() {
        let heard = Heard::default();
        let now = Instant::now();
        heard.take(Heartbeat::of("query", "a"), now);
        heard.take(Heartbeat::of("day-manager", "b"), now);
        let names =
            |heard: &Heard| heard.now().into_iter().map(|member| member.instance.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&heard), ["b", "a"]);
        heard.take(Heartbeat { gone: true, ..Heartbeat::of("query", "a") }, now);
        assert_eq!(names(&heard), ["b"]);
        heard.take(Heartbeat::of("ingest", "c"), now + members::LOSS);
        assert_eq!(heard.members.lock().unwrap().len(), 1);
        (0..2 * MAX_MEMBERS).for_each(|number| heard.take(Heartbeat::of("x", &number.to_string()), now));
        assert!(heard.members.lock().unwrap().len() <= MAX_MEMBERS);
    }
}
