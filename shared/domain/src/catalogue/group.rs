//! Groups of tenants, which are asked together.

use crate::ids::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most tenants of a group.
pub const MAX_GROUP_TENANTS: usize = 1_000;

/// Tenants that are asked together, such as the stores of a chain. Its id is asked like a tenant's, so it is never that of a tenant.
/// Groups concern the reading side alone: no log has them, and no state depends on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantGroup {
    pub id: TenantId,
    #[serde(default)]
    pub name: Option<String>,
    /// 1 to [`MAX_GROUP_TENANTS`].
    pub tenants: BTreeSet<TenantId>,
    /// Grows by one with every change; 0 until day-manager has accepted it.
    #[serde(default)]
    pub revision: u64,
}
