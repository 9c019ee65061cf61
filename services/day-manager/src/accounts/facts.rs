//! Where the facts stand that accounts are made of: tenants, groups and kinds in CATALOG, revoked tokens and settings in ACCESS.

use super::book::{AccountBook, Fact};
use async_nats::HeaderMap;
use daybook_contracts::subjects::Subjects;
use daybook_domain::catalogue::{Definition, Removal};
use daybook_runtime::append::{Newest, append, last_written};
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::{Delivered, Reader, read_all};
use daybook_runtime::written::{self, Message, NotWritten};

/// Streams that facts come from, with where reading goes on.
pub struct Sources {
    pub tenants: Reader,
    pub kinds: Reader,
    pub groups: Reader,
    pub access: Reader,
}

/// Notes in ACCESS when the settings became what they are: the accounts made with them are newer than those before.
///
/// # Errors
/// When a newer version wrote what stands there.
pub async fn store_fingerprint(connection: &Connection, fingerprint: &str) -> Result<(), NotWritten> {
    let subjects = &connection.subjects;
    let (stream, subject) = (subjects.access_stream(), subjects.access_settings());
    let read = |message: Message<'_>| written::access_settings(subjects, message);
    let Newest { end, found } = last_written(connection, &stream, &subject, read).await?;
    if found.is_some_and(|found| found.value == fingerprint) {
        return Ok(());
    }
    // Whoever else stores one at the same time has newer settings, or the same.
    let appended = append(connection, &subject, end, HeaderMap::new(), fingerprint.to_owned().into()).await;
    tracing::info!(?appended, "the tenants' accounts are made with other settings than before");
    Ok(())
}

/// Reads what there is, and says where reading goes on.
///
/// # Errors
/// When a newer version wrote something of it.
pub async fn read_facts(connection: &Connection, book: &mut AccountBook) -> Result<Sources, NotWritten> {
    let subjects = &connection.subjects;
    let [kinds, groups] = ["kind", "group"].map(|what| subjects.catalog_of_all(connection.partitions, what, "*"));
    let (catalog, access) = (subjects.catalog_stream(), subjects.access_stream());
    let mut next = [1, 1, 1, 1];
    let sources = [
        (&catalog, subjects.every_tenant()),
        (&catalog, kinds),
        (&catalog, groups),
        (&access, subjects.every_access()),
    ];
    for ((stream, filter), next) in sources.iter().zip(&mut next) {
        for message in read_all(connection, (*stream).clone(), filter.clone(), 1).await {
            *next = message.sequence + 1;
            if let Some(fact) = note(connection, &message)? {
                book.learn(fact, message.stored_at);
            }
        }
    }
    let reader = |index: usize| {
        let (stream, filter) = &sources[index];
        Reader::new(connection, (*stream).clone(), filter.clone(), next[index])
    };
    Ok(Sources { tenants: reader(0), kinds: reader(1), groups: reader(2), access: reader(3) })
}

/// What a message says; nothing when no service wrote it, which is noted.
///
/// # Errors
/// When a newer version wrote it.
pub fn note(connection: &Connection, message: &Delivered) -> Result<Option<Fact>, NotWritten> {
    match fact(&connection.subjects, message.into()) {
        Ok(fact) => Ok(fact),
        Err(why @ NotWritten::Unreadable(_)) => Err(why),
        Err(why) => {
            let is_access = message.subject.starts_with(connection.subjects.every_access().trim_end_matches('>'));
            let subjects = &connection.subjects;
            let stream = if is_access { subjects.access_stream() } else { subjects.catalog_stream() };
            connection.foreign.note(&stream, message.sequence, &message.subject, &why);
            Ok(None)
        }
    }
}

fn fact(subjects: &Subjects, message: Message<'_>) -> Result<Option<Fact>, NotWritten> {
    if message.subject == subjects.access_settings() {
        return written::access_settings(subjects, message).map(|_| Some(Fact::Settings));
    }
    if subjects.parse_catalog(message.subject).is_none() {
        return written::revoked_tokens(subjects, message).map(|list| Some(Fact::Revoked(list)));
    }
    Ok(match written::definition(subjects, message)?.1 {
        Definition::Tenant(tenant) => Some(Fact::Tenant(tenant.id)),
        Definition::Kind(kind) => Some(Fact::Kind(kind.name)),
        Definition::Group(group) => Some(Fact::Group(group.id)),
        Definition::Removal(Removal::Kind { name, .. }) => Some(Fact::KindRemoved(name)),
        _ => None,
    })
}
