//! What is defined: kinds with their mappings, views, and tenants. Read from the stream CATALOG and kept current.

use crate::problem::{Code, Problem};
use daybook_domain::catalogue::{Definition, Kind, Removal, Tenant, View};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::nearest::nearest;
use daybook_mapping::{Mapper, Zones};
use daybook_runtime::connection::Connection;
use daybook_runtime::definitions::DefinitionsReader;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a name that is not known is waited for: its definition may be on its way from the broker.
const PATIENCE: Duration = Duration::from_millis(300);
/// Most names that a hint lists.
const MAX_LISTED: usize = 12;

/// A kind, and its mappings compiled.
#[derive(Debug)]
pub(crate) struct KnownKind {
    pub kind: Kind,
    mappers: BTreeMap<Name, Mapper>,
}

impl KnownKind {
    /// Compiles the mappings. day-manager has checked them, so one that cannot be compiled is of a newer version.
    pub(crate) fn new(kind: Kind) -> Self {
        let compile = |mapping: &daybook_domain::mapping::Mapping| match Mapper::compile(mapping, &kind) {
            Ok(mapper) => Some((mapping.name.clone(), mapper)),
            Err(_) => {
                tracing::error!(kind = %kind.name, mapping = %mapping.name, "a mapping cannot be used by this version");
                None
            }
        };
        let mappers = kind.mappings.iter().filter_map(compile).collect();
        Self { kind, mappers }
    }

    /// The mapping of that name.
    pub(crate) fn mapper(&self, name: &str) -> Option<&Mapper> {
        self.mappers.get(name)
    }

    /// The mapping of that name, or a refusal that tells which there are.
    ///
    /// # Errors
    /// [`Code::UnknownMapping`].
    pub(crate) fn find_mapper(&self, name: &str) -> Result<&Mapper, Problem> {
        self.mapper(name).ok_or_else(|| {
            let kind = &self.kind.name;
            Problem::new(Code::UnknownMapping, format!("the kind {kind} has no mapping {name:?}"))
                .field("mapping")
                .hint(which(name, self.mappers.keys().map(Name::as_str), "mapping"))
        })
    }
}

/// A hint that lists names, or the one that was meant.
fn which<'a>(wanted: &str, names: impl Iterator<Item = &'a str> + Clone, what: &str) -> String {
    if let Some(meant) = nearest(wanted, names.clone()) {
        return format!("did you mean {meant}?");
    }
    let listed: Vec<_> = names.take(MAX_LISTED).collect();
    match listed.is_empty() {
        true => format!("there is no {what} yet"),
        false => format!("there are {}", listed.join(", ")),
    }
}

#[derive(Default)]
struct Known {
    kinds: BTreeMap<Name, Arc<KnownKind>>,
    views: BTreeMap<Name, Arc<View>>,
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    /// Whoever maps holds one, and the lock no longer than it takes to get it. A change makes another one if somebody does.
    zones: Arc<Zones>,
}

/// The definitions in force. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Definitions {
    known: Arc<RwLock<Known>>,
    /// Whether everything was read that there was at the start; told again with each change.
    is_level: watch::Receiver<bool>,
}

impl Definitions {
    /// Reads the definitions, and goes on reading until `stop`.
    pub(crate) fn follow(connection: Connection, stop: CancellationToken) -> Self {
        let known = Arc::<RwLock<Known>>::default();
        let (sender, is_level) = watch::channel(false);
        let reading = read(connection, known.clone(), sender);
        tokio::spawn(async move {
            tokio::select! {
                () = reading => {}
                () = stop.cancelled() => {}
            }
        });
        Self { known, is_level }
    }

