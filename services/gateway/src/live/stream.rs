//! What the listeners of one upstream share.

use super::frames;
use super::ring::{Ring, RingRead};
use super::watched::{Taken, Watched};
use crate::problem::{Code, Problem};
use crate::room::{HeldBytes, Room};
use bytes::Bytes;
use daybook_contracts::ask::Answer;
use daybook_contracts::live::LiveUpdate;
use daybook_domain::ids::TenantId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events up to this length take no room, in bytes.
const SHORT: usize = 16 << 10;
/// How soon is asked again after an error.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long listeners are left without news while figures cannot be had. Then their streams end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a new listener begins with.
enum Latest {
    Nothing,
    /// A feed.
    Feed(Box<Watched>),
    /// The answer to a repeated question, by the identifier of its event.
    Answer {
        id: String,
        event: Bytes,
    },
}

/// Where a stream stands.
#[derive(Clone, Debug)]
enum StreamState {
    Starting,
    Ready,
    Ended(Problem),
}

/// Where the memory for events comes from.
#[derive(Clone)]
pub(super) struct LiveRoom {
    pub(super) room: Room,
    pub(super) tenant: TenantId,
}

/// A long event. It takes room until the last listener has it.
struct Held {
    event: Bytes,
    _place: HeldBytes,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.event
    }
}

impl LiveRoom {
    /// The event with room for it, if it is long.
    ///
    /// # Errors
    /// [`Code::Busy`].
    fn hold(&self, event: Bytes) -> Result<Bytes, Problem> {
        if event.len() <= SHORT {
            return Ok(event);
        }
        let place = self.room.try_take(Some(&self.tenant), event.len())?;
        Ok(Bytes::from_owner(Held { event, _place: place }))
    }
}

/// What listeners of a view share. The upstream ends once nobody holds it.
pub(super) struct Stream {
    /// Locked before `ring` by whoever locks both.
    latest: Mutex<Latest>,
    ring: Mutex<Ring>,
    /// Told with each event.
    news: watch::Sender<()>,
    standing: watch::Sender<StreamState>,
    room: LiveRoom,
}

/// The place of one listener in a stream.
pub(super) struct Listening {
    stream: Arc<Stream>,
    position: u64,
    news: watch::Receiver<()>,
}

impl Listening {
    /// The next event.
    ///
    /// # Errors
    /// The number of events that were dropped because the listener is too far behind.
    pub(super) async fn next(&mut self) -> Result<Bytes, u64> {
        loop {
            match self.stream.ring().read(&mut self.position) {
                RingRead::Event(event) => return Ok(event),
                RingRead::Missed(events) => return Err(events),
                RingRead::Nothing => {}
            }
            // Does not end: the stream, which this holds, has the sender.
            let _ = self.news.changed().await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stream.ring().leave(self.position);
    }
}

impl Stream {
    pub(super) fn new(room: LiveRoom) -> Self {
        Self {
            latest: Mutex::new(Latest::Nothing),
            ring: Mutex::default(),
            news: watch::Sender::new(()),
            standing: watch::Sender::new(StreamState::Starting),
            room,
        }
    }

