//! A worker that cannot reach PostHog, next to others that can.

use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::slices::Definitions;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::lease::Failure;
use posthog_flag_cache::worker::provider::Poll;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::fleet::{A_SECOND, COLD_START_WAIT, Fleet, INTERVAL, Worker};
use crate::support::faulty_store::Fault;

impl Worker {
    /// As `flagCache.fetch` tells it.
    async fn fails(&self, failure: Failure) {
        self.provider.plan();
        self.provider.failed(failure).await.unwrap();
    }

    fn status_counts(&self) -> (u32, u32) {
        let status = self.provider.status();
        (status.failed_fetches, status.fleet_failed_fetches)
    }
}

#[tokio::test(start_paused = true)]
async fn on_an_empty_cache_the_next_worker_fetches_as_soon_as_the_first_has_failed() {
    for failure in [Failure::Worker, Failure::Paused(None), Failure::Refused(None)] {
        let fleet = Fleet::new();
        let sick = fleet.worker();
        assert!(sick.asks().await.unwrap());
        let mut asking = JoinSet::new();
        for _ in 0..4 {
            let worker = fleet.worker();
            asking.spawn(async move { (worker.asks().await.unwrap(), worker) });
        }
        sleep(A_SECOND).await;
        let failed = Instant::now();
        sick.fails(failure).await;
        let (granted, heir) = asking.join_next().await.unwrap().unwrap();
        assert!(granted && failed.elapsed() < Duration::from_millis(10), "{:?}", failed.elapsed());
        heir.receives(1).await.unwrap();
        for (granted, worker) in asking.join_all().await {
            assert_eq!((granted, worker.gets().await.unwrap()), (false, Some(1)));
        }
        assert_eq!((sick.asks().await.unwrap(), sick.gets().await.unwrap()), (false, Some(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn if_no_failure_is_reported_the_next_poll_of_the_worker_reports_it() {
    let fleet = Fleet::new();
    let sick = fleet.worker();
    assert!(sick.asks().await.unwrap());
    let healthy = fleet.worker();
    let asking = tokio::spawn(async move { (healthy.asks().await.unwrap(), healthy) });
    sleep(A_SECOND).await;
    assert!(!asking.is_finished());
    let polling = tokio::spawn(async move { (sick.asks().await.unwrap(), sick) });
    let (granted, healthy) = asking.await.unwrap();
    assert!(granted);
    healthy.receives(1).await.unwrap();
    let (granted, sick) = polling.await.unwrap();
    assert_eq!((granted, sick.gets().await.unwrap()), (false, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn if_the_store_loses_the_report_of_a_failure_the_next_poll_of_the_worker_repeats_it() {
    let (fleet, sick) = Fleet::warm().await;
    let healthy = fleet.worker();
    sleep(INTERVAL).await;
    assert!(sick.asks().await.unwrap());
    assert!(!healthy.polls().await, "it sees the lease");
    sick.fails(Failure::Worker).await;
    fleet.loses_everything().await;
    healthy.gets().await.unwrap();
    assert!(fleet.state().await.lease.is_some(), "it restores the lease, too");
    assert!(!healthy.asks().await.unwrap());
    assert!(!sick.asks().await.unwrap());
    assert_eq!(fleet.state().await.lease, None);
    assert!(healthy.asks().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn alone_on_an_empty_cache_it_tries_again_after_moments_that_double() {
    let fleet = Fleet::new();
    let sick = fleet.worker();
    assert!(sick.asks().await.unwrap());
    for delay in [250, 500, 1_000, 2_000] {
        sick.fails(Failure::Worker).await;
        assert!(sick.provider.plan().pause.is_some(), "an emergency waits too");
        let failed = Instant::now();
        assert!(sick.asks().await.unwrap());
        assert_eq!(failed.elapsed(), Duration::from_millis(delay));
    }
    sick.receives(1).await.unwrap();
    assert_eq!(sick.status_counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_edit_reaches_the_fleet_within_three_intervals_even_with_only_one_healthy_worker() {
    for workers in [1, 2, 8] {
        let (fleet, leader) = Fleet::warm().await;
        let edited = Instant::now();
        let mut fleet_of: Vec<_> = (1..workers).map(|_| fleet.worker()).collect();
        for worker in &fleet_of {
            worker.polls().await;
        }
        // All poll at the same moments; the healthy one comes last.
        fleet_of.insert(0, leader);
        let healthy = fleet_of.len() - 1;
        let mut found = None;
        while found.is_none() {
            sleep(INTERVAL).await;
            let mut polling = JoinSet::new();
            for (number, worker) in std::mem::take(&mut fleet_of).into_iter().enumerate() {
                polling.spawn(async move {
                    let granted = worker.asks().await.unwrap();
                    match granted {
                        true if number == healthy => worker.receives(2).await.unwrap(),
                        true => worker.fails(Failure::Worker).await,
                        false => drop(worker.gets().await.unwrap()),
                    }
                    (number, granted, worker)
                });
            }
            let mut polled = polling.join_all().await;
            polled.sort_by_key(|(number, ..)| *number);
            found = polled.iter().position(|(number, granted, _)| *granted && *number == healthy);
            fleet_of = polled.into_iter().map(|(.., worker)| worker).collect();
        }
        assert!(edited.elapsed() <= 3 * INTERVAL, "{workers} workers: {:?}", edited.elapsed());
        sleep(A_SECOND).await;
        for worker in &fleet_of {
            worker.asks().await.unwrap();
            assert_eq!(worker.gets().await.unwrap(), Some(2), "the sick ones follow");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_fails_follows_and_its_heir_is_the_leader_from_then_on() {
    let (fleet, sick) = Fleet::warm().await;
    let heir = fleet.worker();
    heir.polls().await;
    sleep(INTERVAL).await;
    assert!(sick.asks().await.unwrap());
    sick.fails(Failure::Worker).await;
    assert_eq!(sick.status_counts(), (1, 1));
    assert!(heir.asks().await.unwrap(), "at its next poll");
    heir.receives(2).await.unwrap();
    for _ in 0..4 {
        sleep(INTERVAL).await;
        assert!(!sick.polls().await);
        assert!(heir.polls().await);
    }
    assert_eq!(sick.status_counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_definitions_waits_for_the_heir_as_long_as_one_that_starts() {
    let (fleet, sick) = Fleet::warm().await;
    let [heir, other] = [(); 2].map(|()| fleet.worker());
    for worker in [&heir, &other] {
        worker.polls().await;
    }
    sleep(INTERVAL).await;
    assert!(sick.asks().await.unwrap());
    sick.fails(Failure::Worker).await;
    assert!(heir.asks().await.unwrap());
    let began = Instant::now();
    assert!(other.asks().await.unwrap(), "the heir does not answer");
    assert_eq!(began.elapsed(), COLD_START_WAIT, "longer than the limit of a call that does not wait");
}

#[tokio::test(start_paused = true)]
async fn alone_it_tries_again_within_two_intervals() {
    let (_fleet, sick) = Fleet::warm().await;
    for _ in 0..3 {
        sleep(INTERVAL).await;
        assert!(sick.asks().await.unwrap());
        sick.fails(Failure::Worker).await;
        sleep(INTERVAL).await;
        assert!(!sick.polls().await, "the others would come first");
    }
}

#[tokio::test(start_paused = true)]
async fn it_stands_back_although_it_could_not_tell_the_others() {
    let (fleet, sick) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(sick.asks().await.unwrap());
    sick.store.set(Fault::Fails);
    sick.provider.plan();
    assert!(sick.provider.failed(Failure::Worker).await.is_err());
    sick.store.set(Fault::None);
    sleep(INTERVAL).await;
    assert!(!sick.polls().await);
    sleep(INTERVAL).await;
    assert!(fleet.worker().polls().await, "its lease has lapsed");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_while_the_fleet_pauses_or_tries_again_takes_what_is_stored_at_once() {
    let (fleet, leader) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.fails(Failure::Paused(None)).await;
    let starts = async || {
        let began = Instant::now();
        let worker = fleet.worker();
        assert!(!worker.asks().await.unwrap());
        assert_eq!((worker.gets().await.unwrap(), began.elapsed()), (Some(1), Duration::ZERO));
        worker
    };
    sleep(INTERVAL - COLD_START_WAIT).await;
    let next = starts().await;
    sleep(COLD_START_WAIT).await;
    assert!(next.asks().await.unwrap());
    starts().await;
    // The definitions grow old while nobody can fetch new ones.
    for _ in 0..3 {
        next.fails(Failure::Worker).await;
        sleep(2 * INTERVAL).await;
        assert!(next.asks().await.unwrap());
        starts().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_posthog_asked_for_holds_for_the_whole_fleet() {
    let (fleet, leader) = Fleet::warm().await;
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.fails(Failure::Paused(Some(4 * INTERVAL))).await;
    let other = fleet.worker();
    for _ in 0..3 {
        sleep(INTERVAL).await;
        assert!(!leader.polls().await && !other.polls().await);
    }
    sleep(INTERVAL).await;
    assert!(other.polls().await);
}

#[tokio::test(start_paused = true)]
async fn when_posthog_refuses_all_keep_their_definitions_or_all_drop_them_and_each_reports_it_once() {
    for (word, keeps) in [("keep", true), ("clear", false)] {
        let given = [("whenRefused", Given::Text(word.into()))];
        let fleet = Fleet::new();
        let (leader, follower) = (fleet.worker_with(&given), fleet.worker_with(&given));
        assert!(leader.asks().await.unwrap());
        leader.receives(1).await.unwrap();
        let mut reports = [leader.provider.reports(), follower.provider.reports()];
        sleep(INTERVAL).await;
        assert!(leader.asks().await.unwrap());
        leader.fails(Failure::Refused(None)).await;
        for worker in [&follower, &leader, &follower, &leader] {
            let Poll::Follow(Some(found)) = worker.provider.poll(None).await.unwrap() else {
                panic!("{word}")
            };
            assert_eq!(matches!(found, Definitions::Cleared), !keeps, "{word}");
            assert_eq!(
                matches!(worker.provider.get(None).await.unwrap(), Some(Definitions::Cleared)),
                !keeps
            );
        }
        for reports in &mut reports {
            assert_eq!(reports.try_recv().unwrap().code(), Code::Api);
            assert!(reports.try_recv().is_err(), "once");
        }

        sleep(2 * INTERVAL).await;
        assert!(leader.asks().await.unwrap() || follower.asks().await.unwrap());
        let granted = if fleet.state().await.lease.unwrap().owner == leader.provider.status().worker {
            &leader
        } else {
            &follower
        };
        granted.receives(2).await.unwrap();
        for worker in [&leader, &follower] {
            worker.asks().await.unwrap();
            assert_eq!(worker.gets().await.unwrap(), Some(2), "as soon as PostHog answers again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_costs_the_others_the_cold_start_wait() {
    let fleet = Fleet::new();
    let hanging = fleet.worker();
    assert!(hanging.asks().await.unwrap());
    hanging.provider.plan();
    let (started, other) = (Instant::now(), fleet.worker());
    sleep(A_SECOND).await;
    assert!(other.asks().await.unwrap());
    assert_eq!(started.elapsed(), COLD_START_WAIT);
}
