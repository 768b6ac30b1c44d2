//! Reads the store and repairs it: restores lost definitions, and deletes corrupt ones.

use std::sync::Arc;

use tokio::time::Instant;

use super::Mirror;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::state::{SnapshotInfo, State};
use crate::store::Reading;

/// Minimum time between two repairs of the store, as a part of the interval. Otherwise repeated corruption would make
/// every worker write all definitions each time.
const REPAIRS_APART_PART: u32 = 10;

/// Maximum number of commits of one repair: one deletes corrupt definitions, another one restores those that are
/// held.
const REPAIR_COMMITS: u32 = 2;

/// The result of a read.
pub struct Synced {
    pub reading: Reading,
    /// The snapshot in the store. The state may name one that this worker holds and could not restore.
    pub stored: Option<SnapshotInfo>,
    pub damage: Option<Error>,
}

impl Mirror {
    /// Reads the state, and makes the store's snapshot and the held one the same. Usually it loads new definitions.
    /// If the store lost those that this worker holds, it restores them.
    ///
    /// A corrupt snapshot is deleted, so that workers with a valid one notice this, and it counts as absent. The
    /// error is returned, for callers that cannot repair it.
    pub async fn sync(&self) -> Result<Synced> {
        let mut damage = None;
        let mut commits = self.repair_commits();
        loop {
            let held = self.held();
            let (mut reading, found) = self.shared.load(held.as_ref().map(|(snapshot, _)| snapshot)).await?;
            let news = match found.transpose() {
                Ok(news) => news,
                Err(error) => {
                    self.report(error.clone());
                    damage = Some(error);
                    if self.may_repair(&mut commits) {
                        self.commit(&reading, &self.rule.discard(&reading.state, reading.now), None).await?;
                        continue;
                    }
                    reading.state.snapshot = None;
                    None
                }
            };
            let stored = reading.state.snapshot.clone();
            let lost = held.as_ref().filter(|_| self.heals).and_then(|(snapshot, seen)| {
                Some((snapshot, self.rule.restore(&reading.state, reading.now, seen)?))
            });
            match lost {
                Some((snapshot, next)) if self.may_repair(&mut commits) => {
                    if self.restore(&reading, snapshot, next).await? {
                        self.memory.with(|memory| memory.counters.heals += 1);
                    }
                    continue;
                }
                // It continues as if it had restored them, until the next repair is due.
                Some((_, next)) => reading.state = State { revision: reading.state.revision, ..next },
                None => {}
            }
            self.adopt(&reading, &stored, news);
            return Ok(Synced { reading, stored, damage });
        }
    }

    /// How many commits a repair may take now.
    fn repair_commits(&self) -> u32 {
        let apart = self.rule.refresh_interval / REPAIRS_APART_PART;
        let is_due = self.memory.with(|memory| memory.healed_at.is_none_or(|at| at.elapsed() >= apart));
        if self.heals && is_due { REPAIR_COMMITS } else { 0 }
    }

    /// Takes one of the `commits` that are left, if there are any.
    fn may_repair(&self, commits: &mut u32) -> bool {
        let is_left = *commits > 0;
        if is_left {
            *commits -= 1;
            self.memory.with(|memory| memory.healed_at = Some(Instant::now()));
        }
        is_left
    }

    async fn restore(&self, reading: &Reading, snapshot: &Arc<Snapshot>, next: State) -> Result<bool> {
        let encoded = self.encode(snapshot, None).await?;
        let info = next.snapshot.map(|info| SnapshotInfo { bytes: encoded.length(), ..info });
        Ok(self.commit(reading, &State { snapshot: info, ..next }, Some(encoded)).await?.is_committed())
    }
}
