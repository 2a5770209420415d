//! The few messages of the login (PostgreSQL's documentation, "Message Formats"), written whole.

/// Authentication requests: the number after the length of an `R` message.
pub(super) mod code {
    pub(crate) const OK: i32 = 0;
    pub(crate) const KERBEROS_V5: i32 = 2;
    pub(crate) const CLEARTEXT_PASSWORD: i32 = 3;
    pub(crate) const SCM_CREDENTIAL: i32 = 6;
    pub(crate) const MD5_PASSWORD: i32 = 5;
    pub(crate) const GSS: i32 = 7;
    pub(crate) const GSS_CONTINUE: i32 = 8;
    pub(crate) const SSPI: i32 = 9;
    pub(crate) const SASL: i32 = 10;
    pub(crate) const SASL_CONTINUE: i32 = 11;
    pub(crate) const SASL_FINAL: i32 = 12;
}

/// An `R` message.
pub(super) fn authentication(code: i32, body: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), body])
}

/// AuthenticationSASL: the mechanisms, each with its NUL, and an empty one at the end.
pub(super) fn sasl_mechanisms(names: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for name in names {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    body.push(0);
    authentication(code::SASL, &body)
}

/// PasswordMessage.
pub(super) fn password(text: &str) -> Vec<u8> {
    message(b'p', &[text.as_bytes(), &[0]])
}

/// SASLInitialResponse.
pub(super) fn sasl_initial_response(mechanism: &str, data: &[u8]) -> Vec<u8> {
    message(b'p', &[mechanism.as_bytes(), &[0], &length(data.len()).to_be_bytes(), data])
}

/// SASLResponse.
pub(super) fn sasl_response(data: &[u8]) -> Vec<u8> {
    message(b'p', &[data])
}

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let size: usize = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(1 + size);
    bytes.push(tag);
    bytes.extend_from_slice(&length(size).to_be_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn length(size: usize) -> i32 {
    i32::try_from(size).expect("what we write here is bounded by a few kilobytes")
}
