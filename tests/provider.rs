//! The four methods over a store in memory, while time is paused: nothing here waits really.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/content.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod content;
#[path = "support/faulty_store.rs"]
mod faulty_store;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::error::{Code, Result};
use posthog_flag_cache::lease::{Lease, State};
use posthog_flag_cache::options::{Given, Options};
use posthog_flag_cache::provider::{Provider, Source};
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::memory::MemoryStore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use content::{definitions, published};
use faulty_store::{Fault, FaultyStore};

const INTERVAL: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_secs(45);
const COLD_START_WAIT: Duration = Duration::from_secs(5);
const A_SECOND: Duration = Duration::from_secs(1);
/// `connectTimeoutMs` and two of `commandTimeoutMs`: what a method takes at most, without the wait.
const LIMIT: Duration = Duration::from_secs(4);

/// One worker as posthog-node drives it, with a store handle of its own over the fleet's store.
struct Worker {
    provider: Provider,
    store: Arc<FaultyStore>,
}

impl Worker {
    async fn asks(&self) -> Result<bool> {
        self.provider.should_fetch().await
    }

    async fn receives(&self, number: u64) -> Result<()> {
        self.provider.received(definitions(number).text().to_owned(), Source::Client).await.map(|_| ())
    }

    /// The number of the definitions that it gets.
    async fn gets(&self) -> Result<Option<u64>> {
        let snapshot = self.provider.get().await?;
        Ok(snapshot.map(|snapshot| (0..100).find(|&number| definitions(number) == *snapshot).unwrap()))
    }

    /// One poll at which the API, if asked, answers 304: whether it was asked.
    async fn polls(&self) -> bool {
        let asked = self.asks().await.unwrap();
        if !asked {
            self.gets().await.unwrap();
        }
        asked
    }
}

struct Fleet {
    store: Arc<MemoryStore>,
}

impl Fleet {
    fn new() -> Self {
        Fleet { store: Arc::new(MemoryStore::new(Duration::from_secs(86_400))) }
    }

    /// A fleet whose first worker has fetched and published definitions number 1.
    async fn warm() -> (Self, Worker) {
        let fleet = Fleet::new();
        let leader = fleet.worker();
        assert!(leader.asks().await.unwrap());
        leader.receives(1).await.unwrap();
        (fleet, leader)
    }

    fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    fn reader(&self) -> Worker {
        self.worker_with(&[("role", Given::Text("reader".into()))])
    }

    fn worker_with(&self, given: &[(&str, Given)]) -> Worker {
        let memory = [("url", Given::Text("memory:".into()))];
        let given: Vec<_> = given.iter().cloned().chain(memory).collect();
        let options: Options = content::options(&given);
        let store = FaultyStore::over(self.store.clone());
        Worker { provider: Provider::new(&options, store.clone()), store }
    }

    async fn state(&self) -> State {
        self.store.read().await.unwrap().state
    }

    async fn stored(&self) -> Option<String> {
        self.state().await.snapshot.map(|snapshot| snapshot.version)
    }

    async fn overwrite(&self, next: State, bytes: Option<Bytes>) {
        let revision = self.state().await.revision;
        assert!(self.store.commit(revision, &next, bytes).await.unwrap());
    }

    async fn loses_everything(&self) {
        self.overwrite(State::default(), None).await;
    }

    /// Other bytes of the same length.
    async fn is_damaged(&self) {
        let state = self.state().await;
        let length = usize::try_from(state.snapshot.as_ref().unwrap().bytes).unwrap();
        self.overwrite(state, Some(vec![b' '; length].into())).await;
    }
}

