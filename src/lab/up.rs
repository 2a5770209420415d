//! `lab up`: nodes, proxy, a word on how to use them, and the proxy's log until Ctrl-C.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use crate::lab::{
    Binaries, Cluster, LabError, NodeState, Secrets, StopMode,
    args::{self, Up},
    directory::{Directory, Record},
    log::Follower,
    node, ports,
    progress::Progress,
    proxy::Proxy,
    signals,
    spec::{Cancel, Ending, Plan},
    wait::rest,
};

/// Brings the lab up and stays until it is told to end, or returns at once with `--detach`.
pub(crate) fn up(dir: &Directory, args: &Up) -> Result<ExitCode, LabError> {
    let cancelled = signals::watch()?;
    let progress = Progress::new();
    match ready(dir, args, &cancelled, &progress) {
        // A program that the same Ctrl-C ended may have been the first to fail.
        Err(_) if cancelled.is_set() => Err(LabError::Interrupted),
        Err(error) => Err(error),
        Ok((cluster, log_start)) => {
            explain(dir, &cluster, progress.seconds(), args.detach)?;
            if args.detach {
                return Ok(ExitCode::SUCCESS);
            }
            follow(dir, &cluster, log_start, &cancelled, &progress)
        }
    }
}

/// The nodes and the proxy, running; and where in the proxy's log this run begins.
fn ready(
    dir: &Directory,
    args: &Up,
    cancelled: &Cancel,
    progress: &Progress,
) -> Result<(Cluster, u64), LabError> {
    let proxy = Proxy::new(dir);
    if proxy.pid().is_some() {
        return Err(LabError::Refused(format!(
            "the lab in {} is up already: `understudy lab status` shows it, `lab down` ends it",
            dir.path().display()
        )));
    }
    let before = if dir.is_made() { Some(dir.record()?) } else { None };
    let port = args.port.or(before.as_ref().map(|r| r.client_port)).unwrap_or(CLIENT_PORT);
    if !ports::is_free(port) {
        let remedy = "choose another with `lab up --port`".to_owned();
        return Err(LabError::PortTaken { port, remedy });
    }
    let (cluster, record, _lock) = match before {
        Some(record) => restart(dir, args, record, port, cancelled, progress)?,
        None => make(dir, args, port, cancelled, progress)?,
    };
    let started =
        progress.step("understudy: waiting for a query through it to be answered", || {
            proxy.configure(&record, cluster.secrets())?;
            let started = proxy.spawn()?;
            proxy.await_answer(&started, port, cluster.secrets(), cancelled)?;
            Ok(started)
        });
    match started {
        Ok(started) => Ok((cluster, started.log_start)),
        Err(error) => {
            // The error that matters is the first one.
            let _ = proxy.stop();
            let _ = cluster.stop_all(StopMode::Fast);
            Err(error)
        }
    }
}

/// A new lab. When something fails, nothing is left of it.
fn make(
    dir: &Directory,
    args: &Up,
    port: u16,
    cancelled: &Cancel,
    progress: &Progress,
) -> Result<(Cluster, Record, fs::File), LabError> {
    let pg = Binaries::find(args.pg_bin.as_deref())?;
    let nodes = args.nodes.map_or(NODES, usize::from);
    dir.clear_unfinished()?;
    let record = Record {
        client_port: port,
        node_ports: ports::from(port.saturating_add(1), nodes)?,
        synchronous: args.sync,
        pg_bin: pg.dir().to_owned(),
    };
    let version = pg.version().to_owned();
    let mut cluster = Cluster::lay_out(Plan {
        dir: dir.path().to_owned(),
        ports: record.node_ports.clone(),
        pg,
        secrets: Secrets::random()?,
        options: record.options(),
        cancelled: cancelled.clone(),
        ending: Ending::Remove,
        apart: true,
    })?;
    let lock = dir.lock()?;
    cluster.secrets().save(&dir.secrets())?;

    progress.step(&format!("node0: initdb and roles, PostgreSQL {version}"), || cluster.seed())?;
    progress.step("node0: starting as the primary", || cluster.start(0))?;
    if nodes > 1 {
        let names: Vec<_> = (1..nodes).map(node::name).collect();
        let names = names.join(", ");
        progress.step(&format!("{names}: base backup through a slot each"), || {
            each(1..nodes, |id| cluster.base_backup(id, 0))
        })?;
        progress.step(&format!("{names}: starting as standbys"), || {
            each(1..nodes, |id| {
                cluster.point(id, 0)?;
                cluster.start(id)?;
                cluster.await_streaming(id, 0)
            })
        })?;
    }
    dir.save(&record)?;
    cluster.leave();
    Ok((cluster, record, lock))
}

/// A lab that was made before. Who was the primary last is the primary again, the others follow it.
fn restart(
    dir: &Directory,
    args: &Up,
    record: Record,
    port: u16,
    cancelled: &Cancel,
    progress: &Progress,
) -> Result<(Cluster, Record, fs::File), LabError> {
    let lock = dir.lock()?;
    let nodes = record.node_ports.len();
    if args.nodes.is_some_and(|n| usize::from(n) != nodes) {
        return Err(LabError::Refused(format!(
            "the lab in {} has {nodes} nodes: `understudy lab down` first, to make another",
            dir.path().display()
        )));
    }
    let mut record =
        Record { client_port: port, synchronous: record.synchronous || args.sync, ..record };
    if let Some(pg_bin) = &args.pg_bin {
        record.pg_bin = Binaries::find(Some(pg_bin))?.dir().to_owned();
    }
    let running = dir.cluster(&record, cancelled.clone())?;
    if running.nodes().iter().all(|n| n.state() == NodeState::Stopped) {
        let taken = record.node_ports.iter().any(|p| !ports::is_free(*p) || *p == port);
        if taken {
            record.node_ports = ports::from(port.saturating_add(1), nodes)?;
        }
    }
    drop(running);
    let cluster = dir.cluster(&record, cancelled.clone())?;
    cluster.write_configuration()?;
    dir.save(&record)?;

    match start_again(&cluster, progress) {
        Ok(()) => Ok((cluster, record, lock)),
        Err(error) => {
            // The error that matters is the first one.
            let _ = cluster.stop_all(StopMode::Fast);
            Err(error)
        }
    }
}

