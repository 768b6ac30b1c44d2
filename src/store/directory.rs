//! The embedded store: a directory of this host, shared by its processes.
//!
//! ```text
//! <directory>/<prefix>/<project>/state.json       the state, and when all of it expires
//! <directory>/<prefix>/<project>/<version>.json   the snapshot (zstd where asked for)
//! <directory>/<prefix>/<project>/lock             locked while somebody commits
//! ```
//!
//! Every file is written beside its place and renamed into it, the snapshot before the state that
//! names it: whoever is killed at whatever instant leaves the old state or the new one. Files are
//! not forced to disk: after a power failure a truncated one is noticed and fetched anew.

pub(crate) mod doctor;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use xxhash_rust::xxh3::xxh3_128;

use super::{Reading, Store, StoreFuture, is_news};
use crate::error::{Code, Error, Result};
use crate::lock::lock;
use crate::options::{Directory, Options};
use crate::snapshot::Encoded;
use crate::state::{Millis, State, millis};
use crate::status::Backend;

/// How often a waiting committer tries the lock. Blocking on it could take for ever: its holder may
/// be stopped.
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// How often the watcher looks at the state file.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// What stands for itself in a file name on every system.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// From this length on a name is cut, and told apart by its hash.
const LONGEST_NAME: usize = 160;

/// The store of one project in a directory.
pub struct DirectoryStore {
    files: Arc<Files>,
    timeout: Duration,
    notices: watch::Sender<u64>,
    watcher: Arc<Watcher>,
}

/// The task that looks at the state file, while somebody listens.
type Watcher = Mutex<Option<JoinHandle<()>>>;

/// The files, with calls that block.
struct Files {
    base: Directory,
    path: PathBuf,
    max_age: Duration,
}

/// What `state.json` holds.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    expires_at: Millis,
    #[serde(flatten)]
    state: State,
}

impl DirectoryStore {
    /// Touches nothing yet.
    pub fn new(base: Directory, options: &Options) -> Self {
        let path = base.path.join(file_name(&options.key_prefix)).join(file_name(&options.project_key));
        DirectoryStore {
            files: Arc::new(Files { base, path, max_age: options.max_age }),
            timeout: options.command_timeout,
            notices: watch::Sender::new(0),
            watcher: Arc::default(),
        }
    }

    /// The directory with the files of this project.
    pub fn path(&self) -> &Path {
        &self.files.path
    }

    /// Runs blocking work beside the runtime: a dead network mount blocks for minutes.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let files = self.files.clone();
        let path = self.files.path.display();
        match tokio::time::timeout(self.timeout, tokio::task::spawn_blocking(move || work(&files))).await {
            Ok(Ok(result)) => result,
            Ok(Err(cause)) => {
                Err(Error::new(Code::Unavailable, format!("cannot use {path}")).caused_by(cause))
            }
            Err(_) => Err(Error::new(Code::Timeout, format!("{path} did not answer in time"))),
        }
    }
}

impl Files {
    fn require_safe(&self) -> Result<()> {
        if self.base.is_default { require_own(&self.base.path) } else { Ok(()) }
    }

