//! The little that actors and sessions share.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`local`] | this thread's current topology |
//! | [`directory`] | cancel key to session: the one map that threads share |
//! | [`throttle`] | how often logins have failed, whichever thread they failed on |

pub mod directory;
pub mod local;
pub mod throttle;
