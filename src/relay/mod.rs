//! The data path of one session: a future that owns both sockets. No actor is involved while bytes flow.
//!
//! ```text
//!   login ──► serve ──► take a server connection ──► run ──► ending
//!               ▲                                              │
//!               └──────────── the client stays ────────────────┘
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`login`] | from the first byte to "ready for query" |
//! | [`serve`] | the session: waits for the client, takes a server connection, runs, parts |
//! | [`run`] | the loop that passes bytes, with back-pressure both ways |
//! | `candidate` | who wants to log in, how often it may try, and what it is told when it may not |
//! | [`exchange`] | what is owed to whom |
//! | [`client`] | what a session keeps of its client |
//! | [`control`] | how its actor gives it an order |
//! | [`ending`] | why it ended, and what the client is told |

mod candidate;
pub mod client;
pub mod control;
pub mod ending;
pub mod exchange;
pub mod login;
pub mod run;
pub mod serve;

#[cfg(test)]
mod tests;
