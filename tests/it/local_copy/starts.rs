//! What a process starts with.

use super::host::{Host, copied, etag, now, reader, stale, text};
use crate::support::content::{definitions, published};
use crate::support::faulty_store::Fault;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::patch::{Base, make};
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::{SnapshotInfo, State};
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::local_copy::LocalCopy;
use posthog_flag_cache::store::notices::Published;
use posthog_flag_cache::worker::mirror::announcements::Announcement;

#[tokio::test]
async fn a_process_whose_host_has_the_definitions_loads_none_from_the_store() {
    let host = Host::warm().await;
    for given in [vec![], vec![reader()]] {
        let process = host.process(&given);
        assert!(!process.provider.poll(None).await.unwrap().fetches());
        assert_eq!(process.gets().await.unwrap(), Some(1));
        assert_eq!((process.store.loaded(), process.is_on_copy()), (0, Some(false)));
        assert!(process.shared.copy().unwrap().loaded().is_none(), "nothing is in memory twice");
    }
}

#[tokio::test]
async fn a_process_never_evaluates_older_definitions_than_the_store_has() {
    let host = Host::warm().await;
    host.publishes(2).await;
    let process = host.process(&[stale()]);
    assert!(!process.provider.poll(None).await.unwrap().fetches());
    assert_eq!((process.gets().await.unwrap(), process.store.loaded()), (Some(2), 1));
    process.store.set(Fault::Fails);
    assert_eq!((process.gets().await.unwrap(), process.is_on_copy()), (Some(2), Some(false)));
    assert_eq!(host.has(2).await.etag, Some(etag(2)), "and the copy follows");
}

#[tokio::test]
async fn a_patch_to_the_copy_that_does_not_fit_costs_the_whole() {
    let host = Host::warm().await;
    host.publishes(2).await;
    let process = host.process(&[]);
    process.store.set(Fault::DamagesPatches);
    assert_eq!((process.gets().await.unwrap(), process.store.loaded()), (Some(2), 1));
}

#[tokio::test]
async fn without_the_store_a_process_has_the_copy_and_says_so() {
    let host = Host::warm().await;
    let process = host.cut_off(&[stale()]);
    assert_eq!(process.is_on_copy(), None);
    assert!(!process.provider.poll(None).await.unwrap().fetches());
    assert_eq!(process.gets().await.unwrap(), Some(1));
    let held = process.provider.status().held.unwrap();
    assert!(held.is_local_copy && held.age.is_some());
    assert_eq!((held.version.as_str(), held.etag), (definitions(1).version(), Some(etag(1))));

    process.store.set(Fault::None);
    assert_eq!((process.gets().await.unwrap(), process.is_on_copy()), (Some(1), Some(false)));
}

#[tokio::test]
async fn a_worker_that_must_fetch_without_the_store_asks_posthog_first() {
    let host = Host::warm().await;
    let process = host.cut_off(&[]);
    assert_eq!(process.provider.poll(None).await.map(|_| ()).unwrap_err().code(), Code::Unavailable);
    assert!(process.gets().await.is_err());
    assert_eq!(process.is_on_copy(), None);
    let plan = process.provider.plan();
    assert_eq!((plan.etag, plan.version), (None, None), "the request asks for everything");
    let copied = plan.copied.unwrap();
    assert_eq!(*process.provider.newest(&copied).unwrap(), definitions(1), "should the request fail");
}

#[tokio::test]
async fn a_worker_that_only_reads_has_the_copy_whatever_the_others_do_without_the_store() {
    let host = Host::warm().await;
    let with_role = host.cut_off(&[reader()]);
    assert!(!with_role.provider.poll(None).await.unwrap().fetches());
    let without_key = host.cut_off(&[]);
    for process in [with_role, without_key] {
        assert_eq!((process.gets().await.unwrap(), process.is_on_copy()), (Some(1), Some(true)));
    }
}

#[tokio::test]
async fn the_copy_gives_way_to_what_the_process_has_fetched_itself() {
    let host = Host::warm().await;
    let process = host.cut_off(&[]);
    process.provider.poll(None).await.map(|_| ()).unwrap_err();
    process.provider.received(definitions(2).into(), Some(etag(2))).await.unwrap_err();
    let plan = process.provider.plan();
    assert_eq!((plan.copied, plan.version.as_deref()), (None, Some(definitions(2).version())));
    assert_eq!(host.has(2).await.etag, Some(etag(2)), "the next process has it, too");
}

#[tokio::test]
async fn definitions_that_cannot_be_shared_are_not_taken_for_the_copy() {
    let host = Host::warm().await;
    let process = host.cut_off(&[]);
    process.provider.poll(None).await.map(|_| ()).unwrap_err();
    process.provider.deliver(definitions(2).into(), None).await.unwrap();
    process.provider.unshareable().await.unwrap_err();
    assert_eq!(process.is_on_copy(), None);
}

