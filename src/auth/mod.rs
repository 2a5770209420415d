//! Authentication, on both legs: clients prove who they are to us, and we prove who they are to nodes.
//!
//! Logins are sans-I/O: bytes in, bytes out, no socket, no clock, no task. A login towards a client and a login
//! towards a node are values that a session drives. Only `lookup` talks to nodes, and `users` reads its file.
//!
//! ```text
//!   users file ─┐                                   ┌─► ClientLogin ──► Credentials ──► NodeLogin ──► node
//!               ├─► StoredSecret (what we know) ────┘        ▲
//!   auth_query ─┘                                            └── the client's 'p' messages
//! ```
//!
//! Deliberately absent: who may log in where (rules), how often one may try (throttling), and TLS. TLS shows
//! up only as [`scram::ChannelBinding`], the data that it gives to SCRAM.

pub mod as_client;
pub mod as_server;
pub mod credentials;
pub mod lookup;
pub mod md5;
pub mod password;
pub mod refusal;
pub mod scram;
pub mod stored;
pub mod users;

mod wire;

pub use as_client::{NodeLogin, NodeLoginError, Reply};
pub use as_server::{ClientLogin, Step};
pub use credentials::Credentials;
pub use lookup::{LookupError, UserLookup};
pub use refusal::{Reason, Refusal};
pub use scram::{ChannelBinding, MockSalts};
pub use stored::StoredSecret;
pub use users::UserFile;
