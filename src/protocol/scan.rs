//! Walks message headers in a read buffer, so that bodies can pass untouched and uncopied.
//!
//! A tagged message is one byte of tag and four of length, which counts itself and the body. The
//! scanner yields each message as soon as enough of it is visible; what lies beyond the buffer then
//! passes as it comes. Nothing is ever gathered because it is large.

/// The front of a tagged message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's tag.
    pub tag: u8,
    /// Bytes of the whole message, tag and length included: at least 5.
    pub length: usize,
}

/// How much of a message must be visible before it is yielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The header is enough.
    Header,
    /// The header and this many bytes of the body, or the whole body where it is shorter.
    Prefix(usize),
}

/// One step over the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// This many bytes continue a message that was yielded before.
    Rest(usize),
    /// A message begins here; `bytes` is what is visible of it, header included.
    Message {
        /// Its tag and length.
        header: Header,
        /// Its visible bytes, from the tag on.
        bytes: &'b [u8],
    },
    /// More bytes are needed; those in the buffer must be kept.
    More,
}

/// A length that no message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message of type {} with invalid length {length}", tag.escape_ascii())]
pub struct BadLength {
    /// The message's tag.
    pub tag: u8,
    /// The length it stated, as the wire has it (tag not included).
    pub length: u32,
}

/// Where a stream of tagged messages stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanner {
    /// Bytes of the message yielded last that have not passed yet.
    rest: usize,
}

/// Tag and length word.
pub const HEADER_LENGTH: usize = 5;

/// PostgreSQL's `PQ_LARGE_MESSAGE_LIMIT`: nothing longer is accepted from a client.
pub const LARGE_MESSAGE_LIMIT: u32 = 0x3FFF_FFFF - 1;

// === impl Header ===

impl Header {
    /// Reads the header at the front of `bytes`; none while it is split.
    ///
    /// # Errors
    /// A length below 4, or above `limit`.
    pub fn read(bytes: &[u8], limit: u32) -> Result<Option<Self>, BadLength> {
        let &[tag, a, b, c, d, ..] = bytes else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]);
        if length < 4 || length > limit {
            return Err(BadLength { tag, length });
        }
        // u32 fits usize on every platform tokio runs on.
        Ok(Some(Self { tag, length: length as usize + 1 }))
    }
}

// === impl Scanner ===

impl Scanner {
    /// Takes one step over `bytes`, which start where the last step ended.
    ///
    /// # Errors
    /// A length that no message can have; the stream cannot be followed any further.
    #[inline]
    pub fn step<'b>(
        &mut self,
        bytes: &'b [u8],
        depth: impl FnOnce(u8) -> Depth,
    ) -> Result<Step<'b>, BadLength> {
        if bytes.is_empty() {
            return Ok(Step::More);
        }
        if self.rest > 0 {
            let here = self.rest.min(bytes.len());
            self.rest -= here;
            return Ok(Step::Rest(here));
        }
        let Some(header) = Header::read(bytes, LARGE_MESSAGE_LIMIT)? else {
            return Ok(Step::More);
        };
        let wanted = match depth(header.tag) {
            Depth::Header => HEADER_LENGTH,
            Depth::Prefix(body) => header.length.min(HEADER_LENGTH + body),
        };
        if bytes.len() < wanted {
            return Ok(Step::More);
        }
        let here = header.length.min(bytes.len());
        self.rest = header.length - here;
        Ok(Step::Message { header, bytes: &bytes[..here] })
    }

    /// Whether the stream stands between two messages.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.rest == 0
    }
}
