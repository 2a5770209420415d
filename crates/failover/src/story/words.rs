//! Events and effects in the words of a story.

use std::str::FromStr;

use super::{Shown, keys};
use crate::{
    Effect, Epoch, Errand, Event, Failure, Lineage, Lsn, Machine, Millis, NodeId, Outcome, Reason,
    Request, RoleObservation, Saved, Sessions, Settings, Status, Synchrony, SystemIdentifier,
    Ticket, Timeline, Timer, Topology, WalPosition, WorkerId,
};

/// The events of a healthy cluster's first moments.
pub(super) fn steady(settings: &Settings) -> Vec<(Millis, Event)> {
    let now = Millis(10);
    let streaming = settings.mode == crate::Mode::Streaming;
    let observations = crate::node::ids(settings.nodes.len())
        .map(|node| RoleObservation {
            node,
            at: now,
            system_identifier: SystemIdentifier(1),
            timeline: Timeline(1),
            wal: if node.0 == 0 || !streaming {
                WalPosition::Writing { current: Lsn(1000) }
            } else {
                standing(1000, true)
            },
        })
        .collect();
    vec![
        (Millis(0), Event::Started { saved: None }),
        (Millis(0), Event::WorkerJoined { worker: WorkerId(0) }),
        (Millis(0), Event::WorkerJoined { worker: WorkerId(1) }),
        (now, Event::RolesObserved { observations }),
    ]
}

/// Reads an event.
pub(super) fn event(words: &[&str], now: Millis, machine: &Machine) -> Result<Event, String> {
    Ok(match words {
        ["started"] => Event::Started { saved: None },
        ["started", saved @ ..] => Event::Started { saved: Some(read_saved(saved, machine)?) },
        ["joined", worker] => Event::WorkerJoined { worker: WorkerId(number(worker)?) },
        ["left", worker] => Event::WorkerLeft { worker: WorkerId(number(worker)?) },
        ["letgo", worker, node] => Event::WorkerLetGo {
            worker: WorkerId(number(worker)?),
            node: id(node)?,
            epoch: machine.topology().epoch,
        },
        ["letgo", worker, node, epoch] => Event::WorkerLetGo {
            worker: WorkerId(number(worker)?),
            node: id(node)?,
            epoch: Epoch(number(epoch)?),
        },
        ["pass", node] => Event::HealthPassed { node: id(node)? },
        ["fail", node, kind] => Event::HealthFailed { node: id(node)?, failure: failure(kind)? },
        ["silent-checker", node] => Event::CheckerSilent { node: id(node)? },
        ["broke", node, kind] => Event::SessionFailed { node: id(node)?, failure: failure(kind)? },
        ["shutdown", node] => Event::ShutdownAnnounced { node: id(node)? },
        ["roles", nodes @ ..] => Event::RolesObserved {
            observations: nodes.iter().map(|it| observation(it, now)).collect::<Result<_, _>>()?,
        },
        ["sync", node, needed, members, connected] => Event::SynchronyObserved {
            synchrony: Synchrony {
                node: id(node)?,
                at: now,
                needed: number(needed)?,
                members: ids(members)?,
                connected: ids(connected)?,
            },
        },
        ["finished", errand, outcome] => Event::CommandFinished {
            errand: Errand(number(errand)?),
            outcome: match *outcome {
                "succeeded" => Outcome::Succeeded,
                "timedout" => Outcome::TimedOut,
                "lost" => Outcome::Lost,
                "failed" => Outcome::Failed { code: None },
                other => {
                    let code = other.strip_prefix("failed=");
                    let code = code.ok_or_else(|| format!("no such outcome: {other}"))?;
                    Outcome::Failed { code: Some(number(code)?) }
                }
            },
        },
        ["timer"] => Event::TimerFired { timer: machine.timer },
        ["timer", timer] => Event::TimerFired { timer: Timer(number(timer)?) },
        ["ask", ticket, request @ ..] => {
            Event::OperatorAsked { ticket: Ticket(number(ticket)?), request: asked(request)? }
        }
        ["settings", changes @ ..] => {
            let mut settings = machine.settings().clone();
            for change in changes {
                let (key, value) =
                    change.split_once('=').ok_or_else(|| format!("not key=value: {change}"))?;
                if key == "nodes" {
                    let count = number::<u16>(value)?;
                    settings.nodes = Settings::with_nodes(count).nodes;
                } else {
                    keys::set(&mut settings, key, value)?;
                }
            }
            Event::SettingsChanged { settings: Box::new(settings) }
        }
        ["quorum", held] => Event::QuorumChanged { held: *held == "held" },
        _ => return Err(format!("no such event: {}", words.join(" "))),
    })
}

