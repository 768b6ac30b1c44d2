//! What the workers of one process have in common.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::slices::Definitions;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::error::{Code, Result};
use posthog_flag_cache::state::{SnapshotInfo, State};
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::memory::MemoryStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::provider::{Poll, Provider};

use tokio::time::timeout;

use crate::support::content::{definitions, options};
use crate::support::faulty_store::{Fault, FaultyStore};

/// The store of another process, which has published definitions number 1, and this process's own.
async fn published() -> (Provider, Arc<FaultyStore>, Arc<SharedStore>) {
    let content = Arc::new(MemoryStore::new(Duration::from_secs(86_400)));
    let elsewhere = Provider::new(&options(&[]), Arc::new(SharedStore::new(content.clone())));
    assert!(elsewhere.poll(None).await.unwrap().fetches());
    elsewhere.received(Arc::new(definitions(1)), None).await.unwrap();
    let store = FaultyStore::over(content);
    let shared = Arc::new(SharedStore::new(store.clone()));
    (elsewhere, store, shared)
}

fn reader(shared: &Arc<SharedStore>) -> Provider {
    Provider::new(&options(&[("role", Given::Text("reader".into()))]), shared.clone())
}

async fn get(provider: &Provider) -> Result<Option<Arc<Snapshot>>> {
    Ok(provider.get(None).await?.and_then(|found| found.snapshot().cloned()))
}

#[tokio::test(start_paused = true)]
async fn definitions_are_loaded_and_decoded_once_for_all() {
    let (elsewhere, store, shared) = published().await;
    let readers = [(); 3].map(|()| reader(&shared));
    for number in [1, 2] {
        let found = tokio::join!(get(&readers[0]), get(&readers[1]), get(&readers[2]));
        let [first, others @ ..] = [found.0, found.1, found.2].map(|found| found.unwrap().unwrap());
        assert_eq!(*first, definitions(number));
        assert!(others.iter().all(|other| Arc::ptr_eq(other, &first)));
        elsewhere.received(Arc::new(definitions(2)), None).await.unwrap();
    }
    assert_eq!((store.calls(), store.loaded()), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn definitions_that_one_worker_has_published_need_not_be_loaded_by_the_others() {
    let (_, store, shared) = published().await;
    let leader = Provider::new(&options(&[]), shared.clone());
    leader.invalidate().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(leader.poll(None).await.unwrap().fetches());
    let loaded = store.loaded();
    leader.received(Arc::new(definitions(2)), None).await.unwrap();
    assert_eq!(*get(&reader(&shared)).await.unwrap().unwrap(), definitions(2));
    assert_eq!(store.loaded(), loaded);
}

#[tokio::test(start_paused = true)]
async fn definitions_that_no_worker_holds_any_more_are_loaded_again() {
    let (_, store, shared) = published().await;
    for loaded in [1, 2] {
        let reader = reader(&shared);
        assert_eq!(*get(&reader).await.unwrap().unwrap(), definitions(1));
        assert_eq!(store.loaded(), loaded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_or_hangs_does_not_keep_the_others_from_theirs() {
    let (_, store, shared) = published().await;
    let [first, second] = [(); 2].map(|()| reader(&shared));
    for fault in [Fault::Fails, Fault::Hangs] {
        store.set(fault);
        assert!(get(&first).await.is_err());
        store.set(Fault::None);
        assert_eq!(*get(&second).await.unwrap().unwrap(), definitions(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_brings_the_definitions_in_the_same_round_trip() {
    let (_, store, shared) = published().await;
    let worker = Provider::new(&options(&[]), shared);
    let Poll::Follow(Some(found)) = worker.poll(None).await.unwrap() else { panic!("nothing found") };
    assert_eq!(**found.snapshot().unwrap(), definitions(1));
    assert_eq!(store.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn definitions_that_look_like_a_patch_are_corrupt_whatever_is_held() {
    let (_, store, shared) = published().await;
    let held = Arc::new(definitions(2));
    for start in ["PATCH2:".to_owned(), format!("PATCH2:{}", held.version())] {
        let reading = store.read().await.unwrap();
        let bytes = Bytes::from(start + "x");
        let info = reading.state.snapshot.clone().unwrap();
        let info = SnapshotInfo { bytes: bytes.len() as u64, ..info };
        let next = State { revision: reading.state.revision + 1, snapshot: Some(info), ..reading.state };
        assert!(
            store.commit(reading.state.revision, &next, Some(bytes.into())).await.unwrap().is_committed()
        );
        for known in [None, Some(&held)] {
            let calls = store.calls();
            let (_, found) = timeout(Duration::from_secs(10), shared.load(known)).await.unwrap().unwrap();
            assert_eq!(found.unwrap().unwrap_err().code(), Code::Corrupt);
            assert!(store.calls() - calls <= 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_has_is_not_delivered() {
    let (_, _, shared) = published().await;
    let worker = Provider::new(&options(&[]), shared);
    for known in [None, Some(definitions(2).version().to_owned())] {
        assert!(matches!(worker.get(known.clone()).await.unwrap().unwrap(), Definitions::Changed(..)));
        assert!(matches!(worker.poll(known).await.unwrap(), Poll::Follow(Some(Definitions::Changed(..)))));
    }
    let known = Some(definitions(1).version().to_owned());
    assert!(matches!(worker.get(known.clone()).await.unwrap().unwrap(), Definitions::Unchanged(_)));
    assert!(matches!(worker.poll(known).await.unwrap(), Poll::Follow(Some(Definitions::Unchanged(_)))));
}

#[tokio::test(start_paused = true)]
async fn after_a_corrupt_patch_the_whole_text_is_loaded() {
    let (_, store, shared) = published().await;
    store.set(Fault::DamagesPatches);
    let (_, found) = shared.load(Some(&Arc::new(definitions(2)))).await.unwrap();
    assert_eq!(*found.unwrap().unwrap(), definitions(1));
}

#[tokio::test]
async fn the_last_one_to_leave_closes_the_store() {
    let (_, store, shared) = published().await;
    for closed in [1, 2] {
        let users = [shared.enter(), shared.enter(), shared.enter()];
        for user in users {
            assert_eq!(store.closed(), closed - 1);
            drop(user);
        }
        assert_eq!(store.closed(), closed);
    }
}

#[test]
fn workers_with_the_same_store_share_it_while_one_of_them_lives() {
    let open = |key: &str, max_age: f64| {
        SharedStore::open(&options(&[
            ("projectKey", Given::Text(key.into())),
            ("url", Given::Text("memory:".into())),
            ("maxAgeMs", Given::Number(max_age)),
        ]))
    };
    let first = open("phc_a", 60_000.0);
    assert!(Arc::ptr_eq(&first, &open("phc_a", 60_000.0)));
    assert!(Arc::ptr_eq(&first, &open("phc_a", 70_000.0)), "in memory no other limit makes other content");
    assert!(!Arc::ptr_eq(&first, &open("phc_b", 60_000.0)));
    let weak = Arc::downgrade(&first);
    drop(first);
    assert!(weak.upgrade().is_none());
}
