//! posthog-node's four provider methods, and what goes with them, as policy over a [`Mirror`].
//!
//! Every method as a whole has a timeout. posthog-node awaits them without a timeout and polls again only afterwards,
//! so a method that never settles would stop flag updates for good.

mod copies;
mod emergency;
mod news;
mod outage;
mod outcomes;
mod poll;
mod reports;
mod time;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, timeout_at};

use self::poll::{Found, Outcome};
use self::time::Time;
use crate::allocator;
use crate::config::options::{Options, Role, WhenRefused, WhenUnavailable};
use crate::definitions::slices::{Definitions, Delivery};
use crate::definitions::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::lease::Rule;
use crate::runtime::off_runtime;
use crate::store::Reading;
use crate::store::shared::{InUse, SharedStore};
use crate::worker::memory::{Announced, Client, Memory};
use crate::worker::mirror::Mirror;
use crate::worker::status::{Held, Status};

/// One worker of the fleet.
pub struct Provider {
    owner: String,
    role: Role,
    rule: Rule,
    when_unavailable: WhenUnavailable,
    when_refused: WhenRefused,
    max_age: Duration,
    /// The timeout of a whole method, for a process that has definitions and does not wait for another process's.
    limit: Duration,
    memory: Arc<Memory>,
    mirror: Mirror,
    /// Wakes the waiting calls, so that they check again.
    closing: Notify,
    /// Tells calls that wait for definitions during a request that the request has ended.
    request_ended: watch::Sender<()>,
}

/// What posthog-node does at a poll.
pub enum Poll {
    /// It calls the API.
    Fetch,
    /// It uses these definitions, if any; otherwise it asks for them with [`Provider::get`].
    Follow(Option<Definitions>),
}

impl Poll {
    pub fn fetches(&self) -> bool {
        matches!(self, Poll::Fetch)
    }
}

/// What the next definitions request should send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The ETag of the newest definitions that this worker has: a 304 says that they are current.
    pub etag: Option<String>,
    /// Their version.
    pub version: Option<String>,
    /// How long a worker without definitions should not call the API.
    pub pause: Option<Duration>,
    /// Whether there are no definitions at all: neither here nor, as last seen, in the store.
    pub is_cache_empty: bool,
    /// The version of the local copy, for a worker without definitions whose request fails.
    pub copied: Option<String>,
}

impl Provider {
    /// A worker with its own id. Opens nothing yet.
    pub fn new(options: &Options, store: Arc<SharedStore>) -> Self {
        let host = gethostname::gethostname();
        let owner = format!("{}:{}:{:08x}", host.to_string_lossy(), std::process::id(), fastrand::u32(..));
        let memory = Arc::new(Memory::default());
        memory.with(|memory| memory.client.in_use = Some(Arc::new(store.enter())));
        Provider {
            mirror: Mirror::new(owner.clone(), options, store, memory.clone()),
            owner,
            role: options.role,
            rule: options.rule,
            when_unavailable: options.when_unavailable,
            when_refused: options.when_refused,
            max_age: options.max_age,
            limit: options.call_limit(),
            memory,
            closing: Notify::new(),
            request_ended: watch::Sender::new(()),
        }
    }

    /// What posthog-node does now: `shouldFetchFlagDefinitions()`, and what `getFlagDefinitions()` answers after it.
    /// JavaScript has the definitions of the `known` version.
    pub async fn poll(&self, known: Option<String>) -> Result<Poll> {
        let _in_use = self.require_open()?;
        self.note_poll();
        self.answer_poll(known).await
    }

    async fn answer_poll(&self, known: Option<String>) -> Result<Poll> {
        if self.role == Role::Reader {
            return Ok(Poll::Follow(None));
        }
        if let Some(announced) = self.take_announced() {
            self.memory.with(|memory| memory.counters.follows += 1);
            return Ok(Poll::Follow(Some(self.bounded(self.definitions(announced, known)).await?)));
        }
        // It may get a grant without knowing.
        let earlier = self.client(|client| client.fence.take());
        let time = self.time(self.rule.cold_start_wait);
        let outcome = self.within(&time, self.ask(&time, earlier)).await;
        let outcome = outcome.or_else(|error| {
            self.without_store(error, time.began()).map(|found| Outcome::Follow(Some(found)))
        });
        self.client(|client| {
            client.pace.took(time.began().elapsed(), self.rule.refresh_interval);
            if matches!(outcome, Ok(Outcome::Fetch) | Err(_)) {
                client.fetched_at = Some(Instant::now());
            }
        });
        self.keep_copy();
        match outcome? {
            Outcome::Fetch => Ok(Poll::Fetch),
            Outcome::Follow(None) => Ok(Poll::Follow(None)),
            Outcome::Follow(Some(found)) => {
                Ok(Poll::Follow(Some(self.bounded(self.definitions(found, known)).await?)))
            }
        }
    }