    fn record(&self) -> Result<Record> {
        self.require_safe()?;
        let text = match fs::read(self.path.join("state.json")) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(cause) => return Err(self.failed("read", cause)),
        };
        // Damaged by whatever: as good as empty, and overwritten by the next commit.
        let mut record: Record = serde_json::from_slice(&text).unwrap_or_default();
        record.state = if now() < record.expires_at { record.state.sanitized() } else { State::default() };
        Ok(record)
    }

    /// The file of a snapshot. A version from a foreign hand must not lead out of the directory.
    fn snapshot_path(&self, version: &str) -> PathBuf {
        self.path.join(format!("{}.json", file_name(version)))
    }

    /// The state, with the snapshot's bytes where they are wanted. Takes no lock: where the bytes are
    /// not what the state says, it is read again, for they may have been replaced in between.
    fn read(&self, wanted: impl Fn(&State) -> bool) -> Result<(Reading, Option<Bytes>)> {
        let mut state = self.record()?.state;
        while let Some(info) = &state.snapshot {
            let path = self.snapshot_path(&info.version);
            let found = if wanted(&state) {
                fs::read(&path).map(|bytes| (bytes.len() as u64, Some(Bytes::from(bytes))))
            } else {
                fs::metadata(&path).map(|file| (file.len(), None))
            };
            match found {
                Ok((length, bytes)) if length == info.bytes => {
                    return Ok((Reading { state, now: now() }, bytes));
                }
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(self.failed("read", cause));
                }
                _ => {}
            }
            let again = self.record()?.state;
            let unchanged = again.revision == state.revision;
            state = again;
            if unchanged {
                state.snapshot = None;
            }
        }
        Ok((Reading { state, now: now() }, None))
    }

    fn commit_locked(&self, expected: u64, next: &State, bytes: Option<&[u8]>) -> Result<bool> {
        if self.record()?.state.revision != expected {
            return Ok(false);
        }
        let kept = next.snapshot.as_ref().map(|snapshot| self.snapshot_path(&snapshot.version));
        if let (Some(path), Some(bytes)) = (&kept, bytes) {
            self.replace(path, bytes)?;
        }
        let expires_at = now().saturating_add(millis(self.max_age));
        let record = Record { expires_at, state: next.clone() };
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|cause| Error::new(Code::Unavailable, "the state cannot be written").caused_by(cause))?;
        self.replace(&self.path.join("state.json"), &text)?;
        self.sweep(kept.as_deref());
        Ok(true)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, content)
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(|cause| self.failed("write", cause))
    }

    /// Removes what no state names. Only the holder of the lock writes, so a temporary file is one
    /// that a killed process left. A failure costs disk space until the next commit, nothing else.
    fn sweep(&self, kept: Option<&Path>) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let ours = path.extension().is_some_and(|extension| extension == "json" || extension == "tmp");
            let is_state = path.file_name().is_some_and(|name| name == "state.json");
            if ours && !is_state && Some(path.as_path()) != kept {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn commit(&self, expected: u64, next: &State, bytes: Option<&[u8]>, deadline: Instant) -> Result<bool> {
        self.require_safe()?;
        self.locked(&self.open_lock()?, deadline, || self.commit_locked(expected, next, bytes))
    }

    fn clear(&self, deadline: Instant) -> Result<bool> {
        self.require_safe()?;
        let state = self.path.join("state.json");
        if !state.try_exists().map_err(|cause| self.failed("read", cause))? {
            return Ok(false);
        }
        self.locked(&self.open_lock()?, deadline, || {
            let removed = match fs::remove_file(&state) {
                Ok(()) => true,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => false,
                Err(cause) => return Err(self.failed("write", cause)),
            };
            // The lock stays: who has it open would no longer exclude who makes it anew.
            self.sweep(None);
            Ok(removed)
        })
    }

    /// When everything expires: 0 where there is nothing.
    fn expires_at(&self) -> Result<Millis> {
        Ok(self.record()?.expires_at)
    }

    fn locked<T>(&self, lock: &File, deadline: Instant, work: impl FnOnce() -> Result<T>) -> Result<T> {
        // A lock that comes too late is not used: the caller was told that nothing happened.
        while Instant::now() < deadline {
            match lock.try_lock() {
                Ok(()) => return work(),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::Error(cause)) => return Err(self.failed("lock", cause)),
            }
        }
        let path = self.path.display();
        Err(Error::new(Code::Timeout, format!("somebody keeps {path} locked")))
    }

    /// The lock file, with the directories made where missing. It is opened anew for each commit: a
    /// lock belongs to the open file, so two threads exclude each other as two processes do.
    fn open_lock(&self) -> Result<File> {
        let open = || File::options().create(true).append(true).open(self.path.join("lock"));
        open()
            .or_else(|cause| match cause.kind() {
                io::ErrorKind::NotFound => create_private(&self.path).and_then(|()| open()),
                _ => Err(cause),
            })
            .map_err(|cause| self.failed("write", cause))
    }

    fn failed(&self, verb: &str, cause: io::Error) -> Error {
        let path = self.path.display();
        Error::new(Code::Unavailable, format!("cannot {verb} the directory {path}")).caused_by(cause)
    }
}

