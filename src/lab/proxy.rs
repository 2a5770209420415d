//! The proxy of a lab: its configuration, its process, and whether a client gets an answer from it.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio_postgres::Config;

use crate::lab::{
    LabError, Secrets,
    directory::{Directory, Record},
    log, owner, process,
    spec::Cancel,
    sql,
    wait::wait_for,
};

/// The proxy that belongs to a lab's directory, running or not.
pub(crate) struct Proxy<'a> {
    dir: &'a Directory,
}

/// A proxy just started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pid: i32,
    /// Where in the log its words begin.
    pub(crate) log_start: u64,
}

// === impl Proxy ===

impl<'a> Proxy<'a> {
    pub(crate) fn new(dir: &'a Directory) -> Self {
        Self { dir }
    }

    /// Its process id, while it lives.
    pub(crate) fn pid(&self) -> Option<i32> {
        let pid = fs::read_to_string(self.dir.pid_file()).ok()?.trim().parse().ok()?;
        // The number may belong to somebody else by now.
        let config = self.dir.config();
        let ours = process::arguments(pid).iter().any(|a| a.as_str() == config.to_string_lossy());
        (ours && process::alive(pid)).then_some(pid)
    }

    /// Writes its configuration and the application's password file.
    pub(crate) fn configure(&self, record: &Record, secrets: &Secrets) -> Result<(), LabError> {
        let password_file = self.dir.secrets().join("understudy");
        let text = config_text(record, &password_file.to_string_lossy());
        owner::write_private(&self.dir.config(), &text)?;
        let line = format!("127.0.0.1:{}:*:app:{}\n", record.client_port, secrets.app.reveal());
        owner::write_private(&self.dir.passfile(), &line)
    }

    /// Starts this program as a proxy, in a process group of its own: Ctrl-C is for the lab, which
    /// then stops it in its turn.
    pub(crate) fn spawn(&self) -> Result<Started, LabError> {
        let (log_start, file, again) = log::append(&self.dir.log())?;
        let program = env::current_exe().map_err(LabError::io("find", "this program".as_ref()))?;
        let mut command = Command::new(&program);
        // The lab's file says it all: nothing of the caller's environment may change it.
        for (name, _) in env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("UNDERSTUDY__") || name_text.starts_with("PG") {
                command.env_remove(&name);
            }
        }
        command.args(["run", "--config"]).arg(self.dir.config());
        command.current_dir(self.dir.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(file).stderr(again);
        let mut running = command.spawn().map_err(LabError::io("run", &program))?;
        let pid = running.id().cast_signed();
        thread::spawn(move || running.wait());
        owner::write_private(&self.dir.pid_file(), &format!("{pid}\n"))?;
        Ok(Started { pid, log_start })
    }

    /// Waits until a query of role app through the proxy is answered.
    pub(crate) fn await_answer(
        &self,
        started: &Started,
        port: u16,
        secrets: &Secrets,
        cancelled: &Cancel,
    ) -> Result<(), LabError> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user("app").dbname("app");
        config.password(secrets.app.reveal()).application_name("understudy lab");
        wait_for("an answer through understudy", ANSWER_LIMIT, || {
            if cancelled.is_set() {
                return Err(LabError::Interrupted);
            }
            if !process::alive(started.pid) {
                let path = self.dir.log();
                let tail = log::tail(&path, started.log_start, 15);
                return Err(LabError::Died { who: "understudy".to_owned(), log: path, tail });
            }
            Ok(sql::query(&config, "SELECT 1", ATTEMPT_LIMIT).map(drop).map_err(Some))
        })
    }

    /// Asks it to stop and waits; what does not obey is asked to hurry, then ended.
    pub(crate) fn stop(&self) -> Result<(), LabError> {
        if let Some(pid) = self.pid() {
            // It may have been frozen by hand.
            let _ = process::send(pid, Signal::SIGCONT);
            let members = process::family(pid);
            for signal in [Signal::SIGTERM, Signal::SIGTERM, Signal::SIGKILL] {
                process::send(pid, signal)
                    .map_err(|e| LabError::Refused(format!("cannot signal understudy: {e}")))?;
                let ended = wait_for("understudy to end", STOP_LIMIT, || {
                    Ok(if process::alive(pid) { Err(None) } else { Ok(()) })
                });
                match ended {
                    Ok(()) => break,
                    Err(error) if signal == Signal::SIGKILL => return Err(error),
                    Err(_) => {}
                }
            }
            // Commands it started must not outlive it here.
            for member in members.into_iter().skip(1).filter(|m| process::alive(*m)) {
                let _ = process::send(member, Signal::SIGKILL);
            }
        }
        let file = self.dir.pid_file();
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(LabError::io("remove", &file)(e))
            }
            _ => Ok(()),
        }
    }
}

fn config_text(record: &Record, password_file: &str) -> String {
    let nodes: String = record
        .node_ports
        .iter()
        .map(|port| format!("[[nodes]]\nhost = \"127.0.0.1\"\nport = {port}\n\n"))
        .collect();
    let port = record.client_port;
    let password_file = toml::Value::String(password_file.to_owned());
    format!(
        "# Written by understudy lab; written anew at each `lab up`.\n\n{nodes}\
         [listen]\naddresses = [\"127.0.0.1:{port}\"]\n\n\
         [auth]\nmethod = \"scram-sha-256\"\n\
         query = \"SELECT rolname, secret FROM understudy.user_lookup($1)\"\n\n\
         [monitor]\nuser = \"understudy\"\npassword_file = {password_file}\n\n\
         [log]\n# For people, though it goes to a file: `understudy lab logs -f`.\nformat = \"terminal\"\n\n\
         [process]\nshutdown_timeout = \"5s\"\n"
    )
}

const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// A little longer than the shutdown_timeout it is configured with.
const STOP_LIMIT: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_whatever_the_path() {
        let record = Record {
            client_port: 6432,
            node_ports: vec![6433, 6434],
            synchronous: false,
            pg_bin: "/bin".into(),
        };
        let path = "/a \"lab\"\\it's/secrets/understudy";
        let table: toml::Table = config_text(&record, path).parse().unwrap();
        assert_eq!(table["monitor"]["password_file"].as_str(), Some(path));
        assert_eq!(table["nodes"].as_array().unwrap().len(), 2);
        assert_eq!(table["listen"]["addresses"][0].as_str(), Some("127.0.0.1:6432"));
    }
}
