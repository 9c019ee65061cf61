//! Whether a stream is there. During an election nobody can say: then the caller waits.

use super::diagnosis;
use super::waiting::WaitLog;
use super::{ConnectError, Connection, Reason};
use async_nats::jetstream::context::GetStreamError;
use async_nats::jetstream::stream::Stream;
use std::time::Duration;
use tokio::time::Instant;

/// How long a stream is asked for while nobody can say whether it is there: two elections of the slow kind, which take five
/// seconds. The last request may add its own time-out.
pub const FIND_LIMIT: Duration = Duration::from_secs(10);

/// Why a stream is not found.
#[derive(Debug, thiserror::Error)]
pub enum FindStreamError {
    /// The leader says that there is none.
    #[error("there is no stream {name}")]
    Absent {
        name: String,
        #[source]
        source: GetStreamError,
    },
    #[error("stream {name} cannot be looked at")]
    Unreadable {
        name: String,
        #[source]
        source: GetStreamError,
    },
    /// It has to do with the connection or the user, and not with the stream.
    #[error(transparent)]
    Connection(#[from] ConnectError),
}

impl Connection {
    /// Finds a stream. While nobody can say whether it is there, as during an election, asks again for [`FIND_LIMIT`].
    /// `waiting` gets each new reason for that.
    ///
    /// # Errors
    /// When the stream is absent, or the user may not look at it, or nobody could say in time.
    pub async fn find_stream(
        &self,
        name: &str,
        mut waiting: impl FnMut(&ConnectError),
    ) -> Result<Stream, FindStreamError> {
        let end = Instant::now() + FIND_LIMIT;
        let mut waits = WaitLog::default();
        loop {
            let source = match self.jetstream.get_stream(name).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let name = name.to_owned();
            let Some(trouble) = diagnosis::of_getting(&source) else {
                return Err(match diagnosis::is_absent(&source) {
                    true => FindStreamError::Absent { name, source },
                    false => FindStreamError::Unreadable { name, source },
                });
            };
            let reason = self.reason(trouble);
            // The broker does not answer what it does not permit.
            let may_pass = trouble.may_pass() && !matches!(reason, Reason::NotPermitted { .. });
            let why = self.fails(reason, Some(&source));
            let now = Instant::now();
            if !may_pass || now >= end {
                return Err(why.into());
            }
            if waits.is_news(&why.to_string(), now) {
                waiting(&why);
            }
            tokio::time::sleep(waits.next_pause()).await;
        }
    }
}
