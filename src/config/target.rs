//! Where the store is, and how to log in.

use std::fmt;
use std::path::PathBuf;

use super::credentials::CredentialsFunction;
use super::tls::Tls;

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A deployment of Redis (or Valkey).
    Redis(Box<Endpoint>),
    /// A directory on this host.
    Directory(Directory),
    /// The memory of this process.
    Memory,
}

/// A directory of this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Directory {
    /// The directory that has one directory per prefix and project.
    pub path: PathBuf,
    /// Whether it is the default one. Other users can write to the place it is in, so it must belong to this user.
    pub is_default: bool,
}

/// A deployment of Redis, and how to log in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The servers.
    pub topology: Topology,
    /// `None`: connections are not encrypted.
    pub tls: Option<Tls>,
    /// The index of the database.
    pub database: i64,
    /// The credentials for the servers that have the data.
    pub login: Login,
    /// Returns the password, and perhaps another user, for each login to these servers.
    pub credentials: Option<CredentialsFunction>,
    /// The name that `CLIENT LIST` shows.
    pub client_name: Option<String>,
}

/// The servers of a deployment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Topology {
    /// One server.
    Server(Address),
    /// A primary and its replicas; the sentinels know which is which.
    Sentinel {
        /// At least one of the sentinels.
        sentinels: Vec<Address>,
        /// The name that the sentinels have for the primary.
        master: String,
        /// The credentials for the sentinels.
        login: Login,
    },
    /// A cluster; each node knows which node has which slot.
    Cluster {
        /// At least one of the nodes.
        seeds: Vec<Address>,
    },
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or an IP address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Credentials.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Login {
    /// The ACL user; `None`: the default user.
    pub username: Option<String>,
    /// The password; `None`: no login, or the empty password if there is a user.
    pub password: Option<String>,
}

impl Directory {
    /// In the temporary directory: it is on the host's own disk even if the home directory is shared, and is writable
    /// even if nothing else is.
    #[cfg(unix)]
    pub fn default_of_this_user() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Directory { path: std::env::temp_dir().join(format!("posthog-flag-cache-{user}")), is_default: true }
    }

    /// In the user's directory for what stays on this host. Some services have a temporary directory in which every
    /// user can write.
    #[cfg(not(unix))]
    pub fn default_of_this_user() -> Self {
        let local = std::env::var_os("LOCALAPPDATA").map(PathBuf::from).filter(|path| path.is_absolute());
        let path = local.unwrap_or_else(std::env::temp_dir).join("posthog-flag-cache");
        Directory { path, is_default: true }
    }
}

impl Endpoint {
    /// The passwords in the options, which no message may contain.
    pub fn passwords(&self) -> impl Iterator<Item = &str> {
        let sentinel = match &self.topology {
            Topology::Sentinel { login, .. } => login.password.as_deref(),
            _ => None,
        };
        self.login.password.as_deref().into_iter().chain(sentinel)
    }
}

impl Address {
    /// The address of a server that this one calls `host`. A server that does not know its own name leaves it out.
    pub fn neighbour(&self, host: &str, port: u16) -> Address {
        match self {
            // No host name is longer than 255 bytes (RFC 1035, section 2.3.4).
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

/// A URL without credentials, for messages.
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
