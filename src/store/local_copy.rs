//! A copy of the newest definitions on this host's disk, for a slow or unreachable store.
//!
//! A new process reads it before it asks the store. If the store has the same version, or a patch to it, little crosses
//! the network. If the store cannot be reached, the copy is all that a new process has.
//!
//! Its files are those of a [`DirectoryStore`]. They contain only the part of the state that the copy needs, and all
//! times are of this host's clock. The copy is never written to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync;

use super::Store;
use super::directory::DirectoryStore;
use super::directory::files::{Files, now};
use super::directory::folder::Folder;
use crate::config::options::Options;
use crate::config::target::Target;
use crate::definitions::codec::Compression;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Code, Result};
use crate::limits::MAX_STORED_BYTES;
use crate::runtime::off_runtime;
use crate::state::{Millis, SnapshotInfo, State, millis};

/// How often the file records that the definitions are still current, as a part of their maximum age.
const RENEWAL_PART: u32 = 24;

/// By how much the host's clock may have been set back since a copy was written.
const CLOCK_TOLERANCE: Millis = 60_000;

/// The timeout for writing, which happens in the background.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Definitions, and when they were last known to be current.
#[derive(Clone, Debug)]
pub struct Copied {
    pub snapshot: Arc<Snapshot>,
    pub etag: Option<String>,
    /// On this host's clock.
    pub confirmed_at: Millis,
    /// Whether PostHog refused the definitions to the project then.
    pub is_refused: bool,
}

/// The copy of one store.
pub struct LocalCopy {
    directory: DirectoryStore,
    max_age: Duration,
    /// What was found on disk, until something newer is known.
    loaded: Mutex<Option<Copied>>,
    /// What is on disk, as far as this process knows.
    kept: Mutex<Option<Kept>>,
    /// Whether the file is corrupt although its state matches.
    is_damaged: AtomicBool,
    /// Held by the task that writes.
    writing: sync::Mutex<()>,
}

#[derive(Clone, PartialEq, Eq)]
struct Kept {
    version: String,
    etag: Option<String>,
    is_refused: bool,
    confirmed_at: Millis,
}

impl LocalCopy {
    /// `None` if the options ask for none. Opens nothing yet.
    pub fn open(options: &Options) -> Option<Self> {
        let (Some(base), Target::Redis(store)) = (&options.local_copy, &options.target) else { return None };
        Some(LocalCopy {
            directory: DirectoryStore::over(Files::of_copy(base.clone(), store, options), options),
            max_age: options.max_age,
            loaded: Mutex::default(),
            kept: Mutex::default(),
            is_damaged: AtomicBool::new(false),
            writing: sync::Mutex::default(),
        })
    }

    /// Reads the copy once. A copy that is corrupt or unreadable is ignored.
    pub async fn load(&self) -> Option<Copied> {
        if let Some(copy) = self.loaded() {
            return Some(copy);
        }
        let found = self.read().await;
        let is_damaged = found.as_ref().is_err_and(|error| error.code() == Code::Corrupt);
        self.is_damaged.store(is_damaged, Ordering::Relaxed);
        let found = found.ok().flatten()?;
        *self.kept.lock() = is_possible(found.confirmed_at).then(|| Kept::of(&found));
        *self.loaded.lock() = Some(found.clone());
        Some(found)
    }