    /// The fleet's definitions; `None` while there are none: `getFlagDefinitions()`. JavaScript has those of
    /// the `known` version.
    pub async fn get(&self, known: Option<String>) -> Result<Option<Definitions>> {
        let _in_use = self.require_open()?;
        if let Some(announced) = self.take_announced() {
            return self.bounded(self.definitions(announced, known)).await.map(Some);
        }
        let asks = self.role == Role::Auto && self.client(|client| client.asks);
        // A client that calls `shouldFetchFlagDefinitions()` first has already waited there.
        let wait = if asks { Duration::ZERO } else { self.remaining_wait() };
        let time = self.time(wait);
        let found = self.within(&time, self.look(&time)).await;
        let found = found.or_else(|error| match self.without_store(error, time.began()) {
            // A client that does not call it cannot fetch instead.
            Err(error) if !asks => {
                self.copied_snapshot().map(|copied| Some(Found::Snapshot(copied))).ok_or(error)
            }
            found => found.map(Some),
        });
        self.keep_copy();
        match found? {
            Some(found) => self.bounded(self.definitions(found, known)).await.map(Some),
            None => Ok(None),
        }
    }

    /// Tries to release this worker's lease. Every later call fails with `Closed`.
    pub async fn shutdown(&self) {
        let (in_use, asks) = self.client(|client| (client.in_use.take(), client.asks));
        self.closing.notify_waiters();
        if in_use.is_none() || !asks || self.role == Role::Reader {
            return;
        }
        let release = async {
            // A publish may be under way: without the lease it would be refused.
            self.mirror.publish().await?;
            self.release().await
        };
        // An error does not matter, because a lease that is not released expires.
        let _ = self.bounded(release).await;
    }

    /// What the next definitions request should send, by what this worker knows.
    pub fn plan(&self) -> Plan {
        let newest = self.mirror.newest();
        let failed = self.memory.with(|memory| {
            memory.client.fetched_at = Some(Instant::now());
            memory.client.is_observed = true;
            memory.client.failed
        });
        let reading = self.mirror.last_reading();
        let is_cache_empty =
            newest.is_none() && reading.as_ref().is_some_and(|reading| reading.state.snapshot.is_none());
        let pause = reading.and_then(|Reading { state, now }| {
            let own = failed
                .filter(|_| newest.is_none())
                .and_then(|failed| self.rule.stands_back_until(failed, &state, now, &self.owner))
                .map(|until| Duration::from_millis(until - now));
            self.rule.pause(&state, now).max(own)
        });
        Plan {
            version: newest.as_ref().map(|(snapshot, _)| snapshot.version().to_owned()),
            etag: newest.and_then(|(_, etag)| etag),
            pause,
            is_cache_empty,
            copied: self.copied_snapshot().map(|snapshot| snapshot.version().to_owned()),
        }
    }

    /// The newest definitions that this worker has, the local copy where it has no others, if they are of this version.
    pub fn newest(&self, version: &str) -> Option<Arc<Snapshot>> {
        let newest = self.mirror.newest().map(|(snapshot, _)| snapshot);
        newest.or_else(|| self.copied_snapshot()).filter(|snapshot| snapshot.version() == version)
    }

    /// The parts that JavaScript needs to build `snapshot`, if it has the `known` version.
    pub async fn deliver(&self, snapshot: Arc<Snapshot>, known: Option<String>) -> Result<Delivery> {
        allocator::give_back(snapshot.text().len());
        let earlier = self.client(|client| client.delivered.replace(snapshot.clone()));
        let earlier = earlier.filter(|earlier| Some(earlier.version()) == known.as_deref());
        off_runtime(move || Ok(Delivery::new(&snapshot, earlier.as_deref()))).await
    }

