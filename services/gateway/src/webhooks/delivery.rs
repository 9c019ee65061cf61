//! Follows one alert from the stream to its receiver, and tells the broker what came of it.
//!
//! The broker delivers an alert again until it is acknowledged, so a process may end between any two steps. If it ends behind the
//! receiver's answer and before the acknowledgement, the receiver gets the alert once more, with the same id.

use super::posting::post;
use super::retries::{TryEnding, TryOutcome, TryVerdict, judge};
use super::room::TryRoom;
use super::standing::TargetTeller;
use super::targets::WebhookTarget;
use crate::outgoing::Outgoing;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{self, AckKind};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use daybook_contracts::alert::Alert;
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use daybook_runtime::written::{self, Message, NotWritten};
use std::pin::pin;
use std::time::Duration;

/// Deliveries of an alert of a tenant that this process's file does not name, until it is passed over.
const STRANGE_DELIVERIES: u64 = 8;
/// Pause between two of them: processes read a changed file within seconds of each other.
const STRANGE_PAUSE: Duration = Duration::from_secs(15);
/// How often the broker hears that a try is still under way, or waits for room. It waits 40 s for that.
const PROGRESS: Duration = Duration::from_secs(10);
/// How often a word to the broker is repeated until it confirms it. Each takes up to 5 s; then the broker delivers the alert again.
const TELLINGS: u32 = 5;
/// Pause between two of them.
const TELLING_PAUSE: Duration = Duration::from_millis(500);

/// What is sent where, and who is told.
#[derive(Clone)]
pub(super) struct Deliverer {
    pub connection: Connection,
    pub outgoing: Outgoing,
    /// Pauses between tries are shorter by this factor, and so is the time for which there are any.
    pub haste: u32,
    /// What the tries of all targets share.
    pub room: TryRoom,
    pub teller: TargetTeller,
}

/// A message of ALERTS as the broker delivered it.
struct Delivery {
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
    sequence: u64,
    /// How often the broker has delivered it, with this time.
    tries: u64,
    stored_at: Instant,
    acker: Acker,
}

impl Deliverer {
    /// Sends what the message holds if the target wants it, and settles the message.
    pub(super) async fn deliver(&self, target: &WebhookTarget, message: jetstream::Message) {
        // A delivery that does not say what it is of cannot be settled either; the broker repeats it.
        let Some(delivery) = Delivery::read(message) else { return };
        let subjects = &self.connection.subjects;
        match written::alert(subjects, delivery.message()) {
            Ok(alert) if target.wants(&alert) => self.send(target, &alert, &delivery).await,
            // Another process may know a newer file, and have had the consumer filter for more tenants.
            Ok(alert) if !target.is_of(&alert.tenant) && delivery.tries < STRANGE_DELIVERIES => {
                delivery.settle(AckKind::Nak(Some(STRANGE_PAUSE / self.haste.max(1)))).await;
            }
            Ok(_) => delivery.settle(AckKind::Ack).await,
            Err(why @ NotWritten::Foreign(_)) => {
                let stream = subjects.alerts_stream();
                self.connection.foreign.note(&stream, delivery.sequence, &delivery.subject, &why);
                delivery.settle(AckKind::Ack).await;
            }
            // A gateway of a newer version can read it.
            Err(NotWritten::Unreadable(why)) => self.put_off(target, why, &delivery).await,
        }
    }

    async fn send(&self, target: &WebhookTarget, alert: &Alert, delivery: &Delivery) {
        let outcome = {
            let mut posting = pin!(async {
                let _pass = self.room.enter(self.teller.is_failing()).await;
                post(&self.outgoing, target, &alert.id, delivery.payload.clone()).await
            });
            loop {
                tokio::select! {
                    posted = &mut posting => break posted.outcome,
                    () = tokio::time::sleep(PROGRESS) => delivery.goes_on().await,
                }
            }
        };
        let age = delivery.age();
        self.teller.tried(&target.place(), &outcome, age);
        let verdict =
            judge(&outcome, delivery.tries, age.saturating_mul(self.haste), spread(target, &alert.id, delivery.tries));
        match verdict {
            TryVerdict::Delivered => delivery.settle(AckKind::Ack).await,
            TryVerdict::Again(pause) => delivery.settle(AckKind::Nak(Some(pause / self.haste.max(1)))).await,
            TryVerdict::Ended(ending) => self.give_up(alert, &outcome, ending, delivery).await,
        }
    }

    async fn give_up(&self, alert: &Alert, outcome: &TryOutcome, ending: TryEnding, delivery: &Delivery) {
        self.teller.gave_up(alert, outcome, ending);
        delivery.settle(AckKind::Term).await;
    }

    /// Leaves a message for later that this process cannot read, and never gives it up. Its receiver was not asked.
    async fn put_off(&self, target: &WebhookTarget, why: String, delivery: &Delivery) {
        self.teller.unreadable(delivery.sequence, &why, delivery.tries == 1);
        let outcome = TryOutcome::Unanswered(why);
        let spread = spread(target, &delivery.sequence.to_string(), delivery.tries);
        if let TryVerdict::Again(pause) = judge(&outcome, delivery.tries, Duration::ZERO, spread) {
            delivery.settle(AckKind::Nak(Some(pause / self.haste.max(1)))).await;
        }
    }
}

impl Delivery {
    fn read(message: jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        let (sequence, tries) = (info.stream_sequence, u64::try_from(info.delivered).unwrap_or_default());
        let stored_at = clock::from_nanos(info.published.unix_timestamp_nanos());
        let (message, acker) = message.split();
        let headers = message.headers.unwrap_or_default();
        Some(Self { subject: message.subject, headers, payload: message.payload, sequence, tries, stored_at, acker })
    }

    fn message(&self) -> Message<'_> {
        Message { subject: &self.subject, headers: &self.headers, payload: &self.payload }
    }

    /// How long ago the broker stored it. The broker's clock may be ahead of this one.
    fn age(&self) -> Duration {
        let millis = clock::now().as_millis() - self.stored_at.as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    async fn goes_on(&self) {
        let _ = self.acker.ack_with(AckKind::Progress).await;
    }

    /// Tells the broker what came of it. If it does not confirm that, it delivers the message again.
    async fn settle(&self, kind: AckKind) {
        for _ in 0..TELLINGS {
            if self.acker.double_ack_with(kind).await.is_ok() {
                return;
            }
            tokio::time::sleep(TELLING_PAUSE).await;
        }
    }
}

/// A number that differs from try to try, the same each time that it is worked out.
fn spread(target: &WebhookTarget, id: &str, tries: u64) -> u64 {
    let hash = blake3::hash(format!("{} {id} {tries}", target.name).as_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash is longer"))
}
