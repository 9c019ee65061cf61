//! Carrying out an attack, and looking for the sign of its effect.

use crate::attack::{Attack, FORGED, INBOX, Message, Probe, Step, VICTIM};
use crate::sight::{Sight, Stream, TRIMMED};
use daybook_tests::orders::order;
use daybook_tests::wire::{Heard, Login, RawClient};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long an effect may take where nothing stops it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// How long the broker may take to acknowledge the victim's event. One that is not stored has no acknowledgement.
const ACKNOWLEDGED: Duration = Duration::from_secs(3);
/// The victim's own inbox.
const VICTIM_INBOX: &str = "_INBOX.victim.reply";

/// Who takes part.
pub(crate) struct Cast<'a> {
    pub(crate) url: &'a str,
    pub(crate) attacker: Login,
    pub(crate) victim: Login,
    /// A user who may listen to everything in the services' account.
    pub(crate) witness: Login,
    pub(crate) sight: &'a Sight,
    /// Whether services take messages out of streams meanwhile.
    pub(crate) services_trim: bool,
}

/// An attack under way.
pub(crate) struct Attempt<'a> {
    attack: &'a Attack,
    cast: &'a Cast<'a>,
    pub(crate) attacker: RawClient,
    witness: RawClient,
    before: Option<Stream>,
}

impl<'a> Attempt<'a> {
    /// Takes everybody's place; nothing is done yet.
    pub(crate) async fn begin(attack: &'a Attack, cast: &'a Cast<'a>) -> Self {
        let mut witness = RawClient::connect(cast.url, &cast.witness).await.unwrap();
        for subject in targets(attack) {
            witness.subscribe(&subject, None).await;
        }
        witness.flush().await;
        let before = match probed(&attack.probe) {
            Some(stream) => cast.sight.stream(stream).await,
            None => None,
        };
        let mut attacker = RawClient::connect(cast.url, &cast.attacker).await.unwrap();
        // The first subscription: answers to what it asks.
        attacker.subscribe(INBOX, None).await;
        attacker.flush().await;
        Self { attack, cast, attacker, witness, before }
    }

    /// Does all that the attacker does. `wait` is what others do meanwhile.
    pub(crate) async fn carry_out(&mut self, wait: impl AsyncFn()) {
        for step in &self.attack.steps {
            match step {
                Step::Publish(message) => publish(&mut self.attacker, message).await,
                Step::Flood(count, message) => {
                    for number in 0..*count {
                        publish(&mut self.attacker, &message.numbered(number)).await;
                    }
                }
                Step::Listen(subject, queue) => {
                    self.attacker.subscribe(subject, *queue).await;
                }
                Step::Wait => {
                    self.attacker.flush().await;
                    wait().await;
                }
            }
        }
        self.attacker.flush().await;
    }

