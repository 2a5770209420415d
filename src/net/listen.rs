//! The doors clients come in by.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, net::UnixListener as StdUnixListener},
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

/// A bound unix socket; its file goes with it.
#[derive(Debug)]
pub struct UnixDoor {
    /// Accepts.
    pub listener: UnixListener,
    path: PathBuf,
}

/// Binds a TCP address. A port that was in use a moment ago by a former process of ours may be taken
/// again at once (`SO_REUSEADDR`); one that another process listens on may not.
///
/// # Errors
/// As the system reports them.
pub fn tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that "0.0.0.0" and "[::]" can be bound side by side.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Whether an error of [`tcp`] means anything but that this machine has no IPv6.
#[must_use]
pub fn has_ipv6(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::AddrNotAvailable
        && error.raw_os_error() != Some(nix::libc::EAFNOSUPPORT)
}

/// Binds `.s.PGSQL.<port>` in a directory. The file of a process that is gone is replaced; one that
/// still answers is not.
///
/// # Errors
/// As the system reports them; `AddrInUse` while somebody listens there.
pub fn unix(directory: &Path, port: u16, mode: u32) -> io::Result<UnixDoor> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdUnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(UnixDoor { listener: UnixListener::from_std(listener)?, path })
}

// === impl UnixDoor ===

impl Drop for UnixDoor {
    fn drop(&mut self) {
        // A file that somebody removed before us is no loss.
        let _ = fs::remove_file(&self.path);
    }
}
