//! What waits for the webhooks on the broker, and why: the durable consumers say how much and since when, and the processes of the
//! gateway tell what came of their tries.

use crate::append::next_message;
use crate::connection::Connection;
use async_nats::jetstream::consumer::Info;
use daybook_contracts::members::{Heartbeat, WebhookRefusal, WebhookTries};
use daybook_domain::time::Instant;
use futures::TryStreamExt as _;
use futures::future::join_all;
use serde::Serialize;
use std::time::Duration;

/// How long the broker may take to tell of all consumers.
const LIMIT: Duration = Duration::from_secs(3);
/// Subjects that are asked for their oldest alert in one look, of all webhooks together. Of those beyond, nobody says how long they wait.
const MAX_LOOKS: usize = 256;
/// A webhook that is held off and has taken nothing for so long needs a person: as long as `DaybookWebhookFailing` in
/// `deploy/prometheus/alerts.yml` waits.
pub const REFUSED_LONG: Duration = Duration::from_secs(3_600);

/// What the broker keeps for a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookBacklog {
    pub name: String,
    /// Alerts that its receiver does not have. Those that it does not want are among them until they are read.
    pub waiting: u64,
    /// When the oldest of them was stored; `None` when nothing waits, or too many webhooks have something that does.
    pub oldest: Option<Instant>,
}

/// How a webhook stands, over all processes of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookStanding {
    pub name: String,
    /// As in its [`WebhookBacklog`].
    pub waiting: u64,
    pub oldest: Option<Instant>,
    /// The last tries of some process failed, so that it makes one at a time.
    pub held_off: bool,
    /// When the first of the tries failed since which none was taken, of a webhook that is held off.
    pub failing_since: Option<Instant>,
    /// When an alert was last taken, as far as the processes tell.
    pub taken_at: Option<Instant>,
    /// The newest try that failed, though others may have been taken since.
    pub refusal: Option<WebhookRefusal>,
}

impl WebhookStanding {
    fn of(backlog: WebhookBacklog, tries: &[&WebhookTries]) -> Self {
        let WebhookBacklog { name, waiting, oldest } = backlog;
        let taken_at = tries.iter().filter_map(|tries| tries.taken_at).max();
        let held_off = tries.iter().any(|tries| tries.is_held_off());
        let first_failed =
            tries.iter().filter(|tries| tries.is_held_off()).filter_map(|tries| tries.failing_since).min();
        // What one process delivers counts for all.
        let failing_since = first_failed.map(|failed| taken_at.map_or(failed, |taken| failed.max(taken)));
        let refusal = tries.iter().filter_map(|tries| tries.refusal.as_ref()).max_by_key(|refusal| refusal.at).cloned();
        Self { name, waiting, oldest, held_off, failing_since, taken_at, refusal }
    }

    /// Whether it has taken nothing for [`REFUSED_LONG`] though something waits.
    pub fn is_refused_long(&self, now: Instant) -> bool {
        self.waiting > 0 && self.failing_since.is_some_and(|since| now.since(since) >= REFUSED_LONG)
    }
}

/// Joins what the broker keeps with what the processes tell.
pub fn standings(backlogs: Vec<WebhookBacklog>, members: &[Heartbeat]) -> Vec<WebhookStanding> {
    let tries_of = |name: &str| -> Vec<&WebhookTries> {
        members.iter().flat_map(|member| &member.webhooks).filter(|tries| tries.name == name).collect()
    };
    backlogs
        .into_iter()
        .map(|backlog| {
            let tries = tries_of(&backlog.name);
            WebhookStanding::of(backlog, &tries)
        })
        .collect()
}

