//! One worker's copy of the shared state and definitions, kept up to date with the store.

pub mod announcements;
mod publishing;
pub mod repair;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use crate::config::options::{Options, Role};
use crate::config::target::Target;
use crate::definitions::codec::{Compression, Encoded};
use crate::definitions::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::lease::Rule;
use crate::runtime::off_runtime;
use crate::state::{Millis, SnapshotInfo, State, millis};
use crate::store::local_copy::LocalCopy;
use crate::store::shared::SharedStore;
use crate::store::{Commit, Reading, Store};
use crate::worker::memory::{Announced, Held, Memory, Unpublished, Unshared};

/// Maximum delay before a commit that came too late is prepared again.
const MAX_RACE_DELAY_MS: u64 = 10;

/// The maximum number of reports that wait for a listener. Older ones are dropped.
const REPORTS: usize = 16;

/// The copy: what was last read, what is held, and what is not yet published.
pub struct Mirror {
    owner: String,
    rule: Rule,
    compression: Compression,
    heals: bool,
    shared: Arc<SharedStore>,
    memory: Arc<Memory>,
    reports: broadcast::Sender<Error>,
}

impl Mirror {
    /// Empty; opens nothing yet.
    pub fn new(owner: String, options: &Options, shared: Arc<SharedStore>, memory: Arc<Memory>) -> Self {
        Mirror {
            owner,
            rule: options.rule,
            compression: match (&options.target, options.compression) {
                // They use no network, and people can read the files.
                (Target::Directory(_) | Target::Memory, Compression::Auto) => Compression::None,
                (_, compression) => compression,
            },
            heals: options.role == Role::Auto,
            shared,
            memory,
            reports: broadcast::Sender::new(REPORTS),
        }
    }

