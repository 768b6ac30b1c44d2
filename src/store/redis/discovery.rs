//! Finds the primary that has our keys, and connects to it.
//!
//! With Sentinel or a cluster, the servers in the URL are *seeds*: each can say which server the primary is.
//! All keys of a project are in one slot of a cluster, so one connection to the primary of that slot is enough;
//! other nodes may come, go and hang. The cluster passes pub/sub messages on to it from every node.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisError, RedisResult, ServerErrorKind, Value,
    from_redis_value,
};
use tokio::time::timeout;

use super::access::Access;
use super::connection::{Connection, setup};
use super::errors::{Redacted, described, is_passing, needs_new_connection};
use super::protocol::lacks_resp3;
use super::race::race;
use super::subscription::Subscription;
use crate::config::credentials::{Credentials, CredentialsFunction};
use crate::config::options::Options;
use crate::config::target::{Address, Endpoint, Topology};
use crate::error::{Code, Error, Result};

/// The delay before the next seed is asked as well.
const NEXT_SEED_AFTER: Duration = Duration::from_millis(300);

/// Finds the primary of one deployment, and remembers what it learnt on the way.
pub struct Discovery {
    endpoint: Endpoint,
    slot: u16,
    limit: Duration,
    /// Without `credentials`.
    fixed: Arc<Access>,
    learnt: Mutex<Learnt>,
}

#[derive(Default)]
struct Learnt {
    redirect: Option<Redirect>,
    /// The seed that answered last, and the nodes that it named.
    seeds: Vec<Address>,
    /// A server rejected `HELLO 3`. From then on this process uses RESP2, which every server supports. Trying RESP3
    /// again would cost one connection at each reconnect.
    lacks_resp3: bool,
    /// The two passwords that the function in `credentials` returned last: no message may contain them.
    passwords: VecDeque<String>,
}

/// The server to which `MOVED` or `ASK` sent us.
struct Redirect {
    address: Address,
    /// It was `ASK`: the slot is still moving.
    asking: bool,
}

/// One way to reach the primary.
enum Way {
    Redirect(Redirect),
    Seed(Address),
}

impl Discovery {
    /// The project key determines the slot in a cluster.
    pub fn new(endpoint: &Endpoint, options: &Options) -> Self {
        Discovery {
            endpoint: endpoint.clone(),
            slot: slot(&options.project_key),
            limit: options.connect_timeout,
            fixed: Arc::new(Access::fixed(endpoint)),
            learnt: Mutex::default(),
        }
    }

    /// The deployment.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Finds the primary and connects to it. Ends after `connectTimeoutMs`, which covers all seeds together; the function in
    /// `credentials` has as long.
    pub async fn connect(&self, config: &AsyncConnectionConfig) -> Result<Connection> {
        let access = self.access().await?;
        match self.connect_with(&access, config).await {
            // The password may have changed since the function returned it.
            Err(error) if error.code() == Code::Auth && self.endpoint.credentials.is_some() => {
                let renewed = self.access().await?;
                if renewed.login == access.login {
                    Err(error)
                } else {
                    self.connect_with(&renewed, config).await
                }
            }
            result => result,
        }
    }

    /// The login to use now.
    pub async fn access(&self) -> Result<Arc<Access>> {
        let Some(CredentialsFunction(provider)) = &self.endpoint.credentials else {
            return Ok(self.fixed.clone());
        };
        let failed = |cause| {
            Error::new(Code::Auth, "cannot get a login from option 'credentials'")
                .caused_by(io::Error::other(cause))
        };
        let given = match timeout(self.limit, provider.call()).await {
            Ok(Ok(given)) => given,
            Ok(Err(cause)) => {
                let passwords = self.passwords();
                let redacted = Redacted::of(passwords.iter().map(String::as_str), &*cause);
                return Err(failed(redacted.map_or(cause, Into::into)));
            }
            Err(_) => return Err(failed(format!("no answer within {} ms", self.limit.as_millis()).into())),
        };
        // Before it is judged: a later error may quote it.
        self.keep_secret(given.field("password"));
        let access = Credentials::from_given(given)
            .map_err(Into::into)
            .and_then(|credentials| Access::granted(&self.endpoint, credentials).map_err(Into::into));
        Ok(Arc::new(access.map_err(failed)?))
    }

    fn keep_secret(&self, password: Option<&str>) {
        let passwords = &mut self.learnt().passwords;
        if passwords.back().map(String::as_str) != password {
            passwords.extend(password.map(str::to_owned));
        }
        while passwords.len() > 2 {
            passwords.pop_front();
        }
    }

