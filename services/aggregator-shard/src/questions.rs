//! The questions to a partition: read beside its actor, and answered by it, tenant by tenant in turn.
//!
//! The actor answers for a [`SLICE`] and then looks at its mailbox: the log goes on while there are questions, and a question that
//! has come meanwhile takes its turn.

use crate::partition::Message;
use async_nats::Subject;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, ShardQuestion};
use daybook_domain::ids::TenantId;
use daybook_runtime::connection::Connection;
use daybook_runtime::fair::{Bounds, FairQueue};
use daybook_runtime::foreign::Door;
use futures::{Stream, StreamExt};
use ractor::{ActorRef, MessagingErr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Time for which questions are answered before the log has its turn. It ends with the answer that is being made then. A turn of
/// the mailbox costs some microseconds.
pub const SLICE: Duration = Duration::from_millis(1);
/// Questions that wait at most; more are refused at once.
const MAX_QUESTIONS: usize = 4_096;
/// Questions of one tenant that wait at most: each process of query sends sixteen at once.
const MAX_QUESTIONS_OF_A_TENANT: usize = 1_024;

/// A question that has been read.
pub struct Question {
    /// Or why it cannot be read.
    pub asked: Result<ShardQuestion, serde_json::Error>,
    pub reply: Subject,
    /// Given back when it has been answered.
    permit: OwnedSemaphorePermit,
}

/// Whose turn a question takes: `None` for those of services.
type Asker = Option<TenantId>;

/// The questions that wait for the actor.
pub struct Questions {
    queue: FairQueue<Asker, Question>,
}

impl Default for Questions {
    fn default() -> Self {
        let queue = FairQueue::new(Bounds {
            waiting_of_a_tenant: MAX_QUESTIONS_OF_A_TENANT,
            waiting: MAX_QUESTIONS,
            running_of_a_tenant: 1,
            running: 1,
            quantum: micros(SLICE),
        });
        Self { queue }
    }
}

impl Questions {
    pub fn is_empty(&self) -> bool {
        self.queue.waiting() == 0
    }

    /// Puts a question behind the others of its tenant.
    ///
    /// # Errors
    /// The refusal, and where to send it, when too many of the tenant wait.
    pub fn push(&mut self, question: Question) -> Result<(), Box<(Subject, AskError)>> {
        let reply = question.reply.clone();
        self.queue.push(question.asker(), question).map_err(|full| Box::new((reply, full.busy())))
    }

    /// Answers the next question by `answer`. Returns the reply and where to send it.
    pub fn answer_next(
        &mut self,
        answer: impl FnOnce(Result<ShardQuestion, serde_json::Error>) -> Vec<u8>,
    ) -> Option<(Subject, Vec<u8>)> {
        let (asker, Question { asked, reply, permit }) = self.queue.begin()?;
        let began = Instant::now();
        let answer = answer(asked);
        let took = began.elapsed();
        self.queue.done(&asker, micros(took));
        drop(permit);
        metrics::histogram!("daybook_shard_answer_seconds").record(took.as_secs_f64());
        Some((reply, answer))
    }
}

impl Question {
    fn asker(&self) -> Asker {
        match &self.asked {
            Ok(
                ShardQuestion::View { tenant, .. }
                | ShardQuestion::Figures { tenant, .. }
                | ShardQuestion::Days { tenant }
                | ShardQuestion::ViewsOf { tenant, group: None },
            ) => Some(tenant.clone()),
            Ok(ShardQuestion::Totals { group, .. } | ShardQuestion::ViewsOf { group: Some(group), .. }) => {
                Some(group.clone())
            }
            Ok(ShardQuestion::Position | ShardQuestion::Views) | Err(_) => None,
        }
    }
}

/// Brings questions to the actor. Once that is ending, whoever asks is sent on at once.
pub async fn listen(
    mut questions: impl Stream<Item = async_nats::Message> + Unpin,
    connection: Connection,
    actor: ActorRef<Message>,
) {
    let client = &connection.client;
    let slots = Arc::new(Semaphore::new(MAX_QUESTIONS));
    while let Some(message) = questions.next().await {
        let Some(reply) = message.reply else { continue };
        if !connection.foreign.admits(Door::Shard, &connection.subjects, &message.subject, &reply) {
            continue;
        }
        let Ok(permit) = slots.clone().try_acquire_owned() else {
            refuse(client, reply, unavailable("the shard has too many questions waiting")).await;
            continue;
        };
        let asked = serde_json::from_slice(&message.payload);
        match actor.cast(Message::Ask(Box::new(Question { asked, reply, permit }))) {
            Ok(()) => {}
            Err(MessagingErr::SendErr(Message::Ask(question))) => {
                refuse(client, question.reply, unavailable("the shard is handing over")).await;
            }
            Err(_) => return,
        }
    }
}

fn unavailable(why: &str) -> AskError {
    AskError::new(AskErrorCode::Unavailable, why).hint("ask again in a moment")
}

/// Sends a refusal.
pub async fn refuse(client: &async_nats::Client, reply: Subject, why: AskError) {
    let refusal = serde_json::to_vec(&Asked::<()>::Err(why)).expect("refusals are plain values");
    // A reply that cannot be sent is a client that has to ask again.
    let _ = client.publish(reply, refusal.into()).await;
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(slots: &Arc<Semaphore>, tenant: &str, number: usize) -> Question {
        let asked = serde_json::from_value(serde_json::json!({ "Days": { "tenant": tenant } }));
        let permit = slots.clone().try_acquire_owned().unwrap();
        Question { asked, reply: Subject::from(format!("{tenant}.{number}")), permit }
    }

    #[test]
    fn what_a_group_asks_takes_the_turns_of_the_group() {
        let asker = |question: serde_json::Value| {
            let asked = serde_json::from_value(question);
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            Question { asked, reply: "reply".into(), permit }.asker().map(|asker| asker.to_string())
        };
        let of_tenant = serde_json::json!({"ViewsOf": {"tenant": "zurich"}});
        assert_eq!(asker(of_tenant).as_deref(), Some("zurich"));
        let of_group = serde_json::json!({"ViewsOf": {"tenant": "zurich", "group": "north"}});
        assert_eq!(asker(of_group).as_deref(), Some("north"));
        let totals = serde_json::json!(
            {"Totals": {"group": "north", "tenants": ["zurich"], "view": "sales", "days": "today"}}
        );
        assert_eq!(asker(totals).as_deref(), Some("north"));
    }

    #[test]
    fn a_flood_waits_for_itself_and_is_refused_when_it_is_too_large() {
        let (slots, mut questions) = (Arc::new(Semaphore::new(MAX_QUESTIONS)), Questions::default());
        for number in 0..MAX_QUESTIONS_OF_A_TENANT {
            assert!(questions.push(question(&slots, "greedy", number)).is_ok());
        }
        let (reply, why) = *questions.push(question(&slots, "greedy", 9_999)).unwrap_err();
        assert_eq!((reply.as_str(), why.code), ("greedy.9999", AskErrorCode::Busy));
        questions.push(question(&slots, "modest", 0)).unwrap();
        let asked = Err(serde_json::from_slice::<ShardQuestion>(b"?").unwrap_err());
        let permit = slots.clone().try_acquire_owned().unwrap();
        questions.push(Question { asked, reply: "service".into(), permit }).unwrap();
        let mut answered = Vec::new();
        while let Some((reply, body)) = questions.answer_next(|_| b"yes".to_vec()) {
            assert_eq!(body, b"yes");
            answered.push(reply.to_string());
        }
        assert_eq!(answered[..4], ["greedy.0", "modest.0", "service", "greedy.1"]);
        assert_eq!(answered.len(), MAX_QUESTIONS_OF_A_TENANT + 2);
        assert!(questions.is_empty());
        assert_eq!(slots.available_permits(), MAX_QUESTIONS, "each has given its permit back");
    }
}
