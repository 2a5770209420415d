//! The kinds of values that may be written, and what each of them accepts.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use slog::Level;

use crate::conf::{
    secret::Secret,
    settings::{AuthMethod, ClientTlsMode, LogFormat, PoolMode, TlsMode},
    written::{Kind, Written, Wrong, quoted},
};

/// A whole number between two others.
pub(super) struct Whole<const MIN: u32, const MAX: u32>(pub(super) u32);
/// A share of the reads.
pub(super) struct Weight(pub(super) f64);
/// A duration that is not zero.
pub(super) struct Wait(pub(super) Duration);
/// A duration, which may be zero.
pub(super) struct WaitOrNone(pub(super) Duration);
/// A duration; zero means that there is no limit.
pub(super) struct Limit(pub(super) Option<Duration>);
/// A text that is not empty.
pub(super) struct Name(pub(super) String);
/// A text, or none where it is empty.
pub(super) struct Text(pub(super) Option<String>);
/// A secret, or none where it is empty.
pub(super) struct Hidden(pub(super) Option<Secret>);
/// A path, or none where it is empty.
pub(super) struct FilePath(pub(super) Option<PathBuf>);
/// Permission bits.
pub(super) struct Permissions(pub(super) u32);
/// A number of threads; none for as many as there are cores.
pub(super) struct Threads(pub(super) Option<usize>);
/// Where to listen; "*" stands for two addresses.
pub(super) struct Addresses(pub(super) Vec<SocketAddr>);
/// Where a node is.
pub(super) struct Host(pub(super) String);

// === impl Kind ===

impl<const MIN: u32, const MAX: u32> Kind for Whole<MIN, MAX> {
    fn read(written: Written) -> Result<Self, Wrong> {
        match written {
            Written::Whole(number) if (MIN.into()..=MAX.into()).contains(&number) => {
                Ok(Self(u32::try_from(number).expect("between two numbers of this size")))
            }
            other => other.wrong(&format!("a whole number from {MIN} to {MAX}")),
        }
    }
}

impl Kind for Weight {
    fn read(written: Written) -> Result<Self, Wrong> {
        let weight = match &written {
            Written::Fraction(number) => *number,
            // Exact: no weight that is allowed is large.
            Written::Whole(number) => *number as f64,
            _ => f64::NAN,
        };
        if (0.0..=HEAVIEST).contains(&weight) {
            Ok(Self(weight))
        } else {
            written.wrong(&format!("a number from 0 to {HEAVIEST}"))
        }
    }
}

impl Kind for Wait {
    fn read(written: Written) -> Result<Self, Wrong> {
        written
            .duration(SHORTEST, "a duration from \"1ms\" to \"365days\", such as \"30s\"")
            .map(Self)
    }
}

impl Kind for WaitOrNone {
    fn read(written: Written) -> Result<Self, Wrong> {
        let allowed = "a duration from \"0s\" to \"365days\", such as \"30s\"";
        written.duration(Duration::ZERO, allowed).map(Self)
    }
}

impl Kind for Limit {
    fn read(written: Written) -> Result<Self, Wrong> {
        let allowed = "a duration up to \"365days\", such as \"10min\", or \"0s\" for no limit";
        let limit = written.duration(Duration::ZERO, allowed)?;
        Ok(Self(if limit.is_zero() { None } else { Some(limit) }))
    }
}

impl Kind for Name {
    fn read(written: Written) -> Result<Self, Wrong> {
        match written {
            Written::Text(text) if is_clean(&text) && !text.is_empty() => Ok(Self(text)),
            other => other.wrong("a text that is not empty, without NUL"),
        }
    }
}

impl Kind for Text {
    fn read(written: Written) -> Result<Self, Wrong> {
        match written {
            Written::Text(text) if text.is_empty() => Ok(Self(None)),
            Written::Text(text) if is_clean(&text) => Ok(Self(Some(text))),
            other => other.wrong("a text without NUL, or \"\" for none"),
        }
    }
}

impl Kind for Hidden {
    fn read(written: Written) -> Result<Self, Wrong> {
        match written {
            Written::Text(text) if text.is_empty() => Ok(Self(None)),
            Written::Text(text) if is_clean(&text) => Ok(Self(Some(Secret::new(text)))),
            other => other.wrong_kind("a text in quotes, without NUL, or \"\" for none"),
        }
    }
}

impl Kind for FilePath {
    fn read(written: Written) -> Result<Self, Wrong> {
        Text::read(written).map(|Text(path)| Self(path.map(PathBuf::from)))
    }
}

