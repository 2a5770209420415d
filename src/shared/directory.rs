//! Cancel key to session: the one map that threads share.
//!
//! A cancel request comes on a connection of its own, to any worker. The directory says which worker
//! has the session, and carries the request there.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use dashmap::{DashMap, mapref::entry::Entry};
use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, oneshot};

use crate::protocol::startup::CancelKey;

/// The number of a session, unique for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A request to cancel what a session is doing.
#[derive(Debug)]
pub struct CancelAsked {
    /// Whose statement.
    pub session: SessionId,
    /// Dropped or told when the node has been asked, so that the canceller's connection closes no
    /// earlier (as with PostgreSQL).
    pub done: oneshot::Sender<()>,
}

/// All live sessions of the process by their cancel keys.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sessions: DashMap<u32, Registered>,
    last_session: AtomicU64,
    last_pid: AtomicU32,
}

#[derive(Debug)]
struct Registered {
    secret: Box<[u8]>,
    session: SessionId,
    worker: mpsc::UnboundedSender<CancelAsked>,
}

/// One session's place in the directory, given up when dropped.
#[derive(Debug)]
pub struct Registration {
    directory: Directory,
    /// What the client was given as its `BackendKeyData`.
    pub key: CancelKey,
}

/// Bytes of secret towards a client of protocol 3.0.
pub const SHORT_SECRET: usize = 4;
/// Bytes of secret towards a client of protocol 3.2, as PostgreSQL 18 sends.
pub const LONG_SECRET: usize = 32;

// === impl Directory ===

impl Directory {
    /// The next session's number.
    #[must_use]
    pub fn next_session(&self) -> SessionId {
        SessionId(self.0.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Gives a session a cancel key of its own, with a secret of so many random bytes.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn register(
        &self,
        session: SessionId,
        worker: mpsc::UnboundedSender<CancelAsked>,
        secret_length: usize,
    ) -> Result<Registration, getrandom::Error> {
        let mut secret = vec![0; secret_length].into_boxed_slice();
        getrandom::fill(&mut secret)?;
        loop {
            // Positive, as drivers read it as a signed number; never 0.
            let pid = (self.0.last_pid.fetch_add(1, Ordering::Relaxed) & 0x7FFF_FFFE) + 1;
            if let Entry::Vacant(place) = self.0.sessions.entry(pid) {
                place.insert(Registered { secret: secret.clone(), session, worker });
                let key = CancelKey { pid, secret };
                return Ok(Registration { directory: self.clone(), key });
            }
        }
    }

    /// Carries a cancel request to its session's worker, and returns when that has asked the node. A
    /// key that nobody has is ignored, in the same time.
    pub async fn cancel(&self, key: &CancelKey) {
        let asked = {
            let Some(found) = self.0.sessions.get(&key.pid) else { return };
            if !bool::from(found.secret.ct_eq(&key.secret)) {
                return;
            }
            let (done, asked) = oneshot::channel();
            if found.worker.send(CancelAsked { session: found.session, done }).is_err() {
                return;
            }
            asked
        };
        // An error means that the session or its worker went first: nothing is left to cancel.
        let _ = asked.await;
    }
}

// === impl Registration ===

impl Drop for Registration {
    fn drop(&mut self) {
        self.directory.0.sessions.remove(&self.key.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_whole_key_reaches_the_session() {
        let directory = Directory::default();
        let (worker, mut asked) = mpsc::unbounded_channel();
        let session = directory.next_session();
        let registration = directory.register(session, worker, SHORT_SECRET).unwrap();
        let key = registration.key.clone();
        assert_eq!(key.secret.len(), SHORT_SECRET);

        let try_key = |key: CancelKey| {
            let directory = directory.clone();
            async move { directory.cancel(&key).await }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut wrong = key.clone();
            wrong.secret[0] ^= 1;
            try_key(wrong).await;
            try_key(CancelKey { pid: key.pid + 1, secret: key.secret.clone() }).await;
            try_key(CancelKey { pid: key.pid, secret: key.secret[..3].into() }).await;
            assert!(asked.try_recv().is_err(), "a wrong key reaches nobody");

            let canceller = tokio::spawn(try_key(key.clone()));
            let got = asked.recv().await.unwrap();
            assert_eq!(got.session, session);
            assert!(!canceller.is_finished(), "the canceller waits until the node was asked");
            got.done.send(()).unwrap();
            canceller.await.unwrap();

            drop(registration);
            try_key(key.clone()).await;
            assert!(asked.try_recv().is_err(), "a session that is gone gets nothing");
        });
    }
}
