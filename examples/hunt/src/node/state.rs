//! What the processes of a hunt share beside its log: a bucket with the secret, the mark of what has arrived in Daybook, and the name
//! of the log to which both belong.

use super::log::{Log, delete};
use super::replaced::Replaced;
use anyhow::Context as _;
use async_nats::jetstream::{self, kv};

/// The mark.
const MARK: &str = "published";
/// The position of the rules that were defined in Daybook.
const DEFINED: &str = "defined";
/// The name of the log.
const LOG: &str = "log";

fn bucket_name(hunt: &str) -> String {
    format!("HUNT_{hunt}_STATE")
}

/// Makes the bucket, unless it is there.
///
/// # Errors
/// When the broker refuses.
pub async fn create_bucket(jetstream: &jetstream::Context, hunt: &str, replicas: usize) -> anyhow::Result<kv::Store> {
    let config = kv::Config { bucket: bucket_name(hunt), history: 1, num_replicas: replicas, ..kv::Config::default() };
    if let Ok(bucket) = bucket(jetstream, hunt).await {
        return Ok(bucket);
    }
    match jetstream.create_key_value(config).await {
        Ok(bucket) => Ok(bucket),
        // Another process may have made it in this moment.
        Err(error) => bucket(jetstream, hunt).await.map_err(|_| error).context("cannot make the bucket of the hunt"),
    }
}

/// The bucket.
///
/// # Errors
/// When there is none.
pub async fn bucket(jetstream: &jetstream::Context, hunt: &str) -> anyhow::Result<kv::Store> {
    jetstream.get_key_value(bucket_name(hunt)).await.context("there is no bucket of the hunt; make it with `hunt init`")
}

/// Deletes the bucket for good, unless that was done.
///
/// # Errors
/// When the broker refuses.
pub async fn remove_bucket(jetstream: &jetstream::Context, hunt: &str) -> anyhow::Result<()> {
    delete(jetstream, &format!("KV_{}", bucket_name(hunt))).await
}

/// The name of the log to which the bucket belongs; none before the first log was opened.
///
/// # Errors
/// When the broker does not answer.
pub async fn known_log(bucket: &kv::Store) -> anyhow::Result<Option<String>> {
    let stored = bucket.get(LOG).await.context("the bucket of the hunt cannot be read")?;
    Ok(stored.map(|name| String::from_utf8_lossy(&name).into_owned()))
}

/// Checks that the log is the one with which the hunt began, and returns the position up to which everything has arrived in Daybook.
///
/// # Errors
/// [`Replaced`], and when the broker does not answer.
pub async fn check(bucket: &kv::Store, hunt: &str, log: &Log) -> anyhow::Result<u64> {
    let mut known = known_log(bucket).await?;
    if known.is_none() {
        // Another process may note it too: the first one counts.
        let _ = bucket.create(LOG, log.name().to_owned().into()).await;
        known = known_log(bucket).await?;
    }
    if known.as_deref() != Some(log.name()) {
        return Err(Replaced::Another { hunt: hunt.to_owned() }.into());
    }
    // In this order: the mark is never ahead of the log.
    let mark = mark(bucket).await?;
    let end = log.end().await?;
    if mark > end {
        return Err(Replaced::Shortened { hunt: hunt.to_owned(), end, known: mark }.into());
    }
    Ok(mark)
}

/// The position up to which everything has arrived in Daybook, as far as it was noted.
///
/// # Errors
/// When the broker does not answer, or the mark is no number.
pub async fn mark(bucket: &kv::Store) -> anyhow::Result<u64> {
    match bucket.get(MARK).await? {
        Some(bytes) => std::str::from_utf8(&bytes)?.parse().context("the mark of the hunt is damaged"),
        None => Ok(0),
    }
}

/// Notes that everything up to here has arrived in Daybook.
///
/// # Errors
/// When the broker does not confirm.
pub async fn move_mark(bucket: &kv::Store, up_to: u64) -> anyhow::Result<()> {
    bucket.put(MARK, up_to.to_string().into()).await?;
    Ok(())
}

/// The position of the rules that were defined in Daybook last.
///
/// # Errors
/// When the broker does not answer.
pub async fn defined(bucket: &kv::Store) -> anyhow::Result<u64> {
    let stored = bucket.get(DEFINED).await?;
    // Unreadable, it is as if they were not defined: to do so again does no harm.
    Ok(stored.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok()).unwrap_or(0))
}

/// Notes that Daybook has what the rules at this position say.
///
/// # Errors
/// When the broker does not confirm.
pub async fn note_defined(bucket: &kv::Store, at: u64) -> anyhow::Result<()> {
    bucket.put(DEFINED, at.to_string().into()).await?;
    Ok(())
}
