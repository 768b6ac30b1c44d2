//! posthog-node's four provider methods, and what goes with them, as policy over a [`Replica`].
//!
//! Every method is bounded as a whole: posthog-node awaits them without a limit and polls again only
//! afterwards, so that one which never settles would stop flag updates for good.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::cadence::Cadence;
use crate::delivery::{Definitions, Delivery};
use crate::error::{Code, Error, Result};
use crate::lease::{Decision, Rule, Worker};
use crate::lock::lock;
use crate::options::{Options, Role, WhenUnavailable};
use crate::replica::Replica;
use crate::runtime::off_runtime;
use crate::snapshot::Snapshot;
use crate::status::{Held, Status};
use crate::store::Reading;
use crate::store::shared::{InUse, SharedStore};

/// Within so long the answer to `should_fetch()` goes for `get()`.
const SAME_POLL: Duration = Duration::from_millis(100);

/// How often a waiting worker looks although nobody notified it.
const WAIT_POLL: Duration = Duration::from_millis(100);

/// One worker of the fleet.
pub struct Provider {
    owner: String,
    role: Role,
    rule: Rule,
    when_unavailable: WhenUnavailable,
    max_age: Duration,
    /// For a whole method, without the cold-start wait.
    limit: Duration,
    replica: Replica,
    client: Mutex<Client>,
}

/// What this worker knows of the posthog-node client that it serves.
#[derive(Default)]
struct Client {
    /// Whether it asks before it reads; one without a secret key does not.
    asks: bool,
    /// The newest grant that it was given.
    fence: Option<u64>,
    /// What it was told to use instead of fetching.
    followed: Option<Followed>,
    /// What was last delivered.
    delivered: Option<Arc<Snapshot>>,
    /// Whether `invalidate()` was called after its last load.
    impatient: bool,
    cadence: Cadence,
    cadence_reported: bool,
    /// `None` after the shutdown. A call under way has its own.
    in_use: Option<Arc<InUse>>,
}

/// What one poll asks for twice.
struct Followed {
    at: Instant,
    known: Option<String>,
    definitions: Definitions,
}

/// Whose turn it is.
enum Turn {
    /// This worker's.
    Fetch,
    /// Another's, and what the fleet has meanwhile.
    Follow(Option<Arc<Snapshot>>),
}

/// With what a request for the definitions goes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The ETag of the newest definitions that this worker has: a 304 says that they are current.
    pub etag: Option<String>,
    /// Their version.
    pub version: Option<String>,
    /// How long the fleet still keeps off the API.
    pub pause: Option<Duration>,
}

impl Provider {
    /// A worker with an id of its own. Touches nothing yet.
    pub fn new(options: &Options, store: Arc<SharedStore>) -> Self {
        let host = gethostname::gethostname();
        let owner = format!("{}:{}:{:08x}", host.to_string_lossy(), std::process::id(), fastrand::u32(..));
        let client = Client { in_use: Some(Arc::new(store.enter())), ..Client::default() };
        Provider {
            replica: Replica::new(owner.clone(), options, store),
            owner,
            role: options.role,
            rule: options.rule,
            when_unavailable: options.when_unavailable,
            max_age: options.max_age,
            limit: options.call_limit(),
            client: Mutex::new(client),
        }
    }

    /// Whether posthog-node shall call the API now: `shouldFetchFlagDefinitions()`. JavaScript has the
    /// definitions of the `known` version.
    pub async fn should_fetch(&self, known: Option<String>) -> Result<bool> {
        let _in_use = self.require_open()?;
        self.note_poll();
        if self.role == Role::Reader {
            return Ok(false);
        }
        {
            let mut client = self.client();
            // It may win one without hearing of it.
            client.fence = None;
            client.followed = None;
        }
        let wait = self.rule.cold_start_wait;
        match self.bounded(self.limit + wait, self.ask(Instant::now() + wait)).await {
            Ok(Turn::Fetch) => Ok(true),
            Ok(Turn::Follow(None)) => Ok(false),
            Ok(Turn::Follow(Some(snapshot))) => {
                let definitions = self.definitions(snapshot, known.clone()).await?;
                self.client().followed = Some(Followed { at: Instant::now(), known, definitions });
                Ok(false)
            }
            Err(error) => self.stale().map(|_| false).ok_or(error),
        }
    }

