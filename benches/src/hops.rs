//! What an answer is made of: a question goes by the broker to query, and from there by the broker to a shard.

use crate::work::orders;
use daybook::client::Client;
use daybook_contracts::ask::{Answer, Asked, DaySelector, Query, ShardQuestion};
use daybook_domain::ids::{Name, Partition, TenantId};
use futures::StreamExt;
use std::time::{Duration, Instant};

/// Where the echo is.
const ECHO: &str = "bench.echo";
/// About what the answer to a tenant's day takes.
const ECHOED_BYTES: usize = 2_000;

/// How long it takes until somebody else has sent back what was sent, again and again for a while: the least that an answer
/// over this broker can take.
///
/// # Errors
/// When the broker does not answer.
pub async fn echo(other: &Client, asker: &Client, phase: Duration) -> anyhow::Result<Vec<Duration>> {
    let client = other.connection.client.clone();
    let mut asked = client.subscribe(ECHO).await?;
    client.flush().await?;
    let answering = tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let Some(reply) = message.reply else { continue };
            client.publish(reply, message.payload).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    let client = asker.connection.client.clone();
    let asking = tokio::spawn(async move {
        let (mut times, until) = (Vec::new(), Instant::now() + phase);
        while Instant::now() < until {
            let began = Instant::now();
            client.request(ECHO, vec![b'.'; ECHOED_BYTES].into()).await?;
            times.push(began.elapsed());
        }
        Ok::<_, anyhow::Error>(times)
    });
    let times = asking.await?;
    answering.abort();
    times
}

/// How long tenants' days take when the shard is asked without query between.
///
/// # Errors
/// When the shard does not answer.
pub async fn shard(
    asker: &Client,
    tenants: Vec<TenantId>,
    day: &DaySelector,
    phase: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let (connection, day) = (asker.connection.clone(), day.clone());
    let asking = tokio::spawn(async move {
        let (mut times, until) = (Vec::new(), Instant::now() + phase);
        for tenant in tenants.iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            let subject = connection.subjects.shard(Partition::of(tenant.as_str(), connection.partitions));
            let began = Instant::now();
            let question = ShardQuestion::View {
                tenant: tenant.clone(),
                view: Name::new(orders::VIEW)?,
                query: Box::new(Query::days(day.clone())),
            };
            let reply = connection.client.request(subject, serde_json::to_vec(&question)?.into()).await?;
            serde_json::from_slice::<Asked<Answer>>(&reply.payload)??;
            times.push(began.elapsed());
        }
        Ok::<_, anyhow::Error>(times)
    });
    asking.await?
}
