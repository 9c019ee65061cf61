//! The state machine of a partition. Its state is a pure function of the log's prefix: no clock, no randomness, no
//! order taken from a hash map. So replicas agree, reports are byte-identical, and outputs can be made again.
//!
//! [`PartitionState::apply`] takes a batch and returns the effects. Follow an event: [`tenant`] finds what was known of
//! its entity ([`entity`], kept in short as [`columns`]) and judges it ([`verdict`]), [`late`] says what the change does to each view by
//! its policy, [`window`] retracts the old contribution and adds the new one, [`seal`] makes the report, [`answer`] reads
//! figures, [`alerts`] says which groups the batch has fire. [`expiry`] lets days go, whose ids are [`remembered`]. [`backfill`] makes views that come later than events. [`checkpoint`] stores the state in pages ([`pages`], of [`rows`]) and
//! brings it back, if it is sound. [`removal`] takes out what is removed. [`residency`] tells which pages
//! of closed days are in memory and which ones a batch needs. [`digest`] tells whether replicas hold the same. [`audit`] follows one entity.

pub mod alerts;
pub mod answer;
pub mod audit;
pub mod backfill;
pub mod checkpoint;
pub mod columns;
pub mod day;
pub mod digest;
pub mod entity;
mod expiry;
pub mod late;
pub mod pages;
pub mod remembered;
pub mod removal;
pub mod residency;
pub mod rows;
pub mod seal;
mod soundness;
pub mod tenant;
mod totals;
mod verdict;
pub mod whereabouts;
pub mod window;

use self::alerts::Raised;
use self::backfill::{Job, Reused};
use self::entity::KindId;
use self::removal::Purge;
use self::tenant::{Taken, TenantState};
use daybook_contracts::ask::DayState;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::figures::Figures;
use daybook_contracts::log::{Batch, Event, Events, Record, Restate, Through};
use daybook_contracts::reject::{Code, Reject, gather};
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
    /// To be told on `daybook.alerts.<tenant>`, at most [`MAX_ALERTS_OF_BATCH`](daybook_contracts::alert::MAX_ALERTS_OF_BATCH).
    Alerts {
        tenant: TenantId,
        alerts: Vec<Raised>,
    },
    /// What was written of a removed tenant is to be deleted, once all that was caused before is written.
    Purge(Purge),
}

/// A report version, ready to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedReport {
    pub tenant: TenantId,
    pub date: Date,
    pub version: u32,
    /// That of the tenant.
    pub generation: u32,
    /// BLAKE3 of `payload`, in hex.
    pub hash: String,
    pub payload: Vec<u8>,
    /// The groups behind it, by view; `None` where there are too many of them.
    pub figures: Vec<(Name, Option<Figures>)>,
}

/// What a batch gave to count and to tell operators, who read it after the batch. Nothing follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Events that were refused because of what is known already, by code.
    pub refused: BTreeMap<Code, u64>,
    /// Windows that reached the tenant's quota of groups.
    pub filled: u64,
    pub odd: Vec<Odd>,
}

/// A record that the machine passes over, though another service wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// Expected now and then: markers and removals come by different streams.
    #[error("business day {date} of tenant {tenant}, which is not there")]
    DayOfNobody { tenant: TenantId, date: Date },
    #[error("kind {0} in another mode, which day-manager should have refused")]
    KindInAnotherMode(Name),
    #[error("kind {0}, which is one too many and which day-manager should have refused")]
    KindTooMany(Name),
    #[error("view {view} of kind {kind}, which is not defined")]
    ViewWithoutKind { view: Name, kind: Name },
    #[error("view {view}, which day-manager should have refused: {error}")]
    ViewUnsound { view: Name, error: String },
}

/// A kind with the views over it that are in force, compiled.
#[derive(Clone, Debug)]
pub struct Model {
    pub kind: Kind,
    /// In order of their names.
    plans: Vec<Plan>,
    /// How many events of the kind were recorded.
    events: u64,
    /// The kind was removed. Its place is kept, for entities know their kind by it.
    is_removed: bool,
}

