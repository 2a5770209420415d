//! The few messages we author ourselves. Every function appends whole messages to a buffer.

use super::{
    sqlstate::SqlState,
    startup::{CancelKey, Startup, Version},
    tag::{self, client, server},
};

/// An `ErrorResponse` of our own. Its severity is FATAL: it ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Its SQLSTATE.
    pub code: SqlState,
    /// One line.
    pub message: String,
    /// More, where there is more to say.
    pub detail: Option<String>,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// Transaction status byte of `ReadyForQuery`: idle.
pub const IDLE: u8 = b'I';

// === impl Error ===

impl Error {
    /// An error that ends the connection.
    #[must_use]
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None }
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Appends it as an `ErrorResponse`.
    pub fn write(&self, out: &mut Vec<u8>) {
        message(out, server::ERROR, |out| {
            field(out, b'S', "FATAL");
            field(out, b'V', "FATAL");
            field(out, b'C', self.code.0);
            field(out, b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(out, b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(out, b'H', hint);
            }
            out.push(0);
        });
    }
}

// === towards clients ===

/// `NoticeResponse`: something worth knowing, which is no error.
pub fn notice(out: &mut Vec<u8>, text: &str) {
    message(out, server::NOTICE, |out| {
        for (kind, value) in [(b'S', "NOTICE"), (b'V', "NOTICE"), (b'C', "00000"), (b'M', text)] {
            field(out, kind, value);
        }
        out.push(0);
    });
}

/// `AuthenticationOk`.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, tag::authentication::OK, &[]);
}

/// An authentication request: its number (see [`tag::authentication`]) and what follows it.
pub fn authentication(out: &mut Vec<u8>, code: i32, body: &[u8]) {
    message(out, server::AUTHENTICATION, |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(body);
    });
}

/// `AuthenticationSASL`: the mechanisms, each with its NUL, and an empty one at the end.
pub fn sasl_mechanisms(out: &mut Vec<u8>, names: &[&str]) {
    message(out, server::AUTHENTICATION, |out| {
        out.extend_from_slice(&tag::authentication::SASL.to_be_bytes());
        for name in names {
            text(out, name);
        }
        out.push(0);
    });
}

/// `ParameterStatus`.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, server::PARAMETER_STATUS, |out| {
        text(out, name);
        text(out, value);
    });
}

/// `BackendKeyData`.
pub fn backend_key_data(out: &mut Vec<u8>, key: &CancelKey) {
    message(out, server::BACKEND_KEY_DATA, |out| {
        out.extend_from_slice(&key.pid.to_be_bytes());
        out.extend_from_slice(&key.secret);
    });
}

/// `ReadyForQuery` with a transaction status of `I`, `T` or `E`.
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    message(out, server::READY_FOR_QUERY, |out| out.push(status));
}

/// `NegotiateProtocolVersion`: the newest version we speak with this client, and the protocol options
/// we do not know.
pub fn negotiate_version(out: &mut Vec<u8>, version: Version, unknown_options: &[String]) {
    message(out, server::NEGOTIATE_VERSION, |out| {
        out.extend_from_slice(&version_code(version).to_be_bytes());
        let count = u32::try_from(unknown_options.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for option in unknown_options {
            text(out, option);
        }
    });
}

// === towards servers ===

/// A startup packet with every parameter the client gave.
pub fn startup(out: &mut Vec<u8>, version: Version, startup: &Startup) {
    untagged(out, |out| {
        out.extend_from_slice(&version_code(version).to_be_bytes());
        for (name, value) in [("user", &startup.user), ("database", &startup.database)] {
            text(out, name);
            text(out, value);
        }
        for (name, value) in &startup.parameters {
            text(out, name);
            text(out, value);
        }
        out.push(0);
    });
}

/// A `CancelRequest`.
pub fn cancel_request(out: &mut Vec<u8>, key: &CancelKey) {
    untagged(out, |out| {
        out.extend_from_slice(&80_877_102_u32.to_be_bytes());
        out.extend_from_slice(&key.pid.to_be_bytes());
        out.extend_from_slice(&key.secret);
    });
}

/// An `SSLRequest`.
pub fn ssl_request(out: &mut Vec<u8>) {
    untagged(out, |out| out.extend_from_slice(&80_877_103_u32.to_be_bytes()));
}

/// A simple `Query`.
pub fn query(out: &mut Vec<u8>, sql: &str) {
    message(out, client::QUERY, |out| text(out, sql));
}

/// `PasswordMessage`.
pub fn password(out: &mut Vec<u8>, password: &str) {
    message(out, client::PASSWORD, |out| text(out, password));
}

/// `SASLInitialResponse`.
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, client::PASSWORD, |out| {
        text(out, mechanism);
        counted(out, data);
    });
}

/// `SASLResponse`.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, client::PASSWORD, |out| out.extend_from_slice(data));
}

/// `Terminate`.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, client::TERMINATE, |_| {});
}

/// A message by itself: `written(|out| query(out, "SELECT 1"))`.
pub fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

// === helpers ===

/// Appends one tagged message whose body `body` writes.
fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    untagged(out, body);
}

/// Appends a length word and what `body` writes.
fn untagged(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start).expect("our own messages are far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Bytes behind their number.
fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("our own messages are far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A field of an `ErrorResponse`.
fn field(out: &mut Vec<u8>, kind: u8, value: &str) {
    out.push(kind);
    text(out, value);
}

/// A zero-terminated text. A zero inside would end it early and shift all that follows: it is left out.
fn text(out: &mut Vec<u8>, value: &str) {
    out.extend(value.bytes().filter(|&byte| byte != 0));
    out.push(0);
}

fn version_code(version: Version) -> u32 {
    u32::from(version.major) << 16 | u32::from(version.minor)
}
