//! `understudy lab` as somebody types it, with the program itself as the proxy.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use understudy::lab::wait_until;

const LIMIT: Duration = Duration::from_secs(60);

/// A lab in a directory of its own, on a port of its own; taken down when dropped.
struct Lab {
    home: tempfile::TempDir,
    port: u16,
    /// Others see by it that the port is spoken for.
    _reserved: std::net::UdpSocket,
}

impl Lab {
    fn new() -> Self {
        let (port, reserved) = (14_000..19_000)
            .step_by(10)
            .find_map(|port| {
                let reserved = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
                Some((port, reserved))
            })
            .unwrap();
        // The nodes' user passes through it.
        let home = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        Self { home, port, _reserved: reserved }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("a lab")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.arg("lab").arg("--dir").arg(self.dir()).args(words).stdin(Stdio::null());
        command
    }

    fn say(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs the verb, which must succeed, and gives what it printed.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.say(words);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{words:?}: {out}{err}");
        out
    }

    /// Runs the verb, which must fail, and gives its complaint.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.say(words);
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "{words:?}: {out}{err}");
        err
    }

    fn up(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        self.ok(&[&["up", "--detach", "--port", &port], words].concat())
    }

    fn status(&self) -> String {
        texts(&self.say(&["status"])).0
    }

    /// The line of `status` about one node.
    fn line(&self, who: &str) -> String {
        let status = self.status();
        let line = status.lines().find(|l| l.starts_with(who));
        line.unwrap_or_else(|| panic!("no {who} in {status}")).to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.say(&["down"]);
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The processes that work in a directory or below.
fn processes_in(dir: &Path) -> Vec<i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            fs::read_link(format!("/proc/{pid}/cwd")).ok()?.starts_with(dir).then_some(pid)
        })
        .collect()
}

