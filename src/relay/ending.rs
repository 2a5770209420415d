//! Why a session ended, and what its client is told: the words and the codes in one place.

use std::io;

use super::{
    control::Order,
    run::{ClientFault, Stopped},
};
use crate::{
    pool::{checkout::CheckoutError, login::OpenError},
    protocol::{scan::HEADER_LENGTH, sqlstate, startup::BadOpening, write::Error},
};

/// How a session ended.
#[derive(Debug)]
pub enum Ending {
    /// The client left, at whatever moment.
    ClientLeft,
    /// It never became a session: a cancel request, a probe that connects and closes, a throttled login (of
    /// which the log knows).
    NoSession,
    /// The client was refused or sent away; it was told why.
    Refused {
        /// For the log only: more than the client may know.
        reason: String,
    },
    /// The server connection was lost.
    ServerLost {
        /// What the socket said.
        error: Option<io::Error>,
    },
    /// The server broke the protocol.
    ServerBroke {
        /// How.
        what: String,
    },
    /// The proxy shuts down.
    Drained,
}

/// What a client is told that is sent away by an order; PostgreSQL's words where it has them.
#[must_use]
pub fn ordered(order: Order) -> Error {
    match order {
        Order::Drain => Error::fatal(
            sqlstate::ADMIN_SHUTDOWN,
            "terminating connection due to administrator command",
        ),
        Order::EndIdle => Error::fatal(
            sqlstate::IDLE_SESSION_TIMEOUT,
            "terminating connection due to idle-session timeout",
        ),
        Order::EndIdleTransaction => Error::fatal(
            sqlstate::IDLE_IN_TRANSACTION_TIMEOUT,
            "terminating connection due to idle-in-transaction timeout",
        ),
        Order::EndStalled => Error::fatal(
            sqlstate::QUERY_CANCELED,
            "terminating connection because its client does not read",
        ),
    }
}

/// How the log has it.
#[must_use]
pub fn obeyed(order: Order) -> Ending {
    let reason = match order {
        Order::Drain => return Ending::Drained,
        Order::EndIdle => "it was idle for limits.client_idle_timeout",
        Order::EndIdleTransaction => {
            "it was idle in a transaction for limits.idle_transaction_timeout"
        }
        Order::EndStalled => "it did not read for limits.client_write_timeout",
    };
    Ending::Refused { reason: reason.to_owned() }
}

/// What a client is told whose startup packet is refused.
#[must_use]
pub fn bad_opening(error: &BadOpening) -> Error {
    let code = match error {
        BadOpening::Version(_) => sqlstate::FEATURE_NOT_SUPPORTED,
        BadOpening::NoUser => sqlstate::INVALID_AUTHORIZATION,
        _ => sqlstate::PROTOCOL_VIOLATION,
    };
    Error::fatal(code, error.to_string())
}

/// What a client is told who broke the protocol.
#[must_use]
pub fn client_fault(fault: &ClientFault) -> Error {
    let code = match fault {
        ClientFault::Statement { .. } => sqlstate::PROGRAM_LIMIT_EXCEEDED,
        _ => sqlstate::PROTOCOL_VIOLATION,
    };
    Error::fatal(code, fault.to_string())
}

/// The bytes a client is told that got no server connection: what the node said where it answered,
/// words of our own otherwise.
#[must_use]
pub fn no_server(error: &CheckoutError) -> Vec<u8> {
    let own = |error: Error| {
        let mut bytes = Vec::new();
        error.write(&mut bytes);
        bytes
    };
    match error {
        CheckoutError::NoPrimary { held, .. } => own(Error::fatal(
            sqlstate::CANNOT_CONNECT_NOW,
            "the proxy has no primary to serve this session",
        )
        .detail(format!("It waited failover.hold_timeout ({} ms) for one.", held.as_millis()))
        .hint("Try again later; \"understudy\" logs what every node answers.")),
        error @ CheckoutError::QueueTimeout { .. } => {
            own(Error::fatal(sqlstate::QUERY_CANCELED, error.to_string())
                .hint("Raise pool.max_per_node, or open fewer connections at a time."))
        }
        CheckoutError::Refused(OpenError::Refused { response, .. }) => {
            debug_assert!(response.len() >= HEADER_LENGTH);
            response.clone()
        }
        CheckoutError::Refused(error @ OpenError::Login { .. }) => own(Error::fatal(
            sqlstate::INVALID_AUTHORIZATION,
            "the proxy cannot log in to the node on behalf of this user",
        )
        .detail(error.to_string())),
        CheckoutError::Refused(error) => {
            own(Error::fatal(sqlstate::CONNECTION_FAILURE, error.to_string()))
        }
    }
}

/// What a client is told whose server connection ended without a word.
#[must_use]
pub fn server_lost() -> Error {
    Error::fatal(sqlstate::CONNECTION_FAILURE, "the connection to the node was lost")
        .hint("Whether a statement that was under way has taken effect is not known.")
}

/// What a client is told whose server broke the protocol.
#[must_use]
pub fn server_broke() -> Error {
    Error::fatal(
        sqlstate::PROTOCOL_VIOLATION,
        "the node broke the protocol, and the proxy has closed the connection to it",
    )
}

// === impl Stopped ===

impl Stopped {
    /// The last words to the client, where there are any, and how the session ended.
    #[must_use]
    pub fn ending(self) -> (Option<Error>, Ending) {
        match self {
            Self::ClientLeft => (None, Ending::ClientLeft),
            Self::ClientBroke(fault) => {
                (Some(client_fault(&fault)), Ending::Refused { reason: fault.to_string() })
            }
            Self::ServerLost { told, error } => {
                ((!told).then(server_lost), Ending::ServerLost { error })
            }
            Self::ServerBroke(what) => (Some(server_broke()), Ending::ServerBroke { what }),
            Self::Ordered(order) => (Some(ordered(order)), obeyed(order)),
        }
    }
}
