//! What holds while others commit.

use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::state::State;
use tokio::task::JoinSet;

use super::{Place, load, publish};
use crate::support::content::{published, state};

pub async fn of_concurrent_commits_on_one_revision_exactly_one_lands(place: Place) {
    const COMMITTERS: u64 = 16;
    let reader = place.store();
    for revision in 0..10 {
        let mut commits = JoinSet::new();
        for number in 0..COMMITTERS {
            let store = place.store();
            commits.spawn(async move {
                let (info, bytes) = published(number);
                let next = State { fence: number, ..state(revision + 1, Some(info)) };
                store
                    .commit(revision, &next, Some(bytes.into()))
                    .await
                    .unwrap()
                    .is_committed()
                    .then_some(number)
            });
        }
        let winners: Vec<_> = commits.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "winners: {winners:?}");
        let (state, bytes) = load(&*reader).await;
        assert_eq!((state.fence, bytes), (winners[0], Some(published(winners[0]).1)));
    }
}

pub async fn a_reader_never_sees_bytes_without_their_state_while_others_publish(place: Place) {
    const VERSIONS_SEEN_BY_EACH: u64 = 100;
    let publisher = place.store();
    publish(&*publisher, 0, 1).await;
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let store = place.store();
        readers.spawn(async move {
            let mut known: Option<String> = None;
            let mut versions_seen = 0;
            while versions_seen < VERSIONS_SEEN_BY_EACH {
                let (reading, bytes) = store.load(known.as_deref()).await.unwrap();
                let info = reading.state.snapshot.expect("a snapshot is never missing");
                assert_eq!(info, published(reading.state.revision).0);
                assert_eq!(
                    bytes.is_some(),
                    known.as_ref() != Some(&info.version),
                    "bytes where they are news"
                );
                if let Some(bytes) = bytes {
                    Snapshot::decode(&bytes, &info.version, None).expect("the bytes of that very version");
                    known = Some(info.version);
                    versions_seen += 1;
                }
                assert!(store.read().await.unwrap().state.snapshot.is_some(), "a snapshot is never missing");
            }
        });
    }
    let mut revision = 1;
    while !readers.is_empty() {
        publish(&*publisher, revision, revision + 1).await;
        revision += 1;
        if let Some(reader) = readers.try_join_next() {
            reader.unwrap();
        }
    }
}
