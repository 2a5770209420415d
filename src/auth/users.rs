//! The users file: `"name" "secret"` on each line, PgBouncer's `userlist.txt`.
//!
//! A double quote inside either part is doubled. Lines that begin with `;` or `#`, and empty ones, are
//! skipped. All mistakes are reported at once, by line, and never with the secret.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    auth::{
        files,
        scram::{DEFAULT_ITERATIONS, MockSalts},
        stored::StoredSecret,
    },
    conf::Mistake,
    protocol::startup::MAX_NAME_BYTES,
};

/// The users of one file, and their secrets.
#[derive(Debug, Default)]
pub struct UserFile {
    users: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    secret: StoredSecret,
    line: usize,
}

// === impl UserFile ===

impl UserFile {
    /// Reads and parses the file.
    ///
    /// # Errors
    /// All mistakes in it, or the one that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Vec<Mistake>> {
        files::read(path, "auth.users_file", "use auth.query for this many users", |text| {
            Self::parse(text, path)
        })
    }

    /// Parses the text of the file at `path`, which serves only to name it.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Mistake>> {
        let mut file = Self::default();
        let mut mistakes = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if let Err(wrong) = file.take(line.trim(), number) {
                mistakes.push(Mistake {
                    place: format!("{}:{number}", path.display()),
                    key: String::new(),
                    problem: wrong.problem,
                    remedy: wrong.remedy.to_owned(),
                });
            }
        }
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }

    /// The secret of a user. Names are compared byte by byte, as PostgreSQL compares them.
    #[must_use]
    pub fn find(&self, user: &str) -> Option<&StoredSecret> {
        self.users.get(user).map(|known| &known.secret)
    }

    /// How many users the file names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Derives what logins will need of every clear password, so that the first login of a user takes no longer
    /// than that of a user who does not exist. About a millisecond for each.
    pub fn derive_keys(&self, salts: &MockSalts) {
        for (name, known) in &self.users {
            if let StoredSecret::Clear(password) = &known.secret {
                // The password keeps them.
                let _ = password.keys_towards_clients(&salts.salt(name), DEFAULT_ITERATIONS);
            }
        }
    }

    fn take(&mut self, line: &str, number: usize) -> Result<(), Wrong> {
        if line.is_empty() || line.starts_with([';', '#']) {
            return Ok(());
        }
        let (name, rest) = quoted(line, "name")?;
        let (secret, rest) = quoted(rest, "secret")?;
        if !(rest.is_empty() || rest.starts_with([';', '#'])) {
            return Err(wrong("there is something after the secret", QUOTE_REMEDY));
        }
        if name.is_empty() || name.contains('\0') {
            return Err(wrong(
                "the name is empty or contains a NUL byte",
                "write the name of a role",
            ));
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(wrong(
                format!("the name has more than {MAX_NAME_BYTES} bytes"),
                "write it as PostgreSQL has cut it: no role's name is longer",
            ));
        }
        let secret =
            StoredSecret::parse(&secret).map_err(|bad| wrong(bad.to_string(), SECRET_REMEDY))?;
        match self.users.entry(name.to_string()) {
            Entry::Vacant(place) => {
                place.insert(Known { secret, line: number });
                Ok(())
            }
            Entry::Occupied(first) => Err(wrong(
                format!("user \"{}\" is named already in line {}", first.key(), first.get().line),
                "keep one line for each user",
            )),
        }
    }
}

// === helpers and constants ===

struct Wrong {
    problem: String,
    remedy: &'static str,
}

fn wrong(problem: impl Into<String>, remedy: &'static str) -> Wrong {
    Wrong { problem: problem.into(), remedy }
}

/// Reads one quoted part, and gives what follows it without the space before.
fn quoted<'a>(text: &'a str, what: &str) -> Result<(Zeroizing<String>, &'a str), Wrong> {
    let Some(inside) = text.strip_prefix('"') else {
        return Err(wrong(format!("the {what} must be in double quotes"), LINE_REMEDY));
    };
    let mut part = Zeroizing::new(String::with_capacity(inside.len()));
    let mut rest = inside;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err(wrong(format!("the {what} has no closing double quote"), QUOTE_REMEDY));
        };
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return Ok((part, after.trim_start())),
        }
    }
}

const LINE_REMEDY: &str = "write \"name\" \"secret\" on each line";
const QUOTE_REMEDY: &str = "write \"name\" \"secret\", and double each double quote inside them";
const SECRET_REMEDY: &str = "write the password, or the user's rolpassword as pg_authid has it";
