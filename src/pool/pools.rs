//! Idle server connections of one worker, by (database, user, startup parameters, node).

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use failover::NodeId;
use slog::Logger;
use tokio::{sync::oneshot, time::Instant};

use super::{
    budget::{Budget, Permit},
    login::{self, OpenError},
    reset,
    server::ServerLink,
};
use crate::{
    auth::Credentials,
    conf::Settings,
    event,
    net::Tls,
    shared::{
        greetings::{Greeting, Greetings},
        identity::PoolKey,
    },
};

/// The pools of one worker thread.
#[derive(Debug)]
pub struct Pools {
    settings: Arc<Settings>,
    log: Logger,
    tls: Tls,
    budget: Budget,
    greetings: Greetings,
    pools: RefCell<HashMap<PoolKey, Pool>>,
}

#[derive(Debug, Default)]
struct Pool {
    /// Last in, first out: the warmest is used, and what is not needed grows old.
    parked: Vec<Parked>,
    /// Who waits for a connection of this pool, the first in line first.
    waiting: VecDeque<oneshot::Sender<ServerLink>>,
}

#[derive(Debug)]
struct Parked {
    link: ServerLink,
    since: Instant,
}

// === impl Pools ===

impl Pools {
    /// No connections yet. Budget and greetings are shared with the other workers.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        log: Logger,
        budget: Budget,
        greetings: Greetings,
        tls: Tls,
    ) -> Self {
        Self { settings, log, budget, greetings, tls, pools: RefCell::default() }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// An idle connection of this pool, where there is one that is still quiet.
    #[must_use]
    pub fn take_parked(&self, key: &PoolKey) -> Option<ServerLink> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.get_mut(key)?;
        while let Some(mut parked) = pool.parked.pop() {
            if parked.link.is_quiet() {
                return Some(parked.link);
            }
            self.retired(&parked.link, "it said something, or closed, while nobody used it");
        }
        None
    }

    /// Leave to open a connection for this pool, where there is room; an idle connection of another pool
    /// to the same node makes room.
    #[must_use]
    pub fn try_permit(&self, key: &PoolKey) -> Option<Permit> {
        self.budget.try_take(key.node).or_else(|| {
            self.make_room(key.node);
            self.budget.try_take(key.node)
        })
    }

    /// Waits in line for leave to open a connection.
    pub async fn permit(&self, key: &PoolKey) -> Permit {
        self.budget.take(key.node).await
    }

    /// Waits in line for a connection of this pool that somebody gives back.
    pub fn wait_for_returned(&self, key: &PoolKey) -> oneshot::Receiver<ServerLink> {
        let (give, get) = oneshot::channel();
        let mut pools = self.pools.borrow_mut();
        let waiting = &mut pools.entry(key.clone()).or_default().waiting;
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push_back(give);
        get
    }

    /// Opens a new connection for this pool.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        &self,
        key: PoolKey,
        credentials: Option<&Credentials>,
        permit: Permit,
    ) -> Result<ServerLink, OpenError> {
        let limit = self.settings.pool.connect_timeout;
        let node = &self.settings.nodes[key.node.index()];
        let link = login::open(key, node, &self.tls, credentials, permit, limit).await?;
        self.greetings.learn(&link.key, link.greeting());
        event!(self.log, Debug, ServerOpen, "opened a server connection";
            "node" => link.key.node.0, "user" => &link.key.identity.user,
            "database" => &link.key.identity.database);
        Ok(link)
    }

    /// What a client of this pool is told at login, where a server said it lately.
    #[must_use]
    pub fn greeting(&self, key: &PoolKey) -> Option<Greeting> {
        self.greetings.of(key)
    }

    /// Takes back a connection that nobody has used since it was opened or cleaned: for the first who
    /// waits for it, or to be idle.
    pub fn park(&self, mut link: ServerLink) {
        let settings = &self.settings.pool;
        let too_old = settings.max_lifetime.is_some_and(|life| link.opened.elapsed() >= life);
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(link.key.clone()).or_default();
        if !too_old {
            while let Some(waiter) = pool.waiting.pop_front() {
                match waiter.send(link) {
                    Ok(()) => return,
                    Err(unwanted) => link = unwanted,
                }
            }
        }
        if self.budget.has_waiters(link.key.node) {
            drop(pools);
            self.retired(&link, "somebody waits for room on its node");
            return;
        }
        if too_old || pool.parked.len() >= settings.max_idle {
            drop(pools);
            self.retired(&link, "enough are idle, or it has reached pool.max_lifetime");
            return;
        }
        pool.parked.push(Parked { link, since: Instant::now() });
    }

    /// Takes back a connection that a client has left: cleans it and parks it, or closes it where
    /// anything is unclear.
    pub async fn recycle(&self, mut link: ServerLink) {
        if let Some(doubt) = link.doubt {
            return self.retired(&link, doubt);
        }
        let limit = self.settings.pool.connect_timeout;
        let cleaned = tokio::time::timeout(limit, async {
            if !link.cancel.clone().settled().await {
                return Err("a cancel request for it went astray".to_owned());
            }
            let query = &self.settings.pool.reset_query;
            reset::reset(&mut link, query).await.map_err(|error| error.to_string())
        });
        match cleaned.await {
            Ok(Ok(())) => {
                self.greetings.learn(&link.key, link.greeting());
                self.park(link);
            }
            Ok(Err(why)) => self.retired(&link, &why),
            Err(_) => self.retired(&link, "it was not clean within pool.connect_timeout"),
        }
    }

    /// Closes the idle connections to a node, and forgets what it said.
    pub fn close_node(&self, node: NodeId) {
        self.pools.borrow_mut().retain(|key, _| key.node != node);
        self.greetings.forget(node);
    }

    /// Closes what has been idle too long, has reached its age, or is not quiet any more. To be called
    /// about once a second.
    pub fn sweep(&self) {
        let settings = &self.settings.pool;
        let over = |limit: Option<Duration>, since: Instant| {
            limit.is_some_and(|limit| since.elapsed() >= limit)
        };
        self.pools.borrow_mut().retain(|key, pool| {
            let wanted = self.budget.has_waiters(key.node);
            pool.parked.retain_mut(|parked| {
                let why = if !parked.link.is_quiet() {
                    "it said something, or closed, while nobody used it"
                } else if wanted {
                    "somebody waits for room on its node"
                } else if over(settings.idle_timeout, parked.since) {
                    "it has been idle for pool.idle_timeout"
                } else if over(settings.max_lifetime, parked.link.opened) {
                    "it has reached pool.max_lifetime"
                } else {
                    return true;
                };
                self.retired(&parked.link, why);
                false
            });
            pool.waiting.retain(|waiter| !waiter.is_closed());
            !pool.parked.is_empty() || !pool.waiting.is_empty()
        });
        self.greetings.sweep();
    }

    /// Closes the connection to a node that has been idle longest.
    fn make_room(&self, node: NodeId) {
        let mut pools = self.pools.borrow_mut();
        let idle =
            pools.iter_mut().filter(|(key, pool)| key.node == node && !pool.parked.is_empty());
        let longest = idle.min_by_key(|(_, pool)| pool.parked.first().map(|parked| parked.since));
        if let Some((_, pool)) = longest {
            let parked = pool.parked.remove(0);
            drop(pools);
            self.retired(&parked.link, "another pool needs its room on the node");
        }
    }

    fn retired(&self, link: &ServerLink, why: &str) {
        event!(self.log, Debug, ServerClose, "closed a server connection";
            "node" => link.key.node.0, "user" => &link.key.identity.user,
            "database" => &link.key.identity.database, "reason" => why);
    }
}
