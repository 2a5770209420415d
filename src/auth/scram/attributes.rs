//! The `x=value,y=value` syntax of SCRAM messages (RFC 5802 section 7), read as PostgreSQL reads it.

/// What is wrong with a message, in PostgreSQL's words (its errdetail).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

/// Walks the attributes of one message.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// The attributes of a whole message; empty ones and NUL bytes are refused here, once.
    pub(super) fn of(message: &'a [u8]) -> Result<Self, Malformed> {
        if message.is_empty() {
            return Err(Malformed("The message is empty.".into()));
        }
        if message.contains(&0) {
            return Err(Malformed("Message length does not match input length.".into()));
        }
        Ok(Self { rest: message })
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte, without reading it.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Reads over one byte.
    pub(super) fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Reads the attribute that must come next.
    pub(super) fn expect(&mut self, name: u8) -> Result<&'a [u8], Malformed> {
        if self.peek() != Some(name) {
            let found = printable(self.peek());
            return Err(Malformed(format!(
                "Expected attribute \"{}\" but found \"{found}\".",
                char::from(name)
            )));
        }
        self.value_of(name)
    }

    /// Reads whatever attribute comes next.
    pub(super) fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        match self.peek() {
            None => Err(Malformed("Attribute expected, but found end of string.".into())),
            Some(name) if name.is_ascii_alphabetic() => Ok((name, self.value_of(name)?)),
            other => {
                let found = printable(other);
                Err(Malformed(format!(
                    "Attribute expected, but found invalid character \"{found}\"."
                )))
            }
        }
    }

    fn value_of(&mut self, name: u8) -> Result<&'a [u8], Malformed> {
        if self.rest.get(1) != Some(&b'=') {
            let name = char::from(name);
            return Err(Malformed(format!("Expected character \"=\" for attribute \"{name}\".")));
        }
        let after = &self.rest[2..];
        let end = memchr::memchr(b',', after).unwrap_or(after.len());
        self.rest = after.get(end + 1..).unwrap_or_default();
        Ok(&after[..end])
    }
}

// === helpers ===

/// A byte as PostgreSQL's `sanitize_char` shows it; the end of the message is its NUL.
pub(super) fn printable(byte: Option<u8>) -> String {
    match byte.unwrap_or(0) {
        byte @ 0x21..=0x7e => format!("'{}'", char::from(byte)),
        byte => format!("0x{byte:02x}"),
    }
}

/// A text as PostgreSQL's `sanitize_str` shows it: 30 characters, `?` for what is not visible ASCII.
pub(super) fn sanitized(text: &[u8]) -> String {
    text.iter()
        .take(30)
        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' })
        .collect()
}
