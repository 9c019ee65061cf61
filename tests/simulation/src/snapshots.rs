//! Snapshots on the broker: what `aggregator_shard::snapshots`, `retention` and `reclaim` do with input and output, as steps. How
//! rows are cut into pieces and read, what of the log and of snapshots is kept, and which pieces go, is said by their own code.

use crate::broker::{Answer, Broker, Object, Request, Stream, Ticket};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::Place;
use crate::shell::Shell;
use crate::store::Store;
use aggregator_shard::pieces::{Found, Known, Manifest, Piece, PieceId, PieceName, Sizes, cut, read_rows};
use aggregator_shard::reclaim::{Patience, Seen};
use aggregator_shard::retention::Plan;
use aggregator_shard::snapshots::{Snapshot, SnapshotError};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_machine::PartitionState;
use daybook_runtime::store::Row;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Between two snapshots of a partition, by the broker's clock.
pub const INTERVAL: Duration = Duration::from_secs(3);
/// Small enough for a snapshot of a run to have a few pieces.
const SIZES: Sizes = Sizes { usual: 3 << 10, most: 12 << 10 };
/// A snapshot that is read breaks off, or the list of them does not come, once in so many times.
const TORN_ONE_IN: usize = 4;
/// How long a snapshot may take to be put.
const PUT_DEADLINE: Duration = Duration::from_secs(15);
/// How long pieces stay that no snapshot names.
const PATIENCE: Patience = Patience { released: Duration::from_secs(30), orphaned: Duration::from_secs(90) };

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
    manifest.names().all(|name| broker.piece(partition, name).is_some())
}

fn manifest_of(broker: &Broker, partition: Partition, position: LogSeq) -> Option<Rc<Manifest>> {
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

/// A snapshot on its way to the broker: the pieces that the newest one has not, then the word that it is there, then a look
/// whether all of its pieces still are.
pub struct Upload {
    object: Object,
    pieces: Vec<Request>,
    under_way: Vec<Ticket>,
    stage: Stage,
    /// By how long the broker had run.
    began: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sending,
    Telling,
    TakingBack,
}

impl Upload {
    /// Of what a commit has just left in the store.
    pub fn new(
        shell: &mut Shell,
        partition: Partition,
        position: LogSeq,
        is_whole: bool,
        newest: Option<LogSeq>,
        store: &Store,
    ) -> Self {
        let began = shell.broker.elapsed();
        let mut known = known(shell, partition, newest);
        let (mut manifest, mut pieces) = (Manifest::default(), Vec::new());
        cut(store.scan().map(Ok::<_, SnapshotError>), SIZES, |bytes| {
            let (mut piece, mut packed) = Piece::pack(bytes)?;
            match known.find(piece.name.id) {
                Found::There(there) => {
                    manifest.pieces.push(there);
                    shell.reach(Place::Reused);
                    return Ok(());
                }
                Found::New { like: Some(like) } => {
                    let of_base = read_whole(&shell.broker, partition, like);
                    if let Some(smaller) = of_base.and_then(|of_base| piece.pack_against(bytes, like, &of_base)) {
                        (piece, packed) = smaller;
                        shell.reach(Place::Compared);
                    }
                }
                Found::New { like: None } => {}
            }
            manifest.pieces.push(piece);
            pieces.push(Request::Piece(partition, piece.name, packed.into()));
            Ok(())
        })
        .expect("memory can be written");
        let object = Object { partition, position, is_whole, manifest: Rc::new(manifest), is_late: false };
        let mut upload = Self { object, pieces, under_way: Vec::new(), stage: Stage::Sending, began };
        if shell.breaks(Mutation::TrustTornSnapshot) {
            shell.broker.ask(Request::Tell(upload.object.clone()));
        }
        upload.send(shell);
        upload
    }

    fn send(&mut self, shell: &mut Shell) {
        let sent = std::mem::take(&mut self.pieces).into_iter().map(|piece| shell.broker.ask(piece));
        self.under_way.extend(sent);
    }

    /// One step. It is given up when the fate of a part is unclear.
    pub fn step(&mut self, shell: &mut Shell) -> Next {
        let Object { partition, position, .. } = self.object;
        if let Some(unfinished) = all_stored(shell, &mut self.under_way) {
            return unfinished;
        }
        match self.stage {
            Stage::Sending if shell.broker.elapsed() - self.began > PUT_DEADLINE => Next::Unclear,
            Stage::Sending => {
                self.under_way.push(shell.broker.ask(Request::Tell(self.object.clone())));
                self.stage = Stage::Telling;
                Next::Goes
            }
            Stage::Telling if shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) => Next::Unclear,
            Stage::Telling if is_complete(&shell.broker, partition, &self.object.manifest) => {
                shell.trace.note(|| format!("replica {partition}: put a snapshot at {position}"));
                Next::Done
            }
            Stage::Telling => {
                shell.trace.note(|| format!("replica {partition}: takes the snapshot at {position} back"));
                self.under_way.push(shell.broker.ask(Request::Remove(partition, position)));
                self.stage = Stage::TakingBack;
                Next::Goes
            }
            Stage::TakingBack => Next::Unclear,
        }
    }

    pub fn position(&self) -> LogSeq {
        self.object.position
    }
}

