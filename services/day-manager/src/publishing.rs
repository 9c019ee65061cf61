//! Publishing definitions and markers, each on the condition that its subject stands where this day-manager left it.
//! Two of them at once do no harm: the loser's publish fails, and it reads everything anew.

use crate::failure::{Failure, PublishError};
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::headers::{self, Source};
use daybook_contracts::log::Marks;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::Partition;
use daybook_runtime::append::{Appended, append, last_message, stream_handle};
use daybook_runtime::connection::Connection;
use daybook_runtime::log;
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::time::Duration;

/// Publishes under way at once.
const IN_FLIGHT: usize = 256;
/// How long a published message may take to come through to INBOX before its asker is told that it does not. The broker needs
/// milliseconds, and some seconds when a leader has just gone; the command line waits 8 s for a reply.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(5);

/// A message to be published, and where it will appear in INBOX.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub subject: String,
    pub payload: Bytes,
    pub arrival: Arrival,
}

/// How to see that a message has come through to INBOX.
#[derive(Clone, Debug)]
pub struct Arrival {
    partition: Partition,
    inbox_subject: String,
    /// By what ingest tells how far it has taken the origin in.
    mark: Mark,
}

/// The stream that a message comes to INBOX from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Catalog,
    Days,
}

impl Mark {
    fn of(self, marks: Marks) -> u64 {
        match self {
            Self::Catalog => marks.catalog,
            Self::Days => marks.days,
        }
    }
}

impl Arrival {
    /// Whether it is of a definition, rather than of a day.
    pub fn is_of_catalog(&self) -> bool {
        self.mark == Mark::Catalog
    }
}

/// Subjects, each with the sequence of its last message, whoever wrote that.
pub type Ends = Vec<(String, u64)>;

/// What is known of the subjects that this day-manager publishes on.
pub struct Publisher {
    connection: Connection,
    /// The sequence of each subject's last message.
    ends: HashMap<String, u64>,
    /// The last sequence of CATALOG, of DAYS and of CLOCKS up to which this day-manager knows everything.
    catalog_end: u64,
    days_end: u64,
    clocks_end: u64,
}

impl Publisher {
    /// A publisher that knows these subjects of CATALOG, of DAYS and of CLOCKS by their last sequences.
    pub fn new(connection: Connection, catalog: Ends, days: Ends, clocks: Ends) -> Self {
        let ends = HashMap::new();
        let mut publisher = Self { connection, ends, catalog_end: 0, days_end: 0, clocks_end: 0 };
        publisher.catalog_end = publisher.read(catalog);
        publisher.days_end = publisher.read(days);
        publisher.read_clocks(clocks);
        publisher
    }

    /// Takes note of the subjects of CLOCKS.
    pub fn read_clocks(&mut self, clocks: Ends) {
        self.clocks_end = self.read(clocks);
    }

    /// Takes note of subjects, and returns the last sequence of all.
    fn read(&mut self, ends: Ends) -> u64 {
        let mut last = 0;
        for (subject, end) in ends {
            last = last.max(end);
            self.ends.insert(subject, end);
        }
        last
    }

