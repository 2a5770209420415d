//! Whom the nodes run as: PostgreSQL refuses to run as root, so root steps down to somebody else.

use std::{
    env, fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::{User, geteuid};

use crate::lab::LabError;

/// The user who owns the nodes' files and runs their processes.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Set when we are root and step down.
    user: Option<User>,
}

// === impl Owner ===

impl Owner {
    /// Ourselves, or for root `postgres`, or else `nobody`.
    ///
    /// # Errors
    /// [`LabError::NoUser`] for root on a machine without both.
    pub fn detect() -> Result<Self, LabError> {
        if !geteuid().is_root() {
            return Ok(Self { user: None });
        }
        let named = |name| User::from_name(name).ok().flatten();
        let user = named("postgres").or_else(|| named("nobody")).ok_or(LabError::NoUser)?;
        Ok(Self { user: Some(user) })
    }

    /// True when the nodes run as somebody other than we.
    #[must_use]
    pub fn steps_down(&self) -> bool {
        self.user.is_some()
    }

    /// A command that will run as this user, in `dir`, untouched by PostgreSQL's environment variables.
    pub(crate) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.current_dir(dir).env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            command.env("HOME", dir).env("USER", &user.name).env("LOGNAME", &user.name);
        }
        command
    }

    /// Makes a directory of this user's that nobody else may enter.
    pub(crate) fn make_dir(&self, dir: &Path) -> Result<(), LabError> {
        fs::create_dir(dir).map_err(LabError::io("create", dir))?;
        set_mode(dir, 0o700)?;
        self.give(dir)
    }

    /// Writes a file of this user's that nobody else may read.
    pub(crate) fn write(&self, file: &Path, text: &str) -> Result<(), LabError> {
        write_private(file, text)?;
        self.give(file)
    }

    /// An error unless this user can enter the directory.
    pub(crate) fn check_reach(&self, dir: &Path) -> Result<(), LabError> {
        let Some(user) = &self.user else { return Ok(()) };
        let reached = self
            .command(Path::new("test"), Path::new("/"))
            .arg("-x")
            .arg(dir)
            .status()
            .is_ok_and(|status| status.success());
        if reached {
            return Ok(());
        }
        Err(LabError::Unreachable { user: user.name.clone(), dir: dir.to_owned() })
    }

    fn give(&self, path: &Path) -> Result<(), LabError> {
        match &self.user {
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .map_err(LabError::io("change the owner of", path)),
            None => Ok(()),
        }
    }
}

/// Writes a file that only we may read. It never exists with other permissions.
pub(crate) fn write_private(file: &Path, text: &str) -> Result<(), LabError> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};

    // The mode applies to a new file only, hence a new file.
    let _ = fs::remove_file(file);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(LabError::io("write", file))
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), LabError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(LabError::io("change the permissions of", path))
}
