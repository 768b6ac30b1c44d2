//! What `clear` and `expiry` promise.

use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::state::State;
use tokio::task::JoinSet;

use super::{Place, load, publish, read_when};
use crate::support::content::{self, published, state};

pub async fn a_cleared_store_is_as_if_never_written(place: Place) {
    let store = place.store();
    publish(&*store, 0, 1).await;
    assert!(place.store().clear().await.unwrap());
    assert_eq!(load(&*store).await, (State::default(), None));
    // A commit upon what was there before is refused, as any other that comes too late.
    assert!(!store.commit(1, &state(2, Some(published(1).0)), None).await.unwrap().is_committed());
    publish(&*store, 0, 2).await;
    assert_eq!(load(&*place.store()).await, (state(2, Some(published(2).0)), Some(published(2).1)));
}

pub async fn clearing_an_empty_store_says_so_and_leaves_it_empty(place: Place) {
    let store = place.store();
    for _ in 0..2 {
        assert!(!store.clear().await.unwrap());
        assert_eq!(load(&*store).await, (State::default(), None));
    }
    publish(&*store, 0, 1).await;
    assert!(store.clear().await.unwrap());
    assert!(!store.clear().await.unwrap());
}

pub async fn clearing_leaves_other_projects_and_prefixes_alone(place: Place) {
    let stores = [("a", "b"), ("a", "c"), ("b", "b")].map(|(prefix, project)| {
        let text = |text: &str| Given::Text(text.into());
        place.store_of(&content::options(&[("keyPrefix", text(prefix)), ("projectKey", text(project))]))
    });
    for store in &stores {
        publish(&**store, 0, 1).await;
    }
    assert!(stores[0].clear().await.unwrap());
    for store in &stores[1..] {
        assert_eq!(load(&**store).await, (state(1, Some(published(1).0)), Some(published(1).1)));
    }
}

pub async fn the_time_until_everything_expires_is_reported(place: Place) {
    const MAX_AGE: Duration = Duration::from_secs(60);
    let age = |name| (name, Given::Number(MAX_AGE.as_millis() as f64));
    let store = place.store_of(&content::options(&[age("maxAgeMs"), age("refreshIntervalMs")]));
    assert_eq!(store.expiry().await.unwrap(), None);
    publish(&*store, 0, 1).await;
    let written_at = store.read().await.unwrap().now;
    read_when(&*store, |reading| reading.now >= written_at + 100).await;
    if matches!(place, Place::Deployed(..)) {
        assert_eq!(store.expiry().await.unwrap(), None, "the documented rights do without PTTL");
        return;
    }
    let left = store.expiry().await.unwrap().expect("it expires");
    assert!(left < MAX_AGE && left > MAX_AGE / 2, "{left:?}");
    store.clear().await.unwrap();
    assert_eq!(store.expiry().await.unwrap(), None);
}

pub async fn a_read_during_a_clear_returns_everything_or_nothing(place: Place) {
    const ROUNDS: u64 = 50;
    let writer = place.store();
    let mut readers = JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for _ in 0..3 {
        let (store, stopped) = (place.store(), stopped.clone());
        readers.spawn(async move {
            while !*stopped.borrow() {
                let (state, bytes) = load(&*store).await;
                assert_eq!(bytes, state.snapshot.is_some().then(|| published(state.revision).1));
            }
        });
    }
    for round in 1..=ROUNDS {
        publish(&*writer, 0, round).await;
        assert!(writer.clear().await.unwrap());
    }
    stop.send(true).unwrap();
    readers.join_all().await;
}
