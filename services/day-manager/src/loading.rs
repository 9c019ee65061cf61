//! Reads back what was published: the catalogue, the days and the clocks.

use crate::publishing::{Arrival, Outgoing, Publisher, describe};
use crate::registry::Registry;
use crate::schedule::Observed;
use daybook_contracts::day::DayMarker;
use daybook_domain::catalogue::{Activation, Clocks, Definition};
use daybook_domain::ids::{Name, Partition};
use daybook_runtime::connection::Connection;
use daybook_runtime::reader::{Delivered, read_last_per_subject};
use std::collections::BTreeMap;

/// What a day-manager begins with.
pub struct Loaded {
    pub registry: Registry,
    pub publisher: Publisher,
    /// Definitions that did not reach every partition, because a day-manager ended half-way.
    pub repairs: Vec<Outgoing>,
    /// The last messages of CATALOG and DAYS, which may still be on their way to INBOX.
    pub unarrived: Vec<(u64, Arrival)>,
}

/// A definition's newest revision, and what each partition has.
struct Shared {
    definition: Definition,
    revision: u64,
    partitions: BTreeMap<Partition, Definition>,
}

impl Shared {
    /// Two day-managers at once can have left partitions with different definitions of one revision, each refusing the
    /// other's second half. Then one of them becomes the next revision everywhere: of calendars the longest, for
    /// published days stay; of others that of the first partition.
    fn settle(&mut self) {
        let rivals = self.partitions.values().filter(|rival| revision_of(rival) == self.revision);
        if rivals.clone().all(|rival| *rival == self.definition) {
            return;
        }
        let length = |rival: &Definition| match rival {
            Definition::Calendar(table) => table.cutoffs.len(),
            _ => 0,
        };
        let longest = rivals.clone().map(length).max().unwrap_or(0);
        let chosen = rivals.into_iter().find(|rival| length(rival) == longest).unwrap_or(&self.definition);
        self.definition = with_revision(chosen.clone(), self.revision + 1);
        self.revision += 1;
    }
}

/// 0 for activations, which are revised by none.
fn revision_of(definition: &Definition) -> u64 {
    match definition {
        Definition::Kind(kind) => kind.revision,
        Definition::View(view) => view.revision,
        Definition::Calendar(table) => table.revision,
        Definition::Tenant(tenant) => tenant.revision,
        Definition::Activation(_) => 0,
    }
}

fn with_revision(mut definition: Definition, revision: u64) -> Definition {
    match &mut definition {
        Definition::Kind(kind) => kind.revision = revision,
        Definition::View(view) => view.revision = revision,
        Definition::Calendar(table) => table.revision = revision,
        Definition::Tenant(tenant) => tenant.revision = revision,
        Definition::Activation(_) => {}
    }
    definition
}

/// Reads everything.
pub async fn load(connection: &Connection) -> Loaded {
    let subjects = &connection.subjects;
    let catalog = read_last_per_subject(connection, subjects.catalog_stream(), subjects.every_catalog()).await;
    let days = read_last_per_subject(connection, subjects.days_stream(), subjects.every_day()).await;
    let clocks = read_last_per_subject(connection, subjects.clocks_stream(), subjects.clock("*")).await;

    let publisher = Publisher::new(connection.clone(), &catalog, &days, &clocks);
    let Assembled { registry, repairs } = assemble(&catalog, &days, &clocks, connection.partitions);
    let repairs =
        repairs.iter().map(|(partition, definition)| publisher.definition_for(*partition, definition)).collect();
    let last = |messages: &[Delivered]| {
        let message = messages.iter().max_by_key(|message| message.sequence)?;
        Some((message.sequence, publisher.arrival(message.subject.as_str())?))
    };
    let unarrived = [last(&catalog), last(&days)].into_iter().flatten().collect();
    Loaded { registry, publisher, repairs, unarrived }
}

/// Reads where the clocks stand, for one that knows everything else.
pub async fn load_clocks(connection: &Connection, publisher: &mut Publisher) -> Clocks {
    let subjects = &connection.subjects;
    let clocks = read_last_per_subject(connection, subjects.clocks_stream(), subjects.clock("*")).await;
    publisher.read_clocks(&clocks);
    clocks_of(&clocks)
}

/// What follows from the last messages of each subject.
pub struct Assembled {
    pub registry: Registry,
    /// Definitions that did not reach these partitions.
    pub repairs: Vec<(Partition, Definition)>,
}

/// What follows from the last message of each subject of CATALOG, of DAYS and of CLOCKS. Pure.
pub fn assemble(catalog: &[Delivered], days: &[Delivered], clocks: &[Delivered], partitions: u16) -> Assembled {
    let mut registry = Registry { clocks: clocks_of(clocks), ..Registry::default() };
    let (shared, activations) = collect(catalog);
    for (partition, activation) in &activations {
        registry.activate(*partition, activation);
    }
    let mut repairs = Vec::new();
    for definition in shared {
        if !matches!(definition.definition, Definition::Tenant(_)) {
            repairs.extend(
                Partition::all(partitions)
                    .filter(|partition| definition.partitions.get(partition) != Some(&definition.definition))
                    .map(|partition| (partition, definition.definition.clone())),
            );
        }
        if let Err(error) = registry.adopt(definition.definition) {
            tracing::error!(error, "a published definition cannot be used");
        }
    }
    for message in days {
        match serde_json::from_slice::<DayMarker>(&message.payload) {
            Ok(marker) => {
                if registry.schedule.observe(&marker) == Observed::Contradicts {
                    tracing::error!(subject = %message.subject, "a published day contradicts the tenant's calendar");
                }
            }
            Err(error) => tracing::error!(subject = %message.subject, %error, "a day marker that cannot be read"),
        }
    }
    Assembled { registry, repairs }
}

