//! What each request comes to.

use super::{Action, Asked, Finish, Job, Registrar, Reply, Request, Work, define, system};
use daybook_contracts::admin::{
    AdminError, Apply, ApplyReply, CatalogueReply, ClockAdvance, ClockReply, CloseDay, CloseReply, DaysStanding,
    Refusal, Remove, RemoveReply, Target,
};
use daybook_domain::catalogue::{Activation, Definition, SYSTEM_CLOCK};
use daybook_domain::ids::Partition;
use daybook_domain::time::Instant;
use std::time::Duration;

/// All that was published comes through before the answer.
const ALL_ARRIVED: [Work; 2] = [Work::AwaitEarlier { only_catalog: false }, Work::AwaitLast];

/// Ends a request with an answer.
fn answer(job: &mut Job, reply: Reply) -> Option<Action> {
    job.work = [Finish::With(reply).into()].into();
    None
}

fn refuse(job: &mut Job, message: String) -> Option<Action> {
    answer(job, Reply::Refused(AdminError { message }))
}

/// Ends a request with an answer, once all of its definitions have come through.
fn answer_behind(job: &mut Job, definitions: &[Definition], reply: Reply) -> Option<Action> {
    job.work = define(definitions).chain(ALL_ARRIVED).chain([Finish::With(reply).into()]).collect();
    None
}

impl Registrar {
    pub(super) fn decide(&mut self, job: &mut Job, now: Instant) -> Option<Action> {
        match &*job.request.clone() {
            Request::Begin => answer(job, Reply::Begun),
            Request::Look => {
                let due = Work::PublishDue { clock: system(), now, is_repeated: false };
                job.first([Work::Extend(system(), now), Work::AddOffsets, due, Finish::Looked.into()]);
                None
            }
            Request::Apply(apply) => self.apply(job, apply, now),
            Request::Catalogue => answer(job, Reply::Catalogue(self.catalogue(now))),
            Request::Advance(advance) => self.advance(job, advance),
            Request::Close(close) => self.close(job, close, now),
            Request::Remove(remove) => self.remove(job, remove),
            Request::Activate(ready) => {
                let lacks =
                    |(partition, activation): &&(Partition, Activation)| self.registry.lacks(*partition, activation);
                let wanted: Vec<_> = ready.iter().filter(lacks).cloned().collect();
                let reply = Reply::Activated(wanted.clone());
                job.first([Work::Activate(wanted), Finish::With(reply).into()]);
                None
            }
        }
    }

    fn apply(&mut self, job: &mut Job, apply: &Apply, now: Instant) -> Option<Action> {
        let Some(counted) = &job.counted else {
            let moved = self.registry.to_be_moved(apply);
            job.first([Work::Decide]);
            if moved.is_empty() {
                job.counted = Some(Default::default());
                return None;
            }
            return job.ask(Asked::Count, Action::Count(moved));
        };
        let change = match self.registry.check(apply, counted, now) {
            Ok(change) => change,
            Err(refusals) => return answer(job, Reply::Applied(ApplyReply::Refused(refusals))),
        };
        let overtaken = self.overtaken(apply, &change.definitions);
        if !overtaken.is_empty() {
            return answer(job, Reply::Applied(ApplyReply::Refused(overtaken)));
        }
        let reply = Reply::Applied(ApplyReply::Applied(change.applied));
        if apply.dry_run {
            return answer(job, reply);
        }
        // An event published after the answer finds its tenant defined.
        answer_behind(job, &change.definitions, reply)
    }

    /// Those definitions of a change that someone has changed since the asker looked. Calendars also grow by themselves.
    fn overtaken(&self, apply: &Apply, definitions: &[Definition]) -> Vec<Refusal> {
        let Some(seen) = apply.catalog_seen else { return Vec::new() };
        let overtaken = definitions.iter().filter(|definition| {
            let (what, name) = (definition.what(), definition.name());
            !matches!(definition, Definition::Calendar(_)) && self.known.is_newer_than(seen, what, name)
        });
        overtaken
            .map(|definition| {
                let (what, name) = (definition.what(), definition.name());
                let reason = "was changed while this request was under way; look at it, and apply again".to_owned();
                Refusal { what: what.into(), name: name.into(), reason }
            })
            .collect()
    }

    fn days_standing(&self, now: Instant) -> DaysStanding {
        let schedule = &self.registry.schedule;
        let (open, closing) = schedule.open_and_closing();
        let overdue = schedule.next_deadline(&system()).map_or(Duration::ZERO, |due| now.since(due));
        DaysStanding { tenants: schedule.len() as u64, open, closing, overdue_ms: overdue.as_millis() as u64 }
    }

    fn catalogue(&self, now: Instant) -> CatalogueReply {
        CatalogueReply {
            kinds: self.registry.kinds.values().cloned().collect(),
            views: self.registry.views.values().cloned().collect(),
            groups: self.registry.groups.values().cloned().collect(),
            tenants: self.registry.schedule.len(),
            clocks: self.registry.clocks.clone(),
            partitions: self.partitions,
            days: self.days_standing(now),
        }
    }

