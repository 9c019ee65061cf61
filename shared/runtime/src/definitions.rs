//! Reads the definitions of CATALOG as those need them who serve all partitions: connect and gateway.

use crate::append::last_message_for_certain;
use crate::connection::Connection;
use crate::reader::{Delivered, Reader};
use crate::written::{self, NotWritten};
use daybook_domain::catalogue::Definition;

/// Reads every tenant, and definitions that every partition gets, once each.
pub struct DefinitionsReader {
    connection: Connection,
    stream: String,
    reader: Reader,
    /// The last sequence that there was at the beginning.
    through: u64,
}

/// A definition that a newer version of Daybook has written.
#[derive(Debug, thiserror::Error)]
#[error("the definition at {sequence} of CATALOG: {why}")]
pub struct UnreadableDefinition {
    sequence: u64,
    why: NotWritten,
}

impl DefinitionsReader {
    /// Begins with the oldest definition. `of_all` names what is read besides tenants, such as `kind` and `view`: at most two, since
    /// the broker becomes slow with more than three filters.
    pub async fn open(connection: &Connection, of_all: &[&str]) -> Self {
        let (subjects, stream) = (&connection.subjects, connection.subjects.catalog_stream());
        let mut filters: Vec<String> =
            of_all.iter().map(|what| subjects.catalog_of_all(connection.partitions, what, "*")).collect();
        filters.push(subjects.every_tenant());
        let mut through = 0;
        for filter in &filters {
            let last = last_message_for_certain(connection, &stream, filter).await;
            through = through.max(last.map_or(0, |last| last.sequence));
        }
        let reader = Reader::with_filters(connection, stream.clone(), filters, 1);
        Self { connection: connection.clone(), stream, reader, through }
    }

    /// Whether everything was read that there was at the beginning. With half of it, sound records would be rejects.
    pub fn is_level(&self) -> bool {
        self.reader.position() > self.through
    }

    /// The next definition, waiting for it as long as it takes; `None` for a message that no service wrote, which is noted. Cancel
    /// safe.
    ///
    /// # Errors
    /// When a newer version has written it. The next call goes on behind it.
    pub async fn next(&mut self) -> Result<Option<Definition>, UnreadableDefinition> {
        let message = self.reader.next().await;
        self.read(&message)
    }

    /// As [`next`](Self::next), if there is one already.
    pub fn next_buffered(&mut self) -> Option<Result<Option<Definition>, UnreadableDefinition>> {
        let message = self.reader.next_buffered()?;
        Some(self.read(&message))
    }

    fn read(&self, message: &Delivered) -> Result<Option<Definition>, UnreadableDefinition> {
        match written::definition(&self.connection.subjects, message.into()) {
            Ok((_, definition)) => Ok(Some(definition)),
            Err(why @ NotWritten::Foreign(_)) => {
                self.connection.foreign.note(&self.stream, message.sequence, &message.subject, &why);
                Ok(None)
            }
            Err(why) => Err(UnreadableDefinition { sequence: message.sequence, why }),
        }
    }
}
