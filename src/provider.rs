//! posthog-node's four provider methods, as policy over a [`Store`].
//!
//! Every method is bounded as a whole: posthog-node awaits them without a limit and polls again only
//! afterwards, so that one which never settles would stop flag updates for good.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::error::{Code, Error, Result};
use crate::lease::{Decision, Rule, SnapshotInfo, State, Worker};
use crate::options::{Options, Role, Target, WhenUnavailable};
use crate::snapshot::{Compression, Snapshot};
use crate::store::{Reading, Store};

/// How often a waiting worker looks although nobody notified it.
const WAIT_POLL: Duration = Duration::from_millis(100);

/// One worker of the fleet.
pub struct Provider {
    owner: String,
    role: Role,
    rule: Rule,
    when_unavailable: WhenUnavailable,
    compression: Compression,
    max_age: Duration,
    /// For a whole method, without the cold-start wait.
    limit: Duration,
    store: Arc<dyn Store>,
    memory: Mutex<Memory>,
    closed: AtomicBool,
}

/// What this worker remembers between two calls.
#[derive(Default)]
struct Memory {
    /// The snapshot that was last in the store, and the state in which it was last seen there.
    held: Option<(Arc<Snapshot>, State)>,
    /// When the store last confirmed it.
    seen_at: Option<Instant>,
    /// The newest grant of this worker.
    fence: Option<u64>,
    /// Fetched, but not yet known to be in the store.
    unpublished: Option<Unpublished>,
    /// Whether posthog-node asks before it reads; a client without a secret key does not.
    asks: bool,
}

#[derive(Clone)]
struct Unpublished {
    snapshot: Arc<Snapshot>,
    fence: Option<u64>,
}

