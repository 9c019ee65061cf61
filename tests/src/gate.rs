//! A route to the broker on which the log can be held back while everything else goes through: a small proxy that reads
//! the protocol. A shard behind it falls behind the log without a fault, and stays there for as long as a test wants.

use crate::route::{Frame, connect};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How often a gate that lets batches through one by one does so by itself: a reader that hears nothing of a stream for
/// four seconds would ask for its next message by another way.
const TRICKLE: Duration = Duration::from_secs(1);

/// What of the log gets through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Nobody is let begin to read it.
    Shut,
    /// So many batches since it was shut.
    Batches(u64),
}

/// The route. Ends when dropped.
pub struct Gate {
    address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
    tasks: [AbortHandle; 2],
}

impl Gate {
    /// An open gate before the broker at `nats://HOST:PORT`, for the log in `stream`.
    pub async fn new(url: &str, stream: &str) -> Self {
        let target = url.strip_prefix("nats://").unwrap().to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let log = Log { begin: format!("$JS.API.CONSUMER.CREATE.{stream}"), batch: format!("$JS.ACK.{stream}.") };
        let accepting = tokio::spawn(accept(listener, target, Arc::new(log), way.clone())).abort_handle();
        let trickling = tokio::spawn(trickle(way.clone())).abort_handle();
        Self { address, way, tasks: [accepting, trickling] }
    }

    /// Where it listens, as a client writes it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Lets nobody begin to read the log. Whoever reads it goes on, until its consumer is gone.
    pub fn shut(&self) {
        self.way.send_replace(Way::Shut);
    }

    /// Lets so many more batches of the log through, and then one a second.
    pub fn let_through(&self, batches: u64) {
        self.way.send_modify(|way| {
            let before = if let Way::Batches(before) = way { *before } else { 0 };
            *way = Way::Batches(before + batches);
        });
    }

    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// How the log is told from everything else.
struct Log {
    /// The subject by which one begins to read it.
    begin: String,
    /// What the reply subjects of its batches begin with.
    batch: String,
}

async fn trickle(way: Arc<watch::Sender<Way>>) {
    loop {
        tokio::time::sleep(TRICKLE).await;
        way.send_if_modified(|way| match way {
            Way::Batches(batches) => {
                *batches += 1;
                true
            }
            _ => false,
        });
    }
}

async fn accept(listener: TcpListener, target: String, log: Arc<Log>, way: Arc<watch::Sender<Way>>) {
    loop {
        let Some((near, far)) = connect(&listener, &target).await else { continue };
        let (up, down) = (near.into_split(), far.into_split());
        let (log, way) = (log.clone(), way.clone());
        tokio::spawn(async move {
            // Either end closes both.
            tokio::select! {
                _ = upwards(up.0, down.1, &log, way.subscribe()) => {}
                _ = downwards(down.0, up.1, &log, way.subscribe()) => {}
            }
        });
    }
}

/// From the client to the broker: requests to begin with the log are lost while the gate is shut.
async fn upwards(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    log: &Log,
    way: watch::Receiver<Way>,
) -> std::io::Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let frame = Frame::read(&mut from).await?;
        let begins = frame.words().nth(1).is_some_and(|subject| subject.starts_with(&log.begin));
        if !(begins && *way.borrow() == Way::Shut) {
            to.write_all(&frame.bytes).await?;
        }
    }
}

/// From the broker to the client: batches of the log wait for their turn.
async fn downwards(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    log: &Log,
    mut way: watch::Receiver<Way>,
) -> std::io::Result<()> {
    // Reading a frame is not to be given up halfway.
    let (sender, mut frames) = tokio::sync::mpsc::unbounded_channel();
    let reading = async move {
        let mut from = BufReader::new(from);
        loop {
            let frame = Frame::read(&mut from).await?;
            if sender.send(frame).is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        let (mut waiting, mut passed) = (VecDeque::new(), 0);
        loop {
            let now = *way.borrow_and_update();
            let may_pass = match now {
                Way::Open => u64::MAX,
                Way::Shut => 0,
                Way::Batches(batches) => batches,
            };
            if !matches!(now, Way::Batches(_)) {
                passed = 0;
            }
            while passed < may_pass
                && let Some(Frame { bytes, .. }) = waiting.pop_front()
            {
                passed += 1;
                to.write_all(&bytes).await?;
            }
            tokio::select! {
                frame = frames.recv() => match frame {
                    None => return Ok(()),
                    Some(frame) if frame.words().nth(3).is_some_and(|reply| reply.starts_with(&log.batch)) => {
                        waiting.push_back(frame);
                    }
                    Some(frame) => to.write_all(&frame.bytes).await?,
                },
                changed = way.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}
