//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, both sides, without I/O.
//!
//! ```text
//!   client                                   server
//!     client-first   n,,n=,r=<c>        ──►
//!                                       ◄──  server-first   r=<c><s>,s=<salt>,i=<iterations>
//!     client-final   c=biws,r=<c><s>,p= ──►
//!                                       ◄──  server-final   v=<signature>
//! ```
//!
//! * `keys`: what a password becomes, and what a proof gives back.
//! * `verifier`: what `pg_authid` stores.
//! * `mock`: the exchange for a user who has no verifier.
//! * `server`: our part towards clients. `client`: our part towards nodes.
//! * `attributes`: the `x=value,` syntax both sides read. `nonce`, `binding`: their parts of a message.

pub mod binding;
pub mod client;
pub mod keys;
pub mod mock;
pub mod nonce;
pub mod server;
pub mod verifier;

mod attributes;

pub use binding::ChannelBinding;
pub use client::{ClientExchange, NodeScramError};
pub use keys::{Key, ScramKeys};
pub use mock::MockSalts;
pub use nonce::Nonce;
pub use server::{ScramFailure, ServerExchange, Violation};
pub use verifier::ScramVerifier;

/// The mechanism without channel binding (RFC 7677).
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The mechanism with channel binding (RFC 7677).
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The longest SASL message either side accepts: PostgreSQL's `PG_MAX_SASL_MESSAGE_LENGTH`. It bounds every
/// field at once (nonce, salt, error text, extensions).
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// The iterations a verifier has unless somebody chose otherwise: PostgreSQL's
/// `SCRAM_SHA_256_DEFAULT_ITERATIONS`, the lower bound in RFC 7677.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// The most iterations we run for a node. The number comes from the node, so without a bound a hostile one
/// could keep a worker thread busy for minutes; 100 000 is what PostgreSQL's JDBC driver and tokio-postgres
/// allow, about a tenth of a second.
pub const MAX_ITERATIONS: u32 = 100_000;