impl Model {
    fn new(kind: Kind) -> Self {
        Self { kind, plans: Vec::new(), events: 0, is_removed: false }
    }

    /// The views in force, in order of their names.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter()
    }

    fn has_alerts(&self) -> bool {
        self.plans.iter().any(|plan| !plan.alerts().is_empty())
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
    /// In the order in which they were defined, with those that were removed: the index is the [`KindId`].
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
    /// What the batch has to look at for alerts, and what it has raised. Nothing is left between two batches.
    alerts: alerts::Pending,
    dirty: checkpoint::Dirty,
    /// Where digests are kept. Not part of the state.
    digests: Option<Box<digest::Digests>>,
    /// What is being made of pending views and incomplete seasons: at most one is not ready. Not part of the state.
    jobs: Vec<Job>,
    /// Only makes what its job wants: no view is in force here, and nothing is sealed.
    is_scratch: bool,
    /// Of a scratch: which records are of names that were used before.
    reused: Reused,
    /// Up to so many bytes a page is stored in its day's head. Not part of the state.
    small_page_bytes: usize,
    /// How hashes of entities are cut. Not part of the state.
    hash_cut: checkpoint::HashCut,
    /// Which pages of closed days are in memory. Not part of the state.
    residency: residency::Residency,
    /// What is to be done to remembered ids. Not part of the state.
    agenda: remembered::upkeep::Agenda,
    /// How remembered ids are cut. Not part of the state.
    id_cut: remembered::Cut,
    /// An entity that is followed. Not part of the state.
    audit: Option<audit::Audit>,
    /// What the last batch gave to count and to tell. Not part of the state.
    notes: Notes,
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
            alerts: alerts::Pending::default(),
            dirty: checkpoint::Dirty::default(),
            digests: None,
            jobs: Vec::new(),
            is_scratch: false,
            reused: Reused::default(),
            small_page_bytes: checkpoint::SMALL_PAGE_BYTES,
            hash_cut: checkpoint::HASH_CUT,
            residency: residency::Residency::default(),
            agenda: remembered::upkeep::Agenda::default(),
            id_cut: remembered::CUT,
            audit: None,
            notes: Notes::default(),
        }
    }

    /// The last batch that was applied.
    pub fn position(&self) -> LogSeq {
        self.position
    }

    /// What the last batch gave to count and to tell.
    pub fn notes(&self) -> &Notes {
        &self.notes
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
        self.notes = Notes::default();
        let mut effects = Vec::new();
        let mut rejects: BTreeMap<String, Vec<Reject>> = BTreeMap::new();
        for record in batch.records {
            self.apply_record(record, batch.through, &mut rejects, &mut effects);
        }
        self.through = batch.through;
        for (tenant, date) in std::mem::take(&mut self.reseal) {
            effects.extend(self.seal(&tenant, date));
        }
        if !self.alerts.is_empty() {
            self.raise_alerts(&mut effects);
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
            Record::Define(definition) if self.is_scratch => self.define_in_scratch(definition),
            Record::Define(Definition::Removal(removal)) => {
                self.dirty.meta = true;
                self.remove(removal, rejects, effects);
            }
            Record::Define(definition) => self.define(definition),
            Record::Restate(mark) => self.restate(&mark),
        }
    }

    fn apply_events(&mut self, events: Events, rejects: &mut BTreeMap<String, Vec<Reject>>) {
        let Events { inbox, tenant: tenant_id, kind, events } = events;
        let Some(kind_id) = self.kind_of_events(&tenant_id, &kind) else { return };
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
        self.notes.filled += taken.filled;
        if self.models[usize::from(kind_id)].has_alerts() {
            self.alerts.look_at(&tenant_id, taken.touched.iter().copied());
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
                *self.notes.refused.entry(reject.code).or_default() += 1;
            }
            rejects.entry(tenant_id.to_string()).or_default().append(&mut gather(taken.rejects));
        }
        // It decides which seasons are complete when they are defined.
        if tenant.latest_at != latest_before {
            self.dirty.tenant(&tenant_id);
        }
    }

    /// The place of the kind of recorded events; `None` for events that a scratch skips.
    fn kind_of_events(&self, tenant: &TenantId, kind: &Name) -> Option<KindId> {
        if !self.is_scratch {
            return Some(self.kind_id(kind).expect("ingest records events of defined kinds only"));
        }
        self.kind_in_scratch(kind).filter(|_| self.is_born(tenant) && !self.scratch_skips(kind))
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
        // Days come into INBOX from another stream than definitions: those of a removed tenant may come behind its removal.
        let is_born = self.is_born(&marker.tenant);
        let tenant = self.tenants.get_mut(&marker.tenant).filter(|_| is_born);
        let Some(tenant) = tenant.filter(|tenant| tenant.definition.generation == marker.generation) else {
            self.notes.odd.push(Odd::DayOfNobody { tenant: marker.tenant, date: marker.day.date });
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
                self.close_drafts(&id, before);
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

    fn seal(&mut self, id: &TenantId, date: Date) -> Option<Effect> {
        if self.is_scratch {
            return None;
        }
        let range = seal::Position { partition: self.partition, log: self.position, through: self.through };
        let tenant = self.tenants.get_mut(id).expect("a day is sealed for its tenant");
        self.dirty.day(id, date);
        let sealed = seal::seal(tenant, date, &self.models, range);
        self.alerts.note_report(tenant, &sealed);
        Some(Effect::Report(sealed))
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

    fn model(&self, kind: &Name) -> Option<&Model> {
        Some(&self.models[usize::from(self.kind_id(kind)?)])
    }

    fn define(&mut self, definition: Definition) {
        self.dirty.meta = true;
        match definition {
            Definition::Kind(kind) => self.define_kind(kind),
            Definition::View(view) => self.define_view(view),
            Definition::Tenant(tenant) => self.define_tenant(tenant),
            Definition::Calendar(table) => {
                self.tables.insert(table.name.clone(), table);
            }
            Definition::Activation(activation) => self.activate(&activation),
            Definition::Group(_) => {}
            Definition::Removal(_) => unreachable!("removals have effects, and are taken in by `remove`"),
        }
    }

    fn define_kind(&mut self, kind: Kind) {
        let (known, places) = (self.kind_id(&kind.name), self.models.len());
        match known.map(|known| &mut self.models[usize::from(known)]) {
            // Plans rest on it: of facts they keep what cannot be taken back.
            Some(model) if model.kind.mode != kind.mode => {
                self.notes.odd.push(Odd::KindInAnotherMode(kind.name));
            }
            // Columns are only ever added at the end, so plans keep their meaning; scales and positions too.
            Some(model) => {
                let is_remembered_otherwise = model.kind.remember != kind.remember;
                model.kind = kind;
                if let Some(known) = known.filter(|_| is_remembered_otherwise) {
                    self.forget_ids_of_kind(known);
                }
            }
            None if places >= usize::from(KindId::MAX) => {
                self.notes.odd.push(Odd::KindTooMany(kind.name));
            }
            None => self.models.push(Model::new(kind)),
        }
    }

    /// A view that has missed nothing is in force at once; another one is pending until it has been made.
    fn define_view(&mut self, view: View) {
        let Some(model) = self.model(&view.kind) else {
            self.notes.odd.push(Odd::ViewWithoutKind { view: view.name, kind: view.kind });
            return;
        };
        if let Err(error) = Plan::compile(&view, &model.kind) {
            self.notes.odd.push(Odd::ViewUnsound { view: view.name, error: error.to_string() });
            return;
        }
        self.pending.remove(&view.name);
        if self.has_missed_nothing(&view) {
            let active = self.model(&view.kind).and_then(|model| model.plan(&view.name));
            let is_same = active.is_some_and(|active| self.goes_on_as(&active.view, &view));
            self.adopt_view(&view, is_same);
        } else {
            self.follow_late_of(&view);
            self.pending.insert(view.name.clone(), view);
        }
        self.end_jobs();
    }

    /// Gives the revision in force the late policies of the pending one, where both agree on all days that have closed. A day that closes
    /// before the activation is then sealed and restated as the pending revision, which makes its windows from the log, counts it.
    fn follow_late_of(&mut self, pending: &View) {
        let Some(model) = self.model(&pending.kind) else { return };
        let Some(active) = model.plan(&pending.name).map(|plan| &plan.view) else { return };
        let view = View { late: pending.late, late_changes: pending.late_changes.clone(), ..active.clone() };
        let is_other = !active.computes_as(&view);
        // Metrics that do not add up cannot be carried.
        if is_other && self.late_agrees_so_far(active, &view) && Plan::compile(&view, &model.kind).is_ok() {
            self.adopt_view(&view, true);
        }
    }

    /// Whether no event so far belongs into the view and is not in it.
    fn has_missed_nothing(&self, view: &View) -> bool {
        let Some(model) = self.model(&view.kind) else { return false };
        if model.events == 0 {
            return true;
        }
        match model.plan(&view.name) {
            Some(active) if self.goes_on_as(&active.view, view) => self
                .tenants
                .iter()
                .filter(|(id, _)| view.is_for(id) && !active.view.is_for(id))
                .all(|(_, tenant)| tenant.latest_at == Instant::MIN),
            _ => false,
        }
    }

    /// Whether the figures of a view so far are those of its next revision: it computes the same, but for late policies of days of
    /// which none has closed. Definitions without changes of late policies are of earlier builds, too; those were made anew, which
    /// the log before has to give again.
    fn goes_on_as(&self, active: &View, view: &View) -> bool {
        let is_dated = !active.late_changes.is_empty() || !view.late_changes.is_empty();
        active.computes_as(view) || is_dated && active.adds_up_with(view) && self.late_agrees_so_far(active, view)
    }

    /// Whether both have the same late policies on all days that have closed for tenants of `view`.
    fn late_agrees_so_far(&self, active: &View, view: &View) -> bool {
        let agrees = |tenant: &TenantState| {
            let mut closed = tenant.days.iter().filter(|(_, day)| day.is_closed()).map(|(date, _)| *date);
            active.late_agrees(view, tenant.first_day, tenant.expired_before)
                && closed.all(|date| active.late_on(date) == view.late_on(date))
        };
        self.tenants.iter().filter(|(id, _)| view.is_for(id)).all(|(_, tenant)| agrees(tenant))
    }

    /// Puts a view into force. Its windows go, unless they are the `same` as those of its revision in force.
    fn adopt_view(&mut self, view: &View, same: bool) {
        let Some(kind) = self.kind_id(&view.kind) else { return };
        let model = &mut self.models[usize::from(kind)];
        let plan = Plan::compile(view, &model.kind).expect("compiled when it was defined");
        let had_alerts = model.plan(&view.name).is_some_and(|known| !known.alerts().is_empty());
        model.plans.retain(|known| known.view.name != view.name);
        model.plans.push(plan);
        model.plans.sort_by(|one, other| one.view.name.cmp(&other.view.name));
        self.take_windows(&view.name, |id| !same || !view.is_for(id));
        if had_alerts {
            self.forget_marks(view);
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

impl Sizes {
    /// All of them together, about as many rows as a checkpoint of everything writes.
    pub fn rows(&self) -> u64 {
        (self.tenants + self.days + self.entities + self.groups) as u64
    }
}

#[cfg(test)]
mod tests;
