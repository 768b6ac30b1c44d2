//! The counters, durations and reports of a worker.

use std::sync::Arc;
use std::time::Duration;

use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::lease::Failure;
use posthog_flag_cache::worker::status::Counters;
use tokio::time::sleep;

use super::fleet::{A_SECOND, COLD_START_WAIT, Fleet, INTERVAL, LEASE, Worker, version};
use crate::support::content::definitions;
use crate::support::faulty_store::{Fault, FaultyStore};

#[tokio::test(start_paused = true)]
async fn the_counters_count_each_poll_load_publish_and_confirmation() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    for number in [2, 3] {
        assert!(!follower.polls().await);
        sleep(INTERVAL).await;
        assert!(leader.polls().await);
        leader.receives(number).await.unwrap();
        leader.provider.confirmed(&version(number).unwrap()).await.unwrap();
    }
    for _ in 0..2 {
        assert!(!follower.polls().await);
    }
    let counters = |worker: &Worker| worker.provider.status().counters;
    let expected = Counters { grants: 3, publishes: 3, confirms: 2, unchanged: 2, ..Counters::default() };
    assert_eq!(counters(&leader), expected);
    let expected = Counters { follows: 4, loads: 3, unchanged: 1, ..Counters::default() };
    assert_eq!(counters(&follower), expected);
}

#[tokio::test(start_paused = true)]
async fn they_count_late_definitions_restores_waits_and_errors() {
    let (fleet, paused) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(paused.asks().await.unwrap());
    sleep(LEASE).await;
    let heir = fleet.worker();
    assert!(heir.asks().await.unwrap());
    heir.receives(4).await.unwrap();
    for number in [2, 3] {
        paused.receives(number).await.unwrap();
    }
    assert_eq!(paused.provider.status().counters.superseded, 2);

    for heals in [1, 2] {
        sleep(INTERVAL / 10).await;
        fleet.loses_everything().await;
        heir.gets().await.unwrap();
        assert_eq!(heir.provider.status().counters.heals, heals);
    }

    let fleet = Fleet::new();
    assert!(fleet.worker().asks().await.unwrap());
    let waiting = fleet.worker();
    assert!(waiting.asks().await.unwrap(), "it takes over");
    let looks = COLD_START_WAIT.as_millis() / 100;
    assert_eq!(u128::from(waiting.provider.status().counters.waits), looks);

    for count in [1, 2] {
        waiting.provider.count(&Error::new(Code::Data, "for the test"));
        assert_eq!(waiting.provider.status().counters.errors[&Code::Data], count);
    }
}

#[tokio::test(start_paused = true)]
async fn the_round_trip_is_the_time_of_the_last_load() {
    let (fleet, _leader) = Fleet::warm().await;
    let worker = fleet.worker();
    assert_eq!(worker.provider.status().round_trip, None);
    worker.store.set(Fault::DelaysLoads);
    worker.polls().await;
    assert_eq!(worker.provider.status().round_trip, Some(FaultyStore::DELAY));
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_although_no_call_reads() {
    let (_fleet, leader) = Fleet::warm().await;
    let pause = Duration::from_secs(100);
    leader.provider.failed(Failure::Paused(Some(pause))).await.unwrap();
    sleep(A_SECOND).await;
    assert_eq!(leader.provider.plan().pause, Some(pause - A_SECOND));
    assert_eq!(leader.provider.status().pause, Some(pause - A_SECOND));
    sleep(pause).await;
    assert_eq!(leader.provider.plan().pause, None);
}

#[tokio::test(start_paused = true)]
async fn polls_at_another_pace_are_reported_once() {
    let (_fleet, leader) = Fleet::warm().await;
    let mut reports = leader.provider.reports();
    for _ in 0..20 {
        leader.polls().await;
        sleep(INTERVAL / 3).await;
    }
    assert_eq!(reports.try_recv().unwrap().code(), Code::Options);
    assert!(reports.try_recv().is_err());
    assert_eq!(leader.provider.status().suggested_refresh_interval, Some(INTERVAL / 3));
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_the_leader_and_the_held_definitions_and_their_age() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    let read = async || {
        follower.gets().await.unwrap();
        follower.provider.status()
    };
    let status = read().await;
    let stored = fleet.state().await.snapshot.unwrap();
    let held = status.held.unwrap();
    assert_eq!((held.version, held.stored_bytes), (stored.version, stored.bytes));
    assert_eq!((held.etag, held.age), (None, Some(Duration::ZERO)));
    assert_eq!((status.is_leader, status.leader), (false, Some(leader.provider.status().worker)));
    assert!(leader.provider.status().is_leader);

    let etag = Some(r#""two""#.to_owned());
    leader.provider.received(Arc::new(definitions(2)), etag.clone()).await.unwrap();
    sleep(A_SECOND).await;
    let held = read().await.held.unwrap();
    assert_eq!((Some(held.version), held.etag, held.age), (version(2), etag, Some(A_SECOND)));
    leader.provider.confirmed(&version(2).unwrap()).await.unwrap();
    assert_eq!(read().await.held.unwrap().age, Some(Duration::ZERO), "PostHog has confirmed them");
}

#[tokio::test(start_paused = true)]
async fn a_plan_knows_an_empty_cache_and_what_this_worker_holds_though_the_store_has_lost_it() {
    let fleet = Fleet::new();
    let leader = fleet.worker();
    assert!(!leader.provider.plan().is_cache_empty, "it has not looked");
    assert!(leader.asks().await.unwrap());
    assert!(leader.provider.plan().is_cache_empty);
    leader.receives(1).await.unwrap();
    assert!(!leader.provider.plan().is_cache_empty);

    let unlucky = fleet.worker();
    fleet.is_damaged().await;
    unlucky.store.set(Fault::FailsCommits);
    unlucky.asks().await.unwrap_err();
    assert!(!unlucky.provider.plan().is_cache_empty, "there are some");

    // The second time no repair is due yet.
    for _ in 0..2 {
        fleet.loses_everything().await;
        leader.gets().await.unwrap();
    }
    assert_eq!(fleet.stored().await, None);
    assert_eq!((leader.provider.plan().version, leader.provider.plan().is_cache_empty), (version(1), false));
}
