//! The settings of a story, by name.

use super::words::number;
use crate::{Mode, NodeSettings, OnFailure, Promote, Settings};

/// Every key with its value where it is not the default.
pub(super) fn differences(settings: &Settings) -> Vec<(String, String)> {
    let count = u16::try_from(settings.nodes.len()).unwrap_or(u16::MAX);
    let default = Settings::with_nodes(count);
    let mut keys: Vec<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
    for node in 0..count {
        keys.extend(
            ["allow_failover", "always_primary", "priority"].map(|key| format!("{key}.{node}")),
        );
    }
    keys.into_iter()
        .filter_map(|key| {
            let value = get(settings, &key);
            (value != get(&default, &key)).then_some((key, value))
        })
        .collect()
}

/// Sets a key.
pub(super) fn set(settings: &mut Settings, key: &str, value: &str) -> Result<(), String> {
    let yes = value == "yes";
    let limit = |value: &str| -> Result<Option<u64>, String> {
        if value == "none" { Ok(None) } else { number(value).map(Some) }
    };
    if let Some(millis) = wait(settings, key) {
        *millis = number(value)?;
        return Ok(());
    }
    if let Some(threshold) = threshold(settings, key) {
        *threshold = number(value)?;
        return Ok(());
    }
    if let Some(flag) = flag(settings, key) {
        *flag = yes;
        return Ok(());
    }
    match key {
        "mode" => {
            settings.mode = match value {
                "streaming" => Mode::Streaming,
                "logical" => Mode::Logical,
                "raw" => Mode::Raw,
                _ => return Err(format!("no such mode: {value}")),
            };
        }
        "promote" => {
            settings.promote = match value {
                "builtin" => Promote::Builtin,
                "command" => Promote::Command,
                "observe" => Promote::Observe,
                _ => return Err(format!("no such promote: {value}")),
            };
        }
        "on_failure" => {
            settings.on_failure = match value {
                "stop" => OnFailure::Stop,
                "continue" => OnFailure::Continue,
                _ => return Err(format!("no such on_failure: {value}")),
            };
        }
        "max_data_loss_bytes" => settings.max_data_loss_bytes = limit(value)?,
        "max_automatic_failovers" => {
            settings.max_automatic_failovers =
                limit(value)?.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
        }
        "follow_attempts" => settings.follow.attempts = number(value)?,
        "queue" => settings.queue = number(value)?,
        _ => {
            let (name, node) = node_key(key)?;
            let Some(at) = settings.nodes.get_mut(node) else {
                return Err(format!("no such node: {key}"));
            };
            set_node(at, name, value)?;
        }
    }
    Ok(())
}

fn set_node(node: &mut NodeSettings, name: &str, value: &str) -> Result<(), String> {
    match name {
        "allow_failover" => node.allow_failover = value == "yes",
        "always_primary" => node.always_primary = value == "yes",
        "priority" => node.priority = number(value)?,
        _ => return Err(format!("no such key: {name}")),
    }
    Ok(())
}

fn node_key(key: &str) -> Result<(&str, usize), String> {
    let (name, node) = key.split_once('.').ok_or_else(|| format!("no such key: {key}"))?;
    Ok((name, number(node)?))
}

pub(super) fn get(settings: &Settings, key: &str) -> String {
    let mut copy = settings.clone();
    let limit = |limit: Option<u64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    if let Some(millis) = wait(&mut copy, key) {
        return millis.to_string();
    }
    if let Some(threshold) = threshold(&mut copy, key) {
        return threshold.to_string();
    }
    if let Some(flag) = flag(&mut copy, key) {
        return yes_no(*flag);
    }
    match key {
        "mode" => format!("{:?}", settings.mode).to_lowercase(),
        "promote" => format!("{:?}", settings.promote).to_lowercase(),
        "on_failure" => format!("{:?}", settings.on_failure).to_lowercase(),
        "max_data_loss_bytes" => limit(settings.max_data_loss_bytes),
        "max_automatic_failovers" => limit(settings.max_automatic_failovers.map(u64::from)),
        "follow_attempts" => settings.follow.attempts.to_string(),
        "queue" => settings.queue.to_string(),
        _ => match node_key(key) {
            Ok((name, node)) => {
                let node = &settings.nodes[node];
                match name {
                    "allow_failover" => yes_no(node.allow_failover),
                    "always_primary" => yes_no(node.always_primary),
                    _ => node.priority.to_string(),
                }
            }
            Err(_) => String::new(),
        },
    }
}

