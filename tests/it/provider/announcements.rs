//! A notice that carries the change: what a worker takes from it, and what it leaves to its next look at the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::codec::{Compression, Encoded};
use posthog_flag_cache::definitions::patch::{self, Base};
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::{SnapshotInfo, State};
use posthog_flag_cache::store::notices::{self, Notices, Published};
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::mirror::announcements::Announcement;
use posthog_flag_cache::worker::provider::Provider;
use tokio::time::sleep;

use super::fleet::{A_SECOND, Fleet, INTERVAL, Worker, version};
use crate::support::content::{self, definitions};
use crate::support::faulty_store::Fault;

/// The notice of definitions number `to`, with a patch to number `from`, as the store of `fleet` would send it.
pub async fn message(fleet: &Fleet, from: u64, to: u64) -> Vec<u8> {
    let encoded = definitions(to).encode(Compression::Zstd, Some(&definitions(from))).unwrap();
    let patch = patch::make(
        definitions(to).text(),
        Base { text: definitions(from).text(), version: definitions(from).version() },
        8_000,
    );
    let state = fleet.state().await;
    let etag = Some(format!("\"{to}\""));
    let info = SnapshotInfo { version: version(to).unwrap(), etag, ..state.snapshot.clone().unwrap() };
    let next = State { snapshot: Some(info), ..state };
    notices::encode(&next, Some(&Encoded { patch: Some(Bytes::from(patch.unwrap())), ..encoded }))
}

async fn notice(fleet: &Fleet, from: u64, to: u64) -> Published {
    let mut notices = Notices::default();
    notices.message(&message(fleet, from, to).await);
    (*notices.published.unwrap()).clone()
}

/// A follower that holds number 1, while the store has got number 2.
async fn start() -> (Fleet, Worker, Worker) {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    follower.polls().await;
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.receives(2).await.unwrap();
    (fleet, leader, follower)
}

