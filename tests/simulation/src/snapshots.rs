//! Snapshots on the broker: what `aggregator_shard` does with input and output for the cores that put them (`snapshots::uploading`),
//! remove them with the log (`retention`), and remove their pieces (`reclaim`). Between an action of a core and its outcome anything else
//! may happen. How rows are cut into pieces and read is said by their own code, too.

use crate::broker::{Answer, Broker, Object, Request, Stream, Ticket};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::Place;
use crate::shell::Shell;
use crate::store::Store;
use aggregator_shard::pieces::{Cut, Known, Listing, Manifest, Piece, PieceId, PieceName, Sizes, cut, read_rows};
use aggregator_shard::reclaim::{Due, Patience, Reclaim, ReclaimAction, ReclaimHeard};
use aggregator_shard::retention::{Trim, TrimAction, TrimHeard};
use aggregator_shard::snapshots::uploading::{self, Pace, UploadAction, UploadHeard};
use aggregator_shard::snapshots::{Snapshot, SnapshotError};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_runtime::store::Row;
use std::sync::Arc;
use std::time::Duration;

/// Between two snapshots of a partition, by the broker's clock.
pub const INTERVAL: Duration = Duration::from_secs(3);
/// Small enough for a snapshot of a run to have a few pieces.
const SIZES: Sizes = Sizes { usual: 3 << 10, most: 12 << 10 };
/// A snapshot that is read breaks off, or the list of them does not come, once in so many times.
const TORN_ONE_IN: usize = 4;
/// When a snapshot is put, and how long its pieces may take to be sent.
const PACE: Pace = Pace { interval: INTERVAL, deadline: Duration::from_secs(25) };
/// How long pieces stay that no snapshot names.
const PATIENCE: Patience = Patience { released: Duration::from_secs(40), orphaned: Duration::from_secs(150) };
/// A step goes on with the next action of a core, but once in so many times.
const STOPS_ONE_IN: usize = 12;

/// The snapshots of a partition, in order of their positions.
pub fn list(broker: &Broker, partition: Partition) -> Vec<Snapshot> {
    let snapshot =
        |(object, age): (&Object, Duration)| Snapshot { position: object.position, age, is_whole: object.is_whole };
    broker.snapshots(partition).map(snapshot).collect()
}

/// As [`list`], but now and then the broker does not tell.
pub fn try_list(shell: &mut Shell, partition: Partition) -> Option<Vec<Snapshot>> {
    (!shell.strikes(Fault::TornSnapshot, TORN_ONE_IN)).then(|| list(&shell.broker, partition))
}

/// The rows of a snapshot and the state that they hold, or why it cannot be used.
pub fn fetch(shell: &mut Shell, partition: Partition, position: LogSeq) -> Result<(Vec<Row>, PartitionState), String> {
    let manifest = manifest_of(&shell.broker, partition, position).ok_or("it is not there")?;
    let mut pieces = manifest.pieces.as_slice();
    if shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) {
        pieces = &pieces[..shell.random.below(pieces.len())];
    }
    read(&shell.broker, partition, position, pieces, shell.breaks(Mutation::TrustTornSnapshot))
}

/// Whether the snapshot can be used by whoever reads it without a fault.
pub fn is_usable(broker: &Broker, partition: Partition, position: LogSeq) -> bool {
    manifest_of(broker, partition, position)
        .is_some_and(|manifest| read(broker, partition, position, &manifest.pieces, false).is_ok())
}

/// Whether all pieces of a snapshot are there.
pub fn is_complete(broker: &Broker, partition: Partition, manifest: &Manifest) -> bool {
    manifest.is_complete(&broker.pieces(partition).map(|(name, _)| name).collect())
}

fn manifest_of(broker: &Broker, partition: Partition, position: LogSeq) -> Option<Arc<Manifest>> {
    let (object, _) = broker.snapshots(partition).find(|(object, _)| object.position == position)?;
    Some(object.manifest.clone())
}

fn read(
    broker: &Broker,
    partition: Partition,
    position: LogSeq,
    pieces: &[Piece],
    trusts: bool,
) -> Result<(Vec<Row>, PartitionState), String> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match read_piece(broker, partition, piece) {
            Some(piece) => bytes.extend(piece),
            None if trusts => {}
            None => return Err(format!("piece {} is not there", piece.name)),
        }
    }
    let mut rows = Vec::new();
    let outcome = read_rows(bytes.as_slice(), &mut |row| {
        rows.push(row);
        Ok(())
    });
    if let Err(error) = outcome
        && !trusts
    {
        return Err(format!("{error:?}"));
    }
    let state = PartitionState::restore(partition, rows.iter().map(|(key, value)| (key, value)));
    let state = state.map_err(|error| error.to_string())?.unwrap_or_else(|| PartitionState::new(partition));
    match state.position() == position {
        true => Ok((rows, state)),
        false => Err(format!("its state is at {}", state.position())),
    }
}

