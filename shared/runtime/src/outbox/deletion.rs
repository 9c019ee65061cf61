//! Deletes what shards wrote of something that was removed.

use crate::append::{next_message, stream_handle};
use crate::backoff::retry;
use crate::connection::Connection;
use crate::written;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a purge is tried. A broker that does not answer so often, within minutes, does not let this user purge.
const MAX_ATTEMPTS: u32 = 20;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// Subjects whose ends are gathered before they are purged.
const MAX_SUBJECTS: usize = 10_000;

/// Outputs to be deleted: those of every subject that `filter` matches whose position is below a limit. It may be carried out any
/// number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub stream: String,
    pub filter: String,
    pub below: u64,
}

impl Deletion {
    /// Deletes. A stream or a broker that forbids it keeps what it has, and that is logged.
    pub(super) async fn carry_out(self, connection: &Connection) {
        let stream = retry("look at a stream to purge", || async {
            connection.jetstream.get_stream(&self.stream).await.map_err(async_nats::Error::from)
        });
        if stream.await.cached_info().config.deny_purge {
            let stream = &self.stream;
            tracing::warn!(
                stream,
                "an earlier build made this stream such that nothing is purged from it; its retention deletes instead"
            );
            return;
        }
        let (mut from, mut ends) = (1, BTreeMap::new());
        while let Some(message) = next_message(connection, &self.stream, &self.filter, from).await {
            from = message.sequence + 1;
            let position = written::position(&connection.subjects, (&message).into());
            if position.is_ok_and(|position| position < self.below) {
                ends.insert(message.subject, message.sequence);
            }
            if ends.len() == MAX_SUBJECTS {
                self.purge(connection, std::mem::take(&mut ends)).await;
            }
        }
        self.purge(connection, ends).await;
    }

    /// Purges each subject up to its sequence.
    async fn purge(&self, connection: &Connection, ends: BTreeMap<String, u64>) {
        for (subject, end) in ends {
            for attempt in 1.. {
                let Err(error) = self.purge_subject(connection, &subject, end).await else { break };
                if attempt == MAX_ATTEMPTS {
                    tracing::error!(%error, subject, "what was removed is not deleted; repeat the removal with --purge");
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn purge_subject(&self, connection: &Connection, subject: &str, end: u64) -> Result<(), async_nats::Error> {
        let stream = stream_handle(connection, &self.stream).await?;
        stream.purge().filter(subject).sequence(end + 1).await?;
        Ok(())
    }
}
