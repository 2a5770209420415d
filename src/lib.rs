//! understudy: a PostgreSQL proxy that keeps applications connected when a database node dies.

pub mod cli;
pub mod conf;
pub mod log;
