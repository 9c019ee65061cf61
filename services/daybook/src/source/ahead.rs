//! Reads a file ahead of the event that is being published, on a thread of its own.

use super::{EventSource, Record};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Events read ahead: enough that the publisher never waits for the thread.
const RECORDS_AHEAD: usize = 1_024;
/// Bytes of events read ahead. It bounds the memory that a file takes which is small only because it is compressed.
pub const BYTES_AHEAD: usize = 64 << 20;

/// The events of an [`EventSource`], as they are read.
pub struct Records {
    receiver: mpsc::Receiver<anyhow::Result<Ahead>>,
    read: Arc<AtomicU64>,
    room: Arc<Semaphore>,
}

/// An event, and the room that it takes until it is given away.
struct Ahead {
    record: Record,
    _room: OwnedSemaphorePermit,
}

impl EventSource {
    /// Reads on a thread of its own, some events ahead: standard input may keep it waiting, and nobody else. Needs a runtime.
    pub fn into_records(mut self) -> Records {
        let (sender, receiver) = mpsc::channel(RECORDS_AHEAD);
        let (read, room) = (self.read.clone(), Arc::new(Semaphore::new(BYTES_AHEAD)));
        let (free, runtime) = (room.clone(), Handle::current());
        std::thread::spawn(move || {
            while let Some(record) = self.next_record().transpose() {
                let failed = record.is_err();
                let ahead = match record {
                    Ok(record) => {
                        let bytes = u32::try_from(bytes_of(&record)).expect("events are shorter than 4 GiB");
                        // Closed when nobody reads on.
                        let Ok(room) = runtime.block_on(free.clone().acquire_many_owned(bytes)) else { return };
                        Ok(Ahead { record, _room: room })
                    }
                    Err(error) => Err(error),
                };
                if sender.blocking_send(ahead).is_err() || failed {
                    return;
                }
            }
        });
        Records { receiver, read, room }
    }
}

fn bytes_of(record: &Record) -> usize {
    record.content.as_ref().map_or_else(String::len, Vec::len)
}

impl Records {
    /// The next event.
    ///
    /// # Errors
    /// As [`EventSource::next_record`].
    pub async fn next(&mut self) -> anyhow::Result<Option<Record>> {
        Ok(self.receiver.recv().await.transpose()?.map(|ahead| ahead.record))
    }

    /// Bytes of the file that have been read.
    pub fn position(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of events that are read and not given away yet.
    pub fn bytes_ahead(&self) -> usize {
        BYTES_AHEAD - self.room.available_permits()
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.room.close();
    }
}
