//! What a client tells of its requests, and what it asks besides polling.

use std::sync::Arc;
use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::slices::Definitions;
use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::lease::Failure;
use posthog_flag_cache::store::Store;
use tokio::time::sleep;

use super::fleet::{A_SECOND, Fleet, INTERVAL, Worker, version};
use crate::support::content::definitions;
use crate::support::faulty_store::Fault;

#[tokio::test(start_paused = true)]
async fn an_answer_without_definitions_is_a_failure_unless_its_fetch_has_told_of_it() {
    for is_observed in [false, true] {
        let (fleet, leader) = Fleet::warm().await;
        sleep(INTERVAL).await;
        assert!(leader.asks().await.unwrap());
        if is_observed {
            leader.provider.plan();
        }
        leader.provider.note_unusable(&Error::new(Code::Data, "no flags")).await;
        assert_eq!(fleet.state().await.failures, u32::from(!is_observed));
        assert_eq!(fleet.worker().asks().await.unwrap(), !is_observed, "the next one fetches at once");
    }
}

#[tokio::test(start_paused = true)]
async fn definitions_that_cannot_be_shared_make_those_in_the_store_old() {
    for (code, is_old) in [(Code::TooLarge, true), (Code::Timeout, true), (Code::Unavailable, false)] {
        let (fleet, leader) = Fleet::warm().await;
        leader.provider.note_unusable(&Error::new(code, "for the test")).await;
        assert_eq!(fleet.state().await.outdated_at.is_some(), is_old, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_invalidates_fetches_once_at_its_next_poll() {
    let (fleet, leader) = Fleet::warm().await;
    let other = fleet.worker();
    assert!(!other.polls().await);
    sleep(A_SECOND).await;
    other.provider.invalidate().await.unwrap();
    assert!(other.asks().await.unwrap());
    other.receives(2).await.unwrap();
    assert!(!other.polls().await && !leader.polls().await);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_definitions_is_told_how_long_it_stands_back() {
    let fleet = Fleet::new();
    let sick = fleet.worker();
    assert!(sick.asks().await.unwrap());
    sick.provider.failed(Failure::Worker).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(sick.provider.plan().pause, Some(Duration::from_millis(150)));
    let counted = |worker: &Worker| worker.provider.status().counters.errors[&Code::Api];
    assert_eq!(counted(&sick), 1);
    sick.provider.failed(Failure::Worker).await.unwrap();
    assert_eq!(counted(&sick), 2);
}

#[tokio::test(start_paused = true)]
async fn the_newest_definitions_are_found_by_version_and_delivered_relative_to_the_known_ones() {
    let (fleet, leader) = Fleet::warm().await;
    let provider = &leader.provider;
    assert_eq!(provider.newest(&version(1).unwrap()).as_deref(), Some(&definitions(1)));
    assert_eq!(provider.newest(&version(2).unwrap()), None);
    assert_eq!(provider.news().await.unwrap(), None, "it has what the store has");
    assert_eq!(fleet.worker().provider.news().await.unwrap(), version(1));
    assert!(fleet.store.trouble().is_none(), "a store in memory has none");

    let delivered =
        async |known: Option<String>| provider.deliver(Arc::new(definitions(1)), known).await.unwrap().slices;
    let whole = delivered(None).await;
    assert_ne!(delivered(version(1)).await, whole, "the caller has all of it");
    assert_eq!(delivered(version(2)).await, whole, "the caller has something else");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_asked_keeps_what_it_has_when_it_shuts_down() {
    let (fleet, leader) = Fleet::warm().await;
    // It reads the store, and has something to publish; but a client that never asks holds no lease.
    let silent = fleet.worker();
    silent.gets().await.unwrap();
    let calls = silent.store.calls();
    silent.provider.shutdown().await;
    assert_eq!(silent.store.calls(), calls);
    let calls = leader.store.calls();
    leader.provider.shutdown().await;
    assert!(leader.store.calls() > calls);
}

#[tokio::test(start_paused = true)]
async fn refused_definitions_that_are_to_be_dropped_do_not_serve_while_the_store_is_gone() {
    for (word, serves) in [("keep", true), ("clear", false)] {
        let fleet = Fleet::new();
        let given = ["whenRefused", "whenUnavailable"].into_iter().zip([word, "stale"]);
        let given: Vec<_> = given.map(|(name, word)| (name, Given::Text(word.into()))).collect();
        let leader = fleet.worker_with(&given);
        assert!(leader.asks().await.unwrap());
        leader.receives(1).await.unwrap();
        leader.provider.failed(Failure::Refused(None)).await.unwrap();
        leader.store.set(Fault::Fails);
        assert_eq!(leader.provider.get(None).await.is_ok(), serves, "{word}");
    }
    let (_fleet, leader) = Fleet::warm().await;
    sleep(3 * INTERVAL).await;
    leader.store.set(Fault::Fails);
    assert!(leader.provider.get(None).await.is_err(), "nor those of a fleet that is to fetch instead");
    leader.store.set(Fault::None);
    assert!(matches!(leader.provider.get(version(1)).await.unwrap(), Some(Definitions::Unchanged(_))));
}
