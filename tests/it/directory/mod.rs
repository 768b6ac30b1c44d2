//! The embedded store among processes that crash, stop, and share a machine with other users.

mod attacks;
mod faults;
mod handle;
#[cfg(target_os = "linux")]
mod hanging;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::State;
use posthog_flag_cache::store::Store;
use tempfile::TempDir;

use crate::support::child::{self, Child};
use crate::support::content::{definitions, published, state};
use handle::{block_on, entries, increment, load, mode, open};

/// The other processes of these tests: `child::Child::start` runs this test in a new process.
#[test]
#[ignore = "a part of the other tests"]
fn child_process() {
    let Some((role, directory)) = child::role() else { return };
    block_on(async {
        let store = open(&directory, false, 60_000);
        match role.as_str() {
            "commit 40 times" => {
                for _ in 0..40 {
                    increment(&store).await;
                }
            }
            "commit for ever" => loop {
                child::say(increment(&store).await);
            },
            "hold the lock" => {
                let lock = fs::File::open(store.path().join("lock")).unwrap();
                lock.lock().unwrap();
                child::say("locked");
                child::wait_for_the_end_of_input();
                drop(lock);
                child::say("unlocked");
            }
            "swap the directory" => attacks::swap_for_ever(&directory),
            "publish into a short file" => faults::publish_into_a_short_file(&store).await,
            role => panic!("no role {role}"),
        }
    });
}

#[test]
fn sixteen_processes_that_commit_at_once_lose_no_update() {
    let directory = TempDir::new().unwrap();
    let children: Vec<_> = (0..16).map(|_| Child::start("commit 40 times", directory.path())).collect();
    for child in children {
        child.succeed();
    }
    let (reading, snapshot) = block_on(load(&open(directory.path(), false, 60_000)));
    assert_eq!((reading.state.revision, reading.state.fence), (640, 640));
    assert_eq!(snapshot, Some(definitions(640)));
}

#[test]
fn kill_9_at_any_instant_leaves_the_old_state_or_the_new_one() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, 60_000);
    let mut last = 0;
    for _ in 0..300 {
        let mut child = Child::start("commit for ever", directory.path());
        let first: u64 = child.line().parse().unwrap();
        assert_eq!(first, last + 1, "what the killed process left is built upon");
        // The instant is the point here: anywhere in the few commits to come.
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..2_000)));
        let acknowledged = child.kill().last().map_or(first, |line| line.parse().unwrap());

        let (reading, snapshot) = block_on(load(&store));
        last = reading.state.revision;
        assert!(
            last == acknowledged || last == acknowledged + 1,
            "{acknowledged} was acknowledged, not {last}"
        );
        assert_eq!(reading.state.fence, last);
        assert_eq!(snapshot, Some(definitions(last)));
        let files = entries(store.path());
        assert!(files.len() <= 5, "state, lock, two snapshots, one temporary file at most: {files:?}");
    }
    let last = block_on(increment(&store));
    let snapshot = format!("{}.json", definitions(last).version());
    let mut expected = [snapshot.as_str(), "lock", "state.json"];
    expected.sort_unstable();
    assert_eq!(entries(store.path()), expected, "the next commit sweeps what the killed ones left");
}

#[test]
fn a_commit_sweeps_what_killed_processes_left_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, 60_000);
    block_on(increment(&store));
    for litter in ["state.tmp", "0123.tmp", "0123.json", "notes.txt"] {
        fs::write(store.path().join(litter), "{").unwrap();
    }
    block_on(increment(&store));
    let snapshot = format!("{}.json", definitions(2).version());
    let mut expected = [snapshot.as_str(), "lock", "notes.txt", "state.json"];
    expected.sort_unstable();
    assert_eq!(entries(store.path()), expected);
}