/// Writes an event.
pub(super) fn written(event: &Event, machine: &Machine) -> String {
    match event {
        Event::Started { saved: None } => "started".into(),
        Event::Started { saved: Some(saved) } => format!("started {}", write_saved(saved)),
        Event::WorkerJoined { worker } => format!("joined {}", worker.0),
        Event::WorkerLeft { worker } => format!("left {}", worker.0),
        Event::WorkerLetGo { worker, node, epoch } => {
            format!("letgo {} {node} {}", worker.0, epoch.0)
        }
        Event::HealthPassed { node } => format!("pass {node}"),
        Event::HealthFailed { node, failure } => format!("fail {node} {}", kind(*failure)),
        Event::CheckerSilent { node } => format!("silent-checker {node}"),
        Event::SessionFailed { node, failure } => format!("broke {node} {}", kind(*failure)),
        Event::ShutdownAnnounced { node } => format!("shutdown {node}"),
        Event::RolesObserved { observations } => {
            let words: Vec<String> = observations.iter().map(write_observation).collect();
            format!("roles {}", words.join(" "))
        }
        Event::SynchronyObserved { synchrony } => format!(
            "sync {} {} {} {}",
            synchrony.node,
            synchrony.needed,
            list(&synchrony.members),
            list(&synchrony.connected)
        ),
        Event::CommandFinished { errand, outcome } => {
            let outcome = match outcome {
                Outcome::Succeeded => "succeeded".into(),
                Outcome::TimedOut => "timedout".into(),
                Outcome::Lost => "lost".into(),
                Outcome::Failed { code: None } => "failed".into(),
                Outcome::Failed { code: Some(code) } => format!("failed={code}"),
            };
            format!("finished {} {outcome}", errand.0)
        }
        Event::TimerFired { timer } => format!("timer {}", timer.0),
        Event::OperatorAsked { ticket, request } => {
            let force = |force: &bool| if *force { " force" } else { "" };
            let request = match request {
                Request::Detach { node } => format!("detach {node}"),
                Request::Attach { node, force: it } => format!("attach {node}{}", force(it)),
                Request::Promote { node, force: it } => format!("promote {node}{}", force(it)),
                Request::Switchover { to: None } => "switchover any".into(),
                Request::Switchover { to: Some(node) } => format!("switchover {node}"),
                Request::Quarantine { node } => format!("quarantine {node}"),
                Request::CloseIdle => "close-idle".into(),
            };
            format!("ask {} {request}", ticket.0)
        }
        Event::SettingsChanged { settings } => {
            let mut words = vec!["settings".to_owned(), format!("nodes={}", settings.nodes.len())];
            let now = keys::differences(machine.settings());
            let then = keys::differences(settings);
            let default = Settings::with_nodes(u16::try_from(settings.nodes.len()).unwrap_or(0));
            for (key, _) in now.iter().filter(|it| !then.iter().any(|other| other.0 == it.0)) {
                words.push(format!("{key}={}", keys::get(&default, key)));
            }
            words.extend(then.iter().map(|(key, value)| format!("{key}={value}")));
            words.join(" ")
        }
        Event::QuorumChanged { held } => {
            format!("quorum {}", if *held { "held" } else { "lost" })
        }
    }
}

