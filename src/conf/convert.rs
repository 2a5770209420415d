//! From what was written to what is meant, and the rules that concern more than one key.

use std::{
    collections::HashMap,
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    thread,
};

use config::Value;
use zeroize::Zeroizing;

use crate::conf::{
    kinds::{Addresses, LONGEST_SOCKET, SOCKET_NAME, Whole},
    load::DEFAULT,
    mistake::Mistake,
    raw::{self, Raw},
    schema::{at, place},
    secret::Secret,
    settings::{
        Auth, AuthMethod, Failover, HealthCheck, Limits, Listen, Log, Monitor, Node, Pool, Process,
        Settings, Tcp,
    },
    tls,
    written::{Given, Kind},
};

/// Converts everything; none if there was a mistake. With the settings come the doubts.
pub(super) fn settings(
    raw: Raw,
    tree: &Value,
    file: Option<&Path>,
    mistakes: &mut Vec<Mistake>,
) -> Option<(Settings, Vec<String>)> {
    let mut reader = Reader { tree, file, mistakes };
    let nodes = nodes(&mut reader, raw.nodes);
    let listen = listen(&mut reader, raw.listen);
    let auth = auth(&mut reader, raw.auth);
    let client_tls = tls::client_tls(&mut reader, raw.client_tls);
    let server_tls = tls::server_tls(&mut reader, raw.server_tls);
    let pool = pool(&mut reader, raw.pool);
    let limits = limits(&mut reader, raw.limits);
    let tcp = tcp(&mut reader, raw.tcp);
    let monitor = monitor(&mut reader, raw.monitor);
    let health_check = health_check(&mut reader, raw.health_check);
    let hold_timeout = reader.take("failover.hold_timeout", raw.failover.hold_timeout);
    let log = log(&mut reader, raw.log);
    let process = process(&mut reader, raw.process);
    let settings = Settings {
        nodes: nodes?,
        listen: listen?,
        auth: auth?,
        client_tls: client_tls?,
        server_tls: server_tls?,
        pool: pool?,
        limits: limits?,
        tcp: tcp?,
        monitor: monitor?,
        health_check: health_check?,
        failover: Failover { hold_timeout: hold_timeout?.0 },
        log: log?,
        process: process?,
    };
    let doubts = doubts(&settings);
    Some((settings, doubts))
}

/// Reads values, and notes the mistakes.
pub(super) struct Reader<'a> {
    tree: &'a Value,
    file: Option<&'a Path>,
    mistakes: &'a mut Vec<Mistake>,
}

// === impl Reader ===

impl Reader<'_> {
    /// The value, or a mistake noted under its key.
    pub(super) fn take<T: Kind>(&mut self, key: &str, given: Given<T>) -> Option<T> {
        given.0.map_err(|wrong| self.refuse(key, wrong.problem, wrong.remedy)).ok()
    }

    pub(super) fn refuse(
        &mut self,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.mistakes.push(Mistake::new(self.place(key), key, problem, remedy));
    }

    /// Where a key was written, or else what it belongs to; for a default the file that could say more.
    fn place(&self, key: &str) -> String {
        let place = at(self.tree, key).map(place).unwrap_or_default();
        match key.rsplit_once('.') {
            _ if place != DEFAULT => place,
            Some((parent, _)) if parent.contains('.') => self.place(parent),
            _ => self.file.map(|file| file.display().to_string()).unwrap_or_default(),
        }
    }

    fn is_default(&self, key: &str) -> bool {
        at(self.tree, key).and_then(Value::origin) == Some(DEFAULT)
    }
}

// === sections ===

