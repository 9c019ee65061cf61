//! Pages that change while they are looked at: the page is made again, and sent where it differs from what was sent.

use super::visitor::Visitor;
use super::wanted::Wanted;
use super::{Console, screens};
use crate::live::frames::{HEARTBEAT, RETRY, event};
use crate::problem::{Code, Problem};
use axum::body::Body;
use bytes::Bytes;
use daybook_runtime::clock;
use futures::StreamExt as _;
use futures::stream::unfold;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Longest stream. The browser connects again after it.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Pause after a page could not be made.
const AGAIN: Duration = Duration::from_secs(3);
/// A pause is at least so many times as long as making the page took: an expensive page is made less often.
const REST: u32 = 4;
/// How often an idle stream shows that it lives.
const HEARTBEAT_AFTER: Duration = Duration::from_secs(15);

struct Following {
    console: Arc<Console>,
    visitor: Visitor,
    wanted: Wanted,
    sent: Option<blake3::Hash>,
    sent_at: Instant,
    pause: Duration,
    ends_at: Instant,
    /// Nothing more is sent.
    has_ended: bool,
    _place: OwnedSemaphorePermit,
}

/// The changes of a page as server-sent events: `page` has the changing part as HTML, `trouble` says why there is none. They end
/// when the token of the visitor is revoked or expires.
///
/// # Errors
/// [`Code::Busy`] when too many pages are followed.
pub(super) fn follow(console: Arc<Console>, visitor: Visitor, wanted: Wanted) -> Result<Body, Problem> {
    let place = console.live.clone().try_acquire_owned();
    let place = place.map_err(|_| {
        Problem::new(Code::Busy, "too many pages of the console are followed already").hint("load the page again later")
    })?;
    let now = Instant::now();
    let left = visitor.grant().expires_at.map_or(LONGEST, |end| end.since(clock::now()).min(LONGEST));
    let following = Following {
        console,
        visitor,
        wanted,
        sent: None,
        sent_at: now,
        pause: Duration::ZERO,
        ends_at: now + left,
        has_ended: false,
        _place: place,
    };
    let changes = unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    Ok(Body::from_stream(futures::stream::iter([Ok(RETRY)]).chain(changes)))
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.has_ended {
            tokio::select! {
                () = tokio::time::sleep(self.pause) => {}
                () = tokio::time::sleep_until(self.ends_at) => return None,
                () = self.console.stop.cancelled() => return None,
            }
            if Instant::now() >= self.ends_at {
                return None;
            }
            let began = Instant::now();
            // The browser asks again after the end, is refused, and says that the page must be loaded again.
            if let Err(problem) = self.visitor.check(clock::now()) {
                self.has_ended = true;
                return Some(event("trouble", None, problem.detail().as_bytes()));
            }
            let (event, every) = match screens::page(&self.console, &self.visitor, &self.wanted).await {
                Ok(page) => (event("page", None, page.live.0.as_bytes()), page.every),
                Err(problem) => (event("trouble", None, problem.detail().as_bytes()), AGAIN),
            };
            self.pause = every.max(began.elapsed() * REST);
            let hash = blake3::hash(&event);
            let is_news = self.sent.replace(hash) != Some(hash);
            if is_news || self.sent_at.elapsed() >= HEARTBEAT_AFTER {
                self.sent_at = Instant::now();
                return Some(if is_news { event } else { HEARTBEAT });
            }
        }
        None
    }
}
