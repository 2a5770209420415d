//! Borrowed views of the server messages a proxy must read. Each checks its own layout.

use super::startup::CancelKey;

/// A message whose body is not what its tag promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0} from the server")]
pub struct Malformed(pub &'static str);

/// `ErrorResponse` and `NoticeResponse`: fields looked up when asked for. Any of them may be missing.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFields<'a> {
    body: &'a [u8],
}

/// `ParameterStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// Name of the setting.
    pub name: &'a str,
    /// Its value now.
    pub value: &'a str,
}

/// The transaction status that `ReadyForQuery` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction.
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a failed transaction: only ROLLBACK is accepted.
    Failed,
}

// === impl ErrorFields ===

impl<'a> ErrorFields<'a> {
    /// Wraps a body. A body cut short still yields the fields that are whole.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { body }
    }

    /// The field of a kind ("Error and Notice Message Fields" in PostgreSQL's protocol chapter).
    #[must_use]
    pub fn get(self, kind: u8) -> Option<&'a [u8]> {
        let mut rest = self.body;
        while let [found, after @ ..] = rest {
            if *found == 0 {
                return None;
            }
            let end = memchr::memchr(0, after)?;
            if *found == kind {
                return Some(&after[..end]);
            }
            rest = &after[end + 1..];
        }
        None
    }

    /// The SQLSTATE, where there is one of the right length.
    #[must_use]
    pub fn code(self) -> Option<&'a [u8]> {
        self.get(b'C').filter(|code| code.len() == 5)
    }

    /// Whether the connection ends with it (the unlocalised severity is FATAL or PANIC).
    #[must_use]
    pub fn is_fatal(self) -> bool {
        matches!(self.get(b'V').or_else(|| self.get(b'S')), Some(b"FATAL" | b"PANIC"))
    }

    /// The primary message, for a log.
    #[must_use]
    pub fn message(self) -> String {
        String::from_utf8_lossy(self.get(b'M').unwrap_or(b"(no message)")).into_owned()
    }
}

// === impl ParameterStatus ===

impl<'a> ParameterStatus<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// Anything but two zero-terminated texts.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut texts = body.split(|&byte| byte == 0);
        match (texts.next(), texts.next(), texts.next(), texts.next()) {
            (Some(name), Some(value), Some([]), None) => {
                let text =
                    |bytes| std::str::from_utf8(bytes).map_err(|_| Malformed("ParameterStatus"));
                Ok(Self { name: text(name)?, value: text(value)? })
            }
            _ => Err(Malformed("ParameterStatus")),
        }
    }
}

// === impl TransactionStatus ===

impl TransactionStatus {
    /// Reads the body of a `ReadyForQuery`.
    ///
    /// # Errors
    /// Anything but one of the three status bytes.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        match body {
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::InTransaction),
            b"E" => Ok(Self::Failed),
            _ => Err(Malformed("ReadyForQuery")),
        }
    }
}

// === free functions ===

/// Reads the body of a `BackendKeyData`: four bytes of secret in protocol 3.0, up to 256 in 3.2.
///
/// # Errors
/// A secret shorter or longer than that.
pub fn backend_key_data(body: &[u8]) -> Result<CancelKey, Malformed> {
    match body.split_first_chunk::<4>() {
        Some((pid, secret)) if (4..=256).contains(&secret.len()) => {
            Ok(CancelKey { pid: u32::from_be_bytes(*pid), secret: secret.into() })
        }
        _ => Err(Malformed("BackendKeyData")),
    }
}

/// Reads the code of an `Authentication…` message, and what follows it.
///
/// # Errors
/// A body without a code.
pub fn authentication(body: &[u8]) -> Result<(i32, &[u8]), Malformed> {
    match body.split_first_chunk::<4>() {
        Some((code, rest)) => Ok((i32::from_be_bytes(*code), rest)),
        None => Err(Malformed("Authentication")),
    }
}
