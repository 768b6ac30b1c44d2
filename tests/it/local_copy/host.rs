//! A host with a copy of the definitions on its disk, and a store elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::error::Result;
use posthog_flag_cache::state::{SnapshotInfo, State};
use posthog_flag_cache::store::local_copy::{Copied, LocalCopy};
use posthog_flag_cache::store::memory::MemoryStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::store::{Reading, Store};
use posthog_flag_cache::worker::provider::Provider;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::content::{self, definitions, published, state};
use crate::support::faulty_store::{Fault, FaultyStore};

/// For what must happen: longer than any machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Host {
    pub directory: TempDir,
    pub content: Arc<MemoryStore>,
}

/// One process of this host.
pub struct Process {
    pub provider: Provider,
    pub store: Arc<FaultyStore>,
    pub shared: Arc<SharedStore>,
}

impl Host {
    pub fn new() -> Self {
        let content = Arc::new(MemoryStore::new(Duration::from_secs(86_400)));
        Host { directory: TempDir::new().unwrap(), content }
    }

    /// A host on whose disk are definitions number 1, which the store has too.
    pub async fn warm() -> Self {
        let host = Host::new();
        host.publishes(1).await;
        host.process(&[]).gets().await.unwrap();
        host.has(1).await;
        host
    }

    /// A process elsewhere has just published these definitions.
    pub async fn publishes(&self, number: u64) {
        let revision = self.reading().await.state.revision;
        let (info, bytes) = published(number);
        let info = SnapshotInfo { etag: Some(etag(number)), published_at: now(), ..info };
        let (granted_at, confirmed_at) = (Some(now()), Some(now()));
        let next = State { granted_at, confirmed_at, ..state(revision + 1, Some(info)) };
        let committed = self.content.commit(revision, &next, Some(bytes.into())).await.unwrap();
        assert!(committed.is_committed());
    }

    pub async fn reading(&self) -> Reading {
        self.content.read().await.unwrap()
    }

    pub fn options(&self, given: &[(&str, Given)]) -> Options {
        let place = self.directory.path().to_str().unwrap();
        let all = [("url", text("redis://127.0.0.1:1")), ("localCopy", text(place))];
        content::options(&[&all, given].concat())
    }

    pub fn copy(&self) -> LocalCopy {
        LocalCopy::open(&self.options(&[])).unwrap()
    }

    pub fn process(&self, given: &[(&str, Given)]) -> Process {
        let options = self.options(given);
        let store = FaultyStore::over(self.content.clone());
        let shared = Arc::new(SharedStore::with_copy(store.clone(), LocalCopy::open(&options)));
        Process { provider: Provider::new(&options, shared.clone()), store, shared }
    }

    /// A process that finds the store out of reach.
    pub fn cut_off(&self, given: &[(&str, Given)]) -> Process {
        let process = self.process(given);
        process.store.set(Fault::Fails);
        process
    }

    /// Waits until these definitions are on the disk. They are written in the background.
    pub async fn has(&self, number: u64) -> Copied {
        self.has_what(|found| *found.snapshot == definitions(number)).await
    }

    pub async fn has_what(&self, is_expected: impl Fn(&Copied) -> bool) -> Copied {
        let began = Instant::now();
        loop {
            match self.copy().read().await {
                Ok(Some(found)) if is_expected(&found) => return found,
                found => assert!(began.elapsed() < PATIENCE, "the disk has {found:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The directory of the copy's files.
    pub fn place(&self) -> PathBuf {
        self.copy().directory().path().to_owned()
    }

    pub fn state_file(&self) -> PathBuf {
        self.place().join("state.json")
    }

    pub fn text_file(&self, number: u64) -> PathBuf {
        self.place().join(format!("{}.json", definitions(number).version()))
    }

    pub fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.state_file()).unwrap()).unwrap()
    }

    /// Changes one field of the state on the disk.
    pub fn set(&self, field: &str, value: Value) {
        let mut state = self.state();
        state[field] = value;
        fs::write(self.state_file(), state.to_string()).unwrap();
    }

    /// Has the copy be confirmed as long ago; a negative time is in the future.
    pub fn confirmed_ago(&self, seconds: i64) {
        self.set("confirmed_at", json!(now().saturating_add_signed(-1_000 * seconds)));
    }
}

impl Process {
    /// The number of the definitions that a client without a key gets, or that a client gets after a poll.
    pub async fn gets(&self) -> Result<Option<u64>> {
        let found = self.provider.get(None).await?;
        let snapshot = found.and_then(|found| found.snapshot().cloned());
        Ok(snapshot.map(|snapshot| (0..100).find(|&number| definitions(number) == *snapshot).unwrap()))
    }

    /// Whether it evaluates the local copy, by its status.
    pub fn is_on_copy(&self) -> Option<bool> {
        self.provider.status().held.map(|held| held.is_local_copy)
    }
}

pub fn stale() -> (&'static str, Given) {
    ("whenUnavailable", text("stale"))
}

pub fn reader() -> (&'static str, Given) {
    ("role", text("reader"))
}

pub fn text(text: &str) -> Given {
    Given::Text(text.into())
}

pub fn etag(number: u64) -> String {
    format!("\"{number}\"")
}

/// Definitions of this number, confirmed at this moment.
pub fn copied(number: u64, confirmed_at: u64) -> Copied {
    Copied {
        snapshot: Arc::new(definitions(number)),
        etag: Some(etag(number)),
        confirmed_at,
        is_refused: false,
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

pub fn entries(path: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort_unstable();
    names
}