fn nodes(reader: &mut Reader<'_>, raw: Vec<raw::Node>) -> Option<Vec<Node>> {
    if raw.is_empty() {
        let problem = match reader.file {
            Some(_) => "there is no node",
            None => "there is no node, and no configuration file was found",
        };
        reader.refuse(
            "nodes",
            problem,
            "add a [[nodes]] block with a host for every PostgreSQL node",
        );
        return None;
    }
    let count = raw.len();
    let mut nodes = Vec::with_capacity(count);
    let mut known: HashMap<(String, u16), usize> = HashMap::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let key = |name| format!("nodes.{index}.{name}");
        let host = if reader.is_default(&key("host")) {
            reader.refuse(&key("host"), "is missing", "write host = \"db0.example.com\"");
            None
        } else {
            reader.take(&key("host"), raw.host)
        };
        let port = reader.take(&key("port"), raw.port);
        let weight = reader.take(&key("weight"), raw.weight);
        let (Some(host), Some(port)) = (host, port) else { continue };
        let port = u16::try_from(port.0).ok()?;
        if let Some(first) = known.insert((host.0.to_lowercase(), port), index) {
            reader.refuse(
                &key("host"),
                format!("{}:{port} is node {first} already", host.0),
                "name every node once",
            );
        }
        nodes.extend(weight.map(|weight| Node { host: host.0, port, weight: weight.0 }));
    }
    (nodes.len() == count).then_some(nodes)
}

fn listen(reader: &mut Reader<'_>, raw: raw::Listen) -> Option<Listen> {
    let addresses = addresses(reader, raw.addresses);
    let directory = reader.take("listen.unix_socket_dir", raw.unix_socket_dir);
    let mode = reader.take("listen.unix_socket_mode", raw.unix_socket_mode);
    let backlog = reader.take("listen.backlog", raw.backlog);
    let login_timeout = reader.take("listen.login_timeout", raw.login_timeout);
    if let Some(directory) = directory.as_ref().and_then(|directory| directory.0.as_deref()) {
        check_socket_directory(reader, directory);
    } else if addresses.as_ref().is_some_and(Vec::is_empty) {
        reader.refuse(
            "listen.addresses",
            "there is nowhere to listen",
            "add an address such as \"127.0.0.1:6432\", or set listen.unix_socket_dir",
        );
    }
    Some(Listen {
        addresses: addresses?,
        unix_socket_dir: directory?.0,
        unix_socket_mode: mode?.0,
        backlog: backlog?.0,
        login_timeout: login_timeout?.0,
    })
}

fn addresses(reader: &mut Reader<'_>, raw: Vec<Given<Addresses>>) -> Option<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    let mut valid = true;
    for (index, given) in raw.into_iter().enumerate() {
        let key = format!("listen.addresses.{index}");
        let Some(found) = reader.take(&key, given) else {
            valid = false;
            continue;
        };
        for address in found.0 {
            if address.port() != 0 && addresses.contains(&address) {
                let problem = format!("{address} is in the list already");
                reader.refuse(&key, problem, "name every address once");
            }
            addresses.push(address);
        }
    }
    valid.then_some(addresses)
}

fn check_socket_directory(reader: &mut Reader<'_>, directory: &Path) {
    let key = "listen.unix_socket_dir";
    if directory.as_os_str().len() + SOCKET_NAME.len() > LONGEST_SOCKET {
        let most = LONGEST_SOCKET - SOCKET_NAME.len();
        reader.refuse(
            key,
            format!("{} is too long", directory.display()),
            format!("the path of a socket's directory may have {most} bytes"),
        );
    } else if !directory.is_dir() {
        reader.refuse(
            key,
            format!("{} is not a directory", directory.display()),
            "create it, or name another one",
        );
    }
}

fn auth(reader: &mut Reader<'_>, raw: raw::Auth) -> Option<Auth> {
    let method = reader.take("auth.method", raw.method);
    let hba_file = reader.take("auth.hba_file", raw.hba_file);
    let users_file = reader.take("auth.users_file", raw.users_file);
    let query = reader.take("auth.query", raw.query);
    let query_database = reader.take("auth.query_database", raw.query_database);
    let query_cache = reader.take("auth.query_cache", raw.query_cache);
    let max_failures = reader.take("auth.max_failures", raw.max_failures);
    let failure_window = reader.take("auth.failure_window", raw.failure_window);
    let lockout = reader.take("auth.lockout", raw.lockout);
    for (key, file) in [("auth.hba_file", &hba_file), ("auth.users_file", &users_file)] {
        if let Some(path) = file.as_ref().and_then(|file| file.0.as_deref())
            && let Err(problem) = readable(path)
        {
            reader.refuse(key, problem, READABLE);
        }
    }
    Some(Auth {
        method: method?,
        hba_file: hba_file?.0,
        users_file: users_file?.0,
        query: query?.0,
        query_database: query_database?.0,
        query_cache: query_cache?.0,
        max_failures: Some(max_failures?.0).filter(|most| *most > 0),
        failure_window: failure_window?.0,
        lockout: lockout?.0,
    })
}

