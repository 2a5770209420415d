//! The command line: what may be typed, and the commands that do not serve.

mod arguments;
mod check;
mod exit;
mod replay;

pub use arguments::{Arguments, CheckArguments, Command, ConfigurationArguments};
pub use check::check;
pub use exit::{Exit, fail, refuse};
pub use replay::{ReplayArguments, replay};
