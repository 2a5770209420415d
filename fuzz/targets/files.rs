//! The files an operator writes: users and access rules. Every mistake is reported with its line.

use std::path::Path;

use understudy::auth::{Rules, UserFile};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(mistakes) = UserFile::parse(text, Path::new("users")) {
        assert!(!mistakes.is_empty());
    }
    if let Err(mistakes) = Rules::parse(text, Path::new("rules")) {
        assert!(!mistakes.is_empty());
    }
}
