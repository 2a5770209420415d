//! What every TCP socket of ours is set to, on either leg.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::conf::settings::Tcp;

/// Sets up a connected TCP socket, of either leg: no delay, and how a silent peer is found out.
///
/// # Errors
/// As the system reports them.
pub fn set_up(socket: &TcpStream, tcp: &Tcp) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(tcp.keepalive_idle)
            .with_interval(tcp.keepalive_interval)
            .with_retries(tcp.keepalive_count),
    )?;
    socket.set_tcp_user_timeout(tcp.user_timeout)
}
