//! A store that cannot be reached: for a moment, which costs nothing, and for longer.

use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::lease::Failure;
use tokio::time::sleep;

use super::fleet::{A_SECOND, Fleet, INTERVAL};
use crate::support::faulty_store::Fault;

const FAULTS: [(Fault, Code); 2] = [(Fault::Fails, Code::Unavailable), (Fault::Hangs, Code::Timeout)];
const A_MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_short_outage_costs_no_fetch_and_only_listeners_get_the_error() {
    for (fault, code) in FAULTS {
        let (fleet, leader) = Fleet::warm().await;
        let follower = fleet.worker();
        follower.polls().await;
        for worker in [&leader, &follower] {
            let mut reports = worker.provider.reports();
            worker.store.set(fault);
            sleep(INTERVAL / 2).await;
            assert_eq!(
                (worker.asks().await.unwrap(), worker.gets().await.unwrap()),
                (false, Some(1)),
                "{fault:?}"
            );
            assert_eq!(reports.recv().await.unwrap().code(), code);
            assert_eq!(worker.provider.status().counters.errors[&code], 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_goes_on_until_two_intervals_and_the_slack_after_posthog_confirmed_what_it_holds() {
    for (fault, code) in FAULTS {
        let (_fleet, leader) = Fleet::warm().await;
        leader.store.set(fault);
        sleep(2 * INTERVAL + A_SECOND - A_MOMENT).await;
        leader.provider.get(None).await.unwrap();
        sleep(A_MOMENT).await;
        assert_eq!(leader.asks().await.unwrap_err().code(), code);
        assert_eq!(leader.gets().await.unwrap_err().code(), code);
        leader.store.set(Fault::None);
        assert_eq!(leader.gets().await.unwrap(), Some(1), "and none afterwards");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_that_costs_one_fetch_of_each_worker_and_poll() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    follower.polls().await;
    for worker in [&leader, &follower] {
        worker.store.set(Fault::Fails);
    }
    for _ in 0..2 {
        sleep(INTERVAL).await;
        for worker in [&leader, &follower] {
            assert!(!worker.asks().await.unwrap());
        }
    }
    for _ in 0..3 {
        sleep(INTERVAL).await;
        for worker in [&leader, &follower] {
            assert_eq!(worker.asks().await.unwrap_err().code(), Code::Unavailable);
            // Its own answers do not count as the fleet's.
            worker.receives(2).await.unwrap_err();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_definitions_does_not_wait_for_the_store_to_come_back() {
    let (fleet, _leader) = Fleet::warm().await;
    let fresh = fleet.worker();
    fresh.store.set(Fault::Fails);
    assert_eq!(fresh.asks().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(fresh.gets().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_knows_of_an_edit_fetches_it_although_the_store_is_gone() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    follower.polls().await;
    leader.provider.invalidate().await.unwrap();
    leader.store.set(Fault::Fails);
    assert_eq!(leader.asks().await.unwrap_err().code(), Code::Unavailable, "who said so");
    assert!(!follower.asks().await.unwrap(), "the leader is to fetch it");
    follower.store.set(Fault::Fails);
    assert_eq!(follower.asks().await.unwrap_err().code(), Code::Unavailable, "who has heard it");

    let (_fleet, alone) = Fleet::warm().await;
    alone.store.set(Fault::Fails);
    alone.provider.invalidate().await.unwrap_err();
    assert_eq!(alone.asks().await.unwrap_err().code(), Code::Unavailable, "who could not tell the others");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_knows_that_the_store_is_outdated_fetches_at_once() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    leader.store.set(Fault::FailsPublishes);
    leader.receives(2).await.unwrap_err();
    assert_eq!(follower.asks().await.unwrap_err().code(), Code::Unavailable);
    follower.store.set(Fault::Fails);
    assert_eq!(follower.asks().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn if_posthog_refuses_the_project_an_outage_restores_nothing() {
    let (fleet, leader) = Fleet::warm().await;
    let clear = fleet.worker_with(&[("whenRefused", Given::Text("clear".into()))]);
    clear.polls().await;
    clear.store.set(Fault::Fails);
    assert!(!clear.polls().await, "it is not refused yet");
    clear.store.set(Fault::None);
    leader.provider.failed(Failure::Refused(None)).await.unwrap();
    assert_eq!(clear.gets().await.unwrap(), None);
    clear.store.set(Fault::Fails);
    assert_eq!(clear.asks().await.unwrap_err().code(), Code::Unavailable);
}
