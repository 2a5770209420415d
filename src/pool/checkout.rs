//! How a session gets a server connection: the primary's pool, a new connection, or a wait for either.

use std::{rc::Rc, time::Duration};

use failover::{NodeId, Role, Status, Topology};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    login::OpenError,
    pools::Pools,
    server::{Identity, PoolKey, ServerLink},
};
use crate::{auth::Credentials, shared::local::LocalTopology};

/// Why a session got no server connection.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// No primary came within `failover.hold_timeout`; what the last attempt met, where there was one.
    #[error("no primary within failover.hold_timeout ({} ms){}", held.as_millis(),
        last.as_ref().map(|error| format!("; last: {error}")).unwrap_or_default())]
    NoPrimary {
        /// The limit.
        held: Duration,
        /// The last attempt's error.
        last: Option<OpenError>,
    },
    /// The primary answered, and will not have this client.
    #[error(transparent)]
    Refused(OpenError),
}

/// Pauses between attempts at a node that should be there and is not: doubled each time up to the
/// second of these.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The node that a new session goes to: the primary.
#[must_use]
pub fn primary(topology: &Topology) -> Option<NodeId> {
    topology.primary
}

/// Takes a connection to the primary for this identity: a parked one, or a new one. While there is no
/// primary, or it cannot be reached, waits up to `failover.hold_timeout`.
///
/// # Errors
/// See [`CheckoutError`].
pub async fn take(
    pools: &Pools,
    topology: &LocalTopology,
    identity: &Rc<Identity>,
    credentials: Option<&Credentials>,
) -> Result<ServerLink, CheckoutError> {
    let held = pools.settings().failover.hold_timeout;
    let deadline = Instant::now() + held;
    let mut pause = RETRY.0;
    let mut last = None;
    loop {
        let changed = topology.changed();
        let Some(node) = primary(&topology.current()) else {
            if timeout_at(deadline, changed).await.is_err() {
                return Err(CheckoutError::NoPrimary { held, last });
            }
            continue;
        };
        let key = PoolKey { identity: Rc::clone(identity), node };
        if let Some(link) = pools.take_parked(&key) {
            return Ok(link);
        }
        match pools.open(key, credentials).await {
            Ok(link) => return Ok(link),
            Err(error) if error.is_of_the_node() => last = Some(error),
            Err(error) => return Err(CheckoutError::Refused(error)),
        }
        if Instant::now() >= deadline {
            return Err(CheckoutError::NoPrimary { held, last });
        }
        // A change of the topology is worth an attempt at once.
        tokio::select! {
            () = changed => pause = RETRY.0,
            () = sleep_until(deadline.min(Instant::now() + pause)) => pause = RETRY.1.min(pause * 2),
        }
    }
}

/// The nodes a query of our own may go to, the best first: the primary, then standbys in service.
#[must_use]
pub fn answering_nodes(topology: &Topology) -> Vec<NodeId> {
    let in_service = topology.nodes.iter().enumerate().filter_map(|(index, node)| {
        let id = NodeId(u16::try_from(index).ok()?);
        (node.status == Status::Up && node.role == Role::Standby).then_some(id)
    });
    topology.primary.into_iter().chain(in_service).collect()
}
