//! The contract of `Store`, held against every implementation.

mod clearing;
mod concurrent;
mod deployments;
mod place;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::config::target::Endpoint;
use posthog_flag_cache::state::{Lease, SnapshotInfo, State};
use posthog_flag_cache::store::{Commit, Reading, Store};

use crate::support::content::{self, definitions, published, state};
use clearing::*;
use concurrent::*;
use place::Place;

/// For tests that wait for an event: longer than any machine needs, so that a failure ends too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs each test over each implementation.
macro_rules! contract {
    ($all:ident: #[$in_memory:meta] $($name:ident,)*) => {
        async fn $all(endpoint: &Endpoint) {
            $(
                let prefix = concat!("posthog:flags:", stringify!($name), ":");
                println!("{prefix}");
                $name(Place::Deployed(Box::new(endpoint.clone()), prefix.into())).await;
            )*
        }

        $(
        mod $name {
            use super::Place;

            #[$in_memory]
            async fn in_memory() {
                super::$name(Place::memory()).await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_a_directory() {
                super::$name(Place::directory()).await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_redis() {
                super::$name(Place::redis()).await
            }
        }
        )*
    };
}

contract! {
    simple_ones: #[tokio::test(start_paused = true)]
    an_unwritten_store_is_empty,
    a_commit_lands_on_the_expected_revision_only,
    a_refused_commit_changes_nothing,
    a_state_comes_back_with_every_field_set,
    a_state_comes_back_with_every_field_unset,
    a_field_that_the_next_state_lacks_is_gone,
    bytes_are_replaced_with_the_state_and_kept_without_new_ones,
    a_state_without_a_snapshot_drops_the_bytes,
    a_snapshot_of_another_length_than_its_bytes_counts_as_none,
    loading_skips_the_known_version_only,
    everything_expires_after_max_age_and_a_commit_renews_it,
    time_is_the_stores_and_does_not_go_back,
    projects_and_prefixes_are_independent,
    any_valid_project_key_and_prefix_can_be_stored,
    large_and_binary_bytes_come_back_unchanged,
    new_bytes_notify_the_watchers_of_every_handle,
    a_cleared_store_is_as_if_never_written,
    clearing_an_empty_store_says_so_and_leaves_it_empty,
    clearing_leaves_other_projects_and_prefixes_alone,
    the_time_until_everything_expires_is_reported,
}

contract! {
    concurrent_ones: #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    of_concurrent_commits_on_one_revision_exactly_one_lands,
    a_reader_never_sees_bytes_without_their_state_while_others_publish,
    a_read_during_a_clear_returns_everything_or_nothing,
}

async fn an_unwritten_store_is_empty(place: Place) {
    let store = place.store();
    assert_eq!(store.read().await.unwrap().state, State::default());
    let (reading, bytes) = store.load(None).await.unwrap();
    assert_eq!((reading.state, bytes), (State::default(), None));
    let (reading, bytes) = store.load(Some("known")).await.unwrap();
    assert_eq!((reading.state, bytes), (State::default(), None));
}

async fn a_commit_lands_on_the_expected_revision_only(place: Place) {
    let store = place.store();
    assert!(!store.commit(5, &state(6, None), None).await.unwrap().is_committed());
    assert!(store.commit(0, &state(7, None), None).await.unwrap().is_committed());
    for stale in [0, 6, 8] {
        // The refusal says what is there instead.
        let commit = store.commit(stale, &state(9, None), None).await.unwrap();
        let Commit::Conflict(Reading { state: found, now }) = commit else {
            panic!("expected {stale}, found 7")
        };
        assert_eq!(found, state(7, None));
        assert!(now.abs_diff(store.read().await.unwrap().now) < 10_000, "{now}");
    }
    assert_eq!(place.store().read().await.unwrap().state, state(7, None));
    assert!(place.store().commit(7, &state(8, None), None).await.unwrap().is_committed());
    assert_eq!(store.read().await.unwrap().state, state(8, None));
}

async fn a_refused_commit_changes_nothing(place: Place) {
    let store = place.store();
    publish(&*store, 0, 1).await;
    let before = load(&*store).await;
    let (other, bytes) = published(2);
    assert!(!store.commit(0, &state(2, Some(other)), Some(bytes.into())).await.unwrap().is_committed());
    assert!(!store.commit(0, &state(3, None), None).await.unwrap().is_committed());
    assert_eq!(load(&*store).await, before);
}

async fn a_state_comes_back_with_every_field_set(place: Place) {
    let store = place.store();
    let (snapshot, bytes) = published(3);
    let all = State {
        revision: 9_999_999_999_999_998,
        fence: u64::MAX,
        answered: u64::MAX - 9,
        lease: Some(Lease { owner: "höst:1:\"\n\0'%7B".into(), expires_at: u64::MAX - 1 }),
        granted_at: Some(u64::MAX - 2),
        snapshot: Some(SnapshotInfo {
            etag: Some("W/\"!\\~\"".into()),
            published_at: u64::MAX - 3,
            ..snapshot
        }),
        confirmed_at: Some(u64::MAX - 4),
        retry_at: Some(u64::MAX - 5),
        invalidated_at: Some(u64::MAX - 6),
        failures: u32::MAX,
        refused_at: Some(u64::MAX - 7),
        outdated_at: Some(u64::MAX - 8),
    };
    assert!(store.commit(0, &all, Some(bytes.into())).await.unwrap().is_committed());
    assert_eq!(place.store().read().await.unwrap().state, all);
}

async fn a_state_comes_back_with_every_field_unset(place: Place) {
    let store = place.store();
    let none = State { revision: 1, ..State::default() };
    assert!(store.commit(0, &none, None).await.unwrap().is_committed());
    assert_eq!(place.store().read().await.unwrap().state, none);

    let (snapshot, bytes) = published(1);
    let empty = SnapshotInfo { published_at: 0, etag: Some("\"0\"".into()), ..snapshot };
    let lease = Some(Lease { owner: String::new(), expires_at: 0 });
    let zero = Some(0);
    let zeros = State {
        granted_at: zero,
        confirmed_at: zero,
        retry_at: zero,
        invalidated_at: zero,
        failures: 0,
        refused_at: zero,
        outdated_at: zero,
        lease,
        fence: 0,
        answered: 0,
        ..state(2, Some(empty))
    };
    assert!(store.commit(1, &zeros, Some(bytes.into())).await.unwrap().is_committed());
    assert_eq!(place.store().read().await.unwrap().state, zeros, "absent and zero are two things");
}

async fn a_field_that_the_next_state_lacks_is_gone(place: Place) {
    let store = place.store();
    let (snapshot, bytes) = published(1);
    let full = State {
        answered: 1,
        lease: Some(Lease { owner: "a".into(), expires_at: 1 }),
        granted_at: Some(1),
        confirmed_at: Some(1),
        retry_at: Some(1),
        invalidated_at: Some(1),
        failures: 1,
        refused_at: Some(1),
        outdated_at: Some(1),
        ..state(1, Some(SnapshotInfo { etag: Some("\"x\"".into()), ..snapshot.clone() }))
    };
    assert!(store.commit(0, &full, Some(bytes.into())).await.unwrap().is_committed());
    let bare = State { fence: 0, answered: 0, ..state(2, Some(snapshot)) };
    assert!(store.commit(1, &bare, None).await.unwrap().is_committed());
    assert_eq!(store.read().await.unwrap().state, bare);
}

async fn bytes_are_replaced_with_the_state_and_kept_without_new_ones(place: Place) {
    let store = place.store();
    publish(&*store, 0, 1).await;
    publish(&*store, 1, 2).await;
    assert_eq!(load(&*place.store()).await, (state(2, Some(published(2).0)), Some(published(2).1)));
    let renewed = state(3, Some(published(2).0));
    assert!(store.commit(2, &renewed, None).await.unwrap().is_committed());
    assert_eq!(load(&*place.store()).await, (renewed, Some(published(2).1)));
}

async fn a_state_without_a_snapshot_drops_the_bytes(place: Place) {
    let store = place.store();
    publish(&*store, 0, 1).await;
    assert!(store.commit(1, &state(2, None), None).await.unwrap().is_committed());
    assert_eq!(load(&*place.store()).await, (state(2, None), None));
    // Nor do they come back for a state that names them again without giving them: it is refused.
    let Commit::Conflict(found) = store.commit(2, &state(3, Some(published(1).0)), None).await.unwrap()
    else {
        panic!("committed")
    };
    assert_eq!(found.state, state(2, None));
    assert_eq!(load(&*place.store()).await, (state(2, None), None));
    assert_eq!(place.store().read().await.unwrap().state, state(2, None));
}

async fn a_snapshot_of_another_length_than_its_bytes_counts_as_none(place: Place) {
    let store = place.store();
    let (info, bytes) = published(1);
    for (revision, wrong) in (0..).zip([0, info.bytes - 1, info.bytes + 1]) {
        let lying = SnapshotInfo { bytes: wrong, ..info.clone() };
        let next = state(revision + 1, Some(lying));
        assert!(store.commit(revision, &next, Some(bytes.clone().into())).await.unwrap().is_committed());
        let expected = State { snapshot: None, ..next };
        assert_eq!(store.read().await.unwrap().state, expected);
        assert_eq!(load(&*store).await, (expected, None));
    }
}

async fn loading_skips_the_known_version_only(place: Place) {
    let store = place.store();
    publish(&*store, 0, 1).await;
    let expected = state(1, Some(published(1).0));
    let (reading, bytes) = store.load(Some(definitions(1).version())).await.unwrap();
    assert_eq!((reading.state, bytes), (expected.clone(), None));
    for other in [definitions(2).version(), "", "*"] {
        let (reading, bytes) = store.load(Some(other)).await.unwrap();
        assert_eq!((reading.state, bytes), (expected.clone(), Some(published(1).1)), "known: {other:?}");
    }
}

async fn everything_expires_after_max_age_and_a_commit_renews_it(place: Place) {
    const MAX_AGE: u64 = 2_000;
    let brief = |name| (name, Given::Number(MAX_AGE as f64));
    let options = content::options(&[brief("maxAgeMs"), brief("refreshIntervalMs")]);
    let store = place.store_of(&options);
    publish(&*store, 0, 1).await;
    let published_at = store.read().await.unwrap().now;
    read_when(&*store, |reading| reading.now >= published_at + MAX_AGE / 2).await;
    let renewed = state(2, Some(published(1).0));
    assert!(store.commit(1, &renewed, None).await.unwrap().is_committed());
    let renewed_at = store.read().await.unwrap().now;

    read_when(&*store, |reading| reading.now > published_at + MAX_AGE).await;
    assert_eq!(load(&*store).await, (renewed, Some(published(1).1)), "renewed");

    let gone = read_when(&*store, |reading| reading.state == State::default()).await;
    assert!(gone.now + 50 >= renewed_at + MAX_AGE, "gone {} ms after the renewal", gone.now - renewed_at);
    assert_eq!(load(&*store).await, (State::default(), None));
    publish(&*store, 0, 2).await;
}

async fn time_is_the_stores_and_does_not_go_back(place: Place) {
    let (one, other) = (place.store(), place.store());
    let wall = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let first = one.read().await.unwrap().now;
    assert!(first.abs_diff(wall()) < 60_000, "milliseconds since the Unix epoch");
    let mut last = first;
    for _ in 0..100 {
        for now in [one.read().await.unwrap().now, other.load(None).await.unwrap().0.now] {
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }
    read_when(&*one, |reading| reading.now >= first + 100).await;
}

async fn projects_and_prefixes_are_independent(place: Place) {
    let text = |text: &str| Given::Text(text.into());
    let places =
        [("a", "b"), ("a", "c"), ("b", "b"), ("a:b", "c"), ("a", "b:c"), ("A", "b"), ("a", "b:state")];
    let stores = places.map(|(prefix, project)| {
        place.store_of(&content::options(&[("keyPrefix", text(prefix)), ("projectKey", text(project))]))
    });
    for (number, store) in (1..).zip(&stores) {
        assert_eq!(load(&**store).await, (State::default(), None));
        publish(&**store, 0, number).await;
    }
    for (number, store) in (1..).zip(&stores) {
        let (info, bytes) = published(number);
        assert_eq!(load(&**store).await, (state(number, Some(info)), Some(bytes)));
    }
}

async fn any_valid_project_key_and_prefix_can_be_stored(place: Place) {
    let long = ["x".repeat(200), "/".repeat(200), "😀".repeat(200)];
    let odd =
        ["..", ".", "../../x", "/", "a/b", "a\\b", "*", "%2e%2e", "ключ", "lock", "state.json", "CON", "a."];
    let names: Vec<_> = odd.into_iter().chain(long.iter().map(String::as_str)).collect();
    for (number, name) in (1..).zip(&names) {
        let given = |option| (option, Given::Text((*name).to_owned()));
        let options = content::options(&[given("projectKey"), given("keyPrefix")]);
        let (info, bytes) = published(number);
        let store = place.store_of(&options);
        let landed = store.commit(0, &state(1, Some(info.clone())), Some(bytes.clone().into())).await;
        assert!(landed.is_ok_and(|landed| landed.is_committed()), "{name}");
        let again = load(&*place.store_of(&options)).await;
        assert_eq!(again, (state(1, Some(info)), Some(bytes)), "{name}");
    }
}

async fn large_and_binary_bytes_come_back_unchanged(place: Place) {
    let store = place.store();
    let all: Vec<u8> = (0..8 * 1024 * 1024_usize).map(|index| (index % 251) as u8).collect();
    for (revision, bytes) in (0..).zip([Bytes::from_static(b"\0\xff\r\n"), Bytes::new(), all.into()]) {
        let info = SnapshotInfo {
            version: format!("version-{revision}-{}", "v".repeat(100)),
            etag: Some(format!("\"{}\"", "e".repeat(1_022))),
            bytes: bytes.len() as u64,
            published_at: 1,
        };
        let next = state(revision + 1, Some(info));
        assert!(store.commit(revision, &next, Some(bytes.clone().into())).await.unwrap().is_committed());
        assert!(load(&*place.store()).await == (next, Some(bytes)), "revision {revision}");
    }
}

async fn new_bytes_notify_the_watchers_of_every_handle(place: Place) {
    let (writer, reader) = (place.store(), place.store());
    let mut notices = [writer.watch(), reader.watch()];
    // A store connects with its first call, and looks from then on.
    reader.read().await.unwrap();
    let mut revision = 0;
    let all_look = async {
        while !notices.iter().all(|notices| notices.has_changed().unwrap()) {
            publish(&*writer, revision, revision + 1).await;
            revision += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_look).await.expect("a first notice");
    for revision in revision..revision + 3 {
        notices.iter_mut().for_each(|notices| notices.mark_unchanged());
        publish(&*writer, revision, revision + 1).await;
        for notices in &mut notices {
            tokio::time::timeout(PATIENCE, notices.changed()).await.expect("a notice").unwrap();
        }
    }
}

async fn publish(store: &dyn Store, expected: u64, number: u64) {
    let (info, bytes) = published(number);
    assert!(
        store.commit(expected, &state(number, Some(info)), Some(bytes.into())).await.unwrap().is_committed()
    );
}

async fn load(store: &dyn Store) -> (State, Option<Bytes>) {
    let (reading, bytes) = store.load(None).await.unwrap();
    (reading.state, bytes)
}

/// Reads until it is so. Time passes by itself where it is paused.
async fn read_when(store: &dyn Store, is_so: impl Fn(&Reading) -> bool) -> Reading {
    let reading = async {
        loop {
            let reading = store.read().await.unwrap();
            if is_so(&reading) {
                return reading;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it becomes so")
}
