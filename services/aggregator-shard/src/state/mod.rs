//! The state machine of a partition. Its state is a pure function of the log's prefix: no clock, no randomness, no
//! order taken from a hash map. So replicas agree, reports are byte-identical, and outputs can be made again.
//!
//! [`PartitionState::apply`] takes a batch and returns the effects. Follow an event: [`tenant`] finds what was known of
//! it, [`day`] retracts the old contribution and adds the new one, [`seal`] makes the report, [`answer`] reads figures.
//! [`checkpoint`] stores the state in pages ([`pages`]) and brings it back.

pub mod answer;
pub mod checkpoint;
pub mod day;
pub mod entity;
pub mod pages;
pub mod seal;
pub mod tenant;

use self::entity::KindId;
use self::tenant::TenantState;
use daybook_contracts::ask::DayState;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, Events, Record, Through};
use daybook_contracts::reject::Reject;
use daybook_contracts::report::Coverage;
use daybook_contracts::subjects::Subjects;
use daybook_domain::catalogue::{Definition, Kind, Mode, Tenant, View};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use std::collections::{BTreeMap, BTreeSet};

/// How many business days before the one that closes are kept for corrections. The same for every replica, for what
/// is refused as too old must not depend on who reads the log.
pub const KEEP_DAYS: i32 = 35;

/// What a batch causes outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Report(SealedReport),
    /// To be told on `daybook.rejects.<tenant>`; the tenant is that subject's token.
    Rejects {
        tenant: String,
        rejects: Vec<Reject>,
    },
}

/// A report version, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedReport {
    pub tenant: TenantId,
    pub date: Date,
    pub version: u32,
    /// BLAKE3 of `payload`, in hex.
    pub hash: String,
    pub payload: Vec<u8>,
}

/// A kind with the views over it, compiled.
#[derive(Clone, Debug)]
pub struct Model {
    pub kind: Kind,
    /// In order of their names.
    pub plans: Vec<Plan>,
}

/// The state of one partition.
#[derive(Debug)]
pub struct PartitionState {
    partition: Partition,
    position: LogSeq,
    through: Through,
    /// In the order in which they were defined: the index is the [`KindId`].
    models: Vec<Model>,
    tenants: BTreeMap<TenantId, TenantState>,
    /// Closed days that this batch changed.
    reseal: BTreeSet<(TenantId, Date)>,
    dirty: checkpoint::Dirty,
}

