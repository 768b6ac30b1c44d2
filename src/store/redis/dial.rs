//! Opens a byte stream to a server: name resolution, TCP or a Unix socket, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::progress::{Counted, Progress};
use super::race::race;
use crate::blocking::Blocking;
use crate::config::target::Address;

/// The delay before the next address of a host is tried as well (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Keepalive detects a vanished peer after about half a minute, even on an idle connection.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(15);

/// A byte stream of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The TLS settings, and the name that the certificate must have if it is not the host's.
#[derive(Clone)]
pub struct Encryption {
    pub config: Arc<ClientConfig>,
    pub server_name: Option<String>,
}

/// Opens a stream, whose progress is the socket's. Neither this nor its steps have a timeout of their own.
pub async fn dial(
    address: &Address,
    encryption: Option<&Encryption>,
) -> io::Result<(Box<dyn Stream>, Progress)> {
    let (host, port) = match address {
        Address::Tcp(host, port) => (host.as_str(), *port),
        #[cfg(unix)]
        Address::Unix(path) => {
            let stream = Counted::new(connect_socket(path).await?)?;
            let progress = stream.progress();
            return Ok((Box::new(stream), progress));
        }
        #[cfg(not(unix))]
        Address::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let stream = Counted::new(connect(resolve(host, port).await?).await?)?;
    let progress = stream.progress();
    let stream: Box<dyn Stream> = match encryption {
        None => Box::new(stream),
        Some(encryption) => Box::new(encrypt(stream, host, encryption).await?),
    };
    Ok((stream, progress))
}

/// Resolves a host name.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    // `lookup_host` runs in the runtime's pool, where a hanging lookup would block decompression and parsing.
    let name = host.to_owned();
    let lookup = move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
    Blocking::on("host", host).run(lookup).await?
}

/// Connects to the first of these addresses that answers.
pub async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let stream = race(addresses.into_iter().map(TcpStream::connect), NEXT_ADDRESS_AFTER)
        .await
        .map_err(|errors| errors.into_iter().next().unwrap_or_else(|| io::ErrorKind::NotFound.into()))?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR))?;
    Ok(stream)
}

/// Connects to a Unix socket, on a thread of its own: the path lookup may block.
#[cfg(unix)]
async fn connect_socket(path: &Path) -> io::Result<UnixStream> {
    use std::os::fd::OwnedFd;

    use socket2::{Domain, SockAddr, Socket, Type};

    let place = path.to_owned();
    let connect = move || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A blocking socket would wait while the server's backlog is full; this one fails.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(place)?)?;
        io::Result::Ok(socket)
    };
    let socket = Blocking::on("socket", path).run(connect).await??;
    UnixStream::from_std(OwnedFd::from(socket).into())
}

/// Starts TLS and verifies the server's certificate.
pub async fn encrypt<S: Stream>(stream: S, host: &str, encryption: &Encryption) -> io::Result<TlsStream<S>> {
    let name = encryption.server_name.clone().unwrap_or_else(|| host.to_owned());
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    TlsConnector::from(encryption.config.clone()).connect(name, stream).await
}