    fn advance(&mut self, job: &mut Job, ClockAdvance { clock, advance_to }: &ClockAdvance) -> Option<Action> {
        if clock.as_str() == SYSTEM_CLOCK {
            return refuse(job, "the system clock cannot be driven; give the tenants a clock of their own".to_owned());
        }
        let stood = self.registry.clocks.get(clock).copied();
        let now = stood.map_or(*advance_to, |stood| stood.max(*advance_to));
        job.first([
            Work::Extend(clock.clone(), now),
            Work::PublishDue { clock: clock.clone(), now, is_repeated: true },
        ]);
        job.work.extend(ALL_ARRIVED);
        if stood != Some(now) {
            // Only once everything due by then is published: a repeated request finishes what a crash left.
            job.work.push_back(Work::SetClock(clock.clone(), now));
        }
        job.work.push_back(Finish::Advanced(clock.clone(), now).into());
        None
    }

    fn close(&mut self, job: &mut Job, CloseDay { tenant, .. }: &CloseDay, now: Instant) -> Option<Action> {
        let Some(plan) = self.registry.schedule.get(tenant) else {
            return refuse(job, format!("there is no tenant {tenant}"));
        };
        let clock = plan.tenant().clock.clone();
        let Some(now) = self.registry.clock_now(&clock, now) else {
            return refuse(job, format!("the clock {clock} of {tenant} has not begun; nothing is open by it"));
        };
        job.first([Work::Extend(clock, now), Work::EndDay(now), Work::CloseDay(now)]);
        None
    }

    pub(super) fn end_day(&mut self, job: &mut Job, now: Instant) -> Option<Action> {
        let request = job.request.clone();
        let Request::Close(CloseDay { tenant, date, boundary }) = &*request else { return None };
        if let Err(error) = self.registry.schedule.close_by_hand(tenant, *date, now) {
            return refuse(job, error.to_string());
        }
        match boundary.then(|| self.registry.boundary(tenant, *date, now)) {
            Some(Err(why)) => return refuse(job, why),
            // No marker comes before it.
            Some(Ok(Some(boundary))) => job.first(define(&[boundary]).chain(ALL_ARRIVED)),
            Some(Ok(None)) | None => {}
        }
        None
    }

    pub(super) fn close_day(&mut self, job: &mut Job, now: Instant) -> Option<Action> {
        let request = job.request.clone();
        let Request::Close(CloseDay { tenant, date, .. }) = &*request else { return None };
        let closing = match self.registry.schedule.close_by_hand(tenant, *date, now) {
            Ok(closing) => closing,
            Err(error) => return refuse(job, error.to_string()),
        };
        let clock = self.registry.schedule.get(tenant).map_or_else(system, |plan| plan.tenant().clock.clone());
        let opened = closing.opened.clone();
        let markers = closing.into_markers();
        let closed = markers.last().expect("a closing ends with the day's own close").clone();
        // One after the other: their order is what they mean.
        let marks = markers.into_iter().map(|marker| Work::Mark(clock.clone(), vec![marker]));
        job.work = marks.chain(ALL_ARRIVED).chain([Finish::Closed { closed, opened }.into()]).collect();
        None
    }

    fn remove(&mut self, job: &mut Job, remove: &Remove) -> Option<Action> {
        let target = &remove.target;
        let plan = match self.registry.plan_removal(target) {
            Ok(plan) => plan,
            Err(why) => return refuse(job, why),
        };
        let (what, name) = (target.what(), target.name());
        if !plan.is_repeated && remove.catalog_seen.is_some_and(|seen| self.known.is_newer_than(seen, what, name)) {
            let why = format!("{what} {name} was changed while this request was under way; look at it, and ask again");
            return refuse(job, why);
        }
        if let (Target::Tenant { id, .. }, None) = (target, job.weighed) {
            job.first([Work::Decide]);
            return job.ask(Asked::Weigh, Action::Weigh(id.clone()));
        }
        let (state, stored) = job.weighed.unwrap_or_default();
        let reply = Reply::Removed(RemoveReply {
            is_repeated: plan.is_repeated,
            views: plan.views,
            groups: plan.groups,
            state,
            stored,
            ..RemoveReply::default()
        });
        if remove.dry_run { answer(job, reply) } else { answer_behind(job, &plan.definitions, reply) }
    }

    pub(super) fn finish(&self, job: &Job, finish: Finish) -> Reply {
        match finish {
            Finish::With(reply) => reply,
            Finish::Looked => Reply::Looked(job.markers),
            Finish::Advanced(clock, now) => {
                let next_due = self.registry.schedule.next_deadline(&clock);
                Reply::Advanced(ClockReply { now, next_due, markers: job.markers })
            }
            Finish::Closed { closed, opened } => {
                let plan = self.registry.schedule.get(&closed.tenant);
                let boundary = plan.and_then(|plan| plan.tenant().boundary(closed.day.date));
                Reply::Closed(CloseReply { closed, opened, boundary })
            }
        }
    }
}