impl PartitionState {
    /// The state before the first batch.
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            position: LogSeq(0),
            through: Through::default(),
            models: Vec::new(),
            tenants: BTreeMap::new(),
            reseal: BTreeSet::new(),
            dirty: checkpoint::Dirty::default(),
        }
    }

    /// The last batch that was applied.
    pub fn position(&self) -> LogSeq {
        self.position
    }

    /// How far into INBOX the state reaches.
    pub fn through(&self) -> Through {
        self.through
    }

    /// How many tenants, days and entities are kept.
    pub fn sizes(&self) -> Sizes {
        let mut sizes = Sizes { tenants: self.tenants.len(), ..Sizes::default() };
        for day in self.tenants.values().flat_map(|tenant| tenant.days.values()) {
            sizes.days += 1;
            sizes.entities += day.entities.len();
            sizes.groups += day.views.values().map(|view| view.groups.len()).sum::<usize>();
        }
        sizes
    }

    /// Applies the batch at `position`, which must be the next one of the partition, and returns what it causes.
    ///
    /// # Panics
    /// When the batch does not follow: that is a defect, and going on would give wrong figures.
    pub fn apply(&mut self, position: LogSeq, batch: Batch) -> Vec<Effect> {
        assert!(position > self.position, "batch {position} does not follow {}", self.position);
        assert!(batch.through >= self.through, "batch {position} goes back in INBOX");
        self.position = position;
        let mut effects = Vec::new();
        let mut rejects: BTreeMap<String, Vec<Reject>> = BTreeMap::new();
        for record in batch.records {
            match record {
                Record::Events(events) => self.apply_events(events, &mut rejects),
                Record::Rejected(reject) => {
                    self.account_reject(&reject);
                    rejects.entry(self.subject_token(&reject.tenant)).or_default().push(reject);
                }
                Record::Day(marker) => self.apply_marker(marker, batch.through, &mut effects),
                Record::Define(definition) => self.define(definition),
            }
        }
        self.through = batch.through;
        for (tenant, date) in std::mem::take(&mut self.reseal) {
            effects.push(self.seal(&tenant, date));
        }
        effects.extend(rejects.into_iter().map(|(tenant, rejects)| Effect::Rejects { tenant, rejects }));
        effects
    }

    fn apply_events(&mut self, events: Events, rejects: &mut BTreeMap<String, Vec<Reject>>) {
        let Events { inbox, tenant: tenant_id, kind, events } = events;
        let kind_id = self.kind_id(&kind).expect("ingest records events of defined kinds only");
        let model = &self.models[usize::from(kind_id)];
        let tenant = self.tenants.get_mut(&tenant_id).expect("ingest records events of defined tenants only");
        for event in events {
            let date = event.date;
            let place = tenant::Place { tenant: &tenant_id, position: self.position, inbox };
            let taken = tenant.take(place, kind_id, model, event);
            for touched in taken.touched.into_iter().flatten() {
                self.dirty.day(&tenant_id, touched);
            }
            for closed in taken.reseal.into_iter().flatten() {
                self.reseal.insert((tenant_id.clone(), closed));
            }
            if let Some(reject) = taken.reject {
                metrics::counter!("daybook_shard_rejects_total", "code" => reject.code.as_str()).increment(1);
                tracing::trace!(tenant = %tenant_id, %date, code = %reject.code, "rejected");
                rejects.entry(tenant_id.to_string()).or_default().push(*reject);
            }
        }
    }

    /// Counts an event that ingest refused: for its day if that can be told, else for the open day.
    fn account_reject(&mut self, reject: &Reject) {
        let Some(tenant) = self.tenants.get_mut(reject.tenant.as_str()) else { return };
        let date = reject.date.unwrap_or_else(|| tenant.current_day()).max(tenant.expired_before);
        let id = tenant.definition.id.clone();
        let account = &mut tenant.day(date, self.position).account;
        account.published += 1;
        account.rejected += 1;
        self.dirty.day(&id, date);
    }

    fn apply_marker(&mut self, marker: DayMarker, through: Through, effects: &mut Vec<Effect>) {
        let Some(tenant) = self.tenants.get_mut(&marker.tenant) else {
            tracing::error!(tenant = %marker.tenant, "a day of a tenant that is not defined");
            return;
        };
        let (id, date) = (marker.tenant.clone(), marker.day.date);
        if date < tenant.expired_before {
            return;
        }
        let position = self.position;
        match marker.edge {
            Edge::Opened => {
                let day = tenant.day(date, position);
                if day.state != DayState::Upcoming {
                    return;
                }
                day.state = DayState::Open;
                day.marker = Some(marker);
                tenant.open_day = tenant.open_day.max(Some(date));
                self.dirty.tenant(&id);
                self.dirty.day(&id, date);
            }
            Edge::Closed => {
                let day = tenant.day(date, position);
                if day.is_closed() {
                    return;
                }
                day.state = DayState::Closed;
                day.marker = Some(marker);
                self.through = through;
                effects.push(self.seal(&id, date));
                let before = date.plus(-KEEP_DAYS);
                // What this batch changed about the days that go is sealed while they are still there.
                let going = (id.clone(), Date::MIN)..(id.clone(), before);
                let pending: Vec<Date> = self.reseal.range(going).map(|(_, date)| *date).collect();
                for date in pending {
                    self.reseal.remove(&(id.clone(), date));
                    effects.push(self.seal(&id, date));
                }
                self.expire(&id, before);
            }
        }
    }

    /// Lets go of a tenant's days before `before`; their reports remain.
    fn expire(&mut self, id: &TenantId, before: Date) {
        let tenant = self.tenants.get_mut(id).expect("the tenant whose day was closed");
        while let Some((&date, _)) = tenant.days.first_key_value()
            && date < before
        {
            let day = tenant.remove_day(date);
            self.dirty.removed_day(id, date, &day);
        }
        tenant.expired_before = tenant.expired_before.max(before);
        self.dirty.tenant(id);
    }

    fn seal(&mut self, id: &TenantId, date: Date) -> Effect {
        let range = seal::Position { partition: self.partition, log: self.position, through: self.through };
        let tenant = self.tenants.get_mut(id).expect("a day is sealed for its tenant");
        self.dirty.day(id, date);
        Effect::Report(seal::seal(tenant, date, &self.models, range))
    }

    /// The token of `daybook.rejects.<tenant>` for events published under the token `tenant`.
    fn subject_token(&self, tenant: &str) -> String {
        match TenantId::new(tenant) {
            Ok(id) => id.to_string(),
            Err(_) => Subjects::invalid_tenant(self.partition),
        }
    }

    fn kind_id(&self, name: &Name) -> Option<KindId> {
        self.models.iter().position(|model| model.kind.name == *name).map(|index| index as KindId)
    }

    fn define(&mut self, definition: Definition) {
        self.dirty.meta = true;
        match definition {
            Definition::Kind(kind) => self.define_kind(kind),
            Definition::View(view) => self.define_view(view),
            Definition::Tenant(tenant) => self.define_tenant(tenant),
            Definition::Calendar(_) | Definition::Activation(_) => {}
        }
    }

    fn define_kind(&mut self, kind: Kind) {
        match self.models.iter_mut().find(|model| model.kind.name == kind.name) {
            Some(model) => {
                // Columns are only ever added at the end, so plans keep their meaning; scales and positions too.
                model.kind = kind;
            }
            None => self.models.push(Model { kind, plans: Vec::new() }),
        }
    }

    fn define_view(&mut self, view: View) {
        let Some(kind_id) = self.kind_id(&view.kind) else {
            tracing::error!(view = %view.name, kind = %view.kind, "a view of a kind that is not defined");
            return;
        };
        let model = &mut self.models[usize::from(kind_id)];
        let plan = match Plan::compile(&view, &model.kind) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(view = %view.name, %error, "a view that day-manager should have refused");
                return;
            }
        };
        model.plans.retain(|known| known.view.name != view.name);
        model.plans.push(plan.clone());
        model.plans.sort_by(|one, other| one.view.name.cmp(&other.view.name));
        // Entities are kept, so a view of them is as if it had been there from the start. Facts are not.
        let mode = model.kind.mode;
        for (id, tenant) in &mut self.tenants {
            for (date, day) in &mut tenant.days {
                let coverage = match mode {
                    Mode::Entity => Coverage::Complete,
                    Mode::Fact if day.account.published == 0 => Coverage::Complete,
                    Mode::Fact => Coverage::Partial {
                        from: self.position,
                        reason: "the view was defined then, and single facts are not kept".to_owned(),
                    },
                };
                self.dirty.removed_view(id, *date, &view.name, day);
                day.rebuild(&plan, kind_id, coverage);
                self.dirty.day(id, *date);
            }
        }
    }

    fn define_tenant(&mut self, definition: Tenant) {
        self.dirty.tenant(&definition.id);
        match self.tenants.get_mut(&definition.id) {
            Some(tenant) => tenant.definition = definition,
            None => {
                self.tenants.insert(definition.id.clone(), TenantState::new(definition));
            }
        }
    }
}

/// How much a partition keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub tenants: usize,
    pub days: usize,
    pub entities: usize,
    pub groups: usize,
}

#[cfg(test)]
mod tests;
