//! Sends the alerts of one target, a few at a time. Nothing is shared with other targets but the room for tries, of which those that
//! fail have a part, so that none holds up another.

use super::consumers::{ConsumerSeen, ReadTrouble, TargetConsumer};
use super::delivery::Deliverer;
use super::targets::WebhookTarget;
use daybook_runtime::backoff::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Tries of one target at a time in this process. While the target fails there is one.
const TRIES_AT_ONCE: u32 = 4;
/// How often the broker is asked how many alerts wait.
const LOOK: Duration = Duration::from_secs(30);
/// Pauses while alerts cannot be read.
const UNREADABLE: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// When a sender ends.
#[derive(Clone)]
pub(crate) struct SenderEnd {
    /// No further try begins; those under way are finished.
    pub leave: CancellationToken,
    /// Tries under way end, too: the target is gone, or the process ends at once.
    pub stop: CancellationToken,
}

impl SenderEnd {
    fn is_asked(&self) -> bool {
        self.leave.is_cancelled() || self.stop.is_cancelled()
    }

    async fn asked(&self) {
        tokio::select! {
            () = self.leave.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// The sender of one target in this process.
pub(super) struct Sender {
    deliverer: Deliverer,
    target: watch::Receiver<Arc<WebhookTarget>>,
    end: SenderEnd,
    places: Arc<Semaphore>,
    tries: JoinSet<()>,
    /// How far the target was seen to be last.
    seen: Option<ConsumerSeen>,
    looked: Option<Instant>,
}

impl Sender {
    pub(super) fn new(deliverer: Deliverer, target: watch::Receiver<Arc<WebhookTarget>>, end: SenderEnd) -> Self {
        let places = Arc::new(Semaphore::new(TRIES_AT_ONCE as usize));
        Self { deliverer, target, end, places, tries: JoinSet::new(), seen: None, looked: None }
    }

    /// Sends alerts until it is to end.
    pub(super) async fn run(mut self) {
        let mut backoff = UNREADABLE;
        let end = self.end.clone();
        while !end.is_asked() {
            let read = tokio::select! {
                read = self.read() => read,
                () = end.asked() => break,
            };
            match read {
                Ok(()) => backoff.reset(),
                Err(trouble) => {
                    self.deliverer.teller.trouble(trouble);
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_pause()) => {}
                        () = end.asked() => {}
                    }
                }
            }
        }
        tokio::select! {
            () = async { while self.tries.join_next().await.is_some() {} } => {}
            () = end.stop.cancelled() => {}
        }
        self.tries.shutdown().await;
        self.deliverer.teller.end();
    }

    /// Opens the consumer and begins tries until the target has other tenants. Cancel safe: an alert that is on its way here comes again.
    async fn read(&mut self) -> Result<(), ReadTrouble> {
        let target = self.target.borrow().clone();
        let consumer = TargetConsumer::open(&self.deliverer.connection, &target, self.seen).await?;
        // At once: a consumer that is lost before the first look is made again from here.
        self.seen = Some(consumer.opened());
        self.look(&consumer).await?;
        while consumer.is_of(self.target.borrow().tenants.as_ref()) {
            if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                self.look(&consumer).await?;
            }
            let place = self.place().await;
            if let Some(message) = consumer.next().await? {
                let (deliverer, target) = (self.deliverer.clone(), self.target.borrow().clone());
                self.tries.spawn(async move {
                    deliverer.deliver(&target, message).await;
                    drop(place);
                });
            }
            self.deliverer.teller.reads();
            while self.tries.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// Room for one more try: all of it while the target fails.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            let wanted = if self.deliverer.teller.is_failing() { TRIES_AT_ONCE } else { 1 };
            let places = self.places.clone().acquire_many_owned(wanted).await.expect("it is never closed");
            // It may have begun to fail meanwhile.
            if wanted == TRIES_AT_ONCE || !self.deliverer.teller.is_failing() {
                return places;
            }
        }
    }

    async fn look(&mut self, consumer: &TargetConsumer) -> Result<(), ReadTrouble> {
        let progress = consumer.progress().await?;
        self.looked = Some(Instant::now());
        self.seen = Some(consumer.opened().at(progress));
        self.deliverer.teller.progress(progress);
        Ok(())
    }
}