fn yes_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn wait<'a>(settings: &'a mut Settings, key: &str) -> Option<&'a mut u64> {
    let timeouts = &mut settings.timeouts;
    Some(match key {
        "evidence_max_age" => &mut timeouts.evidence_max_age,
        "fence" => &mut timeouts.fence,
        "positions" => &mut timeouts.positions,
        "catch_up" => &mut timeouts.catch_up,
        "observe_every" => &mut timeouts.observe_every,
        "promote_timeout" => &mut timeouts.promote,
        "settle" => &mut timeouts.settle,
        "search" => &mut timeouts.search,
        "command_timeout" => &mut timeouts.command,
        "grace" => &mut timeouts.grace,
        "follow_timeout" => &mut timeouts.follow,
        "verify" => &mut timeouts.verify,
        "attach" => &mut timeouts.attach,
        "patience" => &mut timeouts.patience,
        "discovery" => &mut timeouts.discovery,
        "stray" => &mut timeouts.stray,
        "follow_backoff" => &mut settings.follow.backoff,
        "follow_backoff_max" => &mut settings.follow.backoff_max,
        "auto_failback_interval" => &mut settings.returns.auto_failback_interval,
        "flap_max" => &mut settings.returns.flap_max,
        "flap_window" => &mut settings.returns.flap_window,
        _ => return None,
    })
}

fn threshold<'a>(settings: &'a mut Settings, key: &str) -> Option<&'a mut u16> {
    let thresholds = &mut settings.thresholds;
    Some(match key.strip_prefix("threshold.")? {
        "refused" => &mut thresholds.refused,
        "silent" => &mut thresholds.silent,
        "mute" => &mut thresholds.mute,
        "broken" => &mut thresholds.broken,
        "authentication" => &mut thresholds.authentication,
        "too_many_clients" => &mut thresholds.too_many_clients,
        "starting_up" => &mut thresholds.starting_up,
        "in_recovery" => &mut thresholds.in_recovery,
        "shutting_down" => &mut thresholds.shutting_down,
        "unresolved" => &mut thresholds.unresolved,
        "other" => &mut thresholds.other,
        _ => return None,
    })
}

fn flag<'a>(settings: &'a mut Settings, key: &str) -> Option<&'a mut bool> {
    Some(match key {
        "failover_command" => &mut settings.commands.failover,
        "failback_command" => &mut settings.commands.failback,
        "follow_primary_command" => &mut settings.commands.follow_primary,
        "detach_false_primary" => &mut settings.detach_false_primary,
        "failover_on_backend_error" => &mut settings.failover_on_backend_error,
        "failover_on_backend_shutdown" => &mut settings.failover_on_backend_shutdown,
        "agreement" => &mut settings.agreement,
        "standby_veto" => &mut settings.standby_veto,
        "synchronous_strict" => &mut settings.synchronous_strict,
        "auto_failback" => &mut settings.returns.auto_failback,
        _ => return None,
    })
}

const KEYS: &[&str] = &[
    "mode",
    "promote",
    "on_failure",
    "max_data_loss_bytes",
    "max_automatic_failovers",
    "queue",
    "failover_command",
    "failback_command",
    "follow_primary_command",
    "detach_false_primary",
    "failover_on_backend_error",
    "failover_on_backend_shutdown",
    "agreement",
    "standby_veto",
    "synchronous_strict",
    "auto_failback",
    "evidence_max_age",
    "fence",
    "positions",
    "catch_up",
    "observe_every",
    "promote_timeout",
    "settle",
    "search",
    "command_timeout",
    "grace",
    "follow_timeout",
    "verify",
    "attach",
    "patience",
    "discovery",
    "stray",
    "follow_attempts",
    "follow_backoff",
    "follow_backoff_max",
    "auto_failback_interval",
    "flap_max",
    "flap_window",
    "threshold.refused",
    "threshold.silent",
    "threshold.mute",
    "threshold.broken",
    "threshold.authentication",
    "threshold.too_many_clients",
    "threshold.starting_up",
    "threshold.in_recovery",
    "threshold.shutting_down",
    "threshold.unresolved",
    "threshold.other",
];
