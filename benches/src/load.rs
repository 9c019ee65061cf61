//! Events that come at a fixed rate while something else is measured.

use crate::system::{Outgoing, publish};
use daybook_runtime::connection::{BrokerOptions, Connection, connect};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Messages of so many milliseconds are published together, and the last of them is waited for.
const SLICE_MS: usize = 10;
/// What a producer that was held up makes up for at most: what is measured afterwards is measured at the rate.
const MADE_UP_FOR: Duration = Duration::from_millis(500);

/// A producer under way.
pub struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<anyhow::Result<usize>>,
}

#[derive(Default)]
struct Shared {
    events: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Begins to publish `messages`, one after the other, `rate` events a second.
    pub fn start(producer: Connection, messages: Vec<Outgoing>, rate: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(produce(producer, messages, rate, shared.clone()));
        Self { shared, task }
    }

    /// The same on a processor thread and a connection of its own, as a producer is that is another process.
    pub fn start_apart(options: BrokerOptions, messages: Vec<Outgoing>, rate: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let of_producer = shared.clone();
        let task = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let connection = connect(&options, "producer").await?;
                produce(connection, messages, rate, of_producer).await
            })
        });
        Self { shared, task }
    }

    /// How many events have been published.
    pub fn events(&self) -> usize {
        self.shared.events.load(Ordering::Relaxed)
    }

    /// Whether there is nothing more to be published: what is measured from now on is measured without it.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops, and tells how many of the messages were published.
    ///
    /// # Errors
    /// When the broker refused one.
    pub async fn end(self) -> anyhow::Result<usize> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.task.await?
    }

    /// Waits until all messages are published.
    ///
    /// # Errors
    /// When the broker refused one.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.task.await?.map(drop)
    }
}

async fn produce(
    producer: Connection,
    messages: Vec<Outgoing>,
    rate: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<usize> {
    let mut began = Instant::now();
    let (mut sent, mut events) = (0, 0);
    while sent < messages.len() && !shared.is_over.load(Ordering::Relaxed) {
        let mut end = sent;
        let until = events + (rate * SLICE_MS / 1_000).max(1);
        while end < messages.len() && events < until {
            events += messages[end].events;
            end += 1;
        }
        publish(&producer.jetstream, &messages[sent..end]).await?;
        sent = end;
        shared.events.store(events, Ordering::Relaxed);
        let due = began + Duration::from_secs_f64(events as f64 / rate as f64);
        began += Instant::now().saturating_duration_since(due).saturating_sub(MADE_UP_FOR);
        tokio::time::sleep_until(due.into()).await;
    }
    Ok(sent)
}

/// Both in one: whichever of the two has had fewer events comes next.
pub fn interleave(one: Vec<Outgoing>, other: Vec<Outgoing>) -> Vec<Outgoing> {
    let mut all = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    let mut ahead = 0;
    while let Some(message) = if ahead <= 0 && one.peek().is_some() || other.peek().is_none() {
        one.next().inspect(|message| ahead += message.events as i64)
    } else {
        other.next().inspect(|message| ahead -= message.events as i64)
    } {
        all.push(message);
    }
    all
}
