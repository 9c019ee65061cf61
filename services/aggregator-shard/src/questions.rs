//! The questions to a partition: read beside its actor, and answered by it, tenant by tenant in turn.
//!
//! The actor answers for a [`SLICE`] and then looks at its mailbox: the log goes on while there are questions, and a question that
//! has come meanwhile takes its turn.

use crate::replies::{Address, Replies};
use daybook_contracts::ask::{AskError, AskErrorCode, ShardQuestion};
use daybook_contracts::bundle::{Said, is_bundle, read_questions};
use daybook_domain::ids::TenantId;
use daybook_runtime::connection::Connection;
use daybook_runtime::fair::{Bounds, FairQueue};
use daybook_runtime::foreign::Door;
use futures::{Stream, StreamExt};
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
/// Messages, each a question or a bundle of them, that the actor is given at once.
const MAX_MESSAGES_TOGETHER: usize = 16;

/// A question that has been read.
pub struct Question {
    /// Or why it cannot be read.
    pub asked: Result<ShardQuestion, serde_json::Error>,
    pub to: Address,
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
    pub fn push(&mut self, question: Question) -> Result<(), Box<(Address, AskError)>> {
        let to = question.to.clone();
        self.queue.push(question.asker(), question).map_err(|full| Box::new((to, full.busy())))
    }

