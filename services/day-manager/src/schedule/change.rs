//! What of a tenant may change once days of it are published.

use super::last_published;
use crate::calendar::{CalendarError, agree_through, check_rules};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::Tenant;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;

/// Why a tenant cannot be redefined like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The ids differ.
    #[error("this changes the id from {old} to {new}; define a new tenant instead")]
    Id {
        /// The id until now.
        old: TenantId,
        /// The id asked for.
        new: TenantId,
    },
    /// The clocks differ.
    #[error("the clock of a tenant cannot be changed from {old} to {new}; define a new tenant instead")]
    Clock {
        /// The clock until now.
        old: Name,
        /// The clock asked for.
        new: Name,
    },
    /// The first days differ.
    #[error("the first day of a tenant cannot be moved from {old} to {new}; leave it as it is, or define a new tenant")]
    FirstDay {
        /// The first day until now.
        old: Date,
        /// The first day asked for.
        new: Date,
    },
    /// The new rules are no calendar.
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    /// The new rules differ on dates that have been published.
    #[error("days before {earliest} are published and stay as they are; let the new rule begin on {earliest} or later")]
    Published {
        /// The first date on which a rule may differ.
        earliest: Date,
    },
}

/// Checks that `new` may follow `old`, of which `table` has been published.
///
/// # Errors
/// When the id, the clock or the first day differ, the new rules are no calendar, or they differ on a date whose
/// cut-off is published.
pub fn check_change(old: &Tenant, new: &Tenant, table: Option<&CalendarTable>) -> Result<(), ChangeError> {
    if old.id != new.id {
        return Err(ChangeError::Id { old: old.id.clone(), new: new.id.clone() });
    }
    if old.clock != new.clock {
        return Err(ChangeError::Clock { old: old.clock.clone(), new: new.clock.clone() });
    }
    if old.first_day != new.first_day {
        return Err(ChangeError::FirstDay { old: old.first_day, new: new.first_day });
    }
    check_rules(&new.calendar)?;
    match table.map(last_published) {
        Some(last) if !agree_through(&old.calendar, &new.calendar, last) => {
            Err(ChangeError::Published { earliest: last.next() })
        }
        _ => Ok(()),
    }
}
