//! The little that actors and sessions share.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`local`] | this thread's current topology |
//! | [`census`] | how many clients there are, over all threads |
//! | [`directory`] | cancel key to session, over all threads |
//! | [`throttle`] | how often logins have failed, over all threads |

pub mod census;
pub mod directory;
pub mod local;
pub mod throttle;
