//! Views and seasons that come later than events. What they would hold had they been there from the start is worked
//! out by a second machine, the *scratch*, that reads the log from its beginning, beside the live one.
//!
//! A [`Job`] has a base, the position in the log at which it began. The scratch computes the wanted windows of
//! everything up to the base; the live machine keeps, in windows of their own, what comes after it. Accumulators
//! add up in any order, so the sum of both is what a view from the start would hold: no gap, no double count, wherever the
//! base is. Both run the same code, [`Job::change`].
//!
//! When the sum is there, the job is *ready*: seasons are answered from then on, and day-manager is told of views. It
//! puts an activation into the log, and at that position every replica takes the view into force; one that is not ready
//! yet waits there. Until then its job is kept, while others make what comes later. So what reports hold depends on the
//! log alone. Nothing of a job is stored: after a restart it begins again, with a later base.
//!
//! Where the log no longer reaches back, the scratch begins with a snapshot of the state ([`PartitionState::begin_with`]): so it
//! judges what follows as the live machine does, and what is found does not depend on the base.

mod progress;
mod removed;

pub(super) use self::removed::Reused;

use super::entity::Entity;
use super::late::Change;
use super::tenant::TenantState;
use super::window::Windows;
use super::{Model, Notes, PartitionState};
use daybook_contracts::log::{Batch, Events, Record};
use daybook_contracts::report::Coverage;
use daybook_domain::calendar::{CalendarTable, DayClock};
use daybook_domain::catalogue::{Activation, Definition, Kind, LatePolicy, Mode, Season, Tenant, View};
use daybook_domain::ids::{LogSeq, Name, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::quotas::Quotas;
use daybook_domain::time::Date;
use std::collections::{BTreeMap, BTreeSet};

/// Windows that are being made.
#[derive(Clone, Debug, Default)]
pub struct Job {
    base: LogSeq,
    plans: Vec<JobPlan>,
    /// Every season of each tenant that has any, and those of them that are not complete.
    seasons: BTreeMap<TenantId, (Vec<Season>, BTreeSet<Name>)>,
    /// What the scratch has found and is not added yet, with the place of its plan.
    incoming: Vec<(usize, TenantId, Windows)>,
    stage: Stage,
    /// From which position on the scratch has read, when the log no longer reached back.
    since: Option<LogSeq>,
    /// Tenants that were removed since the base.
    gone: BTreeSet<TenantId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Reading,
    Adding,
    Ready,
}

#[derive(Clone, Debug)]
struct JobPlan {
    plan: Plan,
    wanted: Wanted,
    /// Its own: a revision that is made and the one in force, whose seasons are, have the same name.
    windows: BTreeMap<TenantId, Windows>,
}

#[derive(Clone, Debug)]
enum Wanted {
    /// All windows of a view that is not in force, but for tenants who have theirs already by the one that is.
    View { except: Option<Box<View>> },
    /// The incomplete seasons of a view that is in force.
    Seasons,
    /// The view was removed.
    Nothing,
}

impl JobPlan {
    fn is_for(&self, tenant: &TenantId) -> bool {
        let has_its_own = match &self.wanted {
            Wanted::View { except } => except.as_ref().is_some_and(|active| active.is_for(tenant)),
            Wanted::Seasons => false,
            Wanted::Nothing => true,
        };
        self.plan.view.is_for(tenant) && !has_its_own
    }

    /// `seasons` are all of the tenant's, and which of them are not complete; none if it has none.
    fn change<'t>(
        &mut self,
        tenant: &TenantId,
        seasons: Option<&(Vec<Season>, BTreeSet<Name>)>,
        change: &Change<'_>,
        clock: &impl Fn(Date) -> Option<DayClock<'t>>,
    ) {
        let Self { plan, wanted, windows } = self;
        let (all, incomplete) = match seasons {
            Some((all, incomplete)) => (all.as_slice(), Some(incomplete)),
            None => (&[][..], None),
        };
        if !windows.contains_key(tenant) {
            windows.insert(tenant.clone(), Windows::default());
        }
        let windows = windows.get_mut(tenant).expect("just made");
        match wanted {
            Wanted::View { .. } => {
                // Without a cap, for that would depend on where the base is.
                windows.change_days(plan, change, clock, None);
                windows.change_seasons(plan, change, all.iter());
            }
            Wanted::Seasons => {
                let wanted = all.iter().filter(|season| incomplete.is_some_and(|set| set.contains(&season.name)));
                windows.change_seasons(plan, change, wanted);
            }
            Wanted::Nothing => {}
        }
    }
}