    /// Answers the next question by `answer`. Returns the answer and where to send it.
    pub fn answer_next(
        &mut self,
        answer: impl FnOnce(Result<ShardQuestion, serde_json::Error>) -> Said,
    ) -> Option<(Address, Said)> {
        let (asker, Question { asked, to, permit }) = self.queue.begin()?;
        let began = Instant::now();
        let answer = answer(asked);
        let took = began.elapsed();
        self.queue.done(&asker, micros(took));
        drop(permit);
        metrics::histogram!("daybook_shard_answer_seconds").record(took.as_secs_f64());
        Some((to, answer))
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

/// Brings questions to the actor by `ask`, which returns those that it cannot take. Once the actor is ending, whoever asks is sent on at
/// once.
pub async fn listen(
    questions: impl Stream<Item = async_nats::Message> + Unpin,
    connection: Connection,
    ask: impl Fn(Vec<Question>) -> Result<(), Vec<Question>>,
) {
    let slots = Arc::new(Semaphore::new(MAX_QUESTIONS));
    let mut arriving = questions.ready_chunks(MAX_MESSAGES_TOGETHER);
    while let Some(messages) = arriving.next().await {
        let mut refused = Replies::default();
        let admitted = messages.into_iter().filter(|message| may_answer(&connection, message));
        let taken: Vec<Question> = admitted.flat_map(|message| read(message, &slots, &mut refused)).collect();
        if !taken.is_empty()
            && let Err(unsent) = ask(taken)
        {
            for question in unsent {
                refused.refuse(question.to, unavailable("the shard is handing over"));
            }
        }
        refused.send(&connection.client).await;
    }
}

/// Whether a message says where its answer goes, and an answer may go there.
fn may_answer(connection: &Connection, message: &async_nats::Message) -> bool {
    let admits = |reply| connection.foreign.admits(Door::Shard, &connection.subjects, &message.subject, reply);
    message.reply.as_deref().is_some_and(admits)
}

/// The questions of a message for which there is room; the others are refused.
fn read(message: async_nats::Message, slots: &Arc<Semaphore>, refused: &mut Replies) -> Vec<Question> {
    let Some(reply) = message.reply else { return Vec::new() };
    let alone = |reply| Address { reply, number: None };
    let asked = match is_bundle(&message.payload) {
        false => vec![(alone(reply), message.payload)],
        true => match read_questions(&message.payload) {
            Ok(questions) => {
                let numbered = (0..).zip(questions);
                numbered.map(|(number, text)| (Address { reply: reply.clone(), number: Some(number) }, text)).collect()
            }
            // It is everybody's answer.
            Err(error) => {
                refused.refuse(alone(reply), AskError::new(AskErrorCode::BadRequest, error.to_string()));
                Vec::new()
            }
        },
    };
    let mut taken = Vec::with_capacity(asked.len());
    for (to, text) in asked {
        match slots.clone().try_acquire_owned() {
            Ok(permit) => taken.push(Question { asked: serde_json::from_slice(&text), to, permit }),
            Err(_) => refused.refuse(to, unavailable("the shard has too many questions waiting")),
        }
    }
    taken
}

fn unavailable(why: &str) -> AskError {
    AskError::new(AskErrorCode::Unavailable, why).hint("ask again in a moment")
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
        Question { asked, to: address(&format!("{tenant}.{number}")), permit }
    }

    fn address(reply: &str) -> Address {
        Address { reply: reply.into(), number: None }
    }

    #[test]
    fn what_a_group_asks_takes_the_turns_of_the_group() {
        let asker = |question: serde_json::Value| {
            let asked = serde_json::from_value(question);
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            Question { asked, to: address("reply"), permit }.asker().map(|asker| asker.to_string())
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
        let (to, why) = *questions.push(question(&slots, "greedy", 9_999)).unwrap_err();
        assert_eq!((to, why.code), (address("greedy.9999"), AskErrorCode::Busy));
        questions.push(question(&slots, "modest", 0)).unwrap();
        let asked = Err(serde_json::from_slice::<ShardQuestion>(b"?").unwrap_err());
        let permit = slots.clone().try_acquire_owned().unwrap();
        questions.push(Question { asked, to: address("service"), permit }).unwrap();
        let mut answered = Vec::new();
        while let Some((to, said)) = questions.answer_next(|_| Said::Reply("yes".into())) {
            assert_eq!(said, Said::Reply("yes".into()));
            answered.push(to.reply.to_string());
        }
        assert_eq!(answered[..4], ["greedy.0", "modest.0", "service", "greedy.1"]);
        assert_eq!(answered.len(), MAX_QUESTIONS_OF_A_TENANT + 2);
        assert!(questions.is_empty());
        assert_eq!(slots.available_permits(), MAX_QUESTIONS, "each has given its permit back");
    }

    fn message(payload: impl Into<bytes::Bytes>) -> async_nats::Message {
        let payload = payload.into();
        async_nats::Message {
            subject: "daybook.shard.0.x".into(),
            reply: Some("_INBOX.a.1".into()),
            length: payload.len(),
            payload,
            headers: None,
            status: None,
            description: None,
        }
    }

    fn bundle(questions: &[&str]) -> bytes::Bytes {
        let mut bundle = daybook_contracts::bundle::QuestionBundle::default();
        questions.iter().for_each(|question| bundle.push(question.as_bytes()));
        bundle.finish()
    }

    #[test]
    fn the_questions_of_a_bundle_are_taken_one_by_one_and_a_bad_one_harms_no_other() {
        let (slots, mut refused) = (Arc::new(Semaphore::new(3)), Replies::default());
        let taken = read(message(bundle(&["\"Position\"", "{?", "\"Views\"", "\"Position\""])), &slots, &mut refused);
        let shown: Vec<_> = taken.iter().map(|question| (question.to.number, question.asked.is_ok())).collect();
        assert_eq!(shown, [(Some(0), true), (Some(1), false), (Some(2), true)]);
        assert_eq!(format!("{refused:?}").matches("too many questions").count(), 1, "there is room for three");
        drop(taken);
        let taken = read(message("\"Position\""), &slots, &mut Replies::default());
        assert_eq!((taken.len(), taken[0].to.number), (1, None));
        let whole = bundle(&["\"Position\""]);
        let mut refused = Replies::default();
        assert!(read(message(whole.slice(..whole.len() - 1)), &slots, &mut refused).is_empty());
        assert!(format!("{refused:?}").contains("cannot be read"));
        let silent = async_nats::Message { reply: None, ..message(whole) };
        assert!(read(silent, &slots, &mut Replies::default()).is_empty());
    }
}
