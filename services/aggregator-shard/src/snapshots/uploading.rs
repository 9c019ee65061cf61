//! The core of putting a snapshot: the order of its steps, and when it is given up. No clock and no I/O: whoever drives it carries out
//! each [`UploadAction`] and hands in what it [`UploadHeard`]. It is given up where an action fails; the next try may succeed.

use super::Snapshot;
use crate::pieces::{Known, Manifest, PieceName};
use daybook_domain::ids::LogSeq;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// When a snapshot is put, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// None is put while the newest one is younger.
    pub interval: Duration,
    /// How long its pieces may take to be sent.
    pub deadline: Duration,
}

/// The next thing to do.
#[derive(Debug)]
pub enum UploadAction {
    /// List the partition's snapshots.
    ListSnapshots,
    /// Read the manifest of that snapshot.
    ReadManifest(LogSeq),
    /// List the pieces that are there, as the leader of their stream has them.
    ListPieces,
    /// Cut the rows into pieces and store those that are not known to be there.
    Send(Known),
    /// Tell that the snapshot with this manifest is there.
    Tell(Arc<Manifest>),
    /// Remove the snapshot.
    TakeBack,
    /// Nothing: the newest snapshot is the one at this position.
    Done(LogSeq),
    GiveUp(&'static str),
}

/// What came of an action.
#[derive(Debug)]
pub enum UploadHeard {
    /// In order of their positions.
    Snapshots(Vec<Snapshot>),
    /// Nothing where it cannot be read.
    Manifest(Option<Manifest>),
    Pieces(BTreeSet<PieceName>),
    /// Every piece of it was sent and acknowledged, or was known to be there.
    Sent(Manifest),
    Told,
    TakenBack,
}

/// The upload of one snapshot.
///
/// # Invariants
/// It is told of only once every piece was acknowledged, or was there and named by the newest snapshot. It is done only once all pieces
/// were seen to be there after that.
#[derive(Debug)]
pub struct Upload {
    position: LogSeq,
    pace: Pace,
    began: Duration,
    stage: Stage,
}

/// What is being waited for.
#[derive(Debug)]
enum Stage {
    Snapshots,
    /// The manifest of the newest one.
    Newest,
    /// Which pieces of the newest one are there.
    Reusable(Manifest),
    Sending,
    Telling(Arc<Manifest>),
    /// Whether all of its pieces are there.
    Confirming(Arc<Manifest>),
    TakingBack,
    Ended,
}

impl Upload {
    /// Begins to put the snapshot at `position`. `now` is a clock that never goes back.
    pub fn begin(position: LogSeq, pace: Pace, now: Duration) -> (Self, UploadAction) {
        (Self { position, pace, began: now, stage: Stage::Snapshots }, UploadAction::ListSnapshots)
    }

    /// Goes on with a snapshot that was just told of.
    pub fn told(position: LogSeq, manifest: Manifest, pace: Pace, now: Duration) -> (Self, UploadAction) {
        let stage = Stage::Confirming(Arc::new(manifest));
        (Self { position, pace, began: now, stage }, UploadAction::ListPieces)
    }