#[tokio::test]
async fn a_copy_that_is_too_old_or_from_the_future_is_no_start() {
    let host = Host::warm().await;
    let a_day = 24 * 60 * 60;
    for (ago, counts) in [(a_day - 60, true), (a_day + 1, false), (-30, true), (-3_600, false)] {
        host.confirmed_ago(ago);
        let process = host.cut_off(&[stale()]);
        let found = process.provider.poll(None).await;
        assert_eq!(found.is_ok(), counts, "{ago} s ago");
        assert_eq!(process.provider.plan().copied.is_some(), counts, "{ago} s ago");
        assert_eq!(host.cut_off(&[reader()]).gets().await.is_ok(), counts, "{ago} s ago");
    }
}

#[tokio::test]
async fn a_copy_from_the_future_is_written_again() {
    let host = Host::warm().await;
    host.confirmed_ago(-3_600);
    assert_eq!(host.process(&[]).gets().await.unwrap(), Some(1));
    host.has_what(|found| found.confirmed_at <= now()).await;
}

#[tokio::test]
async fn the_copy_never_fills_a_store_that_is_empty() {
    let host = Host::warm().await;
    host.content.clear().await.unwrap();
    let process = host.process(&[stale(), ("coldStartWaitMs", Given::Number(0.0))]);
    assert!(process.provider.poll(None).await.unwrap().fetches(), "posthog-node fetches");
    assert_eq!(process.gets().await.unwrap(), None);
    process.provider.poll(None).await.unwrap();
    process.provider.shutdown().await;
    assert_eq!(host.reading().await.state.snapshot, None);
    assert_eq!(process.provider.status().counters.heals, 0);
}

#[tokio::test]
async fn definitions_that_the_store_has_confirmed_are_restored_as_usual() {
    let host = Host::warm().await;
    let process = host.process(&[]);
    assert_eq!(process.gets().await.unwrap(), Some(1));
    host.content.clear().await.unwrap();
    assert_eq!(process.gets().await.unwrap(), Some(1));
    assert!(host.reading().await.state.snapshot.is_some());
}

#[tokio::test]
async fn where_a_refusal_clears_the_definitions_a_copy_from_then_is_no_start() {
    let host = Host::warm().await;
    let revision = host.reading().await.state.revision;
    let refused = State { revision: revision + 1, refused_at: Some(now()), ..host.reading().await.state };
    assert!(host.content.commit(revision, &refused, None).await.unwrap().is_committed());
    host.process(&[]).gets().await.unwrap();
    host.has_what(|found| found.is_refused).await;
    let clear = ("whenRefused", text("clear"));
    assert!(host.cut_off(&[stale(), clear.clone()]).provider.poll(None).await.is_err());
    assert!(host.cut_off(&[clear]).provider.plan().copied.is_none());
    assert!(host.cut_off(&[stale()]).provider.poll(None).await.is_ok());
}

#[tokio::test]
async fn stores_projects_and_prefixes_have_copies_of_their_own() {
    let host = Host::new();
    let given = [
        vec![],
        vec![("projectKey", text("phc_other"))],
        vec![("keyPrefix", text("other"))],
        vec![("url", text("redis://127.0.0.1:1/1"))],
        vec![("url", text("redis://127.0.0.1:2"))],
        vec![("url", text("redis-cluster://127.0.0.1:1"))],
    ];
    let open = |given: &[(&str, Given)]| LocalCopy::open(&host.options(given)).unwrap();
    for (number, given) in given.iter().enumerate() {
        open(given).keep(copied(number as u64, now())).await.unwrap();
    }
    for (number, given) in given.iter().enumerate() {
        let found = open(given).read().await.unwrap().unwrap();
        assert_eq!(*found.snapshot, definitions(number as u64));
    }
    let password = [("password", text("s3cr3t"))];
    assert_eq!(open(&password).directory().path(), open(&[]).directory().path(), "whoever logs in");
}

#[tokio::test]
async fn what_only_a_notice_says_is_not_kept() {
    let host = Host::warm().await;
    let process = host.process(&[]);
    assert_eq!(process.gets().await.unwrap(), Some(1));
    let revision = host.state()["revision"].as_u64().unwrap();
    let (held, forged) = (definitions(1), definitions(2));
    let patch = make(forged.text(), Base { text: held.text(), version: held.version() }, 8_000).unwrap();
    let info = SnapshotInfo { published_at: u64::MAX, ..published(2).0 };
    let notice = Published { info, patch: Some(patch.into()) };
    assert_eq!(process.provider.announce(&notice).await.unwrap(), Announcement::Taken);
    process.store.set(Fault::Fails);
    for _ in 0..2 {
        process.provider.poll(None).await.unwrap();
    }
    process.store.set(Fault::None);
    host.publishes(3).await;
    assert_eq!(process.gets().await.unwrap(), Some(3));
    host.has(3).await;
    assert_eq!(host.state()["revision"], revision + 1, "one copy was written");
}
