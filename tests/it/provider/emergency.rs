//! A client without definitions that requests them although it was told not to.

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::worker::provider::Poll;
use tokio::time::{Instant, sleep};

use super::fleet::{A_SECOND, COLD_START_WAIT, Fleet, Worker, version};
use crate::support::faulty_store::Fault;

/// The version that its last call found.
fn found(poll: Poll) -> Option<String> {
    match poll {
        Poll::Fetch => None,
        Poll::Follow(found) => Some(found?.snapshot()?.version().to_owned()),
    }
}

/// A worker that fetches for the empty cache, and one that has waited for it in vain.
async fn start(fleet: &Fleet) -> (Worker, Worker) {
    let leader = fleet.worker_with(&[("coldStartWaitMs", Given::Number(60_000.0))]);
    assert!(leader.asks().await.unwrap());
    let other = fleet.worker();
    assert_eq!((other.asks().await.unwrap(), other.gets().await.unwrap()), (false, None));
    (leader, other)
}

#[tokio::test(start_paused = true)]
async fn it_waits_once_more_and_takes_what_another_worker_publishes() {
    let fleet = Fleet::new();
    let (leader, other) = start(&fleet).await;
    let publish = async {
        sleep(COLD_START_WAIT / 2).await;
        leader.receives(1).await.unwrap();
    };
    let (poll, ()) = tokio::join!(other.provider.poll_again(None), publish);
    assert_eq!(found(poll.unwrap()), version(1));
}

#[tokio::test(start_paused = true)]
async fn it_waits_no_longer_than_a_poll() {
    let fleet = Fleet::new();
    let (_leader, other) = start(&fleet).await;
    let began = Instant::now();
    assert!(matches!(other.provider.poll_again(None).await.unwrap(), Poll::Follow(None)));
    assert!(began.elapsed() >= COLD_START_WAIT && began.elapsed() < COLD_START_WAIT + A_SECOND);
    assert!(other.provider.plan().is_cache_empty);
}

#[tokio::test(start_paused = true)]
async fn it_gets_the_lease_when_the_leader_has_gone() {
    let fleet = Fleet::new();
    let (leader, other) = start(&fleet).await;
    leader.provider.shutdown().await;
    assert!(other.provider.poll_again(None).await.unwrap().fetches());
    other.provider.shutdown().await;
    let error = other.provider.poll_again(None).await.err();
    assert_eq!(error.map(|error| error.code()), Some(Code::Closed));
}

#[tokio::test(start_paused = true)]
async fn definitions_that_arrive_during_its_request_are_noticed_although_the_store_fails_for_a_while() {
    for fault in [Fault::None, Fault::Fails, Fault::Hangs] {
        let fleet = Fleet::new();
        let (leader, other) = start(&fleet).await;
        let ended = other.provider.end_of_request();
        other.store.set(fault);
        let publish = async {
            sleep(A_SECOND / 2).await;
            leader.receives(1).await.unwrap();
            sleep(A_SECOND).await;
            other.store.set(Fault::None);
        };
        let (arrived, ()) = tokio::join!(other.provider.arrival(None, ended), publish);
        assert_eq!(arrived.unwrap().unwrap().snapshot().unwrap().version(), version(1).unwrap(), "{fault:?}");
        assert!(!other.provider.plan().is_cache_empty);
    }
}

#[tokio::test(start_paused = true)]
async fn definitions_are_noticed_without_a_notice() {
    let fleet = Fleet::new();
    let (leader, other) = start(&fleet).await;
    let (arrival, began) = (other.provider.arrival(None, other.provider.end_of_request()), Instant::now());
    leader.receives(1).await.unwrap();
    assert!(arrival.await.unwrap().is_some());
    assert!(began.elapsed() <= A_SECOND);
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_after_the_request_has_ended_or_the_worker_is_shut_down() {
    let fleet = Fleet::new();
    let (_leader, other) = start(&fleet).await;
    let ended = other.provider.end_of_request();
    // Before the wait begins.
    other.provider.note_end_of_request();
    assert!(other.provider.arrival(None, ended).await.unwrap().is_none());
    let ended = other.provider.end_of_request();
    let (arrived, ()) = tokio::join!(other.provider.arrival(None, ended), other.provider.shutdown());
    assert!(arrived.unwrap().is_none());
}
