//! The memory of this process and its limit: near it the process takes in less, at it nothing more, so that the kernel does
//! not kill it.
//!
//! [`watch`] starts a thread that reads (`system`) and judges (`judge`) all the time. Whoever takes something in asks for
//! [`room`] first. Memory belongs to the whole process, whatever runs in it, so there is one watch for all.

mod judge;
mod size;
mod system;

pub use size::{MemoryLimit, MemoryLimitError, mebibytes};

use daybook_contracts::members::Memory;
use judge::Pressure;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Once};
use std::time::Duration;
use system::System;
use tokio::sync::watch as channel;

/// Between two looks. A shard takes in some ten megabytes meanwhile at most.
const LOOK: Duration = Duration::from_millis(100);
/// How long each batch waits where memory is nearly full: several looks, so that the next one comes after a judgement.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// What is used, and what the limit is that is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MemoryUse {
    /// Bytes that the kernel cannot take back: no pages of files.
    used: u64,
    /// Bytes.
    limit: u64,
    limited_by: Limited,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limited {
    /// `--memory`.
    Setting,
    /// A control group, such as a container's.
    Group,
    Machine,
}

impl Limited {
    /// As in "the limit of …".
    fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "--memory",
            Self::Group => "its control group (container)",
            Self::Machine => "the machine",
        }
    }
}

