//! understudy: a PostgreSQL proxy that keeps applications connected when a database node dies.

pub mod actors;
pub mod auth;
pub mod cli;
pub mod conf;
pub mod lab;
pub mod log;
pub mod net;
pub mod pool;
pub mod probe;
pub mod protocol;
pub mod relay;
pub mod shared;