    /// Takes what came of the action.
    pub fn heard(&mut self, heard: UploadHeard, now: Duration) -> UploadAction {
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        let (next, action) = match (stage, heard) {
            (Stage::Snapshots, UploadHeard::Snapshots(there)) => match there.last() {
                Some(newest) if newest.position >= self.position || newest.age < self.pace.interval => {
                    (Stage::Ended, UploadAction::Done(newest.position))
                }
                Some(newest) => (Stage::Newest, UploadAction::ReadManifest(newest.position)),
                None => (Stage::Sending, UploadAction::Send(Known::default())),
            },
            (Stage::Newest, UploadHeard::Manifest(None)) => (Stage::Sending, UploadAction::Send(Known::default())),
            (Stage::Newest, UploadHeard::Manifest(Some(newest))) => (Stage::Reusable(newest), UploadAction::ListPieces),
            // Pieces that the newest one does not name may go before this snapshot is told of.
            (Stage::Reusable(newest), UploadHeard::Pieces(there)) => {
                (Stage::Sending, UploadAction::Send(Known::new(newest, there)))
            }
            (Stage::Sending, UploadHeard::Sent(_)) if now.saturating_sub(self.began) > self.pace.deadline => {
                (Stage::Ended, UploadAction::GiveUp("it takes too long to put the snapshot"))
            }
            (Stage::Sending, UploadHeard::Sent(manifest)) => {
                let manifest = Arc::new(manifest);
                (Stage::Telling(manifest.clone()), UploadAction::Tell(manifest))
            }
            (Stage::Telling(manifest), UploadHeard::Told) => (Stage::Confirming(manifest), UploadAction::ListPieces),
            // Whoever was held up for long may have counted on pieces that are gone since.
            (Stage::Confirming(manifest), UploadHeard::Pieces(there)) => match manifest.is_complete(&there) {
                true => (Stage::Ended, UploadAction::Done(self.position)),
                false => (Stage::TakingBack, UploadAction::TakeBack),
            },
            (Stage::TakingBack, UploadHeard::TakenBack) => {
                (Stage::Ended, UploadAction::GiveUp("pieces of the snapshot are gone"))
            }
            (stage, heard) => unreachable!("{heard:?} is no answer to what was asked in {stage:?}"),
        };
        self.stage = next;
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::{Found, Piece};

    const PACE: Pace = Pace { interval: Duration::from_secs(60), deadline: Duration::from_secs(100) };

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn snapshot(position: u64, age: u64) -> Snapshot {
        Snapshot { position: LogSeq(position), age: at(age), is_whole: true }
    }

    fn piece(of: u8) -> Piece {
        Piece::pack(&[of]).unwrap().0
    }

    fn manifest(pieces: &[u8]) -> Manifest {
        Manifest { pieces: pieces.iter().map(|of| piece(*of)).collect() }
    }

    fn there(pieces: &[u8]) -> UploadHeard {
        UploadHeard::Pieces(manifest(pieces).names().collect())
    }

    /// An upload of the snapshot at 9 that has sent its pieces, and what it does then.
    fn sent(pieces: &[u8], second: u64) -> (Upload, UploadAction) {
        let (mut upload, action) = Upload::begin(LogSeq(9), PACE, at(5));
        assert!(matches!(action, UploadAction::ListSnapshots));
        let action = upload.heard(UploadHeard::Snapshots(Vec::new()), at(6));
        assert!(matches!(action, UploadAction::Send(_)));
        let action = upload.heard(UploadHeard::Sent(manifest(pieces)), at(second));
        (upload, action)
    }

    #[test]
    fn none_is_put_where_another_process_has_just_put_one() {
        for (newest, is_due) in [(snapshot(9, 90), false), (snapshot(8, 59), false), (snapshot(8, 60), true)] {
            let (mut upload, _) = Upload::begin(LogSeq(9), PACE, at(0));
            let action = upload.heard(UploadHeard::Snapshots(vec![snapshot(3, 500), newest]), at(1));
            match action {
                UploadAction::Done(position) => assert!(position == newest.position && !is_due),
                UploadAction::ReadManifest(position) => assert!(position == newest.position && is_due),
                action => panic!("{action:?}"),
            }
        }
    }

    #[test]
    fn only_pieces_of_the_newest_snapshot_that_are_there_are_used_again() {
        let (mut upload, _) = Upload::begin(LogSeq(9), PACE, at(0));
        upload.heard(UploadHeard::Snapshots(vec![snapshot(8, 60)]), at(1));
        assert!(matches!(
            upload.heard(UploadHeard::Manifest(Some(manifest(&[1, 2]))), at(1)),
            UploadAction::ListPieces
        ));
        let UploadAction::Send(mut known) = upload.heard(there(&[2, 3]), at(1)) else { panic!() };
        let found = [1, 2, 3].map(|of| matches!(known.find(piece(of).name.id), Found::There(_)));
        assert_eq!(found, [false, true, false]);
        // One that cannot be read is no reason to put none.
        let (mut upload, _) = Upload::begin(LogSeq(9), PACE, at(0));
        upload.heard(UploadHeard::Snapshots(vec![snapshot(8, 60)]), at(1));
        assert!(matches!(upload.heard(UploadHeard::Manifest(None), at(1)), UploadAction::Send(_)));
    }

    #[test]
    fn it_is_done_once_all_of_its_pieces_are_there_behind_the_word_of_it() {
        let (mut upload, action) = sent(&[1, 2], 105);
        assert!(matches!(action, UploadAction::Tell(told) if *told == manifest(&[1, 2])));
        assert!(matches!(upload.heard(UploadHeard::Told, at(500)), UploadAction::ListPieces));
        assert!(matches!(upload.heard(there(&[1, 2, 3]), at(501)), UploadAction::Done(LogSeq(9))));
    }

    #[test]
    fn it_is_taken_back_when_pieces_are_gone_and_not_told_of_when_it_is_late() {
        let (mut upload, _) = sent(&[1, 2], 10);
        upload.heard(UploadHeard::Told, at(11));
        assert!(matches!(upload.heard(there(&[1, 3]), at(12)), UploadAction::TakeBack));
        let action = upload.heard(UploadHeard::TakenBack, at(13));
        assert!(matches!(action, UploadAction::GiveUp(why) if why.contains("gone")));
        let (_, action) = sent(&[1, 2], 106);
        assert!(matches!(action, UploadAction::GiveUp(why) if why.contains("too long")));
    }
}
