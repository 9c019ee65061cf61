//! Carries questions to shards, and their answers back.
//!
//! Questions that are asked at about the same time travel in one [bundle](daybook_contracts::bundle), and none of them waits for that:
//! the courier lets the tasks run that could run anyway, then takes what there is. Each answer is given on as soon as it is here,
//! whatever the others of its bundle are waiting for.

use async_nats::{Client, Message, StatusCode, Subject};
use bytes::Bytes;
use daybook_contracts::bundle::{QuestionBundle, Said, is_bundle, read_answers};
use futures::StreamExt;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Questions that wait for the courier at most: as many as query has under way. Whoever comes then waits for room.
const MAX_WAITING: usize = 4_096;
/// Questions that the courier takes at once.
const MAX_TAKEN: usize = 512;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("no responders: nobody listens there")]
    NobodyListens,
    #[error("request timed out")]
    Late,
    #[error("the question cannot be sent: {0}")]
    Unsent(String),
}

type Outcome = Result<Said, Unanswered>;

/// Sends questions to addresses that take bundles. Ends when this is dropped.
pub(crate) struct Courier {
    orders: mpsc::Sender<Order>,
    patience: Duration,
}

/// A question, where it goes, and who waits for the answer.
struct Order {
    to: Subject,
    question: Bytes,
    asker: oneshot::Sender<Outcome>,
}

impl Courier {
    /// One that waits so long for an answer. It must be started in a runtime.
    pub(crate) fn start(client: Client, patience: Duration) -> Self {
        let (orders, taken) = mpsc::channel(MAX_WAITING);
        tokio::spawn(carry(client, taken, patience));
        Self { orders, patience }
    }

    /// What the shard at that address says to a question.
    ///
    /// # Errors
    /// Nobody listens there, or there is no answer in time.
    pub(crate) async fn ask(&self, to: Subject, question: Bytes) -> Outcome {
        let (asker, answer) = oneshot::channel();
        let gone = || Unanswered::Unsent("the connection has ended".to_owned());
        let asked = async {
            self.orders.send(Order { to, question, asker }).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        tokio::time::timeout(self.patience, asked).await.unwrap_or(Err(Unanswered::Late))
    }
}

/// Sends what is ordered and takes in what is answered, until nobody can order any more.
async fn carry(client: Client, mut orders: mpsc::Receiver<Order>, patience: Duration) {
    let inbox = client.new_inbox();
    let Ok(mut answers) = client.subscribe(format!("{inbox}.*")).await else { return };
    let mut open = OpenBundles::default();
    let mut taken = Vec::with_capacity(MAX_TAKEN);
    loop {
        tokio::select! {
            count = orders.recv_many(&mut taken, MAX_TAKEN) => {
                if count == 0 {
                    return;
                }
                // Those who are about to ask come along.
                tokio::task::yield_now().await;
                while taken.len() < MAX_TAKEN && let Ok(order) = orders.try_recv() {
                    taken.push(order);
                }
                open.forget_before(Instant::now(), patience);
                for bundle in gather(taken.drain(..)) {
                    send(&client, &inbox, &mut open, bundle).await;
                }
            }
            message = answers.next() => match message {
                Some(message) => open.take(&message),
                None => return,
            },
        }
    }
}

/// Questions to one address that go in one message.
struct Bundle {
    to: Subject,
    orders: Vec<Order>,
    written: QuestionBundle,
}

impl Bundle {
    fn of(order: Order) -> Self {
        let mut bundle = Self { to: order.to.clone(), orders: Vec::new(), written: QuestionBundle::default() };
        bundle.push(order);
        bundle
    }

    fn push(&mut self, order: Order) {
        self.written.push(&order.question);
        self.orders.push(order);
    }
}

/// Bundles of the orders: to each address in the order in which they came, and no larger than bundles may be. Whoever has gone away
/// meanwhile is left out.
fn gather(orders: impl Iterator<Item = Order>) -> Vec<Bundle> {
    let mut bundles: Vec<Bundle> = Vec::new();
    for order in orders.filter(|order| !order.asker.is_closed()) {
        // Only the last one to an address may have room: what came first goes first.
        match bundles.iter_mut().rev().find(|bundle| bundle.to == order.to) {
            Some(bundle) if bundle.written.has_room_for(order.question.len()) => bundle.push(order),
            _ => bundles.push(Bundle::of(order)),
        }
    }
    bundles
}

/// Sends a bundle. Where the broker takes no message of that length, each question goes alone.
async fn send(client: &Client, inbox: &str, open: &mut OpenBundles, bundle: Bundle) {
    let mut bundles = VecDeque::from([bundle]);
    while let Some(Bundle { to, orders, written }) = bundles.pop_front() {
        let (number, questions) = (open.next_number(), orders.len() as u64);
        let Err(error) = client.publish_with_reply(to, format!("{inbox}.{number}"), written.finish()).await else {
            metrics::counter!("daybook_query_bundles_total").increment(1);
            metrics::counter!("daybook_query_bundled_questions_total").increment(questions);
            open.begin(number, orders.into_iter().map(|order| order.asker).collect(), Instant::now());
            continue;
        };
        match orders.len() {
            1 => orders.into_iter().for_each(|order| {
                // One that has gone away needs no answer, here and below.
                let _ = order.asker.send(Err(Unanswered::Unsent(error.to_string())));
            }),
            _ => bundles.extend(orders.into_iter().map(Bundle::of)),
        }
    }
}

/// The bundles of which some questions have no answer yet.
#[derive(Default)]
struct OpenBundles {
    last: u64,
    bundles: HashMap<u64, Waiting>,
    /// Their numbers in the order in which they were sent.
    sent: VecDeque<(Instant, u64)>,
}

/// Who waits for the answers of a bundle, by the numbers of the questions.
struct Waiting {
    askers: Vec<Option<oneshot::Sender<Outcome>>>,
    left: usize,
}

impl OpenBundles {
    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn begin(&mut self, number: u64, askers: Vec<oneshot::Sender<Outcome>>, now: Instant) {
        let left = askers.len();
        self.bundles.insert(number, Waiting { askers: askers.into_iter().map(Some).collect(), left });
        self.sent.push_back((now, number));
    }