    /// Returns once everything was read that there was at the start.
    pub(crate) async fn level(&self) {
        // The sender ends with the process.
        let _ = self.is_level.clone().wait_for(|is_level| *is_level).await;
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// [`Code::UnknownKind`], or [`Code::Unavailable`] while definitions are read.
    pub(crate) async fn kind(&self, name: &str) -> Result<Arc<KnownKind>, Problem> {
        let found = self.find(|known| known.kinds.get(name).cloned()).await?;
        found.ok_or_else(|| {
            let known = self.read();
            Problem::new(Code::UnknownKind, format!("there is no kind {name:?}")).field("kind").hint(which(
                name,
                known.kinds.keys().map(Name::as_str),
                "kind",
            ))
        })
    }

    /// The tenant of that id.
    ///
    /// # Errors
    /// [`Code::UnknownTenant`], or [`Code::Unavailable`] while definitions are read.
    pub(crate) async fn tenant(&self, tenant: &TenantId) -> Result<Arc<Tenant>, Problem> {
        let found = self.find(|known| known.tenants.get(tenant).cloned()).await?;
        found.ok_or_else(|| unknown_tenant(tenant))
    }

    /// Checks that there still is such a tenant, without waiting.
    ///
    /// # Errors
    /// [`Code::UnknownTenant`].
    pub(crate) fn check_tenant(&self, tenant: &TenantId) -> Result<(), Problem> {
        self.read().tenants.contains_key(tenant).then_some(()).ok_or_else(|| unknown_tenant(tenant))
    }

    /// The time zones of tenants, without waiting.
    pub(crate) fn zones(&self) -> Arc<Zones> {
        self.read().zones.clone()
    }

    /// The tenants that `wanted` picks, in the order of their ids.
    pub(crate) fn tenants(&self, wanted: impl Fn(&Tenant) -> bool) -> Vec<Arc<Tenant>> {
        self.read().tenants.values().filter(|tenant| wanted(tenant)).cloned().collect()
    }

    /// The kinds, by name.
    pub(crate) fn kinds(&self) -> Vec<Arc<KnownKind>> {
        self.read().kinds.values().cloned().collect()
    }

    /// The newest definitions of the views, by name; one may still be backfilled.
    pub(crate) fn views(&self) -> Vec<Arc<View>> {
        self.read().views.values().cloned().collect()
    }

    async fn find<T>(&self, look: impl Fn(&Known) -> Option<T>) -> Result<Option<T>, Problem> {
        let mut changes = self.is_level.clone();
        let appears = async {
            loop {
                let is_level = *changes.borrow_and_update();
                if let Some(found) = look(&self.read()) {
                    return Some(found);
                }
                if changes.changed().await.is_err() && !is_level {
                    return None;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, appears).await {
            Ok(found) => Ok(found),
            Err(_) if *self.is_level.borrow() => Ok(None),
            Err(_) => Err(Problem::new(Code::Unavailable, "the definitions are still being read from the broker")),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No hint: ids of tenants are for those who know them.
fn unknown_tenant(tenant: &TenantId) -> Problem {
    Problem::new(Code::UnknownTenant, format!("there is no tenant {tenant}")).field("tenant")
}

/// Reads for ever.
async fn read(connection: Connection, known: Arc<RwLock<Known>>, is_level: watch::Sender<bool>) {
    let mut reader = DefinitionsReader::open(&connection, &["kind", "view"]).await;
    loop {
        if reader.is_level() {
            is_level.send_replace(true);
        }
        match reader.next().await {
            Ok(Some(definition)) => known.write().unwrap_or_else(PoisonError::into_inner).define(definition),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a definition is left as it was"),
        }
    }
}

impl Known {
    fn define(&mut self, definition: Definition) {
        match definition {
            Definition::Kind(kind) => {
                self.kinds.insert(kind.name.clone(), Arc::new(KnownKind::new(kind)));
            }
            Definition::Tenant(tenant) => {
                Arc::make_mut(&mut self.zones).define(&tenant.id, &tenant.calendar);
                self.tenants.insert(tenant.id.clone(), Arc::new(tenant));
            }
            Definition::View(view) => {
                self.views.insert(view.name.clone(), Arc::new(view));
            }
            Definition::Removal(Removal::Kind { name, .. }) => drop(self.kinds.remove(&name)),
            Definition::Removal(Removal::View { name, .. }) => drop(self.views.remove(&name)),
            Definition::Removal(Removal::Tenant { id, .. }) => {
                Arc::make_mut(&mut self.zones).remove(&id);
                self.tenants.remove(&id);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::catalogue::{Mode, Tenant};

    fn kind(name: &Name, revision: u64) -> Definition {
        let (mode, name) = (Mode::Fact, name.clone());
        let (dimensions, measures, mappings) = Default::default();
        Definition::Kind(Kind { name, mode, dimensions, measures, revision, mappings, remember: None })
    }

    fn tenant(id: &TenantId, generation: u32) -> Definition {
        let json = serde_json::json!({"id": id, "revision": 1, "generation": generation, "first_day": "2026-01-01", "clock": "system",
            "calendar": [{"from": "2026-01-01", "zone": "Europe/Zurich", "cutoff_minutes": 0}]});
        Definition::Tenant(serde_json::from_value::<Tenant>(json).unwrap())
    }

    #[test]
    fn what_is_removed_is_unknown_until_it_is_defined_again() {
        let (order, acme) = (Name::new("order").unwrap(), TenantId::new("acme").unwrap());
        let mut known = Known::default();
        for round in 0..2 {
            known.define(kind(&order, 1));
            known.define(tenant(&acme, round));
            assert!(known.kinds.contains_key(&order) && known.tenants.contains_key(&acme));
            known.define(Definition::Removal(Removal::Kind { name: order.clone(), revision: 2 }));
            assert!(!known.kinds.contains_key(&order) && known.tenants.contains_key(&acme));
            let id = acme.clone();
            known.define(Definition::Removal(Removal::Tenant { id, revision: 2, generation: round, purge: false }));
            assert!(known.tenants.is_empty());
        }
    }
}
