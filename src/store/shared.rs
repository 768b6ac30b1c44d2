//! The part that all workers of this process with the same target share: one store with one connection, and its
//! snapshot, loaded and decoded once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync;
use tokio::time::Instant;

use super::directory::DirectoryStore;
use super::local_copy::LocalCopy;
use super::memory::MemoryStore;
use super::notices::Published;
use super::redis::RedisStore;
use super::{Commit, Reading, Store};
use crate::config::options::Options;
use crate::config::target::{Directory, Target};
use crate::definitions::codec::Encoded;
use crate::definitions::patch::is_patch;
use crate::definitions::snapshot::Snapshot;
use crate::error::Result;
use crate::runtime::off_runtime;
use crate::state::State;

/// The stores in use. (Worker threads share one instance of this addon.)
static IN_USE: LazyLock<Mutex<HashMap<Identity, Weak<SharedStore>>>> = LazyLock::new(Mutex::default);

/// Target, keys, limits, and the place of the local copy.
type Identity = (Target, String, [Duration; 3], Option<Directory>);

/// A store, and its content as last read.
pub struct SharedStore {
    store: Arc<dyn Store>,
    /// This host's copy of its content, if the options ask for one.
    copy: Option<Arc<LocalCopy>>,
    /// The snapshot that was last loaded or published, while a worker holds it.
    newest: Mutex<Weak<Snapshot>>,
    /// Held during a load.
    turn: sync::Mutex<()>,
    round_trip: Mutex<Option<Duration>>,
    users: Mutex<usize>,
}

/// One worker's handle. Dropping the last one closes the store.
pub struct InUse(Arc<SharedStore>);

impl SharedStore {
    /// With its own store, and without a local copy.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::with_copy(store, None)
    }

    pub fn with_copy(store: Arc<dyn Store>, copy: Option<LocalCopy>) -> Self {
        SharedStore {
            store,
            copy: copy.map(Arc::new),
            newest: Mutex::default(),
            turn: sync::Mutex::default(),
            round_trip: Mutex::default(),
            users: Mutex::default(),
        }
    }

    /// The one for all workers of this process with the same options for the store, while one of them lives. Opens no
    /// connection; the first call does.
    pub fn open(options: &Options) -> Arc<Self> {
        let limits = match options.target {
            // Its content is in this process: another store has other content.
            Target::Memory => Default::default(),
            _ => [options.max_age, options.connect_timeout, options.command_timeout],
        };
        let identity = (options.target.clone(), options.data_key(), limits, options.local_copy.clone());
        let mut in_use = IN_USE.lock();
        in_use.retain(|_, store| store.strong_count() > 0);
        if let Some(shared) = in_use.get(&identity).and_then(Weak::upgrade) {
            return shared;
        }
        let store: Arc<dyn Store> = match &options.target {
            Target::Redis(endpoint) => Arc::new(RedisStore::new(endpoint, options)),
            Target::Directory(directory) => Arc::new(DirectoryStore::new(directory.clone(), options)),
            Target::Memory => Arc::new(MemoryStore::new(options.max_age)),
        };
        let shared = Arc::new(SharedStore::with_copy(store, LocalCopy::open(options)));
        in_use.insert(identity, Arc::downgrade(&shared));
        shared
    }

    /// Keeps the store open.
    pub fn enter(self: &Arc<Self>) -> InUse {
        *self.users.lock() += 1;
        InUse(self.clone())
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn copy(&self) -> Option<&Arc<LocalCopy>> {
        self.copy.as_ref()
    }

    /// How long the store took for its last answer.
    pub fn round_trip(&self) -> Option<Duration> {
        *self.round_trip.lock()
    }

    /// Records a snapshot that was published, so that other workers need not load it.
    pub fn published(&self, snapshot: &Arc<Snapshot>) {
        *self.newest.lock() = Arc::downgrade(snapshot);
        if let Some(copy) = &self.copy {
            copy.forget();
        }
    }

    /// The snapshot that a notice announces, if a worker of this process has it, or has the base of its patch.
    pub async fn announced(&self, published: &Published) -> Option<Arc<Snapshot>> {
        // In turn: whoever waited here finds what the one before has decoded.
        let _turn = self.turn.lock().await;
        let newest = self.newest.lock().upgrade()?;
        let version = &published.info.version;
        if newest.version() == version {
            return Some(newest);
        }
        let patch = published.patch.clone().filter(|patch| is_patch(patch))?;
        // If the patch is wrong, the store still has the whole text.
        let snapshot = decode(patch, version.clone(), Some(newest)).await.ok()?;
        self.published(&snapshot);
        Some(snapshot)
    }

    /// As [`Store::commit`].
    pub async fn commit(&self, expected: u64, next: &State, snapshot: Option<Encoded>) -> Result<Commit> {
        let (is_small, asked_at) = (snapshot.is_none(), Instant::now());
        let commit = self.store.commit(expected, next, snapshot).await?;
        // Definitions take a while on any network.
        if is_small {
            *self.round_trip.lock() = Some(asked_at.elapsed());
        }
        Ok(commit)
    }

    /// The state, and its snapshot unless that is the `held` one. A corrupt snapshot is a separate error, because the
    /// state is known all the same.
    pub async fn load(
        &self,
        held: Option<&Arc<Snapshot>>,
    ) -> Result<(Reading, Option<Result<Arc<Snapshot>>>)> {
        // In turn: whoever waited here finds what the one before has decoded.
        let _turn = self.turn.lock().await;
        let newest = self.newest.lock().upgrade();
        let copied = match (&newest, held, &self.copy) {
            (None, None, Some(copy)) => copy.load().await.map(|copied| copied.snapshot),
            _ => None,
        };
        let mut known = newest.as_ref().or(held).or(copied.as_ref());
        loop {
            let asked_at = Instant::now();
            let (reading, bytes) = self.store.load(known.map(|known| known.version())).await?;
            *self.round_trip.lock() = Some(asked_at.elapsed());
            let Some(info) = &reading.state.snapshot else { return Ok((reading, None)) };
            let found = match bytes {
                None => known.cloned().map(Ok),
                Some(bytes) => {
                    // Without a known version a store returns no patch: then these are damaged definitions.
                    let is_patch = known.is_some() && is_patch(&bytes);
                    match decode(bytes, info.version.clone(), known.cloned()).await {
                        // If the patch is wrong, the whole text may still be valid.
                        Err(_) if is_patch => {
                            known = None;
                            continue;
                        }
                        decoded => Some(decoded),
                    }
                }
            };
            if let Some(Ok(snapshot)) = &found {
                self.published(snapshot);
            }
            let is_held = held.is_some_and(|held| held.version() == info.version);
            return Ok((reading, found.filter(|_| !is_held)));
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut users = self.0.users.lock();
        *users -= 1;
        // Under the lock, so that a new worker connects again.
        if *users == 0 {
            self.0.store.close();
            if let Some(copy) = &self.0.copy {
                copy.close();
            }
        }
    }
}

async fn decode(bytes: Bytes, version: String, base: Option<Arc<Snapshot>>) -> Result<Arc<Snapshot>> {
    off_runtime(move || Snapshot::decode(&bytes, &version, base.as_deref()).map(Arc::new)).await
}
