//! The error codes we emit ourselves, and when (PostgreSQL manual, appendix "Error Codes").

/// A five-character SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlState(pub &'static str);

/// The transaction or connection cannot go on because its server is gone.
pub const CONNECTION_FAILURE: SqlState = SqlState("08006");
/// A peer broke the protocol.
pub const PROTOCOL_VIOLATION: SqlState = SqlState("08P01");
/// A feature of the protocol we do not have.
pub const FEATURE_NOT_SUPPORTED: SqlState = SqlState("0A000");
/// The client may not log in as it asks.
pub const INVALID_AUTHORIZATION: SqlState = SqlState("28000");
/// Wrong password.
pub const INVALID_PASSWORD: SqlState = SqlState("28P01");
/// A statement is longer than we are set to take.
pub const PROGRAM_LIMIT_EXCEEDED: SqlState = SqlState("54000");
/// The client left a transaction open for too long.
pub const IDLE_IN_TRANSACTION_TIMEOUT: SqlState = SqlState("25P03");
/// The client was idle for too long.
pub const IDLE_SESSION_TIMEOUT: SqlState = SqlState("57P05");
/// Too many connections.
pub const TOO_MANY_CONNECTIONS: SqlState = SqlState("53300");
/// We are shutting down, or an operator ends the session.
pub const ADMIN_SHUTDOWN: SqlState = SqlState("57P01");
/// No primary to serve the client now.
pub const CANNOT_CONNECT_NOW: SqlState = SqlState("57P03");
/// A limit of ours ran out.
pub const QUERY_CANCELED: SqlState = SqlState("57014");
/// A defect of ours.
pub const INTERNAL_ERROR: SqlState = SqlState("XX000");
/// The proxy's configuration does not allow it.
pub const CONFIG_ERROR: SqlState = SqlState("F0000");