fn read_piece(broker: &Broker, partition: Partition, piece: &Piece) -> Option<Vec<u8>> {
    let of_base = match piece.name.base {
        Some(base) => read_whole(broker, partition, base)?,
        None => Vec::new(),
    };
    piece.unpack(&broker.piece(partition, piece.name)?.bytes, &of_base)
}

fn read_whole(broker: &Broker, partition: Partition, id: PieceId) -> Option<Vec<u8>> {
    let piece = Piece { name: PieceName::whole(id), bytes: SIZES.most as u32, stored: 0 };
    piece.unpack(&broker.piece(partition, piece.name)?.bytes, b"")
}

/// A snapshot on its way to the broker: what the core asks for, and what came of it.
pub struct Upload {
    core: uploading::Upload,
    turn: UploadTurn,
    partition: Partition,
    position: LogSeq,
    is_whole: bool,
    /// Carried out before the core hears of them.
    under_way: Vec<Ticket>,
    newest: LogSeq,
}

enum UploadTurn {
    Act(UploadAction),
    Hear(UploadHeard),
    Ended,
}

impl Upload {
    /// Of what a commit has just left in the store.
    pub fn new(shell: &Shell, partition: Partition, position: LogSeq, is_whole: bool) -> Self {
        let (core, action) = uploading::Upload::begin(position, PACE, shell.broker.elapsed());
        let (turn, under_way) = (UploadTurn::Act(action), Vec::new());
        Self { core, turn, partition, position, is_whole, under_way, newest: LogSeq(0) }
    }

    /// One step; nothing has been committed to the store since this began. It is given up when the fate of a part is unclear.
    pub fn step(&mut self, shell: &mut Shell, store: &Store) -> Next {
        loop {
            if let Some(unfinished) = all_stored(shell, &mut self.under_way) {
                return unfinished;
            }
            self.turn = match std::mem::replace(&mut self.turn, UploadTurn::Ended) {
                UploadTurn::Hear(heard) => UploadTurn::Act(self.core.heard(heard, shell.broker.elapsed())),
                UploadTurn::Act(UploadAction::Done(newest)) => {
                    self.newest = newest;
                    return Next::Done;
                }
                // The store checks each row that a snapshot reads.
                UploadTurn::Act(UploadAction::Send(_)) if !store.is_as_committed() => return Next::Damaged,
                UploadTurn::Act(action) => match self.carry_out(shell, store, action) {
                    Some(heard) => UploadTurn::Hear(heard),
                    None => return Next::Unclear,
                },
                UploadTurn::Ended => return Next::Unclear,
            };
            if shell.random.one_in(STOPS_ONE_IN) {
                return Next::Goes;
            }
        }
    }

    /// The newest snapshot, once it is done.
    pub fn newest(&self) -> LogSeq {
        self.newest
    }

    fn carry_out(&mut self, shell: &mut Shell, store: &Store, action: UploadAction) -> Option<UploadHeard> {
        let Self { partition, position, .. } = *self;
        Some(match action {
            UploadAction::ListSnapshots => UploadHeard::Snapshots(try_list(shell, partition)?),
            UploadAction::ReadManifest(newest) => UploadHeard::Manifest(self.read_newest(shell, newest)),
            UploadAction::ListPieces => {
                if shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) {
                    return None;
                }
                let there = shell.broker.pieces(partition).map(|(name, _)| name);
                let told = shell.broker.snapshots(partition).filter(|_| shell.breaks(Mutation::TrustTornSnapshot));
                UploadHeard::Pieces(there.chain(told.flat_map(|(object, _)| object.manifest.names())).collect())
            }
            UploadAction::Send(known) => {
                let (manifest, pieces) = cut_pieces(shell, partition, store, known);
                if shell.breaks(Mutation::TrustTornSnapshot) {
                    self.tell(shell, Arc::new(manifest.clone()));
                    self.under_way.clear();
                }
                self.under_way.extend(pieces.into_iter().map(|piece| shell.broker.ask(piece)));
                UploadHeard::Sent(manifest)
            }
            UploadAction::Tell(manifest) => {
                self.tell(shell, manifest);
                UploadHeard::Told
            }
            UploadAction::TakeBack => {
                self.under_way.push(shell.broker.ask(Request::Remove(partition, position)));
                UploadHeard::TakenBack
            }
            UploadAction::GiveUp(why) => {
                shell.trace.note(|| format!("replica {partition}: gives up the snapshot at {position}: {why}"));
                return None;
            }
            UploadAction::Done(_) => unreachable!("it is seen before"),
        })
    }

    fn read_newest(&self, shell: &mut Shell, newest: LogSeq) -> Option<Manifest> {
        if shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) {
            return None;
        }
        let mut named = Manifest::clone(&*manifest_of(&shell.broker, self.partition, newest)?);
        if shell.breaks(Mutation::ReuseUnnamed) {
            let there = shell.broker.pieces(self.partition).map(|(name, _)| name);
            let whole = there.filter(|name| name.base.is_none());
            named.pieces.extend(whole.map(|name| Piece { name, bytes: SIZES.most as u32, stored: 0 }));
        }
        Some(named)
    }

    fn tell(&mut self, shell: &mut Shell, manifest: Arc<Manifest>) {
        let Self { partition, position, is_whole, .. } = *self;
        shell.trace.note(|| format!("replica {partition}: tells of a snapshot at {position}"));
        let object = Object { partition, position, is_whole, manifest, is_late: false, number: 0 };
        self.under_way.push(shell.broker.ask(Request::Tell(object)));
    }
}

