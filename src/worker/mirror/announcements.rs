//! Definitions from a notice. They are used until the worker reads the store, which decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Mirror, published_at};
use crate::definitions::snapshot::Snapshot;
use crate::store::notices::Published;
use crate::worker::memory::{Announced, Remembered};

/// How long definitions from a notice may answer a poll. Usually the poll follows at once, because the listener
/// causes it.
const ANSWERS_FOR: Duration = Duration::from_secs(5);

/// How a worker uses a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// It already has these definitions, or newer ones.
    Known,
    /// It has taken them from the notice.
    Taken,
    /// It must read the store.
    Unusable,
}

impl Mirror {
    /// Takes the definitions that a notice carries, if they are newer than what this worker has.
    pub async fn announce(&self, published: &Published) -> Announcement {
        if let Some(known) = self.memory.with(|memory| judge(memory, published)) {
            return known;
        }
        let Some(snapshot) = self.shared.announced(published).await else { return Announcement::Unusable };
        self.memory.with(|memory| {
            // A poll may have read the store meanwhile.
            judge(memory, published).unwrap_or_else(|| {
                let (info, at) = (published.info.clone(), Instant::now());
                memory.announced = Some(Announced { snapshot, info, at, is_taken: false });
                Announcement::Taken
            })
        })
    }

    /// The client's definitions from a notice, while they are newer than those last seen in the store.
    pub fn taken(&self) -> Option<Announced> {
        self.memory.with(|memory| memory.announced().filter(|announced| announced.is_taken).cloned())
    }

    /// The definitions from a notice, once: they answer the poll that it causes.
    pub fn take_announced(&self) -> Option<Arc<Snapshot>> {
        let longest = ANSWERS_FOR.min(self.rule.refresh_interval);
        self.memory.with(|memory| {
            let is_fresh = memory.announced()?.at.elapsed() < longest;
            let announced = memory.announced.as_mut().filter(|announced| is_fresh && !announced.is_taken)?;
            announced.is_taken = true;
            Some(announced.snapshot.clone())
        })
    }
}

/// What is known about a notice before its patch is applied.
fn judge(memory: &Remembered, published: &Published) -> Option<Announcement> {
    let Some((held, seen)) = &memory.held else { return Some(Announcement::Unusable) };
    let (version, at) = match memory.announced() {
        Some(announced) => (announced.snapshot.version(), Some(announced.info.published_at)),
        None => (held.version(), published_at(seen)),
    };
    if version == published.info.version || at >= Some(published.info.published_at) {
        return Some(Announcement::Known);
    }
    // This worker's definitions are newer than the store's. Only a read of the store shows whether these are even
    // newer.
    (memory.unpublished.is_some() || memory.unshared.is_some()).then_some(Announcement::Unusable)
}