/// Writes an effect, unless the story does not show its kind.
pub(super) fn effect(effect: &Effect, settings: &Settings, shown: Shown) -> Option<String> {
    Some(match effect {
        Effect::Publish { topology, let_go_of, touched } => {
            let touched = match touched {
                Sessions::None => "none".into(),
                Sessions::All => "all".into(),
                Sessions::BoundTo(node) => format!("bound to {node}"),
            };
            format!("publish {}; sessions touched: {touched}", snapshot(topology, *let_go_of))
        }
        Effect::Introduce { worker, topology, let_go_of } => {
            format!("introduce worker {} to {}", worker.0, snapshot(topology, *let_go_of))
        }
        Effect::Save(saved) => {
            return shown.saves.then(|| format!("save {}", write_saved(saved)));
        }
        Effect::RunCommand { errand, command, .. } => {
            let or_none = |node: Option<NodeId>| node.map_or("-1".into(), |node| node.to_string());
            format!(
                "run {}: {} %d={} %m={} %M={} %P={}",
                errand.0,
                command.kind.setting(),
                command.node,
                or_none(command.new_main),
                or_none(command.old_main),
                or_none(command.old_primary)
            )
        }
        Effect::Promote { errand, node, .. } => format!("run {}: promote {node}", errand.0),
        Effect::Follow { errand, standby, primary, .. } => {
            format!("run {}: point {standby} at {primary}", errand.0)
        }
        Effect::Cancel { errand } => format!("cancel {}", errand.0),
        Effect::ObserveRoles { nodes } => {
            return shown.questions.then(|| format!("observe {}", list(nodes)));
        }
        Effect::CheckHealth { node } => return shown.questions.then(|| format!("check {node}")),
        Effect::CloseIdle => "close idle connections".into(),
        Effect::Arm { timer, after } => {
            return shown.timers.then(|| format!("arm {} in {after}", timer.0));
        }
        Effect::Disarm { timer } => return shown.timers.then(|| format!("disarm {}", timer.0)),
        Effect::Answer { ticket, result: Ok(()) } => format!("answer {}: done", ticket.0),
        Effect::Answer { ticket, result: Err(refusal) } => {
            format!("answer {}: refused: {refusal}", ticket.0)
        }
        Effect::Say(sentence) => {
            format!("say {:?}: {}", sentence.weight(), sentence.text(settings))
        }
    })
}

/// Reads a number.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number that fits: {text}"))
}

fn snapshot(topology: &Topology, let_go_of: Option<NodeId>) -> String {
    let nodes: Vec<String> = topology
        .nodes
        .iter()
        .map(|node| match node.role {
            crate::Role::Unknown => node.status.to_string(),
            role => format!("{} {role}", node.status),
        })
        .collect();
    let primary = topology.primary.map_or("none".into(), |node| node.to_string());
    let let_go_of = let_go_of.map_or(String::new(), |node| format!("; let go of {node}"));
    format!("#{} primary {primary} [{}]{let_go_of}", topology.epoch.0, nodes.join(", "))
}

fn id(text: &str) -> Result<NodeId, String> {
    number(text).map(NodeId)
}

fn ids(text: &str) -> Result<Vec<NodeId>, String> {
    if text == "-" { Ok(Vec::new()) } else { text.split(',').map(id).collect() }
}

fn list(nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return "-".into();
    }
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn standing(lsn: u64, streaming: bool) -> WalPosition {
    let at = Some(Lsn(lsn));
    WalPosition::Recovering { received: at, replayed: at, streaming, sender: None }
}

