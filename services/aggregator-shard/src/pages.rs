//! Pages of closed days on their way from the store, and how much memory closed days may take. Which pages are here and
//! which ones a batch needs is said by [`daybook_machine::residency`].

use crate::checkpoints::blocking;
use crate::messages::Message;
use crate::replica::Input;
use daybook_machine::residency::PageId;
use daybook_runtime::memory;
use daybook_runtime::store::Store;
use ractor::ActorRef;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Rows that leave memory at once: a millisecond or so.
pub const ROWS_AT_ONCE: usize = 20_000;
/// Of the memory of a process, closed days may take one part in so many unless they are told otherwise. The rest is for open days, for
/// figures, and for what is under way.
const PART: u64 = 4;
/// Bytes beyond twice its part that closed days of a partition may take until the next checkpoint.
pub const SLACK: u64 = 8 << 20;
/// How long a store may be out of use, while it is rebuilt or after commits that failed, before the actor begins again.
const FETCH_DEADLINE: Duration = Duration::from_secs(300);
/// Between two tries.
const FETCH_AGAIN: Duration = Duration::from_millis(20);

/// Partitions of this process that share the memory for closed days.
static SHARERS: AtomicU64 = AtomicU64::new(0);

/// A partition's part in that memory.
pub struct Sharer {
    setting: Option<u64>,
}

impl Sharer {
    /// `setting` is for the whole process, in bytes.
    pub fn new(setting: Option<u64>) -> Self {
        SHARERS.fetch_add(1, Ordering::Relaxed);
        Self { setting }
    }

    /// How many bytes closed days of the partition may take now; `None` where nothing limits memory. Less while memory is scarce.
    pub fn bytes(&self) -> Option<u64> {
        let all = self.setting.or_else(|| Some(memory::newest()?.limit / PART))?;
        let left = match () {
            () if memory::is_full() => 0,
            () if memory::is_ample() => all,
            () => all / 2,
        };
        Some(left / SHARERS.load(Ordering::Relaxed).max(1))
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        SHARERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads pages and sends them to the actor.
pub async fn fetch(store: Store, pages: BTreeSet<PageId>, actor: ActorRef<Message>) {
    let started = Instant::now();
    let keys: Vec<Vec<u8>> = pages.iter().map(PageId::key).collect();
    let read = loop {
        let (store, keys) = (store.clone(), keys.clone());
        match blocking(move || store.read(keys)).await {
            Err(error) if error.is_locked() && started.elapsed() < FETCH_DEADLINE => {
                tokio::time::sleep(FETCH_AGAIN).await;
            }
            read => break read,
        }
    };
    metrics::counter!("daybook_shard_pages_fetched_total").increment(keys.len() as u64);
    metrics::histogram!("daybook_shard_fetch_seconds").record(started.elapsed().as_secs_f64());
    let message = match read {
        Ok(values) => Message::Heard(Input::Fetched(pages.into_iter().zip(values).collect())),
        // What is in the folder is looked at when the actor begins again.
        Err(error) => Message::Failed(error.into()),
    };
    // It fails only when the actor is to end.
    let _ = actor.cast(message);
}
