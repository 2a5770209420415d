//! The users file: `"name" "secret"` on each line, PgBouncer's `userlist.txt`.
//!
//! A double quote inside either part is doubled. Lines that begin with `;` or `#`, and empty ones, are
//! skipped. All mistakes are reported at once, by line, and never with the secret.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::auth::stored::StoredSecret;

/// The users of one file, and their secrets.
#[derive(Debug, Default)]
pub struct UserFile {
    users: HashMap<String, Known>,
}

/// One thing to correct in a users file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` where it is about the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
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
        let whole = |problem: String, remedy: &str| {
            vec![Mistake { path: path.to_owned(), line: None, problem, remedy: remedy.to_owned() }]
        };
        let bytes = read_bounded(path).map_err(|error| {
            whole(
                format!("the users file cannot be read: {error}"),
                "correct auth.users_file, or let understudy's system user read the file",
            )
        })?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(whole(
                format!("the users file has more than {MAX_FILE_BYTES} bytes"),
                "use auth.query for this many users",
            ));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line =
                1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            vec![Mistake {
                path: path.to_owned(),
                line: Some(line),
                problem: "this line is not UTF-8".to_owned(),
                remedy: "save the file as UTF-8".to_owned(),
            }]
        })?;
        Self::parse(text, path)
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
                    path: path.to_owned(),
                    line: Some(number),
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

// === impl Mistake ===

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}", self.problem, self.remedy)
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

/// Reads a little more than is allowed, to tell that it is too much.
fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A hundred thousand users with SCRAM secrets.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

const LINE_REMEDY: &str = "write \"name\" \"secret\" on each line";
const QUOTE_REMEDY: &str = "write \"name\" \"secret\", and double each double quote inside them";
const SECRET_REMEDY: &str = "write the password, or the user's rolpassword as pg_authid has it";
