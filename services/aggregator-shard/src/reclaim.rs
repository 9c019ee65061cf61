//! Removes the pieces of a partition that no snapshot names.
//!
//! Another process may be putting a snapshot meanwhile. It sends pieces that are named only at the end, and counts on pieces that the
//! newest snapshot named when it looked. So neither goes at once, see [`Patience`].
//! Who has taken longer finds pieces gone when it looks for them at the end, and takes its snapshot back.

use crate::pieces::{Manifest, PieceName};
use crate::snapshots::{Object, PIECES_AT_ONCE, SnapshotError, broker, manifest, manifest_of, objects, pieces_there};
use crate::sweep::ORPHANED;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::append::{last_message, stream_handle};
use daybook_runtime::connection::Connection;
use daybook_runtime::kept::Kept;
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant as Monotonic;

/// How long pieces stay that no snapshot names.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Those that a snapshot named which is gone.
    pub released: Duration,
    /// Those that were never seen to be named.
    pub orphaned: Duration,
}

impl Patience {
    /// To put a snapshot takes seconds, but for the first, none of whose pieces is there before.
    pub const USUAL: Self = Self { released: Duration::from_secs(300), orphaned: ORPHANED };
    /// None at all, where nobody puts a snapshot.
    pub const NONE: Self = Self { released: Duration::ZERO, orphaned: Duration::ZERO };
}

/// What remembers from one look to the next which pieces are named. A process that begins again knows of none that it ever was.
#[derive(Debug)]
pub struct Reclaiming {
    began: Monotonic,
    seen: Seen<PieceName>,
    /// The manifests that were there, by position and number: nothing of them ever changes.
    manifests: BTreeMap<(LogSeq, String), Manifest>,
}

impl Default for Reclaiming {
    fn default() -> Self {
        Self { began: Monotonic::now(), seen: Seen::default(), manifests: BTreeMap::new() }
    }
}

impl Reclaiming {
    /// Removes the pieces of a partition that no snapshot has named for long enough; how many.
    ///
    /// # Errors
    /// When the broker does not do its part, or a manifest cannot be read: nothing goes as long as it is not known what it names.
    pub async fn reclaim(
        &mut self,
        connection: &Connection,
        partition: Partition,
        patience: Patience,
    ) -> Result<usize, SnapshotError> {
        // First the pieces, then who names them: one that is named in between is seen to be.
        let there = pieces_there(connection, partition).await?;
        self.look(connection, partition).await?;
        let named = self.manifests.values().flat_map(Manifest::names).collect();
        let due = self.seen.look(&there, &named, self.began.elapsed(), patience);
        if due.is_empty() {
            return Ok(0);
        }
        // By the clock that stamps them.
        let now = Kept::ask(connection, &connection.subjects.checkpoints_stream()).await.map_err(broker)?.now;
        let going = due.into_iter().map(|due| {
            let until = Instant::from_millis(now.as_millis() - due.patience.as_millis() as i64);
            remove(connection, partition, due.piece, until)
        });
        let gone = futures::stream::iter(going).buffer_unordered(PIECES_AT_ONCE);
        let gone = gone.try_fold(0, |sum, is_gone| async move { Ok(sum + usize::from(is_gone)) }).await?;
        tracing::debug!(%partition, gone, "removed pieces that no snapshot names");
        metrics::counter!("daybook_snapshot_pieces_removed_total").increment(gone as u64);
        Ok(gone)
    }

    /// Reads the manifests that are there and were not before. Those of another log are among them, which may be put back.
    async fn look(&mut self, connection: &Connection, partition: Partition) -> Result<(), SnapshotError> {
        let is_ours = |name: &str| manifest_of(name).is_some_and(|(of, _)| of == partition);
        let mut known = std::mem::take(&mut self.manifests);
        for object in objects(connection, is_ours).await? {
            let Some(Object { info, .. }) = object else { return Err(broker("a manifest is not told of")) };
            let Some((_, position)) = manifest_of(&info.name).filter(|_| !info.deleted) else { continue };
            let key = (position, info.nuid);
            let manifest = match known.remove(&key) {
                Some(manifest) => manifest,
                None => {
                    let read = manifest(connection, partition, position).await?;
                    read.ok_or_else(|| broker("a manifest is gone since it was listed"))?
                }
            };
            self.manifests.insert(key, manifest);
        }
        Ok(())
    }
}

