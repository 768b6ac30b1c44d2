//! The counters, durations and reports of a worker.

use std::time::Duration;

use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::lease::Failure;
use posthog_flag_cache::worker::status::Counters;
use tokio::time::sleep;

use super::fleet::{A_SECOND, COLD_START_WAIT, Fleet, INTERVAL, LEASE, Worker, version};
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
async fn they_count_what_came_too_late_what_was_put_back_each_wait_and_each_error() {
    let (fleet, paused) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(paused.asks().await.unwrap());
    sleep(LEASE).await;
    let heir = fleet.worker();
    assert!(heir.asks().await.unwrap());
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
async fn a_pause_passes_although_nobody_reads() {
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
