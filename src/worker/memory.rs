//! What one worker remembers between calls, behind one mutex.
//!
//! A closure gets it, not a guard: nothing that locks, waits or calls back runs inside one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::definitions::snapshot::Snapshot;
use crate::lease::FailedFetch;
use crate::state::{Millis, SnapshotInfo, State};
use crate::store::Reading;
use crate::store::shared::InUse;
use crate::worker::poll_interval::PollPace;
use crate::worker::status::Counters;

/// A snapshot, and the state in which it was last seen in the store.
pub type Held = (Arc<Snapshot>, State);

/// The memory of one worker.
#[derive(Default)]
pub struct Memory(Mutex<Remembered>);

#[derive(Default)]
pub struct Remembered {
    /// The state as last read, and when on this process's clock.
    pub read: Option<(Reading, Instant)>,
    /// The snapshot that was last in the store.
    pub held: Option<Held>,
    /// When the store was last seen to hold the same.
    pub seen_at: Option<Instant>,
    /// When this worker last restored or deleted the store's definitions.
    pub healed_at: Option<Instant>,
    /// Fetched, but not yet known to be in the store.
    pub unpublished: Option<Unpublished>,
    /// Fetched, but not published because another worker leads. Newer than what the store holds.
    pub unshared: Option<Unshared>,
    /// Announced, and not yet seen in the store.
    pub announced: Option<Announced>,
    pub counters: Counters,
    pub client: Client,
}

#[derive(Clone)]
pub struct Unpublished {
    pub snapshot: Arc<Snapshot>,
    pub etag: Option<String>,
    pub fence: Option<u64>,
    /// When the request began that brought them, if that is known.
    pub fetched_at: Option<Instant>,
    /// Whether the store was to take them before.
    pub was_tried: bool,
}

#[derive(Clone)]
pub struct Unshared {
    pub snapshot: Arc<Snapshot>,
    pub etag: Option<String>,
    pub fetched_at: Instant,
    /// When the store's definitions were published.
    pub stored_at: Option<Millis>,
}

#[derive(Clone)]
pub struct Announced {
    pub snapshot: Arc<Snapshot>,
    pub info: SnapshotInfo,
    pub at: Instant,
    /// Whether the client received it.
    pub is_taken: bool,
}

/// What a worker knows about its posthog-node client.
#[derive(Default)]
pub struct Client {
    /// Whether it calls `shouldFetchFlagDefinitions()`. A client without a secret key does not.
    pub asks: bool,
    /// Whether its requests for the definitions pass through `flagCache.fetch`, which tells how they end.
    pub is_observed: bool,
    /// For how long its reads have waited for definitions, since the store last had some.
    pub waited: Duration,
    /// Its newest grant.
    pub fence: Option<u64>,
    /// When its last request for the definitions began.
    pub fetched_at: Option<Instant>,
    /// The definitions that it received last, unless its requests carry the fleet's ETag.
    pub received: Option<Arc<Snapshot>>,
    /// Its last fetch, if that failed.
    pub failed: Option<FailedFetch>,
    /// What was last delivered.
    pub delivered: Option<Arc<Snapshot>>,
    /// Whether `invalidate()` was called after its last load.
    pub impatient: bool,
    pub pace: PollPace,
    pub is_pace_reported: bool,
    /// The refusal of PostHog that was last reported.
    pub refusal_reported: Option<Millis>,
    /// `None` after the shutdown. A running call has its own.
    pub in_use: Option<Arc<InUse>>,
}

impl Remembered {
    /// What was announced, while it is newer than what was last seen in the store.
    pub fn announced(&self) -> Option<&Announced> {
        let stored = self.held.as_ref().and_then(|(_, seen)| seen.snapshot.as_ref());
        let is_newer = |announced: &&Announced| {
            stored.is_some_and(|stored| stored.published_at < announced.info.published_at)
        };
        self.announced.as_ref().filter(is_newer)
    }
}

impl Unpublished {
    pub fn is(&self, other: &Unpublished) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot)
    }
}

impl Memory {
    pub fn with<T>(&self, work: impl FnOnce(&mut Remembered) -> T) -> T {
        work(&mut self.0.lock())
    }
}