/// What the broker keeps for each webhook, by name; `None` when it does not tell in time, or this user may not ask.
pub async fn backlogs(connection: &Connection) -> Option<Vec<WebhookBacklog>> {
    let looking = async {
        let stream = connection.jetstream.get_stream_no_info(connection.subjects.alerts_stream()).await.ok()?;
        let consumers: Vec<Info> = stream.consumers().try_collect().await.ok()?;
        let (mut backlogs, mut looks) = (Vec::new(), MAX_LOOKS);
        for info in &consumers {
            let Some(name) = connection.subjects.parse_webhook_consumer(&info.name) else { continue };
            let waiting = info.num_pending + info.num_ack_pending as u64;
            let subjects = filters(info);
            let is_looked_at = waiting > 0 && subjects.len() <= looks;
            let oldest = if is_looked_at { oldest(connection, info, &subjects).await } else { None };
            looks -= if is_looked_at { subjects.len() } else { 0 };
            backlogs.push(WebhookBacklog { name: name.to_owned(), waiting, oldest });
        }
        backlogs.sort_by(|one, other| one.name.cmp(&other.name));
        Some(backlogs)
    };
    tokio::time::timeout(LIMIT, looking).await.ok().flatten()
}

fn filters(info: &Info) -> Vec<String> {
    match info.config.filter_subject.is_empty() {
        true => info.config.filter_subjects.clone(),
        false => vec![info.config.filter_subject.clone()],
    }
}

/// When the first alert behind everything that is settled was stored.
async fn oldest(connection: &Connection, info: &Info, subjects: &[String]) -> Option<Instant> {
    let (stream, from) = (connection.subjects.alerts_stream(), info.ack_floor.stream_sequence + 1);
    let looked = join_all(subjects.iter().map(|subject| next_message(connection, &stream, subject, from))).await;
    looked.into_iter().flatten().min_by_key(|message| message.sequence).map(|message| message.stored_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn gateway(tries: Vec<WebhookTries>) -> Heartbeat {
        Heartbeat { webhooks: tries, ..Heartbeat::of("gateway", "g") }
    }

    fn failing(failures: u32, since: i64, refused: i64) -> WebhookTries {
        let refusal = WebhookRefusal { at: at(refused), why: format!("refused at {refused}").into() };
        WebhookTries {
            name: "pager".into(),
            failures,
            failing_since: Some(at(since)),
            taken_at: None,
            refusal: Some(refusal),
        }
    }

    fn standing(waiting: u64, members: &[Heartbeat]) -> WebhookStanding {
        let backlog = WebhookBacklog { name: "pager".to_owned(), waiting, oldest: Some(at(0)) };
        standings(vec![backlog], members).remove(0)
    }

    #[test]
    fn what_all_processes_tell_counts() {
        let none = standing(2, &[gateway(vec![])]);
        assert_eq!((none.held_off, none.failing_since, none.refusal), (false, None, None));
        let picky = standing(2, &[gateway(vec![failing(2, 10, 20)])]);
        assert!(!picky.held_off && picky.failing_since.is_none() && picky.refusal.is_some());
        let both = standing(2, &[gateway(vec![failing(3, 10, 20)]), gateway(vec![failing(4, 5, 15)])]);
        assert_eq!((both.held_off, both.failing_since), (true, Some(at(5))));
        assert_eq!(both.refusal.unwrap().why, "refused at 20");
        let other = WebhookTries { name: "other".into(), ..failing(9, 1, 1) };
        assert!(!standing(2, &[gateway(vec![other])]).held_off);
    }

    #[test]
    fn only_what_takes_nothing_for_long_while_something_waits_needs_a_person() {
        let long = 3_600;
        assert_eq!(REFUSED_LONG.as_secs(), long as u64);
        let members = [gateway(vec![failing(3, 10, 20)])];
        assert!(standing(1, &members).is_refused_long(at(10 + long)));
        assert!(!standing(1, &members).is_refused_long(at(9 + long)));
        assert!(!standing(0, &members).is_refused_long(at(10 + long)), "nothing waits");
        // Another process delivers.
        let taken = WebhookTries { name: "pager".into(), taken_at: Some(at(500)), ..WebhookTries::default() };
        let members = [members[0].clone(), gateway(vec![taken])];
        assert!(!standing(1, &members).is_refused_long(at(10 + long)));
        assert!(standing(1, &members).is_refused_long(at(500 + long)));
    }

    #[test]
    fn the_bound_is_that_of_the_alert() {
        let rules = include_str!("../../../deploy/prometheus/alerts.yml");
        let rule = rules.split("- alert: ").find(|rule| rule.starts_with("DaybookWebhookFailing\n")).unwrap();
        assert!(rule.contains("        for: 1h\n") && REFUSED_LONG == Duration::from_secs(3_600), "{rule}");
    }
}