    async fn definitions(&self, found: Found, known: Option<String>) -> Result<Definitions> {
        let Found::Snapshot(snapshot) = found else { return Ok(Definitions::Cleared) };
        if known.as_deref() == Some(snapshot.version()) {
            return Ok(Definitions::Unchanged(snapshot));
        }
        let delivery = self.deliver(snapshot.clone(), known).await?;
        Ok(Definitions::Changed(snapshot, delivery))
    }

    /// Failures that no call returns.
    pub fn reports(&self) -> broadcast::Receiver<Error> {
        self.mirror.reports()
    }

    /// The option `refreshIntervalMs`.
    pub fn refresh_interval(&self) -> Duration {
        self.rule.refresh_interval
    }

    /// The store's failures in the background.
    pub fn trouble(&self) -> Option<watch::Receiver<Option<Error>>> {
        self.mirror.store().trouble()
    }

    /// Counts a failure that a call returns.
    pub fn count(&self, error: &Error) {
        self.memory.with(|memory| *memory.counters.errors.entry(error.code()).or_default() += 1);
    }

    /// What this worker knows, without a request.
    pub fn status(&self) -> Status {
        let reading = self.mirror.last_reading().unwrap_or_default();
        let since = |at: Option<u64>| Some(Duration::from_millis(reading.now.saturating_sub(at?)));
        let (counters, failed, suggested_refresh_interval) = self.memory.with(|memory| {
            let client = &memory.client;
            let suggested = client.pace.mismatch(self.rule.refresh_interval);
            (memory.counters.clone(), client.failed, suggested)
        });
        let leader = self.rule.leader(&reading.state, reading.now);
        let held = match self.mirror.taken() {
            Some(Announced { snapshot, info, .. }) => Some(Held {
                stored_bytes: info.bytes,
                etag: info.etag,
                age: since(Some(info.published_at)),
                ..Held::of(&snapshot)
            }),
            None => self.mirror.held().map(|(snapshot, seen)| Held {
                stored_bytes: seen.snapshot.as_ref().map_or(0, |info| info.bytes),
                etag: seen.snapshot.and_then(|info| info.etag),
                age: since(seen.confirmed_at.max(reading.state.confirmed_at)),
                ..Held::of(&snapshot)
            }),
        };
        Status {
            worker: self.owner.clone(),
            role: self.role,
            is_leader: leader == Some(self.owner.as_str()),
            leader: leader.map(str::to_owned),
            fence: reading.state.fence,
            held: held.or_else(|| self.copy_in_use()),
            granted: since(reading.state.granted_at),
            pause: self.rule.pause(&reading.state, reading.now),
            failed_fetches: failed.map_or(0, |failed| failed.count),
            fleet_failed_fetches: reading.state.failures,
            counters,
            suggested_refresh_interval,
            round_trip: self.mirror.round_trip(),
            backend: self.mirror.store().backend(),
        }
    }

    async fn release(&self) -> Result<()> {
        let release = |reading: &Reading| self.rule.release(&reading.state, reading.now, &self.owner);
        self.mirror.change(release).await.map(drop)
    }

    /// Limits work to the timeout of a call that waits for no other process.
    pub async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.within(&self.time(Duration::ZERO), work).await
    }

    /// The time of a call that begins now.
    fn time(&self, wait: Duration) -> Time {
        Time::new(self.limit, wait, self.mirror.newest().is_some())
    }

    async fn within<T>(&self, time: &Time, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        loop {
            let end = time.end();
            match timeout_at(end, &mut work).await {
                Ok(result) => return result,
                Err(_) if time.end() > end => {}
                Err(_) => {
                    let limit = end.duration_since(time.began());
                    return Err(Error::timeout("the store", limit));
                }
            }
        }
    }

    fn require_open(&self) -> Result<Arc<InUse>> {
        let in_use = self.client(|client| client.in_use.clone());
        in_use.ok_or_else(|| {
            Error::new(Code::Closed, "this FlagDefinitionCache was shut down").advising("Create a new one.")
        })
    }

    fn require_writer(&self) -> Result<Arc<InUse>> {
        let in_use = self.require_open()?;
        match self.role {
            Role::Auto => Ok(in_use),
            Role::Reader => Err(Error::new(
                Code::ReadOnly,
                "a process with the role 'reader' cannot fetch or change the store",
            )
            .advising("Use a process with the role 'auto'.")),
        }
    }

    fn client<T>(&self, work: impl FnOnce(&mut Client) -> T) -> T {
        self.memory.with(|memory| work(&mut memory.client))
    }
}
