//! Single definitions out of CATALOG, as its leader has them.

use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::catalogue::Definition;
use daybook_runtime::append::last_written_for_certain;
use daybook_runtime::connection::Connection;
use daybook_runtime::written::{self, Message};

/// The newest definition on a subject of CATALOG; `None` where there never was one, which only the leader can say. Tries until the
/// broker answers: the caller sets the deadline.
///
/// # Errors
/// [`AskErrorCode::Internal`] when a service wrote it and it cannot be read.
pub async fn newest(connection: &Connection, subject: &str) -> Asked<Option<Definition>> {
    let subjects = &connection.subjects;
    let read = |message: Message<'_>| written::definition(subjects, message);
    match last_written_for_certain(connection, &subjects.catalog_stream(), subject, read).await {
        Ok(newest) => Ok(newest.found.map(|found| found.value.1)),
        Err(why) => Err(AskError::new(AskErrorCode::Internal, format!("{subject}: {why}"))),
    }
}