#[test]
fn a_stopped_holder_of_the_lock_costs_others_their_time_limit_only() {
    const LIMIT: Duration = Duration::from_millis(300);
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, LIMIT.as_millis() as u64);
    block_on(increment(&store));
    let mut holder = Child::start("hold the lock", directory.path());
    assert_eq!(holder.line(), "locked");
    holder.signal(libc::SIGSTOP);

    let refused = || {
        let started = Instant::now();
        let error = block_on(store.commit(1, &state(2, None), None)).unwrap_err();
        assert_eq!(error.code(), Code::Timeout, "{error}");
        assert!(started.elapsed() >= LIMIT / 2, "it waited for the lock");
        assert!(started.elapsed() < 20 * LIMIT, "it did not wait for ever: {:?}", started.elapsed());
        assert_eq!(block_on(load(&store)).0.state.revision, 1, "reading needs no lock");
    };
    refused();
    refused();
    holder.signal(libc::SIGCONT);
    holder.end_input();
    assert_eq!(holder.line(), "unlocked");
    assert_eq!(block_on(increment(&store)), 2);

    let mut holder = Child::start("hold the lock", directory.path());
    assert_eq!(holder.line(), "locked");
    holder.signal(libc::SIGSTOP);
    holder.kill();
    assert_eq!(block_on(increment(&store)), 3, "a lock dies with its holder");
}

#[test]
fn a_new_listener_gets_a_change_since_the_last_read() {
    let directory = TempDir::new().unwrap();
    let (store, other) = (open(directory.path(), false, 60_000), open(directory.path(), false, 60_000));
    block_on(async {
        increment(&store).await;
        load(&store).await;
        increment(&other).await;
        let mut notices = store.watch();
        tokio::time::timeout(Duration::from_secs(30), notices.changed()).await.expect("a notice").unwrap();
    });
}

#[test]
fn a_corrupt_state_counts_as_empty_and_is_replaced() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, 60_000);
    block_on(increment(&store));
    let file = store.path().join("state.json");
    let good = fs::read(&file).unwrap();
    let cut: Vec<&[u8]> = (0..good.len() - 1).step_by(7).map(|length| &good[..length]).collect();
    let garbage: [&[u8]; 6] =
        [b"null", b"[]", b"{}", b"\0\xff", &[b'['; 100_000], br#"{"expires_at":9e99,"revision":-1}"#];
    for damaged in cut.into_iter().chain(garbage) {
        fs::write(&file, damaged).unwrap();
        let (reading, snapshot) = block_on(load(&store));
        let shown = String::from_utf8_lossy(&damaged[..damaged.len().min(60)]);
        assert_eq!((reading.state, snapshot), (State::default(), None), "{shown}");
        assert_eq!(block_on(increment(&store)), 1, "{shown}");
        assert_eq!(block_on(load(&store)).1, Some(definitions(1)), "{shown}");
    }
}

#[test]
fn a_corrupt_snapshot_counts_as_absent_or_corrupt_and_is_replaced() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, 60_000);
    block_on(increment(&store));
    let length = published(1).1.len();
    for damaged in [Vec::new(), published(1).1[..length - 1].to_vec(), vec![b' '; length + 1]] {
        let revision = block_on(store.read()).unwrap().state.revision;
        let (info, bytes) = published(1);
        let file = store.path().join(format!("{}.json", info.version));
        fs::write(&file, &damaged).unwrap();
        let expected = State { snapshot: None, ..block_on(store.load(None)).unwrap().0.state };
        assert_eq!(block_on(store.read()).unwrap().state, expected);
        assert_eq!(block_on(store.load(None)).unwrap().1, None);
        let next = state(revision + 1, Some(info));
        assert!(block_on(store.commit(revision, &next, Some(bytes.into()))).unwrap().is_committed());
        assert_eq!(block_on(load(&store)).1, Some(definitions(1)));
    }
    // Of the right length, so that only the hash tells.
    let version = published(1).0.version;
    fs::write(store.path().join(format!("{version}.json")), vec![b' '; length]).unwrap();
    let bytes = block_on(store.load(None)).unwrap().1.unwrap();
    assert_eq!(Snapshot::decode(&bytes, &version, None).unwrap_err().code(), Code::Corrupt);
}

