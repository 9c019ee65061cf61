//! Very many subscriptions over a few connections. They speak NATS by themselves and count, no more: a client library would
//! take more of the machine than the broker that is measured.

use anyhow::Context as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Read from a connection at once.
const BUFFER_BYTES: usize = 1 << 20;

/// What was received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// By the first subscription of each feed.
    pub updates: u64,
    /// By all of them.
    pub messages: u64,
    /// Of messages.
    pub bytes: u64,
}

/// Subscriptions under way.
pub struct Subscribers {
    connections: Vec<(TcpStream, JoinHandle<anyhow::Result<Seen>>)>,
    probed: Arc<Mutex<Vec<Instant>>>,
}

impl Subscribers {
    /// So many subscriptions of `feeds`, of each in turn; the broker knows of all of them when this returns. When messages
    /// of those from `probed_from` on come is noted. Blocking, as all of this.
    ///
    /// # Errors
    /// When the broker does not take a connection.
    pub fn start(
        url: &str,
        feeds: &[String],
        probed_from: usize,
        listeners: usize,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let probed = Arc::new(Mutex::new(Vec::new()));
        let address = url.strip_prefix("nats://").context("the URL of the broker")?;
        let mut started = Self { connections: Vec::new(), probed: probed.clone() };
        for connection in 0..connections {
            let mut stream = TcpStream::connect(address)?;
            let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?);
            let mut text = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n".to_owned();
            for listener in listeners * connection / connections..listeners * (connection + 1) / connections {
                text += &format!("SUB {} {listener}\r\n", feeds[listener % feeds.len()]);
            }
            stream.write_all(text.as_bytes())?;
            stream.write_all(b"PING\r\n")?;
            let mut line = String::new();
            while line != "PONG\r\n" {
                line.clear();
                anyhow::ensure!(reader.read_line(&mut line)? > 0, "the broker has hung up");
                anyhow::ensure!(!line.starts_with("-ERR"), "the broker says {line}");
            }
            let (writer, feeds, probed) = (stream.try_clone()?, feeds.len(), probed.clone());
            let reading = std::thread::spawn(move || read(reader, writer, feeds, probed_from, &probed));
            started.connections.push((stream, reading));
        }
        Ok(started)
    }

    /// When the messages came that were noted since the last call.
    pub fn take_probed(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.probed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends all subscriptions.
    ///
    /// # Errors
    /// When a connection had ended before, as the broker does with one that reads too slowly.
    pub fn stop(self) -> anyhow::Result<Seen> {
        let mut all = Seen::default();
        for (stream, reading) in self.connections {
            anyhow::ensure!(!reading.is_finished(), "the broker has hung up");
            stream.shutdown(Shutdown::Both)?;
            let seen = reading.join().expect("it does not panic")?;
            all.updates += seen.updates;
            all.messages += seen.messages;
            all.bytes += seen.bytes;
        }
        Ok(all)
    }
}

/// Reads and counts until the connection ends.
fn read(
    mut reader: BufReader<TcpStream>,
    mut writer: TcpStream,
    feeds: usize,
    probed_from: usize,
    probed: &Mutex<Vec<Instant>>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let (mut line, mut payload) = (String::new(), Vec::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(seen);
        }
        // MSG, the subject, the number of the subscription, and bytes: nobody wants a reply.
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("MSG") => {
                let listener: usize = words.nth(1).and_then(|word| word.parse().ok()).context("no subscription")?;
                let bytes: usize = words.next_back().and_then(|word| word.parse().ok()).context("no length")?;
                payload.resize(bytes + 2, 0);
                if reader.read_exact(&mut payload).is_err() {
                    return Ok(seen);
                }
                seen.updates += u64::from(listener < feeds);
                seen.messages += 1;
                seen.bytes += bytes as u64;
                if listener % feeds >= probed_from {
                    probed.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
            }
            Some("PING") => writer.write_all(b"PONG\r\n")?,
            Some("-ERR") => anyhow::bail!("the broker says {line}"),
            _ => {}
        }
    }
}
