//! Reads a source: a durable consumer of a foreign stream, or a subscription to core subjects.

mod core;
mod stream;

use crate::arrival::{ArrivedMessage, SourceTrouble};
use crate::sources::{SourceSpec, Upstream};
use crate::translation::SourceMark;
use daybook_mapping::MappingName;
use daybook_runtime::connection::{BrokerOptions, Connection, connect};

/// How far a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceProgress {
    /// Messages that are not taken yet; `None` where nobody knows.
    pub lag: Option<u64>,
    /// Messages that were dropped since it was looked at last, because they came faster than INBOX took them.
    pub dropped: u64,
}

/// A position of a source, as it was seen on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPosition {
    /// The mark of the stream that it is a position of.
    pub mark: String,
    /// Everything up to this sequence is durable in INBOX.
    pub floor: u64,
}

/// An open source.
pub enum SourceReading {
    Stream(Box<stream::StreamReading>),
    Core(core::CoreReading),
}

impl SourceReading {
    /// Opens a source. `own` is Daybook's connection. `mapping` is the source's as it was found, with its kind. `seen` is where this
    /// process saw the source's position last, if it did.
    ///
    /// # Errors
    /// When the broker or the stream cannot be used; the text says why.
    pub async fn open(
        source: &SourceSpec,
        own: &Connection,
        mapping: &MappingName,
        seen: Option<&SeenPosition>,
    ) -> Result<Self, SourceTrouble> {
        let connection = match &source.connection {
            None => own.clone(),
            Some(nats) => {
                let options = BrokerOptions { nats: nats.clone(), ..BrokerOptions::clone(&own.options) };
                let connected = connect(&options, "daybook-connect").await;
                connected.map_err(|error| SourceTrouble::new("cannot connect to the source's broker", &error))?
            }
        };
        match &source.origin {
            Upstream::Stream { name, from } => {
                let opened = stream::StreamReading::open(connection, source, mapping, (name, *from), seen).await?;
                Ok(Self::Stream(Box::new(opened)))
            }
            Upstream::Core => Ok(Self::Core(core::CoreReading::open(connection, source).await?)),
        }
    }

    /// What tells the messages of this reading from those of all others.
    pub fn mark(&self) -> SourceMark {
        match self {
            Self::Stream(stream) => SourceMark { text: stream.mark().to_owned(), is_stored: true },
            Self::Core(core) => SourceMark { text: core.mark().to_owned(), is_stored: false },
        }
    }

    /// The next message, waiting for it as long as it takes. Cancel safe.
    ///
    /// # Errors
    /// When the source must be opened anew.
    pub async fn next(&mut self) -> Result<ArrivedMessage, SourceTrouble> {
        match self {
            Self::Stream(stream) => stream.next().await,
            Self::Core(core) => core.next().await,
        }
    }

    /// The next message if it is here already.
    pub fn next_buffered(&mut self) -> Option<ArrivedMessage> {
        match self {
            Self::Stream(stream) => stream.next_buffered(),
            Self::Core(core) => core.next_buffered(),
        }
    }

    /// Ends listening on core subjects; what was heard until then is still to be taken, and then comes an error. A stream keeps what
    /// is not taken, so its reading goes on.
    pub fn stop_listening(&mut self) {
        match self {
            Self::Stream(_) => {}
            Self::Core(core) => core.stop_listening(),
        }
    }

    /// Asks how far the source is.
    ///
    /// # Errors
    /// When the source must be opened anew.
    pub async fn look(&mut self) -> Result<SourceProgress, SourceTrouble> {
        match self {
            Self::Stream(stream) => stream.look().await,
            Self::Core(core) => Ok(core.look()),
        }
    }

    /// Where the source's position is; nothing on core subjects, which have none.
    pub fn seen(&self) -> Option<SeenPosition> {
        match self {
            Self::Stream(stream) => Some(stream.seen()),
            Self::Core(_) => None,
        }
    }
}