/// The pieces of a store's rows, and requests to store those that are not known to be there.
fn cut_pieces(shell: &mut Shell, partition: Partition, store: &Store, mut known: Known) -> (Manifest, Vec<Request>) {
    let (mut listing, mut pieces) = (Listing::default(), Vec::new());
    cut(store.scan().map(Ok::<_, SnapshotError>), SIZES, |bytes| {
        let new = match Cut::of(bytes, &mut known)? {
            Cut::There(there) => {
                shell.reach(Place::Reused);
                return listing.add(there);
            }
            Cut::New(new) => new,
        };
        let of_like = new.like.and_then(|like| read_whole(&shell.broker, partition, like));
        let (piece, packed) = new.settle(of_like.as_deref());
        if piece.name.base.is_some() {
            shell.reach(Place::Compared);
        }
        pieces.push(Request::Piece(partition, piece.name, packed.into()));
        listing.add(piece)
    })
    .expect("memory can be written");
    (listing.finish(), pieces)
}

/// What is over its retention on its way out, and then pieces that no snapshot names any more.
pub struct Trimming {
    core: Trim,
    turn: TrimTurn,
    /// Carried out before a core hears of them.
    under_way: Vec<Ticket>,
}

enum TrimTurn {
    Trim(TrimAction),
    TrimHeard(TrimHeard),
    Reclaim(ReclaimAction),
    ReclaimHeard(ReclaimHeard),
    Ended,
}

impl Trimming {
    /// No snapshot goes while the state waits for a backfill.
    pub fn new(shell: &Shell, needs_history: bool) -> Self {
        let (core, action) = Trim::begin(shell.retention);
        let action = if needs_history { TrimAction::Done } else { action };
        Self { core, turn: TrimTurn::Trim(action), under_way: Vec::new() }
    }

    /// One step. The rest is left for the next time when the fate of a request is unclear.
    pub fn step(&mut self, shell: &mut Shell, partition: Partition, reclaim: &mut Reclaim) -> Next {
        loop {
            match (all_stored(shell, &mut self.under_way), &self.turn) {
                (Some(Next::Unclear), TrimTurn::TrimHeard(_)) => self.turn = TrimTurn::Trim(TrimAction::Done),
                (Some(unfinished), _) => return unfinished,
                (None, _) => {}
            }
            self.turn = match std::mem::replace(&mut self.turn, TrimTurn::Ended) {
                TrimTurn::Trim(TrimAction::Done) => TrimTurn::Reclaim(reclaim.begin(PATIENCE)),
                TrimTurn::Trim(action) => match self.trim(shell, partition, action) {
                    Some(heard) => TrimTurn::TrimHeard(heard),
                    None => TrimTurn::Trim(TrimAction::Done),
                },
                TrimTurn::TrimHeard(heard) => TrimTurn::Trim(self.core.heard(heard)),
                TrimTurn::Reclaim(ReclaimAction::Done(_)) => return Next::Done,
                TrimTurn::Reclaim(action) => match self.reclaim(shell, partition, action) {
                    Some(heard) => TrimTurn::ReclaimHeard(heard),
                    None => return Next::Unclear,
                },
                TrimTurn::ReclaimHeard(heard) => TrimTurn::Reclaim(reclaim.heard(heard, shell.broker.elapsed())),
                TrimTurn::Ended => return Next::Unclear,
            };
            if shell.random.one_in(STOPS_ONE_IN) {
                return Next::Goes;
            }
        }
    }

