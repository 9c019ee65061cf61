//! A route to the broker on which a test changes or loses what passes: a small proxy that reads the protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToBroker,
    ToClient,
}

/// The route. Ends when dropped.
pub struct Route {
    address: SocketAddr,
    task: AbortHandle,
}

impl Route {
    /// A route to the broker at `nats://HOST:PORT`, which may be another route. `pass` may change what passes, and says
    /// whether it does.
    pub async fn new(url: &str, pass: impl Fn(Way, &mut Frame) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = url.strip_prefix("nats://").unwrap().to_owned();
        let task = tokio::spawn(accept(listener, target, Arc::new(pass))).abort_handle();
        Self { address, task }
    }

    /// Where it listens, as a client writes it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    pass: Arc<impl Fn(Way, &mut Frame) -> bool + Send + Sync + 'static>,
) {
    loop {
        let Some((near, far)) = connect(&listener, &target).await else { continue };
        let (up, down) = (near.into_split(), far.into_split());
        let pass = pass.clone();
        tokio::spawn(async move {
            // Either end closes both.
            tokio::select! {
                _ = carry(up.0, down.1, |frame| pass(Way::ToBroker, frame)) => {}
                _ = carry(down.0, up.1, |frame| pass(Way::ToClient, frame)) => {}
            }
        });
    }
}

/// The next client, and a connection of its own to the broker.
pub(crate) async fn connect(listener: &TcpListener, target: &str) -> Option<(TcpStream, TcpStream)> {
    // Running out of files is the only error there is; the client comes again.
    let (near, _) = listener.accept().await.ok()?;
    let far = TcpStream::connect(target).await.ok()?;
    for stream in [&near, &far] {
        // A conversation of small messages.
        stream.set_nodelay(true).unwrap();
    }
    Some((near, far))
}

async fn carry(from: OwnedReadHalf, mut to: OwnedWriteHalf, pass: impl Fn(&mut Frame) -> bool) -> std::io::Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let mut frame = Frame::read(&mut from).await?;
        if pass(&mut frame) {
            to.write_all(&frame.bytes).await?;
        }
    }
}

/// A line of the protocol, with the payload that belongs to it.
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Of them, those of the line.
    line: usize,
}

impl Frame {
    pub(crate) async fn read(from: &mut BufReader<OwnedReadHalf>) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        if from.read_until(b'\n', &mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = bytes.len();
        let mut frame = Self { bytes, line };
        let has_payload = matches!(frame.words().next(), Some("MSG" | "HMSG" | "PUB" | "HPUB"));
        if has_payload {
            let length: usize = frame.words().last().and_then(|length| length.parse().ok()).unwrap();
            frame.bytes.resize(line + length + b"\r\n".len(), 0);
            from.read_exact(&mut frame.bytes[line..]).await?;
        }
        Ok(frame)
    }

    /// The words of its line.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.bytes[..self.line]).unwrap_or_default().split_ascii_whitespace()
    }

    /// What follows the line.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.line..]
    }
}
