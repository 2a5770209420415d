//! From the text of a file to [`Rules`], or to every mistake in it.

use std::{net::IpAddr, path::Path, vec};

use ipnet::IpNet;

use super::{
    Addresses, Connection, Database, Method, Rule, Rules, User,
    token::{self, Token},
};
use crate::{
    auth::files,
    conf::{Mistake, settings::AuthMethod},
    protocol::startup::MAX_NAME_BYTES,
};

/// What is wrong with a line.
struct Wrong {
    problem: String,
    remedy: String,
}

/// The fields of one line that are left, and what was wrong with those before.
struct Line {
    number: usize,
    fields: vec::IntoIter<Vec<Token>>,
    wrongs: Vec<Wrong>,
}

// === impl Rules ===

impl Rules {
    /// Reads and parses the file.
    ///
    /// # Errors
    /// All mistakes in it, or the one that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Vec<Mistake>> {
        let too_long = "name databases and networks rather than everybody by himself";
        files::read(path, "auth.hba_file", too_long, |text| Self::parse(text, path))
    }

    /// Parses the text of the file at `path`, which serves only to name it.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Mistake>> {
        let (mut rules, mut mistakes) = (Vec::new(), Vec::new());
        let mistake = |line: Option<usize>, Wrong { problem, remedy }| {
            let place = match line {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            };
            Mistake { place, key: String::new(), problem, remedy }
        };
        for (number, line) in token::lines(text) {
            match rule(number, &line) {
                Ok(rule) => rules.extend(rule),
                Err(wrongs) => {
                    mistakes.extend(wrongs.into_iter().map(|wrong| mistake(Some(number), wrong)));
                }
            }
        }
        if rules.is_empty() && mistakes.is_empty() {
            let wrong = wrong("there is no rule: nobody could log in", SHAPE);
            mistakes.push(mistake(None, wrong));
        }
        if mistakes.is_empty() { Ok(Self(rules)) } else { Err(mistakes) }
    }
}

// === impl Line ===

impl Line {
    /// The next field as `read` understands it; a mistake is noted.
    fn take<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&[Token]) -> Result<T, Wrong>,
    ) -> Option<T> {
        let read = match self.fields.next() {
            Some(field) => read(&field),
            None => Err(wrong(format!("the line ends before the {what}"), SHAPE)),
        };
        read.map_err(|wrong| self.wrongs.push(wrong)).ok()
    }

    fn connection_type(&mut self) -> Option<Kind> {
        self.take("connection type", |field| {
            let found = one(field, "connection type")?;
            match found.text.as_str() {
                "local" => Ok(Kind::Local),
                "host" => Ok(Kind::Host { encrypted: None }),
                "hostssl" => Ok(Kind::Host { encrypted: Some(true) }),
                "hostnossl" => Ok(Kind::Host { encrypted: Some(false) }),
                "hostgssenc" | "hostnogssenc" => {
                    Err(wrong(format!("found {found:?}: there is no GSSAPI encryption"), TYPES))
                }
                "include" | "include_if_exists" | "include_dir" => {
                    Err(wrong(format!("found {found:?}: other files are not read"), WRITE_HERE))
                }
                _ => Err(wrong(format!("found {found:?} as connection type"), TYPES)),
            }
        })
    }

    /// The addresses of the next field, or of the next two.
    fn addresses(&mut self) -> Option<Addresses> {
        let written = self.take("address", |field| one(field, "address").cloned())?;
        let read = if written.is("all") {
            Ok(Addresses::All)
        } else if let Ok(address) = written.text.parse::<IpAddr>() {
            match self.fields.next() {
                Some(mask) => one(&mask, "mask").and_then(|mask| masked(address, mask)),
                None => Err(wrong(format!("{address} has no mask"), ADDRESSES)),
            }
        } else if written.is("samehost") || written.is("samenet") {
            let problem = format!(
                "found {written:?}: addresses of this machine are not looked up, they may move"
            );
            Err(wrong(problem, ADDRESSES))
        } else {
            network(&written)
        };
        read.map(Addresses::canonical).map_err(|wrong| self.wrongs.push(wrong)).ok()
    }

    fn method(&mut self, kind: Kind) -> Option<Method> {
        self.take("method", |field| {
            let found = one(field, "method")?;
            let with_tls = matches!(kind, Kind::Host { encrypted: Some(true) });
            match found.text.as_str() {
                "trust" => Ok(Method::Ask(AuthMethod::Trust)),
                "reject" => Ok(Method::Reject),
                "md5" => Ok(Method::Ask(AuthMethod::Md5)),
                "scram-sha-256" => Ok(Method::Ask(AuthMethod::ScramSha256)),
                "password" if with_tls => Ok(Method::Ask(AuthMethod::Password)),
                "password" => {
                    let problem = "found password: without TLS it would cross the network readable";
                    Err(wrong(problem, "write scram-sha-256, or hostssl as the connection type"))
                }
                "cert" if with_tls => Ok(Method::Certificate),
                "cert" => {
                    let problem = "found cert: only TLS has certificates";
                    Err(wrong(problem, "write hostssl as the connection type"))
                }
                _ => Err(wrong(format!("found {found:?} as method"), METHODS)),
            }
        })
    }
}

// === impl Addresses ===

impl Addresses {
    /// IPv4 as IPv4: clients' addresses never come wrapped in IPv6.
    fn canonical(self) -> Self {
        match self {
            Self::Network(IpNet::V6(network)) => {
                let (IpAddr::V4(address), 96..) =
                    (network.addr().to_canonical(), network.prefix_len())
                else {
                    return self;
                };
                let network = IpNet::new(address.into(), network.prefix_len() - 96);
                network.map_or(self, Self::Network)
            }
            other => other,
        }
    }
}

