//! Authentication, on both legs: clients prove who they are to us, and we prove who they are to nodes.
//!
//! Logins are sans-I/O: bytes in, bytes out, no socket, no clock, no task. A login towards a client and a login
//! towards a node are values that a session drives. Only `lookup` talks to nodes, and `files` reads files.
//!
//! ```text
//!   hba file ──► Rules ──────────── how this client is to be asked ─┐
//!   users file ─┐                                   ┌─► ClientLogin ──► Credentials ──► NodeLogin ──► node
//!               ├─► StoredSecret (what we know) ────┘        ▲
//!   auth_query ─┘                                            └── the client's 'p' messages
//! ```
//!
//! [`rules`] say who may come in from where and how, [`throttle`] how often one may try. Deliberately absent: TLS.
//! It shows up only as [`scram::ChannelBinding`], the data that it gives to SCRAM, and as
//! [`rules::Encryption`].
//!
//! # What strangers cannot learn
//!
//! * Whether a user exists: who is unknown sees the messages and costs the hashing of one with a SCRAM secret or a
//!   clear password and fails at the end (`scram::mock`; keys of clear passwords are derived at the start).
//!   With the method `md5`, as in PostgreSQL, only users whose secret is a SCRAM one are like the unknown. Where
//!   both a users file and a query say who there is, users of the file are answered sooner: no node is asked.
//! * Secrets by time: every comparison with one is a constant-time one ([`md5::Md5Hash::is`],
//!   [`md5::Md5Answer::is`], [`scram::Key::is`], cancel keys in `shared/directory.rs`).

pub mod as_client;
pub mod as_server;
pub mod credentials;
pub mod files;
pub mod lookup;
pub mod md5;
pub mod password;
pub mod refusal;
pub mod rules;
pub mod scram;
pub mod stored;
pub mod throttle;
pub mod users;

mod candidate;

pub use as_client::{NodeLogin, NodeLoginError, Reply};
pub use as_server::{ClientLogin, Step};
pub use credentials::Credentials;
pub use files::AuthFiles;
pub use lookup::{LookupError, UserLookup};
pub use refusal::{Reason, Refusal};
pub use rules::Rules;
pub use scram::{ChannelBinding, MockSalts};
pub use stored::StoredSecret;
pub use users::UserFile;