    /// Waits for the sign of an effect.
    pub(crate) async fn has_effect_soon(&mut self) -> bool {
        let began = Instant::now();
        while !self.has_effect().await {
            if began.elapsed() > PATIENCE {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// Looks for the sign of an effect.
    pub(crate) async fn has_effect(&mut self) -> bool {
        self.attacker.flush().await;
        let sight = self.cast.sight;
        match &self.attack.probe {
            Probe::Told(text) => self.attacker.heard.iter().any(|heard| heard.id == 1 && heard.text().contains(text)),
            Probe::Heard => self.attacker.heard.iter().any(|heard| heard.id > 1),
            Probe::Stored(stream, text) => {
                let before = self.before.as_ref().expect("the stream is there").last_sequence;
                sight.has_stored(stream, before, text).await
            }
            Probe::Lost(stream) => {
                let before = self.before.as_ref().expect("the stream is there");
                let may_shrink = self.cast.services_trim && TRIMMED.contains(stream);
                sight
                    .stream(stream)
                    .await
                    .is_none_or(|now| now.created != before.created || (now.messages < before.messages && !may_shrink))
            }
            Probe::Changed(stream) => {
                let now = sight.stream(stream).await;
                now.map(|now| now.config) != self.before.as_ref().map(|before| before.config.clone())
            }
            Probe::NewStream(stream) => self.before.is_none() && sight.stream(stream).await.is_some(),
            Probe::ConsumerGone(stream) => {
                let before = self.before.as_ref().expect("the stream is there").consumers;
                sight.stream(stream).await.is_none_or(|now| now.consumers < before)
            }
            Probe::Arrives(subject, text) => {
                self.is_witnessed(|heard, body| heard == *subject && body.contains(text)).await
            }
            Probe::VictimRefused => {
                self.victim_is_acknowledged(None).await.is_none_or(|ack| ack.get("error").is_some())
            }
            Probe::VictimDuplicate(id) => {
                self.victim_is_acknowledged(Some(id)).await.is_some_and(|ack| ack["duplicate"] == true)
            }
            Probe::VictimDeceived => self.victim_is_deceived().await,
        }
    }

    /// Whether something that only the attacker writes, or an answer to it, came to where it was sent, in the services' account.
    pub(crate) async fn has_crossed(&mut self) -> bool {
        let text = [FORGED, crate::attack::PUBACK];
        self.is_witnessed(|_, body| text.iter().any(|text| body.contains(text))).await
    }

    async fn is_witnessed(&mut self, is_meant: impl Fn(&str, &str) -> bool) -> bool {
        self.witness.flush().await;
        self.witness.heard.iter().any(|heard| is_meant(&heard.subject, &heard.text()))
    }

    /// What the broker says to an event of the victim.
    async fn victim_is_acknowledged(&self, id: Option<&str>) -> Option<Value> {
        let mut victim = RawClient::connect(self.cast.url, &self.cast.victim).await.unwrap();
        victim.subscribe(VICTIM_INBOX, None).await;
        let headers = id.map(|id| format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n").into_bytes());
        let subject = format!("daybook.in.{VICTIM}.order");
        let order = order("victims-own").to_string();
        victim.publish(subject.as_bytes(), Some(VICTIM_INBOX.as_bytes()), headers.as_deref(), order.as_bytes()).await;
        serde_json::from_str(&answer(&mut victim).await).ok()
    }

    /// Whether the attacker's answer to the victim's question is the first one that comes.
    async fn victim_is_deceived(&mut self) -> bool {
        let mut victim = RawClient::connect(self.cast.url, &self.cast.victim).await.unwrap();
        victim.subscribe(VICTIM_INBOX, None).await;
        let subject = format!("daybook.query.{VICTIM}.orders");
        victim.publish(subject.as_bytes(), Some(VICTIM_INBOX.as_bytes()), None, b"{}").await;
        victim.flush().await;
        let attacker = &mut self.attacker;
        attacker.flush().await;
        let replies: Vec<String> = attacker.heard.drain(..).filter_map(|heard| heard.reply).collect();
        for reply in replies {
            attacker.publish(reply.as_bytes(), None, None, FORGED.as_bytes()).await;
        }
        attacker.flush().await;
        answer(&mut victim).await.contains(FORGED)
    }
}

/// The first message that arrives; nothing when none does.
async fn answer(client: &mut RawClient) -> String {
    let began = Instant::now();
    while client.heard.is_empty() && began.elapsed() < ACKNOWLEDGED && !client.is_closed {
        client.flush().await;
        tokio::time::sleep(LOOK).await;
    }
    client.heard.first().map(Heard::text).unwrap_or_default()
}

async fn publish(client: &mut RawClient, message: &Message) {
    let reply = message.reply.as_ref().map(String::as_bytes);
    client.publish(message.subject.as_bytes(), reply, message.block().as_deref(), message.payload.as_bytes()).await;
}

/// The stream that a probe looks at.
fn probed(probe: &Probe) -> Option<&'static str> {
    match probe {
        Probe::Stored(stream, _) | Probe::Lost(stream) | Probe::Changed(stream) => Some(stream),
        Probe::NewStream(stream) | Probe::ConsumerGone(stream) => Some(stream),
        _ => None,
    }
}

/// Where an attack would write: subjects that are not the attacker's own, and replies but to its own inbox.
fn targets(attack: &Attack) -> Vec<String> {
    let mut targets = Vec::new();
    for step in &attack.steps {
        let Step::Publish(message) = step else { continue };
        targets.extend(message.reply.clone().filter(|reply| reply != INBOX));
        targets.extend((!message.subject.contains(".evil.")).then(|| message.subject.clone()));
    }
    if let Probe::Arrives(subject, _) = attack.probe {
        targets.push(subject.to_owned());
    }
    targets.sort();
    targets.dedup();
    targets
}
