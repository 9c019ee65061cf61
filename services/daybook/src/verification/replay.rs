//! Replays the log of one partition from its beginning. Where that is trimmed, from the oldest snapshot on the broker
//! that the log goes on from: what a replay from there says rests on that snapshot.

use aggregator_shard::checkpoints::oldest_on_the_broker;
use daybook_contracts::log::Batch;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_machine::backfill::Found;
use daybook_machine::{Effect, PartitionState};
use daybook_runtime::connection::Connection;
use daybook_runtime::log::{self, Beginning, Logged, beginning};
use daybook_runtime::reader::{Delivered, Reader};
use daybook_runtime::written::NotWritten;
use serde::Serialize;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where a replay cannot go on. What the log makes from there cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("the log of partition {0} is empty")]
    Empty(Partition),
    /// Every batch is appended on the condition that it follows the one before, and keeps that one's position.
    #[error(
        "the log of partition {partition} is not whole: position {position} follows {follows}, and that is not there"
    )]
    Hole { partition: Partition, position: LogSeq, follows: LogSeq },
    #[error(
        "the log of partition {} begins at {}, and there is no snapshot on the broker to go on from: what stood before is \
         deleted by its retention",
        partition, beginning.position
    )]
    Trimmed { partition: Partition, beginning: Beginning },
    /// A view that was made from the log that there was then cannot be made the same way again.
    #[error(
        "the log of partition {partition} begins at {begins}, and a view that is in force from position {position} on was \
         made from what stood before"
    )]
    ViewOfTrimmed { partition: Partition, begins: LogSeq, position: LogSeq },
    #[error("position {position} of partition {partition} cannot be replayed: {reason}")]
    Unusable { partition: Partition, position: LogSeq, reason: String },
}

impl Broken {
    /// The first position that was not replayed.
    pub fn position(&self) -> LogSeq {
        match self {
            Self::Empty(_) => LogSeq(0),
            Self::Trimmed { .. } => LogSeq(0),
            Self::Hole { position, .. } | Self::ViewOfTrimmed { position, .. } | Self::Unusable { position, .. } => {
                *position
            }
        }
    }

    /// Whether it is for the log's retention, and nothing is amiss.
    pub fn is_trimmed(&self) -> bool {
        matches!(self, Self::Trimmed { .. } | Self::ViewOfTrimmed { .. })
    }
}

/// A machine and where it reads.
pub struct Replay {
    connection: Connection,
    partition: Partition,
    pub state: PartitionState,
    reader: Reader,
    /// The last batch there was when the replay began, 0 for none.
    end: LogSeq,
    /// The last position that was read, or that of the snapshot.
    last: LogSeq,
    /// Where the log begins, when it is trimmed, and the snapshot that the replay began with.
    pub trimmed: Option<Trimmed>,
    /// Why there is nothing to replay.
    broken: Option<Broken>,
    /// When the batch that came last was stored.
    pub stored_at: Option<Instant>,
    is_over: bool,
}

/// Where a replay of a trimmed log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Trimmed {
    /// The first batch that is left.
    pub begins: LogSeq,
    /// The snapshot that the replay began with; what was sealed up to it is not made again.
    pub snapshot: LogSeq,
}

impl Replay {
    /// A replay of everything that the partition has now.
    ///
    /// # Errors
    /// When the broker does not tell of snapshots of a trimmed log, or there is no room for a temporary folder.
    pub async fn start(connection: &Connection, partition: Partition) -> anyhow::Result<Self> {
        let subjects = &connection.subjects;
        let (stream, subject) = (subjects.events_stream(), subjects.events(partition));
        let (mut state, mut trimmed, mut broken) = (PartitionState::new(partition), None, None);
        if let Some(beginning) = beginning(connection, partition).await.filter(Beginning::is_trimmed) {
            let scratch = tempfile::tempdir()?;
            match oldest_on_the_broker(connection, partition, scratch.path()).await? {
                Some(restored) => {
                    trimmed = Some(Trimmed { begins: beginning.position, snapshot: restored.position() });
                    state = restored;
                }
                None => broken = Some(Broken::Trimmed { partition, beginning }),
            }
        }
        let (end, last) = (log::end(connection, partition).await?.position(), state.position());
        Ok(Self {
            connection: connection.clone(),
            partition,
            state,
            reader: Reader::new(connection, stream, subject, last.0 + 1),
            end,
            last,
            trimmed,
            stored_at: None,
            is_over: broken.is_none() && end <= last,
            broken,
        })
    }

