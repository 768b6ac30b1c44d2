//! File systems that hang, as a mount whose server is gone.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::doctor;
use posthog_flag_cache::doctor::finding::Verdict;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::inspector::Inspector;
use posthog_flag_cache::runtime::off_runtime;
use posthog_flag_cache::store::Store;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::handle::{block_on, increment, load, open};
use crate::support::child;
use crate::support::content::{self, definitions, state};
use crate::support::hang::{BlockedFile, DeadMount};

const LIMIT_MS: u64 = 100;
const LIMIT: Duration = Duration::from_millis(LIMIT_MS);

const SKIPPED: &str = "skipped: only root can make a file system hang";

/// As that of the addon, but for fewer threads that a fault could fill.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).max_blocking_threads(2).enable_all().build().unwrap()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("nothing else hangs")
}

/// Nothing of the process is held up but what goes to the sick directory.
async fn assert_all_else_works() {
    let healthy = TempDir::new().unwrap();
    within(increment(&open(healthy.path(), false, 20_000))).await;
    assert_eq!(within(off_runtime(|| Ok(1))).await.unwrap(), 1);
    within(async { tokio::spawn(async {}).await.unwrap() }).await;
}

#[test]
fn a_directory_that_hangs_costs_each_call_its_timeout_and_affects_no_other_cache() {
    // It counts the threads of its process.
    let name = "a_directory_that_hangs_costs_each_call_its_timeout_and_affects_no_other_cache";
    if !child::is_alone(module_path!(), name) {
        return;
    }
    let Some(mount) = DeadMount::new() else {
        println!("{SKIPPED}");
        return;
    };
    let runtime = runtime();
    runtime.block_on(async {
        let (store, next) = (open(mount.path(), false, LIMIT_MS), state(1, None));
        let _notices: Vec<_> = (0..4).map(|_| store.watch()).collect();
        let before = threads();
        for _ in 0..8 {
            let started = Instant::now();
            let calls =
                tokio::join!(store.load(None), store.read(), store.commit(0, &next, None), store.clear());
            let errors = [calls.0.err(), calls.1.err(), calls.2.err(), calls.3.err()];
            for error in errors.into_iter().map(Option::unwrap) {
                assert_eq!(error.code(), Code::Timeout, "{error}");
            }
            assert!(started.elapsed() < 50 * LIMIT, "all at once: {:?}", started.elapsed());
            // Opened anew, it is the same directory.
            let others: Vec<_> = (0..20).map(|_| open(mount.path(), false, LIMIT_MS)).collect();
            for again in join_all(others.iter().map(|store| store.read())).await {
                assert_eq!(again.unwrap_err().code(), Code::Timeout);
            }
        }
        // Not one for each of those 192 calls.
        assert!(threads() < before + 100, "{before} threads, then {}", threads());
        assert_all_else_works().await;
    });
    runtime.shutdown_background();
}

#[test]
fn a_directory_that_hung_works_again_and_a_commit_that_came_too_late_has_not_landed() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, LIMIT_MS);
    block_on(increment(&open(directory.path(), false, 60_000)));
    let Some(blocked) = BlockedFile::new(&store.path().join("lock")) else {
        println!("{SKIPPED}");
        return;
    };
    let error = block_on(store.commit(1, &state(2, None), None)).unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error}");
    drop(blocked);
    let store = open(directory.path(), false, 60_000);
    let (reading, snapshot) = block_on(load(&store));
    assert_eq!((reading.state.revision, snapshot), (1, Some(definitions(1))));
    assert_eq!(block_on(increment(&store)), 2);
}

#[test]
fn the_doctor_says_that_a_directory_hangs() {
    let Some(mount) = DeadMount::new() else {
        println!("{SKIPPED}");
        return;
    };
    let runtime = runtime();
    runtime.block_on(async {
        let url = Given::Text(format!("file://{}", mount.path().display()));
        let options = content::options(&[("url", url), ("commandTimeoutMs", Given::Number(LIMIT_MS as f64))]);
        let inspector = Inspector::new(options);
        let findings = within(doctor::examine(&inspector)).await;
        assert_eq!(findings[0].verdict, Verdict::Error);
        assert!(findings[0].message.contains("did not answer in time"), "{}", findings[0].message);
        assert!(findings[0].advice.as_ref().unwrap().contains("network mount"));
        assert_all_else_works().await;
    });
    runtime.shutdown_background();
}
