//! What follows from what was published: the catalogue, the days and the clocks. Pure.

use crate::publication::Ends;
use crate::registry::Registry;
use crate::schedule::Observed;
use daybook_contracts::day::DayMarker;
use daybook_domain::catalogue::{Activation, Clocks, Definition, Removal, View};
use daybook_domain::ids::{Name, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::append::Newest;
use std::collections::BTreeMap;

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
        Definition::Group(group) => group.revision,
        Definition::Removal(removal) => removal.revision(),
        Definition::Activation(_) => 0,
    }
}

fn with_revision(mut definition: Definition, revision: u64) -> Definition {
    match &mut definition {
        Definition::Kind(kind) => kind.revision = revision,
        Definition::View(view) => view.revision = revision,
        Definition::Calendar(table) => table.revision = revision,
        Definition::Tenant(tenant) => tenant.revision = revision,
        Definition::Group(group) => group.revision = revision,
        Definition::Removal(removal) => *removal.revision_mut() = revision,
        Definition::Activation(_) => {}
    }
    definition
}

/// What is read of a stream: by subject, how it ends and the newest that a day-manager wrote there.
pub type Read<T> = Vec<(String, Newest<T>)>;

/// What the streams say.
#[derive(Clone, Debug)]
pub struct Streams {
    pub catalog: Read<(Partition, Definition)>,
    pub days: Read<DayMarker>,
    pub clocks: Read<(Name, Instant)>,
}

/// The subjects of what was read, with their last sequences.
pub(crate) fn ends<T>(read: &Read<T>) -> Ends {
    read.iter().map(|(subject, newest)| (subject.clone(), newest.end)).collect()
}

/// What was read, without what nobody of ours wrote.
pub(crate) fn found<T>(read: Read<T>) -> Vec<T> {
    read.into_iter().filter_map(|(_, newest)| Some(newest.found?.value)).collect()
}

/// What follows from the last messages of each subject.
pub struct Assembled {
    pub registry: Registry,
    /// Definitions that did not reach these partitions.
    pub repairs: Vec<(Partition, Definition)>,
    /// What cannot be used, for whoever runs this.
    pub troubles: Vec<String>,
}

/// What follows from the last definition of each subject of CATALOG, the last marker of each of DAYS, and where the clocks
/// stand.
pub fn assemble(
    catalog: Vec<(Partition, Definition)>,
    days: &[DayMarker],
    clocks: Clocks,
    partitions: u16,
) -> Assembled {
    let mut registry = Registry { clocks, ..Registry::default() };
    let (shared, activations) = collect(catalog);
    for (partition, activation) in &activations {
        registry.activate(*partition, activation);
    }
    let (mut repairs, mut troubles) = (Vec::new(), Vec::new());
    for definition in shared {
        if definition.definition.tenant().is_none() {
            repairs.extend(
                Partition::all(partitions)
                    .filter(|partition| definition.partitions.get(partition) != Some(&definition.definition))
                    .map(|partition| (partition, definition.definition.clone())),
            );
        }
        if let Err(error) = registry.adopt(definition.definition) {
            troubles.push(format!("a published definition cannot be used: {error}"));
        }
    }
    // Another day-manager may have removed the kind while this view was on its way.
    let is_orphan = |view: &&View| !registry.kinds.contains_key(&view.kind);
    let orphans: Vec<View> = registry.views.values().filter(is_orphan).cloned().collect();
    for View { name, revision, .. } in orphans {
        let removal = Definition::Removal(Removal::View { name, revision: revision + 1 });
        repairs.extend(Partition::all(partitions).map(|partition| (partition, removal.clone())));
        if let Err(error) = registry.adopt(removal) {
            troubles.push(format!("a view without a kind cannot be removed: {error}"));
        }
    }
    for marker in days {
        if registry.schedule.observe(marker) == Observed::Contradicts {
            let (tenant, date) = (&marker.tenant, marker.day.date);
            troubles.push(format!("{date}, as it is published, contradicts the calendar of tenant {tenant}"));
        }
    }
    Assembled { registry, repairs, troubles }
}

