//! Removes the pieces of a partition that no snapshot names.
//!
//! Another process may be putting a snapshot meanwhile. It sends pieces that are named only at the end, and counts on pieces that the
//! newest snapshot named when it looked. So neither goes at once, see [`Patience`].
//! Who has taken longer finds pieces gone when it looks for them at the end, and takes its snapshot back.
//!
//! [`Reclaim`] is the core; [`Reclaiming`] carries out what it asks for.

use crate::pieces::{Manifest, PieceName};
use crate::snapshots::{
    Object, PIECES_AT_ONCE, READ_DEADLINE, SnapshotError, broker, manifest_of, numbered_manifest, objects, pieces_there,
};
use crate::sweep::ORPHANED;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::append::{last_message, stream_handle};
use daybook_runtime::connection::Connection;
use daybook_runtime::kept::Kept;
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant as Monotonic;

/// Pieces that are removed behind one look at the manifests: some tenths of a second.
const REMOVED_AT_ONCE: usize = 256;

/// How long pieces stay that no snapshot names.
#[derive(Clone, Copy, Debug, Default)]
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

/// A manifest on the broker, by the position of its snapshot and the number of its object: nothing of it ever changes.
pub type ManifestKey = (LogSeq, String);

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum ReclaimAction {
    /// List the pieces that are there.
    ListPieces,
    /// List the manifests that are there, as the leader of their stream has them.
    ListManifests,
    /// Read the manifest of the snapshot at this position.
    ReadManifest(LogSeq),
    /// Remove each of these pieces if it was stored as long ago as it had to be unnamed, and leave what is sent in its place meanwhile.
    Remove(Vec<Due<PieceName>>),
    /// Nothing, for now; so many pieces were removed.
    Done(usize),
    /// Nothing, for it is not known what is named.
    GiveUp(&'static str),
}

/// What came of an action.
#[derive(Debug)]
pub enum ReclaimHeard {
    Pieces(BTreeSet<PieceName>),
    Manifests(Vec<ManifestKey>),
    /// With the number of the object that it was read from; nothing when there is none.
    Manifest(Option<(String, Manifest)>),
    /// How many of them it were.
    Removed(usize),
}

/// The core: which pieces go, and in which order that is found out. It remembers from one round to the next which pieces were named.
/// A process that begins again knows of none that it ever was. No clock and no I/O.
///
/// # Invariants
/// A piece is removed only if none of the manifests named it that were there when it was looked last, behind its turn.
#[derive(Debug, Default)]
pub struct Reclaim {
    seen: Seen<PieceName>,
    /// The manifests that were there when it was looked last.
    manifests: BTreeMap<ManifestKey, Manifest>,
    round: Round,
}

/// What is known in a round.
#[derive(Debug, Default)]
struct Round {
    patience: Patience,
    there: BTreeSet<PieceName>,
    /// Manifests that are still to be read.
    unread: Vec<ManifestKey>,
    /// Once it has been judged, what is still to be removed.
    due: Option<Vec<Due<PieceName>>>,
    removed: usize,
}

impl Reclaim {
    /// Begins a round, whatever became of the one before.
    pub fn begin(&mut self, patience: Patience) -> ReclaimAction {
        self.round = Round { patience, ..Round::default() };
        // First the pieces, then who names them: one that is named in between is seen to be.
        ReclaimAction::ListPieces
    }

    /// Takes what came of the action. `now` is a clock that never goes back.
    pub fn heard(&mut self, heard: ReclaimHeard, now: Duration) -> ReclaimAction {
        let round = &mut self.round;
        match heard {
            ReclaimHeard::Pieces(there) => {
                round.there = there;
                return ReclaimAction::ListManifests;
            }
            ReclaimHeard::Manifests(keys) => {
                let mut known = std::mem::take(&mut self.manifests);
                for key in keys {
                    match known.remove(&key) {
                        Some(manifest) => drop(self.manifests.insert(key, manifest)),
                        None => round.unread.push(key),
                    }
                }
            }
            ReclaimHeard::Manifest(read) => {
                let key = round.unread.pop().expect("it was asked for");
                match read {
                    Some((number, manifest)) if number == key.1 => {
                        if let Some(due) = &mut round.due {
                            let named: BTreeSet<PieceName> = manifest.names().collect();
                            due.retain(|due| !named.contains(&due.piece));
                        }
                        self.manifests.insert(key, manifest);
                    }
                    Some(_) => {
                        return ReclaimAction::GiveUp("another manifest is in the place of one since it was listed");
                    }
                    None => return ReclaimAction::GiveUp("a manifest is gone since it was listed"),
                }
            }
            ReclaimHeard::Removed(count) => {
                round.removed += count;
                return match round.due.as_ref().is_none_or(Vec::is_empty) {
                    true => ReclaimAction::Done(round.removed),
                    false => ReclaimAction::ListManifests,
                };
            }
        }
        self.proceed(now)
    }

    /// Goes on once all manifests are listed, and some may be read.
    fn proceed(&mut self, now: Duration) -> ReclaimAction {
        let round = &mut self.round;
        if let Some((position, _)) = round.unread.last() {
            return ReclaimAction::ReadManifest(*position);
        }
        if let Some(due) = &mut round.due {
            let next: Vec<_> = due.drain(..due.len().min(REMOVED_AT_ONCE)).collect();
            return if next.is_empty() { ReclaimAction::Done(round.removed) } else { ReclaimAction::Remove(next) };
        }
        let named = self.manifests.values().flat_map(Manifest::names).collect();
        let due = self.seen.look(&std::mem::take(&mut round.there), named, now, round.patience);
        if due.is_empty() {
            return ReclaimAction::Done(0);
        }
        // Again: someone may have told of a snapshot that counts on some of them, while so many were judged.
        round.due = Some(due);
        ReclaimAction::ListManifests
    }
}

/// Carries out what the core asks for.
#[derive(Debug)]
pub struct Reclaiming {
    began: Monotonic,
    core: Arc<Mutex<Reclaim>>,
}

impl Default for Reclaiming {
    fn default() -> Self {
        Self { began: Monotonic::now(), core: Arc::default() }
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
        let mut action = self.ask(move |core, _| core.begin(patience)).await?;
        loop {
            let heard = match action {
                ReclaimAction::ListPieces => ReclaimHeard::Pieces(pieces_there(connection, partition).await?),
                ReclaimAction::ListManifests => ReclaimHeard::Manifests(manifests_there(connection, partition).await?),
                ReclaimAction::ReadManifest(position) => {
                    ReclaimHeard::Manifest(numbered_manifest(connection, partition, position).await?)
                }
                ReclaimAction::Remove(due) => {
                    // What takes longer is looked at again, by the next round.
                    let removing = tokio::time::timeout(READ_DEADLINE, remove_all(connection, partition, due));
                    let gone = removing.await.map_err(|_| broker("pieces are not removed in time"))??;
                    metrics::counter!("daybook_snapshot_pieces_removed_total").increment(gone as u64);
                    ReclaimHeard::Removed(gone)
                }
                ReclaimAction::Done(gone) => {
                    if gone > 0 {
                        tracing::debug!(%partition, gone, "removed pieces that no snapshot names");
                    }
                    return Ok(gone);
                }
                ReclaimAction::GiveUp(why) => return Err(broker(why)),
            };
            action = self.ask(move |core, now| core.heard(heard, now)).await?;
        }
    }

    /// Asks the core on a thread of its own: sets of many names take long.
    async fn ask(
        &self,
        ask: impl FnOnce(&mut Reclaim, Duration) -> ReclaimAction + Send + 'static,
    ) -> Result<ReclaimAction, SnapshotError> {
        let (core, now) = (self.core.clone(), self.began.elapsed());
        let asked = spawn_blocking(move || ask(&mut core.lock().unwrap_or_else(PoisonError::into_inner), now));
        Ok(asked.await?)
    }
}

/// The manifests of a partition. Those of another log are among them, which may be put back.
async fn manifests_there(connection: &Connection, partition: Partition) -> Result<Vec<ManifestKey>, SnapshotError> {
    let is_ours = |name: &str| manifest_of(name).is_some_and(|(of, _)| of == partition);
    let mut keys = Vec::new();
    for object in objects(connection, is_ours).await? {
        let Some(Object { info, .. }) = object else { return Err(broker("a manifest is not told of")) };
        if let Some((_, position)) = manifest_of(&info.name).filter(|_| !info.deleted) {
            keys.push((position, info.nuid));
        }
    }
    Ok(keys)
}

/// Removes pieces, each if it was stored as long ago as it had to be unnamed; how many.
async fn remove_all(
    connection: &Connection,
    partition: Partition,
    due: Vec<Due<PieceName>>,
) -> Result<usize, SnapshotError> {
    // By the clock that stamps them.
    let now = Kept::ask(connection, &connection.subjects.checkpoints_stream()).await.map_err(broker)?.now;
    let going = due.into_iter().map(|due| {
        let until = Instant::from_millis(now.as_millis() - due.patience.as_millis() as i64);
        remove(connection, partition, due.piece, until)
    });
    let gone = futures::stream::iter(going).buffer_unordered(PIECES_AT_ONCE);
    gone.try_fold(0, |sum, is_gone| async move { Ok(sum + usize::from(is_gone)) }).await
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
struct Seen<P> {
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
    fn look(&mut self, there: &BTreeSet<P>, named: BTreeSet<P>, now: Duration, patience: Patience) -> Vec<Due<P>> {
        let before = std::mem::take(&mut self.unnamed);
        let mut due = Vec::new();
        for piece in there.difference(&named).copied() {
            let new = Since { at: now, was_named: self.named.contains(&piece) };
            let since = before.get(&piece).copied().unwrap_or(new);
            let patience = if since.was_named { patience.released } else { patience.orphaned };
            if now.saturating_sub(since.at) >= patience {
                due.push(Due { piece, patience });
            }
            self.unnamed.insert(piece, since);
        }
        self.named = named;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::Piece;

    #[test]
    fn a_piece_is_due_when_nothing_has_named_it_for_long_enough() {
        let [released, orphaned] = [60, 600].map(Duration::from_secs);
        let mut seen = Seen::default();
        let mut at = |second, there: &[u8], named: &[u8]| {
            let [there, named] = [there, named].map(|pieces| pieces.iter().copied().collect());
            let due = seen.look(&there, named, Duration::from_secs(second), Patience { released, orphaned });
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

    fn piece(of: u8) -> Piece {
        Piece::pack(&[of]).unwrap().0
    }

    fn names(pieces: &[u8]) -> BTreeSet<PieceName> {
        pieces.iter().map(|of| piece(*of).name).collect()
    }

    /// A core in a round of which the pieces are listed, and manifests read with what they name.
    fn listed(core: &mut Reclaim, patience: Patience, there: &[u8], manifests: &[(u64, &[u8])]) -> ReclaimAction {
        assert_eq!(core.begin(patience), ReclaimAction::ListPieces);
        let action = core.heard(ReclaimHeard::Pieces(names(there)), Duration::ZERO);
        assert_eq!(action, ReclaimAction::ListManifests);
        list(core, manifests)
    }

    /// Lists manifests, whose numbers are their positions, and reads those that it does not know.
    fn list(core: &mut Reclaim, manifests: &[(u64, &[u8])]) -> ReclaimAction {
        let keys = manifests.iter().map(|(at, _)| (LogSeq(*at), at.to_string())).collect();
        let mut action = core.heard(ReclaimHeard::Manifests(keys), Duration::ZERO);
        while let ReclaimAction::ReadManifest(position) = action {
            let (_, pieces) = manifests.iter().find(|(at, _)| *at == position.0).unwrap();
            let manifest = Manifest { pieces: pieces.iter().map(|of| piece(*of)).collect() };
            action = core.heard(ReclaimHeard::Manifest(Some((position.to_string(), manifest))), Duration::ZERO);
        }
        action
    }

    fn going(action: ReclaimAction) -> BTreeSet<PieceName> {
        let ReclaimAction::Remove(due) = action else { panic!("{action:?}") };
        due.into_iter().map(|due| due.piece).collect()
    }

    #[test]
    fn manifests_are_looked_at_again_before_pieces_go() {
        let mut core = Reclaim::default();
        assert_eq!(listed(&mut core, Patience::NONE, &[1, 2, 3], &[(5, &[1])]), ReclaimAction::ListManifests);
        // Meanwhile someone has told of a snapshot that counts on 2.
        assert_eq!(going(list(&mut core, &[(5, &[1]), (7, &[1, 2])])), names(&[3]));
        assert_eq!(core.heard(ReclaimHeard::Removed(1), Duration::ZERO), ReclaimAction::Done(1));
        // And then it is all that is left.
        assert_eq!(listed(&mut core, Patience::NONE, &[1, 2], &[(7, &[1, 2])]), ReclaimAction::Done(0));
        assert_eq!(listed(&mut core, Patience::NONE, &[1, 2], &[(8, &[1])]), ReclaimAction::ListManifests);
        assert_eq!(list(&mut core, &[(8, &[1]), (9, &[2])]), ReclaimAction::Done(0));
    }

    #[test]
    fn many_pieces_go_some_at_a_time_and_manifests_are_looked_at_between() {
        let many: BTreeSet<PieceName> = (0..600_u32).map(|of| Piece::pack(&of.to_be_bytes()).unwrap().0.name).collect();
        let mut core = Reclaim::default();
        core.begin(Patience::NONE);
        core.heard(ReclaimHeard::Pieces(many.clone()), Duration::ZERO);
        assert_eq!(list(&mut core, &[]), ReclaimAction::ListManifests);
        let mut gone = BTreeSet::new();
        for (count, next) in [(256, false), (256, false), (88, true)] {
            let due = going(list(&mut core, &[]));
            assert_eq!(due.len(), count);
            gone.extend(due);
            let action = core.heard(ReclaimHeard::Removed(count), Duration::ZERO);
            assert_eq!(action, if next { ReclaimAction::Done(600) } else { ReclaimAction::ListManifests });
        }
        assert_eq!(gone, many);
    }

    #[test]
    fn nothing_goes_by_a_manifest_that_is_not_the_listed_one() {
        let mut core = Reclaim::default();
        core.begin(Patience::NONE);
        core.heard(ReclaimHeard::Pieces(names(&[1, 2])), Duration::ZERO);
        let keys = || ReclaimHeard::Manifests(vec![(LogSeq(5), "b".to_owned())]);
        assert_eq!(core.heard(keys(), Duration::ZERO), ReclaimAction::ReadManifest(LogSeq(5)));
        // Two processes put the snapshot at 5. The leader tells of b, and a is what is read.
        let read =
            |number: &str, of| ReclaimHeard::Manifest(Some((number.to_owned(), Manifest { pieces: vec![piece(of)] })));
        assert!(matches!(core.heard(read("a", 1), Duration::ZERO), ReclaimAction::GiveUp(_)));
        // It was not taken for b.
        core.begin(Patience::NONE);
        core.heard(ReclaimHeard::Pieces(names(&[1, 2])), Duration::ZERO);
        assert_eq!(core.heard(keys(), Duration::ZERO), ReclaimAction::ReadManifest(LogSeq(5)));
        assert_eq!(core.heard(read("b", 2), Duration::ZERO), ReclaimAction::ListManifests);
        assert_eq!(going(core.heard(keys(), Duration::ZERO)), names(&[1]));
        core.begin(Patience::NONE);
        core.heard(ReclaimHeard::Pieces(names(&[1])), Duration::ZERO);
        core.heard(ReclaimHeard::Manifests(vec![(LogSeq(6), "c".to_owned())]), Duration::ZERO);
        assert!(matches!(core.heard(ReclaimHeard::Manifest(None), Duration::ZERO), ReclaimAction::GiveUp(_)));
    }

    #[test]
    fn whoever_sends_pieces_is_done_before_they_can_go() {
        assert!(crate::snapshots::PUT_DEADLINE * 2 <= Patience::USUAL.orphaned);
    }
}
