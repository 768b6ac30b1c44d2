//! Definitions that a worker has fetched, but that the store does not have.

use super::fleet::{A_SECOND, Fleet, INTERVAL, LEASE, version};
use crate::support::faulty_store::Fault;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::error::Code;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn while_the_store_does_not_take_the_newest_definitions_no_worker_is_kept_on_the_old_ones() {
    let (fleet, leader) = Fleet::warm().await;
    let stale = [("whenUnavailable", Given::Text("stale".into()))];
    let (follower, content) = (fleet.worker(), fleet.worker_with(&stale));
    for worker in [&follower, &content] {
        worker.polls().await;
    }
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.store.set(Fault::FailsPublishes);
    leader.receives(2).await.unwrap_err();
    assert_eq!(follower.asks().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!((content.asks().await.unwrap(), content.gets().await.unwrap()), (false, Some(1)));

    leader.store.set(Fault::None);
    sleep(INTERVAL).await;
    assert!(leader.polls().await);
    assert_eq!((follower.asks().await.unwrap(), follower.gets().await.unwrap()), (false, Some(2)));
    assert_eq!(fleet.state().await.outdated_at, None);
}

#[tokio::test(start_paused = true)]
async fn definitions_that_could_not_be_shared_are_not_fetched_again() {
    let (fleet, leader) = Fleet::warm().await;
    let other = fleet.worker();
    other.polls().await;
    // It fetches for itself, while another one leads.
    other.provider.plan();
    other.receives(2).await.unwrap();
    assert_eq!(fleet.stored().await, version(1));
    for _ in 0..3 {
        assert_eq!(other.provider.plan().version, version(2), "PostHog is asked whether they have changed");
        other.provider.confirmed(&version(2).unwrap()).await.unwrap();
        assert_eq!((other.asks().await.unwrap(), other.gets().await.unwrap()), (false, Some(2)), "nor lost");
    }
    // As a leader it publishes them: PostHog answers that nothing has changed.
    sleep(LEASE).await;
    assert!(other.asks().await.unwrap());
    other.provider.plan();
    other.provider.confirmed(&version(2).unwrap()).await.unwrap();
    assert_eq!(fleet.stored().await, version(2));
    assert_eq!((leader.polls().await, leader.gets().await.unwrap()), (false, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn definitions_that_came_too_late_are_published_when_posthog_says_to_the_clients_own_etag_that_they_are_current()
 {
    let (fleet, leader) = Fleet::warm().await;
    let other = fleet.worker();
    other.polls().await;
    for _ in 0..3 {
        sleep(INTERVAL).await;
        assert!(leader.polls().await);
    }
    // Its client fetches for itself, although another one leads.
    other.store.set(Fault::Fails);
    other.asks().await.unwrap_err();
    other.receives(2).await.unwrap_err();
    other.store.set(Fault::None);
    assert_eq!((other.asks().await.unwrap(), other.gets().await.unwrap()), (false, Some(2)));
    leader.provider.shutdown().await;
    sleep(INTERVAL).await;
    assert!(other.asks().await.unwrap());
    other.provider.received_is_current().await.unwrap();
    assert_eq!(fleet.stored().await, version(2));
    assert_eq!(fleet.worker().gets().await.unwrap(), Some(2));
    assert_eq!(other.provider.status().counters.confirms, 0);
    other.provider.received_is_current().await.unwrap();
    assert_eq!(other.provider.status().counters.confirms, 1);
}

#[tokio::test(start_paused = true)]
async fn definitions_that_posthog_has_gone_back_to_are_published_again() {
    let (fleet, first) = Fleet::warm().await;
    sleep(LEASE).await;
    let second = fleet.worker();
    assert!(second.asks().await.unwrap());
    second.receives(2).await.unwrap();
    second.provider.shutdown().await;
    sleep(INTERVAL).await;
    assert!(first.asks().await.unwrap());
    first.provider.received_is_current().await.unwrap();
    assert_eq!(fleet.stored().await, version(1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_a_newer_one_was_published_is_not_kept() {
    let (fleet, slow) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(slow.asks().await.unwrap());
    slow.provider.plan();
    sleep(LEASE).await;
    let heir = fleet.worker();
    assert!(heir.asks().await.unwrap());
    heir.receives(3).await.unwrap();
    slow.receives(2).await.unwrap();
    assert_eq!(slow.provider.plan().version, version(1), "what it knew before");
    assert_eq!((slow.polls().await, slow.gets().await.unwrap()), (false, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_could_not_be_published_in_time_is_not_taken_for_newer_than_its_successor() {
    let (fleet, cut_off) = Fleet::warm().await;
    cut_off.provider.plan();
    cut_off.store.set(Fault::Fails);
    cut_off.receives(2).await.unwrap_err();
    sleep(LEASE).await;
    let heir = fleet.worker();
    assert!(heir.asks().await.unwrap());
    heir.receives(3).await.unwrap();
    // It asks PostHog again, in vain.
    sleep(A_SECOND).await;
    cut_off.provider.plan();
    cut_off.store.set(Fault::None);
    assert_eq!((cut_off.polls().await, cut_off.gets().await.unwrap()), (false, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn definitions_that_could_not_be_shared_are_dropped_when_posthog_has_gone_back_to_those_before() {
    let (fleet, leader) = Fleet::warm().await;
    let other = fleet.worker();
    other.polls().await;
    sleep(A_SECOND).await;
    other.provider.plan();
    other.receives(2).await.unwrap();
    assert_eq!((other.asks().await.unwrap(), other.gets().await.unwrap()), (false, Some(2)));
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.provider.confirmed(&version(1).unwrap()).await.unwrap();
    assert_eq!((other.asks().await.unwrap(), other.gets().await.unwrap()), (false, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn if_an_empty_store_takes_no_definitions_no_worker_waits_for_them() {
    let fleet = Fleet::new();
    let leader = fleet.worker();
    assert!(leader.asks().await.unwrap());
    let other = fleet.worker();
    let asking = tokio::spawn(async move { (other.asks().await, other) });
    sleep(A_SECOND).await;
    leader.store.set(Fault::FailsPublishes);
    let failed = Instant::now();
    leader.receives(1).await.unwrap_err();
    let (outcome, other) = asking.await.unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
    assert!(failed.elapsed() < A_SECOND, "{:?}", failed.elapsed());

    leader.store.set(Fault::None);
    assert!(!leader.asks().await.unwrap(), "it has just fetched them");
    assert_eq!((other.asks().await.unwrap(), other.gets().await.unwrap()), (false, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn definitions_that_the_store_has_lost_are_published_when_posthog_says_that_they_are_current() {
    let (fleet, leader) = Fleet::warm().await;
    // The second time no repair is due yet.
    for _ in 0..2 {
        fleet.loses_everything().await;
        leader.gets().await.unwrap();
    }
    assert_eq!(fleet.stored().await, None);
    leader.provider.received_is_current().await.unwrap();
    assert_eq!(fleet.stored().await, version(1));
}
