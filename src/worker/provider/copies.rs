//! How a worker uses its host's local copy of the definitions.

use std::sync::Arc;

use super::Provider;
use crate::config::options::WhenRefused;
use crate::definitions::snapshot::Snapshot;
use crate::error::Error;
use crate::state::millis;
use crate::store::directory::files::now;
use crate::store::local_copy::Copied;
use crate::worker::status::Held;

impl Provider {
    /// The copy, for a worker that can reach neither the store nor PostHog and has nothing newer.
    pub(super) fn copied(&self) -> Option<Copied> {
        let copy = self.loaded_copy()?;
        let is_young = copy.age().is_some_and(|age| age < self.max_age);
        let is_dropped = self.when_refused == WhenRefused::Clear && (copy.is_refused || self.is_refused());
        (is_young && !is_dropped).then_some(copy)
    }

    /// Its definitions.
    pub(super) fn copied_snapshot(&self) -> Option<Arc<Snapshot>> {
        self.copied().map(|copy| copy.snapshot)
    }

    /// The copy for `status()`, if the client evaluates it.
    pub(super) fn copy_in_use(&self) -> Option<Held> {
        let copy = self.loaded_copy()?;
        let delivered = self.client(|client| client.delivered.clone())?;
        (delivered.version() == copy.snapshot.version()).then(|| Held {
            etag: copy.etag.clone(),
            age: copy.age(),
            is_local_copy: true,
            ..Held::of(&copy.snapshot)
        })
    }

    fn loaded_copy(&self) -> Option<Copied> {
        self.mirror.copy()?.loaded().filter(|_| self.mirror.newest().is_none())
    }

    /// Keeps the newest definitions on disk, in the background. A failure is only reported.
    pub(super) fn keep_copy(&self) {
        let Some(local) = self.mirror.copy() else { return };
        let Some((snapshot, etag, Some(confirmed_at))) = self.mirror.confirmed() else { return };
        let confirmed_at = now().saturating_sub(millis(confirmed_at.elapsed()));
        let copy = Copied { snapshot, etag, confirmed_at, is_refused: self.is_refused() };
        if !local.is_due(&copy) {
            return;
        }
        let (local, reporter) = (local.clone(), self.mirror.reporter());
        tokio::spawn(async move {
            if let Err(error) = local.keep(copy).await {
                let failed = Error::new(error.code(), "cannot write the local copy").caused_by(error);
                // An error here only means that there are no listeners.
                let _ = reporter.send(failed);
            }
        });
    }
}
