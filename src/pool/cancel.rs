//! Cancel requests that can never reach a server connection's next owner.
//!
//! PostgreSQL closes the connection of a cancel request when it has signalled the backend. So a
//! server connection that a request is under way to is not cleaned, and not given to anybody, before
//! that close was seen. A request whose end was not seen may strike at any time: the server connection
//! is then retired.

use std::{cell::Cell, io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use crate::{
    conf::settings::Node,
    net::Tls,
    protocol::{startup::CancelKey, write},
};

/// What a cancel request for one server connection needs to know.
#[derive(Debug)]
pub struct CancelTarget {
    node: Node,
    tls: Tls,
    key: CancelKey,
    under_way: Cell<u32>,
    astray: Cell<bool>,
    arrived: Notify,
}

// === impl CancelTarget ===

impl CancelTarget {
    /// For the server connection that was given this key by this node.
    #[must_use]
    pub fn new(node: Node, tls: Tls, key: CancelKey) -> Self {
        Self {
            node,
            tls,
            key,
            under_way: Cell::new(0),
            astray: Cell::new(false),
            arrived: Notify::new(),
        }
    }

    /// Asks the node to cancel, and returns when the node has done so.
    ///
    /// # Errors
    /// When the node could not be asked, or did not close the connection within `limit`. Where it may
    /// have been asked, the server connection will be retired.
    pub async fn cancel(&self, limit: Duration) -> io::Result<()> {
        let _under_way = UnderWay::new(self);
        let outcome = tokio::time::timeout(limit, self.ask()).await;
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.astray.set(true);
                Err(error)
            }
            Err(_) => {
                self.astray.set(true);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    /// Waits until no request is under way any more. False: one went astray, and the server connection
    /// must be retired.
    pub async fn settled(&self) -> bool {
        while self.under_way.get() > 0 {
            self.arrived.notified().await;
        }
        !self.astray.get()
    }

    async fn ask(&self) -> io::Result<()> {
        let mut stream = self.tls.connect(&self.node).await.map_err(io::Error::from)?;
        let mut request = Vec::with_capacity(16);
        write::cancel_request(&mut request, &self.key);
        stream.write_all(&request).await?;
        match stream.read_u8().await {
            // The close we wait for; some systems report it as a reset.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Counts a request as under way until dropped, whatever ends it.
struct UnderWay<'a>(&'a CancelTarget);

impl<'a> UnderWay<'a> {
    fn new(target: &'a CancelTarget) -> Self {
        target.under_way.set(target.under_way.get() + 1);
        Self(target)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.arrived.notify_waiters();
    }
}
