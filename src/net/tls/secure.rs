//! An encrypted stream: a socket, its TLS connection, and what the handshake has shown.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use rustls::{CommonState, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::net::Stream;

/// A stream whose handshake is done.
#[derive(Debug)]
pub struct Secure {
    stream: TlsStream<Stream>,
    end_point: Option<Arc<[u8]>>,
    peer_common_name: Option<String>,
    is_peer_verified: bool,
}

// === impl Secure ===

impl Secure {
    pub(super) fn new(
        stream: TlsStream<Stream>,
        end_point: Option<Arc<[u8]>>,
        peer_common_name: Option<String>,
        is_peer_verified: bool,
    ) -> Self {
        Self { stream, end_point, peer_common_name, is_peer_verified }
    }

    /// The `tls-server-end-point` of the server's certificate, be it ours or a node's.
    #[must_use]
    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// The common name in the certificate that the peer has shown and that was verified.
    #[must_use]
    pub fn peer_common_name(&self) -> Option<&str> {
        self.peer_common_name.as_deref()
    }

    /// Whether the peer has shown a certificate that was verified.
    #[must_use]
    pub fn is_peer_verified(&self) -> bool {
        self.is_peer_verified
    }

    /// What carries it.
    #[must_use]
    pub fn socket(&self) -> &Stream {
        self.stream.get_ref().0
    }

    /// The protocol's version, as PostgreSQL writes it: `TLSv1.3`.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self.state().protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "unknown",
        }
    }

    /// The cipher suite, by the name it has in its standard: `TLS_AES_256_GCM_SHA384`.
    #[must_use]
    pub fn cipher(&self) -> String {
        let suite = self.state().negotiated_cipher_suite();
        let name = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        name.replacen("TLS13_", "TLS_", 1)
    }

    fn state(&self) -> &CommonState {
        self.stream.get_ref().1
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Who waits for an answer wants the question sent: whatever the socket did not take when it was
        // written goes now. If that fails, reading tells what the peer has said last.
        if self.state().wants_write() {
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
        match ready!(Pin::new(&mut self.stream).poll_read(cx, buffer)) {
            // A close without TLS's good-bye. The protocol's own messages say where they end, so that
            // nothing can be cut off unseen.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        // TLS's good-bye, as far as the socket takes it at once; a peer that gets none sees a close.
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_shutdown(&mut cx);
    }
}
