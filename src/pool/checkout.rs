//! How a session gets a server connection: the primary's pool, a new connection, or a wait for either.

use std::{sync::Arc, time::Duration};

use failover::{NodeId, Role, Status, Topology};
use tokio::time::{Instant, sleep_until};

use super::{budget::Permit, login::OpenError, pools::Pools, server::ServerLink};
use crate::{
    auth::Credentials,
    shared::{
        identity::{Identity, PoolKey},
        local::LocalTopology,
    },
};

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
    /// No server connection became free within `limits.query_wait_timeout`.
    #[error(
        "no server connection to node {node} became free within limits.query_wait_timeout ({} ms)",
        limit.as_millis()
    )]
    QueueTimeout {
        /// Which node.
        node: NodeId,
        /// The limit.
        limit: Duration,
    },
    /// The primary answered, and will not have this client.
    #[error(transparent)]
    Refused(OpenError),
}

/// How long, and how often, something is tried that a node should do and does not.
#[derive(Clone, Debug)]
pub struct Patience {
    deadline: Instant,
    pause: Duration,
}

/// The first and the longest pause between two attempts; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Takes a connection to the primary for this identity: a parked one, or a new one. While there is no
/// primary, or it cannot be reached, waits up to `failover.hold_timeout`.
///
/// # Errors
/// See [`CheckoutError`].
pub async fn take(
    pools: &Pools,
    topology: &LocalTopology,
    identity: &Arc<Identity>,
    credentials: Option<&Credentials>,
) -> Result<ServerLink, CheckoutError> {
    let held = pools.settings().failover.hold_timeout;
    let mut patience = Patience::new(held);
    let mut last = None;
    loop {
        let changed = topology.changed();
        if let Some(node) = topology.current().primary {
            let key = PoolKey { identity: Arc::clone(identity), node };
            if let Some(link) = pools.take_parked(&key) {
                return Ok(link);
            }
            let permit = match pools.try_permit(&key) {
                Some(permit) => permit,
                None => match wait_in_line(pools, &key).await? {
                    Turn::Returned(link) => return Ok(*link),
                    Turn::Open(permit) => permit,
                },
            };
            match pools.open(key, credentials, permit).await {
                Ok(link) => return Ok(link),
                Err(error) if error.is_of_the_node() => last = Some(error),
                Err(error) => return Err(CheckoutError::Refused(error)),
            }
        }
        if !patience.wait(changed).await {
            return Err(CheckoutError::NoPrimary { held, last });
        }
    }
}

/// What a place in line leads to.
enum Turn {
    /// A connection of the right pool that somebody gave back.
    Returned(Box<ServerLink>),
    /// Leave to open one.
    Open(Permit),
}

async fn wait_in_line(pools: &Pools, key: &PoolKey) -> Result<Turn, CheckoutError> {
    let limit = pools.settings().limits.query_wait_timeout;
    let returned = pools.wait_for_returned(key);
    tokio::select! {
        biased;
        Ok(link) = returned => Ok(Turn::Returned(Box::new(link))),
        permit = pools.permit(key) => Ok(Turn::Open(permit)),
        limit = over(limit) => Err(CheckoutError::QueueTimeout { node: key.node, limit }),
    }
}

/// Returns when `limit` is over; never where there is none.
pub async fn over(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
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

// === impl Patience ===

impl Patience {
    /// Lasts for `limit` from now.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, pause: PAUSES.0 }
    }

    /// Waits until it is time for another attempt: at once when the topology has changed, after a pause
    /// otherwise. False: the time is up.
    pub async fn wait(&mut self, changed: impl Future<Output = ()>) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        tokio::select! {
            () = changed => self.pause = PAUSES.0,
            () = sleep_until(self.deadline.min(now + self.pause)) => {
                self.pause = PAUSES.1.min(self.pause * 2);
            }
        }
        true
    }
}