impl Job {
    /// Does to the wanted windows what a change to an entity does.
    pub fn change<'t>(
        &mut self,
        tenant: &TenantId,
        kind: &Name,
        change: &Change<'_>,
        clock: impl Fn(Date) -> Option<DayClock<'t>>,
    ) {
        let seasons = self.seasons.get(tenant);
        let plans = self.plans.iter_mut().filter(|wanted| wanted.plan.view.kind == *kind && wanted.is_for(tenant));
        for wanted in plans {
            wanted.change(tenant, seasons, change, &clock);
        }
    }

    /// Puts an entity that stands on `date` into the wanted windows. What is held of it may be on a day that is gone, and counts in
    /// its season all the same; windows of such days go when what is found is added.
    fn stand<'t>(
        &mut self,
        tenant: &TenantId,
        kind: &Name,
        (date, entity): (Date, &Entity),
        clock: impl Fn(Date) -> Option<DayClock<'t>>,
    ) {
        let seasons = self.seasons.get(tenant);
        let plans = self.plans.iter_mut().filter(|wanted| wanted.plan.view.kind == *kind && wanted.is_for(tenant));
        for wanted in plans {
            let standing = match (wanted.plan.view.late, &entity.held) {
                (LatePolicy::Reject, Some(held)) => held.version.as_ref().map(|(date, version)| (*date, version)),
                _ => Some((date, entity)),
            };
            let Some((date, standing)) = standing else { continue };
            wanted.change(tenant, seasons, &Change::in_time(date, standing.into()), &clock);
        }
    }

    fn is_of(&self, kind: &Name) -> bool {
        self.plans.iter().any(|wanted| wanted.plan.view.kind == *kind)
    }

    /// Lets go of days that the machine no longer keeps.
    pub fn expire(&mut self, tenant: &TenantId, before: Date) {
        for windows in self.plans.iter_mut().filter_map(|wanted| wanted.windows.get_mut(tenant)) {
            windows.days = windows.days.split_off(&before);
        }
    }

    /// The plan of a view that is being made.
    fn view(&self, view: &View) -> Option<usize> {
        self.plans.iter().position(|wanted| matches!(wanted.wanted, Wanted::View { .. }) && wanted.plan.view == *view)
    }

    /// Whether the windows of `view` are complete.
    pub fn has(&self, view: &View) -> bool {
        self.is_ready() && self.view(view).is_some()
    }

    fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }
}

/// What a scratch has found once it has read everything up to the base.
#[derive(Debug, Default)]
pub struct Found {
    base: LogSeq,
    /// In the order of the job's plans.
    windows: Vec<BTreeMap<TenantId, Windows>>,
    since: Option<LogSeq>,
}

impl Found {
    /// `since` is from which position on the scratch has read, when the log no longer reached back to its beginning.
    pub fn of(mut scratch: PartitionState, since: Option<LogSeq>) -> Self {
        let job = scratch.jobs.pop().unwrap_or_default();
        Self { base: job.base, windows: job.plans.into_iter().map(|wanted| wanted.windows).collect(), since }
    }

    /// Whether something was made for the tenant.
    #[cfg(test)]
    pub fn is_for(&self, tenant: &TenantId) -> bool {
        self.windows.iter().any(|of| of.contains_key(tenant))
    }
}

impl PartitionState {
    /// Whether there is something to be made that no job is making.
    pub fn wants_backfill(&self) -> bool {
        self.jobs.iter().all(Job::is_ready) && (self.unmade_views().next().is_some() || !self.unfinished.is_empty())
    }

    /// Whether a view or a season waits for a backfill: a state restored from this one reads the log from its beginning.
    pub fn needs_history(&self) -> bool {
        !self.pending.is_empty() || !self.unfinished.is_empty()
    }

    /// Lets go of the job that is under way: it is to begin again, with a later base.
    pub fn give_up_backfill(&mut self) {
        self.jobs.retain(Job::is_ready);
    }

