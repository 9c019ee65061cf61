//! The actor: publishes definitions and markers, one thing after the other. Where another day-manager comes in between,
//! it begins the request again with what the streams say; whatever else the broker does not do, the asker is told of.
//!
//! **Whatever became of a request, it may be repeated.** The actor relies on what it knows only while all that it began has
//! ended well; else it reads the streams anew before it does anything. What it finds there as it was asked for is passed
//! over: a definition is compared with the one that is there, a marker has its place in the order of the tenant's days, a
//! clock is stored last and never goes back, a day that is closed by hand is named by its date. And a message whose fate was
//! unclear cannot come late and undo something: each is stored only behind the one that its writer knew.

use crate::accounts::AccountsHandle;
use crate::failure::{self, Failure, Refused, Trouble};
use crate::loading::{Loaded, load, load_clocks};
use crate::messages::Message;
use crate::publishing::{Arrival, Publisher};
use crate::registry::Registry;
use crate::{activation, admin, counting, holdings};
use async_nats::HeaderMap;
use daybook_contracts::admin::{
    AdminError, Apply, ApplyReply, CatalogueReply, ClockAdvance, ClockReply, CloseDay, CloseReply, DaysStanding,
    Refusal, Remove, RemoveReply, Target,
};
use daybook_contracts::day::DayMarker;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Activation, Definition, SYSTEM_CLOCK};
use daybook_domain::ids::{Name, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::connection::round_trip;
use daybook_runtime::membership::Membership;
use daybook_runtime::process::Context;
use daybook_runtime::{clock, telemetry};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Markers published in one go; between two goes nothing else is done for a replay, but the system clock's tick looks
/// at its mailbox.
const MARKERS_AT_ONCE: usize = 2_000;
/// How often something is begun in all while another day-manager comes in between.
const MAX_ATTEMPTS: u32 = 8;
/// The first pause before something is begun again, and the longest: all of them together let the other one finish what
/// takes some seconds.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// How long reading the streams anew may take: those of a hundred thousand tenants take a few seconds.
const READING_DEADLINE: Duration = Duration::from_secs(30);
/// How long the last replies may take when the process ends. What was asked is done by then, or refused.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// Starts the actor as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(
    context: Context,
    membership: Arc<Membership>,
    tick: Duration,
    accounts: Option<AccountsHandle>,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let arguments = (context, membership, tick, accounts);
    let (actor, _) = Actor::spawn_linked(None, Manager, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

struct Manager;

struct State {
    context: Context,
    tick: Duration,
    membership: Arc<Membership>,
    registry: Registry,
    publisher: Publisher,
    /// Whether the two are what the streams said when they were last looked at: not while something is under way, nor after
    /// it has failed.
    is_certain: bool,
    trouble: Trouble,
    /// What an earlier day-manager published and nobody has seen in INBOX yet: no answer is given before.
    unarrived: Vec<(u64, Arrival)>,
    endpoints: JoinHandle<()>,
    /// Cancelled when no further requests are to be taken.
    ending: CancellationToken,
    /// Asks the shards about their backfills.
    backfills: JoinHandle<()>,
    /// The newest revision of each view, for that task.
    revisions: watch::Sender<BTreeMap<Name, u64>>,
}

impl Drop for State {
    fn drop(&mut self) {
        // Also when the actor has panicked: those who have asked are told so before the task ends.
        self.ending.cancel();
        self.backfills.abort();
    }
}

impl Actor for Manager {
    type Msg = Message;
    type State = State;
    type Arguments = (Context, Arc<Membership>, Duration, Option<AccountsHandle>);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (context, membership, tick, accounts): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        context.health.set("day-manager", false);
        // Nobody waits here: it may take as long as there is to read.
        let loaded = load(&context.connection).await?;
        let (registry, publisher, unarrived) = begin(loaded).await?;
        let ending = CancellationToken::new();
        let endpoints = admin::serve(&context.connection, myself.clone(), accounts, ending.clone()).await?;
        let (tenants, kinds, views) = (registry.schedule.len(), registry.kinds.len(), registry.views.len());
        tracing::info!(tenants, kinds, views, "managing days");
        // Whoever is told that it is ready finds it listening.
        round_trip(&context.connection.client).await;
        context.health.set("day-manager", true);
        let (revisions, newest) = watch::channel(registry.revisions());
        let backfills =
            tokio::spawn(activation::watch(context.connection.clone(), membership.clone(), newest, myself.clone()));
        myself.send_after(tick, || Message::Tick);
        Ok(State {
            context,
            tick,
            membership,
            registry,
            publisher,
            is_certain: true,
            trouble: Trouble::default(),
            unarrived,
            endpoints,
            ending,
            backfills,
            revisions,
        })
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.context.health.set("day-manager", false);
        state.ending.cancel();
        let _ = tokio::time::timeout(LAST_REPLIES, &mut state.endpoints).await;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, Message::Tick) {
            // Asked for again rather than sent at intervals: what takes long must not pile up.
            myself.send_after(state.tick, || Message::Tick);
        }
        if state.backfills.is_finished() {
            return Err("the watch over backfills ended".into());
        }
        // An asker who is gone has no use for the reply.
        match message {
            // One of several day-managers is enough, and the others do not repair what it is just publishing; two that
            // take themselves for the one do no harm. But each sees whether what failed it does so still.
            Message::Tick | Message::More if !state.membership.leads() => {
                if state.trouble.is_there() {
                    let _ = state.carry_out(true, async |_| Ok(())).await;
                }
            }
            Message::Tick | Message::More => {
                // What is due is so with the next tick too.
                let _ = state.carry_out(true, async move |state| state.look(&myself).await).await;
            }
            Message::Apply(apply, reply) => {
                let _ = reply.send(state.carry_out(false, async move |state| state.apply(&apply).await).await);
            }
            Message::Catalogue(reply) => {
                let _ = reply.send(state.carry_out(false, async |state| Ok(state.catalogue())).await);
            }
            Message::Advance(request, reply) => {
                let outcome = state.carry_out(false, async move |state| state.advance(&request).await).await;
                let _ = reply.send(outcome.and_then(|outcome| Ok(outcome?)));
            }
            Message::Close(request, reply) => {
                let outcome = state.carry_out(false, async move |state| state.close(&request).await).await;
                let _ = reply.send(outcome.and_then(|outcome| Ok(outcome?)));
            }
            Message::Remove(request, reply) => {
                let outcome = state.carry_out(false, async move |state| state.remove(&request).await).await;
                let _ = reply.send(outcome.and_then(|outcome| Ok(outcome?)));
            }
            Message::Activate(ready) => {
                let wanted = ready.clone();
                if state.carry_out(false, async move |state| state.activate(&wanted).await).await.is_err() {
                    // The watch tells each of them once.
                    myself.send_after(failure::PAUSE, || Message::Activate(ready));
                }
            }
        }
        Ok(())
    }
}