/// Runs `lab up` in the foreground until it is ready; its further lines come through the channel.
fn foreground(lab: &Lab) -> (Child, mpsc::Receiver<String>) {
    let port = lab.port.to_string();
    let mut command = lab.command(&["up", "--nodes", "2", "--port", &port]);
    let mut up = command.stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(up.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
    let ready = receiver.iter().any(|line| line.starts_with("The lab is up"));
    if !ready {
        panic!("lab up ended with {:?}", up.wait());
    }
    (up, receiver)
}

fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

#[test]
fn a_lab_lives_through_all_its_verbs() {
    let lab = Lab::new();
    let ready = lab.up(&[]);
    assert!(ready.contains(&format!("@127.0.0.1:{}/app", lab.port)), "{ready}");
    assert_eq!(lab.ok(&["psql", "-Atc", "SELECT current_user"]), "app\n");
    lab.ok(&["status"]);
    assert!(lab.line("node0").contains("primary"));
    assert!(lab.line("node2").contains("standby"));

    assert!(lab.ok(&["kill", "1"]).starts_with("node1 (a standby) was killed"));
    assert!(lab.line("node1").contains("stopped"));
    lab.refused(&["status"]);
    assert!(lab.refused(&["kill", "1"]).contains("node1 does not run"));
    assert!(lab.ok(&["pause", "2"]).contains("frozen"));
    assert!(lab.line("node2").contains("paused"));
    assert!(lab.refused(&["start", "2"]).contains("resume 2"));
    lab.ok(&["resume", "2"]);
    assert!(lab.ok(&["rejoin", "1"]).contains("streams from node0"));
    lab.ok(&["stop", "2"]);
    assert!(lab.ok(&["start", "2"]).contains("runs as a standby"));
    wait_until("every node to be well", LIMIT, || lab.say(&["status"]).status.success()).unwrap();
    assert_eq!(lab.ok(&["psql", "-Atc", "SELECT 42"]), "42\n");

    assert!(lab.refused(&["rejoin", "0"]).contains("no other node is a primary"));
    assert!(lab.refused(&["kill", "3"]).contains("nodes 0 to 2"));
    assert!(lab.refused(&["up"]).contains("is up already"));
    assert!(lab.ok(&["logs", "0"]).contains("ready to accept connections"));

    lab.ok(&["psql", "-qc", "CREATE TABLE kept AS SELECT 7 AS n"]);
    assert!(lab.ok(&["down", "--keep"]).contains("goes on with it"));
    assert_eq!(processes_in(&lab.dir()), Vec::<i32>::new());
    assert!(lab.refused(&["up", "--nodes", "2"]).contains("has 3 nodes"));
    lab.up(&[]);
    assert_eq!(lab.ok(&["psql", "-Atc", "SELECT n FROM kept"]), "7\n");

    lab.ok(&["down"]);
    assert!(!lab.dir().exists());
    assert_eq!(processes_in(&lab.dir()), Vec::<i32>::new());
    assert!(lab.refused(&["status"]).contains("there is no lab in"));
}

#[test]
fn passwords_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let lab = Lab::new();
    lab.up(&["--nodes", "1"]);
    let mode =
        |name: &str| fs::metadata(lab.dir().join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["pgpass", "understudy.toml", "secrets/app", "secrets/understudy", "node0/pgpass"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(mode("node0"), 0o700);
    let config = fs::read_to_string(lab.dir().join("understudy.toml")).unwrap();
    let secret = fs::read_to_string(lab.dir().join("secrets/understudy")).unwrap();
    assert!(config.contains("password_file") && !config.contains(secret.trim()));
}

#[test]
fn ending_lab_up_leaves_no_process() {
    let lab = Lab::new();
    for name in ["INT", "TERM", "HUP"] {
        let (mut up, _lines) = foreground(&lab);
        assert!(!processes_in(&lab.dir()).is_empty());
        signal(&up, name);
        assert!(up.wait().unwrap().success(), "{name}");
        assert_eq!(processes_in(&lab.dir()), Vec::<i32>::new(), "{name}");
    }
}

#[test]
fn interrupting_the_making_leaves_nothing() {
    let lab = Lab::new();
    let port = lab.port.to_string();
    let mut up = lab.command(&["up", "--port", &port]).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the making to begin", LIMIT, || lab.dir().join("node0/data").exists()).unwrap();
    signal(&up, "TERM");
    assert_eq!(up.wait().unwrap().code(), Some(130));
    assert!(!lab.dir().exists());
    assert_eq!(processes_in(&lab.dir()), Vec::<i32>::new());
}

#[test]
fn lab_up_ends_when_the_lab_is_taken_down_elsewhere() {
    let lab = Lab::new();
    let (mut up, lines) = foreground(&lab);
    lab.ok(&["down"]);
    assert!(up.wait().unwrap().success());
    let last: Vec<String> = lines.iter().collect();
    assert!(last.iter().any(|l| l.contains("taken down by another command")), "{last:?}");
}

#[test]
fn an_old_primary_is_a_standby_again_after_a_restart() {
    let lab = Lab::new();
    lab.up(&["--nodes", "2"]);
    lab.ok(&["psql", "-qc", "CREATE TABLE before ()"]);
    wait_until("the standby to have it all", LIMIT, || lab.line("node1").contains(" 0 bytes"))
        .unwrap();
    lab.ok(&["kill", "0"]);
    // Whoever promotes: here the operator, by hand.
    let socket = lab.dir().join("node1");
    let ports: toml::Table =
        fs::read_to_string(lab.dir().join("lab.toml")).unwrap().parse().unwrap();
    let promoted = Command::new("psql")
        .args(["-U", "postgres", "-Atc", "SELECT pg_promote()", "-h"])
        .arg(&socket)
        .args(["-p", &ports["node_ports"][1].to_string()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&promoted.stdout), "t\n");
    assert!(lab.ok(&["start", "0"]).contains("as a primary beside node1"));
    assert!(lab.refused(&["rejoin", "1"]).contains("newest timeline"));
    lab.ok(&["down", "--keep"]);
    lab.up(&[]);
    assert!(lab.line("node0").contains("standby"));
    assert!(lab.line("node1").contains("primary"));
}

#[test]
fn what_stands_in_the_way_is_named() {
    let lab = Lab::new();
    let port = lab.port.to_string();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, lab.port)).unwrap();
    let error = lab.refused(&["up", "--port", &port]);
    assert!(error.contains(&format!("port {port}")) && error.contains("--port"), "{error}");
    drop(listener);
    let error = lab.refused(&["up", "--port", &port, "--pg-bin", "/nonexistent"]);
    assert!(error.contains("/nonexistent holds no postgres"), "{error}");
    assert!(!lab.dir().exists());
    fs::create_dir(lab.dir()).unwrap();
    fs::write(lab.dir().join("thesis.txt"), "").unwrap();
    let error = lab.refused(&["up", "--port", &port]);
    assert!(error.contains("choose an empty directory"), "{error}");
    lab.refused(&["down"]);
    assert_eq!(fs::read_dir(lab.dir()).unwrap().count(), 1);

    // The next port is a stranger's: the nodes go elsewhere.
    fs::remove_file(lab.dir().join("thesis.txt")).unwrap();
    let _stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, lab.port + 1)).unwrap();
    lab.up(&["--nodes", "1"]);
    assert!(lab.line("node0").contains(&(lab.port + 2).to_string()));
}
