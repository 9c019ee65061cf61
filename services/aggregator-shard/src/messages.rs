//! What the actor of a partition is sent.

use crate::questions::Question;
use crate::replica::{Fed, Input};
use daybook_runtime::written::NotWritten;
use opentelemetry::trace::SpanContext;
use ractor::ActorProcessingErr;
use tokio::sync::OwnedSemaphorePermit;

/// What the actor is sent.
pub enum Message {
    /// The next batch of the log, or why it cannot be read.
    Fed {
        fed: Result<Fed, NotWritten>,
        carried: Carried,
    },
    /// A message of the log was passed over, behind which so many stood.
    PassedOver {
        pending: u64,
        permit: OwnedSemaphorePermit,
    },
    /// Something that a task of the actor's has to say to the replica.
    Heard(Input),
    /// A task of the actor's has failed, and the actor has to begin again.
    Failed(ActorProcessingErr),
    /// Questions that arrived together.
    Ask(Vec<Question>),
    /// Answer for a while.
    Answer,
    CheckpointDue,
    /// Time to tell listeners what changed, and to see what there is to do beside the log.
    Tick,
    /// Time to remove what is over its retention.
    TrimDue,
}

/// What comes with a batch and does not concern the replica.
pub struct Carried {
    /// Ingest's, of that batch: whoever wrote the batch wrote it.
    pub trace: Option<SpanContext>,
    /// Given back when the batch has been applied.
    pub permit: OwnedSemaphorePermit,
}
