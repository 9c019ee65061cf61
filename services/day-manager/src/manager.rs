//! The actor: carries out what the [`Registrar`] wants done, one request after the other, and has the answers sent.

use crate::accounts::AccountsHandle;
use crate::failure::{self, Failure, Refused, Trouble};
use crate::loading::{load, load_clocks};
use crate::messages::Message;
use crate::publication::Outgoing;
use crate::publishing::{arrived, last_sequence, publish};
use crate::registrar::{Action, Heard, Purpose, Registrar, Reply, Request, system};
use crate::{activation, admin, counting, holdings};
use async_nats::HeaderMap;
use daybook_contracts::admin::{Apply, ApplyReply, CloseReply, Remove};
use daybook_contracts::day::Edge;
use daybook_domain::catalogue::Activation;
use daybook_domain::ids::Name;
use daybook_runtime::connection::{Connection, round_trip};
use daybook_runtime::membership::Membership;
use daybook_runtime::process::Context;
use daybook_runtime::{clock, telemetry};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Markers published in one go; between two goes nothing else is done for a replay, but the system clock's tick looks
/// at its mailbox.
const MARKERS_AT_ONCE: usize = 2_000;
/// How long reading the streams anew may take: those of a hundred thousand tenants take a few seconds.
const READING_DEADLINE: Duration = Duration::from_secs(30);
/// How long the last replies may take when the process ends. What was asked is done by then, or refused.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// Starts the actor as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub(crate) async fn spawn(
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
    registrar: Registrar,
    trouble: Trouble,
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
        let connection = &context.connection;
        let mut registrar = Registrar::new(connection.subjects.clone(), connection.partitions, MARKERS_AT_ONCE);
        // Nobody waits here: it may take as long as there is to read.
        run(connection, &mut registrar, Request::Begin.into(), Duration::MAX).await?;
        let ending = CancellationToken::new();
        let endpoints = admin::serve(connection, myself.clone(), accounts, ending.clone()).await?;
        let registry = registrar.registry();
        let (tenants, kinds, views) = (registry.schedule.len(), registry.kinds.len(), registry.views.len());
        tracing::info!(tenants, kinds, views, "managing days");
        // Whoever is told that it is ready finds it listening.
        round_trip(&connection.client).await;
        context.health.set("day-manager", true);
        let (revisions, newest) = watch::channel(registry.revisions());
        let backfills = tokio::spawn(activation::watch(connection.clone(), membership.clone(), newest, myself.clone()));
        myself.send_after(tick, || Message::Tick);
        let trouble = Trouble::default();
        Ok(State { context, tick, membership, registrar, trouble, endpoints, ending, backfills, revisions })
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
        match message {
            // One of several day-managers is enough, and the others do not repair what it is just publishing; two that
            // take themselves for the one do no harm. But each sees whether what failed it does so still.
            Message::Tick | Message::More if !state.membership.leads() => {
                if state.trouble.is_there() {
                    let _ = state.carry_out(Request::Begin).await;
                }
            }
            Message::Tick | Message::More => {
                // What is due is so with the next tick too.
                if let Ok(Reply::Looked(markers)) = state.carry_out(Request::Look).await {
                    state.show();
                    if markers > 0 {
                        // There may be more; let others have their turn first.
                        let _ = myself.cast(Message::More);
                    }
                }
            }
            Message::Ask(request, reply) => {
                // An asker who is gone has no use for the reply.
                let _ = reply.send(state.carry_out(request).await);
            }
            Message::Activate(ready) => {
                if state.carry_out(Request::Activate(ready.clone())).await.is_err() {
                    // The watch tells each of them once.
                    myself.send_after(failure::PAUSE, || Message::Activate(ready));
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Carries a request out on what the streams say now, so that no answer rests on what is no longer so; or tells why not.
    async fn carry_out(&mut self, request: Request) -> Result<Reply, Refused> {
        if let Some(refusal) = self.trouble.refuses(Instant::now()) {
            return Err(refusal);
        }
        let request = Arc::new(request);
        let outcome = run(&self.context.connection, &mut self.registrar, request.clone(), READING_DEADLINE).await;
        self.tell_revisions();
        let outcome = match outcome {
            Ok(reply) => {
                self.trouble.ended();
                tell(&request, &reply);
                match reply {
                    Reply::Refused(error) => Err(Refused::AsItStands(error)),
                    reply => Ok(reply),
                }
            }
            Err(failure) => {
                tracing::warn!(
                    error = &failure as &dyn std::error::Error,
                    "something was not done; reading everything anew"
                );
                Err(self.trouble.failed(&failure, Instant::now()))
            }
        };
        self.context.health.set("day-manager", !self.trouble.is_lasting());
        outcome
    }

    /// Lets the watch over backfills know which revisions of views are the newest.
    fn tell_revisions(&self) {
        let newest = self.registrar.registry().revisions();
        self.revisions.send_if_modified(|known| {
            *known != newest && {
                *known = newest;
                true
            }
        });
    }

    /// Shows, as metrics, what the schedule holds.
    fn show(&self) {
        let schedule = &self.registrar.registry().schedule;
        let late = schedule.next_deadline(&system()).map_or(0.0, |due| clock::now().since(due).as_secs_f64());
        metrics::gauge!("daybook_days_overdue_seconds").set(late);
        metrics::gauge!("daybook_tenants").set(schedule.len() as f64);
    }
}

/// Logs what was done.
fn tell(request: &Request, reply: &Reply) {
    match (request, reply) {
        (Request::Apply(Apply { dry_run: false, .. }), Reply::Applied(ApplyReply::Applied(lines))) => {
            for line in lines {
                tracing::info!(what = line.what, name = line.name, action = ?line.action, "applied");
            }
        }
        (_, Reply::Closed(CloseReply { closed, .. })) => {
            tracing::info!(tenant = %closed.tenant, date = %closed.day.date, "closed by hand");
        }
        (Request::Remove(Remove { target, dry_run: false, .. }), Reply::Removed(_)) => {
            tracing::info!(what = target.what(), name = target.name(), "removed");
        }
        (_, Reply::Activated(ready)) => {
            for (partition, Activation { view, revision, .. }) in ready {
                tracing::info!(%partition, %view, revision, "a backfilled view comes into force");
            }
        }
        _ => {}
    }
}

/// Does what the registrar wants done for a request.
///
/// # Errors
/// When it is not known what became of the request.
async fn run(
    connection: &Connection,
    registrar: &mut Registrar,
    request: Arc<Request>,
    reading_deadline: Duration,
) -> Result<Reply, Failure> {
    let mut action = registrar.ask(request, clock::now());
    loop {
        let heard = match action {
            Action::Done(reply) => return Ok(reply),
            Action::Failed(failure) => return Err(failure),
            action => act(connection, action, reading_deadline).await,
        };
        action = registrar.heard(heard.unwrap_or_else(Heard::Failed), clock::now());
        for trouble in registrar.take_troubles() {
            tracing::error!("{trouble}");
        }
    }
}

async fn act(connection: &Connection, action: Action, reading_deadline: Duration) -> Result<Heard, Failure> {
    let subjects = &connection.subjects;
    Ok(match action {
        Action::Look { clocks } => Heard::Ends {
            catalog: last_sequence(connection, &subjects.catalog_stream()).await?,
            days: last_sequence(connection, &subjects.days_stream()).await?,
            clocks: if clocks { Some(last_sequence(connection, &subjects.clocks_stream()).await?) } else { None },
        },
        Action::Read => {
            tracing::info!("reading what is published");
            Heard::Read(in_time(reading_deadline, load(connection)).await??)
        }
        Action::ReadClocks => Heard::Clocks(in_time(reading_deadline, load_clocks(connection)).await??),
        Action::Count(tenants) => Heard::Counted(counting::ask(connection, tenants).await),
        Action::Weigh(tenant) => {
            let (state, stored) = holdings::ask(connection, &tenant).await;
            Heard::Weighed(state, stored)
        }
        Action::Publish(messages, purpose) => Heard::Published(publish_for(connection, messages, purpose).await?),
        Action::Await(arrival) => {
            arrived(connection, &arrival).await?;
            Heard::Arrived
        }
        Action::Pause(pause, failure) => {
            tracing::info!(error = %failure, "beginning again");
            tokio::time::sleep(pause).await;
            Heard::Paused
        }
        Action::Done(_) | Action::Failed(_) => unreachable!("the request is over"),
    })
}

/// What is read of the streams while somebody waits.
async fn in_time<T>(deadline: Duration, reading: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(deadline, reading).await.map_err(|_| Failure::Reading(deadline))
}

async fn publish_for(connection: &Connection, messages: Vec<Outgoing>, purpose: Purpose) -> Result<Vec<u64>, Failure> {
    match &purpose {
        Purpose::Repairs => {
            let count = messages.len();
            tracing::info!(count, "publishing definitions that had not reached every partition");
        }
        Purpose::Markers { clock, opened, closed } => {
            let span = tracing::info_span!("days", %clock, count = opened + closed);
            let mut trace = HeaderMap::new();
            telemetry::inject(&span, &mut trace);
            let sequences = publish(connection, messages, &trace).instrument(span).await?;
            metrics::counter!("daybook_day_markers_total", "edge" => Edge::Opened.as_str()).increment(*opened);
            metrics::counter!("daybook_day_markers_total", "edge" => Edge::Closed.as_str()).increment(*closed);
            return Ok(sequences);
        }
        Purpose::Definitions | Purpose::Activations | Purpose::Clock => {}
    }
    Ok(publish(connection, messages, &HeaderMap::new()).await?)
}
