//! A worker commits over the state that it knows, without reading it first.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::lease::Failure;
use posthog_flag_cache::state::State;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::memory::MemoryStore;
use tokio::time::sleep;

use super::fleet::{A_SECOND, Fleet, INTERVAL, Worker};
use crate::support::faulty_store::Fault;

/// Definitions that are as long as those of another number.
fn same_length(number: u64) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(format!(r#"{{"flags":[{{"key":"a","rollout":{}}}]}}"#, 10 + number)).unwrap())
}

/// Whether the store's bytes are what its state says.
async fn is_sound(store: &MemoryStore) -> bool {
    let (reading, bytes) = store.load(None).await.unwrap();
    let info = reading.state.snapshot;
    info.is_none_or(|info| Snapshot::decode(&bytes.unwrap(), &info.version, None).is_ok())
}

#[tokio::test(start_paused = true)]
async fn a_leader_fetches_although_the_stores_clock_was_set() {
    for step in [1_500, 5_000, 20_000, 40_000, 3_600_000, -1_500, -5_000, -3_600_000] {
        let (fleet, leader) = Fleet::warm().await;
        sleep(INTERVAL).await;
        leader.store.advance_clock(step);
        assert!(leader.polls().await, "{step} ms");
        assert!(!leader.polls().await, "once: {step} ms");
        sleep(INTERVAL).await;
        assert!(leader.polls().await, "the poll after {step} ms");
        let granted_at = fleet.state().await.granted_at.unwrap();
        let now = fleet.store.read().await.unwrap().now.saturating_add_signed(step);
        assert!(now.abs_diff(granted_at) < 1_000, "by the store's clock: {step} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_looks_again_only_if_the_stores_clock_differs_by_more_than_a_second() {
    for (step, is_known) in [(0, true), (1_000, true), (-1_000, true), (1_001, false), (-1_001, false)] {
        let (_fleet, leader) = Fleet::warm().await;
        sleep(INTERVAL + 2 * A_SECOND).await;
        leader.store.advance_clock(step);
        let calls = leader.store.calls();
        assert!(leader.asks().await.unwrap());
        assert_eq!(leader.store.calls() - calls == 1, is_known, "{step} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_fetches_once_an_interval_although_the_clocks_drift_apart() {
    for (interval, ppm) in [(3_600, 300), (3_600, -300), (21_600, 50), (30, 100)] {
        let interval = Duration::from_secs(interval);
        let fleet = Fleet::new();
        let millis = Given::Number(interval.as_millis() as f64);
        let leader = fleet.worker_with(&[("refreshIntervalMs", millis)]);
        assert!(leader.asks().await.unwrap());
        leader.receives(1).await.unwrap();
        for poll in 0..20 {
            sleep(interval).await;
            leader.store.advance_clock(interval.as_millis() as i64 * ppm / 1_000_000);
            assert!(leader.polls().await, "poll {poll}, {interval:?}, {ppm} ppm");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_counts_although_the_stores_clock_was_set_back() {
    let (_fleet, leader) = Fleet::warm().await;
    sleep(INTERVAL / 2).await;
    leader.store.advance_clock(-5_000);
    leader.provider.invalidate().await.unwrap();
    assert!(leader.polls().await);
}

#[tokio::test(start_paused = true)]
async fn of_two_overlapping_polls_of_a_leader_one_fetches() {
    for fault in [Fault::None, Fault::DelaysCommits] {
        let (fleet, leader) = Fleet::warm().await;
        for _ in 0..3 {
            sleep(INTERVAL).await;
            let fence = fleet.state().await.fence;
            leader.store.set(fault);
            let (first, second) = tokio::join!(leader.asks(), leader.asks());
            assert!(first.unwrap() != second.unwrap(), "{fault:?}");
            assert_eq!(fleet.state().await.fence, fence + 1);
            leader.store.set(Fault::None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn definitions_that_could_not_be_restored_yet_are_not_reported_as_those_of_the_store() {
    let fleet = Fleet::new();
    let leader = fleet.worker();
    assert!(leader.asks().await.unwrap());
    leader.provider.received(same_length(1), None).await.unwrap();
    let (old, bytes) = fleet.store.load(None).await.unwrap();
    sleep(INTERVAL).await;
    assert!(leader.asks().await.unwrap());
    leader.provider.received(same_length(2), None).await.unwrap();
    sleep(INTERVAL / 3).await;
    // A failover to a replica that lags behind, and soon after another one: only the first is repaired at once.
    for _ in 0..2 {
        fleet.overwrite(old.state.clone(), bytes.clone()).await;
        assert_eq!(leader.found().await.unwrap(), Some(same_length(2)));
        sleep(A_SECOND).await;
    }
    leader.provider.invalidate().await.unwrap();
    leader.provider.failed(Failure::Worker).await.unwrap();
    assert!(is_sound(&fleet.store).await);
    assert_eq!(fleet.reader().found().await.unwrap(), Some(same_length(1)));
}

/// Definitions of the same length, rollbacks, losses, faults, overlapping calls.
#[tokio::test(start_paused = true)]
async fn whatever_happens_the_bytes_are_those_that_the_state_names() {
    const FAULTS: [Fault; 6] = [
        Fault::LosesReplies,
        Fault::DelaysCommits,
        Fault::RepeatsCommits,
        Fault::FailsPublishes,
        Fault::FailsCommits,
        Fault::DelaysLoads,
    ];
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let fleet = Fleet::new();
        let workers: Vec<_> = (0..4).map(|_| fleet.worker()).collect();
        let mut past: Vec<(State, Bytes)> = Vec::new();
        for _ in 0..60 {
            let worker = random.usize(0..4);
            let (worker, other) = (&workers[worker], &workers[(worker + 1) % 4]);
            worker.store.set(FAULTS.get(random.usize(0..12)).copied().unwrap_or(Fault::None));
            match random.u8(0..10) {
                0..=3 => polls(worker, &mut random).await,
                4 => drop(worker.provider.invalidate().await),
                5 => {
                    let received = worker.provider.received(same_length(random.u64(0..5)), None);
                    drop(tokio::join!(received, other.provider.invalidate()));
                }
                6 => drop(worker.found().await),
                7 if !past.is_empty() => {
                    let (state, bytes) = past[random.usize(0..past.len())].clone();
                    fleet.overwrite(state, Some(bytes)).await;
                }
                8 if random.u8(0..4) == 0 => fleet.loses_everything().await,
                _ => sleep(Duration::from_millis(random.u64(0..40_000))).await,
            }
            worker.store.set(Fault::None);
            assert!(is_sound(&fleet.store).await, "seed {seed}");
            let (reading, bytes) = fleet.store.load(None).await.unwrap();
            past.extend(bytes.map(|bytes| (reading.state, bytes)));
        }
    }
}

/// One poll, with some outcome of the request.
async fn polls(worker: &Worker, random: &mut fastrand::Rng) {
    if matches!(worker.asks().await, Ok(false)) {
        return;
    }
    let provider = &worker.provider;
    match random.u8(0..4) {
        0 => drop(provider.failed(Failure::Worker).await),
        1 => {
            if let Some(version) = provider.plan().version {
                drop(provider.confirmed(&version).await);
            }
        }
        _ => drop(provider.received(same_length(random.u64(0..5)), None).await),
    }
}
