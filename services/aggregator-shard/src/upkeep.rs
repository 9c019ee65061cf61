//! The upkeep of remembered ids, beside the live work: what is to be done, and what comes of it, is said by
//! [`daybook_machine::remembered::upkeep`]. Here it gets a thread, memory and the rows that it reads. One piece at a time is under way in
//! a process.

use crate::messages::Message;
use crate::replica::Input;
use daybook_domain::ids::Partition;
use daybook_machine::remembered::upkeep::Upkeep;
use daybook_runtime::memory;
use daybook_runtime::store::{Store, StoreError};
use ractor::{ActorProcessingErr, ActorRef};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long a store may be out of use before the actor begins again.
const READ_DEADLINE: Duration = Duration::from_secs(300);
/// Between two tries to read.
const READ_AGAIN: Duration = Duration::from_millis(20);

static ONE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

/// Does a piece of the work and tells the actor.
pub async fn run(partition: Partition, store: Store, upkeep: Upkeep, actor: ActorRef<Message>) {
    let _permit = ONE.acquire().await.expect("it is never closed");
    let bytes = upkeep.bytes();
    // A piece that is larger than what is left for all is done alone: those behind it would wait for ever.
    let Some(reservation) = memory::reserve(bytes).or_else(|| memory::reserve_alone(bytes)) else {
        tracing::debug!(%partition, "no memory to keep up remembered ids; trying again");
        let _ = actor.cast(Message::Heard(Input::Kept(None)));
        return;
    };
    let started = Instant::now();
    let work = tokio::task::spawn_blocking(move || {
        let kept = upkeep.run(|keys| read(&store, keys).map_err(ActorProcessingErr::from));
        drop(reservation);
        kept.inspect_err(|_| store.doubt())
    });
    let kept = match work.await {
        Ok(kept) => kept,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime is going down.
        Err(_) => return,
    };
    metrics::histogram!("daybook_shard_upkeep_seconds").record(started.elapsed().as_secs_f64());
    let message = match kept {
        Ok(kept) => Message::Heard(Input::Kept(Some(kept))),
        Err(error) => Message::Failed(error),
    };
    // It fails only when the actor is to end.
    let _ = actor.cast(message);
}

/// The rows, once the store can be read. Blocking.
fn read(store: &Store, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, StoreError> {
    let started = Instant::now();
    loop {
        match store.read(keys.clone()) {
            Err(error) if error.is_locked() && started.elapsed() < READ_DEADLINE => std::thread::sleep(READ_AGAIN),
            outcome => return outcome,
        }
    }
}