    fn trim(&mut self, shell: &mut Shell, partition: Partition, action: TrimAction) -> Option<TrimHeard> {
        Some(match action {
            TrimAction::List => {
                let begins = shell.broker.next_batch(partition, 1).map(|(position, _)| position);
                TrimHeard::Listed { snapshots: try_list(shell, partition)?, begins }
            }
            TrimAction::Inspect(relied_on) => {
                let manifest = manifest_of(&shell.broker, partition, relied_on);
                let is_there = manifest.is_some_and(|manifest| is_complete(&shell.broker, partition, &manifest));
                TrimHeard::Inspected(is_there || shell.breaks(Mutation::TrustTornSnapshot))
            }
            TrimAction::Trim(floor) => {
                let newest = shell.broker.newest(Stream::Events, partition);
                let newest = newest.filter(|_| shell.breaks(Mutation::TrimLogTooFar));
                let floor = newest.map_or(floor, |end| LogSeq(end.sequence));
                shell.trace.note(|| format!("replica {partition}: trims the log to {floor}"));
                self.under_way.push(shell.broker.ask(Request::Trim(partition, floor)));
                TrimHeard::Carried
            }
            TrimAction::Remove(position) => {
                shell.trace.note(|| format!("replica {partition}: removes the snapshot at {position}"));
                self.under_way.push(shell.broker.ask(Request::Remove(partition, position)));
                TrimHeard::Carried
            }
            TrimAction::Done => unreachable!("it is seen before"),
        })
    }

    fn reclaim(&mut self, shell: &mut Shell, partition: Partition, action: ReclaimAction) -> Option<ReclaimHeard> {
        Some(match action {
            ReclaimAction::ListPieces if shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) => return None,
            ReclaimAction::ListPieces => {
                ReclaimHeard::Pieces(shell.broker.pieces(partition).map(|(name, _)| name).collect())
            }
            ReclaimAction::ListManifests => {
                let skipped = if shell.breaks(Mutation::ReclaimNamed) { 1 } else { 0 };
                let there = shell.broker.snapshots(partition).skip(skipped);
                ReclaimHeard::Manifests(there.map(|(it, _)| (it.position, it.number.to_string())).collect())
            }
            ReclaimAction::ReadManifest(position) => {
                let mut there = shell.broker.snapshots(partition);
                let found = there.find(|(object, _)| object.position == position);
                ReclaimHeard::Manifest(found.map(|(it, _)| (it.number.to_string(), Manifest::clone(&it.manifest))))
            }
            ReclaimAction::Remove(due) => ReclaimHeard::Removed(self.remove(shell, partition, &due)),
            ReclaimAction::Done(_) | ReclaimAction::GiveUp(_) => return None,
        })
    }

    /// Removes pieces, but none that was stored since it was named last; how many.
    fn remove(&mut self, shell: &mut Shell, partition: Partition, due: &[Due<PieceName>]) -> usize {
        let is_old = |due: &&Due<PieceName>| {
            let piece = shell.broker.piece(partition, due.piece);
            piece.is_some_and(|piece| shell.broker.now().since(piece.stored_at) >= due.patience)
        };
        let pieces: Vec<PieceName> = due.iter().filter(is_old).map(|due| due.piece).collect();
        if !pieces.is_empty() {
            shell.reach(Place::Reclaimed);
            shell.trace.note(|| format!("replica {partition}: removes {} pieces that no snapshot names", pieces.len()));
        }
        for piece in &pieces {
            let sequence = shell.broker.piece(partition, *piece).expect("it was just there").sequence;
            self.under_way.push(shell.broker.ask(Request::Reclaim(partition, *piece, sequence)));
        }
        pieces.len()
    }
}

/// How far an upload or a trimming is.
pub enum Next {
    Goes,
    Done,
    Unclear,
    /// A row of the store is not what was committed.
    Damaged,
}

/// `None` once all requests are carried out.
fn all_stored(shell: &mut Shell, under_way: &mut Vec<Ticket>) -> Option<Next> {
    let mut is_unclear = false;
    under_way.retain(|ticket| match shell.broker.answer(*ticket) {
        None => true,
        Some(Answer::Stored(_)) => false,
        Some(Answer::Conflict | Answer::Unclear) => {
            is_unclear = true;
            false
        }
    });
    match (is_unclear, under_way.is_empty()) {
        (true, _) => Some(Next::Unclear),
        (false, false) => Some(Next::Goes),
        (false, true) => None,
    }
}
