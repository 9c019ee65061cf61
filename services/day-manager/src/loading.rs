//! Reads back what was published: the catalogue, the days and the clocks.

use crate::assembly::{Read, Streams};
use daybook_domain::ids::Name;
use daybook_domain::time::Instant;
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::read_newest_written;
use daybook_runtime::written::{self, NotWritten};

/// Reads everything.
///
/// # Errors
/// When a definition or a marker cannot be read: a newer version published it, and to go on without it would take it back.
pub(crate) async fn load(connection: &Connection) -> Result<Streams, NotWritten> {
    let subjects = &connection.subjects;
    let (stream, filter) = (subjects.catalog_stream(), subjects.every_catalog());
    let catalog = read_newest_written(connection, stream, filter, |m| written::definition(subjects, m)).await?;
    let (stream, filter) = (subjects.days_stream(), subjects.every_day());
    let days = read_newest_written(connection, stream, filter, |m| written::marker(subjects, m)).await?;
    let clocks = load_clocks(connection).await?;
    Ok(Streams { catalog, days, clocks })
}

/// Reads where the clocks stand.
///
/// # Errors
/// When one cannot be read.
pub(crate) async fn load_clocks(connection: &Connection) -> Result<Read<(Name, Instant)>, NotWritten> {
    let subjects = &connection.subjects;
    let (stream, filter) = (subjects.clocks_stream(), subjects.clock("*"));
    read_newest_written(connection, stream, filter, |message| written::clock(subjects, message)).await
}