/// `0:primary:1:1000` or `1:standby:1:1000:streaming`, with `@at` and `/system` where they differ
/// from now and from 1.
fn observation(text: &str, now: Millis) -> Result<RoleObservation, String> {
    let (text, system) = text.split_once('/').unwrap_or((text, "1"));
    let (text, at) = match text.split_once('@') {
        Some((text, at)) => (text, Millis(number(at)?)),
        None => (text, now),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (node, timeline, wal) = match parts.as_slice() {
        [node, "primary", timeline, lsn] => {
            (node, timeline, WalPosition::Writing { current: Lsn(number(lsn)?) })
        }
        [node, "standby", timeline, lsn] => (node, timeline, standing(number(lsn)?, false)),
        [node, "standby", timeline, lsn, "streaming"] => {
            (node, timeline, standing(number(lsn)?, true))
        }
        _ => return Err(format!("not an observation: {text}")),
    };
    Ok(RoleObservation {
        node: id(node)?,
        at,
        system_identifier: SystemIdentifier(number(system)?),
        timeline: Timeline(number(timeline)?),
        wal,
    })
}

fn write_observation(seen: &RoleObservation) -> String {
    let lsn = seen.position().map_or(0, |lsn| lsn.0);
    let role = if seen.writes() { "primary" } else { "standby" };
    let streaming = if seen.streams() { ":streaming" } else { "" };
    format!(
        "{}:{role}:{}:{lsn}{streaming}@{}/{}",
        seen.node, seen.timeline.0, seen.at.0, seen.system_identifier.0
    )
}

fn asked(words: &[&str]) -> Result<Request, String> {
    let force = words.last() == Some(&"force");
    Ok(match words {
        ["detach", node] => Request::Detach { node: id(node)? },
        ["attach", node, ..] => Request::Attach { node: id(node)?, force },
        ["promote", node, ..] => Request::Promote { node: id(node)?, force },
        ["switchover", "any"] => Request::Switchover { to: None },
        ["switchover", node] => Request::Switchover { to: Some(id(node)?) },
        ["quarantine", node] => Request::Quarantine { node: id(node)? },
        ["close-idle"] => Request::CloseIdle,
        _ => return Err(format!("no such request: {}", words.join(" "))),
    })
}

fn failure(text: &str) -> Result<Failure, String> {
    FAILURES
        .iter()
        .find(|(_, name)| *name == text)
        .map(|(failure, _)| *failure)
        .ok_or_else(|| format!("no such failure: {text}"))
}

fn kind(failure: Failure) -> &'static str {
    FAILURES.iter().find(|(it, _)| *it == failure).map_or("other", |(_, name)| name)
}

fn read_saved(words: &[&str], machine: &Machine) -> Result<Saved, String> {
    let count = machine.settings().nodes.len();
    let mut saved = Saved {
        epoch: Epoch(1),
        errand: Errand(0),
        primary: None,
        renounced: None,
        granted: false,
        synchrony: None,
        lineage: None,
        high_water: None,
        pending: Vec::new(),
        hooked: None,
        stopped: false,
        failovers: Vec::new(),
        nodes: vec![(Status::Up, None); count],
    };
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("not key=value: {word}"))?;
        match key {
            "epoch" => saved.epoch = Epoch(number(value)?),
            "errand" => saved.errand = Errand(number(value)?),
            "primary" => saved.primary = Some(id(value)?),
            "pending" => saved.pending = ids(value)?,
            "hooked" => saved.hooked = Some(id(value)?),
            "stopped" => saved.stopped = value == "yes",
            "renounced" => saved.renounced = Some(Timeline(number(value)?)),
            "granted" => saved.granted = value == "yes",
            "sync" => {
                let parts: Vec<&str> = value.split(':').collect();
                let [node, needed, members, connected] = parts.as_slice() else {
                    return Err(format!("not node:needed:members:connected: {value}"));
                };
                saved.synchrony = Some(Synchrony {
                    node: id(node)?,
                    at: Millis(0),
                    needed: number(needed)?,
                    members: ids(members)?,
                    connected: ids(connected)?,
                });
            }
            "high" => saved.high_water = Some(Lsn(number(value)?)),
            "lineage" => {
                let (system, timeline) =
                    value.split_once(':').ok_or_else(|| format!("not system:timeline: {value}"))?;
                saved.lineage = Some(Lineage {
                    system_identifier: SystemIdentifier(number(system)?),
                    timeline: Timeline(number(timeline)?),
                });
            }
            "failovers" => {
                saved.failovers = value.split(',').map(number).collect::<Result<_, _>>()?;
            }
            "nodes" => {
                saved.nodes = value.split(',').map(read_node).collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("no such memory: {key}")),
        }
    }
    Ok(saved)
}