/// The newest revision of every definition: kinds, then views, calendars and tenants, as each needs the ones before.
/// And what was activated where, which differs between partitions.
fn collect(catalog: &[Delivered]) -> (Vec<Shared>, Vec<(Partition, Activation)>) {
    let mut activations = Vec::new();
    let mut newest: BTreeMap<(u8, String), Shared> = BTreeMap::new();
    for message in catalog {
        let definition: Definition = match serde_json::from_slice(&message.payload) {
            Ok(definition) => definition,
            Err(error) => {
                tracing::error!(subject = %message.subject, %error, "a definition that cannot be read");
                continue;
            }
        };
        // `<prefix>.catalog.<partition>.<what>.<name>`
        let token = message.subject.as_str().split('.').nth(2);
        let partition: Option<Partition> = token.and_then(|token| token.parse().ok()).map(Partition);
        let rank = match &definition {
            Definition::Kind(_) => 0,
            Definition::View(_) => 1,
            Definition::Calendar(_) => 2,
            Definition::Tenant(_) => 3,
            Definition::Activation(activation) => {
                activations.extend(partition.map(|partition| (partition, activation.clone())));
                continue;
            }
        };
        let key = (rank, describe(&definition).1.to_owned());
        let revision = revision_of(&definition);
        let shared = newest.entry(key).or_insert_with(|| Shared {
            definition: definition.clone(),
            revision,
            partitions: BTreeMap::new(),
        });
        if revision > shared.revision {
            shared.definition = definition.clone();
            shared.revision = revision;
        }
        shared.partitions.extend(partition.map(|partition| (partition, definition)));
    }
    newest.values_mut().for_each(Shared::settle);
    (newest.into_values().collect(), activations)
}

fn clocks_of(messages: &[Delivered]) -> Clocks {
    messages
        .iter()
        .filter_map(|message| {
            let name = message.subject.as_str().rsplit('.').next()?;
            let instant = std::str::from_utf8(&message.payload).ok()?.parse().ok()?;
            Some((Name::new(name).ok()?, instant))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderMap;
    use daybook_domain::calendar::CalendarTable;
    use daybook_domain::catalogue::{Kind, Mode};
    use daybook_domain::time::{Date, Instant};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn kind(revision: u64, mode: Mode) -> Definition {
        Definition::Kind(Kind { name: name("k"), mode, dimensions: vec![], measures: vec![], revision })
    }

    fn message(subject: &str, definition: &Definition) -> Delivered {
        Delivered {
            stored_at: Instant::from_millis(0),
            sequence: 1,
            subject: subject.into(),
            headers: HeaderMap::new(),
            payload: serde_json::to_vec(definition).unwrap().into(),
            pending: 0,
        }
    }

    #[test]
    fn activations_are_kept_apart_by_partition() {
        let activation = |revision| Activation { view: name("v"), revision, since: None };
        let (one, two) = (kind(1, Mode::Fact), kind(2, Mode::Fact));
        let (shared, activations) = collect(&[
            message("x.catalog.0.activation.v", &Definition::Activation(activation(2))),
            message("x.catalog.0.kind.k", &one),
            message("x.catalog.3.activation.v", &Definition::Activation(activation(1))),
            message("x.catalog.3.kind.k", &two),
        ]);
        assert_eq!(activations, [(Partition(0), activation(2)), (Partition(3), activation(1))]);
        assert_eq!(shared.len(), 1);
        assert_eq!(
            (&shared[0].definition, &shared[0].partitions),
            (&two, &BTreeMap::from([(Partition(0), one), (Partition(3), two.clone())]))
        );
    }

    #[test]
    fn what_did_not_reach_a_partition_is_repaired() {
        let (one, two) = (kind(1, Mode::Fact), kind(2, Mode::Fact));
        let catalog = [message("x.catalog.0.kind.k", &one), message("x.catalog.1.kind.k", &two)];
        assert_eq!(assemble(&catalog, &[], &[], 3).repairs, [(Partition(0), two.clone()), (Partition(2), two)]);
    }

    #[test]
    fn rivals_of_one_revision_are_followed_by_one_of_the_next() {
        let (one, other) = (kind(2, Mode::Fact), kind(2, Mode::Entity));
        let catalog = [message("x.catalog.0.kind.k", &one), message("x.catalog.1.kind.k", &other)];
        let next = kind(3, Mode::Fact);
        assert_eq!(assemble(&catalog, &[], &[], 2).repairs, [(Partition(0), next.clone()), (Partition(1), next)]);

        let table = |revision, hours: &[i64]| {
            Definition::Calendar(CalendarTable {
                name: name("c"),
                revision,
                tzdb: "test".into(),
                first: Date::from_days(0),
                cutoffs: hours.iter().map(|hour| Instant::from_millis(hour * 3_600_000)).collect(),
            })
        };
        let catalog = [
            message("x.catalog.0.calendar.c", &table(5, &[0, 24])),
            message("x.catalog.1.calendar.c", &table(5, &[0, 24, 48])),
        ];
        let next = table(6, &[0, 24, 48]);
        assert_eq!(assemble(&catalog, &[], &[], 2).repairs, [(Partition(0), next.clone()), (Partition(1), next)]);
    }
}
