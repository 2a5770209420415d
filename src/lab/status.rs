//! `lab status`: what each node says of itself.

use std::process::ExitCode;

use crate::lab::{
    Cluster, LabError, Node, NodeState,
    directory::{Directory, Record},
    proxy::Proxy,
    up::say,
};

/// What a node that answers says.
struct Standing {
    in_recovery: bool,
    timeline: String,
    position: u64,
    following: String,
}

/// Prints the table; success when everything runs.
pub(crate) fn status(
    dir: &Directory,
    record: &Record,
    cluster: &Cluster,
) -> Result<ExitCode, LabError> {
    let standings: Vec<_> = cluster.nodes().iter().map(Standing::of).collect();
    // With two primaries (an old one that came back) the newer timeline is what counts.
    let newest = standings
        .iter()
        .flatten()
        .filter(|s| !s.in_recovery)
        .max_by(|a, b| (&a.timeline, a.position).cmp(&(&b.timeline, b.position)));
    let mut lines = vec![HEADER.map(str::to_owned)];
    for (node, standing) in cluster.nodes().iter().zip(&standings) {
        lines.push(line(node, standing.as_ref(), newest));
    }
    let proxy = Proxy::new(dir).pid();
    lines.push([
        "understudy".to_owned(),
        if proxy.is_some() { "running" } else { "stopped" }.to_owned(),
        "proxy".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        record.client_port.to_string(),
        proxy.map(|p| p.to_string()).unwrap_or_default(),
    ]);
    say(&aligned(&lines))?;
    let all = proxy.is_some() && standings.iter().all(Option::is_some);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

// === impl Standing ===

impl Standing {
    /// `None` when the node does not run or does not answer.
    fn of(node: &Node) -> Option<Self> {
        if node.state() != NodeState::Running {
            return None;
        }
        let row = node.query(STANDING).ok()?.into_iter().next()?;
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        Some(Self {
            in_recovery: fields.next()? == "t",
            timeline: fields.next()?.trim_start_matches('0').to_owned(),
            position: parse_lsn(&fields.next()?)?,
            following: fields.next()?,
        })
    }
}

fn line(node: &Node, standing: Option<&Standing>, primary: Option<&Standing>) -> [String; 8] {
    let state = match (node.state(), standing) {
        (NodeState::Stopped, _) => "stopped",
        (NodeState::Paused, _) => "paused",
        (NodeState::Running, Some(_)) => "running",
        (NodeState::Running, None) => "mute",
    };
    let (role, timeline, position, lag) = match standing {
        None => Default::default(),
        Some(s) => {
            let role = if !s.in_recovery {
                "primary"
            } else if s.following == "streaming" {
                "standby"
            } else {
                "standby (not streaming)"
            };
            let lag = match primary {
                Some(p) if s.in_recovery => {
                    format!("{} bytes", p.position.saturating_sub(s.position))
                }
                _ => String::new(),
            };
            (role.to_owned(), s.timeline.clone(), show_lsn(s.position), lag)
        }
    };
    let pid = node.pid().map(|p| p.to_string()).unwrap_or_default();
    [node.name(), state.to_owned(), role, timeline, position, lag, node.port().to_string(), pid]
}

fn aligned(lines: &[[String; 8]]) -> String {
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let rows: Vec<String> = lines
        .iter()
        .map(|line| {
            let cells: Vec<String> =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    rows.join("\n")
}

/// `16/B374D848` as a number of bytes.
fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}

fn show_lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

const HEADER: [&str; 8] = ["NODE", "STATE", "ROLE", "TIMELINE", "POSITION", "LAG", "PORT", "PID"];
const STANDING: &str = "SELECT pg_is_in_recovery(), \
     CASE WHEN pg_is_in_recovery() \
          THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), \
                        (SELECT timeline_id FROM pg_control_checkpoint()))::text \
          ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int::text END, \
     CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, \
     (SELECT status FROM pg_stat_wal_receiver)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_and_shown() {
        assert_eq!(parse_lsn("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(show_lsn(0x16_B374_D848), "16/B374D848");
        assert_eq!(parse_lsn(""), None);
    }
}
