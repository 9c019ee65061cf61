//! What day-manager publishes, and what it knows of the subjects that it publishes on. Pure.

use crate::failure::PublishError;
use bytes::Bytes;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::Marks;
use daybook_contracts::subjects::Subjects;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{Name, Partition};
use daybook_domain::time::Instant;
use std::collections::HashMap;

/// A stream that day-manager publishes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Catalog,
    Days,
    Clocks,
}

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub origin: Origin,
    pub subject: String,
    /// The sequence of the subject's last message, 0 for none: the condition of the append.
    pub expected: u64,
    pub payload: Bytes,
}

/// A message of CATALOG or DAYS that is to come through to INBOX.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub origin: Origin,
    /// Its sequence there.
    pub sequence: u64,
    pub partition: Partition,
    pub inbox_subject: String,
}

impl Arrival {
    /// Whether the message, and all before it of its stream, stand in INBOX, or did. `sourced` is the sequence in the origin of the
    /// newest message on its subject of INBOX.
    pub fn is_in_inbox(&self, sourced: Option<u64>) -> bool {
        sourced.is_some_and(|sourced| sourced >= self.sequence)
    }

    /// Whether the log of its partition has taken it in, with these marks. INBOX may be trimmed then.
    pub fn is_in_log(&self, marks: Marks) -> bool {
        let mark = if self.origin == Origin::Catalog { marks.catalog } else { marks.days };
        mark >= self.sequence
    }
}

/// Subjects, each with the sequence of its last message, whoever wrote that.
pub type Ends = Vec<(String, u64)>;

/// What is known of the subjects: where each ends, and up to where nobody else has published.
pub struct Known {
    subjects: Subjects,
    partitions: u16,
    /// The sequence of each subject's last message.
    ends: HashMap<String, u64>,
    /// The last sequence of CATALOG, of DAYS and of CLOCKS up to which this day-manager knows everything.
    pub catalog_end: u64,
    pub days_end: u64,
    pub clocks_end: u64,
}

impl Known {
    /// Nothing yet.
    pub fn new(subjects: Subjects, partitions: u16) -> Self {
        Self { subjects, partitions, ends: HashMap::new(), catalog_end: 0, days_end: 0, clocks_end: 0 }
    }

    fn end(&mut self, origin: Origin) -> &mut u64 {
        match origin {
            Origin::Catalog => &mut self.catalog_end,
            Origin::Days => &mut self.days_end,
            Origin::Clocks => &mut self.clocks_end,
        }
    }

    /// Takes note of all subjects of a stream. Returns its last message, unless it is a clock or there is none.
    pub fn read(&mut self, origin: Origin, ends: Ends) -> Option<Arrival> {
        let last = ends.iter().max_by_key(|(_, end)| *end).cloned();
        *self.end(origin) = last.as_ref().map_or(0, |(_, end)| *end);
        self.ends.extend(ends);
        last.and_then(|(subject, end)| self.arrival(origin, &subject, end))
    }

    /// The messages by which a definition reaches everyone it concerns: a tenant's own partition, or all of them.
    pub fn definition(&self, definition: &Definition) -> Vec<Outgoing> {
        match definition.tenant() {
            Some(tenant) => {
                vec![self.definition_for(Partition::of(tenant.as_str(), self.partitions), definition)]
            }
            None => {
                Partition::all(self.partitions).map(|partition| self.definition_for(partition, definition)).collect()
            }
        }
    }

    /// The message by which a definition reaches one partition.
    pub fn definition_for(&self, partition: Partition, definition: &Definition) -> Outgoing {
        let subject = self.subjects.catalog(partition, definition.what(), definition.name());
        self.outgoing(Origin::Catalog, subject, json(definition))
    }

    /// The broadcast of a marker.
    pub fn marker(&self, marker: &DayMarker) -> Outgoing {
        let tenant = marker.tenant.as_str();
        let subject = match marker.edge {
            Edge::Opened => self.subjects.day_opened(tenant),
            Edge::Closed => self.subjects.day_closed(tenant),
        };
        self.outgoing(Origin::Days, subject, json(marker))
    }

    /// The message that says where a clock stands.
    pub fn clock(&self, clock: &Name, now: Instant) -> Outgoing {
        self.outgoing(Origin::Clocks, self.subjects.clock(clock.as_str()), now.to_string().into())
    }

    fn outgoing(&self, origin: Origin, subject: String, payload: Bytes) -> Outgoing {
        let expected = self.ends.get(&subject).copied().unwrap_or(0);
        Outgoing { origin, subject, expected, payload }
    }

    /// Whether a definition of that name was published behind a sequence of CATALOG.
    pub fn is_newer_than(&self, seen: u64, what: &str, name: &str) -> bool {
        let mut partitions = Partition::all(self.partitions);
        partitions.any(|partition| {
            self.ends.get(&self.subjects.catalog(partition, what, name)).is_some_and(|end| *end > seen)
        })
    }

    fn arrival(&self, origin: Origin, subject: &str, sequence: u64) -> Option<Arrival> {
        let subjects = &self.subjects;
        let (partition, inbox_subject) = match origin {
            Origin::Days => {
                let [tenant, edge] = subjects.parse_day(subject)?;
                let partition = Partition::of(tenant, self.partitions);
                (partition, subjects.inbox_day(partition, tenant, edge))
            }
            Origin::Catalog => {
                let (partition, [what, name]) = subjects.parse_catalog(subject)?;
                (partition, subjects.inbox_catalog(partition, what, name))
            }
            Origin::Clocks => return None,
        };
        Some(Arrival { origin, sequence, partition, inbox_subject })
    }

    /// Takes note of messages of one stream that were stored at these sequences. Returns the last of them in the stream's order,
    /// unless they are clocks.
    ///
    /// # Errors
    /// When another day-manager has published a definition in between: what follows may rest on it.
    pub fn published(&mut self, messages: Vec<Outgoing>, sequences: Vec<u64>) -> Result<Option<Arrival>, PublishError> {
        let count = sequences.len() as u64;
        let stored = messages.into_iter().zip(sequences).map(|(message, sequence)| (sequence, message));
        let mut last: Option<(u64, Origin, String)> = None;
        for (sequence, Outgoing { origin, subject, .. }) in stored {
            self.ends.insert(subject.clone(), sequence);
            if last.as_ref().is_none_or(|(known, ..)| *known < sequence) {
                last = Some((sequence, origin, subject));
            }
        }
        let Some((sequence, origin, subject)) = last else { return Ok(None) };
        // A hole in the sequences is someone else's message, which this day-manager has not read. Other tenants' markers and other
        // clocks change nothing: they are read before the next request.
        let end = self.end(origin);
        if sequence == *end + count {
            *end = sequence;
        } else if origin == Origin::Catalog {
            return Err(PublishError::Conflict(subject));
        }
        Ok(self.arrival(origin, &subject, sequence))
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("definitions and markers are plain values").into()
}