fn pool(reader: &mut Reader<'_>, raw: raw::Pool) -> Option<Pool> {
    let mode = reader.take("pool.mode", raw.mode);
    let max_idle = reader.take("pool.max_idle", raw.max_idle);
    let idle_timeout = reader.take("pool.idle_timeout", raw.idle_timeout);
    let max_lifetime = reader.take("pool.max_lifetime", raw.max_lifetime);
    let max_per_node = reader.take("pool.max_per_node", raw.max_per_node);
    let connect_timeout = reader.take("pool.connect_timeout", raw.connect_timeout);
    let reset_query = reader.take("pool.reset_query", raw.reset_query);
    Some(Pool {
        mode: mode?,
        max_idle: usize::try_from(max_idle?.0).ok()?,
        idle_timeout: idle_timeout?.0,
        max_lifetime: max_lifetime?.0,
        max_per_node: at_most(max_per_node?),
        connect_timeout: connect_timeout?.0,
        reset_query: reset_query?.0,
    })
}

fn limits(reader: &mut Reader<'_>, raw: raw::Limits) -> Option<Limits> {
    let clients = reader.take("limits.max_clients", raw.max_clients);
    let per_user = reader.take("limits.max_clients_per_user", raw.max_clients_per_user);
    let per_database = reader.take("limits.max_clients_per_database", raw.max_clients_per_database);
    let wait = reader.take("limits.query_wait_timeout", raw.query_wait_timeout);
    let notify = reader.take("limits.query_wait_notify", raw.query_wait_notify);
    let idle = reader.take("limits.client_idle_timeout", raw.client_idle_timeout);
    let transaction = reader.take("limits.idle_transaction_timeout", raw.idle_transaction_timeout);
    let write = reader.take("limits.client_write_timeout", raw.client_write_timeout);
    let statement = reader.take("limits.max_statement_size", raw.max_statement_size);
    Some(Limits {
        max_clients: at_most(clients?),
        max_clients_per_user: at_most(per_user?),
        max_clients_per_database: at_most(per_database?),
        query_wait_timeout: wait?.0,
        query_wait_notify: notify?.0,
        client_idle_timeout: idle?.0,
        idle_transaction_timeout: transaction?.0,
        client_write_timeout: write?.0,
        max_statement_size: usize::try_from(statement?.0).ok()?,
    })
}

fn tcp(reader: &mut Reader<'_>, raw: raw::Tcp) -> Option<Tcp> {
    let idle = reader.take("tcp.keepalive_idle", raw.keepalive_idle);
    let interval = reader.take("tcp.keepalive_interval", raw.keepalive_interval);
    let count = reader.take("tcp.keepalive_count", raw.keepalive_count);
    let user_timeout = reader.take("tcp.user_timeout", raw.user_timeout);
    Some(Tcp {
        keepalive_idle: idle?.0,
        keepalive_interval: interval?.0,
        keepalive_count: count?.0,
        user_timeout: user_timeout?.0,
    })
}

/// A number of which 0 means that there is no limit.
fn at_most<const MAX: u32>(number: Whole<0, MAX>) -> Option<usize> {
    usize::try_from(number.0).ok().filter(|&number| number > 0)
}

fn monitor(reader: &mut Reader<'_>, raw: raw::Monitor) -> Option<Monitor> {
    let user = reader.take("monitor.user", raw.user);
    let password = reader.take("monitor.password", raw.password);
    let password_file = reader.take("monitor.password_file", raw.password_file);
    let database = reader.take("monitor.database", raw.database);
    let mut password = password.map(|password| password.0);
    if let Some(path) = password_file.and_then(|file| file.0) {
        let key = "monitor.password_file";
        if let Some(Some(_)) = password {
            reader.refuse(key, "monitor.password is set as well", "keep one of the two");
        }
        password = match first_line(&path) {
            Ok(line) => password.map(|_| Some(line)),
            Err((problem, remedy)) => {
                reader.refuse(key, problem, remedy);
                None
            }
        };
    }
    Some(Monitor { user: user?.0, password: password?, database: database?.0 })
}

