//! The newest days of many tenants: asked for a few at a time, and shared by all who look at the same moment.

use crate::asker::Asker;
use crate::problem::Problem;
use daybook_contracts::ask::{DAYS_VIEW, Days};
use daybook_contracts::lists::DatesQuery;
use daybook_domain::ids::TenantId;
use futures::{FutureExt as _, StreamExt as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer is good for others.
const FRESH: Duration = Duration::from_secs(1);
/// Questions under way at once for one page.
const AT_ONCE: usize = 16;
/// Most tenants of which an answer is kept.
const MAX_KEPT: usize = 2_048;
/// Newest days that are asked for: today, the one before, and some that have not begun.
const NEWEST: u32 = 6;

/// The newest days of a tenant, or why they are not known.
pub(super) type Newest = Arc<Result<Days, Problem>>;

/// Answers that are a moment old at most.
pub(super) struct Survey {
    asker: Asker,
    kept: Mutex<HashMap<TenantId, (Instant, Newest)>>,
}

impl Survey {
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker, kept: Mutex::default() }
    }

    /// The newest days of these tenants, in their order.
    pub(super) async fn newest(&self, tenants: impl IntoIterator<Item = TenantId>) -> Vec<Newest> {
        let asked: Vec<_> = tenants.into_iter().map(|tenant| self.one(tenant).boxed()).collect();
        futures::stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    async fn one(&self, tenant: TenantId) -> Newest {
        if let Some(known) = self.known(&tenant) {
            return known;
        }
        let question = DatesQuery { limit: Some(NEWEST), ..DatesQuery::default() };
        let newest = Arc::new(self.asker.read(&tenant, DAYS_VIEW, &question).await);
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (since, _)| now.duration_since(*since) < FRESH);
        }
        if kept.len() < MAX_KEPT {
            kept.insert(tenant, (now, newest.clone()));
        }
        newest
    }

    fn known(&self, tenant: &TenantId) -> Option<Newest> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(tenant).filter(|(since, _)| since.elapsed() < FRESH).map(|(_, newest)| newest.clone())
    }
}
