//! Reads what a fleet shares. Never takes the lease, never fetches, never restores.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::config::options::Options;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::lease::Rule;
use crate::store::Backend;
use crate::store::Reading;
use crate::store::local_copy::LocalCopy;
use crate::store::notices::Notices;
use crate::store::shared::{InUse, SharedStore};

/// Reads the store of one project.
pub struct Inspector {
    options: Options,
    rule: Rule,
    shared: Arc<SharedStore>,
    copy: Option<LocalCopy>,
    _in_use: InUse,
    /// The definitions that were read last. They are not loaded again.
    held: Mutex<Option<Arc<Snapshot>>>,
    notices: Mutex<Option<watch::Receiver<Notices>>>,
}

/// The content of a store.
#[derive(Clone, Debug)]
pub struct Record {
    /// The state, and the store's time.
    pub reading: Reading,
    /// The definitions; `None` if there are none, or if they are corrupt.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What is wrong with the definitions.
    pub damage: Option<Error>,
    /// The leader, while its lease is valid.
    pub leader: Option<String>,
    /// How long no process calls the API.
    pub pause: Option<Duration>,
    /// The time until everything expires, if it is known.
    pub expires_in: Option<Duration>,
    /// How long the read took.
    pub round_trip: Duration,
    pub backend: Backend,
}

impl Inspector {
    /// Opens nothing yet.
    pub fn new(options: Options) -> Self {
        // Without the local copy, which would hide corruption in the store.
        let shared = SharedStore::open(&Options { local_copy: None, ..options.clone() });
        Inspector {
            copy: LocalCopy::open(&options),
            rule: options.rule,
            _in_use: shared.enter(),
            shared,
            options,
            held: Mutex::default(),
            notices: Mutex::default(),
        }
    }

    /// Reads the shared state.
    pub async fn look(&self) -> Result<Record> {
        let held = self.held.lock().clone();
        let asked_at = Instant::now();
        // As in a process that starts: the first definitions may take as long as a cold start.
        let more = if held.is_some() { Duration::ZERO } else { self.rule.cold_start_wait };
        let (reading, found) = self.within(more, self.shared.load(held.as_ref())).await?;
        let round_trip = asked_at.elapsed();
        let (snapshot, damage) = match (&reading.state.snapshot, found) {
            (None, _) => (None, None),
            (Some(_), Some(Ok(snapshot))) => (Some(snapshot), None),
            (Some(_), Some(Err(damage))) => (None, Some(damage)),
            (Some(_), None) => (held, None),
        };
        (*self.held.lock()).clone_from(&snapshot);
        let expires_in = self.within(Duration::ZERO, self.shared.store().expiry()).await?;
        let (state, now) = (&reading.state, reading.now);
        Ok(Record {
            leader: self.rule.leader(state, now).map(str::to_owned),
            pause: self.rule.pause(state, now),
            snapshot,
            damage,
            expires_in,
            round_trip,
            backend: self.shared.store().backend(),
            reading,
        })
    }

    /// Waits until there may be something new, but no longer than this.
    pub async fn changed(&self, limit: Duration) {
        let notices = self.notices.lock().take();
        let mut notices = notices.unwrap_or_else(|| self.shared.store().watch());
        // After a timeout the caller reads the store too.
        let _ = timeout(limit, notices.changed()).await;
        *self.notices.lock() = Some(notices);
    }

    /// Deletes everything, including this host's copy. Returns whether there was anything.
    pub async fn purge(&self) -> Result<bool> {
        // Both, even if one of them fails.
        let copy = match &self.copy {
            Some(copy) => copy.clear().await,
            None => Ok(false),
        };
        let store = self.within(Duration::ZERO, self.shared.store().clear()).await;
        Ok(store? | copy?)
    }

    /// This host's copy, if the options ask for one.
    pub fn copy(&self) -> Option<&LocalCopy> {
        self.copy.as_ref()
    }

    /// Its options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Limits work to the timeout of a call, plus `more`.
    async fn within<T>(&self, more: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.options.call_limit() + more;
        timeout(limit, work).await.unwrap_or_else(|_| {
            let backend = self.shared.store().backend().location;
            Err(Error::timeout(backend, limit))
        })
    }
}
