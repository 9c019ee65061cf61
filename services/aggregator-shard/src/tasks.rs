//! Tasks of a partition's actor, and what becomes of the actor when one of them ends.

use futures::FutureExt;
use ractor::{ActorCell, ActorStatus};
use tokio::task::JoinHandle;

/// Runs a part without which the actor must not go on: when it ends or panics, the actor ends too and is started again. One
/// that is to end already deals with what it has been sent first.
pub(crate) fn essential(
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
    actor: ActorCell,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let _ = std::panic::AssertUnwindSafe(part).catch_unwind().await;
        if actor.get_status() < ActorStatus::Draining {
            actor.stop(Some(format!("its {name} ended")));
        }
    })
}

/// As [`essential`], but for a part that ends when its work is done: only a panic ends the actor.
pub(crate) fn essential_until_done(
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
    actor: ActorCell,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if std::panic::AssertUnwindSafe(part).catch_unwind().await.is_err() {
            actor.stop(Some(format!("its {name} panicked")));
        }
    })
}
