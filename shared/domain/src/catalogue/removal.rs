//! Removals: what had a name and is gone.

use crate::ids::{Name, TenantId};
use serde::{Deserialize, Serialize};

/// From here on in a partition's log, what had this name is gone, with all that the state holds of it. The name may be used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    Tenant {
        id: TenantId,
        /// One more than the revision of the tenant, or of the removal that this one repeats.
        revision: u64,
        /// That of the tenant that is removed.
        generation: u32,
        /// Whether its reports, figures, rejects and alerts are deleted, too, instead of staying until their retention.
        purge: bool,
    },
    View {
        name: Name,
        /// One more than that of the view.
        revision: u64,
    },
    /// No view uses the kind.
    Kind {
        name: Name,
        /// One more than that of the kind.
        revision: u64,
    },
    /// Its tenants stay.
    Group {
        id: TenantId,
        /// One more than that of the group.
        revision: u64,
    },
}

impl Removal {
    /// The revision: a definition that uses the name again has a higher one.
    pub fn revision(&self) -> u64 {
        let (Self::Tenant { revision, .. }
        | Self::View { revision, .. }
        | Self::Kind { revision, .. }
        | Self::Group { revision, .. }) = self;
        *revision
    }

    pub fn revision_mut(&mut self) -> &mut u64 {
        let (Self::Tenant { revision, .. }
        | Self::View { revision, .. }
        | Self::Kind { revision, .. }
        | Self::Group { revision, .. }) = self;
        revision
    }

    /// What is removed, as in the subjects of CATALOG: `kind`, `view`, `tenant` or `group`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Tenant { .. } => "tenant",
            Self::View { .. } => "view",
            Self::Kind { .. } => "kind",
            Self::Group { .. } => "group",
        }
    }

    /// The name or id of what is removed.
    pub fn name(&self) -> &str {
        match self {
            Self::Tenant { id, .. } | Self::Group { id, .. } => id.as_str(),
            Self::View { name, .. } | Self::Kind { name, .. } => name.as_str(),
        }
    }
}
