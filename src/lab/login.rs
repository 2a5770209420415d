//! The roles the lab makes, as somebody logs in.

/// The role somebody logs in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// `app`, owner of database `app`.
    App,
    /// `understudy`, with the proxy's own grants, in database `postgres`.
    Understudy,
    /// `replicator`, in database `postgres`.
    Replicator,
    /// `postgres`, over the unix socket.
    Superuser,
}

// === impl Login ===

impl Login {
    /// The role's name.
    #[must_use]
    pub fn user(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Understudy => "understudy",
            Self::Replicator => "replicator",
            Self::Superuser => "postgres",
        }
    }

    /// The database it connects to.
    #[must_use]
    pub fn database(self) -> &'static str {
        match self {
            Self::App => "app",
            _ => "postgres",
        }
    }
}