    /// The passwords that no message may contain.
    pub fn passwords(&self) -> Vec<String> {
        self.endpoint.passwords().map(str::to_owned).chain(self.learnt().passwords.iter().cloned()).collect()
    }

    async fn connect_with(&self, access: &Access, config: &AsyncConnectionConfig) -> Result<Connection> {
        timeout(self.limit, self.find(access, config))
            .await
            .unwrap_or_else(|_| Err(self.timed_out(self.limit)))
    }

    /// The deployment did not answer within this time.
    pub fn timed_out(&self, limit: Duration) -> Error {
        Error::timeout(&self.endpoint, limit)
    }

    async fn find(&self, access: &Access, config: &AsyncConnectionConfig) -> Result<Connection> {
        let seeds = match &self.endpoint.topology {
            Topology::Server(address) => return self.open(address, access, config).await,
            Topology::Sentinel { sentinels, .. } => self.seeds(sentinels),
            Topology::Cluster { seeds } => self.seeds(seeds),
        };
        let redirect = self.learnt().redirect.take();
        let ways = redirect.into_iter().map(Way::Redirect).chain(seeds.into_iter().map(Way::Seed));
        let errors = match race(ways.map(|way| self.follow(way, access, config)), NEXT_SEED_AFTER).await {
            Ok(connection) => return Ok(connection),
            Err(errors) => errors,
        };
        // Any other code is more specific than `Unavailable`.
        let error = errors.into_iter().max_by_key(|error| error.code() != Code::Unavailable);
        Err(error.unwrap_or_else(|| {
            Error::new(Code::Unavailable, format!("{} has no server to connect to", self.endpoint))
                .advising("Check the hosts in the URL, and the DNS of this machine.")
        }))
    }

    /// Describes the failure of a command, and remembers a redirect for the next connect.
    pub fn failed(&self, connection: &Connection, cause: RedisError) -> Error {
        self.learnt().redirect = redirect(connection.address(), &cause);
        self.described(&self.subject(connection.address()), cause)
    }

    /// The seed that answered last, and then the others at random, so that a fleet does not ask one and the same.
    fn seeds(&self, configured: &[Address]) -> Vec<Address> {
        let mut learnt = self.learnt().seeds.clone();
        let mut others = learnt.split_off(learnt.len().min(1));
        others.extend(configured.iter().filter(|seed| !learnt.contains(seed)).cloned());
        fastrand::shuffle(&mut others);
        learnt.extend(others);
        learnt
    }

    async fn follow(&self, way: Way, access: &Access, config: &AsyncConnectionConfig) -> Result<Connection> {
        let seed = match way {
            Way::Redirect(Redirect { address, asking }) => {
                return Ok(self.open(&address, access, config).await?.with_asking(asking));
            }
            Way::Seed(seed) => seed,
        };
        let primary = self.ask(&seed, access).await.map_err(|cause| {
            self.described(&format!("{seed}, asked for the primary of {},", self.endpoint), cause)
        })?;
        let connection = self.open(&primary, access, config).await?;
        if matches!(self.endpoint.topology, Topology::Sentinel { .. }) {
            let verified = ensure_primary(&connection).await;
            verified.map_err(|cause| self.described(&self.subject(&primary), cause))?;
        }
        Ok(connection)
    }

    /// Asks a seed for the address of the primary. Has no timeout of its own.
    pub async fn ask(&self, seed: &Address, access: &Access) -> RedisResult<Address> {
        let login = match &self.endpoint.topology {
            Topology::Sentinel { login, .. } => login,
            _ => &access.login,
        };
        let encryption = access.encryption().await?;
        // Naming the library would cost a round trip.
        let setup = setup(login).set_skip_set_lib_name();
        let connection = Connection::open(seed, encryption, &setup, without_pushes()).await?;
        let (primary, seeds) = match &self.endpoint.topology {
            Topology::Sentinel { master, .. } => (ask_sentinel(&connection, master).await?, Vec::new()),
            _ => ask_node(&connection, self.slot).await?,
        };
        self.learnt().seeds = [seed.clone()].into_iter().chain(seeds).collect();
        Ok(primary)
    }

    /// Opens a connection of its own for messages on this channel, to a server without RESP3. `None` if the server refuses
    /// to subscribe. Ends after `connectTimeoutMs`; the function in `credentials` has as long.
    pub async fn subscribe(&self, address: &Address, channel: &str) -> Result<Option<Subscription>> {
        let access = self.access().await?;
        let subscribed = async {
            let encryption = access.encryption().await?;
            let mut subscription = Subscription::open(address, encryption, &setup(&access.login)).await?;
            match subscription.subscribe(channel).await {
                Ok(()) => Ok(Some(subscription)),
                Err(cause) if needs_new_connection(&cause) || is_passing(&cause) => Err(cause),
                Err(_) => Ok(None),
            }
        };
        let subscribed = timeout(self.limit, subscribed).await.map_err(|_| self.timed_out(self.limit))?;
        subscribed.map_err(|cause| {
            self.described(
                &format!("{}, on the connection for update notifications,", self.subject(address)),
                cause,
            )
        })
    }