    /// Whether nobody else has published on CATALOG or DAYS since.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn is_current(&self) -> Result<bool, Failure> {
        let subjects = &self.connection.subjects;
        Ok(self.last_sequence(&subjects.catalog_stream()).await? == self.catalog_end
            && self.last_sequence(&subjects.days_stream()).await? == self.days_end)
    }

    /// Whether nobody else has moved a clock since. One that is moved past nothing that is due leaves DAYS as it was.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn knows_clocks(&self) -> Result<bool, Failure> {
        Ok(self.last_sequence(&self.connection.subjects.clocks_stream()).await? == self.clocks_end)
    }

    async fn last_sequence(&self, stream: &str) -> Result<u64, Failure> {
        let look = async { Ok(stream_handle(&self.connection, stream).await?.get_info().await?.state.last_sequence) };
        look.await.map_err(|source| Failure::Look { stream: stream.to_owned(), source })
    }

    /// Stores where a clock stands, on the condition that nobody else has moved it.
    ///
    /// # Errors
    /// When another day-manager is at work or the broker is in trouble.
    pub async fn store_clock(&mut self, clock: &str, now: &str) -> Result<(), PublishError> {
        let subject = self.connection.subjects.clock(clock);
        let expected = self.ends.get(&subject).copied().unwrap_or(0);
        let payload = Bytes::copy_from_slice(now.as_bytes());
        match append(&self.connection, &subject, expected, HeaderMap::new(), payload).await {
            Appended::At(sequence) => {
                self.ends.insert(subject, sequence);
                // After a hole, which is a clock that someone else moved, they are read anew.
                if sequence == self.clocks_end + 1 {
                    self.clocks_end = sequence;
                }
                Ok(())
            }
            Appended::Conflict => Err(PublishError::Conflict(subject)),
            Appended::Unclear(source) => Err(PublishError::Unclear { subject, source }),
        }
    }

    /// The messages by which a definition reaches everyone it concerns: a tenant's own partition, or all of them.
    pub fn definition(&self, definition: &Definition) -> Vec<Outgoing> {
        let (what, name) = (definition.what(), definition.name());
        let count = self.connection.partitions;
        match definition.tenant() {
            Some(tenant) => vec![self.definition_for(Partition::of(tenant.as_str(), count), definition)],
            None => Partition::all(count).map(|partition| self.definition_for(partition, definition)).collect(),
        }
        .into_iter()
        .inspect(|outgoing| tracing::debug!(what, name, subject = outgoing.subject, "publishing a definition"))
        .collect()
    }

    /// Whether a definition of that name was published behind a sequence of CATALOG.
    pub fn is_newer_than(&self, seen: u64, what: &str, name: &str) -> bool {
        let subjects = &self.connection.subjects;
        Partition::all(self.connection.partitions)
            .any(|partition| self.ends.get(&subjects.catalog(partition, what, name)).is_some_and(|end| *end > seen))
    }

    /// The message by which a definition reaches one partition.
    pub fn definition_for(&self, partition: Partition, definition: &Definition) -> Outgoing {
        let subjects = &self.connection.subjects;
        let (what, name) = (definition.what(), definition.name());
        self.outgoing(subjects.catalog(partition, what, name), definition)
    }

    /// The broadcast of a marker.
    pub fn marker(&self, marker: &DayMarker) -> Outgoing {
        let subjects = &self.connection.subjects;
        let tenant = marker.tenant.as_str();
        let subject = match marker.edge {
            Edge::Opened => subjects.day_opened(tenant),
            Edge::Closed => subjects.day_closed(tenant),
        };
        self.outgoing(subject, marker)
    }

    fn outgoing(&self, subject: String, value: &impl serde::Serialize) -> Outgoing {
        let arrival = self.arrival(&subject).expect("a subject of CATALOG or DAYS");
        Outgoing { subject, payload: json(value), arrival }
    }

    /// How to see that what was published on a subject of CATALOG or DAYS has come through; `None` for other subjects.
    pub fn arrival(&self, subject: &str) -> Option<Arrival> {
        let subjects = &self.connection.subjects;
        let mut tokens = subject.strip_prefix(subjects.prefix())?.split('.').skip(1);
        let (stream, one, two, three) = (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next());
        match (stream, three) {
            ("days", None) => {
                let partition = Partition::of(one, self.connection.partitions);
                Some(Arrival { partition, inbox_subject: subjects.inbox_day(partition, one, two), mark: Mark::Days })
            }
            ("catalog", Some(name)) => {
                let partition = Partition(one.parse().ok()?);
                let inbox_subject = subjects.inbox_catalog(partition, two, name);
                Some(Arrival { partition, inbox_subject, mark: Mark::Catalog })
            }
            _ => None,
        }
    }

    /// Publishes messages on different subjects of one stream, many at once. Returns the last of them in its order.
    ///
    /// # Errors
    /// When another day-manager is at work or the broker is in trouble.
    pub async fn publish(
        &mut self,
        messages: Vec<Outgoing>,
        trace: &HeaderMap,
    ) -> Result<Option<(u64, Arrival)>, PublishError> {
        let connection = &self.connection;
        let ends = &self.ends;
        let stored: Vec<(u64, Outgoing)> = futures::stream::iter(messages)
            .map(|outgoing| async move {
                let expected = ends.get(&outgoing.subject).copied().unwrap_or(0);
                let payload = outgoing.payload.clone();
                match append(connection, &outgoing.subject, expected, trace.clone(), payload).await {
                    Appended::At(sequence) => Ok((sequence, outgoing)),
                    Appended::Conflict => Err(PublishError::Conflict(outgoing.subject)),
                    Appended::Unclear(source) => Err(PublishError::Unclear { subject: outgoing.subject, source }),
                }
            })
            .buffered(IN_FLIGHT)
            .try_collect()
            .await?;
        let mut last: Option<(u64, Arrival)> = None;
        let count = stored.len() as u64;
        for (sequence, outgoing) in stored {
            self.ends.insert(outgoing.subject, sequence);
            if last.as_ref().is_none_or(|(known, _)| *known < sequence) {
                last = Some((sequence, outgoing.arrival));
            }
        }
        if let Some((sequence, arrival)) = &last {
            let end = if arrival.is_of_catalog() { &mut self.catalog_end } else { &mut self.days_end };
            // A hole in the sequences is someone else's message, which this day-manager has not read. What follows may
            // rest on another definition. Other tenants' markers change nothing: they are read before the next request.
            if *sequence == *end + count {
                *end = *sequence;
            } else if arrival.is_of_catalog() {
                return Err(PublishError::Conflict(arrival.inbox_subject.clone()));
            }
        }
        Ok(last)
    }

    /// Waits until the message at `sequence` of its own stream stands in INBOX; all before it then do too.
    ///
    /// # Errors
    /// When it does not come through in time.
    pub async fn arrived(&self, sequence: u64, arrival: &Arrival) -> Result<(), PublishError> {
        let seen = async {
            let mut pause = Duration::from_micros(500);
            while !self.stands_in_inbox(sequence, arrival).await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        tokio::time::timeout(ARRIVAL_DEADLINE, seen)
            .await
            .map_err(|_| PublishError::NotArrived(arrival.inbox_subject.clone()))
    }

    async fn stands_in_inbox(&self, sequence: u64, arrival: &Arrival) -> bool {
        let subjects = &self.connection.subjects;
        let inbox = last_message(&self.connection, &subjects.inbox_stream(), &arrival.inbox_subject).await;
        let source = inbox
            .as_ref()
            .and_then(|message| Source::parse(message.headers.get(headers::STREAM_SOURCE)?.as_str()))
            .map(|source| source.sequence);
        if source.is_some_and(|source| source >= sequence) {
            return true;
        }
        // Recorded and trimmed already? A log that ends with what this version cannot read says nothing.
        let end = log::end(&self.connection, arrival.partition).await;
        end.is_ok_and(|end| arrival.mark.of(end.marks()) >= sequence)
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("definitions and markers are plain values").into()
}
