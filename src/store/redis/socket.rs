//! A stream of bytes to a server of this host.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;

use crate::blocking::Blocking;

/// Connects to a socket. Finding it is a file system call, which may block.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let place = path.to_owned();
    let connect = move || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // So that a server with a full backlog is an error, and not a wait.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(place)?)?;
        io::Result::Ok(socket)
    };
    let socket = Blocking::on("socket", path).run(connect).await??;
    UnixStream::from_std(OwnedFd::from(socket).into())
}
