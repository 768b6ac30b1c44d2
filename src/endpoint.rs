//! Where Redis (or Valkey) is, and how to log in.

use std::fmt;
use std::path::PathBuf;

use crate::tls::Tls;

/// A deployment of Redis, and how to log in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its servers.
    pub topology: Topology,
    /// `None`: not encrypted.
    pub tls: Option<Tls>,
    /// Index of the database.
    pub database: i64,
    /// For the servers with the data.
    pub login: Login,
    /// Shown by `CLIENT LIST`.
    pub client_name: Option<String>,
}

/// Which servers there are, and who knows where the data is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Topology {
    /// One server.
    Server(Address),
    /// A master and its replicas; the sentinels know which is which.
    Sentinel {
        /// Any of them.
        sentinels: Vec<Address>,
        /// What they call the master.
        master: String,
        /// For the sentinels themselves.
        login: Login,
    },
    /// A cluster; each node knows where the slots are.
    Cluster {
        /// Some of the nodes.
        seeds: Vec<Address>,
    },
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Name or address, and port.
    Tcp(String, u16),
    /// Socket of this host.
    Unix(PathBuf),
}

/// A user and a password.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Login {
    /// ACL user; `None`: the default user.
    pub username: Option<String>,
    /// Its password; `None`: no login, or with a user the empty password.
    pub password: Option<String>,
}

impl Endpoint {
    /// What no message may hold.
    pub fn passwords(&self) -> impl Iterator<Item = &str> {
        let guide = match &self.topology {
            Topology::Sentinel { login, .. } => login.password.as_deref(),
            _ => None,
        };
        self.login.password.as_deref().into_iter().chain(guide)
    }
}

impl Address {
    /// The server that this one calls `host`: its own, where it does not know its name.
    pub fn neighbour(&self, host: &str, port: u16) -> Address {
        match self {
            // Longer than any name is (RFC 1035, section 2.3.4): none.
            Address::Tcp(own, _) if matches!(host, "" | "?") || host.len() > 255 => {
                Address::Tcp(own.clone(), port)
            }
            _ => Address::Tcp(host.to_owned(), port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// As a URL without the login, so that any message may hold it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { tls, database, .. } = self;
        let scheme = if tls.is_some() { "rediss" } else { "redis" };
        let list = |hosts: &[Address]| hosts.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
        match &self.topology {
            Topology::Server(address @ Address::Tcp(..)) => write!(f, "{scheme}://{address}/{database}"),
            Topology::Server(socket) => write!(f, "redis+unix://{socket}?db={database}"),
            Topology::Sentinel { sentinels, master, .. } => {
                write!(f, "{scheme}-sentinel://{}/{database}?master={master}", list(sentinels))
            }
            Topology::Cluster { seeds } => write!(f, "{scheme}-cluster://{}", list(seeds)),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
