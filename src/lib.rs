//! understudy: a PostgreSQL proxy that keeps applications connected when a database node dies.

pub mod conf;
pub mod lab;
