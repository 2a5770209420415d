//! The first byte of every tagged message ("Message Formats" in PostgreSQL's protocol chapter).

/// Messages a client sends after its startup packet.
pub mod client {
    /// Simple query.
    pub const QUERY: u8 = b'Q';
    /// Prepares a statement.
    pub const PARSE: u8 = b'P';
    /// Binds parameters to a statement.
    pub const BIND: u8 = b'B';
    /// Asks what a statement or portal looks like.
    pub const DESCRIBE: u8 = b'D';
    /// Runs a portal.
    pub const EXECUTE: u8 = b'E';
    /// Drops a statement or portal.
    pub const CLOSE: u8 = b'C';
    /// Asks for what is ready so far.
    pub const FLUSH: u8 = b'H';
    /// Ends a pipeline.
    pub const SYNC: u8 = b'S';
    /// Calls a function by its oid (legacy).
    pub const FUNCTION_CALL: u8 = b'F';
    /// Says good-bye.
    pub const TERMINATE: u8 = b'X';
    /// A piece of COPY data.
    pub const COPY_DATA: u8 = b'd';
    /// Ends COPY data.
    pub const COPY_DONE: u8 = b'c';
    /// Gives COPY up.
    pub const COPY_FAIL: u8 = b'f';
    /// Password, or a step of SASL or GSS.
    pub const PASSWORD: u8 = b'p';
}

/// Authentication requests: the number after the length of an `R` message.
pub mod authentication {
    /// The login has succeeded.
    pub const OK: i32 = 0;
    /// Kerberos V5 (of servers long gone).
    pub const KERBEROS_V5: i32 = 2;
    /// The password itself.
    pub const CLEARTEXT_PASSWORD: i32 = 3;
    /// MD5 with a salt of four bytes.
    pub const MD5_PASSWORD: i32 = 5;
    /// Credentials of a unix socket (of servers long gone).
    pub const SCM_CREDENTIAL: i32 = 6;
    /// GSSAPI.
    pub const GSS: i32 = 7;
    /// A step of GSSAPI or SSPI.
    pub const GSS_CONTINUE: i32 = 8;
    /// SSPI.
    pub const SSPI: i32 = 9;
    /// SASL, with the names of mechanisms.
    pub const SASL: i32 = 10;
    /// A step of SASL.
    pub const SASL_CONTINUE: i32 = 11;
    /// The last word of SASL.
    pub const SASL_FINAL: i32 = 12;
}

/// Messages a server sends.
pub mod server {
    /// Every step of authentication.
    pub const AUTHENTICATION: u8 = b'R';
    /// The key for cancel requests.
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// A setting that the client is told of.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// Ready for the next query; carries the transaction status.
    pub const READY_FOR_QUERY: u8 = b'Z';
    /// Columns of a result.
    pub const ROW_DESCRIPTION: u8 = b'T';
    /// One row.
    pub const DATA_ROW: u8 = b'D';
    /// A command ended well.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// The query text was empty.
    pub const EMPTY_QUERY: u8 = b'I';
    /// An error, or the end of the connection when it is FATAL.
    pub const ERROR: u8 = b'E';
    /// A notice.
    pub const NOTICE: u8 = b'N';
    /// NOTIFY from some session.
    pub const NOTIFICATION: u8 = b'A';
    /// Parse succeeded.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// Bind succeeded.
    pub const BIND_COMPLETE: u8 = b'2';
    /// Close succeeded.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// Types of a statement's parameters.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// A statement or portal returns no rows.
    pub const NO_DATA: u8 = b'n';
    /// Execute stopped at its row limit.
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// COPY FROM STDIN begins.
    pub const COPY_IN: u8 = b'G';
    /// COPY TO STDOUT begins.
    pub const COPY_OUT: u8 = b'H';
    /// Streaming replication begins.
    pub const COPY_BOTH: u8 = b'W';
    /// A piece of COPY data.
    pub const COPY_DATA: u8 = b'd';
    /// The end of COPY data.
    pub const COPY_DONE: u8 = b'c';
    /// The answer to a function call.
    pub const FUNCTION_RESULT: u8 = b'V';
    /// The server speaks an older minor version, or not all protocol options.
    pub const NEGOTIATE_VERSION: u8 = b'v';
}
