//! Follows the feed of one view for all its listeners.

use super::stream::{self, LiveRoom, Patience, Stream};
use super::watched::{Shape, Watched};
use crate::asker::Asker;
use crate::problem::{Code, Problem};
use crate::room::Room;
use async_nats::Subscriber;
use daybook_contracts::ask::{Answer, Pieces, Query};
use daybook_contracts::lists::ViewEntry;
use daybook_contracts::live::{LiveUpdate, RENEW_AFTER};
use daybook_domain::catalogue::Grain;
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::connection::Connection;
use futures::StreamExt as _;
use std::sync::{Arc, Weak};
use tokio_util::sync::CancellationToken;

/// Most rows of a view that is followed.
const MAX_ROWS: usize = 50_000;

/// Starts to follow the feed of a view.
pub(super) fn start(
    connection: &Connection,
    asker: Asker,
    (tenant, view): (TenantId, Name),
    room: Room,
    stop: CancellationToken,
) -> Arc<Stream> {
    let subject = connection.subjects.live(tenant.as_str(), view.as_str());
    let client = connection.client.clone();
    let room = LiveRoom { room, tenant: tenant.clone() };
    let follow = move |stream| {
        let upstream = Upstream { client, asker, tenant, view, subject, stream };
        async move { upstream.follow().await }
    };
    stream::start(room, follow, stop)
}

struct Upstream {
    client: async_nats::Client,
    asker: Asker,
    tenant: TenantId,
    view: Name,
    subject: String,
    stream: Weak<Stream>,
}

impl Upstream {
    /// Follows the view until nobody listens, or there is no view to follow.
    async fn follow(&self) -> Option<Problem> {
        let mut updates = match self.client.subscribe(self.subject.clone()).await {
            Ok(updates) => updates,
            Err(error) => {
                return Some(Problem::new(Code::Unavailable, format!("the broker cannot be reached: {error}")));
            }
        };
        let shape = match self.find().await {
            Ok(entry) => entry,
            Err(problem) => return Some(problem),
        };
        let mut patience = Patience::default();
        // The sequence that the feed had at the last renewal: by the next one, everything up to it must have come.
        let mut due = None;
        loop {
            match patience.judge(self.renew(&shape, &mut due).await).await {
                Ok(Some(())) => {}
                Ok(None) => {
                    self.stream.upgrade()?;
                    continue;
                }
                Err(problem) => return Some(problem),
            }
            if self.deliver(&mut updates).await? {
                due = None;
                // A gap: the rows are replaced by a new snapshot.
                self.stream.upgrade()?.forget();
            }
        }
    }

    /// The columns of the view.
    async fn find(&self) -> Result<ViewEntry, Problem> {
        let Self { tenant, view, .. } = self;
        let found = self.asker.views(tenant).await?.into_iter().find(|entry| entry.name == *view);
        found.ok_or_else(|| {
            Problem::new(Code::UnknownView, format!("{tenant} has no view {view}, or it is still being backfilled"))
        })
    }

    /// Asks for the feed, which starts or prolongs it. Takes the answer for the new snapshot, unless it continues what is
    /// followed.
    async fn renew(&self, entry: &ViewEntry, due: &mut Option<u64>) -> Result<(), Problem> {
        let answer = self.ask(&Query { watch: true, ..Query::default() }).await?;
        let Some(stream) = self.stream.upgrade() else { return Ok(()) };
        let told = answer.feed.as_ref().map_or(0, |feed| feed.sequence);
        let is_level = stream.continues(&answer, *due);
        *due = Some(told);
        if is_level {
            return Ok(());
        }
        let answer = self.all_pages(entry, answer).await?;
        let shape = Shape { dimensions: entry.dimensions.clone(), ranked: entry.ranked };
        let watched = Watched::new(&shape, answer)
            .ok_or_else(|| Problem::new(Code::Internal, "the query service began no feed"))?;
        stream.restart(watched)
    }

    /// The answer with the rows of all pages. Those of later pages may be ahead of the feed, which catches up.
    async fn all_pages(&self, entry: &ViewEntry, mut answer: Answer) -> Result<Answer, Problem> {
        let grain = match entry.grain {
            Grain::Day => Pieces::Total,
            grain => Pieces::from(grain),
        };
        while let Some(next) = answer.next.take() {
            if answer.total > MAX_ROWS as u64 || answer.rows.len() > MAX_ROWS {
                return Err(Problem::new(
                    Code::TooLarge,
                    format!("the view has {} rows; at most {MAX_ROWS} can be followed", answer.total),
                ));
            }
            let page = self.ask(&Query { cursor: Some(next), grain, ..Query::default() }).await?;
            answer.rows.extend(page.rows);
            answer.next = page.next;
        }
        Ok(answer)
    }

    async fn ask(&self, query: &Query) -> Result<Answer, Problem> {
        let Self { tenant, view, .. } = self;
        self.asker.read(tenant, view.as_str(), query).await
    }

    /// Passes updates on until the feed must be renewed. Tells whether there is a gap; `None` once nobody listens.
    async fn deliver(&self, updates: &mut Subscriber) -> Option<bool> {
        let renewal = tokio::time::sleep(RENEW_AFTER);
        let mut renewal = std::pin::pin!(renewal);
        loop {
            let message = tokio::select! {
                message = updates.next() => message?,
                () = &mut renewal => {
                    self.stream.upgrade()?;
                    return Some(false);
                }
            };
            let stream = self.stream.upgrade()?;
            let Ok(update) = serde_json::from_slice::<LiveUpdate>(&message.payload) else {
                tracing::debug!(subject = self.subject, "a live update cannot be read");
                continue;
            };
            if !stream.take(update, &message.payload) {
                return Some(true);
            }
        }
    }
}
