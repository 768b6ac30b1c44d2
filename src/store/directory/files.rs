//! The files of one project, with calls that block.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::folder::{FileMode, Folder};
use crate::config::options::Options;
use crate::config::target::{Directory, Endpoint};
use crate::error::{Code, Error, Result};
use crate::limits::MAX_STORED_BYTES;
use crate::state::{Millis, State, millis};
use crate::store::{Commit, Reading, is_kept};

const STATE: &str = "state.json";
const LOCK: &str = "lock";

/// The maximum length of `state.json` that is read. A state takes much less.
const MAX_STATE_BYTES: u64 = 64 * 1024;

/// Characters that are safe in a file name on every system.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A longer name is cut and gets a hash, so that it stays unique.
const LONGEST_NAME: usize = 160;

/// Whether names that differ only in case are usually one file.
const IGNORES_CASE: bool = cfg!(any(windows, target_vendor = "apple"));

/// What the files are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Store,
    LocalCopy,
}

/// The location of the files, and their maximum age.
pub(crate) struct Files {
    pub base: Directory,
    /// `base/prefix/project`.
    pub path: PathBuf,
    purpose: Purpose,
    names: [String; 2],
    max_age: Duration,
    /// The fingerprint of the `state.json` that was last read.
    seen: Mutex<u128>,
}

/// The content of `state.json`.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    expires_at: Millis,
    #[serde(flatten)]
    state: State,
}

impl Files {
    /// The files of a store.
    pub fn new(base: Directory, options: &Options) -> Self {
        Self::named(base, file_name(&options.project_key), Purpose::Store, options)
    }

    /// The files of this host's copy of a store in Redis. Each store has its own copy, because two environments may
    /// use the same project.
    pub fn of_copy(base: Directory, store: &Endpoint, options: &Options) -> Self {
        // The URL without credentials.
        let store = xxh3_128(store.to_string().as_bytes());
        let name = format!("{}.copy-{store:032x}", file_name(&options.project_key));
        Self::named(base, name, Purpose::LocalCopy, options)
    }

    fn named(base: Directory, name: String, purpose: Purpose, options: &Options) -> Self {
        let names = [file_name(&options.key_prefix), name];
        let path = base.path.join(&names[0]).join(&names[1]);
        Files { base, path, purpose, names, max_age: options.max_age, seen: Mutex::default() }
    }

    /// Whether other users must have no access. For a store in a configured directory, its permissions decide.
    fn is_private(&self) -> bool {
        self.base.is_default || self.purpose == Purpose::LocalCopy
    }

    /// The state, with the snapshot's bytes if they are requested. Takes no lock. If the bytes do not match the
    /// state, it reads again, because they may have been replaced in between.
    pub fn read(&self, wanted: impl Fn(&State) -> bool) -> Result<(Reading, Option<Bytes>)> {
        let Some(folder) = self.open()? else {
            self.note(None);
            return Ok((Reading { now: now(), ..Reading::default() }, None));
        };
        let state = self.record(&folder)?.state;
        self.reading(&folder, state, wanted)
    }

    fn reading(
        &self,
        folder: &Folder,
        mut state: State,
        wanted: impl Fn(&State) -> bool,
    ) -> Result<(Reading, Option<Bytes>)> {
        while let Some(info) = &state.snapshot {
            let name = snapshot_name(&info.version);
            let found = if wanted(&state) {
                let content = folder.read(&name, info.bytes.min(MAX_STORED_BYTES));
                content.map(|content| content.map(|bytes| (bytes.len() as u64, Some(Bytes::from(bytes)))))
            } else {
                folder.length(&name).map(|length| length.map(|length| (length, None)))
            };
            match found.map_err(|cause| self.failed("read", cause))? {
                Some((length, bytes)) if length == info.bytes => {
                    return Ok((Reading { state, now: now() }, bytes));
                }
                _ => {}
            }
            let again = self.record(folder)?.state;
            let unchanged = again.revision == state.revision;
            state = again;
            if unchanged {
                state.snapshot = None;
            }
        }
        Ok((Reading { state, now: now() }, None))
    }

