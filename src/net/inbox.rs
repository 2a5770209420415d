//! Reads whole messages while somebody logs in. Once that is done the relay takes over, which never
//! waits for a whole message.

use std::io;

use super::Stream;
use crate::protocol::{
    scan::{BadLength, HEADER_LENGTH, Header},
    startup::{BadOpening, Opening},
};

/// Bytes read and not yet consumed.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    consumed: usize,
}

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The socket failed, or the peer has closed it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A length that such a message cannot have.
    #[error(transparent)]
    Length(#[from] BadLength),
    /// An untagged packet that cannot be one.
    #[error(transparent)]
    Opening(#[from] BadOpening),
}

/// Bytes asked for in one read.
const CHUNK: usize = 2048;

// === impl Inbox ===

impl Inbox {
    /// Reads a tagged message and returns all of it, header included. `limit` bounds its length word.
    ///
    /// # Errors
    /// See [`InboxError`].
    pub async fn message(&mut self, stream: &mut Stream, limit: u32) -> Result<&[u8], InboxError> {
        self.fill(stream, HEADER_LENGTH).await?;
        let header = Header::read(self.unread(), limit)?;
        Ok(self.take(stream, header.map_or(HEADER_LENGTH, |header| header.length)).await?)
    }

    /// Reads what comes before the first tagged message, parsed.
    ///
    /// # Errors
    /// See [`InboxError`].
    pub async fn opening(&mut self, stream: &mut Stream) -> Result<Opening, InboxError> {
        self.fill(stream, 4).await?;
        let word = self.unread().first_chunk::<4>().copied().unwrap_or_default();
        let packet = self.take(stream, Opening::length(word)?).await?;
        Ok(Opening::parse(&packet[4..])?)
    }

    /// Whether everything that was read has been consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unread().is_empty()
    }

    /// The first unread byte, once there is one.
    ///
    /// # Errors
    /// As the socket reports them; `UnexpectedEof` when the peer closes before.
    pub async fn peek(&mut self, stream: &mut Stream) -> io::Result<u8> {
        self.fill(stream, 1).await?;
        Ok(self.unread()[0])
    }

    /// What was read beyond the last message.
    #[must_use]
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.consumed);
        self.bytes.shrink_to_fit();
        self.bytes
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    async fn take(&mut self, stream: &mut Stream, length: usize) -> io::Result<&[u8]> {
        self.fill(stream, length).await?;
        let start = self.consumed;
        self.consumed += length;
        Ok(&self.bytes[start..self.consumed])
    }

    /// Reads until `length` bytes are unread. Cancelling it loses nothing.
    async fn fill(&mut self, stream: &mut Stream, length: usize) -> io::Result<()> {
        while self.unread().len() < length {
            if self.consumed > 0 {
                self.bytes.drain(..self.consumed);
                self.consumed = 0;
            }
            let mut chunk = [0; CHUNK];
            let count = std::future::poll_fn(|cx| stream.poll_read_into(cx, &mut chunk)).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }
}
