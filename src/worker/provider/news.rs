//! How a worker notices an edit between two polls: from a notice that contains it, or by reading the store.

use std::time::Duration;

use tokio::sync::watch;

use super::Provider;
use super::poll::Found;
use crate::error::Result;
use crate::store::notices::{Notices, Published};
use crate::worker::mirror::announcements::Announcement;

/// The reads that a notice causes are spread over this many round trips.
const LOOKS_SPREAD_OVER: u32 = 100;

/// The maximum delay of such a read.
const MAX_LOOK_DELAY: Duration = Duration::from_secs(1);

impl Provider {
    /// The definitions that a notice has brought, for the poll that follows. A client that knows of an edit itself does not
    /// take them.
    pub(super) fn take_announced(&self) -> Option<Found> {
        let is_impatient = self.client(|client| client.impatient);
        (!is_impatient).then(|| self.mirror.take_announced()).flatten().map(Found::Snapshot)
    }

    /// Takes the definitions that a notice carries, if they are newer than what this worker has.
    pub async fn announce(&self, published: &Published) -> Result<Announcement> {
        let _in_use = self.require_open()?;
        Ok(self.mirror.announce(published).await)
    }

    /// How long to wait before reading the store after a notice, which all workers get at the same moment.
    pub fn look_delay(&self) -> Duration {
        let longest = self.mirror.round_trip().unwrap_or_default() * LOOKS_SPREAD_OVER;
        longest.min(MAX_LOOK_DELAY).mul_f64(fastrand::f64())
    }

    /// The version of the snapshot in the store, if this worker does not have it.
    pub async fn news(&self) -> Result<Option<String>> {
        let _in_use = self.require_open()?;
        let reading = self.bounded(self.mirror.store().read()).await?;
        let stored = reading.state.snapshot.map(|snapshot| snapshot.version);
        Ok(stored.filter(|stored| !self.mirror.has(stored)))
    }

    /// Changes whenever there may be a new version. Must be called within the runtime.
    pub fn notices(&self) -> watch::Receiver<Notices> {
        self.mirror.store().watch()
    }
}
