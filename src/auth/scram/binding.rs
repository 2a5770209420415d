//! What TLS contributes to SCRAM.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Channel binding on one connection (RFC 5802 section 6; PostgreSQL knows `tls-server-end-point` alone).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// The connection has no TLS: SCRAM-SHA-256-PLUS is neither offered nor chosen.
    #[default]
    Absent,
    /// The hash of the server's certificate (RFC 5929 section 4).
    TlsServerEndPoint(Vec<u8>),
}

/// The `gs2-cbind-flag` of one exchange (RFC 5802 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `n`: the client cannot bind.
    NotSupported,
    /// `y`: the client could, but believes that the server cannot.
    NotOffered,
    /// `p=tls-server-end-point`: both do.
    Bound,
}

// === impl ChannelBinding ===

impl ChannelBinding {
    /// The data to bind, if there is any.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => None,
            Self::TlsServerEndPoint(hash) => Some(hash),
        }
    }
}

// === impl Flag ===

impl Flag {
    /// The `gs2-header` without an authzid, which PostgreSQL does not know.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::NotSupported => "n,,",
            Self::NotOffered => "y,,",
            Self::Bound => "p=tls-server-end-point,,",
        }
    }

    /// The value of `c=` in client-final: base64 of the header, and of the data where it is bound.
    #[must_use]
    pub fn attribute(self, binding: &ChannelBinding) -> String {
        let mut input = self.header().as_bytes().to_vec();
        if self == Self::Bound {
            input.extend_from_slice(binding.data().unwrap_or_default());
        }
        STANDARD.encode(input)
    }
}
