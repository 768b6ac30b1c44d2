//! A store that fails as told, over one that works, and counts what is asked of it.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::error::{Code, Error, Result};
use posthog_flag_cache::snapshot::Encoded;
use posthog_flag_cache::state::State;
use posthog_flag_cache::status::Backend;
use posthog_flag_cache::store::{Reading, Store, StoreFuture};
use tokio::sync::watch;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every call fails.
    Fails,
    /// No call ever answers.
    Hangs,
    /// Every commit fails, and changes nothing.
    FailsCommits,
    /// Every commit with definitions fails, as where memory is short.
    FailsPublishes,
    /// Every commit is carried out after a while.
    DelaysCommits,
    /// Every commit is carried out, and reported as failed.
    LosesReplies,
    /// Every commit is carried out, and then once more: the second time it is refused.
    RepeatsCommits,
    /// Every commit is refused after a while, as if somebody else were always faster.
    RefusesCommits,
}

pub struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Mutex<Fault>,
    calls: AtomicUsize,
    commits: AtomicUsize,
    loaded: AtomicUsize,
}

impl FaultyStore {
    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        let [calls, commits, loaded] = [(); 3].map(|()| AtomicUsize::new(0));
        Arc::new(FaultyStore { inner, fault: Mutex::new(Fault::None), calls, commits, loaded })
    }

    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
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

impl Store for FaultyStore {
    fn read(&self) -> StoreFuture<'_, Reading> {
        Box::pin(async {
            self.begin().await?;
            self.inner.read().await
        })
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> StoreFuture<'a, (Reading, Option<Bytes>)> {
        Box::pin(async move {
            self.begin().await?;
            let (reading, bytes) = self.inner.load(known).await?;
            self.loaded.fetch_add(usize::from(bytes.is_some()), Ordering::Relaxed);
            Ok((reading, bytes))
        })
    }

    fn commit<'a>(
        &'a self,
        expected: u64,
        next: &'a State,
        snapshot: Option<Encoded>,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            self.commits.fetch_add(1, Ordering::Relaxed);
            let lost = || Error::new(Code::Timeout, "the reply got lost");
            match self.begin().await? {
                Fault::FailsCommits => Err(lost()),
                Fault::FailsPublishes if snapshot.is_some() => Err(lost()),
                Fault::DelaysCommits => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    self.inner.commit(expected, next, snapshot).await
                }
                Fault::LosesReplies => self.inner.commit(expected, next, snapshot).await.and(Err(lost())),
                Fault::RepeatsCommits => {
                    // Takes time, so that whoever tries for ever meets its limit.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    self.inner.commit(expected, next, snapshot.clone()).await?;
                    self.inner.commit(expected, next, snapshot).await
                }
                Fault::RefusesCommits => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(false)
                }
                _ => self.inner.commit(expected, next, snapshot).await,
            }
        })
    }

    fn clear(&self) -> StoreFuture<'_, bool> {
        Box::pin(async {
            self.begin().await?;
            self.inner.clear().await
        })
    }

    fn expiry(&self) -> StoreFuture<'_, Option<Duration>> {
        Box::pin(async {
            self.begin().await?;
            self.inner.expiry().await
        })
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.inner.watch()
    }

    fn backend(&self) -> Backend {
        self.inner.backend()
    }
}