/// What is read of the streams while somebody waits.
async fn in_time<T>(reading: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(READING_DEADLINE, reading).await.map_err(|_| Failure::Reading(READING_DEADLINE))
}

/// Finishes what an earlier day-manager left half done.
async fn begin(loaded: Loaded) -> Result<(Registry, Publisher, Vec<(u64, Arrival)>), Failure> {
    let Loaded { registry, mut publisher, repairs, mut unarrived } = loaded;
    if !repairs.is_empty() {
        tracing::info!(count = repairs.len(), "publishing definitions that had not reached every partition");
        let repaired = publisher.publish(repairs, &HeaderMap::new()).await?;
        unarrived.extend(repaired);
    }
    // Definitions and days come into INBOX from two streams: no day is published before its tenant is there.
    for (sequence, arrival) in unarrived.extract_if(.., |(_, arrival)| arrival.is_of_catalog()) {
        publisher.arrived(sequence, &arrival).await?;
    }
    Ok((registry, publisher, unarrived))
}

impl State {
    /// Does `work` on what the streams say now, so that no answer rests on what is no longer so; or tells why not.
    async fn carry_out<T>(
        &mut self,
        is_tick: bool,
        work: impl AsyncFn(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Refused> {
        if let Some(refusal) = self.trouble.refuses(tokio::time::Instant::now()) {
            return Err(refusal);
        }
        let outcome = match self.attempt(is_tick, work).await {
            Ok(outcome) => {
                self.trouble.ended();
                Ok(outcome)
            }
            Err(failure) => {
                tracing::warn!(
                    error = &failure as &dyn std::error::Error,
                    "something was not done; reading everything anew"
                );
                Err(self.trouble.failed(&failure, tokio::time::Instant::now()))
            }
        };
        self.context.health.set("day-manager", !self.trouble.is_lasting());
        outcome
    }

    /// Where another day-manager comes in between, the work is begun again: what of it is published already is passed over.
    async fn attempt<T>(
        &mut self,
        is_tick: bool,
        work: impl AsyncFn(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let [mut pause, longest] = PAUSES;
        let mut attempts = 1;
        loop {
            let outcome = match self.refresh(is_tick).await {
                Ok(()) => {
                    self.is_certain = false;
                    let outcome = work(self).await;
                    self.is_certain = outcome.is_ok();
                    outcome
                }
                Err(failure) => Err(failure),
            };
            match outcome {
                Err(failure) if attempts < MAX_ATTEMPTS && failure.is_conflict() => {
                    tracing::info!(error = %failure, "beginning again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                    attempts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Reads anew what another day-manager has published, or everything where it is not certain what is there. A broker that
    /// does not say is asked again with the next tick, if this is one; ticks need no clock but the system's.
    async fn refresh(&mut self, is_tick: bool) -> Result<(), Failure> {
        let is_current = self.is_certain
            && match self.publisher.is_current().await {
                Err(_) if is_tick => true,
                is_current => is_current?,
            };
        if !is_current {
            tracing::info!("another day-manager may have been at work; reading everything anew");
            self.is_certain = false;
            let loaded = in_time(load(&self.context.connection)).await??;
            let known = self.registry.clocks.clone();
            (self.registry, self.publisher, self.unarrived) = begin(loaded).await?;
            // A clock never goes back, also not where someone else has written in the place of where it stands.
            for (name, stood) in known {
                self.registry.clocks.entry(name).and_modify(|now| *now = stood.max(*now)).or_insert(stood);
            }
            self.is_certain = true;
            self.tell_revisions();
        } else if !is_tick && !self.publisher.knows_clocks().await? {
            self.registry.clocks = in_time(load_clocks(&self.context.connection, &mut self.publisher)).await??;
        }
        Ok(())
    }

    /// Lets the watch over backfills know which revisions of views are the newest.
    fn tell_revisions(&self) {
        let newest = self.registry.revisions();
        self.revisions.send_if_modified(|known| {
            *known != newest && {
                *known = newest;
                true
            }
        });
    }

    async fn look(&mut self, myself: &ActorRef<Message>) -> Result<(), Failure> {
        let system = Name::new(SYSTEM_CLOCK).expect("a valid name");
        let now = clock::now();
        self.extend(&system, now).await?;
        self.publish_tables(self.registry.with_offsets()).await?;
        let (count, _) = self.publish_due(&system, now).await?;
        let late = self.registry.schedule.next_deadline(&system).map_or(0.0, |due| now.since(due).as_secs_f64());
        metrics::gauge!("daybook_days_overdue_seconds").set(late);
        metrics::gauge!("daybook_tenants").set(self.registry.schedule.len() as f64);
        if count > 0 {
            // There may be more; let others have their turn first.
            let _ = myself.cast(Message::More);
        }
        Ok(())
    }

    async fn apply(&mut self, apply: &Apply) -> Result<ApplyReply, Failure> {
        let moved = self.registry.to_be_moved(apply);
        let counted = counting::ask(&self.context.connection, moved).await;
        let change = match self.registry.check(apply, &counted, clock::now()) {
            Ok(change) => change,
            Err(refusals) => return Ok(ApplyReply::Refused(refusals)),
        };
        let overtaken = self.overtaken(apply, &change.definitions);
        if !overtaken.is_empty() {
            return Ok(ApplyReply::Refused(overtaken));
        }
        if apply.dry_run {
            return Ok(ApplyReply::Applied(change.applied));
        }
        let last = self.publish_definitions(change.definitions).await?;
        // An event published after the answer finds its tenant defined.
        self.see_arrive(last).await?;
        for line in &change.applied {
            tracing::info!(what = line.what, name = line.name, action = ?line.action, "applied");
        }
        Ok(ApplyReply::Applied(change.applied))
    }

    /// Those definitions of a change that someone has changed since the asker looked. Calendars also grow by themselves.
    fn overtaken(&self, apply: &Apply, definitions: &[Definition]) -> Vec<Refusal> {
        let Some(seen) = apply.catalog_seen else { return Vec::new() };
        let overtaken = definitions.iter().filter(|definition| {
            let (what, name) = (definition.what(), definition.name());
            !matches!(definition, Definition::Calendar(_)) && self.publisher.is_newer_than(seen, what, name)
        });
        overtaken
            .map(|definition| {
                let (what, name) = (definition.what(), definition.name());
                let reason = "was changed while this request was under way; look at it, and apply again".to_owned();
                Refusal { what: what.into(), name: name.into(), reason }
            })
            .collect()
    }

    fn days_standing(&self) -> DaysStanding {
        let schedule = &self.registry.schedule;
        let (open, closing) = schedule.open_and_closing();
        let system = Name::new(SYSTEM_CLOCK).expect("a valid name");
        let overdue = schedule.next_deadline(&system).map_or(Duration::ZERO, |due| clock::now().since(due));
        DaysStanding { tenants: schedule.len() as u64, open, closing, overdue_ms: overdue.as_millis() as u64 }
    }

    fn catalogue(&self) -> CatalogueReply {
        CatalogueReply {
            kinds: self.registry.kinds.values().cloned().collect(),
            views: self.registry.views.values().cloned().collect(),
            groups: self.registry.groups.values().cloned().collect(),
            tenants: self.registry.schedule.len(),
            clocks: self.registry.clocks.clone(),
            partitions: self.context.connection.partitions,
            days: self.days_standing(),
        }
    }

    async fn advance(&mut self, request: &ClockAdvance) -> Result<Result<ClockReply, AdminError>, Failure> {
        let name = &request.clock;
        if name.as_str() == SYSTEM_CLOCK {
            let message = "the system clock cannot be driven; give the tenants a clock of their own".to_owned();
            return Ok(Err(AdminError { message }));
        }
        let stood = self.registry.clocks.get(name).copied();
        let now = stood.map_or(request.advance_to, |stood| stood.max(request.advance_to));
        self.extend(name, now).await?;
        let mut markers = 0;
        let mut last = None;
        loop {
            let (count, newest) = self.publish_due(name, now).await?;
            last = newest.or(last);
            markers += count;
            if count == 0 {
                break;
            }
        }
        self.see_arrive(last).await?;
        if stood != Some(now) {
            // Only once everything due by then is published: a repeated request finishes what a crash left.
            self.publisher.store_clock(name.as_str(), &now.to_string()).await?;
            self.registry.clocks.insert(name.clone(), now);
        }
        let next_due = self.registry.schedule.next_deadline(name);
        Ok(Ok(ClockReply { now, next_due, markers: markers as u64 }))
    }

    async fn close(&mut self, request: &CloseDay) -> Result<Result<CloseReply, AdminError>, Failure> {
        let refused = |message: String| Ok(Err(AdminError { message }));
        let Some(plan) = self.registry.schedule.get(&request.tenant) else {
            return refused(format!("there is no tenant {}", request.tenant));
        };
        let clock = plan.tenant().clock.clone();
        let Some(now) = self.registry.clock_now(&clock, clock::now()) else {
            return refused(format!("the clock {clock} of {} has not begun; nothing is open by it", request.tenant));
        };
        self.extend(&clock, now).await?;
        let close = |registry: &Registry| registry.schedule.close_by_hand(&request.tenant, request.date, now);
        let mut closing = match close(&self.registry) {
            Ok(closing) => closing,
            Err(error) => return refused(error.to_string()),
        };
        let boundary = match request.boundary.then(|| self.registry.boundary(&request.tenant, request.date, now)) {
            Some(Err(why)) => return refused(why),
            Some(Ok(boundary)) => boundary,
            None => None,
        };
        if let Some(boundary) = boundary {
            // No marker comes before it.
            let last = self.publish_definitions(vec![boundary]).await?;
            self.see_arrive(last).await?;
            closing = match close(&self.registry) {
                Ok(closing) => closing,
                Err(error) => return refused(error.to_string()),
            };
        }
        let opened = closing.opened.clone();
        let markers = closing.into_markers();
        let mut last = None;
        for marker in &markers {
            // One after the other: their order is what they mean.
            last = self.publish_markers(&clock, std::slice::from_ref(marker)).await?.or(last);
        }
        self.see_arrive(last).await?;
        tracing::info!(tenant = %request.tenant, date = %request.date, "closed by hand");
        let closed = markers.into_iter().next_back().expect("a closing ends with the day's own close");
        let plan = self.registry.schedule.get(&request.tenant);
        let boundary = plan.and_then(|plan| plan.tenant().boundary(request.date));
        Ok(Ok(CloseReply { closed, opened, boundary }))
    }

    async fn remove(&mut self, request: &Remove) -> Result<Result<RemoveReply, AdminError>, Failure> {
        let refused = |message: String| Ok(Err(AdminError { message }));
        let target = &request.target;
        let plan = match self.registry.plan_removal(target) {
            Ok(plan) => plan,
            Err(why) => return refused(why),
        };
        let (what, name) = (target.what(), target.name());
        if !plan.is_repeated && request.catalog_seen.is_some_and(|seen| self.publisher.is_newer_than(seen, what, name))
        {
            return refused(format!(
                "{what} {name} was changed while this request was under way; look at it, and ask again"
            ));
        }
        let mut reply = RemoveReply {
            is_repeated: plan.is_repeated,
            views: plan.views,
            groups: plan.groups,
            ..RemoveReply::default()
        };
        if let Target::Tenant { id, .. } = target {
            (reply.state, reply.stored) = holdings::ask(&self.context.connection, id).await;
        }
        if request.dry_run {
            return Ok(Ok(reply));
        }
        let last = self.publish_definitions(plan.definitions).await?;
        self.see_arrive(last).await?;
        tracing::info!(what, name, "removed");
        Ok(Ok(reply))
    }

    /// Publishes those activations that are still wanted, each to its partition.
    async fn activate(&mut self, ready: &[(Partition, Activation)]) -> Result<(), Failure> {
        let wanted: Vec<_> =
            ready.iter().filter(|(partition, activation)| self.registry.lacks(*partition, activation)).collect();
        let message = |(partition, activation): &&(Partition, Activation)| {
            self.publisher.definition_for(*partition, &Definition::Activation(activation.clone()))
        };
        let messages = wanted.iter().map(message).collect();
        self.publisher.publish(messages, &HeaderMap::new()).await?;
        for (partition, activation) in wanted {
            self.registry.activate(*partition, activation);
            let Activation { view, revision, .. } = activation;
            tracing::info!(%partition, %view, revision, "a backfilled view comes into force");
        }
        Ok(())
    }

    /// Waits until INBOX has what was published before, and then `last`.
    async fn see_arrive(&mut self, last: Option<(u64, Arrival)>) -> Result<(), Failure> {
        while let Some((sequence, arrival)) = self.unarrived.last() {
            self.publisher.arrived(*sequence, arrival).await?;
            self.unarrived.pop();
        }
        if let Some((sequence, arrival)) = last {
            self.publisher.arrived(sequence, &arrival).await?;
        }
        Ok(())
    }

    /// Publishes further days of the calendars that need it.
    async fn extend(&mut self, clock: &Name, now: Instant) -> Result<(), Failure> {
        self.publish_tables(self.registry.extensions(clock, now)).await
    }

    /// Publishes newer revisions of calendars, and waits until INBOX has them.
    async fn publish_tables(&mut self, tables: Vec<CalendarTable>) -> Result<(), Failure> {
        if tables.is_empty() {
            return Ok(());
        }
        tracing::debug!(count = tables.len(), "publishing calendars again");
        let last = self.publish_definitions(tables.into_iter().map(Definition::Calendar).collect()).await?;
        if let Some((sequence, arrival)) = last {
            self.publisher.arrived(sequence, &arrival).await?;
        }
        Ok(())
    }

    /// Publishes definitions in their order, those of one sort together, and takes them in.
    async fn publish_definitions(&mut self, definitions: Vec<Definition>) -> Result<Option<(u64, Arrival)>, Failure> {
        let mut last = None;
        for group in definitions.chunk_by(|one, other| std::mem::discriminant(one) == std::mem::discriminant(other)) {
            let messages = group.iter().flat_map(|definition| self.publisher.definition(definition)).collect();
            last = self.publisher.publish(messages, &HeaderMap::new()).await?.or(last);
            for definition in group {
                self.registry.adopt(definition.clone()).map_err(Failure::Unusable)?;
            }
        }
        self.tell_revisions();
        Ok(last)
    }

    /// Publishes some of the markers that are due by `now`: how many, and the last of them.
    async fn publish_due(&mut self, clock: &Name, now: Instant) -> Result<(usize, Option<(u64, Arrival)>), Failure> {
        let due = self.registry.schedule.due(clock, now, MARKERS_AT_ONCE);
        if due.is_empty() {
            return Ok((0, None));
        }
        Ok((due.len(), self.publish_markers(clock, &due).await?))
    }

    /// Publishes markers of different tenants and takes note of them. Returns the last of them in their stream.
    async fn publish_markers(
        &mut self,
        clock: &Name,
        markers: &[DayMarker],
    ) -> Result<Option<(u64, Arrival)>, Failure> {
        let span = tracing::info_span!("days", %clock, count = markers.len());
        let mut trace = HeaderMap::new();
        telemetry::inject(&span, &mut trace);
        let messages = markers.iter().map(|marker| self.publisher.marker(marker)).collect();
        let last = self.publisher.publish(messages, &trace).instrument(span).await?;
        for marker in markers {
            self.registry.schedule.observe(marker);
            metrics::counter!("daybook_day_markers_total", "edge" => marker.edge.as_str()).increment(1);
            tracing::debug!(tenant = %marker.tenant, date = %marker.day.date, edge = marker.edge.as_str(), "published");
        }
        Ok(last)
    }
}