fn version(number: u64) -> Option<String> {
    Some(definitions(number).version().to_owned())
}

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
async fn when_the_first_fetcher_dies_one_of_those_who_wait_takes_over() {
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
async fn without_a_cold_start_wait_nobody_waits() {
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
    for successor_has_published in [false, true] {
        let (fleet, paused) = Fleet::warm().await;
        sleep(INTERVAL).await;
        assert!(paused.asks().await.unwrap());
        sleep(LEASE).await;
        let successor = fleet.worker();
        assert!(successor.asks().await.unwrap());
        if successor_has_published {
            successor.receives(3).await.unwrap();
        }
        let before = fleet.state().await;
        paused.receives(2).await.unwrap();
        assert_eq!(fleet.state().await, before);
        if !successor_has_published {
            successor.receives(3).await.unwrap();
        }
        sleep(A_SECOND).await;
        assert_eq!((paused.asks().await.unwrap(), paused.gets().await.unwrap()), (false, Some(3)));
        assert_eq!(fleet.stored().await, version(3), "nor at the next poll");
    }
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
async fn a_store_that_lost_everything_is_filled_by_whoever_polls_first_and_nobody_fetches_early() {
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
async fn damaged_definitions_are_replaced_by_what_a_worker_holds() {
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
async fn damaged_definitions_are_replaced_although_whoever_holds_them_sees_no_change() {
    let (fleet, leader) = Fleet::warm().await;
    fleet.is_damaged().await;
    fleet.worker().asks().await.unwrap();
    sleep(INTERVAL).await;
    leader.polls().await;
    let fresh = fleet.worker();
    assert_eq!((fresh.asks().await.unwrap(), fresh.gets().await.unwrap()), (false, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn damaged_definitions_are_fetched_anew_when_nobody_holds_any() {
    let (fleet, leader) = Fleet::warm().await;
    leader.provider.shutdown().await;
    fleet.is_damaged().await;
    let fresh = fleet.worker();
    assert!(fresh.asks().await.unwrap(), "an empty cache is due");
    fresh.receives(1).await.unwrap();
    assert_eq!(fleet.worker().gets().await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn damaged_definitions_are_an_error_for_whoever_only_reads() {
    let (fleet, _leader) = Fleet::warm().await;
    fleet.is_damaged().await;
    let reader = fleet.reader();
    assert_eq!(reader.gets().await.unwrap_err().code(), Code::Corrupt);
    assert!(!reader.asks().await.unwrap());
    assert_eq!(reader.gets().await.unwrap_err().code(), Code::Corrupt);
}

#[tokio::test(start_paused = true)]
async fn a_store_out_of_reach_is_an_error_by_default() {
    let (fleet, leader) = Fleet::warm().await;
    for worker in [leader, fleet.worker()] {
        worker.store.set(Fault::Fails);
        assert_eq!(worker.asks().await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(worker.gets().await.unwrap_err().code(), Code::Unavailable);
        worker.store.set(Fault::None);
        assert_eq!(worker.gets().await.unwrap(), Some(1), "and none afterwards");
    }
}

#[tokio::test(start_paused = true)]
async fn where_stale_definitions_are_wanted_they_serve_until_they_are_too_old() {
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
    let held = follower.provider.get().await.unwrap().unwrap();
    for _ in 0..3 {
        sleep(INTERVAL).await;
        assert!(leader.polls().await);
        assert!(!follower.polls().await);
        assert!(Arc::ptr_eq(&held, &follower.provider.get().await.unwrap().unwrap()));
    }
    leader.receives(2).await.unwrap();
    assert!(!Arc::ptr_eq(&held, &follower.provider.get().await.unwrap().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn definitions_without_flags_are_refused_and_change_nothing() {
    let (fleet, leader) = Fleet::warm().await;
    let before = fleet.state().await;
    for text in ["", "null", "[]", "{}", r#"{"flags":{}}"#] {
        let error = leader.provider.received(text.to_owned(), Source::Client).await.unwrap_err();
        assert_eq!(error.code(), Code::Data, "{text}");
    }
    sleep(A_SECOND).await;
    leader.polls().await;
    assert_eq!(fleet.state().await, before);
}

async fn settles_within<T>(limit: Duration, fault: Fault, work: impl Future<Output = T>) {
    let started = Instant::now();
    let settled = tokio::time::timeout(2 * limit, work).await.is_ok();
    assert!(settled && started.elapsed() <= limit, "{fault:?}: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_reply_was_lost_publishes_although_there_was_one_before() {
    let (fleet, leader) = Fleet::warm().await;
    sleep(INTERVAL).await;
    leader.store.set(Fault::LosesReplies);
    assert!(leader.asks().await.is_err(), "posthog-node fetches all the same");
    leader.store.set(Fault::None);
    assert_eq!(fleet.state().await.fence, 2, "the grant landed");
    leader.receives(2).await.unwrap();
    assert_eq!(fleet.stored().await, version(2));
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
