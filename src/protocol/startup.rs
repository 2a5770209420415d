//! What a client may send before anything is tagged: startup, SSL, GSS and cancel requests.

use std::fmt;

use subtle::ConstantTimeEq;

/// PostgreSQL's `MAX_STARTUP_PACKET_LENGTH`: bytes of an untagged packet, its length word included.
pub const MAX_PACKET_LENGTH: usize = 10_000;

/// Bytes of the longest name of a role or database: PostgreSQL's `NAMEDATALEN`, its NUL excluded.
pub const MAX_NAME_BYTES: usize = 63;

/// The newest protocol version we speak.
pub const NEWEST: Version = Version { major: 3, minor: 2 };

/// A protocol version as the startup packet states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Always 3 today.
    pub major: u16,
    /// 0, or 2 since PostgreSQL 18.
    pub minor: u16,
}

/// An untagged packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// "May we speak TLS?"
    SslRequest,
    /// "May we speak GSS encryption?"
    GssRequest,
    /// "Stop what the owner of this key is doing."
    Cancel(CancelKey),
    /// "Log me in."
    Startup(Startup),
}

/// What names a session to a cancel request: `BackendKeyData` of protocol 3.0 (four bytes of secret)
/// or 3.2 (up to 256).
#[derive(Clone)]
pub struct CancelKey {
    /// The process id, or what stands for it.
    pub pid: u32,
    /// The secret; compare it in constant time, as the key itself does.
    pub secret: Box<[u8]>,
}

/// A startup packet. Every parameter is kept in the order it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The version asked for.
    pub version: Version,
    /// Role to log in as, cut as PostgreSQL cuts names (see [`MAX_NAME_BYTES`]).
    pub user: String,
    /// Database to connect to, cut likewise; the user's name when none is given.
    pub database: String,
    /// All other parameters but protocol options: settings, `options`, `application_name`,
    /// `replication`, ….
    pub parameters: Vec<(String, String)>,
    /// Protocol options (`_pq_.…`), of which we know none.
    pub protocol_options: Vec<String>,
}

/// Why an untagged packet is refused. The texts are PostgreSQL's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOpening {
    /// Shorter or longer than such a packet can be.
    #[error("invalid length of startup packet")]
    Length,
    /// A version we do not speak.
    #[error(
        "unsupported frontend protocol {}.{}: server supports 3.0 to {}.{}",
        .0.major, .0.minor, NEWEST.major, NEWEST.minor
    )]
    Version(Version),
    /// Not a list of zero-terminated pairs with a zero at its end.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// Not UTF-8: we log names and compare them with the configuration.
    #[error("invalid startup packet: parameter is not valid UTF-8")]
    Encoding,
    /// No `user` parameter, or an empty one.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A parameter was given twice with different meanings.
    #[error("startup parameter \"{0}\" given twice")]
    Twice(String),
    /// A cancel request of the wrong size.
    #[error("invalid length of query cancel packet")]
    CancelLength,
}

const CANCEL_CODE: u32 = 80_877_102;
const SSL_CODE: u32 = 80_877_103;
const GSS_CODE: u32 = 80_877_104;

/// Longest secret of a cancel key (protocol 3.2).
const MAX_SECRET: usize = 256;

// === impl Opening ===

impl Opening {
    /// How many bytes the packet has whose length word is `word`.
    ///
    /// # Errors
    /// Lengths no such packet can have.
    pub fn length(word: [u8; 4]) -> Result<usize, BadOpening> {
        let length = u32::from_be_bytes(word) as usize;
        if (8..=MAX_PACKET_LENGTH).contains(&length) { Ok(length) } else { Err(BadOpening::Length) }
    }

