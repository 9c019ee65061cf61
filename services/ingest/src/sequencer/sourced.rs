//! Reads what the broker sources into INBOX from DAYS and CATALOG, and passes over what day-manager did not publish there.

use super::{Inbound, Sequencer, Stop};
use daybook_contracts::day::DayMarker;
use daybook_contracts::subjects::InboxSubject;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::Partition;
use serde::de::DeserializeOwned;

/// A stream that INBOX sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Days,
    Catalog,
}

/// What a sourced message is.
pub(super) enum Sourced {
    Marker(DayMarker),
    Definition(Box<Definition>),
    /// It was taken in before: after a restart the broker may source again what was trimmed from INBOX.
    Again,
    /// Day-manager did not publish it: the stream that it came from, if it did, and why.
    Foreign(Option<Stream>, &'static str),
}

impl Sequencer {
    /// Reads a message on a subject of days or definitions.
    ///
    /// # Errors
    /// When day-manager published it, and it cannot be read.
    pub(super) fn sourced(&self, message: Inbound<'_>, subject: Option<InboxSubject<'_>>) -> Result<Sourced, Stop> {
        let (stream, name, known) = match subject {
            Some(InboxSubject::Day { .. }) => (Stream::Days, self.subjects.days_stream(), self.marks.days),
            _ => (Stream::Catalog, self.subjects.catalog_stream(), self.marks.catalog),
        };
        let Some(source) = message.source.filter(|source| source.stream == name) else {
            return Ok(Sourced::Foreign(None, "it was not sourced from the stream of its subject"));
        };
        if source.sequence <= known {
            return Ok(Sourced::Again);
        }
        let foreign = |why| Ok(Sourced::Foreign(Some(stream), why));
        let Some(origin) = subject.and_then(|subject| self.origin(message.subject, subject)) else {
            return foreign("its subject is no definition's");
        };
        if message.named.is_some_and(|named| named != origin) {
            return foreign("it is a copy of a message on another subject");
        }
        let stop = |reason: serde_json::Error| Stop {
            what: if stream == Stream::Days { "day marker" } else { "definition" },
            stream: name.clone(),
            sequence: source.sequence,
            reason: reason.to_string(),
        };
        let fits = match subject {
            Some(InboxSubject::Day { tenant, edge }) => match read::<DayMarker>(message) {
                Ok(marker) if marker.tenant.as_str() == tenant && marker.edge.as_str() == edge => {
                    Some(Sourced::Marker(marker))
                }
                Ok(_) => None,
                Err(Some(error)) => return Err(stop(error)),
                Err(None) => return foreign("its content cannot be read"),
            },
            Some(InboxSubject::Catalog { what, name }) => match read::<Definition>(message) {
                Ok(definition) if definition.what() == what && definition.name() == name => {
                    Some(Sourced::Definition(Box::new(definition)))
                }
                Ok(_) => None,
                Err(Some(error)) => return Err(stop(error)),
                Err(None) => return foreign("its content cannot be read"),
            },
            _ => None,
        };
        fits.map_or_else(|| foreign("its content does not fit its subject"), Ok)
    }

    /// The subject on which day-manager publishes what the broker sources to `stored`.
    fn origin(&self, stored: &str, subject: InboxSubject<'_>) -> Option<String> {
        match subject {
            InboxSubject::Day { tenant, edge: "opened" } => Some(self.subjects.day_opened(tenant)),
            InboxSubject::Day { tenant, edge: "closed" } => Some(self.subjects.day_closed(tenant)),
            InboxSubject::Catalog { what, name } => {
                let partition = stored.split('.').nth(2)?.parse().ok()?;
                Some(self.subjects.catalog(Partition(partition), what, name))
            }
            _ => None,
        }
    }
}

/// The content of a message; with an error if day-manager published it, which has named its subject since this is checked.
fn read<T: DeserializeOwned>(message: Inbound<'_>) -> Result<T, Option<serde_json::Error>> {
    serde_json::from_slice(message.payload).map_err(|error| message.named.map(|_| error))
}
