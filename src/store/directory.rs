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

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Reading, Store, StoreFuture, is_news};
use crate::error::{Code, Error, Result};
use crate::lease::{Millis, State, millis};
use crate::options::{Directory, Options};

/// How often a waiting committer tries the lock. Blocking on it could take for ever: its holder may
/// be stopped.
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// How often the watcher looks at the state file.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// What stands for itself in a file name on every system.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The store of one project in a directory.
pub struct DirectoryStore {
    files: Arc<Files>,
    timeout: Duration,
    notices: watch::Sender<u64>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

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
        let encode = |name| utf8_percent_encode(name, FILE_NAME).to_string();
        let path = base.path.join(encode(&options.key_prefix)).join(encode(&options.project_key));
        DirectoryStore {
            files: Arc::new(Files { base, path, max_age: options.max_age }),
            timeout: options.command_timeout,
            notices: watch::Sender::new(0),
            watcher: Mutex::new(None),
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
    fn record(&self) -> Result<Record> {
        if self.base.is_default {
            require_own(&self.base.path)?;
        }
        let text = match fs::read(self.path.join("state.json")) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(cause) => return Err(self.failed("read", cause)),
        };
        // Damaged by whatever: as good as empty, and overwritten by the next commit.
        let mut record: Record = serde_json::from_slice(&text).unwrap_or_default();
        if now() >= record.expires_at {
            record.state = State::default();
        }
        Ok(record)
    }

    /// The file of a snapshot. A version from a foreign hand must not lead out of the directory.
    fn snapshot_path(&self, version: &str) -> PathBuf {
        self.path.join(format!("{}.json", utf8_percent_encode(version, FILE_NAME)))
    }

    fn read(&self) -> Result<Reading> {
        let mut state = self.record()?.state;
        let stored = state.snapshot.as_ref().is_some_and(|snapshot| {
            fs::metadata(self.snapshot_path(&snapshot.version)).is_ok_and(|file| file.len() == snapshot.bytes)
        });
        if !stored {
            state.snapshot = None;
        }
        Ok(Reading { state, now: now() })
    }

    fn load(&self, known: Option<&str>) -> Result<(Reading, Option<Bytes>)> {
        loop {
            let reading = self.read()?;
            let Some(snapshot) = reading.state.snapshot.as_ref().filter(|_| is_news(&reading.state, known))
            else {
                return Ok((reading, None));
            };
            match fs::read(self.snapshot_path(&snapshot.version)) {
                Ok(bytes) => return Ok((reading, Some(bytes.into()))),
                // Replaced between the two reads: the state names another by now, or none.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(self.failed("read", cause)),
            }
        }
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
        let lock = self.open_lock()?;
        loop {
            match lock.try_lock() {
                Ok(()) => return self.commit_locked(expected, next, bytes),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => {
                    let path = self.path.display();
                    return Err(Error::new(Code::Timeout, format!("somebody keeps {path} locked")));
                }
                Err(TryLockError::Error(cause)) => return Err(self.failed("lock", cause)),
            }
        }
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
        Box::pin(self.blocking(Files::read))
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> StoreFuture<'a, (Reading, Option<Bytes>)> {
        let known = known.map(str::to_owned);
        Box::pin(self.blocking(move |files| files.load(known.as_deref())))
    }

    fn commit<'a>(&'a self, expected: u64, next: &'a State, bytes: Option<Bytes>) -> StoreFuture<'a, bool> {
        let (next, deadline) = (next.clone(), Instant::now() + self.timeout);
        Box::pin(self.blocking(move |files| files.commit(expected, &next, bytes.as_deref(), deadline)))
    }

    fn watch(&self) -> watch::Receiver<u64> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.as_ref().is_none_or(JoinHandle::is_finished) {
            let (notices, state) = (self.notices.clone(), self.files.path.join("state.json"));
            *watcher = Some(tokio::spawn(watch_file(state, notices)));
        }
        self.notices.subscribe()
    }
}

impl Drop for DirectoryStore {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get_mut().unwrap_or_else(PoisonError::into_inner) {
            watcher.abort();
        }
    }
}

/// Looks at the file until nobody listens any more. A poll: what the systems offer instead differs
/// between them and fails on some mounts, and reading a few hundred bytes costs microseconds.
async fn watch_file(path: PathBuf, notices: watch::Sender<u64>) {
    let mut last = fs::read(&path).ok();
    while notices.receiver_count() > 0 {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let current = fs::read(&path).ok();
        if current != last {
            last = current;
            notices.send_modify(|count| *count += 1);
        }
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