    /// Forgets what was sent so long ago that nobody waits for it any more.
    fn forget_before(&mut self, now: Instant, patience: Duration) {
        while let Some((at, number)) = self.sent.front().copied()
            && (now.duration_since(at) > patience || !self.bundles.contains_key(&number))
        {
            self.bundles.remove(&number);
            self.sent.pop_front();
        }
    }

    /// Gives the answers of a message to those who wait for them. What nobody waits for any more is dropped.
    fn take(&mut self, message: &Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some((number, waiting)) = number.and_then(|number| Some((number, self.bundles.get_mut(&number)?))) else {
            return;
        };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            waiting.answer_all(&Err(Unanswered::NobodyListens));
        } else if is_bundle(&message.payload) {
            for answer in read_answers(&message.payload) {
                match answer {
                    Ok((number, said)) => waiting.answer(usize::from(number), Ok(said)),
                    Err(error) => tracing::warn!(%error, "answers of a shard are lost"),
                }
            }
        } else {
            waiting.answer_all(&Ok(Said::Reply(message.payload.clone())));
        }
        if waiting.left == 0 {
            self.bundles.remove(&number);
        }
    }
}

impl Waiting {
    fn answer(&mut self, number: usize, outcome: Outcome) {
        if let Some(asker) = self.askers.get_mut(number).and_then(Option::take) {
            self.left -= 1;
            let _ = asker.send(outcome);
        }
    }

