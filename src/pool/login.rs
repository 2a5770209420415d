//! Opening a server connection: connect, start up, log in, and hear what the server reports.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use failover::NodeId;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{budget::Permit, cancel::CancelTarget, server::ServerLink};
use crate::{
    auth::{
        ChannelBinding, Credentials,
        as_client::{NodeLogin, NodeLoginError, Reply},
    },
    conf::settings::Node,
    net::{Inbox, Tls, inbox::InboxError, stream::Outbox, tls::NodeTlsError},
    protocol::{
        backend::{self, ErrorFields, Malformed, ParameterStatus, TransactionStatus},
        scan::{HEADER_LENGTH, Scanner},
        startup::{CancelKey, Startup, Version},
        tag::server,
        write,
    },
    shared::{
        identity::{Identity, PoolKey},
        parameters::Parameters,
    },
};

/// Why no server connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The node cannot be reached.
    #[error("cannot connect to node {node}: {error}")]
    Connect {
        /// Which.
        node: NodeId,
        /// Why.
        error: io::Error,
    },
    /// The node is not to be trusted, or has no TLS where it must.
    #[error("no connection to node {node}: {error}")]
    Tls {
        /// Which.
        node: NodeId,
        /// Why.
        error: NodeTlsError,
    },
    /// The node took longer than `pool.connect_timeout`.
    #[error("node {node} did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// Which.
        node: NodeId,
        /// The limit.
        limit: Duration,
    },
    /// The node answered with an error: the bytes of its `ErrorResponse`.
    #[error("node {node} refused the login: {}", ErrorFields::new(&response[HEADER_LENGTH..]).message())]
    Refused {
        /// Which.
        node: NodeId,
        /// The whole message.
        response: Vec<u8>,
    },
    /// We have nothing to log in with.
    #[error("cannot log in to node {node}: {error}")]
    Login {
        /// Which.
        node: NodeId,
        /// Why.
        error: NodeLoginError,
    },
    /// The node does not speak as a server should.
    #[error("node {node} broke the protocol during login: {what}")]
    Protocol {
        /// Which.
        node: NodeId,
        /// How.
        what: String,
    },
}

/// Bytes of the longest message a server sends while logging in.
const MESSAGE_LIMIT: u32 = 64 * 1024;
/// Bytes of the notices of one login that are kept.
const NOTICES_LIMIT: usize = 16 * 1024;

/// Opens a connection to `node` for `key`, within `limit`.
///
/// # Errors
/// See [`OpenError`].
pub async fn open(
    key: PoolKey,
    node: &Node,
    tls: &Tls,
    credentials: Option<&Credentials>,
    permit: Permit,
    limit: Duration,
) -> Result<ServerLink, OpenError> {
    let id = key.node;
    tokio::time::timeout(limit, log_in(key, node, tls, credentials, permit))
        .await
        .unwrap_or(Err(OpenError::Timeout { node: id, limit }))
}

// === impl OpenError ===

impl OpenError {
    /// Whether the node, not the client, is to blame, so that it is worth waiting for another node or
    /// another moment: it is unreachable, starting, stopping, or in recovery without hot standby.
    #[must_use]
    pub fn is_of_the_node(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => true,
            Self::Refused { response, .. } => {
                let code = ErrorFields::new(&response[HEADER_LENGTH..]).code();
                matches!(code, Some(b"57P01" | b"57P02" | b"57P03"))
            }
            Self::Tls { .. } | Self::Login { .. } | Self::Protocol { .. } => false,
        }
    }
}

// === the conversation ===

async fn log_in(
    key: PoolKey,
    node: &Node,
    tls: &Tls,
    credentials: Option<&Credentials>,
    permit: Permit,
) -> Result<ServerLink, OpenError> {
    let id = key.node;
    let io_error = |error| OpenError::Connect { node: id, error };
    let broken = |what: String| OpenError::Protocol { node: id, what };
    let malformed = |error: Malformed| broken(error.to_string());

    let mut stream = tls.connect(node).await.map_err(|error| match error {
        NodeTlsError::Io(error) => io_error(error),
        error => OpenError::Tls { node: id, error },
    })?;
    stream.write_all(&startup_packet(&key.identity)).await.map_err(io_error)?;

    let mut login = NodeLogin::new(&key.identity.user, credentials);
    if let Some(secure) = stream.tls() {
        let bound = |hash: &[u8]| ChannelBinding::TlsServerEndPoint(hash.to_vec());
        login = login.bound_to(secure.end_point().map(bound).unwrap_or_default());
        if secure.is_peer_verified() {
            login = login.allow_cleartext();
        }
    }
    let mut granted = false;
    let mut parameters = Parameters::default();
    let mut notices = Vec::new();
    let mut cancel = None;
    let mut inbox = Inbox::default();
    loop {
        let message =
            inbox.message(&mut stream, MESSAGE_LIMIT).await.map_err(|error| match error {
                InboxError::Io(error) => io_error(error),
                error => broken(error.to_string()),
            })?;
        let (tag, body) = (message[0], &message[HEADER_LENGTH..]);
        match tag {
            server::AUTHENTICATION if !granted => {
                let (code, rest) = backend::authentication(body).map_err(malformed)?;
                let reply = login
                    .on_authentication(code, rest)
                    .map_err(|error| OpenError::Login { node: id, error })?;
                match reply {
                    Reply::Nothing => {}
                    Reply::Send(bytes) => stream.write_all(&bytes).await.map_err(io_error)?,
                    Reply::Granted => granted = true,
                }
            }
            server::ERROR => {
                return Err(OpenError::Refused { node: id, response: message.to_vec() });
            }
            // For the clients of its pool, whose startup parameters these are.
            server::NOTICE if granted && notices.len() + message.len() <= NOTICES_LIMIT => {
                notices.extend_from_slice(message);
            }
            // A server older than 3.2 or without our protocol options says so; we ask for neither.
            server::NOTICE | server::NEGOTIATE_VERSION => {}
            server::PARAMETER_STATUS if granted => {
                let report = ParameterStatus::parse(body).map_err(malformed)?;
                parameters.set(report.name, report.value);
            }
            server::BACKEND_KEY_DATA if granted => {
                cancel = Some(backend::backend_key_data(body).map_err(malformed)?);
            }
            server::READY_FOR_QUERY if granted => {
                if TransactionStatus::parse(body).map_err(malformed)? != TransactionStatus::Idle {
                    return Err(broken("ready, but in a transaction".into()));
                }
                break;
            }
            tag => return Err(broken(format!("message {} during login", tag.escape_ascii()))),
        }
    }
    if !inbox.is_empty() {
        return Err(broken("more messages than were owed".into()));
    }
    // A server without cancel keys (a proxy, say) cannot be cancelled; nothing else changes.
    let cancel = cancel.unwrap_or(CancelKey { pid: 0, secret: Box::default() });
    Ok(ServerLink {
        stream,
        scanner: Scanner::default(),
        held: Vec::new(),
        outbox: Outbox::default(),
        parameters: Arc::new(parameters),
        notices: notices.into(),
        key,
        cancel: Rc::new(CancelTarget::new(node.clone(), tls.clone(), cancel)),
        opened: Instant::now(),
        permit,
        doubt: None,
    })
}

fn startup_packet(identity: &Identity) -> Vec<u8> {
    let version = Version { major: 3, minor: 0 };
    let startup = Startup {
        version,
        user: identity.user.clone(),
        database: identity.database.clone(),
        parameters: identity.parameters.clone(),
        protocol_options: Vec::new(),
    };
    let mut packet = Vec::new();
    write::startup(&mut packet, version, &startup);
    packet
}
