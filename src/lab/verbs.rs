//! The verbs that act on a lab from any terminal, each saying what it did and what to watch.

use std::{
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    time::Duration,
};

use crate::lab::{
    Args, Cluster, LabError, LogSource, NodeRole, NodeState, Rejoined, StopMode, Verb,
    directory::Directory,
    log::Follower,
    node,
    proxy::Proxy,
    spec::Cancel,
    status,
    up::{self, invocation, say},
    wait::rest,
};

/// Does what `understudy lab …` asks for and says on stderr what went wrong.
pub fn run(args: &Args) -> ExitCode {
    let dir = Directory::new(args.directory());
    act(&dir, &args.verb).unwrap_or_else(|error| {
        // Nobody to tell when stderr is closed; the exit code stays.
        let _ = writeln!(io::stderr(), "understudy lab: {error}");
        if matches!(error, LabError::Interrupted) { ExitCode::from(130) } else { ExitCode::FAILURE }
    })
}

fn act(dir: &Directory, verb: &Verb) -> Result<ExitCode, LabError> {
    match verb {
        Verb::Up(args) => return up::up(dir, args),
        Verb::Down { keep } => return down(dir, *keep),
        Verb::Psql { args } => return psql(dir, args),
        _ => {}
    }
    let record = dir.record()?;
    let cluster = dir.cluster(&record, Cancel::default())?;
    match verb {
        Verb::Status => return status::status(dir, &record, &cluster),
        Verb::Logs { follow, of } => return logs(dir, &cluster, *follow, *of),
        Verb::Kill(n) => kill(dir, &cluster, known(&cluster, n.node)?),
        Verb::Stop(n) => stop(&cluster, known(&cluster, n.node)?),
        Verb::Pause(n) => pause(dir, &cluster, known(&cluster, n.node)?),
        Verb::Resume(n) => resume(&cluster, known(&cluster, n.node)?),
        Verb::Start(n) => start(dir, &cluster, known(&cluster, n.node)?),
        Verb::Rejoin(n) => rejoin(dir, &cluster, known(&cluster, n.node)?),
        Verb::Up(_) | Verb::Down { .. } | Verb::Psql { .. } => Ok(()),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn known(cluster: &Cluster, node: usize) -> Result<usize, LabError> {
    let last = cluster.len().saturating_sub(1);
    if node <= last { Ok(node) } else { Err(LabError::NoNode { node, last }) }
}

fn kill(dir: &Directory, cluster: &Cluster, id: usize) -> Result<(), LabError> {
    let was = must_run(cluster, id)?;
    cluster.kill(id)?;
    say(&format!(
        "{name}{was} was killed. Watch `{lab} logs -f`; `{lab} rejoin {id}` brings it back as a standby, \
         `{lab} start {id}` as it was.",
        name = node::name(id),
        lab = invocation(dir.path())
    ))
}

fn stop(cluster: &Cluster, id: usize) -> Result<(), LabError> {
    let was = must_run(cluster, id)?;
    cluster.stop(id, StopMode::Fast)?;
    say(&format!(
        "{}{was} was stopped in good order; `start {id}` starts it again.",
        node::name(id)
    ))
}

fn pause(dir: &Directory, cluster: &Cluster, id: usize) -> Result<(), LabError> {
    let was = must_run(cluster, id)?;
    cluster.pause(id)?;
    say(&format!(
        "{name}{was} is frozen: its connections are open and silent. `{lab} resume {id}` lets it go on.",
        name = node::name(id),
        lab = invocation(dir.path())
    ))
}

fn resume(cluster: &Cluster, id: usize) -> Result<(), LabError> {
    if cluster.node(id).state() == NodeState::Stopped {
        return Err(LabError::Refused(format!("{} does not run: `start {id}`", node::name(id))));
    }
    cluster.resume(id)?;
    say(&format!("{} goes on.", node::name(id)))
}

fn start(dir: &Directory, cluster: &Cluster, id: usize) -> Result<(), LabError> {
    let name = node::name(id);
    match cluster.node(id).state() {
        NodeState::Running => return say(&format!("{name} runs already.")),
        NodeState::Paused => {
            return Err(LabError::Refused(format!("{name} is frozen: `resume {id}`")));
        }
        NodeState::Stopped => cluster.start(id)?,
    }
    let others = (0..cluster.len()).filter(|other| *other != id);
    let rivals = others
        .filter(|other| cluster.node(*other).state() == NodeState::Running)
        .filter(|other| cluster.node(*other).role() == Some(NodeRole::Primary));
    match (cluster.node(id).role(), rivals.into_iter().next()) {
        (Some(NodeRole::Primary), Some(rival)) => say(&format!(
            "{name} came back as a primary beside {rival}: no statement must reach it. \
             `{lab} rejoin {id}` makes it a standby.",
            rival = node::name(rival),
            lab = invocation(dir.path())
        )),
        (Some(NodeRole::Primary), None) => say(&format!("{name} runs as the primary.")),
        _ => say(&format!("{name} runs as a standby.")),
    }
}

fn rejoin(dir: &Directory, cluster: &Cluster, id: usize) -> Result<(), LabError> {
    let _lock = dir.lock()?;
    let name = node::name(id);
    let primary = cluster.newest_running_primary(Some(id)).ok_or_else(|| {
        LabError::Refused(format!(
            "no other node is a primary: there is nobody for {name} to follow"
        ))
    })?;
    if cluster.newest_running_primary(None) == Some(id) {
        return Err(LabError::Refused(format!(
            "{name} is the primary on the newest timeline: rejoin the other one, {}",
            node::name(primary)
        )));
    }
    let upstream = node::name(primary);
    match cluster.rejoin(id, primary)? {
        Rejoined::Rewound => say(&format!(
            "{name} kept its data (unwound where it had gone astray) and streams from {upstream}."
        )),
        Rejoined::Copied => say(&format!("{name} was copied anew and streams from {upstream}.")),
    }
}

fn down(dir: &Directory, keep: bool) -> Result<ExitCode, LabError> {
    if !dir.is_made() {
        return match dir.clear_unfinished() {
            Ok(true) => {
                say("The remains of an interrupted `lab up` are removed.")?;
                Ok(ExitCode::SUCCESS)
            }
            Err(LabError::NotALab { dir }) => Err(LabError::NoLab { dir }),
            Ok(false) => Err(LabError::NoLab { dir: dir.path().to_owned() }),
            Err(error) => Err(error),
        };
    }
    let lock = dir.lock()?;
    let record = dir.record()?;
    let stopped = Proxy::new(dir).stop().and_then(|()| {
        let cluster = dir.cluster(&record, Cancel::default())?;
        cluster.stop_all(StopMode::Fast)
    });
    if keep {
        stopped?;
        say(&format!("Everything is stopped; `{} up` goes on with it.", invocation(dir.path())))?;
    } else {
        // Whatever does not stop in good order is killed with its files.
        dir.remove()?;
        say(&format!("Everything is stopped, and {} is removed.", dir.path().display()))?;
    }
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

fn logs(
    dir: &Directory,
    cluster: &Cluster,
    follow: bool,
    of: LogSource,
) -> Result<ExitCode, LabError> {
    let path = match of {
        LogSource::Understudy => dir.log(),
        LogSource::Node(id) => cluster.node(known(cluster, id)?).log(),
    };
    fs::metadata(&path).map_err(LabError::io("read", &path))?;
    let mut follower = Follower::new(&path, 0);
    // Ends when nobody reads any more, or the log is gone with its lab.
    while follower.copy().is_ok() && follow && path.exists() {
        rest(LOG_PAUSE);
    }
    Ok(ExitCode::SUCCESS)
}

fn psql(dir: &Directory, args: &[String]) -> Result<ExitCode, LabError> {
    let record = dir.record()?;
    let beside = record.pg_bin.join("psql");
    let program = if beside.is_file() { beside } else { "psql".into() };
    let mut psql = Command::new(&program);
    psql.env("PGHOST", "127.0.0.1").env("PGPORT", record.client_port.to_string());
    psql.env("PGUSER", "app").env("PGDATABASE", "app").env("PGPASSFILE", dir.passfile());
    // From here on this process is psql, unless that is impossible.
    Err(LabError::io("run", &program)(psql.args(args).exec()))
}

/// What the node is, in words, before something happens to it.
fn must_run(cluster: &Cluster, id: usize) -> Result<&'static str, LabError> {
    match cluster.node(id).state() {
        NodeState::Stopped => Err(LabError::Refused(format!("{} does not run", node::name(id)))),
        NodeState::Paused => Ok(""),
        NodeState::Running => Ok(match cluster.node(id).role() {
            Some(NodeRole::Primary) => " (the primary)",
            Some(NodeRole::Standby) => " (a standby)",
            None => "",
        }),
    }
}

const LOG_PAUSE: Duration = Duration::from_millis(100);
