//! understudy: a PostgreSQL proxy that keeps applications connected when a database node dies.

pub mod auth;
pub mod cli;
pub mod conf;
