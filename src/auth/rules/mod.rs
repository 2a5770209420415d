//! Who may come in from where, and how: rules in the style of `pg_hba.conf` (PostgreSQL's manual, "The
//! pg_hba.conf File"; where that is silent, its `hba.c`).
//!
//! The first rule that matches connection type, address, database and user decides; whom none matches is
//! refused. Pure: a [`Rules`] is read once, and [`Rules::admit`] is a function of what a client asks for.
//!
//! Different from PostgreSQL, and reported as a mistake where it is written:
//! * names of hosts, `samehost` and `samenet` in the address column: nothing is resolved, and addresses of
//!   this machine may move while the rules stay;
//! * groups (`+role`, `samerole`, `samegroup`): only the nodes know who is a member;
//! * regular expressions (PostgreSQL 16) and included files;
//! * options, `hostgssenc`, `hostnogssenc`, and methods that need another service;
//! * `password` anywhere but in `hostssl` rules: the password would cross the network readable.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::{
    auth::refusal::{Reason, Refusal},
    conf::settings::AuthMethod,
};

mod read;
mod token;

/// All rules, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    line: usize,
    connection: Connection,
    databases: Vec<Database>,
    users: Vec<User>,
    method: Method,
}

/// What a client asks for, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// Where the client is.
    pub origin: Origin,
    /// Whether what it says is encrypted.
    pub encryption: Encryption<'a>,
    /// The role it wants to be, as the nodes see the name.
    pub user: &'a str,
    /// The database it wants, as the nodes see the name.
    pub database: &'a str,
    /// It asks for physical replication, to which only the keyword `replication` speaks.
    pub physical_replication: bool,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It came by the unix socket.
    Local,
    /// It came by TCP from this address.
    Address(IpAddr),
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption<'a> {
    /// It is not.
    None,
    /// By TLS.
    Tls {
        /// The common name in the client's certificate, where it has shown one that was verified.
        certificate_name: Option<&'a str>,
    },
}

