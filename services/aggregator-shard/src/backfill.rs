//! Runs a scratch machine over the log, beside the live one; see [`daybook_machine::backfill`].

use crate::checkpoints::{chain, oldest_on_the_broker};
use crate::messages::Message;
use crate::opening::makes_up_for_the_log;
use crate::replica::Input;
use crate::snapshots;
use crate::succession::Succession;
use daybook_contracts::log::Batch;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_machine::backfill::Found;
use daybook_runtime::connection::Connection;
use daybook_runtime::log::{Beginning, beginning};
use daybook_runtime::memory;
use daybook_runtime::reader::Reader;
use ractor::ActorRef;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Events that are taken in without looking at the clock: well below a millisecond's work.
const PIECE: usize = 256;
/// How long it works before it rests: a delay that the live work does not feel.
const WORK: Duration = Duration::from_millis(1);

/// How long memory is full before a backfill is given up. Meanwhile it waits, and so does the live work of every partition here.
const MAX_FULL: Duration = Duration::from_secs(5);

/// Between two looks for a snapshot.
const SNAPSHOT_LOOK: Duration = Duration::from_secs(2);

/// How a backfill is to be run.
#[derive(Clone)]
pub struct Task {
    pub connection: Connection,
    pub partition: Partition,
    /// A folder in which a snapshot may be unpacked, and which may be wiped.
    pub folder: PathBuf,
    /// How much of one processor it may take, in percent.
    pub duty_percent: u8,
    /// How much of the log has been read, in percent.
    pub progress: Arc<AtomicU8>,
}

/// Backfills, unless memory is full for a while: then lets go of the scratch, because the live work waits for the same memory, and
/// tells the actor.
pub async fn run(task: Task, scratch: PartitionState, base: LogSeq, actor: ActorRef<Message>) {
    let partition = task.partition;
    let mut work = Box::pin(backfill(task, scratch, base, actor.clone()));
    tokio::select! {
        () = &mut work => return,
        () = memory::full_for(MAX_FULL) => {}
    }
    tracing::warn!(
        %partition,
        %base,
        "a backfill does not fit into memory and is given up; it begins again when memory is ample: give this process more \
         memory, or start another one of its service"
    );
    // To let go of a million entities takes a while.
    if blocking(move || drop(work)).await.is_some() {
        let _ = actor.cast(Message::Heard(Input::BackfillTooLarge));
    }
}

/// Reads the log up to `base` into the scratch and hands what was found to the actor. Where the log is trimmed, from the oldest
/// snapshot on: so that the scratch knows what the live machine does of what stood before.
async fn backfill(task: Task, mut scratch: PartitionState, base: LogSeq, actor: ActorRef<Message>) {
    let Task { connection, partition, folder, duty_percent, progress } = task;
    let began = Instant::now();
    let first = beginning(&connection, partition).await;
    let mut since = None;
    if first.as_ref().is_some_and(Beginning::is_trimmed) {
        let Some(before) = oldest_state(&connection, partition, &folder).await.filter(|it| it.position() <= base)
        else {
            return begin_again(&connection, partition, base, &actor).await;
        };
        since = Some(LogSeq(before.position().0 + 1));
        let seeded = blocking(move || {
            scratch.begin_with(before);
            scratch
        });
        let Some(seeded) = seeded.await else { return };
        scratch = seeded;
    }
    let first = first.map_or(0, |beginning| beginning.position.0);
    let subjects = &connection.subjects;
    let mut last = scratch.position();
    let mut reader = Reader::new(&connection, subjects.events_stream(), subjects.events(partition), last.0 + 1);
    progress.store(0, Ordering::Relaxed);
    let mut records = 0;
    while last < base {
        memory::room().await;
        let message = reader.next().await;
        let position = LogSeq(message.sequence);
        let batch = match Succession::of((&message).into(), last) {
            Succession::Next(batch) => batch,
            Succession::Foreign(why) => {
                connection.foreign.note(&subjects.events_stream(), position.0, &message.subject, &why);
                continue;
            }
            Succession::Unreadable(why) => {
                tracing::error!(%partition, %position, %why, "a batch that cannot be read");
                return;
            }
            Succession::Gap { .. } => {
                tracing::warn!(%partition, %position, %last, "the log was trimmed meanwhile; backfilling again");
                let _ = actor.cast(Message::Heard(Input::BackfillLost));
                return;
            }
        };
        if position > base {
            break;
        }
        last = position;
        records += batch.records.len();
        let read = blocking(move || {
            read(&mut scratch, position, batch, duty_percent);
            scratch
        });
        let Some(back) = read.await else { return };
        scratch = back;
        let percent = (position.0.saturating_sub(first) * 100) / (base.0.saturating_sub(first) + 1);
        progress.store(percent.min(99) as u8, Ordering::Relaxed);
        metrics::counter!("daybook_backfill_batches_total").increment(1);
    }
    tracing::info!(%partition, %base, records, seconds = began.elapsed().as_secs_f64(), "backfill has read the log");
    // To let go of what the scratch kept of a million entities takes a while too.
    if let Some(found) = blocking(move || Found::of(scratch, since)).await {
        let _ = actor.cast(Message::Heard(Input::BackfillRead(Box::new(found))));
    }
}

