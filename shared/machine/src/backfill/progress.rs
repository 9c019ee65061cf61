//! Tells how the views stand: which revision is in force, how far the next one is, and how much its days cover.

use super::{Job, Stage};
use crate::{Model, PartitionState};
use daybook_contracts::ask::{Backfilling, ViewProgress};
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::View;
use daybook_domain::ids::Name;
use std::collections::BTreeSet;

impl PartitionState {
    /// How the views stand. `percent` is how much of the log the scratch has read.
    pub fn views(&self, percent: u8) -> Vec<ViewProgress> {
        let active = |name: &Name| self.models.iter().find_map(|model| model.plan(name));
        let names: BTreeSet<&Name> =
            self.models.iter().flat_map(Model::plans).map(|plan| &plan.view.name).chain(self.pending.keys()).collect();
        names
            .into_iter()
            .map(|name| ViewProgress {
                view: name.clone(),
                active: active(name).map_or(0, |plan| plan.view.revision),
                pending: self.pending.get(name).map(|view| self.backfilling(view, percent)),
                coverage: self.coverage_of(name),
            })
            .collect()
    }

    fn backfilling(&self, view: &View, percent: u8) -> Backfilling {
        let job = self.jobs.iter().find(|job| job.view(view).is_some());
        let ready = job.is_some_and(Job::is_ready);
        let percent = match job.map(|job| job.stage) {
            None => 0,
            Some(Stage::Reading) => percent.min(99),
            Some(Stage::Adding) => 99,
            Some(Stage::Ready) => 100,
        };
        Backfilling { revision: view.revision, percent, ready, since: job.and_then(|job| job.since) }
    }

    /// The least that any day of the view covers.
    fn coverage_of(&self, view: &Name) -> Coverage {
        // Hardly ever is one partial, and to look at every day of every tenant takes long.
        if !self.partial_views.contains(view) {
            return Coverage::Complete;
        }
        let windows = self.tenants.values().flat_map(|tenant| tenant.windows.days.values());
        windows
            .filter_map(|views| views.get(view))
            .map(|window| &window.coverage)
            .find(|coverage| matches!(coverage, Coverage::Partial { .. }))
            .cloned()
            .unwrap_or_default()
    }
}