impl Kind for Permissions {
    fn read(written: Written) -> Result<Self, Wrong> {
        let bits = match &written {
            Written::Text(text) if text.len() <= 4 && !text.starts_with('+') => {
                u32::from_str_radix(text, 8).ok()
            }
            _ => None,
        };
        match bits {
            Some(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => written.wrong("permission bits in quotes from \"0000\" to \"0777\""),
        }
    }
}

impl Kind for Threads {
    fn read(written: Written) -> Result<Self, Wrong> {
        let number = match &written {
            Written::Text(text) if text == "auto" => return Ok(Self(None)),
            // So writes an environment variable, where everything is a text.
            Written::Text(text) => text.parse().ok(),
            Written::Whole(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        match number {
            Some(number) if (1..=MOST_THREADS).contains(&number) => Ok(Self(Some(number))),
            _ => written.wrong(&format!("\"auto\" or a whole number from 1 to {MOST_THREADS}")),
        }
    }
}

impl Kind for Addresses {
    fn read(written: Written) -> Result<Self, Wrong> {
        let allowed = "\"address:port\" with an IP address or \"*\", such as \"127.0.0.1:6432\", \
                       \"[::1]:6432\" or \"*:6432\"";
        let Written::Text(text) = &written else { return written.wrong(allowed) };
        if let Some(port) = text.strip_prefix("*:").and_then(|port| port.parse().ok()) {
            let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            return Ok(Self(any.map(|address| SocketAddr::new(address, port)).to_vec()));
        }
        match text.parse() {
            Ok(address) => Ok(Self(vec![address])),
            Err(_) => written.wrong(allowed),
        }
    }
}

impl Kind for Host {
    fn read(written: Written) -> Result<Self, Wrong> {
        let allowed = "a host name, an IP address, or the directory of a unix socket";
        let Written::Text(text) = &written else { return written.wrong(allowed) };
        if text.contains("://") || text.contains('@') {
            // It may well have a password in it.
            return Err(Wrong::new("a connection string", allowed));
        }
        if text.starts_with('/') {
            return match text.len() + SOCKET_NAME.len() {
                length if length > LONGEST_SOCKET => written.wrong(&format!(
                    "the directory of a unix socket, at most {} bytes long",
                    LONGEST_SOCKET - SOCKET_NAME.len()
                )),
                _ if !is_clean(text) => written.wrong(allowed),
                _ => Ok(Self(text.clone())),
            };
        }
        let is_name =
            !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-._".contains(c));
        if is_name || text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.clone()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() && !host.is_empty() => {
                Err(Wrong::new(
                    &quoted(text),
                    &format!("the host alone: host = {host:?}, port = {port}"),
                ))
            }
            _ => written.wrong(allowed),
        }
    }
}

macro_rules! words {
    ($($kind:ty: $($word:literal => $value:expr),+;)+) => {
        $(impl Kind for $kind {
            fn read(written: Written) -> Result<Self, Wrong> {
                written.word(&[$(($word, $value)),+])
            }
        })+
    };
}

words! {
    AuthMethod: "scram-sha-256" => Self::ScramSha256, "md5" => Self::Md5, "trust" => Self::Trust;
    ClientTlsMode: "disable" => Self::Disable, "allow" => Self::Allow, "prefer" => Self::Prefer,
        "require" => Self::Require, "verify-ca" => Self::VerifyCa, "verify-full" => Self::VerifyFull;
    TlsMode: "disable" => Self::Disable, "prefer" => Self::Prefer, "require" => Self::Require,
        "verify-ca" => Self::VerifyCa, "verify-full" => Self::VerifyFull;
    PoolMode: "session" => Self::Session;
    LogFormat: "auto" => Self::Auto, "terminal" => Self::Terminal, "json" => Self::Json;
    Level: "error" => Self::Error, "warning" => Self::Warning, "info" => Self::Info,
        "debug" => Self::Debug, "trace" => Self::Trace;
}

// === helpers ===

/// Texts go into messages of PostgreSQL's protocol and to the system, where NUL ends them.
fn is_clean(text: &str) -> bool {
    !text.contains('\0')
}

// === constants ===

const SHORTEST: Duration = Duration::from_millis(1);
const HEAVIEST: f64 = 1_000_000.0;
const MOST_THREADS: usize = 1024;

/// What a system allows as path of a unix socket (Linux: 108 bytes with the NUL).
pub(super) const LONGEST_SOCKET: usize = 107;
/// What is added to the directory of a unix socket.
pub(super) const SOCKET_NAME: &str = "/.s.PGSQL.65535";