impl Provider {
    /// A worker with an id of its own. Touches nothing yet.
    pub fn new(options: &Options, store: Arc<dyn Store>) -> Self {
        let host = gethostname::gethostname();
        Provider {
            owner: format!("{}:{}:{:08x}", host.to_string_lossy(), std::process::id(), fastrand::u32(..)),
            role: options.role,
            rule: options.rule,
            when_unavailable: options.when_unavailable,
            compression: match (&options.target, options.compression) {
                // No network to spare, and files that a person can read.
                (Target::Directory(_) | Target::Memory, Compression::Auto) => Compression::None,
                (_, compression) => compression,
            },
            max_age: options.max_age,
            limit: options.connect_timeout + 2 * options.command_timeout,
            store,
            memory: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether posthog-node shall call the API now: `shouldFetchFlagDefinitions()`.
    pub async fn should_fetch(&self) -> Result<bool> {
        self.require_open()?;
        self.memory().asks = true;
        if self.role == Role::Reader {
            return Ok(false);
        }
        let wait = self.rule.cold_start_wait;
        match self.bounded(self.limit + wait, self.ask(Instant::now() + wait)).await {
            Err(error) => self.stale().map(|_| false).ok_or(error),
            answer => answer,
        }
    }

    /// The fleet's definitions; `None` while there are none: `getFlagDefinitions()`.
    pub async fn get(&self) -> Result<Option<Arc<Snapshot>>> {
        self.require_open()?;
        let asks = self.role == Role::Auto && self.memory().asks;
        // Who asks first has waited there.
        let wait = if asks { Duration::ZERO } else { self.rule.cold_start_wait };
        match self.bounded(self.limit + wait, self.look(Instant::now() + wait)).await {
            Err(error) => self.stale().map(Some).ok_or(error),
            definitions => definitions,
        }
    }

    /// Publishes what the API answered, and returns its version: `onFlagDefinitionsReceived(data)`.
    ///
    /// What cannot be published now is kept, and published at the next poll unless somebody newer
    /// came first: the API will answer 304 from now on, so nobody would send it again.
    pub async fn received(&self, text: String) -> Result<String> {
        self.require_open()?;
        if self.role == Role::Reader {
            return Err(Error::new(Code::ReadOnly, "a worker with the role 'reader' publishes nothing"));
        }
        let snapshot = Arc::new(off_runtime(move || Snapshot::new(text)).await?);
        {
            let mut memory = self.memory();
            let fence = memory.fence;
            memory.unpublished = Some(Unpublished { snapshot: snapshot.clone(), fence });
        }
        self.bounded(self.limit, self.publish()).await?;
        Ok(snapshot.version().to_owned())
    }

    /// Releases this worker's lease, as well as can be; every later call fails with `Closed`.
    pub async fn shutdown(&self) {
        let was_closed = self.closed.swap(true, Ordering::AcqRel);
        if was_closed || self.role == Role::Reader || !self.memory().asks {
            return;
        }
        // An error changes nothing: a lease that is not released lapses.
        let _ = self.bounded(self.limit, self.release()).await;
    }

    async fn ask(&self, deadline: Instant) -> Result<bool> {
        self.publish().await?;
        loop {
            let (reading, _) = self.sync().await?;
            match self.rule.decide(&reading.state, reading.now, self.me(self.seen().as_ref())) {
                Decision::Grant(next) => {
                    if self.commit(&reading, &next, None).await? {
                        self.memory().fence = Some(next.fence);
                        return Ok(true);
                    }
                }
                Decision::Follow => return Ok(false),
                Decision::Wait(until) if Instant::now() < deadline => {
                    self.wait(deadline, until.saturating_sub(reading.now)).await;
                }
                Decision::Wait(_) => return Ok(false),
            }
        }
    }

    async fn look(&self, deadline: Instant) -> Result<Option<Arc<Snapshot>>> {
        loop {
            let (reading, damage) = self.sync().await?;
            if reading.state.snapshot.is_some() {
                return Ok(self.memory().held.as_ref().map(|(snapshot, _)| snapshot.clone()));
            }
            match self.rule.decide(&reading.state, reading.now, self.me(None)) {
                Decision::Wait(until) if Instant::now() < deadline => {
                    self.wait(deadline, until.saturating_sub(reading.now)).await;
                }
                _ => return damage.map_or(Ok(None), Err),
            }
        }
    }

    /// Reads the state, and makes the store's snapshot and the held one the same: mostly by loading
    /// what is new, but where the store lost what this worker holds, by putting it back.
    ///
    /// A damaged snapshot counts as none; the damage is returned, for who can do nothing about it.
    async fn sync(&self) -> Result<(Reading, Option<Error>)> {
        loop {
            let held = self.memory().held.clone();
            let known = held.as_ref().map(|(snapshot, _)| snapshot.version());
            let (mut reading, bytes) = self.store.load(known).await?;
            let mut damage = None;
            let mut news = None;
            if let (Some(info), Some(bytes)) = (reading.state.snapshot.clone(), bytes) {
                match off_runtime(move || Snapshot::decode(&bytes, &info.version)).await {
                    Ok(snapshot) => news = Some(Arc::new(snapshot)),
                    Err(error) => {
                        reading.state.snapshot = None;
                        damage = Some(error);
                    }
                }
            }
            let lost = held.as_ref().filter(|_| self.role == Role::Auto).and_then(|(snapshot, seen)| {
                let next = self.rule.restore(&reading.state, reading.now, self.me(Some(seen)))?;
                Some((snapshot, next))
            });
            if let Some((snapshot, next)) = lost {
                let (info, bytes) = self.encode(snapshot, next.snapshot.as_ref()).await?;
                self.commit(&reading, &State { snapshot: Some(info), ..next }, Some(bytes)).await?;
                continue;
            }
            if reading.state.snapshot.is_some() {
                let mut memory = self.memory();
                memory.seen_at = Some(Instant::now());
                memory.held = news.or(held.map(|(snapshot, _)| snapshot)).map(|s| (s, reading.state.clone()));
            }
            return Ok((reading, damage));
        }
    }

    /// Publishes what is unpublished, unless a newer grant has superseded it.
    async fn publish(&self) -> Result<()> {
        let Some(unpublished) = self.memory().unpublished.clone() else {
            return Ok(());
        };
        let snapshot = unpublished.snapshot;
        loop {
            let reading = self.store.read().await?;
            let same = reading.state.snapshot.as_ref().filter(|stored| stored.version == snapshot.version());
            let (info, bytes) = match same {
                Some(stored) => (stored.clone(), None),
                None => {
                    let (info, bytes) = self.encode(&snapshot, None).await?;
                    (info, Some(bytes))
                }
            };
            let next = self.rule.publish(&reading.state, reading.now, &self.owner, unpublished.fence, info);
            let landed = match &next {
                Some(next) => self.commit(&reading, next, bytes).await?,
                None => false,
            };
            if !landed && next.is_some() {
                continue;
            }
            let mut memory = self.memory();
            if let Some(next) = next {
                memory.fence = Some(next.fence);
                memory.seen_at = Some(Instant::now());
                memory.held = Some((snapshot.clone(), next));
            }
            // Unless a newer one took its place meanwhile.
            if memory.unpublished.as_ref().is_some_and(|current| Arc::ptr_eq(&current.snapshot, &snapshot)) {
                memory.unpublished = None;
            }
            return Ok(());
        }
    }

    async fn release(&self) -> Result<()> {
        // A publish may be under way: without the lease it would be refused.
        self.publish().await?;
        loop {
            let reading = self.store.read().await?;
            let Some(next) = self.rule.release(&reading.state, reading.now, &self.owner) else {
                return Ok(());
            };
            if self.commit(&reading, &next, None).await? {
                return Ok(());
            }
        }
    }

    /// Commits, and recognises a commit of its own whose reply got lost: then the store has carried
    /// it out twice, and refused it the second time.
    async fn commit(&self, reading: &Reading, next: &State, bytes: Option<Bytes>) -> Result<bool> {
        if self.store.commit(reading.state.revision, next, bytes).await? {
            return Ok(true);
        }
        Ok(self.store.read().await?.state == *next)
    }

    async fn encode(
        &self,
        snapshot: &Arc<Snapshot>,
        info: Option<&SnapshotInfo>,
    ) -> Result<(SnapshotInfo, Bytes)> {
        let (text, compression) = (snapshot.clone(), self.compression);
        let bytes = off_runtime(move || text.encode(compression)).await?;
        let info = SnapshotInfo {
            version: snapshot.version().to_owned(),
            etag: info.and_then(|info| info.etag.clone()),
            bytes: bytes.len() as u64,
            published_at: info.map_or(0, |info| info.published_at),
        };
        Ok((info, bytes))
    }

    async fn wait(&self, deadline: Instant, millis: u64) {
        let until = Instant::now() + Duration::from_millis(millis).min(WAIT_POLL);
        let mut notices = self.store.watch();
        let _ = tokio::time::timeout_at(until.min(deadline), notices.changed()).await;
    }

    /// The definitions to go on with while the store is out of reach, where that is wanted.
    fn stale(&self) -> Option<Arc<Snapshot>> {
        let memory = self.memory();
        let young = memory.seen_at.is_some_and(|seen_at| seen_at.elapsed() < self.max_age);
        if self.when_unavailable == WhenUnavailable::Fetch || !young {
            return None;
        }
        let unpublished = memory.unpublished.as_ref().map(|unpublished| unpublished.snapshot.clone());
        unpublished.or_else(|| memory.held.as_ref().map(|(snapshot, _)| snapshot.clone()))
    }

    async fn bounded<T>(&self, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::new(
                Code::Timeout,
                format!("the cache did not answer within {} ms", limit.as_millis()),
            ))
        })
    }

    fn me<'a>(&'a self, seen: Option<&'a State>) -> Worker<'a> {
        Worker { owner: &self.owner, seen }
    }

    fn seen(&self) -> Option<State> {
        self.memory().held.as_ref().map(|(_, seen)| seen.clone())
    }

    fn require_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::Closed, "the flag definition cache was shut down"));
        }
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what takes milliseconds for megabytes on a thread where nobody waits behind it.
async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|cause| Err(Error::new(Code::Unavailable, "the work was abandoned").caused_by(cause)))
}