    /// The last position that it will read; positions are those of all partitions together.
    pub fn end(&self) -> LogSeq {
        self.end
    }

    /// Whether the partition has no batches at all.
    pub fn is_empty(&self) -> bool {
        self.end == LogSeq(0)
    }

    /// The next batch, which is to be given to [`Replay::apply`]; `None` at the end.
    ///
    /// # Errors
    /// When the batch does not follow the last one, or cannot be read.
    pub async fn next(&mut self) -> Result<Option<(LogSeq, Batch)>, Broken> {
        if let Some(broken) = self.broken.clone() {
            return Err(broken);
        }
        if self.is_over {
            return Ok(None);
        }
        let (message, logged) = loop {
            let message = self.reader.next().await;
            // The end may have been deleted meanwhile: then nothing is behind this one.
            self.is_over = message.pending == 0 || LogSeq(message.sequence) >= self.end;
            match self.read(&message)? {
                Some(logged) => break (message, logged),
                None if self.is_over => return Ok(None),
                None => {}
            }
        };
        let (partition, position, follows) = (self.partition, LogSeq(message.sequence), logged.follows);
        if follows != self.last {
            let now = beginning(&self.connection, partition).await.filter(Beginning::is_trimmed);
            return Err(match now {
                // Not before: it was trimmed while it was read.
                Some(beginning) if beginning.position >= position && self.last > LogSeq(0) => {
                    Broken::Trimmed { partition, beginning }
                }
                _ => Broken::Hole { partition, position, follows },
            });
        }
        self.last = position;
        self.stored_at = Some(message.stored_at);
        Ok(Some((position, logged.batch)))
    }

    /// Applies the batch that came last. A view that it takes into force is made first, from the log so far.
    ///
    /// # Errors
    /// When the machine cannot apply it: no batch that ingest wrote is such.
    pub async fn apply(&mut self, position: LogSeq, batch: Batch) -> Result<Vec<Effect>, Broken> {
        if self.state.awaits_backfill(&batch) {
            if let Some(Trimmed { begins, .. }) = self.trimmed {
                return Err(Broken::ViewOfTrimmed { partition: self.partition, begins, position });
            }
            self.backfill().await?;
        }
        let effects = guarded(&mut self.state, position, batch).map_err(|reason| self.unusable(position, reason))?;
        self.state.forget_changes();
        Ok(effects)
    }

    /// Makes the views that are pending, with a second machine that reads the log up to here once more.
    async fn backfill(&mut self) -> Result<(), Broken> {
        let base = self.state.position();
        let mut scratch = self.state.begin_backfill();
        let subjects = &self.connection.subjects;
        let mut reader = Reader::new(&self.connection, subjects.events_stream(), subjects.events(self.partition), 1);
        while scratch.position() < base {
            let message = reader.next().await;
            let position = LogSeq(message.sequence);
            if position > base {
                return Err(self.unusable(base, "it was deleted meanwhile".to_owned()));
            }
            let Some(logged) = self.read(&message)? else { continue };
            guarded(&mut scratch, position, logged.batch).map_err(|reason| self.unusable(position, reason))?;
            scratch.forget_changes();
        }
        self.state.finish_backfill(Found::of(scratch, None));
        while self.state.add_backfill() {}
        Ok(())
    }

    /// A batch of the log; `None` for what ingest did not write, which is passed over.
    fn read(&self, message: &Delivered) -> Result<Option<Logged>, Broken> {
        match Logged::read(message.into()) {
            Ok(logged) => Ok(Some(logged)),
            Err(why @ NotWritten::Foreign(_)) => {
                let stream = self.connection.subjects.events_stream();
                self.connection.foreign.note(&stream, message.sequence, &message.subject, &why);
                Ok(None)
            }
            Err(why) => Err(self.unusable(LogSeq(message.sequence), why.to_string())),
        }
    }

    fn unusable(&self, position: LogSeq, reason: String) -> Broken {
        Broken::Unusable { partition: self.partition, position, reason }
    }
}

/// Applies a batch. The machine panics on what ingest never writes; a log that someone else wrote into is just what a
/// verification may meet, and it must say so. The machine is not used after that.
fn guarded(state: &mut PartitionState, position: LogSeq, batch: Batch) -> Result<Vec<Effect>, String> {
    catch_unwind(AssertUnwindSafe(|| state.apply(position, batch))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
