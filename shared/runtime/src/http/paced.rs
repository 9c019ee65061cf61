//! A connection whose peer must go on reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Fails once the peer has taken too little for a while although there is something to take. Without it, a client that asks
/// and does not read would keep its answer and its connection in memory.
pub struct Paced<S> {
    inner: S,
    pace: Pace,
    /// Runs from the first write that has to wait, until enough was taken or there is nothing left to take.
    stalled: Option<Stalled>,
}

/// How fast a peer must read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// So many bytes,
    pub bytes: usize,
    /// within this time.
    pub within: Duration,
}

struct Stalled {
    deadline: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> Paced<S> {
    /// A connection that has to be read at this pace.
    pub fn new(inner: S, pace: Pace) -> Self {
        Self { inner, pace, stalled: None }
    }

    /// Takes the outcome of a write in.
    fn wrote(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(bytes)) => {
                if let Some(stalled) = &mut self.stalled {
                    stalled.taken += bytes;
                    if stalled.taken >= self.pace.bytes {
                        self.stalled = None;
                    }
                }
                outcome
            }
            Poll::Ready(Err(_)) => outcome,
            Poll::Pending => self.wait(context).map(Err),
        }
    }

    /// Takes the outcome of a flush in: once it is done, there is nothing left to take.
    fn flushed(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        self.wait(context).map(Err)
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let within = self.pace.within;
        let fresh = || Stalled { deadline: Box::pin(tokio::time::sleep(within)), taken: 0 };
        let stalled = self.stalled.get_or_insert_with(fresh);
        let elapsed = stalled.deadline.as_mut().poll(context);
        elapsed.map(|()| io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly"))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.flushed(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
        self.flushed(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.wrote(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Writes 64 bytes to a peer that takes `bytes` every ten seconds, four times.
    async fn write_to(bytes: usize) -> io::Result<()> {
        let (near, mut far) = tokio::io::duplex(16);
        let mut paced = Paced::new(near, Pace { bytes: 8, within: Duration::from_secs(30) });
        paced.write_all(&[0; 16]).await?;
        let reading = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                far.read_exact(&mut vec![0; bytes]).await.unwrap();
            }
            far
        });
        paced.write_all(&vec![0; 4 * bytes]).await?;
        paced.flush().await?;
        // An idle connection is none that reads slowly.
        tokio::time::sleep(Duration::from_secs(300)).await;
        let mut far = reading.await.unwrap();
        far.read_exact(&mut [0; 16]).await?;
        paced.write_all(&[0; 16]).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_too_slowly_is_given_up_and_one_that_reads_slowly_is_not() {
        write_to(4).await.unwrap();
        for bytes in [0, 1, 2] {
            let (near, far) = tokio::io::duplex(16);
            let mut paced = Paced::new(near, Pace { bytes: 8, within: Duration::from_secs(30) });
            let mut far = far;
            let reading = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    if far.read_exact(&mut vec![0; bytes]).await.is_err() {
                        break;
                    }
                }
            });
            let error = paced.write_all(&[0; 64]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{bytes}");
            reading.abort();
        }
    }
}
