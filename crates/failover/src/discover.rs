//! Discovery of roles from observations.
