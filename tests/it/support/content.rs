//! Options and definitions for tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::definitions::codec::Compression;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::state::{SnapshotInfo, State};

/// Valid options: these, and a project key unless one is among them.
pub fn options(given: &[(&str, Given)]) -> Options {
    let mut all = BTreeMap::from([("projectKey".to_owned(), Given::Text("phc_test".into()))]);
    all.extend(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Options::from_given(all).unwrap()
}

/// Definitions that differ, in length too, from those of any other number.
pub fn definitions(number: u64) -> Snapshot {
    let filler = "ä".repeat(usize::try_from(number % 500).unwrap());
    Snapshot::new(format!(r#"{{"flags":[{{"key":"{number}"}}],"filler":"{filler}"}}"#)).unwrap()
}

/// Those definitions, with what the state says of them.
pub fn published(number: u64) -> (SnapshotInfo, Bytes) {
    let snapshot = definitions(number);
    let bytes = snapshot.encode(Compression::None, None).unwrap().bytes;
    let version = snapshot.version().to_owned();
    (SnapshotInfo { version, etag: None, bytes: bytes.len() as u64, published_at: number }, bytes)
}

/// A state of this revision that names those definitions.
pub fn state(revision: u64, snapshot: Option<SnapshotInfo>) -> State {
    State { revision, fence: revision, snapshot, ..State::default() }
}
