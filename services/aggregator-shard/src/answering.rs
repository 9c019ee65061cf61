//! Answers what a partition is asked, and tells its listeners what changed: all from memory.

use crate::freshness::{self, Level};
use crate::live::Feeds;
use crate::messages::Message;
use crate::questions::{Question, Questions, SLICE};
use crate::replica::Replica;
use crate::replies::Replies;
use crate::shedding::Shedding;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, DayState, Position, ShardQuestion};
use daybook_contracts::bundle::Said;
use daybook_contracts::log::Record;
use daybook_runtime::connection::Connection;
use daybook_runtime::outbox::Outbox;
use ractor::ActorRef;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::watch;
use tokio::time::Instant;

/// The questions and the listeners of a partition.
pub struct Answering {
    connection: Connection,
    questions: Questions,
    feeds: Feeds,
    shedding: Shedding,
    outbox: Outbox,
    /// When the log was last heard of.
    heard: watch::Receiver<Instant>,
    backfill_progress: Arc<AtomicU8>,
    /// Where the replica's clock begins.
    begun: Instant,
}

impl Answering {
    pub fn new(
        connection: Connection,
        outbox: Outbox,
        heard: watch::Receiver<Instant>,
        backfill_progress: Arc<AtomicU8>,
        begun: Instant,
    ) -> Self {
        // An inbox of the client's is a name that no other run has.
        let run = connection.client.new_inbox().replace("_INBOX.", "");
        Self {
            connection,
            questions: Questions::default(),
            feeds: Feeds::new(run),
            shedding: Shedding::default(),
            outbox,
            heard,
            backfill_progress,
            begun,
        }
    }

    /// How many feeds there are.
    pub fn feeds(&self) -> usize {
        self.feeds.len()
    }

    /// Ends the feeds of what the records of a batch remove.
    pub fn end_removed(&mut self, records: &[Record]) {
        self.feeds.end_removed(records);
    }

    /// Tells listeners what changed, unless the shard is far behind the log.
    pub async fn push_updates(&mut self, replica: &mut Replica) {
        self.feeds.expire(replica.state_mut(), Instant::now());
        let sheds = self.shedding.judge(replica.pending());
        if self.feeds.is_empty() {
            return;
        }
        if sheds {
            metrics::counter!("daybook_shed_total", "what" => "live").increment(self.feeds.len() as u64);
            return;
        }
        for update in self.feeds.updates(replica.state_mut()) {
            let subject = self.connection.subjects.live(update.tenant.as_str(), update.view.as_str());
            // An update that cannot be sent is a gap in the feed's sequence.
            let _ = self.connection.client.publish(subject, json(&update).into()).await;
        }
    }

    /// Has questions wait for their turns. While any wait, one [`Message::Answer`] is in the mailbox.
    pub async fn take(&mut self, questions: Vec<Question>, replica: &mut Replica, actor: &ActorRef<Message>) {
        let is_first = self.questions.is_empty();
        let mut refused = Replies::default();
        for question in questions {
            if let Err(refusal) = self.questions.push(question) {
                let (to, why) = *refusal;
                refused.refuse(to, why);
            }
        }
        refused.send(&self.connection.client).await;
        if is_first && !self.questions.is_empty() && actor.cast(Message::Answer).is_err() {
            self.go_on(replica, actor).await;
        }
    }

    /// Answers questions for a [`SLICE`]; all of them when the actor is ending, for nothing comes behind it then. What is answered in
    /// a slice is sent at its end, or before an answer that may take long.
    pub async fn go_on(&mut self, replica: &mut Replica, actor: &ActorRef<Message>) {
        let mut questions = std::mem::take(&mut self.questions);
        let mut replies = Replies::default();
        let mut until = Instant::now() + SLICE;
        loop {
            let next = questions.answer_next(|asked| {
                if matches!(asked, Ok(ShardQuestion::Totals { .. } | ShardQuestion::Figures { .. })) {
                    let (ready, client) = (std::mem::take(&mut replies), self.connection.client.clone());
                    tokio::spawn(async move { ready.send(&client).await });
                }
                self.answer(asked, replica)
            });
            let Some((to, said)) = next else { break };
            replies.put(to, said);
            if Instant::now() >= until && !questions.is_empty() {
                if actor.cast(Message::Answer).is_ok() {
                    break;
                }
                std::mem::take(&mut replies).send(&self.connection.client).await;
                until = Instant::now() + SLICE;
            }
        }
        self.questions = questions;
        replies.send(&self.connection.client).await;
    }

    /// The answer to a question: JSON, or MessagePack where it is figures.
    fn answer(&mut self, question: Result<ShardQuestion, serde_json::Error>, replica: &mut Replica) -> Said {
        let always = matches!(question, Ok(ShardQuestion::Position | ShardQuestion::Views) | Err(_));
        if !replica.has_been_level() && !always {
            let error = AskError::new(AskErrorCode::Unavailable, "the shard is catching up with the log");
            return refusal(error.hint("sealed days can be asked for by date"));
        }
        let state = replica.state_mut();
        match question {
            Ok(ShardQuestion::View { tenant, view, query }) => {
                let answer = match query.watch {
                    true => state
                        .check(&tenant, &view, &query)
                        .and_then(|()| self.feeds.watch(state, &tenant, &view, Instant::now())),
                    false => state.view(&tenant, &view, &query),
                };
                match answer {
                    Ok(mut answer) => {
                        if answer.day != DayState::Closed {
                            answer.freshness_ms = self.freshness_ms(replica);
                        }
                        Said::view(&answer)
                    }
                    Err(error) => refusal(error),
                }
            }
            Ok(ShardQuestion::Figures { tenant, view, from, to }) => match state.figures(&tenant, &view, from, to) {
                Ok(figures) => Said::Reply(figures.encode().into()),
                Err(error) => refusal(error),
            },
            Ok(ShardQuestion::Totals { tenants, view, days, .. }) => match state.totals(&tenants, &view, &days) {
                Ok(totals) => Said::Reply(totals.finish(self.freshness_ms(replica)).into()),
                Err(error) => refusal(error),
            },
            Ok(ShardQuestion::Days { tenant }) => reply(&state.days(&tenant)),
            Ok(ShardQuestion::ViewsOf { tenant, .. }) => reply(&state.views_for(&tenant)),
            Ok(ShardQuestion::Position) => {
                reply(&Asked::Ok(Position { as_of: state.as_of(), outputs_waiting: self.outbox.backlog() }))
            }
            Ok(ShardQuestion::Views) => reply(&Asked::Ok(state.views(self.backfill_progress.load(Ordering::Relaxed)))),
            Err(error) => refusal(
                AskError::new(AskErrorCode::BadRequest, format!("the question cannot be read: {error}"))
                    .hint("query and aggregator-shard may be of different versions"),
            ),
        }
    }

    fn freshness_ms(&self, replica: &Replica) -> u64 {
        let connection = self.connection.client.connection_state();
        freshness::milliseconds(Level {
            since: replica.since_level(self.begun.elapsed()),
            is_level: replica.is_level(),
            is_connected: connection == async_nats::connection::State::Connected,
            heard: self.heard.borrow().elapsed(),
        })
    }
}

fn json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("answers are plain values")
}

fn reply(answer: &impl Serialize) -> Said {
    Said::Reply(json(answer).into())
}

fn refusal(error: AskError) -> Said {
    reply(&Err::<(), _>(error))
}
