//! The passwords of a lab's roles: random, and kept in files that only we may read.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    conf::Secret,
    lab::{LabError, owner},
};

/// One password for each role that has one.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Of role `app`.
    pub app: Secret,
    /// Of role `understudy`.
    pub understudy: Secret,
    /// Of role `replicator`.
    pub replicator: Secret,
}

// === impl Secrets ===

impl Secrets {
    /// New ones, 144 random bits each, in letters that need no quoting in a URI.
    pub(crate) fn random() -> Result<Self, LabError> {
        Ok(Self { app: password()?, understudy: password()?, replicator: password()? })
    }

    /// Reads what [`Secrets::save`] wrote.
    pub(crate) fn load(dir: &Path) -> Result<Self, LabError> {
        let read = |name: &str| {
            let file = dir.join(name);
            let text = fs::read_to_string(&file).map_err(LabError::io("read", &file))?;
            Ok(Secret::new(text.trim_end().to_owned()))
        };
        Ok(Self {
            app: read("app")?,
            understudy: read("understudy")?,
            replicator: read("replicator")?,
        })
    }

    /// Writes one file per role into a new directory.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), LabError> {
        fs::create_dir_all(dir).map_err(LabError::io("create", dir))?;
        owner::set_mode(dir, 0o700)?;
        for (name, secret) in
            [("app", &self.app), ("understudy", &self.understudy), ("replicator", &self.replicator)]
        {
            owner::write_private(&dir.join(name), &format!("{}\n", secret.reveal()))?;
        }
        Ok(())
    }
}

fn password() -> Result<Secret, LabError> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes)
        .map_err(|e| LabError::Refused(format!("the system gives no random numbers: {e}")))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_secrets_come_back_and_are_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::random().unwrap();
        secrets.save(dir.path()).unwrap();
        let loaded = Secrets::load(dir.path()).unwrap();
        assert_eq!(loaded.app, secrets.app);
        assert_ne!(loaded.app, loaded.understudy);
        assert!(!format!("{secrets:?}").contains(secrets.app.reveal()));
    }
}