    /// What `should_fetch()` has just found: posthog-node asks and reads in one go.
    pub fn followed(&self, known: Option<&str>) -> Option<Definitions> {
        let followed = self.client().followed.take()?;
        let is_same_poll = followed.at.elapsed() < SAME_POLL && followed.known.as_deref() == known;
        (is_same_poll && self.require_open().is_ok()).then_some(followed.definitions)
    }

    /// The fleet's definitions; `None` while there are none: `getFlagDefinitions()`. JavaScript has those of
    /// the `known` version.
    pub async fn get(&self, known: Option<String>) -> Result<Option<Definitions>> {
        let _in_use = self.require_open()?;
        let asks = self.role == Role::Auto && self.client().asks;
        // Who asks first has waited there.
        let wait = if asks { Duration::ZERO } else { self.rule.cold_start_wait };
        let found = match self.bounded(self.limit + wait, self.look(Instant::now() + wait)).await {
            Err(error) => Some(self.stale().ok_or(error)?),
            Ok(found) => found,
        };
        match found {
            Some(snapshot) => self.definitions(snapshot, known).await.map(Some),
            None => Ok(None),
        }
    }

    /// Publishes fetched definitions: `onFlagDefinitionsReceived(data)`.
    ///
    /// What cannot be published now is kept, and published at the next poll unless somebody newer
    /// came first: the API will answer 304 from now on, so nobody would send it again.
    pub async fn received(&self, snapshot: Arc<Snapshot>, etag: Option<String>) -> Result<()> {
        let _in_use = self.require_writer()?;
        self.replica.stage(snapshot, etag, self.client().fence);
        self.bounded(self.limit, self.replica.publish()).await
    }

    /// Notes that the API has answered 304 to the ETag of this version.
    pub async fn confirmed(&self, version: &str) -> Result<()> {
        let _in_use = self.require_writer()?;
        let fence = self.client().fence;
        let confirm =
            |reading: &Reading| self.rule.confirm(&reading.state, reading.now, &self.owner, fence, version);
        if self.bounded(self.limit, self.replica.change(confirm)).await? {
            self.replica.counters().confirms += 1;
        }
        Ok(())
    }

    /// Notes that the API failed, or asked for this pause.
    pub async fn failed(&self, pause: Option<Duration>) -> Result<()> {
        let _in_use = self.require_writer()?;
        let fail = |reading: &Reading| self.rule.fail(&reading.state, reading.now, &self.owner, pause);
        self.bounded(self.limit, self.replica.change(fail)).await.map(drop)
    }

    /// Has the next load of this worker fetch, whatever the interval says.
    pub async fn invalidate(&self) -> Result<()> {
        let _in_use = self.require_writer()?;
        self.client().impatient = true;
        let invalidate = |reading: &Reading| self.rule.invalidate(&reading.state, reading.now);
        self.bounded(self.limit, self.replica.change(invalidate)).await.map(drop)
    }

    /// Releases this worker's lease, as well as can be; every later call fails with `Closed`.
    pub async fn shutdown(&self) {
        let (in_use, asks) = {
            let mut client = self.client();
            (client.in_use.take(), client.asks)
        };
        if in_use.is_none() || !asks || self.role == Role::Reader {
            return;
        }
        let release = async {
            // A publish may be under way: without the lease it would be refused.
            self.replica.publish().await?;
            self.replica.change(|reading| self.rule.release(&reading.state, reading.now, &self.owner)).await
        };
        // An error changes nothing: a lease that is not released lapses.
        let _ = self.bounded(self.limit, release).await;
    }