    async fn open(
        &self,
        address: &Address,
        access: &Access,
        config: &AsyncConnectionConfig,
    ) -> Result<Connection> {
        let opened = async {
            let encryption = access.encryption().await?;
            let setup = setup(&access.login).set_db(self.endpoint.database);
            if !self.learnt().lacks_resp3 {
                let setup = setup.clone().set_protocol(ProtocolVersion::RESP3);
                match Connection::open(address, encryption, &setup, config.clone()).await {
                    Err(cause) if lacks_resp3(&cause) => self.learnt().lacks_resp3 = true,
                    result => return result,
                }
            }
            Connection::open(address, encryption, &setup, without_pushes()).await?.ensure_login().await
        };
        let opened = opened.await.map_err(|cause| self.described(&self.subject(address), cause))?;
        Ok(opened.with_renewal(access.renew_at))
    }

    /// The error that the store returns.
    pub fn described(&self, subject: &str, cause: RedisError) -> Error {
        described(subject, self.passwords().iter().map(String::as_str), cause)
    }

    /// What messages call this server.
    fn subject(&self, address: &Address) -> String {
        match &self.endpoint.topology {
            Topology::Server(_) => self.endpoint.to_string(),
            _ => format!("{address} of {}", self.endpoint),
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock()
    }
}

/// RESP2 pushes nothing.
fn without_pushes() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(None)
}

async fn ask_sentinel(sentinel: &Connection, name: &str) -> RedisResult<Address> {
    let reply = sentinel.send(redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name)).await?;
    match from_redis_value::<Option<(String, u16)>>(reply)? {
        Some((host, port)) => Ok(sentinel.address().neighbour(&host, port)),
        None => Err(RedisError::from((
            ErrorKind::MasterNameNotFoundBySentinel,
            "the sentinel knows no primary with this name",
        ))),
    }
}

/// Fails on a replica: for a while after a failover, a sentinel may still name the old primary.
async fn ensure_primary(server: &Connection) -> RedisResult<()> {
    let is_master = |role: &Value| matches!(role, Value::BulkString(bytes) if bytes == b"master");
    match server.send(&redis::cmd("ROLE")).await? {
        Value::Array(role) if role.first().is_some_and(is_master) => Ok(()),
        _ => Err(RedisError::from((ErrorKind::Client, "it is not the primary (yet)"))),
    }
}

/// Asks a node of a cluster for the primary of the slot, and for all nodes.
async fn ask_node(node: &Connection, slot: u16) -> RedisResult<(Address, Vec<Address>)> {
    let shards: Vec<Vec<Value>> = from_redis_value(node.send(redis::cmd("CLUSTER").arg("SLOTS")).await?)?;
    let (mut primary, mut nodes) = (None, Vec::new());
    for shard in shards {
        let mut parts = shard.into_iter();
        let (Some(first), Some(last)) = (parts.next(), parts.next()) else { continue };
        let (first, last): (u16, u16) = (from_redis_value(first)?, from_redis_value(last)?);
        // The primary comes first. Newer servers add more fields after host and port.
        for (index, server) in parts.enumerate() {
            let Value::Array(server) = server else { continue };
            let mut server = server.into_iter();
            let (Some(host), Some(port)) = (server.next(), server.next()) else { continue };
            let host: Option<String> = from_redis_value(host)?;
            let address = node.address().neighbour(&host.unwrap_or_default(), from_redis_value(port)?);
            if index == 0 && (first..=last).contains(&slot) {
                primary = Some(address.clone());
            }
            if !nodes.contains(&address) {
                nodes.push(address);
            }
        }
    }
    match primary {
        Some(primary) => Ok((primary, nodes)),
        None => Err(RedisError::from((ErrorKind::Client, "no node has the slot of this project"))),
    }
}

/// The server that the error of this node names.
fn redirect(node: &Address, cause: &RedisError) -> Option<Redirect> {
    let asking = cause.kind() == ErrorKind::Server(ServerErrorKind::Ask);
    let (host, port) = cause.redirect_node()?.0.rsplit_once(':')?;
    Some(Redirect { address: node.neighbour(host, port.parse().ok()?), asking })
}

/// The slot of a key with this hash tag (redis.io/docs/reference/cluster-spec, "Key distribution model"): CRC16 with
/// the polynomial 0x1021, most significant bit first.
fn slot(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16384
}