/// The state of the oldest snapshot that the log goes on from, if one can be had.
async fn oldest_state(connection: &Connection, partition: Partition, folder: &Path) -> Option<PartitionState> {
    let found = oldest_on_the_broker(connection, partition, folder).await;
    if let Err(error) = daybook_runtime::store::wipe(folder) {
        tracing::debug!(%partition, %error, "what a snapshot was unpacked into stays until the next backfill");
    }
    found.unwrap_or_else(|error| {
        tracing::warn!(%partition, error = chain(&error), "the broker does not tell of snapshots");
        None
    })
}

/// There is no snapshot that a backfill with this base could begin with. One that is ahead of the base and waits for no
/// backfill has what it lacks: then the actor ends, to begin with that. Otherwise the backfill begins again, with what is there
/// in a while.
async fn begin_again(connection: &Connection, partition: Partition, base: LogSeq, actor: &ActorRef<Message>) {
    let there = snapshots::list(connection, partition).await.unwrap_or_default();
    if makes_up_for_the_log(there.last(), LogSeq(base.0 + 1)) {
        actor.stop(Some("another's snapshot has what it lacks".to_owned()));
        return;
    }
    tracing::warn!(%partition, %base, "no snapshot on the broker can be backfilled from; trying again");
    tokio::time::sleep(SNAPSHOT_LOOK).await;
    let _ = actor.cast(Message::Heard(Input::BackfillLost));
}

/// Ends the actor once there is a snapshot at `position` or behind it on the broker in which nothing waits for a backfill; when
/// there is none for as long as `patience`, has it go on.
pub async fn wait_for_snapshot(
    connection: Connection,
    partition: Partition,
    position: LogSeq,
    patience: Duration,
    actor: ActorRef<Message>,
) {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let there = snapshots::list(&connection, partition).await.unwrap_or_default();
        if makes_up_for_the_log(there.last(), position) {
            actor.stop(Some("another's snapshot has what it lacks".to_owned()));
            return;
        }
        tokio::time::sleep(SNAPSHOT_LOOK).await;
    }
    // It fails only when the actor is to end.
    let _ = actor.cast(Message::Heard(Input::NoSnapshot));
}

/// Runs `work` off the threads of the live work, which waits for no backfill. `None` when the process ends.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => None,
    }
}

/// Reads a batch in pieces, and rests after each. Blocking.
fn read(scratch: &mut PartitionState, position: LogSeq, batch: Batch, duty_percent: u8) {
    let mut began = Instant::now();
    scratch.read(position, batch, PIECE, || {
        // Small records are many pieces: one rest for all of them is enough.
        if began.elapsed() >= WORK {
            std::thread::sleep(rest(began.elapsed(), duty_percent));
            began = Instant::now();
        }
    });
    std::thread::sleep(rest(began.elapsed(), duty_percent));
}

/// How long to leave the processor to others, so that work takes no more than its share of the time.
fn rest(worked: Duration, duty_percent: u8) -> Duration {
    worked * u32::from(100 - duty_percent.min(100)) / u32::from(duty_percent.max(1))
}