fn read_node(text: &str) -> Result<(Status, Option<Reason>), String> {
    let (status, reason) = text.split_once(':').unwrap_or((text, ""));
    let status = STATUSES.iter().find(|it| it.to_string() == status);
    let status = *status.ok_or_else(|| format!("no such status: {text}"))?;
    let reason = match reason {
        "" => None,
        failed if failed.starts_with("failed-") => Some(Reason::Failed(failure(&failed[7..])?)),
        other => Some(
            *REASONS
                .iter()
                .find(|reason| format!("{reason:?}") == other)
                .ok_or_else(|| format!("no such reason: {other}"))?,
        ),
    };
    Ok((status, reason))
}

fn write_saved(saved: &Saved) -> String {
    let mut words = vec![format!("epoch={} errand={}", saved.epoch.0, saved.errand.0)];
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(format!("{key}={value}"));
        }
    };
    add("primary", saved.primary.map(|node| node.to_string()));
    add("lineage", saved.lineage.map(|it| format!("{}:{}", it.system_identifier.0, it.timeline.0)));
    add("renounced", saved.renounced.map(|timeline| timeline.0.to_string()));
    add("granted", saved.granted.then(|| "yes".into()));
    let synchrony = saved.synchrony.as_ref().map(|it| {
        format!("{}:{}:{}:{}", it.node, it.needed, list(&it.members), list(&it.connected))
    });
    add("sync", synchrony);
    add("high", saved.high_water.map(|lsn| lsn.0.to_string()));
    add("pending", (!saved.pending.is_empty()).then(|| list(&saved.pending)));
    add("hooked", saved.hooked.map(|node| node.to_string()));
    add("stopped", saved.stopped.then(|| "yes".into()));
    let failovers: Vec<String> = saved.failovers.iter().map(ToString::to_string).collect();
    add("failovers", (!failovers.is_empty()).then(|| failovers.join(",")));
    let node = |(status, reason): &(Status, Option<Reason>)| match reason {
        None => status.to_string(),
        Some(Reason::Failed(failure)) => format!("{status}:failed-{}", kind(*failure)),
        Some(reason) => format!("{status}:{reason:?}"),
    };
    let nodes: Vec<String> = saved.nodes.iter().map(node).collect();
    add("nodes", Some(nodes.join(",")));
    words.join(" ")
}

const FAILURES: &[(Failure, &str)] = &[
    (Failure::Refused, "refused"),
    (Failure::Silent, "silent"),
    (Failure::Mute, "mute"),
    (Failure::Broken, "broken"),
    (Failure::Authentication, "authentication"),
    (Failure::TooManyClients, "too_many_clients"),
    (Failure::StartingUp, "starting_up"),
    (Failure::InRecovery, "in_recovery"),
    (Failure::ShuttingDown, "shutting_down"),
    (Failure::Unresolved, "unresolved"),
    (Failure::Other, "other"),
];

const STATUSES: &[Status] = &[
    Status::Unused,
    Status::Waiting,
    Status::Up,
    Status::Down,
    Status::Quarantined,
    Status::Fenced,
];

const REASONS: &[Reason] = &[
    Reason::ShutDown,
    Reason::Operator,
    Reason::SetAside,
    Reason::NoQuorum,
    Reason::FormerPrimary,
    Reason::SecondPrimary,
    Reason::Stranger,
    Reason::Forked,
    Reason::NotFollowing,
];
