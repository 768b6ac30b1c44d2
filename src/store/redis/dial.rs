//! A stream of bytes to one server.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::race::race;
use crate::blocking::Blocking;
use crate::endpoint::Address;

/// A name may have addresses that lead nowhere (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A peer that is gone without a word is noticed after about half a minute, even while nobody asks.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(15);

/// Whatever bytes go through.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How to encrypt, and the name that the certificate must have if it is not the host's.
#[derive(Clone)]
pub struct Encryption {
    pub config: Arc<ClientConfig>,
    pub server_name: Option<String>,
}

/// Has no limit of its own, nor have its steps.
pub async fn dial(address: &Address, encryption: Option<&Encryption>) -> io::Result<Box<dyn Stream>> {
    let (host, port) = match address {
        Address::Tcp(host, port) => (host.as_str(), *port),
        #[cfg(unix)]
        Address::Unix(path) => return Ok(Box::new(super::socket::connect(path).await?)),
        #[cfg(not(unix))]
        Address::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let stream = connect(resolve(host, port).await?).await?;
    match encryption {
        None => Ok(Box::new(stream)),
        Some(encryption) => Ok(Box::new(encrypt(stream, host, encryption).await?)),
    }
}

/// The addresses of a host.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    // Not `lookup_host`: in the runtime's pool, lookups that hang would stop decompression and parsing.
    let name = host.to_owned();
    let lookup = move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
    Blocking::on("host", host).run(lookup).await?
}

/// Connects to one of these.
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

/// Encrypts it, if the other end proves to be who it should be.
pub async fn encrypt(
    stream: TcpStream,
    host: &str,
    encryption: &Encryption,
) -> io::Result<TlsStream<TcpStream>> {
    let name = encryption.server_name.clone().unwrap_or_else(|| host.to_owned());
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    TlsConnector::from(encryption.config.clone()).connect(name, stream).await
}