    /// Where the shared data is.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.shared.store()
    }

    /// This host's copy of the store's content, if the options ask for one.
    pub fn copy(&self) -> Option<&Arc<LocalCopy>> {
        self.shared.copy()
    }

    /// The snapshot that was last in the store, and the state in which it was last seen there.
    pub fn held(&self) -> Option<Held> {
        self.memory.with(|memory| memory.held.clone())
    }

    /// The newest definitions that this worker has, in the store or not yet, and their ETag.
    pub fn newest(&self) -> Option<(Arc<Snapshot>, Option<String>)> {
        self.confirmed().map(|(snapshot, etag, _)| (snapshot, etag))
    }

    /// The same, and when they were last known to be current, if more than a notice says so.
    pub fn confirmed(&self) -> Option<(Arc<Snapshot>, Option<String>, Option<Instant>)> {
        self.memory.with(|memory| {
            if let Some(Unpublished { snapshot, etag, fetched_at, .. }) = &memory.unpublished {
                return Some((snapshot.clone(), etag.clone(), *fetched_at));
            }
            if let Some(Unshared { snapshot, etag, fetched_at, .. }) = &memory.unshared {
                return Some((snapshot.clone(), etag.clone(), Some(*fetched_at)));
            }
            if let Some(Announced { snapshot, info, .. }) = memory.announced() {
                return Some((snapshot.clone(), info.etag.clone(), None));
            }
            let (snapshot, seen) = memory.held.as_ref()?;
            let etag = seen.snapshot.as_ref().and_then(|info| info.etag.clone());
            Some((snapshot.clone(), etag, memory.seen_at))
        })
    }

    /// Whether this worker has the version from the store, or from a notice.
    pub fn has(&self, version: &str) -> bool {
        self.memory.with(|memory| {
            let announced = memory.announced().map(|announced| announced.snapshot.version());
            let held = memory.held.as_ref().map(|(snapshot, _)| snapshot.version());
            announced.or(held) == Some(version)
        })
    }

    /// The newest definitions, unless the store was last seen to have them too long ago.
    pub fn younger_than(&self, age: Duration) -> Option<Arc<Snapshot>> {
        let seen_at = self.memory.with(|memory| memory.seen_at);
        seen_at.filter(|seen_at| seen_at.elapsed() < age)?;
        self.newest().map(|(snapshot, _)| snapshot)
    }

    /// The state as last read, with the store's time brought up to now.
    pub fn last_reading(&self) -> Option<Reading> {
        let (reading, read_at) = self.memory.with(|memory| memory.read.clone())?;
        let passed = millis(read_at.elapsed());
        Some(Reading { now: reading.now.saturating_add(passed), ..reading })
    }

    /// How long the store took for its last answer.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.round_trip()
    }

    /// Failures that no call returns.
    pub fn reports(&self) -> broadcast::Receiver<Error> {
        self.reports.subscribe()
    }

    /// Where failures are reported, for work that outlives a call.
    pub fn reporter(&self) -> broadcast::Sender<Error> {
        self.reports.clone()
    }

    /// Reports a failure to the listeners.
    pub fn report(&self, error: Error) {
        // An error here only means that there are none.
        let _ = self.reports.send(error);
    }

    /// Remembers `reading`, in which the store has the snapshot `stored`; `news` was loaded with it.
    fn adopt(&self, reading: &Reading, stored: &Option<SnapshotInfo>, news: Option<Arc<Snapshot>>) {
        self.memory.with(|memory| {
            let now = Instant::now();
            memory.announced = None;
            let state = State { snapshot: stored.clone(), ..reading.state.clone() };
            memory.read = Some((Reading { state, now: reading.now }, now));
            let stored_at = published_at(&reading.state);
            let confirmed_at = reading.state.confirmed_at.filter(|_| reading.state.outdated_at.is_none());
            memory.unshared = memory.unshared.take().filter(|unshared| {
                let fetched_at = reading.now.saturating_sub(millis(unshared.fetched_at.elapsed()));
                unshared.stored_at == stored_at && confirmed_at <= Some(fetched_at)
            });
            let Some(info) = &reading.state.snapshot else { return };
            let counters = &mut memory.counters;
            *(if news.is_some() { &mut counters.loads } else { &mut counters.unchanged }) += 1;
            let held = memory.held.take().map(|(snapshot, _)| snapshot);
            let current =
                [news, held].into_iter().flatten().find(|snapshot| snapshot.version() == info.version);
            memory.held = current.map(|snapshot| (snapshot, reading.state.clone()));
            if reading.state.outdated_at.is_none() {
                memory.seen_at = Some(now);
            }
        });
    }

    /// Commits the change of the state that `rule` returns; `false` if it returns none.
    pub async fn change(&self, rule: impl Fn(&Reading) -> Option<State>) -> Result<bool> {
        let known = self.last_reading().filter(|reading| rule(reading).is_some());
        self.change_known(known, rule).await
    }

    /// The same, for a change that depends on the store's time, so it reads first.
    pub async fn look_and_change(&self, rule: impl Fn(&Reading) -> Option<State>) -> Result<bool> {
        self.change_known(None, rule).await
    }

    async fn change_known(
        &self,
        mut known: Option<Reading>,
        rule: impl Fn(&Reading) -> Option<State>,
    ) -> Result<bool> {
        loop {
            let reading = self.known_or_read(known).await?;
            let Some(next) = rule(&reading) else { return Ok(false) };
            known = match self.commit(&reading, &next, None).await? {
                Commit::Committed(_) => return Ok(true),
                Commit::Conflict(found) => Some(found),
            };
        }
    }

    /// The last known state is enough for a change. If the store has another one, the commit fails and returns it.
    async fn known_or_read(&self, known: Option<Reading>) -> Result<Reading> {
        match known {
            Some(known) => Ok(known),
            None => self.store().read().await,
        }
    }

    /// Commits, and recognises its own commit after a lost reply. The command was then sent twice, and the store
    /// rejected the second one.
    pub async fn commit(&self, reading: &Reading, next: &State, encoded: Option<Encoded>) -> Result<Commit> {
        let now = match self.shared.commit(reading.state.revision, next, encoded).await? {
            Commit::Committed(now) => now,
            Commit::Conflict(found) if found.state == *next => found.now,
            conflict @ Commit::Conflict(_) => {
                // Several workers may race, and a server may reject for ever.
                sleep(Duration::from_millis(fastrand::u64(1..=MAX_RACE_DELAY_MS))).await;
                return Ok(conflict);
            }
        };
        self.memory.with(|memory| {
            memory.read = Some((Reading { state: next.clone(), now }, Instant::now()));
            let Some((held, seen)) = &mut memory.held else { return };
            if next.snapshot.as_ref().is_some_and(|info| info.version == held.version()) {
                *seen = next.clone();
                if next.outdated_at.is_none() {
                    memory.seen_at = Some(Instant::now());
                }
            }
        });
        Ok(Commit::Committed(now))
    }

    /// The state as last read, if it says that this worker leads, and that the store has the snapshot that it holds.
    pub fn led(&self) -> Option<Reading> {
        let reading = self.last_reading()?;
        let stored = reading.state.snapshot.as_ref()?;
        let is_held = self
            .memory
            .with(|memory| memory.held.as_ref().is_some_and(|(held, _)| held.version() == stored.version));
        let leads = self.rule.leads(&reading.state, &self.owner, None);
        (is_held && leads).then_some(reading)
    }

    async fn encode(&self, snapshot: &Arc<Snapshot>, replaced: Option<Arc<Snapshot>>) -> Result<Encoded> {
        let (snapshot, compression) = (snapshot.clone(), self.compression);
        off_runtime(move || snapshot.encode(compression, replaced.as_deref())).await
    }
}

/// When the store's definitions were published.
fn published_at(state: &State) -> Option<Millis> {
    state.snapshot.as_ref().map(|snapshot| snapshot.published_at)
}
