//! Reads the groups of several tenants off the state, for a question about all of them together.

use super::PartitionState;
use super::answer::{Basis, Found};
use super::seal::MAX_FIGURES_GROUPS;
use super::window::Window;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, DaySelector, MAX_ANSWER_BYTES};
use daybook_contracts::totals::{Absent, Encoder, GroupRef, MemberDayRef, MemberFiguresRef};
use daybook_domain::ids::{Name, TenantId};

impl PartitionState {
    /// The groups of a view for each tenant, on its own business days. A tenant whose figures alone are too large is absent, with that
    /// reason.
    ///
    /// # Errors
    /// [`AskErrorCode::TooLarge`] when they do not fit a message: fewer tenants may. [`AskErrorCode::BadRequest`] for a season.
    pub fn totals(&self, tenants: &[TenantId], view: &Name, days: &DaySelector) -> Asked<Encoder> {
        let mut totals = Encoder::at(self.position, self.through.whole());
        let mut room = MAX_FIGURES_GROUPS;
        for tenant in tenants {
            match self.find_view(tenant, view).and_then(|found| Ok((self.basis_of(&found, days)?, found))) {
                Ok((basis, found)) => {
                    totals.define(&found.plan.view, found.kind);
                    add(&mut totals, &mut room, tenant, &basis)?;
                }
                Err(AskError { code: AskErrorCode::BadRequest, message, .. }) => {
                    return Err(AskError::new(AskErrorCode::BadRequest, message));
                }
                Err(AskError { code, message, .. }) => totals.absent(tenant, &Absent { code, why: message }),
            }
        }
        Ok(totals)
    }

    fn basis_of<'s>(&'s self, found: &Found<'s>, days: &DaySelector) -> Asked<Basis<'s>> {
        let Some((from, to)) = days.range(found.tenant.current_day()) else {
            return Err(AskError::new(AskErrorCode::BadRequest, "a season is of one tenant"));
        };
        self.days_basis(found, from, to)
    }
}

/// Adds the groups of one tenant. `room` is how many groups there may be of this one and of those that follow.
fn add(totals: &mut Encoder, room: &mut usize, tenant: &TenantId, basis: &Basis<'_>) -> Asked<()> {
    // Counted before anything is sorted.
    let groups: usize = basis.windows.iter().map(|(_, window)| window.groups.len()).sum();
    if groups > MAX_FIGURES_GROUPS {
        totals.absent(tenant, &too_large_alone());
        return Ok(());
    }
    *room = room.checked_sub(groups).ok_or_else(too_large)?;
    let days = basis.windows.iter().map(|(day, window)| MemberDayRef {
        day: *day,
        coverage: &window.coverage,
        groups: groups_of(window),
    });
    let figures = MemberFiguresRef { from: basis.from, to: basis.to, day: basis.state, days: days.collect() };
    if totals.found(tenant, &figures, MAX_ANSWER_BYTES).is_err() {
        totals.absent(tenant, &too_large_alone());
    }
    if totals.bytes() > MAX_ANSWER_BYTES {
        return Err(too_large());
    }
    Ok(())
}

/// The groups of a window, in order of their keys.
fn groups_of(window: &Window) -> Vec<GroupRef<'_>> {
    let groups = window.sorted().into_iter();
    groups.map(|(key, cells)| GroupRef { piece: key.piece, dims: &key.dims, cells }).collect()
}

fn too_large_alone() -> Absent {
    let why = "its figures alone are too large; ask for fewer days, or a view with fewer dimensions";
    Absent { code: AskErrorCode::TooLarge, why: why.to_owned() }
}

fn too_large() -> AskError {
    AskError::new(AskErrorCode::TooLarge, "the tenants have too many groups to be merged")
        .hint("ask for fewer days, or a view with fewer dimensions")
}
