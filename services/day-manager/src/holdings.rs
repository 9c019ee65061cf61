//! Asks what is kept of a tenant that is to be removed: its days at the shard, and its messages on the broker.

use crate::shards;
use daybook_contracts::admin::{OutputsHeld, StateHeld};
use daybook_contracts::ask::{DayState, Days, ShardQuestion};
use daybook_domain::ids::{Partition, TenantId};
use daybook_runtime::append::stream_handle;
use daybook_runtime::connection::Connection;
use futures::TryStreamExt;
use std::time::Duration;

/// How long a shard or the broker may take. The counts are for people: a removal does not depend on them.
const DEADLINE: Duration = Duration::from_secs(1);

/// What the tenant's shard keeps, and what the broker keeps; `None` where no answer comes in time.
pub(crate) async fn ask(connection: &Connection, tenant: &TenantId) -> (Option<StateHeld>, Option<OutputsHeld>) {
    let partition = Partition::of(tenant.as_str(), connection.partitions);
    let question = ShardQuestion::Days { tenant: tenant.clone() };
    let days = shards::ask::<Days>(connection, partition, &question, DEADLINE);
    let (days, stored) = tokio::join!(days, tokio::time::timeout(DEADLINE, stored(connection, tenant)));
    let stored = stored.ok().and_then(|stored| {
        stored.inspect_err(|error| tracing::debug!(%tenant, %error, "the broker does not say what it keeps")).ok()
    });
    (days.map(|days| held(&days)), stored)
}

fn held(days: &Days) -> StateHeld {
    StateHeld {
        days: days.days.len() as u64,
        open_days: days.days.iter().filter(|day| day.day == DayState::Open).count() as u64,
        events: days.days.iter().map(|day| day.account.published).sum(),
    }
}

async fn stored(connection: &Connection, tenant: &TenantId) -> Result<OutputsHeld, async_nats::Error> {
    let (subjects, tenant) = (&connection.subjects, tenant.as_str());
    let (reports, reports_stay) = count(connection, &subjects.reports_stream(), &subjects.reports_of(tenant)).await?;
    let (figures, _) = count(connection, &subjects.figures_stream(), &subjects.figures_of(tenant)).await?;
    let (rejects, _) = count(connection, &subjects.rejects_stream(), &subjects.rejects(tenant)).await?;
    let (alerts, _) = count(connection, &subjects.alerts_stream(), &subjects.alerts(tenant)).await?;
    Ok(OutputsHeld { reports, figures, rejects, alerts, reports_stay })
}

/// How many messages there are, and whether the stream forbids to purge them.
async fn count(connection: &Connection, stream: &str, filter: &str) -> Result<(u64, bool), async_nats::Error> {
    let mut counted = stream_handle(connection, stream).await?.info_with_subjects(filter).await?;
    let (is_kept, mut messages) = (counted.info.config.deny_purge, 0);
    while let Some((_, count)) = counted.try_next().await? {
        messages += count as u64;
    }
    Ok((messages, is_kept))
}