    /// Returns once there is a snapshot.
    ///
    /// # Errors
    /// Why there will be none.
    pub(super) async fn ready(&self) -> Result<(), Problem> {
        let mut standing = self.standing.subscribe();
        let standing = standing.wait_for(|standing| !matches!(standing, StreamState::Starting)).await;
        match standing.as_deref() {
            Ok(StreamState::Ended(problem)) => Err(problem.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(ending()),
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(*self.standing.borrow(), StreamState::Ended(_))
    }

    /// What a new listener gets first, and what follows: nothing is missed between them, and nothing comes twice. Of a stream that
    /// has ended it is the last event, which says why.
    ///
    /// # Errors
    /// [`Code::Busy`] when there is no room for the snapshot.
    pub(super) fn join(self: &Arc<Self>, last: Option<&str>) -> Result<(Vec<Bytes>, Listening), Problem> {
        // Held until the listener has its place.
        let mut latest = self.lock();
        let end = match &*self.standing.borrow() {
            StreamState::Ended(problem) => Some(frames::end(problem)),
            _ => None,
        };
        let first = match (end, &mut *latest) {
            (Some(end), _) => vec![end],
            (None, Latest::Nothing) => Vec::new(),
            (None, Latest::Feed(watched)) => watched.first(last, |event| self.room.hold(event))?,
            (None, Latest::Answer { id, .. }) if last == Some(id.as_str()) => Vec::new(),
            (None, Latest::Answer { event, .. }) => vec![event.clone()],
        };
        let (news, position) = (self.news.subscribe(), self.ring().join());
        Ok((first, Listening { stream: self.clone(), position, news }))
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, event: Bytes) {
        self.ring().push(event);
        self.news.send_replace(());
    }

    /// Puts a snapshot in place of everything before.
    ///
    /// # Errors
    /// [`Code::Busy`] when there is no room for it.
    pub(super) fn restart(&self, mut watched: Watched) -> Result<(), Problem> {
        let snapshot = watched.snapshot(|event| self.room.hold(event))?;
        self.replace(Latest::Feed(Box::new(watched)), snapshot);
        Ok(())
    }

    /// Puts an answer in place of the one before, unless it is the same.
    ///
    /// # Errors
    /// [`Code::Busy`] when there is no room for it.
    pub(super) fn answer(&self, id: String, event: Bytes) -> Result<(), Problem> {
        let is_known = matches!(&*self.lock(), Latest::Answer { id: known, .. } if *known == id);
        if !is_known {
            let event = self.room.hold(event)?;
            self.replace(Latest::Answer { id, event: event.clone() }, event);
        }
        Ok(())
    }

    fn replace(&self, latest: Latest, event: Bytes) {
        let mut place = self.lock();
        *place = latest;
        // Under the lock, so that whoever joins has it or gets it.
        self.send(event);
        drop(place);
        self.standing.send_replace(StreamState::Ready);
    }

    /// Ends the stream: whoever listens or joins gets the reason.
    fn finish(&self, problem: Problem) {
        let latest = self.lock();
        self.send(frames::end(&problem));
        self.standing.send_replace(StreamState::Ended(problem));
        drop(latest);
    }

    /// Forgets the rows: something was missed.
    pub(super) fn forget(&self) {
        *self.lock() = Latest::Nothing;
    }

    /// Takes an update of the feed in; tells whether nothing was missed before it, and there is room for it.
    pub(super) fn take(&self, update: LiveUpdate, payload: &[u8]) -> bool {
        let mut latest = self.lock();
        let Latest::Feed(watched) = &mut *latest else { return true };
        match watched.take(update, payload) {
            Taken::Event(event) => self.room.hold(event).map(|event| self.send(event)).is_ok(),
            Taken::Gap => false,
            Taken::Nothing => true,
        }
    }

    /// Whether the rows continue with the feed of this answer, and include its sequence `due`.
    pub(super) fn continues(&self, answer: &Answer, due: Option<u64>) -> bool {
        match &*self.lock() {
            Latest::Feed(watched) => watched.continues(answer) && due.is_none_or(|due| watched.sequence() >= due),
            _ => false,
        }
    }
}

/// Runs an upstream for a new stream, until nobody holds the stream or `stop` is cancelled. What `follow` returns is the
/// reason to end for those who listen.
pub(super) fn start<F>(room: LiveRoom, follow: impl FnOnce(Weak<Stream>) -> F, stop: CancellationToken) -> Arc<Stream>
where
    F: Future<Output = Option<Problem>> + Send + 'static,
{
    let stream = Arc::new(Stream::new(room));
    let held = Arc::downgrade(&stream);
    let following = follow(held.clone());
    tokio::spawn(async move {
        let problem = tokio::select! {
            problem = following => problem,
            () = stop.cancelled() => Some(ending()),
        };
        if let Some(stream) = held.upgrade() {
            stream.finish(problem.unwrap_or_else(ending));
        }
    });
    stream
}

/// How upstreams deal with figures that cannot be had for a while: they ask again, for a minute.
#[derive(Default)]
pub(super) struct Patience {
    failing_since: Option<Instant>,
}

impl Patience {
    /// Takes the outcome of asking in.
    ///
    /// # Errors
    /// The problem, when asking again does not help or was tried for a minute.
    pub(super) async fn judge<T>(&mut self, outcome: Result<T, Problem>) -> Result<Option<T>, Problem> {
        match outcome {
            Ok(value) => {
                self.failing_since = None;
                Ok(Some(value))
            }
            Err(problem) => {
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                let heals = matches!(problem.code, Code::Unavailable | Code::Busy | Code::NotYet | Code::Internal);
                if !heals || since.elapsed() > PATIENCE {
                    return Err(problem);
                }
                tokio::time::sleep(ASK_AGAIN).await;
                Ok(None)
            }
        }
    }
}

/// The problem of a stream that ends with the service.
fn ending() -> Problem {
    Problem::new(Code::Unavailable, "the gateway ends")
        .hint("connect again; Last-Event-ID goes on where this stream ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(bytes: usize) -> Arc<Stream> {
        Arc::new(Stream::new(LiveRoom { room: Room::new(bytes), tenant: TenantId::new("acme").unwrap() }))
    }

    #[tokio::test]
    async fn whoever_listens_or_joins_gets_the_end() {
        let stream = stream(1 << 20);
        stream.answer("a".to_owned(), Bytes::from_static(b"one")).unwrap();
        let (first, mut early) = stream.join(None).unwrap();
        assert_eq!(first, ["one"]);
        stream.finish(ending());
        let (first, _late) = stream.join(None).unwrap();
        assert!(first.len() == 1 && frames::is_end(&first[0]));
        assert!(frames::is_end(&early.next().await.unwrap()));
    }

    #[tokio::test]
    async fn a_long_event_takes_room_until_the_last_listener_has_it() {
        let stream = stream(1 << 20);
        let long = |byte: u8| Bytes::from(vec![byte; 200 << 10]);
        stream.answer("a".to_owned(), long(b'a')).unwrap();
        let (first, mut slow) = stream.join(None).unwrap();
        assert_eq!(stream.answer("b".to_owned(), long(b'b')).unwrap_err().code, Code::Busy);
        assert!(stream.answer("a".to_owned(), long(b'a')).is_ok(), "the same again is no event");
        stream.answer("c".to_owned(), Bytes::from_static(b"short")).unwrap();
        drop(first);
        stream.answer("b".to_owned(), long(b'b')).unwrap();
        stream.answer("d".to_owned(), Bytes::from_static(b"short")).unwrap();
        assert_eq!(
            stream.answer("e".to_owned(), long(b'e')).unwrap_err().code,
            Code::Busy,
            "a listener has yet to read it"
        );
        assert_eq!(slow.next().await.unwrap(), "short");
        drop(slow);
        assert!(stream.answer("e".to_owned(), long(b'e')).is_ok());
    }
}