    /// Reads one packet: `packet` is all of it without its length word.
    ///
    /// # Errors
    /// Anything PostgreSQL would refuse.
    pub fn parse(packet: &[u8]) -> Result<Self, BadOpening> {
        let Some((code, body)) = packet.split_first_chunk::<4>() else {
            return Err(BadOpening::Length);
        };
        match u32::from_be_bytes(*code) {
            SSL_CODE => Ok(Self::SslRequest),
            GSS_CODE => Ok(Self::GssRequest),
            CANCEL_CODE => match body.split_first_chunk::<4>() {
                Some((pid, secret)) if (1..=MAX_SECRET).contains(&secret.len()) => {
                    Ok(Self::Cancel(CancelKey {
                        pid: u32::from_be_bytes(*pid),
                        secret: secret.into(),
                    }))
                }
                _ => Err(BadOpening::CancelLength),
            },
            code => {
                // Both halves fit by construction.
                let version = Version { major: (code >> 16) as u16, minor: code as u16 };
                Startup::parse(version, body).map(Self::Startup)
            }
        }
    }
}

// === impl Startup ===

impl Startup {
    fn parse(version: Version, body: &[u8]) -> Result<Self, BadOpening> {
        if version.major != 3 {
            return Err(BadOpening::Version(version));
        }
        let mut texts = Vec::new();
        let mut rest = body;
        loop {
            let end = memchr::memchr(0, rest).ok_or(BadOpening::Layout)?;
            let (text, after) = rest.split_at(end);
            rest = &after[1..];
            // An empty name ends the list; it must also end the packet.
            if text.is_empty() && texts.len() % 2 == 0 {
                break;
            }
            texts.push(std::str::from_utf8(text).map_err(|_| BadOpening::Encoding)?);
        }
        if !rest.is_empty() {
            return Err(BadOpening::Layout);
        }

        let (mut user, mut database) = (None, None);
        let mut parameters: Vec<(String, String)> = Vec::new();
        let mut protocol_options = Vec::new();
        for pair in texts.chunks_exact(2) {
            let (name, value) = (pair[0], pair[1]);
            match name {
                "user" => user = Some(value.to_owned()),
                "database" => database = Some(value.to_owned()),
                _ if name.starts_with("_pq_.") => protocol_options.push(name.to_owned()),
                // PostgreSQL takes the last of several; so that a rule looking at one of them can never
                // be deceived by another, we take none.
                _ if parameters.iter().any(|(known, _)| known == name) => {
                    return Err(BadOpening::Twice(name.to_owned()));
                }
                _ => parameters.push((name.to_owned(), value.to_owned())),
            }
        }
        let user = user.filter(|user| !user.is_empty()).map(cut).ok_or(BadOpening::NoUser)?;
        let database = database.filter(|name| !name.is_empty()).map_or_else(|| user.clone(), cut);
        Ok(Self { version, user, database, parameters, protocol_options })
    }

    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the client asks for physical replication, which belongs to no database: `replication` says yes,
    /// and does not say `database` (PostgreSQL's `am_walsender && !am_db_walsender`).
    #[must_use]
    pub fn is_physical_replication(&self) -> bool {
        self.is_replication() && self.parameter("replication") != Some("database")
    }

    /// Whether the client asks for a replication connection (walsender): any value of `replication`
    /// that is not one of PostgreSQL's spellings of false.
    #[must_use]
    pub fn is_replication(&self) -> bool {
        self.parameter("replication").is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            !matches!(value.as_str(), "" | "0" | "f" | "n")
                && !["false", "no", "off"]
                    .iter()
                    .any(|no| value.len() > 1 && no.starts_with(&value))
        })
    }
}

// === impl CancelKey ===

impl PartialEq for CancelKey {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid && self.secret.ct_eq(&other.secret).into()
    }
}

impl Eq for CancelKey {}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

// === helpers ===

/// Cuts a name to the length PostgreSQL cuts it to, never inside a character (as `CREATE ROLE` and `CREATE
/// DATABASE` cut it). What is cut here is what the rules, the pools, the log and the nodes see.
fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    name
}
