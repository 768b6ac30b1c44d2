//! What becomes of definitions while the store fails, forgets or is damaged.

use super::fleet::{A_SECOND, COLD_START_WAIT, Fleet, INTERVAL, LEASE, LIMIT, settles_within, version};
use crate::support::content::published;
use crate::support::faulty_store::Fault;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::State;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_grant_whose_reply_was_lost_publishes_although_there_was_one_before() {
    let (fleet, leader) = Fleet::warm().await;
    sleep(3 * INTERVAL).await;
    leader.store.set(Fault::LosesReplies);
    assert!(leader.asks().await.is_err(), "posthog-node fetches all the same");
    leader.store.set(Fault::None);
    assert_eq!(fleet.state().await.fence, 2, "the grant landed");
    leader.receives(2).await.unwrap();
    assert_eq!(fleet.stored().await, version(2));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_published_is_published_at_the_next_poll() {
    for fault in [Fault::Fails, Fault::FailsCommits, Fault::Hangs, Fault::LosesReplies] {
        let (fleet, leader) = Fleet::warm().await;
        sleep(INTERVAL).await;
        assert!(leader.asks().await.unwrap());
        leader.store.set(fault);
        assert!(leader.receives(2).await.is_err(), "{fault:?}");
        assert_eq!(
            fleet.stored().await,
            version(if fault == Fault::LosesReplies { 2 } else { 1 }),
            "{fault:?}"
        );
        leader.store.set(Fault::None);
        sleep(INTERVAL).await;
        assert!(leader.polls().await, "{fault:?}");
        assert_eq!(fleet.stored().await, version(2), "{fault:?}");
        assert_eq!(fleet.worker().gets().await.unwrap(), Some(2), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_published_is_published_by_a_shutdown() {
    let (fleet, leader) = Fleet::warm().await;
    leader.store.set(Fault::Fails);
    leader.receives(2).await.unwrap_err();
    leader.store.set(Fault::None);
    leader.provider.shutdown().await;
    assert_eq!((fleet.stored().await, fleet.state().await.lease), (version(2), None));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_published_does_not_land_over_newer_definitions() {
    let (fleet, former) = Fleet::warm().await;
    former.store.set(Fault::Fails);
    former.receives(2).await.unwrap_err();
    sleep(LEASE).await;
    let leader = fleet.worker();
    assert!(leader.asks().await.unwrap());
    leader.receives(3).await.unwrap();
    former.store.set(Fault::None);
    assert_eq!((former.polls().await, former.gets().await.unwrap()), (false, Some(3)));
    assert_eq!(fleet.stored().await, version(3));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_store_carried_out_twice_counts_once() {
    let fleet = Fleet::new();
    let worker = fleet.worker();
    worker.store.set(Fault::RepeatsCommits);
    assert!(worker.asks().await.unwrap(), "the grant is its own");
    assert_eq!(fleet.state().await.fence, 1);
    worker.receives(1).await.unwrap();
    assert_eq!((fleet.stored().await, worker.store.commits()), (version(1), 2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_everything_is_filled_by_the_first_poll_and_no_worker_fetches_early() {
    let (fleet, leader) = Fleet::warm().await;
    let followers = [fleet.worker(), fleet.worker()];
    for round in 0..3 {
        for (part, follower) in followers.iter().enumerate() {
            sleep(INTERVAL / 3).await;
            if part == 0 {
                follower.polls().await;
            }
            let before = fleet.state().await;
            fleet.loses_everything().await;
            assert!(!follower.polls().await, "round {round}: before the interval is over");
            if part == 0 {
                let after = fleet.state().await;
                assert_eq!(after.snapshot, before.snapshot);
                assert_eq!((after.granted_at, after.fence), (before.granted_at, before.fence));
                assert_eq!(after.lease.unwrap().owner, before.lease.unwrap().owner);
            }
            if round == 0 && part == 0 {
                assert_eq!(fleet.worker().gets().await.unwrap(), Some(1));
                followers[1].polls().await;
            }
        }
        sleep(INTERVAL / 3).await;
        assert!(leader.polls().await, "round {round}: the leader stays the leader");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fell_back_to_older_definitions_gets_the_newer_ones_back() {
    let (fleet, leader) = Fleet::warm().await;
    let (old, old_bytes) = (fleet.state().await, published(1).1);
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.receives(2).await.unwrap();
    let follower = fleet.worker();
    assert_eq!((follower.polls().await, follower.gets().await.unwrap()), (false, Some(2)));
    sleep(A_SECOND).await;
    fleet.overwrite(old, Some(old_bytes)).await;
    assert_eq!(fleet.stored().await, version(1));
    assert!(!follower.polls().await);
    assert_eq!((fleet.stored().await, follower.gets().await.unwrap()), (version(2), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn corrupt_definitions_are_replaced_by_those_that_a_worker_holds() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    follower.polls().await;
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.receives(2).await.unwrap();
    fleet.is_damaged().await;
    assert!(!follower.polls().await);
    assert_eq!(follower.gets().await.unwrap(), Some(1), "the newest that this one has");
    assert!(!leader.polls().await);
    assert_eq!((fleet.stored().await, follower.gets().await.unwrap()), (version(2), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn corrupt_definitions_are_replaced_although_their_holder_sees_no_change() {
    let (fleet, leader) = Fleet::warm().await;
    fleet.is_damaged().await;
    fleet.worker().asks().await.unwrap();
    sleep(INTERVAL).await;
    leader.polls().await;
    let fresh = fleet.worker();
    assert_eq!((fresh.asks().await.unwrap(), fresh.gets().await.unwrap()), (false, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn corrupt_definitions_are_fetched_again_when_no_worker_holds_any() {
    let (fleet, leader) = Fleet::warm().await;
    leader.provider.shutdown().await;
    fleet.is_damaged().await;
    let fresh = fleet.worker();
    assert!(fresh.asks().await.unwrap(), "an empty cache is due");
    fresh.receives(1).await.unwrap();
    assert_eq!(fleet.worker().gets().await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn corrupt_definitions_are_an_error_for_a_reader() {
    let (fleet, _leader) = Fleet::warm().await;
    fleet.is_damaged().await;
    let reader = fleet.reader();
    assert_eq!(reader.gets().await.unwrap_err().code(), Code::Corrupt);
    assert!(!reader.asks().await.unwrap());
    assert_eq!(reader.gets().await.unwrap_err().code(), Code::Corrupt);
}

#[tokio::test(start_paused = true)]
async fn stale_definitions_are_used_until_they_are_too_old() {
    let (fleet, _leader) = Fleet::warm().await;
    let max_age = Duration::from_secs(100);
    let stale = [("whenUnavailable", Given::Text("stale".into())), ("maxAgeMs", Given::Number(100_000.0))];
    let worker = fleet.worker_with(&stale);
    for fault in [Fault::Fails, Fault::Hangs] {
        worker.store.set(Fault::None);
        worker.polls().await;
        let seen = Instant::now();
        worker.store.set(fault);
        sleep(max_age - 4 * LIMIT).await;
        assert_eq!(
            (worker.asks().await.unwrap(), worker.gets().await.unwrap()),
            (false, Some(1)),
            "{fault:?}"
        );
        sleep(max_age - seen.elapsed()).await;
        let code = if fault == Fault::Fails { Code::Unavailable } else { Code::Timeout };
        assert_eq!(worker.asks().await.unwrap_err().code(), code);
        assert_eq!(worker.gets().await.unwrap_err().code(), code);
    }
    let fresh = fleet.worker_with(&stale);
    fresh.store.set(Fault::Fails);
    assert_eq!(fresh.asks().await.unwrap_err().code(), Code::Unavailable, "it holds none");
    assert_eq!(fresh.gets().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_reader_never_fetches_and_never_writes() {
    let fleet = Fleet::new();
    let reader = fleet.reader();
    assert_eq!((reader.asks().await.unwrap(), reader.gets().await.unwrap()), (false, None));
    let (fleet, _leader) = Fleet::warm().await;
    let reader = fleet.reader();
    assert_eq!((reader.asks().await.unwrap(), reader.gets().await.unwrap()), (false, Some(1)));
    sleep(2 * LEASE).await;
    assert!(!reader.asks().await.unwrap(), "not even when it is due");
    fleet.loses_everything().await;
    assert_eq!((reader.asks().await.unwrap(), reader.gets().await.unwrap()), (false, None));
    assert_eq!(reader.receives(2).await.unwrap_err().code(), Code::ReadOnly);
    reader.provider.shutdown().await;
    assert_eq!((reader.store.commits(), fleet.state().await), (0, State::default()));
}

#[tokio::test(start_paused = true)]
async fn every_method_settles_whatever_the_store_does() {
    for fault in [Fault::Hangs, Fault::RefusesCommits, Fault::Fails, Fault::FailsCommits, Fault::LosesReplies]
    {
        for is_warm in [false, true] {
            let fleet = if is_warm { Fleet::warm().await.0 } else { Fleet::new() };
            sleep(LEASE).await;
            for worker in [fleet.worker(), fleet.reader()] {
                worker.store.set(fault);
                let bound = LIMIT + COLD_START_WAIT;
                settles_within(bound, fault, worker.asks()).await;
                settles_within(bound, fault, worker.gets()).await;
                settles_within(LIMIT, fault, worker.receives(2)).await;
                settles_within(LIMIT, fault, worker.provider.shutdown()).await;
            }
        }
    }
    let (fleet, _leader) = Fleet::warm().await;
    let worker = fleet.worker();
    worker.store.set(Fault::Hangs);
    assert_eq!(worker.asks().await.unwrap_err().code(), Code::Timeout);
    assert_eq!(worker.gets().await.unwrap_err().code(), Code::Timeout);
    assert_eq!(worker.receives(2).await.unwrap_err().code(), Code::Timeout);
}

#[tokio::test(start_paused = true)]
async fn unchanged_definitions_stay_the_same_object() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    follower.polls().await;
    let held = follower.found().await.unwrap().unwrap();
    for _ in 0..3 {
        sleep(INTERVAL).await;
        assert!(leader.polls().await);
        assert!(!follower.polls().await);
        assert!(Arc::ptr_eq(&held, &follower.found().await.unwrap().unwrap()));
    }
    leader.receives(2).await.unwrap();
    assert!(!Arc::ptr_eq(&held, &follower.found().await.unwrap().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_damaged_again_and_again_is_not_repaired_as_often() {
    let (fleet, leader) = Fleet::warm().await;
    leader.polls().await;
    let commits = leader.store.commits();
    for _ in 0..20 {
        fleet.loses_everything().await;
        assert_eq!((leader.asks().await.unwrap(), leader.gets().await.unwrap()), (false, Some(1)));
    }
    assert_eq!(leader.store.commits() - commits, 1);
    sleep(INTERVAL / 10).await;
    leader.gets().await.unwrap();
    assert_eq!(fleet.stored().await, version(1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_may_not_repair_the_store_yet_still_fetches_when_a_fetch_is_due() {
    let (fleet, leader) = Fleet::warm().await;
    sleep(INTERVAL - A_SECOND).await;
    fleet.loses_everything().await;
    assert_eq!(leader.gets().await.unwrap(), Some(1));
    fleet.loses_everything().await;
    sleep(A_SECOND).await;
    let asked = Instant::now();
    assert!(leader.asks().await.unwrap());
    assert!(asked.elapsed() <= Duration::from_millis(10), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_what_it_was_given_does_not_keep_a_worker() {
    let (fleet, leader) = Fleet::warm().await;
    leader.polls().await;
    let commits = leader.store.commits();
    fleet.loses_everything().await;
    leader.store.set(Fault::ForgetsCommits);
    for _ in 0..3 {
        assert_eq!(leader.gets().await.unwrap(), Some(1));
        assert_eq!(leader.store.commits() - commits, 2);
    }
}
