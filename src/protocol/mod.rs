//! PostgreSQL's frontend/backend protocol: bytes to meaning and back. Knows no sockets.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`tag`] | the first byte of every message, both directions |
//! | [`scan`] | walks message headers over a read buffer without copying |
//! | [`startup`] | what comes before the first tagged message: startup, SSL, GSS and cancel requests |
//! | [`backend`] | borrowed views of the server messages a proxy must read |
//! | [`write`] | the few messages we author ourselves |
//! | [`sqlstate`] | the error codes we emit, and when |
//!
//! Rules are those of the PostgreSQL manual, chapter "Frontend/Backend Protocol", and where that is
//! silent of PostgreSQL's `backend_startup.c`, `postgres.c` and `pqcomm.c`.

pub mod backend;
pub mod scan;
pub mod sqlstate;
pub mod startup;
pub mod tag;
pub mod write;

#[cfg(test)]
mod tests;