    /// With what a request for the definitions goes out, by what this worker knows.
    pub fn plan(&self) -> Plan {
        let newest = self.replica.newest();
        Plan {
            version: newest.as_ref().map(|(snapshot, _)| snapshot.version().to_owned()),
            etag: newest.and_then(|(_, etag)| etag),
            pause: self
                .replica
                .last_reading()
                .and_then(|reading| self.rule.pause(&reading.state, reading.now)),
        }
    }

    /// The newest definitions that this worker has, if they are of this version.
    pub fn newest(&self, version: &str) -> Option<Arc<Snapshot>> {
        let (snapshot, _) = self.replica.newest()?;
        Some(snapshot).filter(|snapshot| snapshot.version() == version)
    }

    /// What JavaScript needs to make `snapshot`, having the definitions of the `known` version.
    pub async fn deliver(&self, snapshot: Arc<Snapshot>, known: Option<String>) -> Result<Delivery> {
        let earlier = self.client().delivered.replace(snapshot.clone());
        let earlier = earlier.filter(|earlier| Some(earlier.version()) == known.as_deref());
        off_runtime(move || Ok(Delivery::new(&snapshot, earlier.as_deref()))).await
    }

    async fn definitions(&self, snapshot: Arc<Snapshot>, known: Option<String>) -> Result<Definitions> {
        let delivery = match known.as_deref() == Some(snapshot.version()) {
            true => None,
            false => Some(self.deliver(snapshot.clone(), known).await?),
        };
        Ok(Definitions { snapshot, delivery })
    }

    /// The snapshot that this worker holds.
    pub fn held(&self) -> Option<Arc<Snapshot>> {
        self.replica.held().map(|(snapshot, _)| snapshot)
    }

    /// The version of the snapshot in the store.
    pub async fn stored_version(&self) -> Result<Option<String>> {
        let _in_use = self.require_open()?;
        Ok(self.replica.store().read().await?.state.snapshot.map(|snapshot| snapshot.version))
    }

