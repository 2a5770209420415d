//! The files in which an operator says who may log in: read whole, checked whole, all mistakes at once.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::{
    auth::{rules::Rules, users::UserFile},
    conf::{
        Mistake, Settings,
        settings::{Auth, AuthMethod, ClientTlsMode},
    },
};

/// What the files say. Copies share it.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    /// `auth.users_file`, or no users.
    pub users: Arc<UserFile>,
    /// `auth.hba_file`, or the one rule that `auth.method` makes.
    pub rules: Arc<Rules>,
}

// === impl AuthFiles ===

impl AuthFiles {
    /// Reads the files that are named.
    ///
    /// # Errors
    /// All mistakes in all of them.
    pub fn load(auth: &Auth) -> Result<Self, Vec<Mistake>> {
        let rules = match &auth.hba_file {
            Some(path) => Rules::load(path),
            None => Ok(Rules::for_everybody(auth.method)),
        };
        let users =
            auth.users_file.as_deref().map_or_else(|| Ok(UserFile::default()), UserFile::load);
        match (users, rules) {
            (Ok(users), Ok(rules)) => Ok(Self { users: Arc::new(users), rules: Arc::new(rules) }),
            (users, rules) => {
                let mut mistakes = rules.err().unwrap_or_default();
                mistakes.extend(users.err().unwrap_or_default());
                Err(mistakes)
            }
        }
    }

    /// What the rules allow but probably do not mean, as sentences. Of `auth.method` alone the configuration
    /// itself says as much.
    #[must_use]
    pub fn doubts(&self, settings: &Settings) -> Vec<String> {
        let Settings { auth, client_tls, .. } = settings;
        let mut doubts = Vec::new();
        if auth.hba_file.is_none() {
            return doubts;
        }
        let no_secrets = self.users.is_empty() && auth.query.is_none();
        if no_secrets && !self.rules.let_in_without_secret() {
            doubts.push(
                "nobody can log in: every rule of auth.hba_file that lets somebody in asks for a secret, and \
                 neither auth.users_file nor auth.query has one"
                    .to_owned(),
            );
        }
        if let Some(line) = self.rules.wants_tls()
            && client_tls.mode == ClientTlsMode::Disable
        {
            doubts.push(format!(
                "line {line} of auth.hba_file never matches: it is about encrypted connections, and \
                 client_tls.mode is \"disable\""
            ));
        } else if let Some(line) = self.rules.wants_certificate()
            && client_tls.ca_file.is_none()
        {
            doubts.push(format!(
                "line {line} of auth.hba_file refuses everybody: it asks for a certificate, and without \
                 client_tls.ca_file none can be verified"
            ));
        }
        if let Some(line) = self.rules.trusts_strangers() {
            doubts.push(format!(
                "line {line} of auth.hba_file trusts addresses beyond this machine: whoever connects from there \
                 is let in as anybody it names"
            ));
        }
        doubts
    }

    /// Whether somebody is let in without being asked because `auth.method` says so.
    #[must_use]
    pub fn trust_everybody(auth: &Auth) -> bool {
        auth.hba_file.is_none() && auth.method == AuthMethod::Trust
    }
}

// === helpers and constants ===

/// Reads the file that `key` names, and gives its text to `parse`; nothing of it stays in memory.
pub(super) fn read<T>(
    path: &Path,
    key: &str,
    too_long: &'static str,
    parse: impl FnOnce(&str) -> Result<T, Vec<Mistake>>,
) -> Result<T, Vec<Mistake>> {
    let place = path.display();
    let mistake = |place: String, problem: String, remedy: &str| {
        vec![Mistake { place, key: String::new(), problem, remedy: remedy.to_owned() }]
    };
    let bytes = read_bounded(path).map_err(|error| {
        mistake(
            place.to_string(),
            format!("{key} cannot be read: {error}"),
            "correct its path, or let understudy's system user read it",
        )
    })?;
    if bytes.len() > MAX_FILE_BYTES {
        let problem = format!("{key} has more than {MAX_FILE_BYTES} bytes");
        return Err(mistake(place.to_string(), problem, too_long));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        mistake(
            format!("{place}:{line}"),
            "this line is not UTF-8".to_owned(),
            "save the file as UTF-8",
        )
    })?;
    parse(text)
}

/// Reads a little more than is allowed, to tell that it is too much.
fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A hundred thousand users with SCRAM secrets.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