    fn answer_all(&mut self, outcome: &Outcome) {
        (0..self.askers.len()).for_each(|number| self.answer(number, outcome.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::AsOf;
    use daybook_contracts::bundle::{AnswerBundle, Brief, MAX_BYTES, MAX_QUESTIONS, read_questions};
    use daybook_domain::ids::{InboxSeq, LogSeq};

    fn order(to: &str, question: impl Into<Bytes>) -> (Order, oneshot::Receiver<Outcome>) {
        let (asker, answer) = oneshot::channel();
        (Order { to: to.into(), question: question.into(), asker }, answer)
    }

    fn message(number: u64, payload: impl Into<Bytes>, status: Option<StatusCode>) -> Message {
        let payload = payload.into();
        Message {
            subject: format!("_INBOX.a.{number}").into(),
            reply: None,
            length: payload.len(),
            payload,
            headers: None,
            status,
            description: None,
        }
    }

    fn reply(text: &'static str) -> Said {
        Said::Reply(text.into())
    }

    fn answers(answers: &[(u16, Said)]) -> Bytes {
        let mut bundle = AnswerBundle::default();
        answers.iter().for_each(|(number, said)| bundle.push(*number, said));
        bundle.finish()
    }

    /// Bundles with these askers, the first of which has the number 1.
    fn open(bundles: &[usize], now: Instant) -> (OpenBundles, Vec<Vec<oneshot::Receiver<Outcome>>>) {
        let mut open = OpenBundles::default();
        let receivers = bundles.iter().map(|askers| {
            let (senders, receivers) = (0..*askers).map(|_| oneshot::channel()).unzip();
            let number = open.next_number();
            open.begin(number, senders, now);
            receivers
        });
        let receivers = receivers.collect();
        (open, receivers)
    }

    #[test]
    fn questions_to_one_address_go_together_in_their_order() {
        let asked = [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("b", "5")];
        let (orders, _answers): (Vec<_>, Vec<_>) = asked.into_iter().map(|(to, question)| order(to, question)).unzip();
        let bundles = gather(orders.into_iter());
        let shown: Vec<_> = bundles
            .into_iter()
            .map(|bundle| (bundle.to.to_string(), read_questions(&bundle.written.finish()).unwrap().concat()))
            .collect();
        assert_eq!(shown, [("a".to_owned(), b"134".to_vec()), ("b".to_owned(), b"25".to_vec())]);
    }

    #[test]
    fn a_bundle_is_bounded_by_questions_and_bytes_and_keeps_the_order() {
        let (orders, _answers): (Vec<_>, Vec<_>) = (0..2 * MAX_QUESTIONS + 1).map(|_| order("a", "1")).unzip();
        let sizes: Vec<_> = gather(orders.into_iter()).iter().map(|bundle| bundle.orders.len()).collect();
        assert_eq!(sizes, [MAX_QUESTIONS, MAX_QUESTIONS, 1]);
        let lengths = [10, MAX_BYTES, 20, 30, MAX_BYTES - 10, 40];
        let (orders, _answers): (Vec<_>, Vec<_>) = lengths.iter().map(|length| order("a", vec![b'.'; *length])).unzip();
        let bundles = gather(orders.into_iter());
        let shown: Vec<Vec<usize>> =
            bundles.iter().map(|bundle| bundle.orders.iter().map(|order| order.question.len()).collect()).collect();
        assert_eq!(shown, [vec![10], vec![MAX_BYTES], vec![20, 30], vec![MAX_BYTES - 10], vec![40]]);
    }

    #[test]
    fn whoever_has_gone_away_is_not_asked_for() {
        let ((one, answer), (other, _stays)) = (order("a", "1"), order("a", "2"));
        drop(answer);
        let bundles = gather([one, other].into_iter());
        assert_eq!((bundles.len(), &bundles[0].orders[0].question[..]), (1, &b"2"[..]));
    }

    #[test]
    fn each_answer_is_given_on_as_it_comes() {
        let (mut open, mut askers) = open(&[3], Instant::now());
        let mut askers = askers.remove(0);
        let brief = Brief { generation: 0, as_of: AsOf { log: LogSeq(1), inbox: InboxSeq(2) }, freshness_ms: 0 };
        let view = Said::View(brief, "{}".into());
        open.take(&message(1, answers(&[(2, view.clone())]), None));
        assert_eq!(askers[2].try_recv().unwrap(), Ok(view));
        assert!(askers[0].try_recv().is_err() && askers[1].try_recv().is_err());
        // A second answer to the same question, and one to a question that nobody asked, change nothing.
        open.take(&message(1, answers(&[(2, reply("again")), (9, reply("?")), (0, reply("first"))]), None));
        assert_eq!(askers[0].try_recv().unwrap(), Ok(reply("first")));
        assert_eq!(open.bundles.len(), 1);
        // An answer to another bundle, and one on a subject that is none.
        open.take(&message(7, answers(&[(1, reply("?"))]), None));
        open.take(&Message { subject: "_INBOX.a.b".into(), ..message(1, answers(&[(1, reply("?"))]), None) });
        assert!(askers[1].try_recv().is_err());
        open.take(&message(1, answers(&[(1, reply("second"))]), None));
        assert_eq!(askers[1].try_recv().unwrap(), Ok(reply("second")));
        assert!(open.bundles.is_empty());
    }

    #[test]
    fn an_answer_that_cannot_be_read_leaves_those_before_it_unharmed() {
        let (mut open, mut askers) = open(&[2], Instant::now());
        let mut askers = askers.remove(0);
        let whole = answers(&[(1, reply("sound")), (0, reply("broken"))]);
        open.take(&message(1, whole.slice(..whole.len() - 1), None));
        assert_eq!(askers[1].try_recv().unwrap(), Ok(reply("sound")));
        assert!(askers[0].try_recv().is_err(), "it times out");
        // So does an asker that has gone away no harm.
        askers.clear();
        open.take(&message(1, whole, None));
        assert!(open.bundles.is_empty());
    }

    #[test]
    fn a_refusal_of_the_whole_bundle_is_everybodys() {
        let (mut open, mut askers) = open(&[2, 2], Instant::now());
        open.take(&message(1, "{\"Err\":1}", None));
        open.take(&message(2, "", Some(StatusCode::NO_RESPONDERS)));
        for asker in &mut askers[0] {
            assert_eq!(asker.try_recv().unwrap(), Ok(reply("{\"Err\":1}")));
        }
        for asker in &mut askers[1] {
            assert_eq!(asker.try_recv().unwrap(), Err(Unanswered::NobodyListens));
        }
        assert!(open.bundles.is_empty());
    }

    #[test]
    fn bundles_that_are_never_answered_are_forgotten() {
        let (now, patience) = (Instant::now(), Duration::from_secs(2));
        let (mut open, _askers) = open(&[1, 1], now);
        let number = open.next_number();
        open.begin(number, Vec::new(), now + Duration::from_secs(1));
        open.take(&message(1, "done", None));
        open.forget_before(now + patience, patience);
        assert_eq!((open.bundles.len(), open.sent.len()), (2, 2), "the first is answered");
        open.forget_before(now + patience + Duration::from_millis(1), patience);
        assert_eq!(open.bundles.keys().copied().collect::<Vec<_>>(), [3]);
        open.forget_before(now + 2 * patience, patience);
        assert!(open.bundles.is_empty() && open.sent.is_empty());
    }
}