fn start_again(cluster: &Cluster, progress: &Progress) -> Result<(), LabError> {
    let primary = cluster.last_primary()?;
    progress.step(&format!("{}: starting as the primary", node::name(primary)), || {
        cluster.resume(primary)?;
        cluster.start(primary)
    })?;
    for id in (0..cluster.len()).filter(|id| *id != primary) {
        progress.step(&format!("{}: starting as a standby", node::name(id)), || {
            cluster.resume(id)?;
            cluster.follow_or_rejoin(id, primary)
        })?;
    }
    Ok(())
}

/// The same for several nodes at once; the first error counts.
fn each(
    mut ids: std::ops::Range<usize>,
    work: impl Fn(usize) -> Result<(), LabError> + Sync,
) -> Result<(), LabError> {
    thread::scope(|scope| {
        let threads: Vec<_> = ids
            .by_ref()
            .map(|id| {
                let work = &work;
                scope.spawn(move || work(id))
            })
            .collect();
        let results: Vec<_> = threads
            .into_iter()
            .map(|t| {
                t.join().unwrap_or_else(|_| Err(LabError::Refused("the lab panicked".to_owned())))
            })
            .collect();
        results.into_iter().collect()
    })
}

/// Shows the proxy's log until a signal comes, the proxy ends, or the lab is taken down elsewhere.
fn follow(
    dir: &Directory,
    cluster: &Cluster,
    log_start: u64,
    cancelled: &Cancel,
    progress: &Progress,
) -> Result<ExitCode, LabError> {
    let proxy = Proxy::new(dir);
    let mut log = Follower::new(&dir.log(), log_start);
    let ended_itself = loop {
        if log.copy().is_err() || cancelled.is_set() {
            break false;
        }
        if proxy.pid().is_none() {
            break true;
        }
        rest(LOG_PAUSE);
    };
    if ended_itself && !dir.pid_file().exists() {
        say("The lab was taken down by another command.")?;
        return Ok(ExitCode::SUCCESS);
    }
    let _ = log.copy();
    progress.step("stopping understudy", || proxy.stop())?;
    progress.step("stopping the nodes", || cluster.stop_all(StopMode::Fast))?;
    if ended_itself {
        return Err(LabError::Refused(format!(
            "understudy ended by itself; its log is {}",
            dir.log().display()
        )));
    }
    say(&format!(
        "Stopped. `{lab} up` goes on with it, `{lab} down` removes its files.",
        lab = invocation(dir.path())
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// How to connect, and what to try.
fn explain(
    dir: &Directory,
    cluster: &Cluster,
    seconds: f64,
    detached: bool,
) -> Result<(), LabError> {
    let port = dir.record()?.client_port;
    let lab = invocation(dir.path());
    let nodes = cluster.len();
    let version = cluster.binaries().major();
    let password = cluster.secrets().app.reveal();
    let passfile = shell_word(&dir.passfile().to_string_lossy());
    let last = nodes - 1;
    let verbs = [
        ("status".to_owned(), "who is primary, who follows, how far behind".to_owned()),
        (format!("kill {last}"), format!("a node loses power; `rejoin {last}` brings it back")),
        (format!("pause {last}"), format!("a node falls silent; `resume {last}` wakes it")),
        ("logs -f 0".to_owned(), "the log of a node; without a number, understudy's".to_owned()),
        ("down".to_owned(), "stops everything, removes its files (with --keep not)".to_owned()),
    ];
    let verbs: Vec<_> =
        verbs.iter().map(|(verb, words)| format!("    {lab} {verb:11}{words}")).collect();
    let end = if detached { "" } else { "\n\n  Ctrl-C here stops everything. understudy's log:\n" };
    say(&format!(
        "
The lab is up after {seconds:.1} s: {nodes} PostgreSQL {version} nodes, and understudy on port {port}.

  Connect your application:
    postgresql://app:{password}@127.0.0.1:{port}/app

  Or from another terminal:
    {lab} psql
    export PGHOST=127.0.0.1 PGPORT={port} PGUSER=app PGDATABASE=app PGPASSFILE={passfile}
    pgbench -i -s 5 && pgbench -c 8 -P 1 -T 60

  And while it runs:
{verbs}{end}",
        verbs = verbs.join("\n")
    ))
}

/// `understudy lab` as it was called, with `--dir` where that is needed to find this lab again.
pub(crate) fn invocation(dir: &Path) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "understudy".to_owned());
    let program = shell_word(&program);
    if args::default_directory() == dir {
        return format!("{program} lab");
    }
    format!("{program} lab --dir {}", shell_word(&dir.to_string_lossy()))
}

/// Writes to stdout. When nobody reads it any more there is nobody to tell.
pub(crate) fn say(text: &str) -> Result<(), LabError> {
    match writeln!(io::stdout(), "{text}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(LabError::io("write to", Path::new("stdout"))(e))
        }
        _ => Ok(()),
    }
}

/// A word as a shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

const CLIENT_PORT: u16 = 6432;
const NODES: usize = 3;
const LOG_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(shell_word("it's here"), r"'it'\''s here'");
    }
}
