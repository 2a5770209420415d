//! What makes a server connection clean again after a client has left.

use std::io;

use tokio::io::AsyncWriteExt;

use super::server::ServerLink;
use crate::{
    net::{Inbox, inbox::InboxError},
    protocol::{
        backend::{ErrorFields, ParameterStatus, TransactionStatus},
        scan::HEADER_LENGTH,
        tag::server,
        write,
    },
};

/// Why a server connection could not be cleaned.
#[derive(Debug, thiserror::Error)]
pub enum Unclean {
    /// The socket failed.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The server refused the statement.
    #[error("the reset query failed: {0}")]
    Refused(String),
    /// Something came that was not owed.
    #[error("unexpected reply to the reset query: {0}")]
    Surprise(String),
}

/// Bytes of the longest message expected while cleaning.
const MESSAGE_LIMIT: u32 = 64 * 1024;

/// Runs the reset query and checks that the server is idle afterwards. The settings that it resets are
/// reported by the server and noted on the way.
///
/// # Errors
/// Whatever is not exactly as it should be; the connection must then be closed.
pub async fn reset(link: &mut ServerLink, query: &str) -> Result<(), Unclean> {
    let mut request = Vec::with_capacity(query.len() + 6);
    write::query(&mut request, query);
    link.stream.write_all(&request).await?;

    let mut inbox = Inbox::default();
    let mut answered = false;
    loop {
        let message = match inbox.message(&mut link.stream, MESSAGE_LIMIT).await {
            Ok(message) => message,
            Err(InboxError::Io(error)) => return Err(error.into()),
            Err(error) => return Err(Unclean::Surprise(error.to_string())),
        };
        let (tag, body) = (message[0], &message[HEADER_LENGTH..]);
        match tag {
            // A notification was for the client who listened; a reset query of one's own may return rows.
            server::NOTICE | server::NOTIFICATION | server::ROW_DESCRIPTION | server::DATA_ROW => {}
            server::COMMAND_COMPLETE => answered = true,
            server::PARAMETER_STATUS => {
                let report = ParameterStatus::parse(body)
                    .map_err(|error| Unclean::Surprise(error.to_string()))?;
                link.reported(report.name, report.value);
            }
            server::ERROR => return Err(Unclean::Refused(ErrorFields::new(body).message())),
            // After a failed COPY one may come late that its client was owed.
            server::READY_FOR_QUERY if !answered => {
                return Err(Unclean::Surprise("ready before it was done".into()));
            }
            server::READY_FOR_QUERY => {
                return match TransactionStatus::parse(body) {
                    Ok(TransactionStatus::Idle) if inbox.is_empty() => Ok(()),
                    Ok(TransactionStatus::Idle) => {
                        Err(Unclean::Surprise("more than was owed".into()))
                    }
                    _ => Err(Unclean::Surprise("not idle afterwards".into())),
                };
            }
            tag => return Err(Unclean::Surprise(format!("message {}", tag.escape_ascii()))),
        }
    }
}
