//! The generation of the tenant that has an id now. Reports, figures, days and answers of an earlier tenant of the id, which was
//! removed, are not its own.
//!
//! CATALOG's leader says which it is, and shards' answers say so too. The newest that is known is kept: for when the leader is
//! silent, and to judge answers that were kept.

use crate::cache::Cache;
use crate::catalogue;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::catalogue::{Definition, Removal};
use daybook_domain::ids::{Partition, TenantId};
use daybook_runtime::connection::Connection;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a look at CATALOG may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// How long it may take when an owner is known already.
const SHORT_LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// Most tenants of which an owner is kept, a few hundred bytes each.
const MAX_KNOWN: usize = 10_000;

/// Whose sealed days are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Those of this generation, also after the tenant was removed without a purge.
    Generation(u32),
    /// Nobody's: the tenant of this generation was removed with all that it had.
    Nobody { removed: u32 },
}

impl Owner {
    /// Whether something of that generation is the tenant's.
    pub fn has(self, generation: u32) -> bool {
        self == Self::Generation(generation)
    }

    /// That of the newest tenant of the id, also when all that it had was removed.
    pub fn generation(self) -> u32 {
        let (Self::Generation(newest) | Self::Nobody { removed: newest }) = self;
        newest
    }
}

impl From<Option<Definition>> for Owner {
    fn from(newest: Option<Definition>) -> Self {
        match newest {
            Some(Definition::Tenant(tenant)) => Self::Generation(tenant.generation),
            Some(Definition::Removal(Removal::Tenant { purge: true, generation, .. })) => {
                Self::Nobody { removed: generation }
            }
            Some(Definition::Removal(Removal::Tenant { generation, .. })) => Self::Generation(generation),
            _ => Self::Generation(0),
        }
    }
}

/// The owners of tenants' ids.
pub struct Owners {
    connection: Connection,
    known: Known,
}

impl Owners {
    pub fn new(connection: Connection) -> Self {
        Self { connection, known: Known::default() }
    }

    /// The owner, as the leader of CATALOG says; the one that is known, while the leader is silent.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when the broker does not answer in time and no owner is known. An owner of
    /// `Nobody` is never taken from memory: a new tenant may have come since.
    pub async fn now(&self, tenant: &TenantId) -> Asked<Owner> {
        let known = self.known.owner(tenant);
        let deadline = if known.is_some() { SHORT_LOOK_DEADLINE } else { LOOK_DEADLINE };
        match tokio::time::timeout(deadline, look(&self.connection, tenant)).await {
            Ok(owner) => owner.inspect(|owner| self.known.put(tenant, *owner)),
            // A shard may have said more meanwhile.
            Err(_) => self.known.owner(tenant).filter(|owner| matches!(owner, Owner::Generation(_))).ok_or_else(|| {
                let stream = self.connection.subjects.catalog_stream();
                AskError::new(AskErrorCode::Unavailable, format!("{stream} cannot be read in time"))
            }),
        }
    }

    /// Whether an answer of that generation may be given, as far as is known.
    pub fn may_own(&self, tenant: &TenantId, generation: u32) -> bool {
        self.known.owner(tenant).is_none_or(|owner| owner.has(generation))
    }

    /// Takes note of the generation of a shard's answer.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when it is that of an earlier tenant: the shard has not read of the removal yet.
    pub fn heard_of(&self, tenant: &TenantId, generation: u32) -> Asked<()> {
        match self.known.hear(tenant, generation) {
            true => Ok(()),
            false => {
                let message = format!("the shard that answered does not know the present tenant {tenant} yet");
                Err(AskError::new(AskErrorCode::Unavailable, message).hint("ask again in a moment"))
            }
        }
    }
}

/// The owners that are known.
struct Known(Mutex<Cache<TenantId, Owner>>);

impl Default for Known {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MAX_KNOWN, usize::MAX)))
    }
}

impl Known {
    fn owner(&self, tenant: &TenantId) -> Option<Owner> {
        self.lock().get(tenant)
    }

    /// The leader's word, which may also go back: CATALOG may have been made anew.
    fn put(&self, tenant: &TenantId, owner: Owner) {
        self.lock().put(tenant.clone(), owner, 0);
    }

    /// Notes the generation of a shard's answer if it is newer than what is known; returns whether the answer is the owner's.
    fn hear(&self, tenant: &TenantId, generation: u32) -> bool {
        let mut known = self.lock();
        let owner = known.get(tenant);
        match owner.filter(|owner| generation <= owner.generation()) {
            Some(owner) => owner.has(generation),
            None => {
                known.put(tenant.clone(), Owner::Generation(generation), 0);
                true
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache<TenantId, Owner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look(connection: &Connection, tenant: &TenantId) -> Asked<Owner> {
    let partition = Partition::of(tenant.as_str(), connection.partitions);
    let subject = connection.subjects.catalog(partition, "tenant", tenant.as_str());
    catalogue::newest(connection, &subject).await.map(Owner::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_answers_for_its_own_days_and_a_removed_one_for_what_it_left() {
        let removed = |purge| {
            let id = TenantId::new("acme").unwrap();
            Some(Definition::Removal(Removal::Tenant { id, revision: 4, generation: 1, purge }))
        };
        assert_eq!(Owner::from(None), Owner::Generation(0));
        assert_eq!(Owner::from(removed(false)), Owner::Generation(1));
        assert_eq!(Owner::from(removed(true)), Owner::Nobody { removed: 1 });
        assert!(Owner::Generation(1).has(1) && !Owner::Generation(1).has(0) && !Owner::Nobody { removed: 0 }.has(0));
    }

    #[test]
    fn shards_tell_of_new_tenants_and_not_of_old_ones() {
        let (known, acme) = (Known::default(), TenantId::new("acme").unwrap());
        assert!(known.hear(&acme, 1), "nothing is known");
        assert!(known.hear(&acme, 1) && !known.hear(&acme, 0), "a shard that is behind");
        assert_eq!(known.owner(&acme), Some(Owner::Generation(1)));
        known.put(&acme, Owner::Nobody { removed: 1 });
        assert!(!known.hear(&acme, 1), "it was removed with all that it had");
        assert_eq!(known.owner(&acme), Some(Owner::Nobody { removed: 1 }));
        assert!(known.hear(&acme, 2) && !known.hear(&acme, 1));
        known.put(&acme, Owner::Generation(0));
        assert!(known.hear(&acme, 0), "another CATALOG");
    }
}
