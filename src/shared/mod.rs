//! The little that actors and sessions share.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`greetings`] | what servers reported lately, over all threads |
//! | [`identity`] | what makes two server connections interchangeable |
//! | [`parameters`] | the settings a server reports |
//! | [`local`] | this thread's current topology |
//! | [`census`] | how many clients there are, over all threads |
//! | [`directory`] | cancel key to session, over all threads |
//! | [`throttle`] | how often logins have failed, over all threads |

pub mod census;
pub mod directory;
pub mod greetings;
pub mod identity;
pub mod local;
pub mod parameters;
pub mod throttle;