/// Removes a piece that was stored at `until` or before; whether it did.
async fn remove(
    connection: &Connection,
    partition: Partition,
    piece: PieceName,
    until: Instant,
) -> Result<bool, SnapshotError> {
    let subjects = &connection.subjects;
    let (name, subject) = (subjects.checkpoints_stream(), subjects.checkpoint_piece(partition, piece));
    let last = last_message(connection, &name, &subject).await;
    let Some(last) = last.filter(|last| last.stored_at <= until) else { return Ok(false) };
    let stream = stream_handle(connection, &name).await.map_err(broker)?;
    // Not beyond it: it may be sent again meanwhile.
    stream.purge().filter(&subject).sequence(last.sequence + 1).await.map_err(broker)?;
    Ok(true)
}

/// Which pieces were named when it was looked last, and since when others are not.
#[derive(Debug)]
pub struct Seen<P> {
    named: BTreeSet<P>,
    unnamed: BTreeMap<P, Since>,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    at: Duration,
    was_named: bool,
}

/// A piece that has not been named for as long as it had to be. It may have been stored again meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<P> {
    pub piece: P,
    pub patience: Duration,
}

impl<P> Default for Seen<P> {
    fn default() -> Self {
        Self { named: BTreeSet::new(), unnamed: BTreeMap::new() }
    }
}

impl<P: Copy + Ord> Seen<P> {
    /// Takes note of which pieces are there and which are named, `now` by a clock that never goes back. Returns those of the former
    /// that have not been named for long enough.
    pub fn look(&mut self, there: &BTreeSet<P>, named: &BTreeSet<P>, now: Duration, patience: Patience) -> Vec<Due<P>> {
        let before = std::mem::take(&mut self.unnamed);
        let mut due = Vec::new();
        for piece in there.difference(named).copied() {
            let new = Since { at: now, was_named: self.named.contains(&piece) };
            let since = before.get(&piece).copied().unwrap_or(new);
            let patience = if since.was_named { patience.released } else { patience.orphaned };
            if now.saturating_sub(since.at) >= patience {
                due.push(Due { piece, patience });
            }
            self.unnamed.insert(piece, since);
        }
        self.named.clone_from(named);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_due_when_nothing_has_named_it_for_long_enough() {
        let [released, orphaned] = [60, 600].map(Duration::from_secs);
        let mut seen = Seen::default();
        let mut at = |second, there: &[u8], named: &[u8]| {
            let [there, named] = [there, named].map(|pieces| pieces.iter().copied().collect());
            let due = seen.look(&there, &named, Duration::from_secs(second), Patience { released, orphaned });
            due.into_iter().map(|due| (due.piece, due.patience)).collect::<Vec<_>>()
        };
        assert_eq!(at(5, &[1, 2, 3], &[1, 2]), []);
        assert_eq!(at(6, &[1, 2, 3], &[2]), []);
        assert_eq!(at(65, &[1, 2, 3], &[2]), []);
        assert_eq!(at(66, &[1, 2, 3], &[2]), [(1, released)]);
        assert_eq!(at(605, &[1, 2, 3], &[2]), [(1, released), (3, orphaned)]);
        // One is named again, another one gone for a while: both wait anew.
        assert_eq!(at(606, &[2, 3], &[2, 3]), []);
        assert_eq!(at(607, &[1, 2, 3], &[]), []);
        assert_eq!(at(667, &[1, 2, 3], &[]), [(2, released), (3, released)]);
        assert_eq!(at(1_207, &[1], &[]), [(1, orphaned)]);
    }

    #[test]
    fn whoever_sends_pieces_is_done_before_they_can_go() {
        assert!(crate::snapshots::PUT_DEADLINE * 2 <= Patience::USUAL.orphaned);
    }
}
