//! The way to the server that takes our writes.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::{AsyncConnectionConfig, ProtocolVersion, RedisError, RedisResult};
use tokio::sync::OnceCell;

use super::cluster::{self, Redirect};
use super::dial::Encryption;
use super::failure::described;
use super::link::{Link, setup};
use super::race::race;
use super::sentinel;
use crate::blocking::Blocking;
use crate::endpoint::{Address, Endpoint, Topology};
use crate::error::{Code, Error, Result};
use crate::lock::lock;

/// So long one guide keeps the next one waiting.
const NEXT_GUIDE_AFTER: Duration = Duration::from_millis(300);

/// Leads to a server, or to whichever one is the master at the time: sentinels and the nodes of a
/// cluster are its guides.
pub struct Route {
    endpoint: Endpoint,
    slot: u16,
    encryption: OnceCell<Option<Encryption>>,
    learnt: Mutex<Learnt>,
}

#[derive(Default)]
struct Learnt {
    redirect: Option<Redirect>,
    guides: Vec<Address>,
}

impl Route {
    /// The way to the keys of this project.
    pub fn new(endpoint: &Endpoint, project_key: &str) -> Self {
        Route {
            endpoint: endpoint.clone(),
            slot: cluster::slot(project_key),
            encryption: OnceCell::new(),
            learnt: Mutex::default(),
        }
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Finds the server anew and connects to it. Has no limit of its own: the caller's holds for all
    /// guides together.
    pub async fn connect(&self, config: &AsyncConnectionConfig) -> Result<Link> {
        let guides = match &self.endpoint.topology {
            Topology::Server(address) => return self.open(address, config).await,
            Topology::Sentinel { sentinels, .. } => self.guides(sentinels),
            Topology::Cluster { seeds } => self.guides(seeds),
        };
        let redirect = self.learnt().redirect.take();
        let ways = redirect.into_iter().map(Way::Redirect).chain(guides.into_iter().map(Way::Guide));
        let errors = match race(ways.map(|way| self.follow(way, config)), NEXT_GUIDE_AFTER).await {
            Ok(link) => return Ok(link),
            Err(errors) => errors,
        };
        // One that is more than a lost server says more.
        let error = errors.into_iter().max_by_key(|error| error.code() != Code::Unavailable);
        Err(error
            .unwrap_or_else(|| Error::new(Code::Unavailable, format!("{} names no server", self.endpoint))))
    }

    /// What went wrong on this link, and whether the server says that another one is in charge.
    pub fn failed(&self, link: &Link, cause: RedisError) -> Error {
        self.learnt().redirect = cluster::redirect(link.address(), &cause);
        self.described(&self.subject(link.address()), cause)
    }

    /// The guide that was right last time, and then the others in an order of our own: a fleet does
    /// not ask one and the same.
    fn guides(&self, configured: &[Address]) -> Vec<Address> {
        let mut learnt = self.learnt().guides.clone();
        let mut others = learnt.split_off(learnt.len().min(1));
        others.extend(configured.iter().filter(|guide| !learnt.contains(guide)).cloned());
        fastrand::shuffle(&mut others);
        learnt.extend(others);
        learnt
    }

    async fn follow(&self, way: Way, config: &AsyncConnectionConfig) -> Result<Link> {
        let guide = match way {
            Way::Redirect(Redirect { address, asking }) => {
                return Ok(self.open(&address, config).await?.with_asking(asking));
            }
            Way::Guide(guide) => guide,
        };
        let master = self.ask(&guide).await.map_err(|cause| {
            self.described(&format!("{guide}, asked for the way to {},", self.endpoint), cause)
        })?;
        let link = self.open(&master, config).await?;
        if matches!(self.endpoint.topology, Topology::Sentinel { .. }) {
            let verified = sentinel::ensure_master(&link).await;
            verified.map_err(|cause| self.described(&self.subject(&master), cause))?;
        }
        Ok(link)
    }

    /// Asks a sentinel or a node for the way. Has no limit of its own.
    pub async fn ask(&self, guide: &Address) -> RedisResult<Address> {
        let login = match &self.endpoint.topology {
            Topology::Sentinel { login, .. } => login,
            _ => &self.endpoint.login,
        };
        let encryption = self.encryption().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let link = Link::open(guide, encryption, &setup(login), config).await?;
        let (master, guides) = match &self.endpoint.topology {
            Topology::Sentinel { master, .. } => (sentinel::master(&link, master).await?, Vec::new()),
            _ => cluster::owner(&link, self.slot).await?,
        };
        self.learnt().guides = [guide.clone()].into_iter().chain(guides).collect();
        Ok(master)
    }

    async fn open(&self, address: &Address, config: &AsyncConnectionConfig) -> Result<Link> {
        let setup =
            setup(&self.endpoint.login).set_protocol(ProtocolVersion::RESP3).set_db(self.endpoint.database);
        let opened = async { Link::open(address, self.encryption().await?, &setup, config.clone()).await };
        opened.await.map_err(|cause| self.described(&self.subject(address), cause))
    }

    /// How connections are encrypted; `None`: not at all.
    pub async fn encryption(&self) -> io::Result<Option<&Encryption>> {
        let make = || async {
            let Some(tls) = self.endpoint.tls.clone() else { return Ok(None) };
            let server_name = tls.server_name.clone();
            // Reads the certificates of the system, unless others are given.
            let blocking = Blocking::on("certificates", tls.ca.clone().unwrap_or_default());
            let config = blocking.run(move || tls.client_config()).await??;
            io::Result::Ok(Some(Encryption { config: Arc::new(config), server_name }))
        };
        Ok(self.encryption.get_or_try_init(make).await?.as_ref())
    }

    /// The error as it leaves the store.
    pub fn described(&self, subject: &str, cause: RedisError) -> Error {
        described(subject, &self.endpoint, cause)
    }

    /// How a message calls this server.
    fn subject(&self, address: &Address) -> String {
        match &self.endpoint.topology {
            Topology::Server(_) => self.endpoint.to_string(),
            _ => format!("{address} of {}", self.endpoint),
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        lock(&self.learnt)
    }
}

enum Way {
    Redirect(Redirect),
    Guide(Address),
}
