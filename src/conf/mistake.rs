//! What is wrong with a configuration, said so that it can be put right at once.
//!
//! A mistake never holds a secret: what was found is shown for keys whose values may be shown only.

use std::{error::Error, fmt};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was made: `file:line:column`, or the name of the environment variable or the flag.
    pub place: String,
    /// The key, with dots; empty where the mistake is not about a key.
    pub key: String,
    /// What was found.
    pub problem: String,
    /// What is allowed instead, or what to do.
    pub remedy: String,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

// === impl Mistake ===

impl Mistake {
    /// Puts one together.
    pub(super) fn new(
        place: impl Into<String>,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            key: key.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

// === impl Mistakes ===

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "1 mistake in the configuration")?,
            count => writeln!(f, "{count} mistakes in the configuration")?,
        }
        for mistake in &self.0 {
            writeln!(f, "  {mistake}")?;
        }
        Ok(())
    }
}

impl Error for Mistakes {}
