//! Watches what INBOX takes its definitions and day markers from, and has another server lead INBOX where that stands still.
//!
//! When a server dies that leads INBOX and its sources, the new leader of INBOX may ask for the sources before they have
//! leaders of their own. nats-server then waits for 30 s and longer until it asks again. A leader that has just been elected
//! asks at once, so the cure is another election.

use async_nats::jetstream::stream::Info;
use daybook_runtime::backoff::Backoff;
use daybook_runtime::connection::Connection;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Sources tell INBOX every second that they are there.
const SILENT: Duration = Duration::from_secs(3);
/// How long a new leader gets to reach its sources: it needs some hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest pause between two elections.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pauses between two elections: an election by itself holds INBOX up for a moment.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(4), LONGEST_PAUSE);
/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Decides when to ask for an election. Pure.
///
/// Every election makes the sources look alive for as long as [`SILENT`]. So the pauses grow until the sources have been heard for
/// longer than the longest pause.
#[derive(Debug)]
struct Judge {
    heard_since: Option<Instant>,
    silent_since: Option<Instant>,
    not_before: Option<Instant>,
    pauses: Backoff,
}

impl Default for Judge {
    fn default() -> Self {
        Self { heard_since: None, silent_since: None, not_before: None, pauses: PAUSES }
    }
}

impl Judge {
    /// Returns whether to ask now. `is_silent` says that a source is silent.
    fn judge(&mut self, is_silent: bool, now: Instant) -> bool {
        if !is_silent {
            let since = *self.heard_since.get_or_insert(now);
            if now.duration_since(since) > LONGEST_PAUSE {
                *self = Self { heard_since: Some(since), ..Self::default() };
            }
            self.silent_since = None;
            return false;
        }
        self.heard_since = None;
        let since = *self.silent_since.get_or_insert(now);
        now.duration_since(since) >= PATIENCE && self.not_before.is_none_or(|then| now >= then)
    }

    /// Notes that an election was asked for.
    fn asked(&mut self, now: Instant) {
        self.not_before = Some(now + self.pauses.next_pause());
    }
}

/// Watches for as long as it is polled; asks only while `leads` says that this day-manager acts for all.
pub async fn watch(connection: Connection, leads: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut judge = Judge::default();
    loop {
        looks.tick().await;
        // A broker that does not tell says nothing about the sources: INBOX has no leader yet.
        let Some(inbox) = look(&connection, &connection.subjects.inbox_stream()).await else { continue };
        let silent = silent_sources(&inbox);
        let asks = judge.judge(!silent.is_empty(), Instant::now());
        if !asks || !leads() || !are_there(&connection, &silent).await {
            continue;
        }
        judge.asked(Instant::now());
        let stream = &inbox.config.name;
        tracing::warn!(
            stream,
            sources = silent.join(", "),
            "nothing comes from these sources; having another server lead the stream"
        );
        metrics::counter!("daybook_inbox_elections_total").increment(1);
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        let asked = tokio::time::timeout(ANSWER, connection.client.request(subject, "".into())).await;
        if !matches!(asked, Ok(Ok(_))) {
            tracing::info!(stream, "no answer about another leader; it is looked at again");
        }
    }
}

async fn look(connection: &Connection, stream: &str) -> Option<Info> {
    let found = tokio::time::timeout(ANSWER, connection.jetstream.get_stream(stream)).await;
    Some(found.ok()?.ok()?.cached_info().clone())
}

/// The sources of which nothing has been heard; none where the stream has one copy, which nobody else can lead.
fn silent_sources(inbox: &Info) -> Vec<String> {
    if inbox.config.num_replicas < 2 {
        return Vec::new();
    }
    let is_silent = |active: Option<Duration>| active.is_none_or(|active| active > SILENT);
    inbox.sources.iter().filter(|source| is_silent(source.active)).map(|source| source.name.clone()).collect()
}

/// Whether these streams have leaders: without, an election of INBOX is in vain.
async fn are_there(connection: &Connection, streams: &[String]) -> bool {
    let looks = streams.iter().map(|stream| look(connection, stream));
    futures::future::join_all(looks).await.iter().all(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges every tenth of a second from `from` until `until`, asks when it should, and returns when that was.
    fn asked(
        judge: &mut Judge,
        began: Instant,
        (from, until): (u64, u64),
        mut is_silent: impl FnMut(u64, Option<u64>) -> bool,
    ) -> Vec<u64> {
        let mut asked: Vec<u64> = Vec::new();
        for tenths in from..until {
            let now = began + Duration::from_millis(100 * tenths);
            if judge.judge(is_silent(tenths, asked.last().copied()), now) {
                judge.asked(now);
                asked.push(tenths);
            }
        }
        asked
    }

    #[test]
    fn it_asks_after_a_while_and_then_less_and_less_often() {
        let (mut judge, began) = (Judge::default(), Instant::now());
        assert_eq!(asked(&mut judge, began, (0, 10), |_, _| true), [0; 0]);
        assert_eq!(asked(&mut judge, began, (10, 11), |_, _| false), [0; 0], "it goes on");
        let often = asked(&mut judge, began, (11, 3_000), |_, _| true);
        assert_eq!(often, [21, 61, 141, 301, 621, 1_221, 1_821, 2_421]);
        assert_eq!(asked(&mut judge, began, (3_000, 3_602), |_, _| false), [0; 0]);
        assert_eq!(asked(&mut judge, began, (3_602, 3_700), |_, _| true), [3_612, 3_652], "as quick as the first time");
    }

    #[test]
    fn a_fault_that_outlasts_elections_is_asked_about_less_and_less_often() {
        // A new leader takes its sources for alive for the first three seconds.
        let after_an_election = |tenths: u64, last: Option<u64>| last.is_none_or(|last| tenths > last + 30);
        let often = asked(&mut Judge::default(), Instant::now(), (0, 3_000), after_an_election);
        assert_eq!(often, [10, 51, 131, 291, 611, 1_211, 1_811, 2_411]);
    }

    #[test]
    fn a_judgement_that_was_not_followed_costs_no_pause() {
        let (mut judge, began) = (Judge::default(), Instant::now());
        let at = |tenths: u64| began + Duration::from_millis(100 * tenths);
        assert!(!judge.judge(true, at(0)) && judge.judge(true, at(10)));
        assert!(judge.judge(true, at(11)), "another day-manager led, or the sources had no leader");
    }
}