impl Store for DirectoryStore {
    fn read(&self) -> StoreFuture<'_, Reading> {
        Box::pin(async { Ok(self.blocking(|files| files.read(|_| false)).await?.0) })
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> StoreFuture<'a, (Reading, Option<Bytes>)> {
        let known = known.map(str::to_owned);
        Box::pin(self.blocking(move |files| files.read(|state| is_news(state, known.as_deref()))))
    }

    fn commit<'a>(
        &'a self,
        expected: u64,
        next: &'a State,
        snapshot: Option<Encoded>,
    ) -> StoreFuture<'a, bool> {
        let (next, deadline) = (next.clone(), Instant::now() + self.timeout);
        let bytes = snapshot.map(|snapshot| snapshot.bytes);
        Box::pin(self.blocking(move |files| files.commit(expected, &next, bytes.as_deref(), deadline)))
    }

    fn clear(&self) -> StoreFuture<'_, bool> {
        let deadline = Instant::now() + self.timeout;
        Box::pin(self.blocking(move |files| files.clear(deadline)))
    }

    fn expiry(&self) -> StoreFuture<'_, Option<Duration>> {
        Box::pin(async {
            let expires_at = self.blocking(Files::expires_at).await?;
            Ok(expires_at.checked_sub(now()).map(Duration::from_millis))
        })
    }

    fn watch(&self) -> watch::Receiver<u64> {
        let mut watcher = lock(&self.watcher);
        let receiver = self.notices.subscribe();
        if watcher.as_ref().is_none_or(JoinHandle::is_finished) {
            let state = self.files.path.join("state.json");
            // Read here: what changes before the task first runs is a change too.
            let current = fs::read(&state).ok();
            let watching = watch_file(state, current, self.notices.clone(), self.watcher.clone());
            *watcher = Some(tokio::spawn(watching));
        }
        receiver
    }

    fn backend(&self) -> Backend {
        Backend { kind: "directory", location: self.path().display().to_string(), server: None }
    }
}

/// Looks at the file until nobody listens any more. A poll: what the systems offer instead differs
/// between them and fails on some mounts, and reading a few hundred bytes costs microseconds.
async fn watch_file(
    path: PathBuf,
    mut last: Option<Vec<u8>>,
    notices: watch::Sender<u64>,
    watcher: Arc<Watcher>,
) {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        {
            // Under the lock under which listeners come: none is left without a watcher.
            let mut watcher = lock(&watcher);
            if notices.receiver_count() == 0 {
                *watcher = None;
                return;
            }
        }
        let current = fs::read(&path).ok();
        if current != last {
            last = current;
            notices.send_modify(|count| *count += 1);
        }
    }
}

/// A name for what may hold any character, and more of them than a file name may have.
fn file_name(name: &str) -> String {
    let encoded = utf8_percent_encode(name, FILE_NAME).to_string();
    match encoded.get(..LONGEST_NAME) {
        Some(start) => format!("{start}-{:032x}", xxh3_128(name.as_bytes())),
        None => encoded,
    }
}

fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Refuses a directory that another user prepared for us, in a place where anybody can write.
#[cfg(unix)]
fn require_own(path: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let unusable = |fault: &str| {
        let path = path.display();
        Error::new(Code::Auth, format!("the default directory {path} {fault}: name another with `url`"))
    };
    let failed = |cause| unusable("cannot be made private").caused_by(cause);
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(failed(cause)),
    };
    // SAFETY: geteuid has no preconditions and cannot fail.
    if !file.is_dir() || file.uid() != unsafe { libc::geteuid() } {
        return Err(unusable("belongs to somebody else"));
    }
    if file.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Elsewhere the temporary directory is the user's own.
#[cfg(not(unix))]
fn require_own(_path: &Path) -> Result<()> {
    Ok(())
}