/// The newest revision of every definition: kinds, then views, calendars, tenants and groups, as each needs the ones
/// before.
/// And what was activated where, which differs between partitions.
fn collect(catalog: Vec<(Partition, Definition)>) -> (Vec<Shared>, Vec<(Partition, Activation)>) {
    let mut activations = Vec::new();
    let mut newest: BTreeMap<(u8, String), Shared> = BTreeMap::new();
    for (partition, definition) in catalog {
        let rank = match &definition {
            Definition::Kind(_) | Definition::Removal(Removal::Kind { .. }) => 0,
            Definition::View(_) | Definition::Removal(Removal::View { .. }) => 1,
            Definition::Calendar(_) => 2,
            Definition::Tenant(_) | Definition::Removal(Removal::Tenant { .. }) => 3,
            Definition::Group(_) | Definition::Removal(Removal::Group { .. }) => 4,
            Definition::Activation(activation) => {
                activations.push((partition, activation.clone()));
                continue;
            }
        };
        let key = (rank, definition.name().to_owned());
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
        shared.partitions.insert(partition, definition);
    }
    newest.values_mut().for_each(Shared::settle);
    (newest.into_values().collect(), activations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::calendar::CalendarTable;
    use daybook_domain::catalogue::{Kind, Mode};
    use daybook_domain::time::Date;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn kind(revision: u64, mode: Mode) -> Definition {
        Definition::Kind(Kind {
            name: name("k"),
            mode,
            dimensions: vec![],
            measures: vec![],
            revision,
            mappings: vec![],
            remember: None,
        })
    }

    #[test]
    fn activations_are_kept_apart_by_partition() {
        let activation = |revision| Activation { view: name("v"), revision, since: None };
        let (one, two) = (kind(1, Mode::Fact), kind(2, Mode::Fact));
        let (shared, activations) = collect(vec![
            (Partition(0), Definition::Activation(activation(2))),
            (Partition(0), one.clone()),
            (Partition(3), Definition::Activation(activation(1))),
            (Partition(3), two.clone()),
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
        let catalog = vec![(Partition(0), one.clone()), (Partition(1), two.clone())];
        assert_eq!(
            assemble(catalog, &[], Clocks::new(), 3).repairs,
            [(Partition(0), two.clone()), (Partition(2), two)]
        );
    }

    #[test]
    fn a_removal_that_did_not_reach_a_partition_is_repaired_and_the_last_word() {
        let removal = Definition::Removal(Removal::Kind { name: name("k"), revision: 2 });
        let catalog = vec![(Partition(0), removal.clone()), (Partition(1), kind(1, Mode::Fact))];
        let Assembled { registry, repairs, .. } = assemble(catalog, &[], Clocks::new(), 2);
        assert_eq!(repairs, [(Partition(1), removal)]);
        assert!(registry.kinds.is_empty() && registry.removed.len() == 1);
    }

    #[test]
    fn a_view_whose_kind_was_removed_meanwhile_goes_too() {
        let removal = Definition::Removal(Removal::Kind { name: name("k"), revision: 2 });
        let view = Definition::View(View { revision: 4, ..View::new(name("v"), name("k"), vec![], vec![]) });
        let Assembled { registry, repairs, .. } =
            assemble(vec![(Partition(0), removal), (Partition(0), view)], &[], Clocks::new(), 1);
        let gone = Definition::Removal(Removal::View { name: name("v"), revision: 5 });
        assert_eq!((repairs, registry.views.len()), (vec![(Partition(0), gone)], 0));
    }

    #[test]
    fn rivals_of_one_revision_are_followed_by_one_of_the_next() {
        let (one, other) = (kind(2, Mode::Fact), kind(2, Mode::Entity));
        let catalog = vec![(Partition(0), one.clone()), (Partition(1), other.clone())];
        let next = kind(3, Mode::Fact);
        assert_eq!(
            assemble(catalog, &[], Clocks::new(), 2).repairs,
            [(Partition(0), next.clone()), (Partition(1), next)]
        );

        let table = |revision, hours: &[i64]| {
            Definition::Calendar(CalendarTable {
                name: name("c"),
                revision,
                tzdb: "test".into(),
                first: Date::from_days(0),
                cutoffs: hours.iter().map(|hour| Instant::from_millis(hour * 3_600_000)).collect(),
                offsets: Vec::new(),
            })
        };
        let catalog = vec![(Partition(0), table(5, &[0, 24])), (Partition(1), table(5, &[0, 24, 48]))];
        let next = table(6, &[0, 24, 48]);
        assert_eq!(
            assemble(catalog, &[], Clocks::new(), 2).repairs,
            [(Partition(0), next.clone()), (Partition(1), next)]
        );
    }
}
