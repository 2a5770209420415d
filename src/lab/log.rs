//! Showing a log file, the end of it, and what is added to it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::lab::LabError;

/// Copies a growing file to stdout, piece by piece.
pub(crate) struct Follower {
    path: PathBuf,
    at: u64,
}

// === impl Follower ===

impl Follower {
    /// Begins at a position in the file, which need not exist yet.
    pub(crate) fn new(path: &Path, at: u64) -> Self {
        Self { path: path.to_owned(), at }
    }

    /// Copies what is new. An error means that nobody reads stdout.
    pub(crate) fn copy(&mut self) -> io::Result<()> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        let length = file.metadata()?.len();
        if length < self.at {
            // Somebody truncated it.
            self.at = 0;
        }
        if length == self.at {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut out = io::stdout().lock();
        self.at += io::copy(&mut file.take(length - self.at), &mut out)?;
        out.flush()
    }
}

/// Opens a log for a process that is about to start: where its words will begin, and the file for its
/// standard output and its standard error.
pub(crate) fn append(path: &Path) -> Result<(u64, File, File), LabError> {
    let start = fs::metadata(path).map_or(0, |m| m.len());
    let open = File::options().create(true).append(true).open(path);
    let file = open.map_err(LabError::io("open", path))?;
    let again = file.try_clone().map_err(LabError::io("open", path))?;
    Ok((start, file, again))
}

/// The last lines of what was written after `from`.
pub(crate) fn tail(path: &Path, from: u64, lines: usize) -> String {
    let mut written = Vec::new();
    // A log that cannot be read has no end to show; its path is shown beside it.
    let _ = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut written)
    });
    last_lines(&String::from_utf8_lossy(&written), lines)
}

/// The last lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_end() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "before\none\ntwo\n").unwrap();
        assert_eq!(tail(file.path(), 7, 5), "one\ntwo");
        assert_eq!(tail(Path::new("/nonexistent"), 7, 5), "");
    }
}
