//! What mutations do to the batches of a replica, before its core sees them and before they are applied.

use crate::mutation::Mutation;
use crate::shell::Shell;
use daybook_contracts::log::{Batch, Event, Record, Restate};
use daybook_domain::catalogue::{Definition, Earliest, Removal, View};
use daybook_domain::ids::Name;
use daybook_machine::PartitionState;
use std::collections::BTreeSet;

/// How often a replica restates days by its own clock.
const RESTATE_EVERY_MS: i64 = 6 * 3_600_000;

/// What the mutations of a replica need to remember.
#[derive(Default)]
pub struct Tampering {
    /// What was said already.
    said: BTreeSet<(Name, String)>,
    /// When it restated days by its own clock last, in milliseconds.
    restated: i64,
}

impl Tampering {
    /// Of a batch that is fed.
    pub fn fed(&mut self, shell: &Shell, state: &PartitionState, batch: &mut Batch) {
        if shell.breaks(Mutation::ForgetDuplicates) {
            self.forget_duplicates(batch);
        }
        if shell.breaks(Mutation::ForgetGroupQuotas) {
            for record in &mut batch.records {
                if let Record::Define(Definition::Tenant(tenant)) = record {
                    tenant.quotas.groups = None;
                }
            }
        }
        if shell.breaks(Mutation::ForgetLateChanges) {
            for record in &mut batch.records {
                if let Record::Define(Definition::View(view)) = record
                    && let Some(newest) = view.late_changes.pop()
                {
                    (view.late, view.late_changes) = (newest.late, Vec::new());
                }
            }
        }
        if shell.breaks(Mutation::RankByLatestTime) {
            for record in &mut batch.records {
                if let Record::Define(Definition::View(View { ranking: Some(ranking), .. })) = record {
                    ranking.earliest = Earliest::LatestTime;
                }
            }
        }
        if shell.breaks(Mutation::ActivateUnmade) && state.awaits_backfill(batch) {
            // The real core waits: this replica goes on without the view.
            batch.records.retain(|record| !matches!(record, Record::Define(Definition::Activation(_))));
        }
    }

    fn forget_duplicates(&mut self, batch: &mut Batch) {
        for record in &mut batch.records {
            if let Record::Events(events) = record {
                let kind = events.kind.clone();
                let said = |event: &Event| format!("{} {:?}", events.tenant, Event { index: 0, ..event.clone() });
                events.events.retain(|event| event.id.is_none() || self.said.insert((kind.clone(), said(event))));
            }
        }
    }

    /// Of a batch that is to be applied by the replica of that number.
    pub fn applied(&mut self, shell: &Shell, number: usize, batch: &mut Batch) {
        let records = &mut batch.records;
        if shell.breaks(Mutation::KeepRemoved) {
            let is_removal =
                |record: &Record| matches!(record, Record::Define(Definition::Removal(Removal::Tenant { .. })));
            records.retain(|record| !is_removal(record));
        }
        if shell.breaks(Mutation::ReplicaOrder) && number == 1 {
            records.reverse();
        }
        if shell.breaks(Mutation::RestateByOwnClock) && number == 1 {
            records.retain(|record| !matches!(record, Record::Restate(_)));
            if shell.now.as_millis() / RESTATE_EVERY_MS != self.restated / RESTATE_EVERY_MS {
                self.restated = shell.now.as_millis();
                records.push(Record::Restate(Restate { tenant: None }));
            }
        }
    }
}
