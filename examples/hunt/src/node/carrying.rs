//! An ask, from the decision to the log. Any process may carry out any ask: the condition of the append keeps it exact.

use super::Node;
use super::log::Appended;
use super::replaced::Replaced;
use crate::game::ask::decide;
use crate::game::{Ask, Decision, Record, Refusal, Reply, World};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long an ask may take, all in all.
pub const ASK_LIMIT: Duration = Duration::from_secs(8);
/// Pause after an append of unclear fate, or one that another process was ahead of.
const AGAIN: Duration = Duration::from_millis(5);
/// How long the follower may take to bring what was appended.
const FOLLOW_LIMIT: Duration = Duration::from_secs(3);

/// Decides about an ask of a team, records it and returns what came of it.
///
/// # Errors
/// Why it was refused. After [`Refusal::Unavailable`] it may be recorded or not: the same ask again finds out.
pub async fn carry_out(node: &Node, team: &str, ask: &Ask) -> Result<Reply, Refusal> {
    judge(node, team, ask).instrument(tracing::info_span!("judge", hunt = %node.hunt, team = %team)).await
}

async fn judge(node: &Node, team: &str, ask: &Ask) -> Result<Reply, Refusal> {
    let began = Instant::now();
    while began.elapsed() < ASK_LIMIT {
        let (decision, last) = {
            let world = node.world();
            (decide(&world, team, ask, node.seen.moment(team)), world.teams.get(team).map_or(0, |team| team.last))
        };
        match decision {
            Decision::Done(reply) => return Ok(reply),
            Decision::Refuse(refusal) => return Err(refusal),
            Decision::Append(record) => append(node, Some(team), last, &record).await?,
        }
    }
    Err(Refusal::Unavailable)
}

/// Appends a record for all, such as new rules. `decide` makes it of what is there, and again when another record came first: so no
/// change is lost.
///
/// # Errors
/// What `decide` refuses, and [`Refusal::Unavailable`] when the broker did not confirm it in time.
pub async fn append_for_all(node: &Node, decide: impl Fn(&World) -> Decision) -> Result<(), Refusal> {
    node.is_usable()?;
    let began = Instant::now();
    while began.elapsed() < ASK_LIMIT {
        let (decision, last) = {
            let world = node.world();
            (decide(&world), world.rules_at)
        };
        match decision {
            Decision::Done(_) => return Ok(()),
            Decision::Refuse(refusal) => return Err(refusal),
            Decision::Append(record) => append(node, None, last, &record).await?,
        }
    }
    Err(Refusal::Unavailable)
}

/// Appends, and returns once the game includes whatever stands on the subject now.
async fn append(node: &Node, team: Option<&str>, last: u64, record: &Record) -> Result<(), Refusal> {
    let known = *node.positions().borrow();
    let reached = match node.log.append(team, last, record).await {
        // A log only grows: this is another one.
        Appended::At(sequence) if sequence <= known => {
            node.give_up(&Replaced::Another { hunt: node.hunt.clone() }.into());
            false
        }
        Appended::At(sequence) => node.reached(sequence, FOLLOW_LIMIT).await,
        Appended::Conflict => catch_up(node).await,
        Appended::Unclear(error) => {
            tracing::warn!(%error, "the broker did not confirm a record; looking for it");
            metrics::counter!("hunt_appends_unclear_total").increment(1);
            tokio::time::sleep(AGAIN).await;
            catch_up(node).await
        }
    };
    if reached { Ok(()) } else { Err(Refusal::Unavailable) }
}

/// Waits until the game includes all that the log holds now.
pub async fn catch_up(node: &Node) -> bool {
    metrics::counter!("hunt_catch_ups_total").increment(1);
    match node.end().await {
        Ok(end) => node.reached(end, FOLLOW_LIMIT).await,
        Err(_) => {
            tokio::time::sleep(AGAIN).await;
            // The caller looks again, within its limit.
            node.is_usable().is_ok()
        }
    }
}