/// The pieces of the newest snapshot.
fn known(shell: &mut Shell, partition: Partition, newest: Option<LogSeq>) -> Known {
    let mut there: BTreeSet<PieceName> = shell.broker.pieces(partition).map(|(name, _)| name).collect();
    if shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) {
        there.clear();
    }
    let mut named = newest.and_then(|newest| manifest_of(&shell.broker, partition, newest)).unwrap_or_default();
    if shell.breaks(Mutation::ReuseUnnamed) {
        let whole = there.iter().filter(|name| name.base.is_none());
        let others = whole.map(|name| Piece { name: *name, bytes: SIZES.most as u32, stored: 0 });
        Rc::make_mut(&mut named).pieces.extend(others);
    }
    Known::new(Manifest::clone(&named), there)
}

/// What is over its retention on its way out: the log first, then snapshots; and then pieces that none names any more.
pub struct Trimming {
    requests: VecDeque<Request>,
    under_way: Option<Ticket>,
    has_looked: bool,
}

impl Trimming {
    /// By what there is now; no snapshot goes while the state waits for a backfill.
    pub fn new(shell: &mut Shell, partition: Partition, needs_history: bool) -> Self {
        let requests = if needs_history { VecDeque::new() } else { over_retention(shell, partition) };
        Self { requests, under_way: None, has_looked: false }
    }

    /// One step. The rest is left for the next time when the fate of a request is unclear.
    pub fn step(&mut self, shell: &mut Shell, partition: Partition, seen: &mut Seen<PieceName>) -> Next {
        match next(shell, &mut self.requests, &mut self.under_way) {
            Next::Done if !self.has_looked => {
                self.has_looked = true;
                self.requests = unnamed(shell, partition, seen);
                Next::Goes
            }
            next => next,
        }
    }
}

fn over_retention(shell: &mut Shell, partition: Partition) -> VecDeque<Request> {
    let mut known = try_list(shell, partition).unwrap_or_default();
    let Plan { mut floor, superseded } = loop {
        let plan = Plan::of(&known, shell.retention);
        let Some(relied_on) = plan.relies_on(&known) else { break plan };
        let manifest = manifest_of(&shell.broker, partition, relied_on);
        let is_there = manifest.is_some_and(|manifest| is_complete(&shell.broker, partition, &manifest));
        if is_there || shell.breaks(Mutation::TrustTornSnapshot) {
            break plan;
        }
        shell.trace.note(|| format!("replica {partition}: pieces of the snapshot at {relied_on} are not there"));
        known.retain(|snapshot| snapshot.position != relied_on);
    };
    if shell.breaks(Mutation::TrimLogTooFar) && floor.is_some() {
        floor = shell.broker.newest(Stream::Events, partition).map(|end| LogSeq(end.sequence));
    }
    if let Some(floor) = floor {
        shell.trace.note(|| format!("replica {partition}: trims the log to {floor}, of snapshots {known:?}"));
    }
    let trim = floor.map(|floor| Request::Trim(partition, floor));
    let removals = superseded.into_iter().map(|position| Request::Remove(partition, position));
    trim.into_iter().chain(removals).collect()
}

/// The pieces that no snapshot has named for long enough, and none that was stored since.
fn unnamed(shell: &mut Shell, partition: Partition, seen: &mut Seen<PieceName>) -> VecDeque<Request> {
    if shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) {
        return VecDeque::new();
    }
    let broker = &shell.broker;
    let there: BTreeMap<PieceName, (u64, Instant)> =
        broker.pieces(partition).map(|(name, piece)| (name, (piece.sequence, piece.stored_at))).collect();
    let names = there.keys().copied().collect();
    let living = broker.snapshots(partition).map(|(object, _)| object);
    let skipped = if shell.breaks(Mutation::ReclaimNamed) { 1 } else { 0 };
    let named = living.skip(skipped).flat_map(|object| object.manifest.names()).collect();
    let due = seen.look(&names, &named, broker.elapsed(), PATIENCE);
    let due = due.into_iter().filter(|due| broker.now().since(there[&due.piece].1) >= due.patience);
    let requests: VecDeque<_> = due.map(|due| Request::Reclaim(partition, due.piece, there[&due.piece].0)).collect();
    if !requests.is_empty() {
        shell.reach(Place::Reclaimed);
        shell.trace.note(|| format!("replica {partition}: removes {} pieces that no snapshot names", requests.len()));
    }
    requests
}

/// How far requests are that are carried out one after the other.
pub enum Next {
    Goes,
    Done,
    Unclear,
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

/// Looks at what became of the request under way, and sends the next one once it is carried out.
fn next(shell: &mut Shell, requests: &mut VecDeque<Request>, under_way: &mut Option<Ticket>) -> Next {
    if let Some(ticket) = *under_way {
        match shell.broker.answer(ticket) {
            None => return Next::Goes,
            Some(Answer::Stored(_)) => {}
            Some(Answer::Conflict | Answer::Unclear) => return Next::Unclear,
        }
    }
    *under_way = requests.pop_front().map(|request| shell.broker.ask(request));
    if under_way.is_some() { Next::Goes } else { Next::Done }
}
