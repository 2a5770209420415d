//! One byte stream, whatever carries it.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A connected socket, towards a client or a node.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// Bytes that a peer has not taken yet. Empty, it owns no memory to speak of.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How many of them were written already.
    written: usize,
}

/// What an [`Outbox`] may keep allocated while it is empty, in bytes.
const KEPT_CAPACITY: usize = 1024;

// === impl Stream ===

impl Stream {
    /// The peer's IP address, IPv4 as such even where IPv6 carries it; none for a unix socket.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn peer_address(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp(socket) => Ok(Some(socket.peer_addr()?.ip().to_canonical())),
            Self::Unix(_) => Ok(None),
        }
    }

    /// Reads what is there into `buffer` and returns how much that was; 0 means the peer has closed.
    ///
    /// # Errors
    /// As the socket reports them.
    pub fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Unix(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

// === impl Outbox ===

impl Outbox {
    /// Whether everything has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where a message of our own is appended, behind what waits already.
    pub fn append(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes what waits. Ready means that nothing waits any more.
    ///
    /// # Errors
    /// As the socket reports them.
    pub fn poll_flush(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.written = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        Poll::Ready(Ok(()))
    }

    /// Writes `bytes` behind what waits, and keeps what the peer does not take now.
    ///
    /// # Errors
    /// As the socket reports them.
    pub fn pass(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut taken = 0;
        if self.poll_flush(stream, cx)?.is_ready() {
            while taken < bytes.len() {
                match Pin::new(&mut *stream).poll_write(cx, &bytes[taken..])? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(count) => taken += count,
                    Poll::Pending => break,
                }
            }
        }
        self.bytes.extend_from_slice(&bytes[taken..]);
        Ok(())
    }
}