#[test]
fn a_foreign_version_does_not_lead_out_of_the_directory() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, 60_000);
    block_on(increment(&store));
    let secret = directory.path().join("secret.json");
    fs::write(&secret, published(1).1).unwrap();
    let file = store.path().join("state.json");
    let version = published(1).0.version;
    for foreign in ["../../secret", secret.with_extension("").to_str().unwrap(), "\\u0000", ""] {
        let text = fs::read_to_string(&file).unwrap().replace(&version, foreign);
        fs::write(&file, text).unwrap();
        assert_eq!(block_on(store.load(None)).unwrap().1, None, "{foreign}");
        let revision = block_on(store.read()).unwrap().state.revision;
        let (info, bytes) = published(1);
        assert!(
            block_on(store.commit(revision, &state(revision + 1, Some(info)), Some(bytes.into())))
                .unwrap()
                .is_committed()
        );
    }
    assert!(secret.exists(), "nor is anything swept there");
}

#[test]
fn every_directory_is_created_for_this_user_alone() {
    for is_default in [true, false] {
        let parent = TempDir::new().unwrap();
        let base = parent.path().join("base");
        let store = open(&base, is_default, 60_000);
        assert_eq!(block_on(store.read()).unwrap().state, State::default());
        assert!(!base.exists(), "reading creates nothing");
        block_on(increment(&store));
        for path in store.path().ancestors().take_while(|&path| path != parent.path()) {
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
    }
}

#[test]
fn the_default_directory_loses_the_rights_that_others_had() {
    let parent = TempDir::new().unwrap();
    for open_to_others in [0o777, 0o755, 0o701, 0o770] {
        let base = parent.path().join(format!("{open_to_others:o}"));
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(open_to_others)).unwrap();
        block_on(increment(&open(&base, true, 60_000)));
        assert_eq!(mode(&base), 0o700);
    }
    let chosen = parent.path().join("chosen");
    fs::create_dir(&chosen).unwrap();
    fs::set_permissions(&chosen, fs::Permissions::from_mode(0o755)).unwrap();
    block_on(increment(&open(&chosen, false, 60_000)));
    assert_eq!(mode(&chosen), 0o755, "a directory that the user named is the user's business");
}

#[test]
fn a_default_directory_that_is_a_symlink_is_refused_and_left_alone() {
    let parent = TempDir::new().unwrap();
    let (target, link) = (parent.path().join("target"), parent.path().join("link"));
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    assert_refused(&link, &target);
    block_on(increment(&open(&link, false, 60_000)));
    assert_eq!(entries(&target).len(), 1, "where the user named it, a symlink is as good as a directory");
}

#[test]
fn a_default_directory_of_another_user_is_refused_and_left_alone() {
    if !child::is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    let parent = TempDir::new().unwrap();
    let base = parent.path().join("base");
    fs::create_dir(&base).unwrap();
    chown(&base, Some(child::NOBODY), None).unwrap();
    assert_refused(&base, &base);
    assert_eq!(fs::metadata(&base).unwrap().uid(), child::NOBODY);
}

#[test]
fn a_directory_that_cannot_be_written_is_unavailable() {
    let parent = TempDir::new().unwrap();
    block_on(increment(&open(parent.path(), false, 60_000)));
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    // Root writes everywhere, so the rest runs without root's rights.
    let own = open(parent.path(), false, 60_000).path().to_owned();
    for path in own.ancestors().take_while(|&path| path != parent.path()).chain([parent.path()]) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    for path in [&file, parent.path()] {
        let error = child::as_nobody(|| {
            block_on(open(path, false, 60_000).commit(1, &state(2, None), None)).unwrap_err()
        });
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    let reading = child::as_nobody(|| block_on(load(&open(parent.path(), false, 60_000))));
    assert_eq!(reading.1, Some(definitions(1)), "reading goes on");
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(own.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
}

fn assert_refused(base: &Path, target: &Path) {
    let store = open(base, true, 60_000);
    let read = block_on(store.read()).map(|_| ());
    let loaded = block_on(store.load(None)).map(|_| ());
    let committed = block_on(store.commit(0, &state(1, None), None)).map(|_| ());
    for result in [read, loaded, committed] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::Auth, "{error}");
        assert!(error.to_string().contains(base.to_str().unwrap()), "{error}");
    }
    assert_eq!(entries(target), [] as [&str; 0], "nothing was created there");
}
