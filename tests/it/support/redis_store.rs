//! A store in Redis under test: in order, or failing as it should.

use std::time::{Duration, Instant};

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::config::target::Endpoint;
use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::notices::Notices;
use posthog_flag_cache::store::redis::RedisStore;

use crate::support::content::{options, published, state};

/// Limits that a failing test reaches soon, and a working one on a slow machine does not.
const CONNECT_MS: u64 = 2_000;
pub const COMMAND_MS: u64 = 1_000;
pub const LIMIT: Duration = Duration::from_millis(CONNECT_MS + 2 * COMMAND_MS);
/// For tests that wait for an event: longer than any machine needs, so that a failure ends too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A store with a connection of its own and these limits.
pub fn store_at(endpoint: &Endpoint) -> RedisStore {
    let limits = options(&[
        ("connectTimeoutMs", Given::Number(CONNECT_MS as f64)),
        ("commandTimeoutMs", Given::Number(COMMAND_MS as f64)),
    ]);
    RedisStore::new(endpoint, &limits)
}

/// Publishes over whatever is there, and reads it back.
pub async fn heal(store: &RedisStore) {
    let reading = store.read().await.unwrap();
    let (info, bytes) = published(1);
    let next = state(1, Some(info));
    assert!(
        store.commit(reading.state.revision, &next, Some(bytes.clone().into())).await.unwrap().is_committed()
    );
    let (reading, loaded) = store.load(None).await.unwrap();
    assert_eq!((reading.state, loaded), (next, Some(bytes)));
}

pub async fn read_error(store: &RedisStore) -> Error {
    store.read().await.unwrap_err()
}

pub async fn fails_within(limit: Duration, code: Code, store: &RedisStore) {
    let started = Instant::now();
    let error = read_error(store).await;
    assert_eq!(error.code(), code, "{error}");
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
}

/// Hundred calls together take less time than one that waits.
pub async fn fails_at_once(code: Code, store: &RedisStore) {
    let started = Instant::now();
    for _ in 0..100 {
        let error = read_error(store).await;
        assert_eq!(error.code(), code, "{error}");
    }
    assert!(started.elapsed() < Duration::from_millis(COMMAND_MS), "{:?}", started.elapsed());
}

/// A new connection is announced, because messages may have been missed.
pub async fn connected(notices: &mut tokio::sync::watch::Receiver<Notices>) {
    tokio::time::timeout(PATIENCE, notices.changed()).await.expect("it connects by itself").unwrap();
}