/// What a rule demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Nobody comes in.
    Reject,
    /// A verified client certificate whose common name is the user.
    Certificate,
    /// What the client is asked for.
    Ask(AuthMethod),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Local,
    Host { from: Addresses, encrypted: Option<bool> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    All,
    Network(IpNet),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Database {
    All,
    SameUser,
    Replication,
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum User {
    All,
    Named(String),
}

// === impl Rules ===

impl Rules {
    /// The rules of a configuration without a file of them: one method for everybody.
    #[must_use]
    pub fn for_everybody(method: AuthMethod) -> Self {
        let rule = |connection| Rule {
            line: 0,
            connection,
            databases: vec![Database::All, Database::Replication],
            users: vec![User::All],
            method: Method::Ask(method),
        };
        let anywhere = Connection::Host { from: Addresses::All, encrypted: None };
        Self(vec![rule(Connection::Local), rule(anywhere)])
    }

    /// The first rule that matches.
    #[must_use]
    pub fn decide(&self, attempt: &Attempt<'_>) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(attempt))
    }

    /// What a client is to be asked for; `trust` where nothing is left to ask, because the rule says so or
    /// because the certificate has proved it.
    ///
    /// # Errors
    /// The client is not let in, in PostgreSQL's words.
    pub fn admit(&self, attempt: &Attempt<'_>) -> Result<AuthMethod, Refusal> {
        let Some(rule) = self.decide(attempt) else {
            return Err(attempt.refused(NO_RULE, Reason::NoRule));
        };
        let line = rule.line;
        match rule.method {
            Method::Ask(method) => Ok(method),
            Method::Reject => Err(attempt.refused(REJECTED, Reason::Rejected { line })),
            Method::Certificate => match attempt.encryption {
                Encryption::Tls { certificate_name: Some(name) } if name == attempt.user => {
                    Ok(AuthMethod::Trust)
                }
                Encryption::Tls { certificate_name: Some(_) } => Err(Refusal::unauthorized(
                    format!("certificate authentication failed for user \"{}\"", attempt.user),
                    Reason::OtherCertificate { line },
                )),
                Encryption::Tls { certificate_name: None } | Encryption::None => {
                    Err(Refusal::unauthorized(
                        "connection requires a valid client certificate",
                        Reason::NoCertificate { line },
                    ))
                }
            },
        }
    }

    /// Whether some rule lets somebody in for whom no secret is stored.
    #[must_use]
    pub fn let_in_without_secret(&self) -> bool {
        self.0
            .iter()
            .any(|rule| matches!(rule.method, Method::Certificate | Method::Ask(AuthMethod::Trust)))
    }

    /// The line of the first rule that speaks of encrypted connections alone.
    #[must_use]
    pub fn wants_tls(&self) -> Option<usize> {
        let tls = |rule: &&Rule| {
            matches!(rule.connection, Connection::Host { encrypted: Some(true), .. })
        };
        self.0.iter().find(tls).map(|rule| rule.line)
    }

    /// The line of the first rule that asks for a certificate.
    #[must_use]
    pub fn wants_certificate(&self) -> Option<usize> {
        self.0.iter().find(|rule| rule.method == Method::Certificate).map(|rule| rule.line)
    }

    /// The line of the first rule that trusts addresses beyond this machine.
    #[must_use]
    pub fn trusts_strangers(&self) -> Option<usize> {
        let strange = |rule: &&Rule| {
            rule.method == Method::Ask(AuthMethod::Trust)
                && match rule.connection {
                    Connection::Local => false,
                    Connection::Host { from: Addresses::All, .. } => true,
                    Connection::Host { from: Addresses::Network(network), .. } => {
                        !network.network().is_loopback() || !network.broadcast().is_loopback()
                    }
                }
        };
        self.0.iter().find(strange).map(|rule| rule.line)
    }
}

// === impl Rule ===

impl Rule {
    /// The line it begins in.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// What it demands.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    fn matches(&self, attempt: &Attempt<'_>) -> bool {
        self.connection.matches(attempt)
            && self.databases.iter().any(|database| database.matches(attempt))
            && self.users.iter().any(|user| match user {
                User::All => true,
                User::Named(name) => name == attempt.user,
            })
    }
}

// === impl Connection ===

impl Connection {
    fn matches(&self, attempt: &Attempt<'_>) -> bool {
        match (self, attempt.origin) {
            (Self::Local, Origin::Local) => true,
            (Self::Host { from, encrypted }, Origin::Address(address)) => {
                let is_encrypted = attempt.encryption != Encryption::None;
                encrypted.is_none_or(|wanted| wanted == is_encrypted)
                    && match from {
                        Addresses::All => true,
                        Addresses::Network(network) => network.contains(&address),
                    }
            }
            _ => false,
        }
    }
}

// === impl Database ===

impl Database {
    /// PostgreSQL's `check_db`.
    fn matches(&self, attempt: &Attempt<'_>) -> bool {
        match self {
            Self::Replication => attempt.physical_replication,
            _ if attempt.physical_replication => false,
            Self::All => true,
            Self::SameUser => attempt.database == attempt.user,
            Self::Named(name) => name == attempt.database,
        }
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    /// PostgreSQL's words for who is refused (`ClientAuthentication` in its `auth.c`), which begin in one way for
    /// connections to databases and in another for physical replication.
    fn refused(&self, [to_database, to_replicate]: [&str; 2], reason: Reason) -> Refusal {
        let Self { origin, encryption, user, database, .. } = self;
        Refusal::unauthorized(
            if self.physical_replication {
                format!("{to_replicate} host \"{origin}\", user \"{user}\", {encryption}")
            } else {
                format!(
                    "{to_database} host \"{origin}\", user \"{user}\", database \"{database}\", {encryption}"
                )
            },
            reason,
        )
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("[local]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

// === impl Encryption ===

impl fmt::Display for Encryption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no encryption",
            Self::Tls { .. } => "SSL encryption",
        })
    }
}

// === constants ===

const NO_RULE: [&str; 2] =
    ["no pg_hba.conf entry for", "no pg_hba.conf entry for replication connection from"];
const REJECTED: [&str; 2] =
    ["pg_hba.conf rejects connection for", "pg_hba.conf rejects replication connection for"];
