//! Definitions that a notice carries. They serve until the worker looks at the store, which decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Mirror, published_at};
use crate::definitions::snapshot::Snapshot;
use crate::store::notices::Published;
use crate::worker::memory::{Announced, Remembered};

/// How long definitions that a notice brought answer a poll. It mostly follows at once, as the listener's.
const ANSWERS_FOR: Duration = Duration::from_secs(5);

/// What a worker makes of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// It has these definitions, or newer ones.
    Known,
    /// It has taken them from the notice.
    Taken,
    /// It has to look at the store.
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
            // Meanwhile a poll may have looked.
            judge(memory, published).unwrap_or_else(|| {
                let (info, at) = (published.info.clone(), Instant::now());
                memory.announced = Some(Announced { snapshot, info, at, is_taken: false });
                Announcement::Taken
            })
        })
    }

    /// What the client has from a notice, while that is newer than what was last seen in the store.
    pub fn taken(&self) -> Option<Announced> {
        self.memory.with(|memory| memory.announced().filter(|announced| announced.is_taken).cloned())
    }

    /// What a notice has brought, once: an answer for the poll that it causes.
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

/// What is known of a notice without applying its patch.
fn judge(memory: &Remembered, published: &Published) -> Option<Announcement> {
    let Some((held, seen)) = &memory.held else { return Some(Announcement::Unusable) };
    let (version, at) = match memory.announced() {
        Some(announced) => (announced.snapshot.version(), Some(announced.info.published_at)),
        None => (held.version(), published_at(seen)),
    };
    if version == published.info.version || at >= Some(published.info.published_at) {
        return Some(Announcement::Known);
    }
    // Its own are newer than the store's; only a look at the store tells whether these are newer still.
    (memory.unpublished.is_some() || memory.unshared.is_some()).then_some(Announcement::Unusable)
}
