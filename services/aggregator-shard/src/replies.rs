//! Replies on their way to those who asked: the answers to questions of one bundle that are ready together share a message.

use async_nats::{Client, Subject};
use bytes::Bytes;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_contracts::bundle::{AnswerBundle, Said};

/// Where the answer to a question goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub reply: Subject,
    /// The number of the question in its bundle; `None` for one that came alone.
    pub number: Option<u16>,
}

/// Answers that are to be sent.
#[derive(Debug, Default)]
pub struct Replies {
    /// By the bundle that they answer, in the order in which the first of each came.
    ready: Vec<(Subject, Vec<(u16, Said)>)>,
    alone: Vec<(Subject, Bytes)>,
}

impl Replies {
    /// Puts an answer to those that are to be sent.
    pub fn put(&mut self, to: Address, said: Said) {
        let Address { reply, number } = to;
        let Some(number) = number else { return self.alone.push((reply, said.alone())) };
        match self.ready.iter_mut().rev().find(|(other, _)| *other == reply) {
            Some((_, answers)) => answers.push((number, said)),
            None => self.ready.push((reply, vec![(number, said)])),
        }
    }

    /// Puts a refusal to them.
    pub fn refuse(&mut self, to: Address, why: AskError) {
        let refusal = serde_json::to_vec(&Asked::<()>::Err(why)).expect("refusals are plain values");
        self.put(to, Said::Reply(refusal.into()));
    }

    /// Sends them. What cannot be sent is for the asker to ask again.
    pub async fn send(self, client: &Client) {
        for (reply, body) in self.alone {
            let _ = client.publish(reply, body).await;
        }
        for (reply, answers) in self.ready {
            for answers in split(answers) {
                send_bundle(client, &reply, answers).await;
            }
        }
    }
}

/// The answers in their order, so many together as a bundle has room for.
fn split(answers: Vec<(u16, Said)>) -> Vec<Vec<(u16, Said)>> {
    let mut bundles: Vec<Vec<(u16, Said)>> = Vec::new();
    let mut bytes = 0;
    for (number, said) in answers {
        let more = said.framed_bytes();
        match bundles.last_mut() {
            Some(bundle) if AnswerBundle::takes(bytes, more) => {
                bytes += more;
                bundle.push((number, said));
            }
            _ => {
                bytes = more;
                bundles.push(vec![(number, said)]);
            }
        }
    }
    bundles
}

/// Sends answers together. Where the broker takes no message of that length, each goes alone; and instead of one that is too large
/// even so, its asker is told.
async fn send_bundle(client: &Client, reply: &Subject, answers: Vec<(u16, Said)>) {
    if client.publish(reply.clone(), bundled(&answers)).await.is_ok() {
        return;
    }
    for (number, said) in answers {
        let length = said.framed_bytes();
        if client.publish(reply.clone(), bundled(&[(number, said)])).await.is_err() {
            let _ = client.publish(reply.clone(), bundled(&[(number, too_large(length))])).await;
        }
    }
}

fn bundled(answers: &[(u16, Said)]) -> Bytes {
    let mut bundle = AnswerBundle::default();
    answers.iter().for_each(|(number, said)| bundle.push(*number, said));
    bundle.finish()
}

fn too_large(length: usize) -> Said {
    let message = format!("the answer takes {length} bytes, more than the broker takes in one message");
    let error = AskError::new(AskErrorCode::TooLarge, message).hint("ask for less, such as fewer rows");
    Said::Reply(serde_json::to_vec(&Asked::<()>::Err(error)).expect("refusals are plain values").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::bundle::{MAX_BYTES, read_answers};

    fn of(reply: &str, number: Option<u16>) -> Address {
        Address { reply: reply.into(), number }
    }

    #[test]
    fn answers_to_one_bundle_share_a_message_and_those_alone_do_not() {
        let mut replies = Replies::default();
        for (reply, number, said) in
            [("a", Some(3), "1"), ("b", Some(0), "2"), ("c", None, "3"), ("a", Some(1), "4"), ("c", None, "5")]
        {
            replies.put(of(reply, number), Said::Reply(said.into()));
        }
        replies.refuse(of("b", Some(7)), AskError::new(AskErrorCode::Busy, "no"));
        let alone: Vec<_> = replies.alone.iter().map(|(reply, body)| (reply.as_str(), &body[..])).collect();
        assert_eq!(alone, [("c", &b"3"[..]), ("c", b"5")]);
        let ready: Vec<_> = replies
            .ready
            .iter()
            .map(|(reply, answers)| (reply.as_str(), answers.iter().map(|(number, _)| *number).collect::<Vec<_>>()))
            .collect();
        assert_eq!(ready, [("a", vec![3, 1]), ("b", vec![0, 7])]);
        let read: Vec<_> = read_answers(&bundled(&replies.ready[1].1)).map(Result::unwrap).collect();
        assert_eq!(read[0], (0, Said::Reply("2".into())));
        let Said::Reply(refusal) = &read[1].1 else { panic!("it is a refusal") };
        assert_eq!(serde_json::from_slice::<Asked<()>>(refusal).unwrap().unwrap_err().code, AskErrorCode::Busy);
    }

    #[test]
    fn a_large_answer_goes_alone_and_the_others_keep_their_order() {
        let said = |length: usize| Said::Reply(vec![b'.'; length].into());
        let lengths = [10, MAX_BYTES, 20, 30, MAX_BYTES - 40, 90];
        let answers = lengths.iter().zip(0..).map(|(length, number)| (number, said(*length))).collect();
        let numbers: Vec<Vec<u16>> =
            split(answers).iter().map(|bundle| bundle.iter().map(|(number, _)| *number).collect()).collect();
        assert_eq!(numbers, [vec![0], vec![1], vec![2, 3], vec![4], vec![5]]);
        assert!(matches!(too_large(9), Said::Reply(_)));
    }
}