fn health_check(reader: &mut Reader<'_>, raw: raw::HealthCheck) -> Option<HealthCheck> {
    let period = reader.take("health_check.period", raw.period);
    let connect_timeout = reader.take("health_check.connect_timeout", raw.connect_timeout);
    let reply_timeout = reader.take("health_check.reply_timeout", raw.reply_timeout);
    let check_timeout = reader.take("health_check.check_timeout", raw.check_timeout);
    let evidence_max_age = reader.take("health_check.evidence_max_age", raw.evidence_max_age);
    let check = HealthCheck {
        period: period?.0,
        connect_timeout: connect_timeout?.0,
        reply_timeout: reply_timeout?.0,
        check_timeout: check_timeout?.0,
        evidence_max_age: evidence_max_age?.0,
    };
    let whole = check.check_timeout;
    for (key, part) in [
        ("health_check.connect_timeout", check.connect_timeout),
        ("health_check.reply_timeout", check.reply_timeout),
    ] {
        if part > whole {
            reader.refuse(
                key,
                format!(
                    "{} is longer than the whole check may take",
                    humantime::format_duration(part)
                ),
                format!(
                    "allowed: at most health_check.check_timeout, {}",
                    humantime::format_duration(whole)
                ),
            );
        }
    }
    if check.evidence_max_age <= check.period {
        reader.refuse(
            "health_check.evidence_max_age",
            format!(
                "{} is over before the next check",
                humantime::format_duration(check.evidence_max_age)
            ),
            format!(
                "allowed: more than health_check.period, {}",
                humantime::format_duration(check.period)
            ),
        );
    }
    Some(check)
}

fn log(reader: &mut Reader<'_>, raw: raw::Log) -> Option<Log> {
    let level = reader.take("log.level", raw.level);
    let format = reader.take("log.format", raw.format);
    let queue = reader.take("log.queue", raw.queue);
    Some(Log { level: level?, format: format?, queue: usize::try_from(queue?.0).ok()? })
}

fn process(reader: &mut Reader<'_>, raw: raw::Process) -> Option<Process> {
    let workers = reader.take("process.workers", raw.workers);
    let shutdown_timeout = reader.take("process.shutdown_timeout", raw.shutdown_timeout);
    // A system that does not tell its cores gets one worker: slow is better than refused.
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    Some(Process {
        workers: workers?.0.unwrap_or_else(cores),
        shutdown_timeout: shutdown_timeout?.0,
    })
}

// === helpers ===

fn doubts(settings: &Settings) -> Vec<String> {
    let mut doubts = Vec::new();
    let Auth { method, hba_file, users_file, query, .. } = &settings.auth;
    if hba_file.is_some() {
        // What the rules amount to is for those to say who read them.
        return doubts;
    }
    if *method != AuthMethod::Trust && users_file.is_none() && query.is_none() {
        doubts.push(
            "nobody can log in: neither auth.users_file nor auth.query says who may".to_owned(),
        );
    }
    let is_local = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    if *method == AuthMethod::Trust && !settings.listen.addresses.iter().all(is_local) {
        doubts.push(
            "auth.method is \"trust\" and listen.addresses reach beyond this machine: \
             whoever connects is let in"
                .to_owned(),
        );
    }
    doubts.extend(tls::doubts(&settings.server_tls));
    doubts
}

fn readable(path: &Path) -> Result<(), String> {
    let cannot = |error| format!("{} cannot be read: {error}", absolute(path).display());
    let is_file = File::open(path).and_then(|file| file.metadata()).map_err(cannot)?.is_file();
    if is_file { Ok(()) } else { Err(format!("{} is not a file", absolute(path).display())) }
}

/// The first line of a password file. What is in the file is never part of the mistake.
fn first_line(path: &Path) -> Result<Secret, (String, &'static str)> {
    readable(path).map_err(|problem| (problem, READABLE))?;
    let shown = absolute(path);
    let bytes = fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| (format!("{} cannot be read: {error}", shown.display()), READABLE))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err((format!("the first line of {} is empty", shown.display()), FIRST_LINE)),
        Ok(line) if !line.contains('\0') => Ok(Secret::new(line.to_owned())),
        _ => Err((format!("the first line of {} is not text", shown.display()), FIRST_LINE)),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

// === constants ===

const READABLE: &str = "create it, or make it readable for the user understudy runs as";
const FIRST_LINE: &str = "write the password there";