    /// Changes whenever there may be a new version. Must be called within the runtime.
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.replica.store().watch()
    }

    /// Failures that no caller hears of.
    pub fn reports(&self) -> broadcast::Receiver<Error> {
        self.replica.reports()
    }

    /// The store's failures in the background.
    pub fn trouble(&self) -> Option<watch::Receiver<Option<Error>>> {
        self.replica.store().trouble()
    }

    /// Counts a failure that its caller hears of.
    pub fn count(&self, error: &Error) {
        *self.replica.counters().errors.entry(error.code()).or_default() += 1;
    }

    /// What this worker knows, without asking anybody.
    pub fn status(&self) -> Status {
        let reading = self.replica.last_reading().unwrap_or_default();
        let since = |at: Option<u64>| Some(Duration::from_millis(reading.now.saturating_sub(at?)));
        Status {
            worker: self.owner.clone(),
            role: self.role,
            leader: self.rule.leader(&reading.state, reading.now).map(str::to_owned),
            fence: reading.state.fence,
            held: self.replica.held().map(|(snapshot, seen)| Held {
                version: snapshot.version().to_owned(),
                flags: snapshot.flags(),
                text_bytes: snapshot.text().len(),
                stored_bytes: seen.snapshot.as_ref().map_or(0, |info| info.bytes),
                etag: seen.snapshot.and_then(|info| info.etag),
                age: since(seen.confirmed_at.max(reading.state.confirmed_at)),
            }),
            granted: since(reading.state.granted_at),
            pause: self.rule.pause(&reading.state, reading.now),
            counters: self.replica.counters().clone(),
            suggested_refresh_interval: self.client().cadence.mismatch(self.rule.refresh_interval),
            round_trip: self.replica.round_trip(),
            backend: self.replica.store().backend(),
        }
    }

    async fn ask(&self, deadline: Instant) -> Result<Turn> {
        self.replica.publish().await?;
        // Before it looks: who has only just loaded an old snapshot still waits for the new one.
        let held = self.replica.held();
        loop {
            let (reading, _) = self.replica.sync().await?;
            let impatient = self.client().impatient;
            let me = Worker { owner: &self.owner, seen: held.as_ref().map(|(_, seen)| seen), impatient };
            let granted = match self.rule.decide(&reading.state, reading.now, me) {
                Decision::Grant(next) => {
                    if !self.replica.commit(&reading, &next, None).await? {
                        continue;
                    }
                    self.client().fence = Some(next.fence);
                    true
                }
                Decision::Wait(until) if Instant::now() < deadline => {
                    self.wait(deadline, until.saturating_sub(reading.now)).await;
                    continue;
                }
                Decision::Follow | Decision::Wait(_) => false,
            };
            self.client().impatient = false;
            let mut counters = self.replica.counters();
            *(if granted { &mut counters.grants } else { &mut counters.follows }) += 1;
            return Ok(match granted {
                true => Turn::Fetch,
                false => Turn::Follow(reading.state.snapshot.and_then(|_| self.held())),
            });
        }
    }

    async fn look(&self, deadline: Instant) -> Result<Option<Arc<Snapshot>>> {
        loop {
            let (reading, damage) = self.replica.sync().await?;
            if reading.state.snapshot.is_some() {
                return Ok(self.held());
            }
            let me = Worker { owner: &self.owner, seen: None, impatient: false };
            match self.rule.decide(&reading.state, reading.now, me) {
                Decision::Wait(until) if Instant::now() < deadline => {
                    self.wait(deadline, until.saturating_sub(reading.now)).await;
                }
                _ => return damage.map_or(Ok(None), Err),
            }
        }
    }

    async fn wait(&self, deadline: Instant, millis: u64) {
        self.replica.counters().waits += 1;
        let until = Instant::now() + Duration::from_millis(millis).min(WAIT_POLL);
        let mut notices = self.notices();
        let _ = timeout_at(until.min(deadline), notices.changed()).await;
    }

    fn note_poll(&self) {
        let mut client = self.client();
        client.asks = true;
        client.cadence.poll(Instant::now());
        let Some(interval) = client.cadence.mismatch(self.rule.refresh_interval) else { return };
        if !std::mem::replace(&mut client.cadence_reported, true) {
            let (actual, configured) = (interval.as_millis(), self.rule.refresh_interval.as_millis());
            let message = format!(
                "posthog-node polls every {actual} ms, but refreshIntervalMs is {configured}: \
                 set refreshIntervalMs to {actual}, like featureFlagsPollingInterval"
            );
            self.replica.report(Error::new(Code::Options, message));
        }
    }

    /// The definitions to go on with while the store is out of reach, where that is wanted.
    fn stale(&self) -> Option<Arc<Snapshot>> {
        match self.when_unavailable {
            WhenUnavailable::Fetch => None,
            WhenUnavailable::Stale => self.replica.younger_than(self.max_age),
        }
    }

    async fn bounded<T>(&self, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::new(
                Code::Timeout,
                format!("the cache did not answer within {} ms", limit.as_millis()),
            ))
        })
    }

    fn require_open(&self) -> Result<Arc<InUse>> {
        let in_use = self.client().in_use.clone();
        in_use.ok_or_else(|| Error::new(Code::Closed, "the flag definition cache was shut down"))
    }

    fn require_writer(&self) -> Result<Arc<InUse>> {
        let in_use = self.require_open()?;
        match self.role {
            Role::Auto => Ok(in_use),
            Role::Reader => {
                Err(Error::new(Code::ReadOnly, "a worker with the role 'reader' changes nothing"))
            }
        }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        lock(&self.client)
    }
}
