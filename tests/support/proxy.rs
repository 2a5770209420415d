//! The program itself as a child process, with its configuration, its log, and its end.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use understudy::lab::{Cluster, Login};

use super::await_condition;

/// How the program is to be started.
#[derive(Clone, Debug)]
pub struct ProxySpec {
    nodes: Vec<u16>,
    monitor_password: String,
    settings: Vec<String>,
}

/// A running understudy. Dropping it ends it; after a panic its log is printed.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
    /// Keeps other tests of this machine off the port, as the lab's clusters do.
    _reservation: UdpSocket,
}

// === impl ProxySpec ===

impl ProxySpec {
    /// In front of all nodes of a cluster.
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            nodes: cluster.nodes().iter().map(|node| node.port()).collect(),
            monitor_password: cluster.password(Login::Understudy).unwrap().reveal().to_owned(),
            settings: Vec::new(),
        }
    }

    /// With these nodes, by their ports.
    pub fn nodes(mut self, ports: &[u16]) -> Self {
        self.nodes = ports.to_vec();
        self
    }

    /// With further settings, as `section.key=value`.
    pub fn set(mut self, settings: &[&str]) -> Self {
        self.settings.extend(settings.iter().map(|&setting| setting.to_owned()));
        self
    }

    /// Writes the configuration into a directory and gives the command that runs with it.
    pub fn command(&self, dir: &Path, port: u16) -> Command {
        let secret = dir.join("monitor");
        fs::write(&secret, &self.monitor_password).unwrap();
        let nodes: String = self
            .nodes
            .iter()
            .map(|port| format!("[[nodes]]\nhost = \"127.0.0.1\"\nport = {port}\n\n"))
            .collect();
        let text = format!(
            "{nodes}\
             [listen]\naddresses = [\"127.0.0.1:{port}\"]\nunix_socket_dir = {dir:?}\n\n\
             [auth]\nquery = \"SELECT rolname, secret FROM understudy.user_lookup($1)\"\n\n\
             [monitor]\npassword_file = {secret:?}\n\n\
             [health_check]\nperiod = \"100ms\"\nevidence_max_age = \"2s\"\n\n\
             [log]\nlevel = \"debug\"\nformat = \"json\"\nqueue = 100000\n\n\
             [process]\nworkers = 2\n"
        );
        let file = dir.join("understudy.toml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.arg("run").arg("--config").arg(file);
        for setting in &self.settings {
            command.arg("--set").arg(setting);
        }
        command
    }
}

// === impl Proxy ===

impl Proxy {
    /// Starts it and waits until clients can connect. Whether it has found its nodes is another
    /// question: see [`Proxy::await_event`].
    pub fn start(spec: &ProxySpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (port, reservation) = free_port();
        let mut command = spec.command(dir.path(), port);
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let errors = fs::File::create(dir.path().join("errors")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap();
        let mut proxy = Self { child, port, dir, _reservation: reservation };
        await_condition("understudy to listen", || {
            assert_eq!(proxy.child.try_wait().unwrap(), None, "understudy ended");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        proxy
    }

    /// The port clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// How to connect to it, for libpq and tokio-postgres alike.
    pub fn conninfo(&self, cluster: &Cluster, login: Login) -> String {
        let password = cluster.password(login).map_or("", |password| password.reveal());
        format!(
            "host=127.0.0.1 port={} user={} dbname={} password={password}",
            self.port,
            login.user(),
            login.database()
        )
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn await_end(&mut self) -> ExitStatus {
        let mut status = None;
        await_condition("understudy to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The lines it has logged with this event name.
    pub fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let lines = self.log();
        let parsed = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        parsed.filter(|line: &serde_json::Value| line["event"] == name).collect()
    }

    /// The sentences it has logged with this event name.
    pub fn sentences(&self, name: &str) -> Vec<String> {
        self.events(name).iter().filter_map(|line| Some(line["msg"].as_str()?.to_owned())).collect()
    }

    /// Waits until it has logged an event.
    pub fn await_event(&self, name: &str) {
        self.await_sentence(name, "");
    }

    /// Waits until it has logged an event whose sentence holds this.
    pub fn await_sentence(&self, name: &str, part: &str) {
        await_condition(&format!("event {name} with {part:?} in the log"), || {
            self.sentences(name).iter().any(|sentence| sentence.contains(part))
        });
    }

    /// All it has logged, and what it said on standard error.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("log") + &read("errors")
    }

    /// A line of its `/proc/PID/status` in kB: `VmRSS` is its memory now, `VmHWM` the most so far.
    pub fn memory(&self, key: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Has `VmHWM` begin anew.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Files it has open, sockets included.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Proxy {
    #[expect(clippy::print_stderr, reason = "this is what a failed test has to say")]
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end or to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            // What libraries say of every probe would hide the rest.
            let lines: Vec<&str> =
                log.lines().filter(|line| !line.contains("\"event\":\"foreign\"")).collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the end of understudy's log ---\n{}\n---", last.join("\n"));
        }
    }
}

/// A port that nobody uses and, while the reservation lives, no other test takes. It lies below the
/// range that the kernel gives to outgoing connections.
pub fn free_port() -> (u16, UdpSocket) {
    let start = getrandom::u32().unwrap();
    (0..12_000)
        .map(|step| 20_000 + u16::try_from((start.wrapping_add(step)) % 12_000).unwrap())
        .find_map(|port| {
            let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| (port, reservation))
        })
        .unwrap()
}

/// A file in the directory of this test's own.
pub fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}
