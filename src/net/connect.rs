//! The way to a node.

use std::{io, path::Path};

use tokio::net::{TcpStream, UnixStream};

use super::Stream;
use crate::conf::settings::Node;

/// Opens a connection to a node. The name is resolved anew each time, and every address it has is
/// tried; a host that starts with `/` is the directory of a unix socket, as with libpq. The caller sets
/// the time limit.
///
/// # Errors
/// The last address's error.
pub async fn connect(node: &Node) -> io::Result<Stream> {
    if node.host.starts_with('/') {
        let path = Path::new(&node.host).join(format!(".s.PGSQL.{}", node.port));
        return UnixStream::connect(path).await.map(Stream::from);
    }
    let socket = TcpStream::connect((node.host.as_str(), node.port)).await?;
    Ok(socket.into())
}
