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

use super::tls::Secure;

/// A connected socket, towards a client or a node.
#[derive(Debug, Default)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over either. Boxed, so that a session without TLS stays small.
    Tls(Box<Secure>),
    /// Nothing any more: a handshake took the socket and failed. Reads as closed by the peer.
    #[default]
    Closed,
}

/// Bytes that a peer has not taken yet. Empty, it owns no memory to speak of.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How many of them were written already.
    written: usize,
    /// TLS has taken bytes that its socket has not.
    is_under_way: bool,
}

/// The first byte of a TLS connection: the content type "handshake" (RFC 8446 section 5.1). No packet
/// of PostgreSQL's begins so: it would be over 300 MB long.
const TLS_HANDSHAKE: u8 = 0x16;

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
            Self::Tls(secure) => secure.socket().peer_address(),
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
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

    /// What TLS has shown, where there is TLS: version, channel binding, whom the peer's certificate
    /// names.
    #[must_use]
    pub fn tls(&self) -> Option<&Secure> {
        match self {
            Self::Tls(secure) => Some(secure),
            _ => None,
        }
    }

    /// The common name in the peer's certificate, where it has shown one that was verified: what the
    /// authentication method `cert` compares with the user's name.
    #[must_use]
    pub fn peer_common_name(&self) -> Option<&str> {
        self.tls()?.peer_common_name()
    }

    /// Whether it is TCP, and not encrypted.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Whether what the peer sends first is a TLS handshake. Waits for its first byte, and leaves it
    /// where it is. A unix socket never has TLS.
    ///
    /// # Errors
    /// As the socket reports them.
    pub async fn begins_with_tls(&self) -> io::Result<bool> {
        let Self::Tcp(socket) = self else { return Ok(false) };
        let mut first = [0];
        Ok(socket.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE)
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
            Self::Tls(secure) => Pin::new(secure.as_mut()).poll_read(cx, buffer),
            Self::Closed => Poll::Ready(Ok(())),
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
            Self::Tls(secure) => Pin::new(secure.as_mut()).poll_write(cx, bytes),
            Self::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(secure) => Pin::new(secure.as_mut()).poll_flush(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(secure) => Pin::new(secure.as_mut()).poll_shutdown(cx),
            Self::Closed => Poll::Ready(Ok(())),
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

impl From<Secure> for Stream {
    fn from(secure: Secure) -> Self {
        Self::Tls(Box::new(secure))
    }
}

// === impl Outbox ===

impl Outbox {
    /// Whether everything has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_under_way
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
        // TLS keeps records of its own that the socket has not taken.
        let flushed = Pin::new(stream).poll_flush(cx);
        self.is_under_way = flushed.is_pending();
        flushed
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
