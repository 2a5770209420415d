//! Server connections: one set of pools per worker thread, no locks.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`pools`] | idle connections by (database, user, startup parameters, node) |
//! | [`checkout`] | how a session gets one: waiting for a primary, with a deadline |
//! | [`budget`] | how many a node may have, over all workers |
//! | [`server`] | a logged-in server connection and what it remembers |
//! | [`login`] | how it got logged in |
//! | [`reset`] | what makes it clean again |
//! | [`cancel`] | cancel requests that can never reach its next owner |

pub mod budget;
pub mod cancel;
pub mod checkout;
pub mod login;
pub mod pools;
pub mod reset;
pub mod server;
