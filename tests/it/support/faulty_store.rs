//! A store that fails as told, over one that works, and counts what is asked of it.

use std::future::pending;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthog_flag_cache::definitions::codec::Encoded;
use posthog_flag_cache::error::{Code, Error, Result};
use posthog_flag_cache::state::{Millis, State};
use posthog_flag_cache::store::Backend;
use posthog_flag_cache::store::notices::Notices;
use posthog_flag_cache::store::{Commit, Reading, Store};
use tokio::sync::watch;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every call fails.
    Fails,
    /// No call ever answers.
    Hangs,
    /// Every load is answered after a while, `FaultyStore::DELAY`.
    DelaysLoads,
    /// Each load of a caller that knows a version returns a damaged patch.
    DamagesPatches,
    /// Every commit fails, and changes nothing.
    FailsCommits,
    /// Every commit is refused, as by a replica.
    IsReadOnly,
    /// Every commit with definitions fails, as where memory is short.
    FailsPublishes,
    /// Every commit is carried out after a while.
    DelaysCommits,
    /// Every commit is carried out, and reported as failed.
    LosesReplies,
    /// Every commit is reported as carried out, and changes nothing.
    ForgetsCommits,
    /// Every commit is carried out, and then once more: the second time it is refused.
    RepeatsCommits,
    /// The next commit is refused, because the store has just lost everything.
    LosesEverything,
    /// Every commit is refused after a while, as if somebody else were always faster.
    RefusesCommits,
}

pub struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Mutex<Fault>,
    calls: AtomicUsize,
    commits: AtomicUsize,
    loaded: AtomicUsize,
    patches: AtomicUsize,
    closed: AtomicUsize,
    /// By how many milliseconds its clock is ahead.
    ahead: AtomicI64,
    /// Those that the test sends, instead of the inner store's.
    notices: Mutex<Option<watch::Sender<Notices>>>,
    /// The test sends failures in the background here.
    pub trouble: watch::Sender<Option<Error>>,
}

impl FaultyStore {
    pub const DELAY: Duration = Duration::from_millis(20);

    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        let [calls, commits, loaded, patches, closed] = [(); 5].map(|()| AtomicUsize::new(0));
        Arc::new(FaultyStore {
            inner,
            fault: Mutex::new(Fault::None),
            calls,
            commits,
            loaded,
            patches,
            closed,
            ahead: AtomicI64::new(0),
            notices: Mutex::new(None),
            trouble: watch::Sender::default(),
        })
    }

    /// A worker that is opened after this receives only the notices that the test sends.
    pub fn replace_notices(&self) -> watch::Sender<Notices> {
        self.notices.lock().unwrap().insert(watch::Sender::default()).clone()
    }

    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Moves its clock.
    pub fn advance_clock(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }

    fn at(&self, now: Millis) -> Millis {
        now.saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }

    fn by_its_clock(&self, reading: Reading) -> Reading {
        Reading { now: self.at(reading.now), ..reading }
    }

    /// How often anything was asked of it.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many of these calls were commits.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    /// How often it returned a snapshot.
    pub fn loaded(&self) -> usize {
        self.loaded.load(Ordering::Relaxed)
    }

    /// How often a patch came with a commit.
    pub fn patches(&self) -> usize {
        self.patches.load(Ordering::Relaxed)
    }

    /// How often it was closed.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    async fn begin(&self) -> Result<Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::Fails => Err(Error::new(Code::Unavailable, "the test says no")),
            Fault::Hangs => pending().await,
            fault => Ok(fault),
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn read(&self) -> Result<Reading> {
        self.begin().await?;
        Ok(self.by_its_clock(self.inner.read().await?))
    }

    async fn load(&self, known: Option<&str>) -> Result<(Reading, Option<Bytes>)> {
        let fault = self.begin().await?;
        if fault == Fault::DelaysLoads {
            tokio::time::sleep(Self::DELAY).await;
        }
        let (reading, bytes) = self.inner.load(known).await?;
        let reading = self.by_its_clock(reading);
        if let (Fault::DamagesPatches, Some(known)) = (fault, known) {
            return Ok((reading, Some(Bytes::from(format!("PATCH2:{known}damaged")))));
        }
        self.loaded.fetch_add(usize::from(bytes.is_some()), Ordering::Relaxed);
        Ok((reading, bytes))
    }

    async fn commit(&self, expected: u64, next: &State, snapshot: Option<Encoded>) -> Result<Commit> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let has_patch = snapshot.as_ref().is_some_and(|snapshot| snapshot.patch.is_some());
        self.patches.fetch_add(usize::from(has_patch), Ordering::Relaxed);
        let lost = || Error::new(Code::Timeout, "the reply got lost");
        let commit = match self.begin().await? {
            Fault::FailsCommits => Err(lost()),
            Fault::IsReadOnly => Err(Error::new(Code::ReadOnly, "it is a replica")),
            Fault::FailsPublishes if snapshot.is_some() => Err(lost()),
            Fault::DelaysCommits => {
                tokio::time::sleep(Self::DELAY).await;
                self.inner.commit(expected, next, snapshot).await
            }
            Fault::LosesReplies => self.inner.commit(expected, next, snapshot).await.and(Err(lost())),
            Fault::ForgetsCommits => Ok(Commit::Committed(self.inner.read().await?.now)),
            Fault::RepeatsCommits => {
                // Takes time, so that whoever tries for ever meets its limit.
                tokio::time::sleep(Self::DELAY).await;
                self.inner.commit(expected, next, snapshot.clone()).await?;
                self.inner.commit(expected, next, snapshot).await
            }
            Fault::LosesEverything => {
                self.set(Fault::None);
                let revision = self.inner.read().await?.state.revision;
                self.inner.commit(revision, &State::default(), None).await?;
                Ok(Commit::Conflict(self.inner.read().await?))
            }
            Fault::RefusesCommits => {
                tokio::time::sleep(Self::DELAY).await;
                Ok(Commit::Conflict(self.inner.read().await?))
            }
            _ => self.inner.commit(expected, next, snapshot).await,
        };
        Ok(match commit? {
            Commit::Committed(now) => Commit::Committed(self.at(now)),
            Commit::Conflict(found) => Commit::Conflict(self.by_its_clock(found)),
        })
    }

    async fn clear(&self) -> Result<bool> {
        self.begin().await?;
        self.inner.clear().await
    }

    async fn expiry(&self) -> Result<Option<Duration>> {
        self.begin().await?;
        self.inner.expiry().await
    }

    fn watch(&self) -> watch::Receiver<Notices> {
        self.notices.lock().unwrap().as_ref().map_or_else(|| self.inner.watch(), watch::Sender::subscribe)
    }

    fn trouble(&self) -> Option<watch::Receiver<Option<Error>>> {
        Some(self.trouble.subscribe())
    }

    fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        self.inner.close();
    }

    fn backend(&self) -> Backend {
        self.inner.backend()
    }
}
