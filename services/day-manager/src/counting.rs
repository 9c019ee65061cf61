//! Asks shards whether events of tenants were counted, and of which day the last ones are.

use crate::schedule::change::Counted;
use crate::shards;
use daybook_contracts::ask::{DayAccount, Days, ShardQuestion};
use daybook_domain::ids::{InboxSeq, Partition, TenantId};
use daybook_runtime::append::last_message;
use daybook_runtime::connection::Connection;
use daybook_runtime::log;
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long all shards together may take. The tenants of those that have not said by then count as [`Counted::Unknown`]: their
/// days stay as they are published. The command line waits 8 s for a reply, and publishing needs some of that.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);
/// The pause before a shard that has not read everything is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// Tenants that are asked for at once.
const IN_FLIGHT: usize = 64;

/// What was counted of each of these tenants, of all that was published by now.
pub(crate) async fn ask(connection: &Connection, tenants: BTreeSet<TenantId>) -> BTreeMap<TenantId, Counted> {
    let deadline = Instant::now() + DEADLINE;
    let ask_one = |tenant: TenantId| async move {
        let counted = tokio::time::timeout_at(deadline, of_tenant(connection, &tenant)).await;
        if counted.is_err() {
            tracing::warn!(%tenant, "the shard of the tenant does not say in time what it has counted");
        }
        (tenant, counted.unwrap_or(Counted::Unknown))
    };
    stream::iter(tenants).map(ask_one).buffer_unordered(IN_FLIGHT).collect().await
}

/// Asks until the shard has read what INBOX and the log held of the tenant at the beginning.
async fn of_tenant(connection: &Connection, tenant: &TenantId) -> Counted {
    let partition = Partition::of(tenant.as_str(), connection.partitions);
    let published = published(connection, partition, tenant).await;
    let question = ShardQuestion::Days { tenant: tenant.clone() };
    loop {
        if let Some(days) = shards::ask::<Days>(connection, partition, &question, ANSWER_DEADLINE).await
            && days.as_of.inbox >= published
        {
            return counted(&days.days);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How far in INBOX a shard must have read to know all of the tenant's events.
async fn published(connection: &Connection, partition: Partition, tenant: &TenantId) -> InboxSeq {
    let subjects = &connection.subjects;
    // In this order: what has left INBOX is in the log.
    let (stream, subject) = (subjects.inbox_stream(), subjects.inbox_events(partition, tenant.as_str()));
    let last =
        last_message(connection, &stream, &subject).await.map_or(InboxSeq(0), |message| InboxSeq(message.sequence));
    loop {
        match log::end(connection, partition).await {
            Ok(end) => return last.max(end.marks().through.whole()),
            Err(error) => tracing::debug!(%partition, %error, "the log does not say how far it reaches"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A shard keeps the days of the last weeks. A tenant whose events are older has opened days since.
fn counted(days: &[DayAccount]) -> Counted {
    let has_events = |day: &&DayAccount| day.account.published > day.account.rejected;
    days.iter().rfind(has_events).map_or(Counted::Nothing, |day| Counted::Through(day.date))
}
