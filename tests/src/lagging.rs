//! A replica of a stream that is not up to date: a copy on the same broker that lacks what a test says, and a route to the
//! broker on which the copy is given whatever any replica may be given. What only the leader answers is the stream's own.

use crate::eventually;
use crate::route::{Frame, Route, Way};
use async_nats::jetstream::stream::{Config, Source};
use daybook_runtime::connection::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The route. Ends when dropped.
pub struct Lagging {
    route: Route,
    connection: Connection,
    replica: Arc<Replica>,
}

struct Replica {
    stream: String,
    /// As long as the stream's name, so that one can stand for the other in a message.
    copy: String,
    is_level: AtomicBool,
    /// How often something was begun to be read here.
    asked: AtomicU64,
}

impl Lagging {
    /// A replica of `stream` as it is now, and a route through it to the broker at `nats://HOST:PORT`, which may be another
    /// such route.
    pub async fn of(connection: &Connection, url: &str, stream: &str) -> Self {
        let copy = format!("{}_", &stream[..stream.len() - 1]);
        let mirror = Some(Source { name: stream.to_owned(), ..Source::default() });
        let config = Config { name: copy.clone(), mirror, allow_direct: true, ..Config::default() };
        let jetstream = &connection.jetstream;
        jetstream.create_stream(config).await.unwrap();
        let end = async |name: &str| jetstream.get_stream(name).await.unwrap().cached_info().state.last_sequence;
        let wanted = end(stream).await;
        eventually("a copy of the stream", async || (end(&copy).await == wanted).then_some(())).await;

        let (is_level, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        let replica = Arc::new(Replica { stream: stream.to_owned(), copy, is_level, asked });
        let of_route = replica.clone();
        let route = Route::new(url, move |way, frame| {
            if way == Way::ToBroker {
                of_route.take(frame);
            }
            true
        });
        Self { route: route.await, connection: connection.clone(), replica }
    }

    /// Where it listens, as a client writes it.
    pub fn url(&self) -> String {
        self.route.url()
    }

    /// From now on the replica has nothing on this subject.
    pub async fn lacks(&self, subject: &str) {
        let copy = self.connection.jetstream.get_stream(&self.replica.copy).await.unwrap();
        assert!(copy.purge().filter(subject).await.unwrap().purged > 0, "{subject}");
    }

    /// From now on it has everything.
    pub fn catch_up(&self) {
        self.replica.is_level.store(true, Ordering::SeqCst);
    }

    /// How often something was begun to be read here.
    pub fn asked(&self) -> u64 {
        self.replica.asked.load(Ordering::SeqCst)
    }
}

impl Replica {
    /// Makes a request that any replica may be given one to the copy.
    fn take(&self, frame: &mut Frame) {
        let subject = frame.words().nth(1).unwrap_or_default();
        let begins = ["$JS.API.CONSUMER.CREATE.", "$JS.API.DIRECT.GET."].iter().any(|api| subject.starts_with(api));
        let is_ours = subject.split('.').any(|token| token == self.stream);
        if !(is_ours && (begins || subject.starts_with("$JS.API.CONSUMER."))) || self.is_level.load(Ordering::SeqCst) {
            return;
        }
        self.asked.fetch_add(u64::from(begins), Ordering::SeqCst);
        let (stream, copy) = (self.stream.as_bytes(), self.copy.as_bytes());
        for start in 0..frame.bytes.len() {
            if frame.bytes[start..].starts_with(stream) {
                frame.bytes[start..start + stream.len()].copy_from_slice(copy);
            }
        }
    }
}
