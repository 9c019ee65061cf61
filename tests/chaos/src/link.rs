//! A route between two brokers that can be cut: a small TCP proxy.

use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// One direction of dialling: whoever connects here reaches `target`, unless the link is cut. Ends when dropped.
pub struct Link {
    pub address: SocketAddr,
    is_cut: watch::Sender<bool>,
    accepting: AbortHandle,
}

impl Link {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn new(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for a proxy")?;
        let address = listener.local_addr()?;
        let (is_cut, seen) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, target, seen)).abort_handle();
        Ok(Self { address, is_cut, accepting })
    }

    /// Closes what goes through it, and what is dialled from now on as soon as it is accepted.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, is_cut: watch::Receiver<bool>) {
    loop {
        // Running out of files is the only error there is; the dialler comes again.
        let Ok((near, _)) = listener.accept().await else { continue };
        if *is_cut.borrow() {
            continue;
        }
        tokio::spawn(carry(near, target, is_cut.clone()));
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, mut is_cut: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    for stream in [&near, &far] {
        // Raft is a conversation of small messages.
        let _ = stream.set_nodelay(true);
    }
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        // It fails when the link is dropped, which ends the connection too.
        _ = is_cut.wait_for(|cut| *cut) => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What comes back of a byte that is sent over a new connection.
    async fn echo(link: &Link) -> Option<u8> {
        let mut stream = TcpStream::connect(link.address).await.unwrap();
        stream.write_all(b"x").await.ok()?;
        stream.read_u8().await.ok()
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_refuses_new_ones_until_it_is_mended() {
        let echoing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let link = Link::new(echoing.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echoing.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let mut before = TcpStream::connect(link.address).await.unwrap();
        before.write_all(b"a").await.unwrap();
        assert_eq!(before.read_u8().await.unwrap(), b'a');
        link.cut();
        assert!(before.read_u8().await.is_err());
        assert_eq!(echo(&link).await, None);
        link.mend();
        assert_eq!(echo(&link).await, Some(b'x'));
    }
}
