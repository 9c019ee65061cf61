//! Snapshots on the broker: what `aggregator_shard::snapshots` and `retention` do with input and output, as steps. How rows
//! are written and read, and what of the log and of snapshots is kept, is said by their own code.

use crate::broker::{Answer, Broker, Object, Request, Stream, Ticket};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::Shell;
use crate::store::Store;
use aggregator_shard::retention::Plan;
use aggregator_shard::snapshots::{Snapshot, SnapshotError, read_rows, write_rows};
use bytes::Bytes;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_runtime::store::Row;
use std::collections::VecDeque;
use std::time::Duration;

/// Between two snapshots of a partition, by the broker's clock.
pub const INTERVAL: Duration = Duration::from_secs(3);
/// Pieces of a snapshot: enough for some to be missing.
const PIECES: usize = 2;
/// A snapshot that is read breaks off, or the list of them does not come, once in so many times.
const TORN_ONE_IN: usize = 4;

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
    let mut bytes = bytes_of(&shell.broker, partition, position).ok_or("it is not there")?;
    if !bytes.is_empty() && shell.strikes(Fault::TornSnapshot, TORN_ONE_IN) {
        bytes.truncate(shell.random.below(bytes.len()));
    }
    read(partition, position, &bytes, shell.breaks(Mutation::TrustTornSnapshot))
}

/// Whether the snapshot can be used by whoever reads it without a fault.
pub fn is_usable(broker: &Broker, partition: Partition, position: LogSeq) -> bool {
    bytes_of(broker, partition, position).is_some_and(|bytes| read(partition, position, &bytes, false).is_ok())
}

fn bytes_of(broker: &Broker, partition: Partition, position: LogSeq) -> Option<Vec<u8>> {
    let (object, _) = broker.snapshots(partition).find(|(object, _)| object.position == position)?;
    let pieces = (0..PIECES).map_while(|number| broker.piece(object.pieces, number));
    Some(pieces.flat_map(|piece| piece.iter().copied()).collect())
}

fn read(
    partition: Partition,
    position: LogSeq,
    bytes: &[u8],
    trusts: bool,
) -> Result<(Vec<Row>, PartitionState), String> {
    let mut rows = Vec::new();
    let outcome = read_rows(bytes, &mut |row| {
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

/// A snapshot on its way to the broker: piece by piece, and only then the word that it is there.
pub struct Upload {
    object: Object,
    requests: VecDeque<Request>,
    under_way: Option<Ticket>,
}

impl Upload {
    /// Of what a commit has just left in the store.
    pub fn new(shell: &mut Shell, partition: Partition, position: LogSeq, is_whole: bool, store: &Store) -> Self {
        let mut bytes = Vec::new();
        write_rows(store.scan().map(Ok::<_, SnapshotError>), &mut bytes).expect("memory can be written");
        let object = Object { partition, position, is_whole, pieces: shell.broker.new_pieces() };
        let chunks = bytes.chunks(bytes.len().div_ceil(PIECES));
        let pieces =
            chunks.enumerate().map(|(at, chunk)| Request::Piece(object.pieces, at, Bytes::copy_from_slice(chunk)));
        let mut requests: VecDeque<Request> = pieces.collect();
        let word = Request::Tell(object.clone());
        match shell.breaks(Mutation::TrustTornSnapshot) {
            true => requests.push_front(word),
            false => requests.push_back(word),
        }
        Self { object, requests, under_way: None }
    }

    /// One step. It is given up when the fate of a part is unclear.
    pub fn step(&mut self, shell: &mut Shell) -> Next {
        let next = next(shell, &mut self.requests, &mut self.under_way);
        if matches!(next, Next::Done) {
            let Object { partition, position, .. } = self.object;
            shell.trace.note(|| format!("replica {partition}: put a snapshot at {position}"));
        }
        next
    }

    pub fn position(&self) -> LogSeq {
        self.object.position
    }
}

/// What is over its retention on its way out: the log first, then snapshots.
pub struct Trimming {
    requests: VecDeque<Request>,
    under_way: Option<Ticket>,
}

impl Trimming {
    /// By what there is now.
    pub fn new(shell: &mut Shell, partition: Partition) -> Self {
        let known = try_list(shell, partition).unwrap_or_default();
        let Plan { mut floor, superseded } = Plan::of(&known, shell.retention);
        if shell.breaks(Mutation::TrimLogTooFar) && floor.is_some() {
            floor = shell.broker.newest(Stream::Events, partition).map(|end| LogSeq(end.sequence));
        }
        if let Some(floor) = floor {
            shell.trace.note(|| format!("replica {partition}: trims the log to {floor}, of snapshots {known:?}"));
        }
        let trim = floor.map(|floor| Request::Trim(partition, floor));
        let removals = superseded.into_iter().map(|position| Request::Remove(partition, position));
        Self { requests: trim.into_iter().chain(removals).collect(), under_way: None }
    }

    /// One step. The rest is left for the next time when the fate of a request is unclear.
    pub fn step(&mut self, shell: &mut Shell) -> Next {
        next(shell, &mut self.requests, &mut self.under_way)
    }
}

/// How far requests are that are carried out one after the other.
pub enum Next {
    Goes,
    Done,
    Unclear,
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
