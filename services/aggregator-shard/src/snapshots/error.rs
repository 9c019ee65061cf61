//! What goes wrong with a snapshot.

use daybook_runtime::store::StoreError;

/// A snapshot could not be made, sent, fetched or read. What it was for goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the broker: {0}")]
    Broker(String),
    #[error(
        "the broker refuses to trim the log: {0}; a log that was made to be kept for ever, by an earlier build, cannot be \
         trimmed (--log-retention)"
    )]
    Trim(String),
    #[error(
        "the list of its pieces would be longer than the {most} bytes that readers take, after {pieces} pieces; none is put until the \
         partition's store is smaller: keep days in correction and ids remembered for less long, or install with more partitions"
    )]
    TooLarge { pieces: usize, most: usize },
    #[error("a file")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the work was given up")]
    GivenUp(#[from] tokio::task::JoinError),
}

pub(crate) fn broker(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Broker(error.to_string())
}