async fn announce(worker: &Worker, published: &Published) -> Announcement {
    worker.provider.announce(published).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_holds_the_base_has_the_edit_without_asking_the_store() {
    let (fleet, _leader, follower) = start().await;
    let calls = follower.store.calls();
    let published = notice(&fleet, 1, 2).await;
    assert_eq!(announce(&follower, &published).await, Announcement::Taken);
    assert_eq!(announce(&follower, &published).await, Announcement::Known, "once");
    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(2)));
    assert_eq!(follower.provider.plan().version, version(2));
    assert_eq!(follower.store.calls(), calls);
    let status = follower.provider.status();
    let held = status.held.unwrap();
    assert_eq!((Some(&held.version), held.stored_bytes), (version(2).as_ref(), published.info.bytes));
    assert_eq!((held.etag, held.age), (published.info.etag, Some(Duration::ZERO)));
    assert_eq!(status.counters.follows, 2, "the first definitions, and these");

    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(2)));
    assert_eq!(follower.store.calls() - calls, 1, "its next poll looks, and finds nothing new");
    assert_eq!(follower.store.loaded(), 1, "the first definitions");
    assert_eq!(follower.provider.news().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_answered_from_a_notice_too() {
    let (fleet, _leader, _follower) = start().await;
    let reader = fleet.reader();
    fleet.overwrite(fleet.state().await, None).await;
    reader.gets().await.unwrap();
    let published = Published { patch: None, ..notice(&fleet, 1, 2).await };
    assert_eq!(announce(&reader, &published).await, Announcement::Known);
    let (fleet, leader) = Fleet::warm().await;
    let reader = fleet.reader();
    assert_eq!(reader.gets().await.unwrap(), Some(1));
    sleep(A_SECOND).await;
    leader.receives(2).await.unwrap();
    let calls = reader.store.calls();
    assert_eq!(announce(&reader, &notice(&fleet, 1, 2).await).await, Announcement::Taken);
    assert_eq!((reader.gets().await.unwrap(), reader.store.calls()), (Some(2), calls));
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_does_not_fit_leaves_everything_to_the_store() {
    let (fleet, _leader, follower) = start().await;
    let sound = notice(&fleet, 1, 2).await;
    let patch = sound.patch.clone().unwrap();
    let cut = patch.slice(..patch.len() - 1);
    let foreign = notice(&fleet, 3, 2).await.patch;
    let bomb = [&b"PATCH2:"[..], version(1).unwrap().as_bytes(), &zstd_bomb()].concat();
    let patches = [None, foreign, Some(cut), Some(Bytes::from_static(b"PATCH2:")), Some(Bytes::from(bomb))];
    for patch in patches {
        let published = Published { patch, ..sound.clone() };
        assert_eq!(announce(&follower, &published).await, Announcement::Unusable);
    }
    // A patch that makes something else than the notice says.
    let forged = SnapshotInfo { version: version(3).unwrap(), ..sound.info.clone() };
    let forged = Published { info: forged, ..sound.clone() };
    assert_eq!(announce(&follower, &forged).await, Announcement::Unusable);
    let fresh = fleet.worker();
    assert_eq!(announce(&fresh, &sound).await, Announcement::Unusable, "it holds nothing");
    assert_eq!((follower.polls().await, follower.gets().await.unwrap()), (false, Some(2)));
}

fn zstd_bomb() -> Vec<u8> {
    // Declares more than any definitions have.
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0xE0];
    frame.extend_from_slice(&u64::MAX.to_le_bytes());
    frame
}

#[tokio::test(start_paused = true)]
async fn a_notice_older_than_what_is_held_changes_nothing() {
    let (fleet, leader, follower) = start().await;
    let late = notice(&fleet, 1, 2).await;
    sleep(A_SECOND).await;
    leader.receives(3).await.unwrap();
    let newer = notice(&fleet, 1, 3).await;
    assert_eq!(announce(&follower, &newer).await, Announcement::Taken);
    assert_eq!(announce(&follower, &late).await, Announcement::Known, "out of order");
    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(3)));
    follower.polls().await;
    assert_eq!(announce(&follower, &late).await, Announcement::Known);
    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn a_forged_notice_lasts_until_the_next_poll_and_never_reaches_the_store() {
    let (fleet, _leader, follower) = start().await;
    follower.polls().await;
    let mut forged = notice(&fleet, 2, 7).await;
    forged.info.published_at = u64::MAX;
    assert_eq!(announce(&follower, &forged).await, Announcement::Taken);
    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(7)));
    let stored = fleet.stored().await;
    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(2)));
    assert_eq!((fleet.stored().await, follower.store.commits()), (stored, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_notice_brought_answers_a_poll_only_for_a_while_but_serves_through_an_outage() {
    let (fleet, _leader, follower) = start().await;
    assert_eq!(announce(&follower, &notice(&fleet, 1, 2).await).await, Announcement::Taken);
    sleep(Duration::from_secs(5)).await;
    let calls = follower.store.calls();
    follower.store.set(Fault::Fails);
    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(2)));
    assert_eq!(follower.store.calls() - calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_unshared_definitions_asks_the_store_which_are_newer() {
    let (fleet, _leader, follower) = start().await;
    follower.store.set(Fault::Fails);
    follower.receives(9).await.unwrap_err();
    assert_eq!(announce(&follower, &notice(&fleet, 1, 2).await).await, Announcement::Unusable);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_knows_of_an_edit_is_not_answered_from_a_notice() {
    let (fleet, _leader, follower) = start().await;
    follower.provider.invalidate().await.unwrap();
    assert_eq!(announce(&follower, &notice(&fleet, 1, 2).await).await, Announcement::Taken);
    assert!(follower.asks().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_workers_of_a_process_apply_a_patch_once() {
    let (fleet, _leader, follower) = start().await;
    let shared = Arc::new(SharedStore::new(follower.store.clone()));
    let options = content::options(&[("url", Given::Text("memory:".into()))]);
    let workers = [(); 2].map(|()| Provider::new(&options, shared.clone()));
    let mut published = notice(&fleet, 2, 3).await;
    published.info.published_at += 1;
    for worker in &workers {
        worker.get(None).await.unwrap();
    }
    let mut taken: Vec<Arc<Snapshot>> = Vec::new();
    for worker in &workers {
        assert_eq!(worker.announce(&published).await.unwrap(), Announcement::Taken);
        taken.push(worker.get(None).await.unwrap().unwrap().snapshot().unwrap().clone());
    }
    assert!(Arc::ptr_eq(&taken[0], &taken[1]));
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_no_notice_is_taken() {
    let (fleet, _leader, follower) = start().await;
    follower.provider.shutdown().await;
    let outcome = follower.provider.announce(&notice(&fleet, 1, 2).await).await;
    assert_eq!(outcome.unwrap_err().code(), Code::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_reads_of_a_fleet_are_spread_over_a_time_that_grows_with_the_round_trip() {
    let (_fleet, _leader, follower) = start().await;
    follower.store.set(Fault::DelaysLoads);
    follower.polls().await;
    let delays: Vec<_> = (0..200).map(|_| follower.provider.look_delay()).collect();
    assert!(delays.iter().all(|delay| *delay < A_SECOND));
    assert!(
        delays.iter().any(|delay| *delay > A_SECOND / 2) && delays.iter().any(|delay| *delay < A_SECOND / 2)
    );
}
