//! Definitions that this worker has fetched, on their way into the store.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Mirror, published_at};
use crate::definitions::codec::Encoded;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Code, Result};
use crate::state::{SnapshotInfo, millis};
use crate::store::{Commit, Reading};
use crate::worker::memory::{Unpublished, Unshared};

impl Mirror {
    /// Stages fetched definitions; `publish` publishes them.
    pub fn stage(&self, snapshot: Arc<Snapshot>, etag: Option<String>, fence: Option<u64>) {
        self.memory.with(|memory| {
            let fetched_at = memory.client.fetched_at;
            memory.unpublished = Some(Unpublished { snapshot, etag, fence, fetched_at, was_tried: false });
        });
    }

    /// Forgets what is staged: the API has answered with something newer.
    pub fn unstage(&self) {
        self.memory.with(|memory| memory.unpublished = None);
    }

    /// Stages definitions of this version again, which could not be shared. Returns whether there are any.
    pub fn stage_unshared(&self, version: &str, fence: Option<u64>) -> bool {
        self.memory.with(|memory| {
            let unshared = memory.unshared.as_ref().filter(|unshared| unshared.snapshot.version() == version);
            let Some(Unshared { snapshot, etag, fetched_at, .. }) = unshared.cloned() else { return false };
            let fetched_at = Some(fetched_at);
            memory.unpublished = Some(Unpublished { snapshot, etag, fence, fetched_at, was_tried: false });
            true
        })
    }

    /// Publishes what is staged, unless the answer to a newer grant has superseded it. On failure it stays staged.
    pub async fn publish(&self) -> Result<()> {
        let staged = self.memory.with(|memory| {
            let staged = memory.unpublished.clone();
            memory.unpublished.iter_mut().for_each(|unpublished| unpublished.was_tried = true);
            staged
        });
        let Some(staged) = staged else { return Ok(()) };
        if staged.was_tried {
            // First, because a store that fails again may take all the time.
            let _ = self.outdate(Some(staged.snapshot.version())).await;
        }
        let outcome = self.try_publish(&staged).await;
        match &outcome {
            // If no write succeeds, each poll reports it.
            Err(error) if error.code() == Code::ReadOnly => self.memory.with(|memory| {
                memory.unpublished.iter_mut().for_each(|unpublished| unpublished.was_tried = false);
            }),
            Err(_) => drop(self.outdate(Some(staged.snapshot.version())).await),
            Ok(_) => {}
        }
        let (is_published, Reading { state, now }) = outcome?;
        if is_published {
            self.shared.published(&staged.snapshot);
        }
        self.memory.with(|memory| {
            // Unless newer definitions have replaced them meanwhile.
            memory.unpublished = memory.unpublished.take().filter(|other| !other.is(&staged));
            let Unpublished { snapshot, etag, fetched_at, .. } = staged;
            let counters = &mut memory.counters;
            *(if is_published { &mut counters.publishes } else { &mut counters.superseded }) += 1;
            let stored_at = published_at(&state);
            // Newer than what the store holds, if that was published before.
            let is_newer = |began: &Instant| stored_at <= Some(now.saturating_sub(millis(began.elapsed())));
            if state.snapshot.as_ref().is_some_and(|stored| stored.version == snapshot.version()) {
                memory.seen_at = Some(Instant::now());
                memory.held = Some((snapshot, state));
                memory.unshared = None;
            } else if let Some(fetched_at) = fetched_at.filter(is_newer) {
                memory.unshared = Some(Unshared { snapshot, etag, fetched_at, stored_at });
            }
        });
        Ok(())
    }

    /// Whether it was published, and the state then. Otherwise the answer to a newer grant has superseded it.
    async fn try_publish(&self, staged: &Unpublished) -> Result<(bool, Reading)> {
        let Unpublished { snapshot, etag, fence, .. } = staged;
        let version = snapshot.version();
        let info =
            SnapshotInfo { version: version.to_owned(), etag: etag.clone(), bytes: 0, published_at: 0 };
        let publish = |reading: &Reading| {
            self.rule.publish(&reading.state, reading.now, &self.owner, *fence, info.clone())
        };
        let mut known = self.last_reading().filter(|reading| publish(reading).is_some());
        // With the version to which its patch applies.
        let mut encoded: Option<(Option<String>, Encoded)> = None;
        loop {
            let reading = self.known_or_read(known).await?;
            let Some(mut next) = publish(&reading) else { return Ok((false, reading)) };
            let stored = reading.state.snapshot.as_ref();
            let (bytes, content) = match stored.filter(|stored| stored.version == version) {
                Some(stored) => (stored.bytes, None),
                None => {
                    let replaced = stored.map(|stored| stored.version.clone());
                    let content = match encoded.take().filter(|(base, _)| *base == replaced) {
                        Some((_, content)) => content,
                        None => {
                            let base = replaced.as_deref().and_then(|replaced| self.held_version(replaced));
                            self.encode(snapshot, base).await?
                        }
                    };
                    encoded = Some((replaced, content.clone()));
                    (content.length(), Some(content))
                }
            };
            next.snapshot.iter_mut().for_each(|info| info.bytes = bytes);
            known = match self.commit(&reading, &next, content).await? {
                Commit::Committed(now) => return Ok((true, Reading { state: next, now })),
                Commit::Conflict(found) => Some(found),
            };
        }
    }

    /// Tells the other workers that the stored definitions are older than those of this version, which the store
    /// rejects (`None`: they are too large to have a version). Such a small commit may succeed although the
    /// definitions are rejected. If it fails too, the others notice themselves that the store does not work.
    pub async fn outdate(&self, version: Option<&str>) -> Result<()> {
        let outdate =
            |reading: &Reading| self.rule.outdate(&reading.state, reading.now, &self.owner, version);
        self.change(outdate).await.map(drop)
    }

    fn held_version(&self, version: &str) -> Option<Arc<Snapshot>> {
        self.held().map(|(snapshot, _)| snapshot).filter(|snapshot| snapshot.version() == version)
    }
}
