//! Which groups of tenants there are. An id is looked up when somebody asks for it, so nobody else waits for that.

use crate::cache::Cache;
use crate::catalogue;
use crate::flight::Flights;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::catalogue::{Definition, TenantGroup};
use daybook_domain::ids::{Partition, TenantId};
use daybook_runtime::connection::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a group is taken for what it was, and an id that stands for nothing for such a one. So query knows of a change, and of a
/// group that was just applied, a second after it is in CATALOG at the latest.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// How long an id is taken for a tenant's before the next look. No id is ever both a tenant's and a group's, so this could be for
/// ever, but for a CATALOG that is made anew.
const TENANT_KNOWN_FOR: Duration = Duration::from_secs(60);
/// Most ids that are remembered.
const MAX_KNOWN: usize = 10_000;
/// Most bytes of groups that are remembered, roughly: all 256 groups that there may be, with all their tenants.
const MAX_KNOWN_BYTES: usize = 32 << 20;
/// How long the broker may take to say what an id stands for.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// A group; `None` when the id is no group's.
type Looked = Asked<Option<Arc<TenantGroup>>>;

/// What an id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    Group(Arc<TenantGroup>),
    Tenant,
    Nothing,
}

impl Meaning {
    fn group(self) -> Option<Arc<TenantGroup>> {
        match self {
            Self::Group(group) => Some(group),
            Self::Tenant | Self::Nothing => None,
        }
    }

    fn holds_for(&self) -> Duration {
        match self {
            Self::Group(_) | Self::Nothing => KNOWN_FOR,
            Self::Tenant => TENANT_KNOWN_FOR,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Group(group) => group.tenants.iter().map(|id| size_of::<TenantId>() + id.as_str().len()).sum(),
            Self::Tenant | Self::Nothing => 0,
        }
    }
}

/// The ids that were asked for lately.
pub struct Groups {
    connection: Connection,
    known: Known,
    looking: Flights<Asked<(Instant, Meaning)>>,
}

impl Groups {
    pub fn new(connection: Connection) -> Self {
        Self { connection, known: Known::default(), looking: Flights::default() }
    }

    /// The group of that id, if it was one when somebody asked for it last; `None` where nobody has asked for it.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn known(&self, id: &TenantId) -> Looked {
        match self.known.last(id) {
            Some(Meaning::Group(_)) => self.find(id).await,
            _ => Ok(None),
        }
    }

    /// The group of that id, as the leader of CATALOG said within the last second.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when the broker does not say in time, and the id was not a tenant's before.
    pub async fn find(&self, id: &TenantId) -> Looked {
        if let Some(meaning) = self.known.fresh(id, Instant::now()) {
            return Ok(meaning.group());
        }
        let unread = || AskError::new(AskErrorCode::Unavailable, "the groups of tenants cannot be read in time");
        let begin = || {
            let (connection, id) = (self.connection.clone(), id.clone());
            async move {
                // What is written during the look may be missing from it.
                let since = Instant::now();
                let looked = tokio::time::timeout(LOOK_DEADLINE, look(&connection, &id)).await;
                looked.map_err(|_| unread())?.map(|meaning| (since, meaning))
            }
        };
        let (looked, _) = self.looking.share(id.to_string(), begin).await;
        match looked.unwrap_or_else(|| Err(unread())) {
            Ok((since, meaning)) => {
                self.known.put(id, since, meaning.clone());
                Ok(meaning.group())
            }
            // A tenant asks on while the broker is silent, and does not wait for it each time.
            Err(_) if self.known.last(id) == Some(Meaning::Tenant) => {
                self.known.put(id, Instant::now(), Meaning::Tenant);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What is known of ids, and since when.
struct Known(Mutex<Cache<TenantId, (Instant, Meaning)>>);

impl Default for Known {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MAX_KNOWN, MAX_KNOWN_BYTES)))
    }
}

impl Known {
    /// What the id stood for when it was looked up last.
    fn last(&self, id: &TenantId) -> Option<Meaning> {
        self.lock().get(id).map(|(_, meaning)| meaning)
    }

    /// The same, unless that is too long ago to count.
    fn fresh(&self, id: &TenantId, now: Instant) -> Option<Meaning> {
        let (since, meaning) = self.lock().get(id)?;
        (now.duration_since(since) < meaning.holds_for()).then_some(meaning)
    }

    /// Notes what a look found that began at `since`, unless a later one has said more.
    fn put(&self, id: &TenantId, since: Instant, meaning: Meaning) {
        let mut known = self.lock();
        if known.get(id).is_none_or(|(other, _)| other <= since) {
            let bytes = meaning.bytes();
            known.put(id.clone(), (since, meaning), bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache<TenantId, (Instant, Meaning)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look(connection: &Connection, id: &TenantId) -> Asked<Meaning> {
    let subjects = &connection.subjects;
    let group = subjects.catalog_of_all(connection.partitions, "group", id.as_str());
    match catalogue::newest(connection, &group).await? {
        Some(Definition::Group(group)) => return Ok(Meaning::Group(Arc::new(group))),
        // It was removed.
        Some(_) => return Ok(Meaning::Nothing),
        None => {}
    }
    let tenant = subjects.catalog(Partition::of(id.as_str(), connection.partitions), "tenant", id.as_str());
    let tenant = catalogue::newest(connection, &tenant).await?;
    Ok(tenant.map_or(Meaning::Nothing, |_| Meaning::Tenant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    fn group(tenants: usize) -> Meaning {
        let tenants = (0..tenants).map(|number| id(&format!("{number:064}"))).collect();
        Meaning::Group(Arc::new(TenantGroup { id: id("north"), name: None, tenants, revision: 1 }))
    }

    #[test]
    fn what_is_no_group_is_remembered_for_a_moment_and_a_tenant_for_longer() {
        let (known, began) = (Known::default(), Instant::now());
        for (text, meaning) in [("north", group(2)), ("zurich", Meaning::Tenant), ("nobody", Meaning::Nothing)] {
            assert_eq!(known.fresh(&id(text), began), None);
            known.put(&id(text), began, meaning.clone());
            let (last, over) = (meaning.holds_for() - Duration::from_millis(1), meaning.holds_for());
            assert_eq!(known.fresh(&id(text), began + last), Some(meaning.clone()));
            assert_eq!(known.fresh(&id(text), began + over), None, "looked up again");
            assert_eq!(known.last(&id(text)), Some(meaning));
        }
    }

    #[test]
    fn an_earlier_look_that_ends_later_says_nothing_new() {
        let (known, began) = (Known::default(), Instant::now());
        known.put(&id("north"), began + Duration::from_millis(5), group(2));
        known.put(&id("north"), began, Meaning::Nothing);
        assert_eq!(known.last(&id("north")), Some(group(2)));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (known, began) = (Known::default(), Instant::now());
        for number in 0..2 * MAX_KNOWN {
            known.put(&id(&format!("nobody{number}")), began, Meaning::Nothing);
        }
        assert_eq!(known.last(&id("nobody0")), None);
        // All groups that there may be at once.
        for number in 0..256 {
            known.put(&id(&format!("group{number}")), began, group(1_000));
        }
        assert!((0..256).all(|number| known.last(&id(&format!("group{number}"))).is_some()));
    }
}
