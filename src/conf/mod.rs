//! Configuration: defaults < file < environment < flags.
//!
//! ```text
//! understudy.toml (built in) ┐
//! the user's file     source │  layers with          raw       convert
//! UNDERSTUDY__…     override ├─ the place of ──────► Raw ─────► Settings
//! flags             override ┘  every value    what was written   what is meant
//! ```
//! Mistakes are collected on the whole way and reported together.

pub mod certificates;
mod convert;
mod kinds;
mod load;
mod mistake;
mod overrides;
mod raw;
mod schema;
pub mod secret;
pub mod settings;
mod show;
mod source;
mod tls;
mod written;

pub use load::{Flag, Loaded, SAMPLE, Sources, load};
pub use mistake::{Mistake, Mistakes};
pub use secret::Secret;
pub use settings::Settings;
pub use show::Effective;