// === helpers ===

#[derive(Clone, Copy)]
enum Kind {
    Local,
    Host { encrypted: Option<bool> },
}

/// The rule of a line, or none where it is empty or a comment.
fn rule(number: usize, line: &str) -> Result<Option<Rule>, Vec<Wrong>> {
    if line.contains('\0') {
        return Err(vec![wrong("there is a NUL byte", SHAPE)]);
    }
    let fields = token::fields(line).map_err(|token::OpenQuote| {
        vec![wrong("a double quote is not closed", "close it in the same line")]
    })?;
    if fields.is_empty() {
        return Ok(None);
    }
    let mut line = Line { number, fields: fields.into_iter(), wrongs: Vec::new() };
    let rule = read_rule(&mut line);
    match rule {
        Some(rule) if line.wrongs.is_empty() => Ok(Some(rule)),
        _ => Err(line.wrongs),
    }
}

/// None if there was a mistake; those after a wrong connection type or address would only follow from it.
fn read_rule(line: &mut Line) -> Option<Rule> {
    let kind = line.connection_type()?;
    let databases = line.take("database", |field| field.iter().map(database).collect());
    let users = line.take("user", |field| field.iter().map(user).collect());
    let connection = match kind {
        Kind::Local => Connection::Local,
        Kind::Host { encrypted } => Connection::Host { from: line.addresses()?, encrypted },
    };
    let method = line.method(kind);
    if let Some(option) = line.fields.next() {
        let found = option.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(",");
        line.wrongs.push(wrong(
            format!("found {found:?} behind the method: there are no options"),
            "leave it out",
        ));
    }
    Some(Rule {
        line: line.number,
        connection,
        databases: databases?,
        users: users?,
        method: method?,
    })
}

fn one<'a>(field: &'a [Token], what: &str) -> Result<&'a Token, Wrong> {
    match field {
        [token] => Ok(token),
        _ => Err(wrong(
            format!("found {} values as {what}", field.len()),
            "write one, and a line for each of the others",
        )),
    }
}

fn database(token: &Token) -> Result<Database, Wrong> {
    for (keyword, database) in [
        ("all", Database::All),
        ("sameuser", Database::SameUser),
        ("replication", Database::Replication),
    ] {
        if token.is(keyword) {
            return Ok(database);
        }
    }
    if token.is("samerole") || token.is("samegroup") {
        return Err(wrong(format!("found {token:?}: groups are known to the nodes alone"), NAMES));
    }
    name(token).map(Database::Named)
}

fn user(token: &Token) -> Result<User, Wrong> {
    if token.is("all") {
        return Ok(User::All);
    }
    if token.begins('+') {
        return Err(wrong(format!("found {token:?}: groups are known to the nodes alone"), NAMES));
    }
    name(token).map(User::Named)
}

fn name(token: &Token) -> Result<String, Wrong> {
    if token.begins('/') {
        return Err(wrong(format!("found {token:?}: regular expressions are not read"), NAMES));
    }
    if token.begins('@') {
        return Err(wrong(format!("found {token:?}: other files are not read"), WRITE_HERE));
    }
    if token.text.is_empty() {
        return Err(wrong("found an empty name", NAMES));
    }
    if token.text.len() > MAX_NAME_BYTES {
        return Err(wrong(
            format!("found {token:?}, which has more than {MAX_NAME_BYTES} bytes"),
            "write the name as PostgreSQL has cut it: none is longer",
        ));
    }
    Ok(token.text.clone())
}

fn network(written: &Token) -> Result<Addresses, Wrong> {
    if let Ok(network) = written.text.parse() {
        return Ok(Addresses::Network(network));
    }
    let looks_like_address =
        written.text.starts_with(|c: char| c.is_ascii_digit()) || written.text.contains(':');
    Err(if looks_like_address || written.text.contains('/') {
        wrong(format!("found {written:?} as address"), ADDRESSES)
    } else {
        wrong(format!("found {written:?} as address: names of hosts are not resolved"), ADDRESSES)
    })
}

fn masked(address: IpAddr, mask: &Token) -> Result<Addresses, Wrong> {
    let network = mask.text.parse().ok().and_then(|mask| IpNet::with_netmask(address, mask).ok());
    network.map(Addresses::Network).ok_or_else(|| {
        wrong(
            format!("found {mask:?} as mask of {address}"),
            "allowed: ones and then zeros, of the same kind as the address, such as 255.255.255.0; \
             or write address/bits",
        )
    })
}

fn wrong(problem: impl Into<String>, remedy: &str) -> Wrong {
    Wrong { problem: problem.into(), remedy: remedy.to_owned() }
}

// === constants ===

const SHAPE: &str =
    "write TYPE DATABASE USER [ADDRESS] METHOD, such as: host all all 10.0.0.0/8 scram-sha-256";
const TYPES: &str = "allowed: local, host, hostssl or hostnossl";
const METHODS: &str =
    "allowed: scram-sha-256, md5, trust, reject, and in hostssl rules password and cert";
const ADDRESSES: &str =
    "allowed: all, a network such as 10.0.0.0/8 or 2001:db8::/32, or an address and its mask";
const NAMES: &str =
    "allowed: names, in double quotes where they are keywords, and lists of them with commas";
const WRITE_HERE: &str = "write its rules or names here";
