//! The embedded store: a directory of this host, shared by its processes.
//!
//! ```text
//! <directory>/<prefix>/<project>/state.json       the state, and when all of it expires
//! <directory>/<prefix>/<project>/<version>.json   the snapshot (zstd where asked for)
//! <directory>/<prefix>/<project>/lock             locked while somebody commits
//! ```
//!
//! Every file is written under another name and then renamed, the snapshot before the state that names it. So a
//! process that is killed at any moment leaves the old state or the new one. Files are not forced to disk: after a
//! power failure a truncated file is noticed, and the definitions are fetched again.

pub(crate) mod files;
pub(crate) mod folder;
mod watcher;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};

use self::files::{Files, now};
use self::folder::Folder;
use self::watcher::Watcher;
use super::{Commit, Reading, Store, is_news};
use crate::blocking::Blocking;
use crate::config::options::Options;
use crate::config::target::Directory;
use crate::definitions::codec::Encoded;
use crate::error::{Code, Error, Result};
use crate::state::State;
use crate::store::notices::Notices;
use crate::store::{Backend, Link};

/// How often a waiting committer tries the lock. A blocking lock could take for ever, because its holder may be
/// stopped.
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// The store of one project in a directory.
pub struct DirectoryStore {
    files: Arc<Files>,
    timeout: Duration,
    blocking: Blocking,
    watcher: Arc<Watcher>,
}

impl DirectoryStore {
    /// Opens nothing yet.
    pub fn new(base: Directory, options: &Options) -> Self {
        Self::over(Files::new(base, options), options)
    }

    pub(crate) fn over(files: Files, options: &Options) -> Self {
        DirectoryStore {
            blocking: Blocking::on("directory", &files.path),
            files: Arc::new(files),
            timeout: options.command_timeout,
            watcher: Arc::new(Watcher::new()),
        }
    }

    /// The directory with the files of this project.
    pub fn path(&self) -> &Path {
        &self.files.path
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_by(Instant::now() + self.timeout, work).await
    }

    pub(super) async fn run_by<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Files) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let files = self.files.clone();
        let path = self.path().display();
        match timeout_at(deadline.into(), self.blocking.run(move || work(&files))).await {
            Ok(Ok(result)) => result,
            Ok(Err(cause)) => Err(Error::new(Code::Unavailable, format!("cannot use the directory {path}"))
                .caused_by(cause)
                .advising("Check the limit of threads (`ulimit -u`). If that is not the cause, please report this bug.")),
            Err(_) => Err(Error::new(Code::Timeout, format!("the directory {path} did not answer in time"))
                .advising("Check whether it is on a network mount that hangs, and use a disk of this host.")),
        }
    }

    /// Does the work while this process has the lock; `None`: another process had the lock all the time. Each attempt
    /// is a separate call, so that reads continue meanwhile.
    async fn locked<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Fn(&Files, &Folder) -> Result<T> + Clone + Send + 'static,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + limit;
        let mut is_kept = false;
        loop {
            let work = work.clone();
            match self.run_by(deadline, move |files| files.try_locked(deadline, work)).await {
                Ok(None) if Instant::now() + LOCK_RETRY < deadline => is_kept = true,
                // The last try began too late to end.
                Err(error) if is_kept && error.code() == Code::Timeout => return Ok(None),
                done => return done,
            }
            sleep(LOCK_RETRY).await;
        }
    }

    /// Whether the lock can be taken; `false` if another process keeps it.
    pub(crate) async fn can_lock(&self) -> Result<bool> {
        Ok(self.locked(self.timeout, |_, _| Ok(())).await?.is_some())
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Files, &Folder) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let path = self.path().display();
        let done = self.locked(self.timeout, work).await?;
        done.ok_or_else(|| {
            Error::new(Code::Timeout, format!("another process keeps the directory {path} locked"))
                .advising(format!("Find it with `lsof '{path}/lock'`: it may be stopped or hanging."))
        })
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn read(&self) -> Result<Reading> {
        Ok(self.run(|files| files.read(|_| false)).await?.0)
    }

    async fn load(&self, known: Option<&str>) -> Result<(Reading, Option<Bytes>)> {
        let known = known.map(str::to_owned);
        self.run(move |files| files.read(|state| is_news(state, known.as_deref()))).await
    }

    async fn commit(&self, expected: u64, next: &State, snapshot: Option<Encoded>) -> Result<Commit> {
        let next = next.clone();
        let bytes = snapshot.map(|snapshot| snapshot.bytes);
        self.write(move |files, folder| files.commit(folder, expected, &next, bytes.as_deref())).await
    }

    async fn clear(&self) -> Result<bool> {
        // Checked first, so that clearing an absent project creates no directory.
        Ok(self.run(Files::is_written).await? && self.write(Files::clear).await?)
    }

    async fn expiry(&self) -> Result<Option<Duration>> {
        let expires_at = self.run(Files::expires_at).await?;
        Ok(expires_at.checked_sub(now()).map(Duration::from_millis))
    }

    fn watch(&self) -> watch::Receiver<Notices> {
        self.watcher.subscribe(&self.files, &self.blocking)
    }

    fn close(&self) {
        self.blocking.end_thread();
    }

    fn backend(&self) -> Backend {
        Backend { kind: "directory", location: self.path().display().to_string(), link: Link::default() }
    }
}
