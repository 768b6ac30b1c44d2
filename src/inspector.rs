//! What a fleet shares, for who only looks: never takes the turn, never fetches, never heals.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::config::options::Options;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::lease::Rule;
use crate::store::Backend;
use crate::store::Reading;
use crate::store::local_copy::LocalCopy;
use crate::store::notices::Notices;
use crate::store::shared::{InUse, SharedStore};

/// Looks at the store of one project.
pub struct Inspector {
    options: Options,
    rule: Rule,
    shared: Arc<SharedStore>,
    copy: Option<LocalCopy>,
    _in_use: InUse,
    /// The definitions that were last seen: they are not loaded again.
    held: Mutex<Option<Arc<Snapshot>>>,
    notices: Mutex<Option<watch::Receiver<Notices>>>,
}

/// What a store was seen to hold.
#[derive(Clone, Debug)]
pub struct Record {
    /// The state, and the store's time.
    pub reading: Reading,
    /// The definitions; `None` where there are none, or damaged ones.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What is wrong with the definitions.
    pub damage: Option<Error>,
    /// Whose turn it is, as long as nobody may take over.
    pub leader: Option<String>,
    /// How long the fleet still keeps off the API.
    pub pause: Option<Duration>,
    /// How long until everything expires, where that is known.
    pub expires_in: Option<Duration>,
    /// How long the reading took.
    pub round_trip: Duration,
    pub backend: Backend,
}

impl Inspector {
    /// Touches nothing yet.
    pub fn new(options: Options) -> Self {
        // What it looks at is the store: a copy would hide damage there.
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

    /// Reads what the fleet shares.
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
        // Time over is as good a reason to look.
        let _ = timeout(limit, notices.changed()).await;
        *self.notices.lock() = Some(notices);
    }

    /// Forgets everything, this host's copy too; says whether there was anything.
    pub async fn purge(&self) -> Result<bool> {
        // Both, even if one of them fails.
        let copy = match &self.copy {
            Some(copy) => copy.clear().await,
            None => Ok(false),
        };
        let store = self.within(Duration::ZERO, self.shared.store().clear()).await;
        Ok(store? | copy?)
    }

    /// This host's copy, where the options want one.
    pub fn copy(&self) -> Option<&LocalCopy> {
        self.copy.as_ref()
    }

    /// The options that it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Bounds work by the limit of a call, and this much `more`.
    async fn within<T>(&self, more: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.options.call_limit() + more;
        timeout(limit, work).await.unwrap_or_else(|_| {
            let backend = self.shared.store().backend().location;
            Err(Error::new(
                Code::Timeout,
                format!("{backend} did not answer within {} ms", limit.as_millis()),
            ))
        })
    }
}
