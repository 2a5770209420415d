//! TLS on both legs: what was read from the certificate files, ready to be used by every thread.
//!
//! ```text
//!   client ──SSLRequest, or a hello at once──► accept ──┐
//!                                                      ├──► Stream::Tls
//!   node ◄──SSLRequest─────────────────────── secure ──┘
//! ```
//! Certificates can be read again at any time: handshakes that begin afterwards use the new ones, and
//! connections that exist are left alone. Sessions are never resumed, as in PostgreSQL: a connection
//! lives long, and a certificate that was replaced must not live on in somebody's ticket.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `clients` | handshakes with clients |
//! | `nodes` | handshakes with nodes, and what comes before them |
//! | `trust` | whose certificates we believe |
//! | [`certificate`] | what is read out of a certificate |
//! | [`secure`] | the encrypted stream |

mod clients;
mod nodes;
mod trust;

pub mod certificate;
pub mod secure;

use std::{io, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::crypto::{CryptoProvider, ring};

use crate::{
    conf::{
        Settings,
        certificates::Flaw,
        settings::{Node, Tcp},
    },
    net::{self, Stream, tcp},
};

pub use clients::{ClientSide, Start};
pub use nodes::{NodeSide, NodeTlsError};
pub use secure::Secure;

/// TLS on both legs; cheap to clone, and the same for all threads.
#[derive(Clone, Debug, Default)]
pub struct Tls(Arc<Sides>);

#[derive(Debug, Default)]
struct Sides {
    clients: ArcSwapOption<ClientSide>,
    nodes: ArcSwapOption<NodeSide>,
    /// How sockets to nodes are kept; none: as the system has it.
    tcp: Option<Tcp>,
}

/// The name of PostgreSQL's protocol in TLS (ALPN), since version 17.
const PROTOCOL: &[u8] = b"postgresql";

// === impl Tls ===

impl Tls {
    /// Reads the certificates that the settings name.
    ///
    /// # Errors
    /// Every file that will not do.
    pub fn load(settings: &Settings) -> Result<Self, Vec<Flaw>> {
        let tcp = Some(settings.tcp.clone());
        let tls = Self(Arc::new(Sides { tcp, ..Sides::default() }));
        tls.reload(settings)?;
        Ok(tls)
    }

    /// Reads the certificates again. Both legs change, or neither does.
    ///
    /// # Errors
    /// Every file that will not do; then everything stays as it was.
    pub fn reload(&self, settings: &Settings) -> Result<(), Vec<Flaw>> {
        match (ClientSide::load(&settings.client_tls), NodeSide::load(&settings.server_tls)) {
            (Ok(clients), Ok(nodes)) => {
                self.0.clients.store(clients.map(Arc::new));
                self.0.nodes.store(nodes.map(Arc::new));
                Ok(())
            }
            (clients, nodes) => {
                let flaws = [clients.err(), nodes.err()];
                Err(flaws.into_iter().flatten().flatten().collect())
            }
        }
    }

    /// Connects to a node, without TLS so far. The caller sets the time limit.
    ///
    /// # Errors
    /// As the system reports them.
    pub async fn reach(&self, node: &Node) -> io::Result<Stream> {
        let stream = net::connect(node).await?;
        if let (Stream::Tcp(socket), Some(tcp)) = (&stream, &self.0.tcp) {
            tcp::set_up(socket, tcp)?;
        }
        Ok(stream)
    }

    /// What clients are offered, unless TLS with clients is off.
    #[must_use]
    pub fn clients(&self) -> Option<Arc<ClientSide>> {
        self.0.clients.load_full()
    }

    /// What is asked of nodes, unless TLS with nodes is off.
    #[must_use]
    pub fn nodes(&self) -> Option<Arc<NodeSide>> {
        self.0.nodes.load_full()
    }
}

// === helpers ===

/// ring: it needs no more than a C compiler to build, and is what rustls is tried with most.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
