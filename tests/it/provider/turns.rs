//! Whose turn it is to fetch, and who waits, follows or departs.

use super::fleet::{
    A_SECOND, COLD_START_WAIT, Fleet, INTERVAL, LEASE, LIMIT, Worker, settles_within, version,
};
use crate::support::faulty_store::Fault;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::{Lease, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn of_sixteen_that_start_at_once_one_fetches_and_the_others_wait_for_it() {
    let fleet = Fleet::new();
    let started = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let worker = fleet.worker();
        asking.spawn(async move { (worker.asks().await.unwrap(), worker, started.elapsed()) });
    }
    let (granted, leader, after) = asking.join_next().await.unwrap().unwrap();
    assert!(granted && after < A_SECOND, "granted: {granted}, after {after:?}");
    sleep(Duration::from_millis(300)).await;
    assert!(asking.try_join_next().is_none(), "the others wait");
    leader.receives(1).await.unwrap();
    for (granted, worker, after) in asking.join_all().await {
        assert!(!granted);
        assert!(after < A_SECOND, "noticed after {after:?}");
        assert_eq!(worker.gets().await.unwrap(), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_slower_the_store_answers_the_less_often_a_waiting_worker_reads_it() {
    for (fault, every) in [(Fault::None, 100), (Fault::DelaysLoads, 200)] {
        let fleet = Fleet::new();
        assert!(fleet.worker().asks().await.unwrap());
        let waiting = fleet.worker();
        waiting.store.set(fault);
        assert!(waiting.asks().await.unwrap(), "it takes over");
        let reads = u128::from(waiting.provider.status().counters.waits);
        let most = COLD_START_WAIT.as_millis() / every;
        assert!(most * 9 / 10 <= reads && reads <= most, "{fault:?}: {reads} of {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_take_longer_than_a_lease_are_published_in_the_order_of_the_grants() {
    let (fleet, first) = Fleet::warm().await;
    let [second, third] = [fleet.worker(), fleet.worker()];
    sleep(INTERVAL).await;
    assert!(first.polls().await, "it begins a request");
    sleep(LEASE).await;
    assert!(second.polls().await, "it takes over");
    sleep(LEASE).await;
    assert!(third.polls().await);
    second.receives(3).await.unwrap();
    assert_eq!(fleet.state().await.snapshot.map(|stored| stored.version), version(3));
    first.receives(2).await.unwrap();
    assert_eq!(fleet.state().await.snapshot.map(|stored| stored.version), version(3), "it is superseded");
    third.receives(4).await.unwrap();
    assert_eq!(fleet.state().await.snapshot.map(|stored| stored.version), version(4));
}

#[tokio::test(start_paused = true)]
async fn when_the_first_leader_dies_one_of_the_waiting_workers_takes_over() {
    let fleet = Fleet::new();
    assert!(fleet.worker().asks().await.unwrap());
    sleep(A_SECOND).await;
    let started = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let worker = fleet.worker();
        asking.spawn(async move { (worker.asks().await.unwrap(), worker) });
    }
    let (granted, heir) = asking.join_next().await.unwrap().unwrap();
    assert!(granted);
    assert!(started.elapsed() < COLD_START_WAIT, "before their wait is over: {:?}", started.elapsed());
    heir.receives(1).await.unwrap();
    for (granted, worker) in asking.join_all().await {
        assert_eq!((granted, worker.gets().await.unwrap()), (false, Some(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waited_in_vain_fails_open() {
    let fleet = Fleet::new();
    assert!(fleet.worker().asks().await.unwrap());
    let state = fleet.state().await;
    let endless = state.lease.clone().map(|lease| Lease { expires_at: lease.expires_at + 60_000, ..lease });
    fleet.overwrite(State { lease: endless, ..state }, None).await;
    let (worker, started) = (fleet.worker(), Instant::now());
    assert!(!worker.asks().await.unwrap());
    assert_eq!(started.elapsed(), COLD_START_WAIT);
    assert_eq!(worker.gets().await.unwrap(), None, "then posthog-node fetches for itself");
    assert_eq!(started.elapsed(), COLD_START_WAIT, "it waits once");
}

#[tokio::test(start_paused = true)]
async fn without_a_cold_start_wait_no_worker_waits() {
    let fleet = Fleet::new();
    assert!(fleet.worker().asks().await.unwrap());
    let started = Instant::now();
    let worker = fleet.worker_with(&[("coldStartWaitMs", Given::Number(0.0))]);
    assert_eq!((worker.asks().await.unwrap(), worker.gets().await.unwrap()), (false, None));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_reads_waits_for_the_first_fetch_too() {
    let fleet = Fleet::new();
    let leader = fleet.worker();
    assert!(leader.asks().await.unwrap());
    for worker in [fleet.reader(), fleet.worker()] {
        let reading = tokio::spawn(async move { (worker.gets().await.unwrap(), worker.store.commits()) });
        sleep(A_SECOND).await;
        assert!(!reading.is_finished());
        leader.receives(1).await.unwrap();
        assert_eq!(reading.await.unwrap(), (Some(1), 0));
        fleet.overwrite(State { snapshot: None, ..fleet.state().await }, None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_reads_of_a_client_that_only_reads_wait_no_longer_than_once_in_total() {
    let fleet = Fleet::new();
    let reader = fleet.reader();
    let mut waited = Duration::ZERO;
    // A lease on an empty store ends before the wait does; then another worker tries.
    for _ in 0..3 {
        assert!(fleet.worker().asks().await.unwrap());
        let started = Instant::now();
        assert_eq!(reader.gets().await.unwrap(), None);
        assert_eq!(reader.gets().await.unwrap(), None);
        waited += started.elapsed();
        sleep(COLD_START_WAIT).await;
    }
    assert_eq!(waited, COLD_START_WAIT);

    let (leader, started) = (fleet.worker(), Instant::now());
    assert!(leader.asks().await.unwrap());
    leader.receives(1).await.unwrap();
    assert_eq!((reader.gets().await.unwrap(), started.elapsed()), (Some(1), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn fresh_workers_on_a_warm_cache_never_fetch_while_the_leader_polls() {
    let (fleet, leader) = Fleet::warm().await;
    for poll in 1..=10 {
        for _ in 0..6 {
            let fresh = fleet.worker();
            assert!(!fresh.asks().await.unwrap(), "poll {poll}");
            assert_eq!(fresh.gets().await.unwrap(), Some(1));
            fresh.provider.shutdown().await;
            sleep(INTERVAL / 6).await;
        }
        assert!(leader.polls().await, "poll {poll}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_eight_fetches_once_an_interval_and_it_is_always_the_same() {
    let (fleet, leader) = Fleet::warm().await;
    let followers: Vec<_> = (0..7).map(|_| fleet.worker()).collect();
    let mut jitter = fastrand::Rng::with_seed(1);
    for poll in 0..20 {
        for follower in &followers {
            sleep(INTERVAL / 8).await;
            assert!(!follower.polls().await, "poll {poll}");
        }
        // Timers are late by a little, or early after they were late.
        sleep(INTERVAL / 8 - Duration::from_millis(jitter.u64(0..400))).await;
        assert!(leader.polls().await, "poll {poll}");
        assert!(!leader.polls().await, "once an interval, poll {poll}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_of_the_leader_that_finds_nothing_new_takes_two_commits_and_one_that_publishes_too() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    let asked = |worker: &Worker| (worker.store.calls(), worker.store.commits());
    for number in 2..6 {
        sleep(INTERVAL / 2).await;
        assert!(!follower.polls().await);
        sleep(INTERVAL / 2).await;
        let (calls, commits) = asked(&leader);
        assert!(leader.asks().await.unwrap());
        if number % 2 == 0 {
            leader.receives(number).await.unwrap();
        } else {
            leader.provider.confirmed(&version(number - 1).unwrap()).await.unwrap();
        }
        assert_eq!(asked(&leader), (calls + 2, commits + 2));
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_stops_the_first_to_poll_after_its_lease_takes_over() {
    let (fleet, leader) = Fleet::warm().await;
    let followers: Vec<_> = (0..7).map(|_| fleet.worker()).collect();
    let granted = Instant::now();
    let mut heir = None;
    while heir.is_none() {
        for (number, follower) in followers.iter().enumerate() {
            sleep(INTERVAL / 7).await;
            if follower.polls().await {
                assert!(heir.replace(number).is_none(), "one only");
                let after = granted.elapsed();
                assert!(after >= LEASE && after < LEASE + INTERVAL / 7 + A_SECOND, "after {after:?}");
            }
        }
    }
    sleep(INTERVAL).await;
    assert!(!leader.polls().await, "who comes back follows");
    assert!(followers[heir.unwrap()].polls().await);
}

#[tokio::test(start_paused = true)]
async fn what_a_paused_leader_received_does_not_land_over_its_successor() {
    let (fleet, paused) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(paused.asks().await.unwrap());
    sleep(LEASE).await;
    let successor = fleet.worker();
    assert!(successor.asks().await.unwrap());
    successor.receives(3).await.unwrap();
    let before = fleet.state().await;
    paused.receives(2).await.unwrap();
    assert_eq!(fleet.state().await, before);
    sleep(A_SECOND).await;
    assert_eq!((paused.asks().await.unwrap(), paused.gets().await.unwrap()), (false, Some(3)));
    assert_eq!(fleet.stored().await, version(3), "nor at the next poll");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_releases_the_lease_but_not_the_interval() {
    let (fleet, leader) = Fleet::warm().await;
    leader.provider.shutdown().await;
    assert_eq!(fleet.state().await.lease, None);
    let next = fleet.worker();
    sleep(INTERVAL / 2).await;
    assert!(!next.polls().await);
    sleep(INTERVAL / 2).await;
    assert!(next.polls().await, "without waiting for the lease to lapse");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_the_lease_of_others_alone() {
    let (fleet, former) = Fleet::warm().await;
    sleep(LEASE).await;
    let leader = fleet.worker();
    assert!(leader.polls().await);
    let before = fleet.state().await;
    let follower = fleet.worker();
    follower.polls().await;
    for other in [former, follower, fleet.worker()] {
        other.provider.shutdown().await;
        assert_eq!(fleet.state().await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_every_call_is_refused_and_another_shutdown_does_nothing() {
    let (fleet, leader) = Fleet::warm().await;
    for worker in [leader, fleet.worker(), fleet.reader()] {
        worker.provider.shutdown().await;
        let calls = worker.store.calls();
        worker.provider.shutdown().await;
        assert_eq!(worker.asks().await.unwrap_err().code(), Code::Closed);
        assert_eq!(worker.gets().await.unwrap_err().code(), Code::Closed);
        assert_eq!(worker.receives(2).await.unwrap_err().code(), Code::Closed);
        assert_eq!(worker.store.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_absorbs_whatever_the_store_does() {
    for fault in [Fault::Fails, Fault::Hangs, Fault::FailsCommits, Fault::LosesReplies, Fault::RefusesCommits]
    {
        let (_fleet, leader) = Fleet::warm().await;
        leader.store.set(fault);
        settles_within(LIMIT, fault, leader.provider.shutdown()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_waits_while_an_old_snapshot_is_replaced() {
    let (fleet, leader) = Fleet::warm().await;
    sleep(10 * INTERVAL).await;
    assert!(leader.polls().await);
    let worker = fleet.worker();
    let asking = tokio::spawn(async move { (worker.asks().await.unwrap(), worker) });
    sleep(A_SECOND).await;
    let waited = !asking.is_finished();
    leader.receives(2).await.unwrap();
    let (granted, worker) = asking.await.unwrap();
    assert_eq!((waited, granted, worker.gets().await.unwrap()), (true, false, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_call_that_waits() {
    let fleet = Fleet::new();
    assert!(fleet.worker().asks().await.unwrap());
    let worker = Arc::new(fleet.worker());
    let waiting = tokio::spawn({
        let worker = worker.clone();
        async move { worker.asks().await }
    });
    sleep(A_SECOND).await;
    assert!(!waiting.is_finished());
    let closed = Instant::now();
    worker.provider.shutdown().await;
    assert!(!waiting.await.unwrap().unwrap());
    assert_eq!(closed.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_comes_after_the_shutdown_is_released() {
    let fleet = Fleet::new();
    let worker = Arc::new(fleet.worker());
    // Its commit takes a while, so that the shutdown finds no lease yet.
    worker.store.set(Fault::DelaysCommits);
    let asking = tokio::spawn({
        let worker = worker.clone();
        async move { worker.asks().await }
    });
    sleep(Duration::from_millis(5)).await;
    worker.provider.shutdown().await;
    assert!(!asking.await.unwrap().unwrap());
    let state = fleet.state().await;
    assert_eq!((state.fence, state.lease), (1, None));
    assert!(fleet.worker().asks().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_follower_looks_before_it_decides_however_seldom_it_polls() {
    let (fleet, leader) = Fleet::warm().await;
    let follower = fleet.worker();
    follower.polls().await;
    let calls = follower.store.calls();
    for _ in 0..3 {
        sleep(INTERVAL).await;
        assert!(leader.polls().await);
    }
    assert!(!follower.polls().await);
    assert_eq!(follower.store.calls() - calls, 1);
}
