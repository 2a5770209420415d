//! Where PostgreSQL's server programs are on this machine, and running them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::lab::{LabError, log::last_lines};

/// The directory of PostgreSQL's server programs, and their major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    version: String,
    major: u32,
}

// === impl Binaries ===

impl Binaries {
    /// Takes the directory given, or that in `UNDERSTUDY_LAB_PG_BIN`, or searches: what `pg_config`
    /// says, the newest below /usr/lib/postgresql and its like, and PATH.
    ///
    /// # Errors
    /// [`LabError::NoPostgres`] when there is none, [`LabError::NotPostgres`] when the one given is not.
    pub fn find(given: Option<&Path>) -> Result<Self, LabError> {
        let named = env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        match given.map(Path::to_owned).or(named) {
            Some(dir) => Self::at(dir),
            None => Self::search(&candidates()),
        }
    }

    /// The path of a program.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The version: `15.20`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version: 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    fn search(candidates: &[PathBuf]) -> Result<Self, LabError> {
        candidates.iter().find_map(|dir| Self::at(dir.clone()).ok()).ok_or_else(|| {
            let searched: Vec<_> = candidates.iter().map(|c| c.display().to_string()).collect();
            LabError::NoPostgres {
                searched: if searched.is_empty() {
                    "pg_config --bindir, /usr/lib/postgresql/*/bin and PATH".to_owned()
                } else {
                    searched.join(", ")
                },
            }
        })
    }

    fn at(dir: PathBuf) -> Result<Self, LabError> {
        if let Some(missing) = NEEDED.iter().find(|p| !dir.join(p).is_file()) {
            return Err(LabError::NotPostgres { dir, missing });
        }
        let said = output(&dir.join("postgres"), "--version").unwrap_or_default();
        let Some((version, major)) = version(&said) else {
            return Err(LabError::NotPostgres { dir, missing: "postgres that runs" });
        };
        Ok(Self { dir, version, major })
    }
}

/// Runs a command to its end; an error with the end of what it said when it fails.
pub(crate) fn run(command: &mut Command) -> Result<String, LabError> {
    let program = Path::new(command.get_program())
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let output = command.output().map_err(LabError::io("run", Path::new(command.get_program())))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Err(LabError::Program {
        program,
        status: output.status.to_string(),
        output: last_lines(&said, 20),
    })
}

fn candidates() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = DISTRIBUTIONS
        .iter()
        .filter_map(|(root, sub)| fs::read_dir(root).ok().map(|entries| (entries, sub)))
        .flat_map(|(entries, sub)| {
            entries.filter_map(move |e| {
                let path = e.ok()?.path();
                let digits =
                    path.file_name()?.to_str()?.trim_start_matches(|c: char| !c.is_ascii_digit());
                Some((digits.parse().ok()?, path.join(sub)))
            })
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let configured = output(Path::new("pg_config"), "--bindir").map(|o| PathBuf::from(o.trim()));
    // A link in PATH leads to one program; its neighbours are where it points.
    let in_path = env::var_os("PATH").into_iter().flat_map(|path| {
        env::split_paths(&path)
            .filter_map(|dir| {
                Some(fs::canonicalize(dir.join("postgres")).ok()?.parent()?.to_owned())
            })
            .collect::<Vec<_>>()
    });
    let mut all: Vec<PathBuf> = configured.into_iter().collect();
    all.extend(versions.into_iter().map(|(_, p)| p));
    all.extend(in_path);
    all.dedup();
    all
}

fn output(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).current_dir("/").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The version and its major part in `postgres (PostgreSQL) 15.20 (Debian …)` and `… 18beta1` alike.
fn version(said: &str) -> Option<(String, u32)> {
    let number = said.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    let major = number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((number.to_owned(), major))
}

const VARIABLE: &str = "UNDERSTUDY_LAB_PG_BIN";
const NEEDED: [&str; 5] = ["postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_controldata"];
/// Debian; RPM packages of the PostgreSQL project; Alpine (`/usr/libexec/postgresql16`).
const DISTRIBUTIONS: [(&str, &str); 3] =
    [("/usr/lib/postgresql", "bin"), ("/usr", "bin"), ("/usr/libexec", "")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let debian = "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)";
        assert_eq!(version(debian), Some(("15.20".to_owned(), 15)));
        assert_eq!(version("postgres (PostgreSQL) 18beta1"), Some(("18beta1".to_owned(), 18)));
        assert_eq!(version("nothing"), None);
    }

    #[test]
    fn a_machine_without_postgres_gets_the_remedy() {
        let error = Binaries::search(&[PathBuf::from("/nonexistent/bin")]).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/bin"), "{error}");
        assert!(error.contains("apt-get install postgresql"), "{error}");
        assert!(error.contains("--pg-bin"), "{error}");
    }

    #[test]
    fn a_wrong_directory_is_named() {
        let error = Binaries::find(Some(Path::new("/tmp"))).unwrap_err().to_string();
        assert!(error.starts_with("/tmp holds no postgres"), "{error}");
    }
}
