//! What an answer is made of: a question goes by the broker to query, and from there by the broker to a shard.

use crate::work::orders;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use daybook::client::Client;
use daybook_contracts::ask::{Answer, Asked, DaySelector, Query, ShardQuestion};
use daybook_domain::ids::{Name, Partition, TenantId};
use futures::{StreamExt, TryStreamExt};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Where the echo is, and where one is that asks for it first.
const ECHO: &str = "bench.echo";
const RELAYED_ECHO: &str = "bench.relayed-echo";
/// About what the answer to a tenant's day takes.
const ECHOED_BYTES: usize = 2_000;

/// Two that send back what they are sent until this is dropped: one at once, the other what the first has sent back to it.
/// The second does as query does, and the first as a shard, without anything to be thought about: the least that an answer
/// over this broker can take.
pub struct Echoes {
    answering: [JoinHandle<anyhow::Result<()>>; 2],
}

impl Echoes {
    /// Each on a connection of its own.
    ///
    /// # Errors
    /// When the broker is gone.
    pub async fn begin(at_once: &Client, relayed: &Client) -> anyhow::Result<Self> {
        let at_once = answering(at_once, ECHO, None).await?;
        Ok(Self { answering: [at_once, answering(relayed, RELAYED_ECHO, Some(ECHO)).await?] })
    }
}

/// Two that answer many at once until this is dropped: one at once, with answers that Daybook gave before, one after the other; the
/// other with what the first says. Nothing is thought about, so no question that takes as many hops can take less.
pub struct Prompters {
    answering: [JoinHandle<anyhow::Result<()>>; 2],
}

/// Where they are.
pub const AT_ONCE: &str = "bench.prompter";
pub const RELAYED: &str = "bench.relayed-prompter";

impl Prompters {
    /// Each on a connection of its own.
    ///
    /// # Errors
    /// When the broker is gone.
    pub async fn begin(at_once: &Client, relayed: &Client, answers: Vec<Bytes>) -> anyhow::Result<Self> {
        let (client, mut asked) = listening(at_once, AT_ONCE).await?;
        let at_once = tokio::spawn(async move {
            let mut answers = answers.iter().cycle();
            while let Some(message) = asked.next().await {
                let (Some(reply), Some(answer)) = (message.reply, answers.next()) else { continue };
                client.publish(reply, answer.clone()).await?;
            }
            Ok(())
        });
        let (client, asked) = listening(relayed, RELAYED).await?;
        let relayed = tokio::spawn(async move {
            let relay = async |message: Message| -> anyhow::Result<()> {
                let Some(reply) = message.reply else { return Ok(()) };
                let answer = client.request(AT_ONCE, message.payload).await?;
                Ok(client.publish(reply, answer.payload).await?)
            };
            asked.map(Ok).try_for_each_concurrent(None, relay).await
        });
        Ok(Self { answering: [at_once, relayed] })
    }
}

impl Drop for Prompters {
    fn drop(&mut self) {
        self.answering.iter().for_each(JoinHandle::abort);
    }
}

async fn listening(client: &Client, subject: &'static str) -> anyhow::Result<(async_nats::Client, Subscriber)> {
    let client = client.connection.client.clone();
    let asked = client.subscribe(subject).await?;
    client.flush().await?;
    Ok((client, asked))
}

/// Sends back what comes in, or what `asked_first` makes of it.
async fn answering(
    answerer: &Client,
    subject: &'static str,
    asked_first: Option<&'static str>,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let (client, mut asked) = listening(answerer, subject).await?;
    Ok(tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let Some(reply) = message.reply else { continue };
            let payload = match asked_first {
                Some(first) => client.request(first, message.payload).await?.payload,
                None => message.payload,
            };
            client.publish(reply, payload).await?;
        }
        Ok(())
    }))
}

impl Drop for Echoes {
    fn drop(&mut self) {
        self.answering.iter().for_each(JoinHandle::abort);
    }
}

/// How long echoes take, asked for again and again until then, with a pause between.
///
/// # Errors
/// When the broker does not answer.
pub async fn echo(asker: &Client, is_relayed: bool, pause: Duration, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let client = asker.connection.client.clone();
    let subject = if is_relayed { RELAYED_ECHO } else { ECHO };
    let asking = tokio::spawn(async move {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            client.request(subject, vec![b'.'; ECHOED_BYTES].into()).await?;
            times.push(began.elapsed());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok::<_, anyhow::Error>(times)
    });
    asking.await?
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
