//! The store in Redis behind a link that is slow, but works.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{FutureExt, TryFutureExt, join_all};
use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::{Endpoint, Target};
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::error::{Code, Result};
use posthog_flag_cache::state::SnapshotInfo;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::provider::Provider;

use crate::support::authority::Authority;
use crate::support::content::{definitions, options, published, state};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{COMMAND_MS, PATIENCE, heal, store_at};
use crate::support::slow_link::SlowLink;

const COMMAND: Duration = Duration::from_millis(COMMAND_MS);
/// `connectTimeoutMs + 2 × commandTimeoutMs` of a [`Remote::provider`].
const BOUND: Duration = Duration::from_millis(2_300);

/// A server, and how a store reaches it over the link.
struct Remote {
    _authority: Authority,
    _server: RedisServer,
    link: SlowLink,
    endpoint: Endpoint,
}

impl Remote {
    fn start(encrypted: bool) -> Self {
        let authority = Authority::new();
        let certificate = authority.server_arguments("127.0.0.1");
        let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
        let server = match encrypted {
            false => RedisServer::start(&[]),
            true => RedisServer::start_with_tls(&[&certificate, &["--tls-auth-clients", "no"][..]].concat()),
        };
        let link = SlowLink::start(server.port);
        let tls = encrypted.then(|| authority.trusted());
        let endpoint = Endpoint { tls, ..link.endpoint(server.endpoint()) };
        Remote { _authority: authority, _server: server, link, endpoint }
    }

    /// A process with this `coldStartWaitMs`.
    fn provider(&self, cold_start_wait: u64) -> Provider {
        let limits =
            [("connectTimeoutMs", 300), ("commandTimeoutMs", 1_000), ("coldStartWaitMs", cold_start_wait)];
        let options = options(&limits.map(|(name, limit)| (name, Given::Number(limit as f64))));
        let options = Options { target: Target::Redis(Box::new(self.endpoint.clone())), ..options };
        let store = RedisStore::new(&self.endpoint, &options);
        Provider::new(&options, Arc::new(SharedStore::new(Arc::new(store))))
    }
}

/// Definitions that compression cannot shorten, with what the state says of them.
fn noise(length: usize) -> (SnapshotInfo, Bytes) {
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
    (SnapshotInfo { bytes: length as u64, ..published(7).0 }, bytes.into())
}

async fn put(store: &RedisStore, (info, bytes): (SnapshotInfo, Bytes)) -> Result<()> {
    let revision = store.read().await?.state.revision;
    let next = state(revision + 1, Some(info));
    assert!(store.commit(revision, &next, Some(bytes.into())).await?.is_committed());
    Ok(())
}

#[tokio::test]
async fn a_load_takes_as_long_as_bytes_arrive_even_parts_of_an_encrypted_record() {
    // A record has up to 16 KiB: at 12 kB/s it takes longer than the timeout.
    for (encrypted, bytes, bytes_per_second) in [(false, 400_000, 160_000), (true, 36_000, 12_000)] {
        let remote = Remote::start(encrypted);
        let (store, written) = (store_at(&remote.endpoint), noise(bytes));
        put(&store, written.clone()).await.unwrap();
        remote.link.narrow(bytes_per_second);
        let started = Instant::now();
        assert_eq!(store.load(None).await.unwrap().1, Some(written.1), "encrypted: {encrypted}");
        assert!(started.elapsed() > 2 * COMMAND, "encrypted: {encrypted}: {:?}", started.elapsed());
    }
}

// Elsewhere the send buffer hides when bytes leave.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_publish_takes_as_long_as_bytes_leave() {
    for encrypted in [false, true] {
        let remote = Remote::start(encrypted);
        let (store, written) = (store_at(&remote.endpoint), noise(600_000));
        heal(&store).await;
        remote.link.narrow(200_000);
        let started = Instant::now();
        put(&store, written.clone()).await.unwrap();
        assert!(started.elapsed() > 2 * COMMAND, "encrypted: {encrypted}: {:?}", started.elapsed());
        remote.link.narrow(usize::MAX);
        assert_eq!(store.load(None).await.unwrap().1, Some(written.1), "encrypted: {encrypted}");
    }
}

#[tokio::test]
async fn small_commands_to_a_server_that_hangs_are_no_progress_of_another_one() {
    let remote = Remote::start(false);
    let store = store_at(&remote.endpoint);
    heal(&store).await;
    remote.link.narrow_replies(0);
    let others = async {
        loop {
            let _ = tokio::time::timeout(COMMAND / 10, store.read()).await;
        }
    };
    let error = tokio::select! {
        result = tokio::time::timeout(PATIENCE, store.read()) => result.expect("it times out").unwrap_err(),
        () = others => unreachable!(),
    };
    assert_eq!(error.code(), Code::Timeout, "{error}");
}

#[tokio::test]
async fn a_process_without_definitions_may_load_for_the_cold_start_wait_more() {
    let remote = Remote::start(false);
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(400_000).collect();
    let large = Arc::new(Snapshot::new(format!(r#"{{"flags":[],"filler":"{text}"}}"#)).unwrap());
    let leader = remote.provider(0);
    assert!(leader.poll(None).await.unwrap().fetches());
    leader.received(large.clone(), None).await.unwrap();
    remote.link.narrow(100_000);
    for (cold_start_wait, loads) in [(0, false), (30_000, true)] {
        match remote.provider(cold_start_wait).get(None).await {
            Ok(found) => assert!(loads && found.unwrap().snapshot() == Some(&large)),
            Err(error) => assert!(!loads && error.code() == Code::Timeout, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_sends_a_byte_now_and_then_holds_no_call_longer_than_its_bound() {
    let remote = Remote::start(false);
    let [leader, poll, get, invalidate, news] = std::array::from_fn(|_| remote.provider(60_000));
    let [cold_poll, cold_get] = std::array::from_fn(|_| remote.provider(1_500));
    assert!(leader.poll(None).await.unwrap().fetches());
    leader.received(Arc::new(definitions(1)), None).await.unwrap();
    for provider in [&poll, &get, &invalidate, &news] {
        assert!(provider.get(None).await.unwrap().is_some());
    }
    for provider in [&cold_poll, &cold_get] {
        provider.news().await.expect("it is connected");
    }
    remote.link.narrow_replies(10);
    let started = Instant::now();
    let long = BOUND + Duration::from_millis(1_500);
    // Who holds definitions goes on with them.
    let calls = [
        (BOUND, true, leader.received(Arc::new(definitions(2)), None).boxed()),
        (BOUND, false, poll.poll(None).map_ok(drop).boxed()),
        (BOUND, false, get.get(None).map_ok(drop).boxed()),
        (BOUND, true, invalidate.invalidate().boxed()),
        (BOUND, true, news.news().map_ok(drop).boxed()),
        (long, true, cold_poll.poll(None).map_ok(drop).boxed()),
        (long, true, cold_get.get(None).map_ok(drop).boxed()),
    ];
    let calls = calls.into_iter().enumerate().map(async |(number, (bound, fails, call))| {
        let result = tokio::time::timeout(PATIENCE, call).await.expect("it ends");
        assert!(started.elapsed() >= bound, "{number}: it was given up after {:?}", started.elapsed());
        assert_eq!(result.err().map(|error| error.code()), fails.then_some(Code::Timeout), "{number}");
    });
    join_all(calls).await;
}
