//! The little that actors and sessions share.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`local`] | this thread's current topology |
//! | [`directory`] | cancel key to session: the one map that threads share |

pub mod directory;
pub mod local;