    /// Pending views that no job has made or is making.
    fn unmade_views(&self) -> impl Iterator<Item = &View> {
        self.pending.values().filter(|view| self.jobs.iter().all(|job| job.view(view).is_none()))
    }

    /// The job that is under way.
    fn working(&mut self) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| !job.is_ready())
    }

    fn incomplete_seasons(&self) -> BTreeMap<TenantId, BTreeSet<Name>> {
        let incomplete = |tenant: &TenantState| {
            let names = tenant.definition.seasons.iter().map(|season| &season.name);
            names.filter(|name| !tenant.complete_seasons.contains(*name)).cloned().collect::<BTreeSet<_>>()
        };
        self.unfinished.iter().map(|id| (id.clone(), incomplete(&self.tenants[id]))).collect()
    }

    /// Begins a job with the present position as its base, and returns the scratch that has to read the log up to there.
    pub fn begin_backfill(&mut self) -> Self {
        let incomplete = self.incomplete_seasons();
        let mut plans: Vec<JobPlan> = Vec::new();
        for view in self.unmade_views() {
            let model = self.model(&view.kind).expect("a view is pending only where its kind is defined");
            let plan = Plan::compile(view, &model.kind).expect("a pending view was compiled before").without_alerts();
            let active = model.plan(&view.name).filter(|active| active.view.computes_as(view));
            let except = active.map(|active| Box::new(active.view.clone()));
            plans.push(JobPlan { plan, wanted: Wanted::View { except }, windows: BTreeMap::new() });
        }
        if !incomplete.is_empty() {
            let active = self.models.iter().flat_map(Model::plans);
            plans.extend(active.map(|plan| JobPlan {
                plan: plan.clone().without_alerts(),
                wanted: Wanted::Seasons,
                windows: BTreeMap::new(),
            }));
        }
        let seasons = self
            .tenants
            .iter()
            .filter(|(_, tenant)| !tenant.definition.seasons.is_empty())
            .map(|(id, tenant)| {
                (id.clone(), (tenant.definition.seasons.clone(), incomplete.get(id).cloned().unwrap_or_default()))
            })
            .collect();
        let job = Job { base: self.position, plans, seasons, ..Job::default() };
        // Quotas come with the log, as they stood for each event.
        let fresh = |tenant: &TenantState| {
            let definition = Tenant { quotas: Quotas::default(), ..tenant.definition.clone() };
            Box::new(TenantState::since(tenant.first_day, definition))
        };
        let mut scratch = Self::new(self.partition);
        scratch.is_scratch = true;
        scratch.tables = self.tables.clone();
        // For how long ids are remembered does too.
        let bare = |model: &Model| {
            let kind = Kind { remember: None, ..model.kind.clone() };
            Model { is_removed: model.is_removed, ..Model::new(kind) }
        };
        scratch.id_cut = self.id_cut;
        scratch.models = self.models.iter().map(bare).collect();
        scratch.reused = Reused::at_the_beginning(self.tenants.values().map(|tenant| &tenant.definition));
        scratch.tenants = self.tenants.iter().map(|(id, tenant)| (id.clone(), fresh(tenant))).collect();
        scratch.jobs.push(job.clone());
        self.jobs.push(job);
        scratch
    }

    /// Has a scratch that has read nothing begin behind `before`, where the log no longer reaches back: with its entities, days
    /// and quotas. What `before` has of entities is put into the wanted windows; facts, and what was carried to days, are not
    /// kept one by one.
    ///
    /// # Panics
    /// When this is no scratch, or one that has read something.
    pub fn begin_with(&mut self, before: Self) {
        assert!(self.is_scratch && self.position == LogSeq(0), "a scratch begins once");
        (self.position, self.through) = (before.position, before.through);
        self.reused.begin_behind(&before.models);
        for (model, known) in self.models.iter_mut().zip(&before.models) {
            model.kind.remember = known.kind.remember;
        }
        let removed = self.removed_kinds();
        for (id, mut known) in before.tenants {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            if known.definition.generation != tenant.definition.generation {
                continue;
            }
            self.reused.is_known(&id);
            // Kinds may have been removed since.
            removed.iter().for_each(|kind| drop(known.forget_kind(*kind)));
            known.remembered.retain(|kind, _| !removed.contains(kind));
            known.definition = Tenant { quotas: known.definition.quotas, ..tenant.definition.clone() };
            known.windows = Windows::default();
            *tenant = known;
        }
        let Self { jobs, models, tables, tenants, .. } = self;
        let job = jobs.first_mut().expect("a scratch has one");
        for (id, tenant) in tenants.iter() {
            let clock = |date| tenant.clock(date, table_of(tables, tenant));
            for (date, day) in &tenant.days {
                for (key, entity) in day.entities.iter() {
                    let kind = &models[usize::from(key.kind)].kind;
                    if kind.mode == Mode::Entity {
                        job.stand(id, &kind.name, (*date, entity), clock);
                    }
                }
            }
        }
    }

    /// The position up to which the scratch has to read.
    pub fn backfill_base(&self) -> Option<LogSeq> {
        self.jobs.iter().find(|job| !job.is_ready()).map(|job| job.base)
    }

    /// Whether the scratch needs to see events of that kind.
    pub(super) fn scratch_skips(&self, kind: &Name) -> bool {
        self.is_scratch && self.jobs.iter().all(|job| !job.is_of(kind))
    }

    /// Reads a batch of the log into the scratch, as [`PartitionState::apply`] does, but in pieces of at most `piece`
    /// events, and calls `rest` after each.
    pub fn read(&mut self, position: LogSeq, batch: Batch, piece: usize, mut rest: impl FnMut()) {
        assert!(self.is_scratch, "a machine in force applies a batch as a whole");
        self.position = position;
        self.notes = Notes::default();
        // A scratch seals and rejects nothing.
        let (mut rejects, mut effects) = (BTreeMap::new(), Vec::new());
        for record in batch.records {
            for piece in pieces(record, piece) {
                self.apply_record(piece, batch.through, &mut rejects, &mut effects);
                rest();
            }
        }
        self.through = batch.through;
        self.reseal.clear();
    }

    /// Takes what the scratch found, to be added by [`PartitionState::add_backfill`].
    pub fn finish_backfill(&mut self, found: Found) {
        let Some(job) = self.working().filter(|job| job.stage == Stage::Reading && job.base == found.base) else {
            return;
        };
        job.since = found.since;
        let Job { plans, gone, .. } = job;
        let is_wanted = |plan: usize| !matches!(plans[plan].wanted, Wanted::Nothing);
        let windows = found.windows.into_iter().enumerate().filter(|(plan, _)| is_wanted(*plan));
        let of_tenants = windows.flat_map(|(plan, of)| of.into_iter().map(move |(id, of)| (plan, id, of)));
        job.incoming = of_tenants.filter(|(_, id, _)| !gone.contains(id)).collect();
        job.stage = Stage::Adding;
    }

    /// Adds what was found for one view and tenant; returns whether there is more. Short, so that others have their turn.
    pub fn add_backfill(&mut self) -> bool {
        let Some(job) = self.jobs.iter_mut().find(|job| job.stage == Stage::Adding) else { return false };
        if let Some((plan, id, windows)) = job.incoming.pop() {
            if let Some(tenant) = self.tenants.get(&id) {
                let kept = |date: Date| date >= tenant.expired_before;
                job.plans[plan].windows.entry(id).or_default().merge(windows, kept);
            }
            return true;
        }
        self.complete_seasons();
        self.working().expect("seen above").stage = Stage::Ready;
        self.end_jobs();
        false
    }

    /// Puts the seasons that are complete now to those that are answered. Where a view has come into force while they
    /// were made, which they do not have then, they are made once more.
    fn complete_seasons(&mut self) {
        let Some(job) = self.jobs.iter_mut().find(|job| !job.is_ready()) else { return };
        let is_of_seasons = |wanted: &&mut JobPlan| matches!(wanted.wanted, Wanted::Seasons);
        let mut made: Vec<&mut JobPlan> = job.plans.iter_mut().filter(is_of_seasons).collect();
        for (id, (seasons, incomplete)) in &mut job.seasons {
            let Some(tenant) = self.tenants.get_mut(id) else { continue };
            let has = |plan: &Plan| {
                made.iter().any(|made| made.plan.view.computes_as(&plan.view) && made.plan.view.is_for(id))
            };
            let mut in_force = self.models.iter().flat_map(Model::plans).filter(|plan| plan.view.is_for(id));
            if !in_force.all(has) {
                continue;
            }
            for name in std::mem::take(incomplete) {
                // It may have been changed or removed meanwhile.
                let is_the_same =
                    seasons.iter().any(|season| season.name == name && tenant.definition.seasons.contains(season));
                if !is_the_same || tenant.complete_seasons.contains(&name) {
                    continue;
                }
                for JobPlan { plan, windows, .. } in &mut made {
                    let found = windows.get_mut(id).and_then(|windows| windows.seasons.get_mut(&name));
                    let is_in_force = self
                        .models
                        .iter()
                        .any(|model| model.plan(&plan.view.name).is_some_and(|active| active.view.is_for(id)));
                    if let Some(window) = found.and_then(|views| views.remove(&plan.view.name)).filter(|_| is_in_force)
                    {
                        tenant.windows.season_mut(&name, &plan.view.name).merge(*window);
                    }
                    if let Some(since) = job.since.filter(|_| is_in_force) {
                        tenant.windows.season_mut(&name, &plan.view.name).coverage = partial_since(since);
                    }
                }
                tenant.complete_seasons.insert(name.clone());
                self.dirty.season(id, &name);
                self.dirty.tenant(id);
            }
            if !tenant.is_unfinished() {
                self.unfinished.remove(id);
            }
        }
        job.plans.retain(|wanted| !matches!(wanted.wanted, Wanted::Seasons));
    }

    /// Lets go of what was made of views that newer revisions have taken the place of, and of jobs that have nothing left.
    pub(super) fn end_jobs(&mut self) {
        let pending = &self.pending;
        for job in self.jobs.iter_mut().filter(|job| job.is_ready()) {
            job.plans.retain(|wanted| pending.get(&wanted.plan.view.name) == Some(&wanted.plan.view));
        }
        self.jobs.retain(|job| !job.is_ready() || !job.plans.is_empty());
    }

    /// Whether the batch takes a view into force that is still being made: it cannot be applied before.
    pub fn awaits_backfill(&self, batch: &Batch) -> bool {
        batch.records.iter().any(|record| match record {
            Record::Define(Definition::Activation(activation)) => self.is_awaited(activation),
            _ => false,
        })
    }

    fn is_awaited(&self, activation: &Activation) -> bool {
        match self.pending.get(&activation.view) {
            Some(view) if view.revision == activation.revision => !self.jobs.iter().any(|job| job.has(view)),
            _ => false,
        }
    }

    /// Whether the batch takes a view into force that was made here of another part of the log than where it was found ready:
    /// the log was trimmed between the two, and its figures would not be the same.
    pub fn differs_in_history(&self, batch: &Batch) -> bool {
        batch.records.iter().any(|record| match record {
            Record::Define(Definition::Activation(activation)) => {
                let pending = self.pending.get(&activation.view);
                let pending = pending.filter(|view| view.revision == activation.revision);
                let made = pending.and_then(|view| self.jobs.iter().find(|job| job.has(view)));
                made.is_some_and(|job| job.since != activation.since)
            }
            _ => false,
        })
    }

    /// Takes a pending view into force. An activation of another revision than the pending one is of the past.
    pub(super) fn activate(&mut self, activation: &Activation) {
        let Some(view) = self.pending.get(&activation.view).filter(|view| view.revision == activation.revision) else {
            return;
        };
        let view = view.clone();
        self.pending.remove(&view.name);
        let waits = "a batch with an activation waits for its view";
        let job = self.jobs.iter_mut().find(|job| job.has(&view)).expect(waits);
        let wanted = job.plans.remove(job.view(&view).expect(waits));
        // Windows of tenants for whom none were made go on.
        let is_same = matches!(wanted.wanted, Wanted::View { except: Some(_) });
        // The log may have been trimmed further before this replica read it. If no other's state was to be had, what it has is
        // what it tells.
        let since = activation.since.max(job.since);
        let seasons = job.seasons.clone();
        self.adopt_view(&view, is_same);
        let made_for: BTreeSet<TenantId> = self.tenants.keys().filter(|id| wanted.is_for(id)).cloned().collect();
        for (id, mut windows) in wanted.windows {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            let defined = &tenant.definition.seasons;
            let known = seasons.get(&id).map_or(&[][..], |(all, _)| all);
            windows.seasons.retain(|name, _| {
                let is_the_same = known.iter().any(|season| season.name == *name && defined.contains(season));
                is_the_same && tenant.complete_seasons.contains(name)
            });
            windows.days.retain(|date, views| {
                *date >= tenant.expired_before && views.values().any(|window| !window.is_untouched())
            });
            for date in windows.days.keys() {
                // One to which changes were carried may be known of nothing else.
                tenant.day(*date, self.position);
                self.dirty.day(&id, *date);
            }
            windows.seasons.keys().for_each(|season| self.dirty.season(&id, season));
            tenant.windows.merge(windows, |_| true);
        }
        // Seasons that came while the view was made do not hold it: they are made once more.
        for (id, tenant) in self.tenants.iter_mut().filter(|(id, _)| view.is_for(id)) {
            let known = seasons.get(id).map_or(&[][..], |(all, _)| all);
            let missed: Vec<Name> = tenant
                .definition
                .seasons
                .iter()
                .filter(|season| tenant.complete_seasons.contains(&season.name) && !known.contains(season))
                .filter(|season| season.from <= tenant.latest_at)
                .map(|season| season.name.clone())
                .collect();
            for season in missed {
                let gone = tenant.reopen_season(&season);
                self.unfinished.insert(id.clone());
                self.dirty.removed_windows(id, &gone);
                self.dirty.tenant(id);
            }
        }
        if let Some(since) = since {
            self.mark_partial(&view, since, &made_for);
            self.mark_seasons_partial(&view, since, &made_for);
        }
        self.end_jobs();
    }

    /// Marks the days of the tenants that were begun before the log's present beginning as partial.
    fn mark_partial(&mut self, view: &View, since: LogSeq, tenants: &BTreeSet<TenantId>) {
        let mode = self.model(&view.kind).map(|model| model.kind.mode);
        // The newest versions of entities are kept, so those of restated views are whole all the same.
        if mode == Some(Mode::Entity) && view.late_policies().all(|late| late == LatePolicy::Restate) {
            return;
        }
        self.partial_views.insert(view.name.clone());
        for (id, tenant) in self.tenants.iter_mut().filter(|(id, _)| tenants.contains(*id)) {
            let dates: Vec<Date> =
                tenant.days.iter().filter(|(_, day)| day.from < since).map(|(date, _)| *date).collect();
            for date in dates {
                tenant.windows.day_mut(date, &view.name).coverage = partial_since(since);
                self.dirty.day(id, date);
            }
        }
    }

    /// Marks the tenants' seasons that have begun as partial, also those of which nothing is left: their events may be of any time
    /// before, and entities of days that are over are not kept.
    fn mark_seasons_partial(&mut self, view: &View, since: LogSeq, tenants: &BTreeSet<TenantId>) {
        for (id, tenant) in self.tenants.iter_mut().filter(|(id, _)| tenants.contains(*id)) {
            let has_begun =
                |season: &&Season| tenant.complete_seasons.contains(&season.name) && season.from <= tenant.latest_at;
            let seasons = tenant.definition.seasons.iter().filter(has_begun).map(|season| season.name.clone());
            for season in seasons.collect::<Vec<_>>() {
                tenant.windows.season_mut(&season, &view.name).coverage = partial_since(since);
                self.dirty.season(id, &season);
            }
        }
    }
}

fn partial_since(since: LogSeq) -> Coverage {
    let reason = "the log no longer reached back further when the view was defined".to_owned();
    Coverage::Partial { from: since, reason }
}

/// A record in pieces of at most `size` events, in their order.
fn pieces(record: Record, size: usize) -> Vec<Record> {
    match record {
        Record::Events(mut all) if all.events.len() > size => {
            let mut events = std::mem::take(&mut all.events).into_iter();
            let next = || Some(events.by_ref().take(size).collect::<Vec<_>>()).filter(|piece| !piece.is_empty());
            std::iter::from_fn(next).map(|events| Record::Events(Events { events, ..all.clone() })).collect()
        }
        whole => vec![whole],
    }
}

/// The tenant's calendar, if it has been recorded.
pub fn table_of<'t>(tables: &'t BTreeMap<Name, CalendarTable>, tenant: &TenantState) -> Option<&'t CalendarTable> {
    tables.get(tenant.definition.table.as_ref()?)
}