impl MemoryUse {
    /// The share of the limit that is used.
    fn thousandths(&self) -> u64 {
        match self.limit {
            0 => u64::MAX,
            limit => u64::try_from(u128::from(self.used) * 1_000 / u128::from(limit)).unwrap_or(u64::MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Judged {
    memory: Option<MemoryUse>,
    pressure: Pressure,
}

static NEWEST: LazyLock<channel::Sender<Judged>> = LazyLock::new(|| channel::Sender::new(Judged::default()));
/// Bytes that are reserved for work under way.
static RESERVED: AtomicU64 = AtomicU64::new(0);
static WATCH: Once = Once::new();

/// Watches the memory of this process from now on, against `limit` too. Only the first call counts.
pub fn watch(limit: Option<MemoryLimit>) {
    WATCH.call_once(|| {
        let thread = std::thread::Builder::new().name("memory".to_owned());
        if let Err(error) = thread.spawn(move || look_for_ever(&System::find(limit.map(MemoryLimit::bytes)))) {
            tracing::warn!(%error, "the use of memory is not watched");
        }
    });
}

fn look_for_ever(system: &System) {
    let mut before = Pressure::default();
    loop {
        if let Some(memory) = system.read() {
            let pressure = before.next(&memory);
            NEWEST.send_replace(Judged { memory: Some(memory), pressure });
            metrics::gauge!("daybook_memory_bytes").set(memory.used as f64);
            metrics::gauge!("daybook_memory_limit_bytes").set(memory.limit as f64);
            metrics::gauge!("daybook_memory_full").set(if pressure == Pressure::Full { 1.0 } else { 0.0 });
            tell(before, pressure, &memory);
            before = pressure;
        }
        std::thread::sleep(LOOK);
    }
}

/// Tells of a change, once.
fn tell(before: Pressure, after: Pressure, memory: &MemoryUse) {
    let MemoryUse { used, limit, limited_by } = memory;
    let (used, limit, limited_by) = (mebibytes(*used), mebibytes(*limit), limited_by.as_str());
    match (before, after) {
        (Pressure::Ample | Pressure::Scarce { .. }, Pressure::Full) => tracing::warn!(
            used,
            limit,
            limited_by,
            "memory is used up; nothing more is taken in, questions are answered: give this process more memory, or start \
             another one of its service"
        ),
        (Pressure::Ample, Pressure::Scarce { .. }) => {
            tracing::warn!(used, limit, limited_by, "memory is scarce; taking in less");
        }
        (Pressure::Full, Pressure::Ample | Pressure::Scarce { .. }) => {
            tracing::info!(used, limit, limited_by, "there is memory again; going on");
        }
        _ => {}
    }
}

/// Returns when something more may be taken in: at once while memory is ample, after a pause while it is scarce, and not before
/// there is some again when it is full.
pub async fn room() {
    let mut judged = NEWEST.subscribe();
    let pressure = judged.borrow_and_update().pressure;
    if let Some(pause) = pause(pressure) {
        tokio::time::sleep(pause).await;
    }
    // The sender is never dropped.
    let _ = judged.wait_for(|judged| judged.pressure != Pressure::Full).await;
}

/// Returns when memory is not full, or when `is_given_up` says so. For a thread that may block; makes no pause while memory is scarce.
pub fn wait_for_room(is_given_up: impl Fn() -> bool) {
    while is_full() && !is_given_up() {
        std::thread::sleep(LOOK);
    }
}

/// Whether there is plenty.
pub fn is_ample() -> bool {
    NEWEST.borrow().pressure == Pressure::Ample
}

/// Whether nothing more is taken in.
pub fn is_full() -> bool {
    NEWEST.borrow().pressure == Pressure::Full
}

/// Memory that is set aside for work that needs it for a while. It is given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        RESERVED.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Sets memory aside, unless with it and all other reservations the process would be full.
pub fn reserve(bytes: u64) -> Option<Reservation> {
    let reservation = Reservation { bytes };
    let reserved = RESERVED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    let fits = |memory: MemoryUse| MemoryUse { used: memory.used.saturating_add(reserved), ..memory }.has_room();
    (!is_full() && NEWEST.borrow().memory.is_none_or(fits)).then_some(reservation)
}

/// Sets memory aside that may not fit, while memory is ample and nothing else is set aside. For work that must not be postponed for
/// ever.
pub fn reserve_alone(bytes: u64) -> Option<Reservation> {
    RESERVED.compare_exchange(0, bytes, Ordering::Relaxed, Ordering::Relaxed).ok()?;
    let reservation = Reservation { bytes };
    is_ample().then_some(reservation)
}

/// Returns once memory has been full for as long as `patience` without a break.
pub async fn full_for(patience: Duration) {
    let mut judged = NEWEST.subscribe();
    loop {
        // The sender is never dropped.
        let _ = judged.wait_for(|judged| judged.pressure == Pressure::Full).await;
        let relief = judged.wait_for(|judged| judged.pressure != Pressure::Full);
        if tokio::time::timeout(patience, relief).await.is_err() {
            return;
        }
    }
}

/// The newest reading; none where nothing can be read, or is not watched.
pub fn newest() -> Option<Memory> {
    let Judged { memory, pressure } = *NEWEST.borrow();
    let MemoryUse { used, limit, .. } = memory?;
    Some(Memory { used, limit, is_full: pressure == Pressure::Full })
}

fn pause(pressure: Pressure) -> Option<Duration> {
    match pressure {
        Pressure::Ample | Pressure::Full => None,
        Pressure::Scarce { thousandths } => Some(LONGEST_PAUSE * u32::try_from(thousandths).unwrap_or(1_000) / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// Part of the one test that changes [`NEWEST`].
    async fn given_up_only_when_full_without_a_break() {
        let set = |pressure| NEWEST.send_replace(Judged { memory: None, pressure });
        set(Pressure::Ample);
        let waiting = tokio::spawn(full_for(Duration::from_millis(400)));
        for _ in 0..4 {
            set(Pressure::Full);
            tokio::time::sleep(Duration::from_millis(150)).await;
            set(Pressure::Scarce { thousandths: 900 });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!waiting.is_finished(), "it was full for longer, but not without a break");
        set(Pressure::Full);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn room_is_waited_for_while_memory_is_full() {
        let set = |pressure| NEWEST.send_replace(Judged { memory: None, pressure });
        set(Pressure::Ample);
        assert!(room().now_or_never().is_some());
        set(Pressure::Scarce { thousandths: 100 });
        assert!(room().now_or_never().is_none(), "it takes a pause");
        room().await;
        set(Pressure::Full);
        let waiting = tokio::spawn(room());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished() && is_full());
        wait_for_room(|| true);
        set(Pressure::Scarce { thousandths: 0 });
        waiting.await.unwrap();
        wait_for_room(|| false);
        set(Pressure::Ample);
        assert!(reserve(u64::MAX).is_some(), "nothing is known of any limit");
        let memory = Some(MemoryUse { used: 500, limit: 1_000, limited_by: Limited::Setting });
        NEWEST.send_replace(Judged { memory, pressure: Pressure::Ample });
        let first = reserve(300);
        assert!(first.is_some() && reserve(130).is_none() && reserve(129).is_some());
        drop(first);
        assert!(reserve(430).is_none() && reserve(429).is_some());
        let alone = reserve_alone(5_000);
        assert!(alone.is_some() && reserve_alone(1).is_none() && reserve(1).is_none(), "one at a time");
        drop(alone);
        NEWEST.send_replace(Judged { memory, pressure: Pressure::Scarce { thousandths: 0 } });
        assert!(reserve_alone(1).is_none() && reserve(1).is_some());
        given_up_only_when_full_without_a_break().await;
        NEWEST.send_replace(Judged { memory, pressure: Pressure::Full });
        assert!(reserve(0).is_none());
        NEWEST.send_replace(Judged::default());
    }
}
