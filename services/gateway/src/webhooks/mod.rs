//! Sends alerts to the receivers that the operator names, signed, until each has them.
//!
//! [`targets`] is what the file says, [`file`] follows it. Each target has a [`sender`] and a durable consumer on the broker
//! ([`consumers`]), which all processes of the gateway share. [`delivery`] follows one alert; [`posting`] is one try, [`signature`] signs
//! it, and [`retries`] decides what follows. All tries of the process share the [`room`] for connections. [`standing`] tells of a target; [`trying`] sends a test alert for the command line.
//!
//! Nothing is kept here: the broker knows what is delivered and when each further try is due. So a process may end at any point.

mod consumers;
mod delivery;
mod file;
mod posting;
mod retries;
mod room;
mod sender;
mod signature;
mod standing;
pub mod targets;
pub mod trying;

pub(crate) use file::WebhooksFile;
pub(crate) use room::MAX_TRIES;
pub(crate) use sender::SenderEnd;
pub use targets::WebhooksError;

use crate::outgoing::Outgoing;
use consumers::ReadTrouble;
use daybook_domain::ids::Name;
use daybook_runtime::connection::Connection;
use daybook_runtime::membership::Board;
use delivery::Deliverer;
use file::Targets;
use room::TryRoom;
use sender::Sender;
use standing::TargetTeller;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use targets::WebhookTarget;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause before the consumer of a target that is gone is removed again, after that failed.
const REMOVAL_PAUSE: Duration = Duration::from_secs(5);

/// Checks a file of webhooks and the secrets that it names.
///
/// # Errors
/// When it cannot be used.
pub fn check(path: &Path) -> Result<(), WebhooksError> {
    targets::load(path).map(drop)
}

/// Sends alerts to the targets of the file until the end. All of its times are shorter by the factor `haste`.
pub(crate) async fn run(
    file: WebhooksFile,
    connection: Connection,
    outgoing: Outgoing,
    board: Board,
    haste: u32,
    end: SenderEnd,
) {
    let first = file.first();
    tracing::info!(targets = first.len(), "sending alerts to webhooks");
    file::tell_refusal(false);
    let (newest, targets) = watch::channel(first);
    let senders = Senders {
        connection,
        outgoing,
        board,
        haste,
        room: TryRoom::default(),
        end,
        running: BTreeMap::new(),
        removing: BTreeSet::new(),
        unremoved: BTreeSet::new(),
        ended: JoinSet::new(),
    };
    tokio::select! {
        () = senders.run(targets) => {}
        () = file.follow(newest) => {}
    }
}

/// The targets that alerts are sent to, and those of which the consumers are to be removed.
struct Senders {
    connection: Connection,
    outgoing: Outgoing,
    /// Where other processes learn how the targets stand.
    board: Board,
    haste: u32,
    room: TryRoom,
    end: SenderEnd,
    /// Those that are about to end, too.
    running: BTreeMap<Name, RunningSender>,
    /// Targets that have ended and whose consumer is just being removed.
    removing: BTreeSet<Name>,
    /// Targets of which the removal failed.
    unremoved: BTreeSet<Name>,
    /// One for each that runs, and for each removal.
    ended: JoinSet<(Name, SenderEvent)>,
}

struct RunningSender {
    target: watch::Sender<Arc<WebhookTarget>>,
    gone: CancellationToken,
}

/// What has ended.
enum SenderEvent {
    Sender,
    Removal(Result<(), ReadTrouble>),
}

impl Senders {
    async fn run(mut self, mut targets: watch::Receiver<Targets>) {
        let leave = self.end.leave.clone();
        while !leave.is_cancelled() {
            let known = targets.borrow_and_update().clone();
            self.run_only(&known);
            tokio::select! {
                Ok(()) = targets.changed() => {}
                () = self.one_ended(), if !self.ended.is_empty() => {}
                () = leave.cancelled() => {}
            }
        }
        while !self.ended.is_empty() {
            self.one_ended().await;
        }
    }

    /// Ends what is not in the file any more, tells what has changed, and starts what is new. A target that comes back while it ends, or
    /// while its consumer is removed, is started by a later call.
    fn run_only(&mut self, known: &Targets) {
        let names: BTreeSet<&Name> = known.iter().map(|target| &target.name).collect();
        for (name, running) in self.running.iter().filter(|(name, _)| !names.contains(name)) {
            if !running.gone.is_cancelled() {
                tracing::info!(webhook = %name, "a webhook is gone from the file; its receiver gets nothing more");
                running.gone.cancel();
            }
        }
        for name in std::mem::take(&mut self.unremoved) {
            if !names.contains(&name) {
                self.remove(name, REMOVAL_PAUSE);
            }
        }
        for target in known.iter() {
            match self.running.get(&target.name) {
                Some(running) if !running.gone.is_cancelled() => {
                    running.target.send_if_modified(|known| {
                        let is_changed = known != target;
                        known.clone_from(target);
                        is_changed
                    });
                }
                None if !self.removing.contains(&target.name) => self.start(target),
                Some(_) | None => {}
            }
        }
    }

    fn start(&mut self, target: &Arc<WebhookTarget>) {
        let (newest, following) = watch::channel(target.clone());
        let gone = self.end.stop.child_token();
        let end = SenderEnd { leave: self.end.leave.clone(), stop: gone.clone() };
        let deliverer = Deliverer {
            connection: self.connection.clone(),
            outgoing: self.outgoing.clone(),
            haste: self.haste,
            room: self.room.clone(),
            teller: TargetTeller::begin(&target.name, self.board.clone()),
        };
        let sender = Sender::new(deliverer, following, end);
        let name = target.name.clone();
        self.ended.spawn(async move {
            sender.run().await;
            (name, SenderEvent::Sender)
        });
        self.running.insert(target.name.clone(), RunningSender { target: newest, gone });
    }

    /// Waits until a sender or a removal has ended. Cancel safe.
    async fn one_ended(&mut self) {
        let Some(ended) = self.ended.join_next().await else { return };
        let (name, ended) = ended.expect("no sender panics");
        match ended {
            SenderEvent::Sender => {
                let is_gone = self.running.remove(&name).is_some_and(|it| it.gone.is_cancelled());
                if is_gone && !self.end.stop.is_cancelled() {
                    self.remove(name, Duration::ZERO);
                }
            }
            SenderEvent::Removal(outcome) => {
                self.removing.remove(&name);
                match outcome {
                    Ok(()) => tracing::info!(webhook = %name, "the consumer of the webhook is removed"),
                    Err(trouble) => {
                        tracing::warn!(webhook = %name, %trouble, "the consumer of the webhook stays for now");
                        self.unremoved.insert(name);
                    }
                }
            }
        }
    }

    /// Removes the consumer of a target that is gone, after a pause.
    fn remove(&mut self, name: Name, pause: Duration) {
        let (connection, leave) = (self.connection.clone(), self.end.leave.clone());
        self.removing.insert(name.clone());
        self.ended.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = leave.cancelled() => {}
            }
            let outcome = consumers::remove(&connection, &name).await;
            (name, SenderEvent::Removal(outcome))
        });
    }
}
