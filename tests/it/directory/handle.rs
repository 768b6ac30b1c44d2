//! Handles on a directory, as other processes have one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::config::target::Directory;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::state::State;
use posthog_flag_cache::store::directory::DirectoryStore;
use posthog_flag_cache::store::{Reading, Store};

use crate::support::content::{self, definitions, published, state};

pub fn open(path: &Path, is_default: bool, limit_ms: u64) -> DirectoryStore {
    let options = content::options(&[("commandTimeoutMs", Given::Number(limit_ms as f64))]);
    DirectoryStore::new(Directory { path: PathBuf::from(path), is_default }, &options)
}

/// Counts the fence up by one, whoever else does so, and publishes the definitions of that number.
pub async fn increment(store: &DirectoryStore) -> u64 {
    loop {
        let (reading, snapshot) = load(store).await;
        let number = reading.state.fence;
        assert!(snapshot.is_none_or(|snapshot| snapshot == definitions(number)));
        let (info, bytes) = published(number + 1);
        let next = State { fence: number + 1, ..state(reading.state.revision + 1, Some(info)) };
        if store.commit(reading.state.revision, &next, Some(bytes.into())).await.unwrap().is_committed() {
            return number + 1;
        }
    }
}

/// Whatever is loaded, is valid.
pub async fn load(store: &DirectoryStore) -> (Reading, Option<Snapshot>) {
    let (reading, bytes) = store.load(None).await.unwrap();
    let snapshot = bytes.map(|bytes| {
        Snapshot::decode(&bytes, &reading.state.snapshot.as_ref().unwrap().version, None).unwrap()
    });
    (reading, snapshot)
}

pub fn entries(path: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort_unstable();
    names
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(work);
    // Without waiting for a thread that should have given up.
    runtime.shutdown_background();
    result
}
