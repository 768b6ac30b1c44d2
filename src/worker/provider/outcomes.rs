//! The outcomes of the client's requests, and their effects.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Provider;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::lease::{FailedFetch, Failure};
use crate::state::{Millis, is_etag};
use crate::store::Reading;

impl Provider {
    /// Publishes fetched definitions: `onFlagDefinitionsReceived(data)`.
    ///
    /// Definitions that cannot be published now are kept, and published at the next poll unless there are newer ones.
    /// The API would not send them again, because it answers 304 from now on.
    pub async fn received(&self, snapshot: Arc<Snapshot>, etag: Option<String>) -> Result<()> {
        let _in_use = self.require_writer()?;
        self.client(|client| client.received = Some(snapshot.clone()).filter(|_| !client.is_observed));
        self.mirror.stage(snapshot, etag.filter(|etag| is_etag(etag)), self.succeeded());
        let published = self.bounded(self.mirror.publish()).await;
        self.keep_copy();
        published
    }

    /// Notes that the API has answered 304 to the ETag of this version. If the store does not have it, it is
    /// published, because the API will not send it again.
    pub async fn confirmed(&self, version: &str) -> Result<()> {
        let _in_use = self.require_writer()?;
        let fence = self.succeeded();
        if self.mirror.stage_unshared(version, fence) {
            return self.bounded(self.mirror.publish()).await;
        }
        let confirm =
            |reading: &Reading| self.rule.confirm(&reading.state, reading.now, &self.owner, fence, version);
        if self.bounded(self.mirror.change(confirm)).await? {
            self.memory.with(|memory| memory.counters.confirms += 1);
        }
        Ok(())
    }

    /// Notes that the API has answered 304 to the client's own ETag: what it received last is current. If the store
    /// has something else, it is published.
    pub async fn received_is_current(&self) -> Result<()> {
        let _in_use = self.require_writer()?;
        let Some(snapshot) = self.client(|client| client.received.clone()) else { return Ok(()) };
        let stored = self.mirror.last_reading().and_then(|reading| reading.state.snapshot);
        if stored.is_some_and(|stored| stored.version == snapshot.version()) {
            return self.confirmed(snapshot.version()).await;
        }
        self.mirror.stage(snapshot, None, self.succeeded());
        self.bounded(self.mirror.publish()).await
    }

    /// Notes that a fetch has failed. Returns for how long no worker fetches.
    pub async fn failed(&self, failure: Failure) -> Result<Option<Duration>> {
        let _in_use = self.require_writer()?;
        // This worker remembers it even if it cannot tell the others.
        self.note_failure(self.mirror.last_reading().unwrap_or_default().now);
        self.bounded(self.release_after(failure)).await?;
        Ok(self.mirror.last_reading().and_then(|Reading { state, now }| self.rule.pause(&state, now)))
    }

    /// Notes that the API has answered with definitions that are too large to share.
    pub async fn unshareable(&self) -> Result<()> {
        let _in_use = self.require_writer()?;
        self.succeeded();
        self.mirror.unstage();
        self.bounded(self.mirror.outdate(None)).await
    }

    /// Tells the other workers why posthog-node's definitions cannot be shared. A failure of this is not reported,
    /// because the caller already reports the first error.
    pub async fn note_unusable(&self, error: &Error) {
        let _ = match error.code() {
            // Another worker may be answered with definitions. `flagCache.fetch` has told of it.
            Code::Data if !self.client(|client| client.is_observed) => {
                self.failed(Failure::Worker).await.map(drop)
            }
            Code::TooLarge | Code::Timeout => self.unshareable().await,
            _ => Ok(()),
        };
    }

    /// Makes the next load of this worker fetch, even if the interval is not over.
    pub async fn invalidate(&self) -> Result<()> {
        let _in_use = self.require_writer()?;
        self.client(|client| client.impatient = true);
        let invalidate = |reading: &Reading| self.rule.invalidate(&reading.state, reading.now);
        self.bounded(self.mirror.look_and_change(invalidate)).await.map(drop)
    }

    pub(super) fn note_failure(&self, at: Millis) {
        self.memory.with(|memory| {
            *memory.counters.errors.entry(Code::Api).or_default() += 1;
            let count = memory.client.failed.map_or(0, |failed| failed.count).saturating_add(1);
            memory.client.failed = Some(FailedFetch { at, count });
            // posthog-node polls less often after some of them.
            memory.client.pace.delay();
        });
    }

    pub(super) async fn release_after(&self, failure: Failure) -> Result<()> {
        let fail = |reading: &Reading| self.rule.fail(&reading.state, reading.now, &self.owner, failure);
        self.mirror.change(fail).await.map(drop)
    }

    /// Notes that PostHog has answered, and returns the grant under which it was asked.
    fn succeeded(&self) -> Option<u64> {
        self.client(|client| {
            client.failed = None;
            let began = client.fetched_at.unwrap_or_else(Instant::now);
            client.pace.took(began.elapsed(), self.rule.refresh_interval);
            client.fence
        })
    }
}