    /// Does the work while this process has the lock; `None`: another process has it.
    pub fn try_locked<T>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Self, &Folder) -> Result<T>,
    ) -> Result<Option<T>> {
        let folder = self.create()?;
        // Opened for this work: a lock belongs to the open file, so two threads exclude each other as two processes do.
        let lock = folder
            .open_lock(LOCK, self.mode())
            .map_err(|cause| self.failed("use the file `lock` in", cause))?;
        match lock.try_lock() {
            // The caller was told that nothing happened.
            Ok(()) if Instant::now() >= deadline => Ok(None),
            Ok(()) => work(self, &folder).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(self.failed("lock", cause)),
        }
    }

    /// The state, for the holder of the lock.
    pub fn state(&self, folder: &Folder) -> Result<State> {
        let state = self.record(folder)?.state;
        Ok(self.reading(folder, state, |_| false)?.0.state)
    }

    /// Replaces the state if it is of this revision. Only for the holder of the lock.
    pub fn commit(
        &self,
        folder: &Folder,
        expected: u64,
        next: &State,
        bytes: Option<&[u8]>,
    ) -> Result<Commit> {
        let current = self.record(folder)?.state;
        let (found, _) = self.reading(folder, current.clone(), |_| false)?;
        if current.revision != expected || !(bytes.is_some() || is_kept(&found.state, next)) {
            return Ok(Commit::Conflict(found));
        }
        // Before anything is written, so that a disk full of old files has space again.
        sweep(folder, &current);
        let written = self.write(folder, next, bytes);
        if written.is_err() && found.state.snapshot.is_none() {
            // On a full disk, so that the others do not wait for a result that cannot be written either.
            let _ = folder.clear(STATE);
        }
        sweep(folder, if written.is_ok() { next } else { &current });
        written.map(|()| Commit::Committed(now()))
    }

    fn write(&self, folder: &Folder, next: &State, bytes: Option<&[u8]>) -> Result<()> {
        let record = Record { expires_at: now().saturating_add(millis(self.max_age)), state: next.clone() };
        let text = serde_json::to_vec_pretty(&record).map_err(|cause| {
            Error::new(Code::Unavailable, "cannot write the state as JSON").caused_by(cause)
        })?;
        if let (Some(snapshot), Some(bytes)) = (&next.snapshot, bytes) {
            self.replace(folder, &snapshot_name(&snapshot.version), bytes)?;
        }
        self.replace(folder, STATE, &text)
    }

    fn replace(&self, folder: &Folder, name: &str, content: &[u8]) -> Result<()> {
        folder.replace(name, content, self.mode()).map_err(|cause| self.failed("write", cause))
    }

    fn mode(&self) -> FileMode {
        if self.purpose == Purpose::LocalCopy { FileMode::Private } else { FileMode::Shared }
    }

    /// Whether there is anything to clear.
    pub fn is_written(&self) -> Result<bool> {
        let Some(folder) = self.open()? else { return Ok(false) };
        folder.has(STATE).map_err(|cause| self.failed("read", cause))
    }

    /// Deletes everything. Only for the holder of the lock.
    pub fn clear(&self, folder: &Folder) -> Result<bool> {
        let removed = folder.clear(STATE).map_err(|cause| self.failed("write", cause))?;
        // The lock file stays. If it were created again, a process that has the old file open would no longer exclude
        // the others.
        sweep(folder, &State::default());
        Ok(removed)
    }

    /// When everything expires; 0 if there is nothing.
    pub fn expires_at(&self) -> Result<Millis> {
        let Some(folder) = self.open()? else { return Ok(0) };
        Ok(self.record(&folder)?.expires_at)
    }

    /// Changes with `state.json`.
    pub fn fingerprint(&self) -> Result<u128> {
        let Some(folder) = self.open()? else { return Ok(fingerprint(None)) };
        Ok(fingerprint(self.state_text(&folder)?.as_deref()))
    }

    pub fn seen(&self) -> u128 {
        *self.seen.lock()
    }

    /// The directory of the project; `None` where it does not exist.
    pub fn open(&self) -> Result<Option<Folder>> {
        self.walk(false)
    }

    fn create(&self) -> Result<Folder> {
        let gone = || self.failed("write", io::ErrorKind::NotFound.into());
        self.walk(true)?.ok_or_else(gone)
    }

    /// Opens it step by step, each within the one before. The user's own base may be a link. The default one may not: it
    /// lies where other users can write, so each step must be this user's, as it was opened. So must each
    /// step of a copy, but for its base, which may be a volume of another user.
    fn walk(&self, create: bool) -> Result<Option<Folder>> {
        let [prefix, project] = self.names.each_ref().map(String::as_str);
        let (first, steps) = if self.base.is_default {
            (self.base.path.clone(), [Some(prefix), Some(project)])
        } else {
            (self.base.path.join(prefix), [None, Some(project)])
        };
        let mut path = first.clone();
        let Some(mut folder) = self.step(&path, create, || Folder::open(&first), || Folder::make(&first))?
        else {
            return Ok(None);
        };
        for name in steps.into_iter().flatten() {
            path.push(name);
            let next = self.step(&path, create, || folder.open_in(name), || folder.make_in(name))?;
            let Some(next) = next else { return Ok(None) };
            folder = next;
        }
        Ok(Some(folder))
    }

    fn step(
        &self,
        path: &Path,
        create: bool,
        open: impl Fn() -> io::Result<Folder>,
        make: impl FnOnce() -> io::Result<()>,
    ) -> Result<Option<Folder>> {
        let is_missing = |cause: &io::Error| cause.kind() == io::ErrorKind::NotFound;
        let opened = match open() {
            Err(cause) if create && is_missing(&cause) => make().and_then(|()| open()),
            opened => opened,
        };
        match opened {
            Ok(folder) => {
                let is_ours = || folder.make_private().map_err(|cause| self.not_private(path, cause));
                if self.is_private() && !is_ours()? {
                    return Err(self.foreign(path));
                }
                Ok(Some(folder))
            }
            Err(cause) if is_missing(&cause) => Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => Err(self.no_directory(path, cause)),
            Err(cause) => Err(self.failed(if create { "write" } else { "read" }, cause)),
        }
    }

    fn record(&self, folder: &Folder) -> Result<Record> {
        let text = self.state_text(folder)?;
        self.note(text.as_deref());
        // Corrupt: treated as empty, and overwritten by the next commit.
        let mut record: Record = serde_json::from_slice(&text.unwrap_or_default()).unwrap_or_default();
        record.state = if now() < record.expires_at { record.state.sanitized() } else { State::default() };
        Ok(record)
    }

    fn state_text(&self, folder: &Folder) -> Result<Option<Vec<u8>>> {
        folder.read(STATE, MAX_STATE_BYTES).map_err(|cause| self.failed("read", cause))
    }

    fn note(&self, text: Option<&[u8]>) {
        *self.seen.lock() = fingerprint(text);
    }

    fn failed(&self, verb: &str, cause: io::Error) -> Error {
        let path = self.path.display();
        Error::new(Code::Unavailable, format!("cannot {verb} the directory {path}"))
            .caused_by(cause)
            .advising("Check the permissions of this user and the free space, or use another directory.")
    }

    fn no_directory(&self, path: &Path, cause: io::Error) -> Error {
        if self.base.is_default {
            return self.foreign(path);
        }
        let message = format!(
            "cannot open the directory {}: a part of its path is not a directory, or is a symbolic link below {} (links \
             there are not followed)",
            path.display(),
            self.base.path.display(),
        );
        Error::new(Code::Unavailable, message)
            .caused_by(cause)
            .advising("Replace it with a directory, or use another directory.")
    }

    fn foreign(&self, path: &Path) -> Error {
        self.refused(path, "belongs to another user")
    }

    fn not_private(&self, path: &Path, cause: io::Error) -> Error {
        self.refused(path, "cannot be made private").caused_by(cause)
    }

    fn refused(&self, path: &Path, fault: &str) -> Error {
        let kind = if self.base.is_default { "default directory" } else { "directory" };
        let option = if self.purpose == Purpose::LocalCopy { "localCopy" } else { "url" };
        let path = path.display();
        Error::new(Code::Auth, format!("the {kind} {path} {fault}"))
            .advising(format!("Use another directory, with option '{option}'."))
    }
}

