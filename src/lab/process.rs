//! Processes of this machine, by id: who lives, who descends from whom, and signals to all of them.
//!
//! PostgreSQL's backends are sessions of their own, so a process group does not hold a node together;
//! the table in /proc does. Nothing here knows PostgreSQL.

use std::{fs, path::PathBuf};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// One line of the process table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    pid: i32,
    parent: i32,
    state: char,
}

/// True while the process runs; one that has ended but is not collected yet does not count.
pub(crate) fn alive(pid: i32) -> bool {
    entry(pid).is_some_and(|e| !matches!(e.state, 'Z' | 'X'))
}

/// True when the process is stopped by SIGSTOP.
pub(crate) fn frozen(pid: i32) -> bool {
    entry(pid).is_some_and(|e| e.state == 'T')
}

/// The working directory of a process, where we may know it.
pub(crate) fn working_directory(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The words a process was started with; none where we may not know them.
pub(crate) fn arguments(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The process and all that descend from it, parents first.
pub(crate) fn family(pid: i32) -> Vec<i32> {
    let table = table();
    let mut members = vec![pid];
    let mut at = 0;
    while at < members.len() {
        let parent = members[at];
        members.extend(table.iter().filter(|e| e.parent == parent).map(|e| e.pid));
        at += 1;
    }
    members
}

/// Sends a signal; a process that is gone already is no error.
pub(crate) fn send(pid: i32, signal: Signal) -> Result<(), Errno> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Freezes the whole family: first the head, so that it has no further members, then the rest.
pub(crate) fn freeze(pid: i32) -> Result<Vec<i32>, Errno> {
    send(pid, Signal::SIGSTOP)?;
    let members = family(pid);
    for member in &members {
        send(*member, Signal::SIGSTOP)?;
    }
    Ok(members)
}

fn entry(pid: i32) -> Option<Entry> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything, parentheses too.
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Entry { pid, parent, state })
}

fn table() -> Vec<Entry> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes.filter_map(|p| p.ok()?.file_name().to_str()?.parse().ok()).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_family_is_found_frozen_and_ended() {
        let mut head =
            Command::new("sh").args(["-c", "sleep 100 & sleep 100 & wait"]).spawn().unwrap();
        let pid = i32::try_from(head.id()).unwrap();
        crate::lab::wait_until("both sleepers", std::time::Duration::from_secs(10), || {
            family(pid)
                .iter()
                .filter(|p| arguments(**p).first().is_some_and(|a| a == "sleep"))
                .count()
                == 2
        })
        .unwrap();
        let members = freeze(pid).unwrap();
        assert_eq!(members.len(), 3);
        assert!(members.iter().all(|p| alive(*p)));
        crate::lab::wait_until("the freeze", std::time::Duration::from_secs(10), || {
            members.iter().all(|p| frozen(*p))
        })
        .unwrap();
        for member in &members {
            send(*member, Signal::SIGKILL).unwrap();
        }
        crate::lab::wait_until("the end", std::time::Duration::from_secs(10), || {
            !members.iter().any(|p| alive(*p))
        })
        .unwrap();
        // Ended, though nobody has collected it yet.
        assert!(!alive(pid));
        head.wait().unwrap();
        assert!(send(pid, Signal::SIGTERM).is_ok());
    }
}
