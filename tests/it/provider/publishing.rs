//! What a publish writes to the store.

use std::sync::Arc;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::error::Code;
use tokio::time::sleep;

use super::fleet::{Fleet, INTERVAL, Worker, version};
use crate::support::content::definitions;
use crate::support::faulty_store::Fault;

fn compressed(compression: &str) -> [(&'static str, Given); 1] {
    [("compression", Given::Text(compression.into()))]
}

/// Definitions large enough for a patch, with an edit of this number.
fn large(edit: usize) -> Arc<Snapshot> {
    let filler: Vec<usize> = (0..5_000).map(|id| (id * 7_919) % 9_973).collect();
    Arc::new(Snapshot::new(format!(r#"{{"flags":[],"x":{filler:?},"edit":{edit}}}"#)).unwrap())
}

async fn publishes(worker: &Worker, snapshot: Arc<Snapshot>) {
    assert!(worker.polls().await);
    worker.provider.received(snapshot, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn definitions_that_the_store_has_are_not_written_again_but_their_new_etag_is() {
    let (fleet, leader) = Fleet::warm().await;
    let mut notices = leader.provider.notices();
    notices.mark_unchanged();
    for etag in [Some("\"a\"".to_owned()), Some("\"b\"".to_owned()), None] {
        sleep(INTERVAL).await;
        assert!(leader.polls().await);
        leader.provider.received(Arc::new(definitions(1)), etag.clone()).await.unwrap();
        assert_eq!(fleet.state().await.snapshot.unwrap().etag, etag);
        assert!(!notices.has_changed().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn an_etag_that_no_request_can_carry_is_not_published() {
    let (fleet, leader) = Fleet::warm().await;
    for etag in ["*", "\"a\r\nb\"", "unquoted"] {
        sleep(INTERVAL).await;
        assert!(leader.polls().await);
        leader.provider.received(Arc::new(definitions(2)), Some(etag.into())).await.unwrap();
        assert_eq!(fleet.state().await.snapshot.unwrap().etag, None, "{etag}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_leads_from_the_definitions_in_the_store_if_this_worker_holds_them() {
    let fleet = Fleet::new();
    let [leader, other] = [(); 2].map(|()| fleet.worker_with(&compressed("zstd")));
    publishes(&leader, large(1)).await;
    assert_eq!(leader.store.patches(), 0);
    sleep(INTERVAL).await;
    publishes(&leader, large(2)).await;
    assert_eq!(leader.store.patches(), 1);
    leader.provider.shutdown().await;
    // It holds nothing, and so leads on from nothing.
    other.provider.invalidate().await.unwrap();
    other.provider.received(large(3), None).await.unwrap();
    assert_eq!(other.store.patches(), 0);
}

#[tokio::test(start_paused = true)]
async fn definitions_are_restored_in_full_by_a_worker_with_another_compression() {
    let fleet = Fleet::new();
    let publisher = fleet.worker_with(&compressed("zstd"));
    publishes(&publisher, large(1)).await;
    let healer = fleet.worker_with(&compressed("none"));
    healer.found().await.unwrap();
    fleet.loses_everything().await;
    healer.found().await.unwrap();
    assert_eq!(fleet.worker().found().await.unwrap().unwrap(), large(1));
}

#[tokio::test(start_paused = true)]
async fn unpublished_definitions_are_dropped_when_newer_ones_cannot_be_shared() {
    let (fleet, leader) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.store.set(Fault::FailsPublishes);
    leader.receives(2).await.unwrap_err();
    leader.provider.unshareable().await.unwrap();
    leader.store.set(Fault::None);
    // It is told to fetch for itself.
    assert_eq!(leader.asks().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(fleet.stored().await, version(1));
}

#[tokio::test(start_paused = true)]
async fn if_no_write_succeeds_a_poll_tries_one_and_gets_the_error() {
    let (_fleet, leader) = Fleet::warm().await;
    leader.store.set(Fault::IsReadOnly);
    assert_eq!(leader.receives(2).await.unwrap_err().code(), Code::ReadOnly);
    sleep(3 * INTERVAL).await;
    for _ in 0..3 {
        let commits = leader.store.commits();
        assert_eq!(leader.asks().await.unwrap_err().code(), Code::ReadOnly);
        assert_eq!(leader.store.commits() - commits, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_patch_goes_with_definitions_to_a_store_that_has_just_lost_its_base() {
    let fleet = Fleet::new();
    let leader = fleet.worker_with(&compressed("zstd"));
    publishes(&leader, large(1)).await;
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.store.set(Fault::LosesEverything);
    leader.provider.received(large(2), None).await.unwrap();
    assert_eq!(fleet.stored().await.as_deref(), Some(large(2).version()));
    assert_eq!(leader.store.patches(), 1, "that of the commit that was refused");
}