/// Removes what this state does not name. Only the holder of the lock writes, so a temporary file is one that a killed
/// process left. A failure costs disk space until the next commit, nothing else.
fn sweep(folder: &Folder, state: &State) {
    let kept = state.snapshot.as_ref().map(|snapshot| snapshot_name(&snapshot.version));
    for name in folder.names().unwrap_or_default() {
        let ours = name.ends_with(".json") || name.ends_with(".tmp");
        if ours && name != STATE && Some(&name) != kept.as_ref() {
            let _ = folder.remove(&name);
        }
    }
}

fn fingerprint(text: Option<&[u8]>) -> u128 {
    text.map_or(0, xxh3_128)
}

/// The file of a snapshot. A version that another program wrote must not lead out of the directory.
fn snapshot_name(version: &str) -> String {
    format!("{}.json", file_name(version))
}

/// A file name for a text that may be long and contain any character.
fn file_name(name: &str) -> String {
    let encoded = utf8_percent_encode(name, FILE_NAME).to_string();
    let start = encoded.get(..LONGEST_NAME);
    let hash = xxh3_128(name.as_bytes());
    match start {
        Some(start) => format!("{start}-{hash:032x}"),
        // No name that is used as it is contains this character.
        None if is_taken_for_another(name) => format!("{encoded}~{hash:032x}"),
        None => encoded,
    }
}

/// Whether the system takes a file of this name for another one.
fn is_taken_for_another(name: &str) -> bool {
    (cfg!(windows) && is_device(name)) || (IGNORES_CASE && name.bytes().any(|byte| byte.is_ascii_uppercase()))
}

/// Whether Windows takes it for a device, in whatever directory and with whatever extension.
fn is_device(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let numbered = name.strip_prefix("COM").or_else(|| name.strip_prefix("LPT"));
    let is_digit = |rest: &str| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit());
    matches!(name.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered.is_some_and(is_digit)
}

/// The time on this host's clock.
pub(crate) fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