    /// Reads what is on disk.
    pub async fn read(&self) -> Result<Option<Copied>> {
        let (reading, bytes) = self.directory.load(None).await?;
        let State { snapshot: Some(info), confirmed_at: Some(confirmed_at), refused_at, .. } = reading.state
        else {
            return Ok(None);
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let SnapshotInfo { version, etag, .. } = info;
        let snapshot = off_runtime(move || Snapshot::decode(&bytes, &version, None)).await?;
        Ok(Some(Copied {
            snapshot: Arc::new(snapshot),
            etag,
            confirmed_at,
            is_refused: refused_at.is_some(),
        }))
    }

    /// What `load` found, while nothing newer is known.
    pub fn loaded(&self) -> Option<Copied> {
        self.loaded.lock().clone()
    }

    /// Drops what `load` found: something newer is known.
    pub fn forget(&self) {
        *self.loaded.lock() = None;
    }

    /// Whether the file is not known to have these definitions, or has not been renewed for a while.
    pub fn is_due(&self, copy: &Copied) -> bool {
        self.kept.lock().as_ref().is_none_or(|kept| !kept.covers(copy, self.renewal()))
    }

    /// Writes these definitions, unless another process of this host has done so, or is writing.
    pub async fn keep(&self, copy: Copied) -> Result<()> {
        let Ok(_writing) = self.writing.try_lock() else { return Ok(()) };
        let (renewal, is_damaged) = (self.renewal(), self.is_damaged.load(Ordering::Relaxed));
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let work = move |files: &Files| {
            files.try_locked(deadline, |files, folder| {
                let state = files.state(folder)?;
                match on_disk(&state).filter(|_| !is_damaged) {
                    Some(found) if found.covers(&copy, renewal) => Ok(Some(found)),
                    Some(found) if found.confirmed_at > copy.confirmed_at => Ok(None),
                    _ => write(files, folder, &state, &copy).map(Some),
                }
            })
        };
        if let Some(kept) = self.directory.run_by(deadline, work).await? {
            *self.kept.lock() = kept;
            self.is_damaged.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes the copy; says whether there was one.
    pub async fn clear(&self) -> Result<bool> {
        self.directory.clear().await
    }

    /// Ends its thread; the next call starts another one.
    pub fn close(&self) {
        self.directory.close();
    }

    pub fn directory(&self) -> &DirectoryStore {
        &self.directory
    }

    fn renewal(&self) -> Millis {
        millis(self.max_age / RENEWAL_PART)
    }
}

impl Copied {
    /// The age of the copy; `None` if it is from the future, because the clock was set back by more than the
    /// tolerance.
    pub fn age(&self) -> Option<Duration> {
        is_possible(self.confirmed_at).then(|| Duration::from_millis(now().saturating_sub(self.confirmed_at)))
    }
}

impl Kept {
    fn of(copy: &Copied) -> Self {
        let Copied { snapshot, etag, confirmed_at, is_refused } = copy;
        let version = snapshot.version().to_owned();
        Kept { version, etag: etag.clone(), is_refused: *is_refused, confirmed_at: *confirmed_at }
    }

    /// Whether `copy` is the same, and was not confirmed so much later that the file should note it.
    fn covers(&self, copy: &Copied, renewal: Millis) -> bool {
        let is_same = Kept { confirmed_at: self.confirmed_at, ..Kept::of(copy) } == *self;
        is_same && copy.confirmed_at < self.confirmed_at.saturating_add(renewal)
    }
}

/// The content of the files; `None` if it cannot be used.
fn on_disk(state: &State) -> Option<Kept> {
    let info = state.snapshot.clone();
    // Longer ones are not read.
    let SnapshotInfo { version, etag, .. } = info.filter(|info| info.bytes <= MAX_STORED_BYTES)?;
    let confirmed_at = state.confirmed_at.filter(|at| is_possible(*at))?;
    Some(Kept { version, etag, is_refused: state.refused_at.is_some(), confirmed_at })
}

/// Writes the copy in place of this state. Only for the holder of the lock.
fn write(files: &Files, folder: &Folder, state: &State, copy: &Copied) -> Result<Kept> {
    let encoded = copy.snapshot.encode(Compression::None, None)?;
    let info = SnapshotInfo {
        version: copy.snapshot.version().to_owned(),
        etag: copy.etag.clone(),
        bytes: encoded.length(),
        published_at: now(),
    };
    let next = State {
        revision: state.revision.saturating_add(1),
        snapshot: Some(info),
        confirmed_at: Some(copy.confirmed_at),
        refused_at: copy.is_refused.then_some(copy.confirmed_at),
        ..State::default()
    };
    files.commit(folder, state.revision, &next, Some(&encoded.bytes))?;
    Ok(Kept::of(copy))
}

/// Whether this time can be in the past. The host's clock may have been set back since.
fn is_possible(at: Millis) -> bool {
    at <= now().saturating_add(CLOCK_TOLERANCE)
}
