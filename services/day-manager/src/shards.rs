//! Questions of day-manager to shards.

use daybook_contracts::ask::{Asked, ShardQuestion};
use daybook_domain::ids::Partition;
use daybook_runtime::connection::Connection;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The answer of whichever shard runs the partition; `None` where none answers within `deadline`, or it has no answer yet.
pub(crate) async fn ask<T: DeserializeOwned>(
    connection: &Connection,
    partition: Partition,
    question: &ShardQuestion,
    deadline: Duration,
) -> Option<T> {
    let body = serde_json::to_vec(question).expect("a question is a plain value");
    let request = async_nats::Request::new().payload(body.into()).timeout(Some(deadline));
    let reply = connection.client.send_request(connection.subjects.shard(partition), request).await.ok()?;
    match serde_json::from_slice::<Asked<T>>(&reply.payload) {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(%partition, ?question, %error, "a shard has no answer yet");
            None
        }
        Err(error) => {
            tracing::warn!(%partition, %error, "a shard's answer cannot be read; are the versions the same?");
            None
        }
    }
}
