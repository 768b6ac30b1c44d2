//! A fleet of workers over one store in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::definitions::codec::Encoded;
use posthog_flag_cache::definitions::slices::Definitions;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::error::Result;
use posthog_flag_cache::state::State;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::memory::MemoryStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::provider::{Poll, Provider};
use tokio::time::Instant;

use crate::support::content::{self, definitions};
use crate::support::faulty_store::{Fault, FaultyStore};

pub const INTERVAL: Duration = Duration::from_secs(30);
pub const LEASE: Duration = Duration::from_secs(45);
pub const COLD_START_WAIT: Duration = Duration::from_secs(5);
pub const A_SECOND: Duration = Duration::from_secs(1);
/// `connectTimeoutMs` and two of `commandTimeoutMs`: what a method takes at most, without the wait.
pub const LIMIT: Duration = Duration::from_secs(4);

/// One worker as posthog-node drives it, with a store handle of its own over the fleet's store.
pub struct Worker {
    pub provider: Provider,
    pub store: Arc<FaultyStore>,
    /// What the last poll found.
    polled: Mutex<Option<Definitions>>,
}

impl Worker {
    pub async fn asks(&self) -> Result<bool> {
        let poll = self.provider.poll(None).await?;
        let fetches = poll.fetches();
        *self.polled.lock().unwrap() = match poll {
            Poll::Fetch => None,
            Poll::Follow(found) => found,
        };
        Ok(fetches)
    }

    pub async fn receives(&self, number: u64) -> Result<()> {
        self.provider.received(Arc::new(definitions(number)), None).await
    }

    /// The number of the definitions that it gets.
    pub async fn gets(&self) -> Result<Option<u64>> {
        let snapshot = self.found().await?;
        Ok(snapshot.map(|snapshot| (0..100).find(|&number| definitions(number) == *snapshot).unwrap()))
    }

    /// The definitions that it gets.
    pub async fn found(&self) -> Result<Option<Arc<Snapshot>>> {
        let polled = self.polled.lock().unwrap().take();
        let found = match polled {
            None => self.provider.get(None).await?,
            found => found,
        };
        Ok(found.and_then(|found| found.snapshot().cloned()))
    }

    /// One poll at which the API, if asked, answers 304: whether it was asked.
    pub async fn polls(&self) -> bool {
        let asked = self.asks().await.unwrap();
        if !asked {
            self.gets().await.unwrap();
        }
        asked
    }
}

pub struct Fleet {
    pub store: Arc<MemoryStore>,
}

impl Fleet {
    pub fn new() -> Self {
        Fleet { store: Arc::new(MemoryStore::new(Duration::from_secs(86_400))) }
    }

    /// A fleet whose first worker has fetched and published definitions number 1.
    pub async fn warm() -> (Self, Worker) {
        let fleet = Fleet::new();
        let leader = fleet.worker();
        assert!(leader.asks().await.unwrap());
        leader.receives(1).await.unwrap();
        (fleet, leader)
    }

    pub fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    pub fn reader(&self) -> Worker {
        self.worker_with(&[("role", Given::Text("reader".into()))])
    }

    pub fn worker_with(&self, given: &[(&str, Given)]) -> Worker {
        let memory = [("url", Given::Text("memory:".into()))];
        let given: Vec<_> = given.iter().cloned().chain(memory).collect();
        let options: Options = content::options(&given);
        let store = FaultyStore::over(self.store.clone());
        Worker {
            provider: Provider::new(&options, Arc::new(SharedStore::new(store.clone()))),
            store,
            polled: Mutex::default(),
        }
    }

    pub async fn state(&self) -> State {
        self.store.read().await.unwrap().state
    }

    pub async fn stored(&self) -> Option<String> {
        self.state().await.snapshot.map(|snapshot| snapshot.version)
    }

    pub async fn overwrite(&self, next: State, bytes: Option<Bytes>) {
        let revision = self.state().await.revision;
        assert!(self.store.commit(revision, &next, bytes.map(Encoded::from)).await.unwrap().is_committed());
    }

    pub async fn loses_everything(&self) {
        self.overwrite(State::default(), None).await;
    }

    /// Other bytes of the same length.
    pub async fn is_damaged(&self) {
        let state = self.state().await;
        let length = usize::try_from(state.snapshot.as_ref().unwrap().bytes).unwrap();
        self.overwrite(state, Some(vec![b' '; length].into())).await;
    }
}

pub fn version(number: u64) -> Option<String> {
    Some(definitions(number).version().to_owned())
}

pub async fn settles_within<T>(limit: Duration, fault: Fault, work: impl Future<Output = T>) {
    let started = Instant::now();
    let settled = tokio::time::timeout(2 * limit, work).await.is_ok();
    assert!(settled && started.elapsed() <= limit, "{fault:?}: {:?}", started.elapsed());
}
