//! Runs a scratch machine over the log, beside the live one; see [`crate::state::backfill`].

use crate::partition::Message;
use crate::state::PartitionState;
use crate::state::backfill::Found;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use daybook_contracts::log::Batch;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::append::{header_number, retry, stream_handle};
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::Reader;
use ractor::ActorRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How a backfill is to be run.
#[derive(Clone)]
pub struct Task {
    pub connection: Connection,
    pub partition: Partition,
    /// How much of one processor it may take, in percent.
    pub duty_percent: u8,
    /// How much of the log has been read, in percent.
    pub progress: Arc<AtomicU8>,
}

/// Reads the log up to `base` into the scratch and hands what was found to the actor.
pub async fn run(task: Task, mut scratch: PartitionState, base: LogSeq, actor: ActorRef<Message>) {
    let Task { connection, partition, duty_percent, progress } = task;
    let began = Instant::now();
    let subjects = &connection.subjects;
    let stream = subjects.events_stream();
    let first = retry("look at the log", || async {
        let handle = stream_handle(&connection, &stream).await?;
        Ok(handle.get_info().await?.state.first_sequence)
    })
    .await;
    let (mut since, mut is_first) = (None, true);
    let mut reader = Reader::new(&connection, stream.clone(), subjects.events(partition), 1);
    progress.store(0, Ordering::Relaxed);
    let mut records = 0;
    loop {
        let message = reader.next().await;
        // Every batch was appended behind one that it names: when that is gone, something was deleted before.
        let follows = header_number(&message.headers, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref()).unwrap_or(0);
        if std::mem::take(&mut is_first) && follows > 0 {
            since = Some(LogSeq(message.sequence));
        }
        if message.sequence > base.0 {
            break;
        }
        let started = Instant::now();
        let batch = match Batch::decode(&message.payload) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%partition, position = message.sequence, %error, "a batch that cannot be read");
                return;
            }
        };
        records += batch.records.len();
        let _ = scratch.apply(LogSeq(message.sequence), batch);
        let percent = (message.sequence.saturating_sub(first) * 100) / (base.0.saturating_sub(first) + 1);
        progress.store(percent.min(99) as u8, Ordering::Relaxed);
        metrics::counter!("daybook_backfill_batches_total").increment(1);
        if message.sequence == base.0 {
            break;
        }
        rest(started.elapsed(), duty_percent).await;
    }
    tracing::info!(%partition, %base, records, seconds = began.elapsed().as_secs_f64(), "backfill has read the log");
    let _ = actor.cast(Message::BackfillRead(Box::new(Found::of(scratch, since))));
}

/// Leaves the processor to others, so that work takes no more than its share of the time.
async fn rest(worked: Duration, duty_percent: u8) {
    let idle = worked * u32::from(100 - duty_percent.min(100)) / u32::from(duty_percent.max(1));
    match idle.is_zero() {
        true => tokio::task::yield_now().await,
        false => tokio::time::sleep(idle).await,
    }
}
