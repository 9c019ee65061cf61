//! The state machine of a partition. Its state is a pure function of the log's prefix: no clock, no randomness, no
//! order taken from a hash map. So replicas agree, reports are byte-identical, and outputs can be made again.
//!
//! [`PartitionState::apply`] takes a batch and returns the effects. Follow an event: [`tenant`] finds what was known of
//! its entity ([`entity`], kept in short as [`columns`]) and judges it, [`late`] says what the change does to each view by
//! its policy, [`window`] retracts the old contribution and adds the new one, [`seal`] makes the report, [`answer`] reads
//! figures. [`backfill`] makes views that come later than events. [`checkpoint`] stores the state in pages ([`pages`], of [`rows`]) and
//! brings it back, if it is sound. [`digest`] tells whether replicas hold the same. [`audit`] follows one entity.

pub mod answer;
pub mod audit;
pub mod backfill;
pub mod checkpoint;
pub mod columns;
pub mod day;
pub mod digest;
pub mod entity;
pub mod late;
pub mod pages;
pub mod rows;
pub mod seal;
mod soundness;
pub mod tenant;
pub mod window;

use self::backfill::Job;
use self::day::Day;
use self::entity::KindId;
use self::tenant::{Taken, TenantState};
use daybook_contracts::ask::DayState;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::figures::Figures;
use daybook_contracts::log::{Batch, Event, Events, Record, Restate, Through};
use daybook_contracts::reject::{Reject, gather};
use daybook_contracts::subjects::{Subjects, UNMAPPED_TENANT};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Definition, Kind, Tenant, View};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::quotas::Quotas;
use daybook_domain::time::{Date, Instant};
use std::collections::{BTreeMap, BTreeSet};

/// How many business days before the one that closes are kept for corrections. The same for every replica, for what
/// is refused as too old must not depend on who reads the log.
pub const KEEP_DAYS: i32 = 35;

/// What a batch causes outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Report(SealedReport),
    /// To be told on `daybook.rejects.<tenant>`; the tenant is that subject's token.
    Rejects {
        tenant: String,
        rejects: Vec<Reject>,
    },
}

/// A report version, ready to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedReport {
    pub tenant: TenantId,
    pub date: Date,
    pub version: u32,
    /// BLAKE3 of `payload`, in hex.
    pub hash: String,
    pub payload: Vec<u8>,
    /// The groups behind it, by view; `None` where there are too many of them.
    pub figures: Vec<(Name, Option<Figures>)>,
}

/// A kind with the views over it that are in force, compiled.
#[derive(Clone, Debug)]
pub struct Model {
    pub kind: Kind,
    /// In order of their names.
    plans: Vec<Plan>,
    /// How many events of the kind were recorded.
    events: u64,
}

impl Model {
    fn new(kind: Kind) -> Self {
        Self { kind, plans: Vec::new(), events: 0 }
    }

    /// The views in force, in order of their names.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter()
    }

    fn plan(&self, view: &Name) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.view.name == *view)
    }
}

/// The state of one partition.
#[derive(Debug)]
pub struct PartitionState {
    partition: Partition,
    position: LogSeq,
    through: Through,
    /// In the order in which they were defined: the index is the [`KindId`].
    models: Vec<Model>,
    /// The newest revision of each view that is not in force yet.
    pending: BTreeMap<Name, View>,
    tables: BTreeMap<Name, CalendarTable>,
    /// In boxes, for they are large, and a tree has places for half as many again as there are.
    tenants: BTreeMap<TenantId, Box<TenantState>>,
    /// Those of whose seasons some wait for a backfill, so that nobody has to look at all tenants for them.
    unfinished: BTreeSet<TenantId>,
    /// Views that have had a day of partial coverage.
    partial_views: BTreeSet<Name>,
    /// Closed days that are sealed again at the end of this batch.
    reseal: BTreeSet<(TenantId, Date)>,
    dirty: checkpoint::Dirty,
    /// Where digests are kept. Not part of the state.
    digests: Option<Box<digest::Digests>>,
    /// What is being made of pending views and incomplete seasons: at most one is not ready. Not part of the state.
    jobs: Vec<Job>,
    /// Only makes what its job wants: no view is in force here, and nothing is sealed.
    is_scratch: bool,
    /// Up to so many bytes a page is stored in its day's head. Not part of the state.
    small_page_bytes: usize,
    /// An entity that is followed. Not part of the state.
    audit: Option<audit::Audit>,
}

