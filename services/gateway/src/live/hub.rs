//! One upstream for each view that somebody follows.

use super::followed::Followed;
use super::stream::Stream;
use super::{asking, upstream};
use crate::asker::Asker;
use crate::problem::{Code, Problem};
use crate::room::{Room, SHARES};
use daybook_runtime::connection::Connection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most feeds that are followed at once.
const MAX_FEEDS: usize = 4_096;
/// Most questions that are followed at once, each of which is asked once a second.
const MAX_QUESTIONS: usize = 1_024;
/// Bytes for long events of live streams; each counts once, for all its listeners.
const ALL_LIVE: usize = 512 << 20;
/// How long a listener waits for the first snapshot of a view.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(10);

/// The views that are followed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub {
    connection: Connection,
    asker: Asker,
    /// Upstreams end by themselves when nobody holds them.
    streams: Arc<Mutex<HashMap<Followed, Weak<Stream>>>>,
    /// Memory for long events.
    room: Room,
    stop: CancellationToken,
}

impl Hub {
    /// Follows nothing yet. Streams end when `stop` is cancelled.
    pub(crate) fn new(connection: &Connection, asker: Asker, stop: CancellationToken) -> Self {
        Self { connection: connection.clone(), asker, streams: Arc::default(), room: Room::new(ALL_LIVE), stop }
    }

    /// The stream of a view, with a snapshot.
    ///
    /// # Errors
    /// Those of the query service; [`Code::Busy`] when too many views are followed.
    pub(super) async fn stream(&self, followed: Followed) -> Result<Arc<Stream>, Problem> {
        let stream = self.find(followed)?;
        match tokio::time::timeout(FIRST_SNAPSHOT, stream.ready()).await {
            Ok(ready) => ready.map(|()| stream),
            Err(_) => Err(Problem::new(Code::Unavailable, format!("no snapshot within {FIRST_SNAPSHOT:?}"))),
        }
    }

    fn find(&self, followed: Followed) -> Result<Arc<Stream>, Problem> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.get(&followed).and_then(Weak::upgrade).filter(|stream| !stream.has_ended()) {
            return Ok(stream);
        }
        admit(&mut streams, &followed)?;
        let (asker, stop) = (self.asker.clone(), self.stop.clone());
        let stream = match followed.question.is_empty() {
            true => {
                let view = (followed.tenant.clone(), followed.view.clone());
                upstream::start(&self.connection, asker, view, self.room.clone(), stop)
            }
            false => asking::start(asker, followed.clone(), self.room.clone(), stop),
        };
        streams.insert(followed, Arc::downgrade(&stream));
        metrics::gauge!("daybook_http_live_views").set(streams.len() as f64);
        Ok(stream)
    }
}

/// Makes sure that one more may be followed: there is room among feeds or questions, and in the tenant's quarter of them.
fn admit(streams: &mut HashMap<Followed, Weak<Stream>>, wanted: &Followed) -> Result<(), Problem> {
    // Forgets those that nobody follows any more.
    streams.retain(|_, stream| stream.strong_count() > 0);
    let is_feed = wanted.question.is_empty();
    let (most, what) = if is_feed { (MAX_FEEDS, "views") } else { (MAX_QUESTIONS, "questions") };
    let alike = || streams.keys().filter(|followed| followed.question.is_empty() == is_feed);
    if alike().count() >= most {
        return Err(Problem::new(Code::Busy, format!("{most} {what} are followed already")));
    }
    let most = most / SHARES as usize;
    if alike().filter(|followed| followed.tenant == wanted.tenant).count() >= most {
        return Err(Problem::new(Code::Busy, format!("{most} {what} of the tenant are followed already"))
            .hint("end another live stream of the tenant first"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::stream::LiveRoom;
    use bytes::Bytes;
    use daybook_domain::ids::{Name, TenantId};

    fn followed(tenant: &str, question: usize) -> Followed {
        let question = if question == 0 { Bytes::new() } else { question.to_string().into() };
        Followed { tenant: TenantId::new(tenant).unwrap(), view: Name::new("v").unwrap(), question }
    }

    #[tokio::test]
    async fn a_tenant_follows_a_quarter_of_the_questions_and_takes_no_place_from_feeds() {
        let mut streams = HashMap::new();
        let held: Vec<_> = (1..=MAX_QUESTIONS / 4)
            .map(|number| {
                let wanted = followed("acme", number);
                admit(&mut streams, &wanted).unwrap();
                let room = LiveRoom { room: Room::new(1 << 20), tenant: wanted.tenant.clone() };
                let stream = Arc::new(Stream::new(room));
                streams.insert(wanted, Arc::downgrade(&stream));
                stream
            })
            .collect();
        assert_eq!(admit(&mut streams, &followed("acme", 9_999)).unwrap_err().code, Code::Busy);
        assert!(admit(&mut streams, &followed("acme", 0)).is_ok(), "a feed is no question");
        assert!(admit(&mut streams, &followed("other", 1)).is_ok());
        drop(held);
        assert!(admit(&mut streams, &followed("acme", 9_999)).is_ok());
        assert!(streams.is_empty());
    }
}