impl PartitionState {
    /// The state before the first batch.
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            position: LogSeq(0),
            through: Through::default(),
            models: Vec::new(),
            pending: BTreeMap::new(),
            tables: BTreeMap::new(),
            tenants: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            partial_views: BTreeSet::new(),
            reseal: BTreeSet::new(),
            dirty: checkpoint::Dirty::default(),
            digests: None,
            jobs: Vec::new(),
            is_scratch: false,
            small_page_bytes: checkpoint::SMALL_PAGE_BYTES,
            audit: None,
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

    /// The tenant's quotas; none of one that is not known.
    pub fn quotas(&self, tenant: &TenantId) -> Quotas {
        self.tenants.get(tenant).map(|tenant| tenant.definition.quotas).unwrap_or_default()
    }

    /// Whether tenant and kind are defined, as those of every batch's events are.
    pub fn knows(&self, tenant: &TenantId, kind: &Name) -> bool {
        self.tenants.contains_key(tenant) && self.model(kind).is_some()
    }

    /// How many tenants, days and entities are kept.
    pub fn sizes(&self) -> Sizes {
        let mut sizes = Sizes { tenants: self.tenants.len(), ..Sizes::default() };
        for tenant in self.tenants.values() {
            sizes.days += tenant.days.len();
            sizes.entities += tenant.days.values().map(|day| day.entities.len()).sum::<usize>();
            let windows = &tenant.windows;
            let views = windows.days.values().chain(windows.seasons.values()).flat_map(BTreeMap::values);
            sizes.groups += views.map(|window| window.groups.len()).sum::<usize>();
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
        let takes_digest = self.position.0 / digest::DIGEST_EVERY != position.0 / digest::DIGEST_EVERY;
        self.position = position;
        let mut effects = Vec::new();
        let mut rejects: BTreeMap<String, Vec<Reject>> = BTreeMap::new();
        for record in batch.records {
            self.apply_record(record, batch.through, &mut rejects, &mut effects);
        }
        self.through = batch.through;
        for (tenant, date) in std::mem::take(&mut self.reseal) {
            effects.extend(self.seal(&tenant, date));
        }
        effects.extend(rejects.into_iter().map(|(tenant, rejects)| Effect::Rejects { tenant, rejects }));
        if takes_digest {
            self.take_digest();
        }
        effects
    }

    fn apply_record(
        &mut self,
        record: Record,
        through: Through,
        rejects: &mut BTreeMap<String, Vec<Reject>>,
        effects: &mut Vec<Effect>,
    ) {
        match record {
            Record::Events(events) => self.apply_events(events, rejects),
            Record::Rejected(_) if self.is_scratch => {}
            Record::Rejected(reject) => {
                self.account_reject(&reject);
                rejects.entry(self.subject_token(&reject.tenant)).or_default().push(reject);
            }
            Record::Day(marker) => self.apply_marker(marker, through, effects),
            Record::Define(definition) => self.define(definition),
            Record::Restate(mark) => self.restate(&mark),
        }
    }

    fn apply_events(&mut self, events: Events, rejects: &mut BTreeMap<String, Vec<Reject>>) {
        let Events { inbox, tenant: tenant_id, kind, events } = events;
        if self.scratch_skips(&kind) {
            return;
        }
        let kind_id = self.kind_id(&kind).expect("ingest records events of defined kinds only");
        let model = &mut self.models[usize::from(kind_id)];
        self.dirty.meta |= model.events == 0;
        model.events += events.len() as u64;
        let tenant = self.tenants.get_mut(&tenant_id).expect("ingest records events of defined tenants only");
        let latest_before = tenant.latest_at;
        let table = tenant.definition.table.as_ref().and_then(|name| self.tables.get(name));
        let place = tenant::Place { tenant: &tenant_id, position: self.position, inbox, model, kind: kind_id, table };
        let mut taken = Taken::default();
        let are_alike = |one: &Event, next: &Event| one.id.is_none() && next.id.is_none() && one.date == next.date;
        for stretch in events.chunk_by(are_alike) {
            if tenant.is_plain(&stretch[0]) {
                tenant.take_plain(&place, &mut self.jobs, stretch, &mut taken);
                continue;
            }
            for event in stretch {
                let before = self.audit.as_ref().and_then(|audit| audit.before(tenant, &place, event));
                if let Some((audit, before)) = self.audit.as_mut().zip(before) {
                    let mut alone = Taken::default();
                    tenant.take(&place, &mut self.jobs, event, &mut alone);
                    audit.note(before, tenant, &place, &alone);
                    taken.add(alone);
                } else {
                    tenant.take(&place, &mut self.jobs, event, &mut taken);
                }
            }
        }
        for touched in taken.touched {
            let day = tenant.days.get_mut(&touched).expect("what an event touched is kept");
            // To look for it among all that changed takes longer.
            if !std::mem::replace(&mut day.is_noted, true) {
                self.dirty.day(&tenant_id, touched);
            }
        }
        for season in &taken.seasons {
            self.dirty.season(&tenant_id, season);
        }
        for closed in taken.reseal {
            // Days of a tenant that gathers restatements wait for a mark.
            if tenant.definition.restate_after().is_none() {
                self.reseal.insert((tenant_id.clone(), closed));
            } else if !self.is_scratch {
                tenant.days.get_mut(&closed).expect("what an event touched is kept").is_restating = true;
            }
        }
        if !self.is_scratch && !taken.rejects.is_empty() {
            for reject in &taken.rejects {
                metrics::counter!("daybook_shard_rejects_total", "code" => reject.code.as_str()).increment(1);
                tracing::trace!(tenant = %tenant_id, date = ?reject.date, code = %reject.code, "rejected");
            }
            rejects.entry(tenant_id.to_string()).or_default().append(&mut gather(taken.rejects));
        }
        // It decides which seasons are complete when they are defined.
        if tenant.latest_at != latest_before {
            self.dirty.tenant(&tenant_id);
        }
    }

    /// Counts what ingest refused: for its day if that can be told, else for the open day.
    fn account_reject(&mut self, reject: &Reject) {
        let Some(tenant) = self.tenants.get_mut(reject.tenant.as_str()) else { return };
        let date = reject.date.unwrap_or_else(|| tenant.current_day()).max(tenant.expired_before);
        let id = tenant.definition.id.clone();
        let account = &mut tenant.day(date, self.position).account;
        account.published += reject.events();
        account.rejected += reject.events();
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
                effects.extend(self.seal(&id, date));
                let before = date.plus(-KEEP_DAYS);
                effects.extend(self.seal_going(&id, before));
                self.expire(&id, before);
            }
        }
    }

    /// Seals the days that wait for the mark, at the end of this batch.
    fn restate(&mut self, mark: &Restate) {
        match &mark.tenant {
            Some(id) => {
                let waiting = self.tenants.get(id).into_iter().flat_map(|tenant| tenant.restating());
                self.reseal.extend(waiting.map(|date| (id.clone(), date)));
            }
            None => {
                let all = self.tenants.iter().flat_map(|(id, tenant)| tenant.restating().map(move |date| (id, date)));
                self.reseal.extend(all.map(|(id, date)| (id.clone(), date)));
            }
        }
    }

    /// Seals those of a tenant's days before `before` once more whose reports do not say all: what this batch changed, what
    /// waits for a mark, and what changed no figure but the account, as a duplicate does.
    fn seal_going(&mut self, id: &TenantId, before: Date) -> Vec<Effect> {
        let tenant = &self.tenants[id];
        let is_accounted = |day: &Day| day.sealed.as_ref().is_none_or(|sealed| sealed.account == day.account);
        let mut going = Vec::new();
        for (date, day) in tenant.days.range(..before) {
            if self.reseal.remove(&(id.clone(), *date)) || day.is_restating || !is_accounted(day) {
                going.push(*date);
            }
        }
        going.into_iter().filter_map(|date| self.seal(id, date)).collect()
    }

    /// Lets go of a tenant's days before `before`; their reports remain.
    fn expire(&mut self, id: &TenantId, before: Date) {
        let tenant = self.tenants.get_mut(id).expect("the tenant whose day was closed");
        while let Some((&date, _)) = tenant.days.first_key_value()
            && date < before
        {
            let day = tenant.remove_day(date);
            if let Some(digests) = &mut self.digests {
                digests.remove(&day);
            }
            let windows = tenant.windows.days.remove(&date).unwrap_or_default();
            self.dirty.removed_day(id, date, &day, &windows);
        }
        // Of a day that was looked at to carry changes to it there may be windows without anything in them.
        tenant.windows.days = tenant.windows.days.split_off(&before);
        self.jobs.iter_mut().for_each(|job| job.expire(id, before));
        tenant.expired_before = tenant.expired_before.max(before);
        self.dirty.tenant(id);
    }

    fn seal(&mut self, id: &TenantId, date: Date) -> Option<Effect> {
        if self.is_scratch {
            return None;
        }
        let range = seal::Position { partition: self.partition, log: self.position, through: self.through };
        let tenant = self.tenants.get_mut(id).expect("a day is sealed for its tenant");
        self.dirty.day(id, date);
        Some(Effect::Report(seal::seal(tenant, date, &self.models, range)))
    }

    /// The token of `daybook.rejects.<tenant>` for events published under the token `tenant`.
    fn subject_token(&self, tenant: &str) -> String {
        match TenantId::new(tenant) {
            Ok(id) => id.to_string(),
            // All of these are in this partition.
            Err(_) if tenant == UNMAPPED_TENANT => tenant.to_owned(),
            Err(_) => Subjects::invalid_tenant(self.partition),
        }
    }

    fn kind_id(&self, name: &Name) -> Option<KindId> {
        self.models.iter().position(|model| model.kind.name == *name).map(|index| index as KindId)
    }

    fn model(&self, kind: &Name) -> Option<&Model> {
        self.models.iter().find(|model| model.kind.name == *kind)
    }

    fn define(&mut self, definition: Definition) {
        // A scratch begins with the definitions that it needs, but for quotas: an event is judged by those of its time.
        if self.is_scratch {
            if let Definition::Tenant(Tenant { id, quotas, .. }) = definition
                && let Some(tenant) = self.tenants.get_mut(&id)
            {
                tenant.definition.quotas = quotas;
            }
            return;
        }
        self.dirty.meta = true;
        match definition {
            Definition::Kind(kind) => self.define_kind(kind),
            Definition::View(view) => self.define_view(view),
            Definition::Tenant(tenant) => self.define_tenant(tenant),
            Definition::Calendar(table) => {
                self.tables.insert(table.name.clone(), table);
            }
            Definition::Activation(activation) => self.activate(&activation),
        }
    }

    fn define_kind(&mut self, kind: Kind) {
        match self.models.iter_mut().find(|model| model.kind.name == kind.name) {
            // Plans rest on it: of facts they keep what cannot be taken back.
            Some(model) if model.kind.mode != kind.mode => {
                tracing::error!(kind = %kind.name, "a kind in another mode, which day-manager should have refused");
            }
            // Columns are only ever added at the end, so plans keep their meaning; scales and positions too.
            Some(model) => model.kind = kind,
            None => self.models.push(Model::new(kind)),
        }
    }

    /// A view that has missed nothing is in force at once; another one is pending until it has been made.
    fn define_view(&mut self, view: View) {
        let Some(model) = self.model(&view.kind) else {
            tracing::error!(view = %view.name, kind = %view.kind, "a view of a kind that is not defined");
            return;
        };
        if let Err(error) = Plan::compile(&view, &model.kind) {
            tracing::error!(view = %view.name, %error, "a view that day-manager should have refused");
            return;
        }
        self.pending.remove(&view.name);
        if self.has_missed_nothing(&view) {
            self.adopt_view(&view);
        } else {
            self.pending.insert(view.name.clone(), view);
        }
        self.end_jobs();
    }

    /// Whether no event so far belongs into the view and is not in it.
    fn has_missed_nothing(&self, view: &View) -> bool {
        let Some(model) = self.model(&view.kind) else { return false };
        if model.events == 0 {
            return true;
        }
        match model.plan(&view.name) {
            Some(active) if active.view.computes_as(view) => self
                .tenants
                .iter()
                .filter(|(id, _)| view.is_for(id) && !active.view.is_for(id))
                .all(|(_, tenant)| tenant.latest_at == Instant::MIN),
            _ => false,
        }
    }

    /// Puts a view into force. Windows that meant something else by it go.
    fn adopt_view(&mut self, view: &View) {
        let Some(model) = self.models.iter_mut().find(|model| model.kind.name == view.kind) else { return };
        let plan = Plan::compile(view, &model.kind).expect("compiled when it was defined");
        let same = model.plan(&view.name).is_some_and(|active| active.view.computes_as(view));
        model.plans.retain(|known| known.view.name != view.name);
        model.plans.push(plan);
        model.plans.sort_by(|one, other| one.view.name.cmp(&other.view.name));
        for (id, tenant) in self.tenants.iter_mut().filter(|(id, _)| !same || !view.is_for(id)) {
            let gone = tenant.windows.take_view(&view.name);
            self.dirty.removed_windows(id, &gone);
        }
    }

    fn define_tenant(&mut self, definition: Tenant) {
        let id = definition.id.clone();
        self.dirty.tenant(&id);
        match self.tenants.get_mut(&id) {
            Some(tenant) => {
                let gone = tenant.redefine(definition);
                // Nobody writes marks for them any more.
                if tenant.definition.restate_after().is_none() {
                    self.reseal.extend(tenant.restating().map(|date| (id.clone(), date)));
                }
                self.dirty.removed_windows(&id, &gone);
                match tenant.is_unfinished() {
                    true => self.unfinished.insert(id),
                    false => self.unfinished.remove(&id),
                };
            }
            None => {
                self.tenants.insert(id, Box::new(TenantState::new(definition)));
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
