//! File systems that are full.

use bytes::Bytes;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::SnapshotInfo;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::directory::DirectoryStore;
use tempfile::TempDir;

use super::handle::{block_on, entries, increment, load, open};
use crate::support::child::{self, Child};
use crate::support::content::{definitions, published, state};

/// In the child: no file may be longer than this.
const LONGEST_FILE: u64 = 4 * 1024;

/// In the child: publishes what is longer than a file may be.
pub async fn publish_into_a_short_file(store: &DirectoryStore) {
    let limit = libc::rlimit { rlim_cur: LONGEST_FILE, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: changes a limit of this process, and lets it meet that limit as an error instead of a signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    let (info, bytes) = long();
    let error = store.commit(1, &state(2, Some(info)), Some(bytes.into())).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    child::say(error);
}

/// Definitions of 64 KiB.
fn long() -> (SnapshotInfo, Bytes) {
    let (info, _) = published(2);
    let bytes = Bytes::from(vec![b' '; 64 * 1024]);
    (SnapshotInfo { bytes: bytes.len() as u64, ..info }, bytes)
}

#[test]
fn a_publish_that_cannot_be_written_fails_clearly_and_leaves_everything_as_it_was() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, 60_000);
    block_on(increment(&store));
    let before = entries(store.path());
    let mut child = Child::start("publish into a short file", directory.path());
    let error = child.line();
    assert!(error.contains("cannot write the directory") && error.contains("File too large"), "{error}");
    child.succeed();
    assert_eq!(entries(store.path()), before, "no part of it remains");
    assert_eq!(block_on(load(&store)).1, Some(definitions(1)));
    assert_eq!(block_on(increment(&store)), 2);
}

#[cfg(target_os = "linux")]
mod full {
    use std::fs;
    use std::path::Path;

    use posthog_flag_cache::state::{Lease, State};

    use super::*;

    /// A file system of its own, this large.
    struct Disk(TempDir);

    impl Disk {
        fn new(size: &str) -> Option<Self> {
            let place = TempDir::new().unwrap();
            let [kind, at, options] =
                [c"tmpfs".into(), c_path(place.path()), c_text(&format!("size={size}"))];
            // SAFETY: all strings end in a zero.
            let failed = unsafe {
                libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) != 0
            };
            (!failed).then(|| Disk(place))
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            // SAFETY: the path ends in a zero.
            unsafe { libc::umount2(c_path(self.0.path()).as_ptr(), libc::MNT_DETACH) };
        }
    }

    fn c_path(path: &Path) -> std::ffi::CString {
        c_text(path.to_str().unwrap())
    }

    fn c_text(text: &str) -> std::ffi::CString {
        std::ffi::CString::new(text).unwrap()
    }

    #[test]
    fn a_publish_on_a_full_disk_leaves_the_old_state_and_the_room_that_there_was() {
        let Some(disk) = Disk::new("128k") else {
            println!("skipped: only root can mount a file system");
            return;
        };
        let store = open(disk.0.path(), false, 60_000);
        block_on(increment(&store));
        let other_program = disk.0.path().join("log");
        fs::write(&other_program, [b'x'; 64 * 1024]).unwrap();
        let before = entries(store.path());

        let (info, bytes) = long();
        let error = block_on(store.commit(1, &state(2, Some(info)), Some(bytes.into()))).unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(entries(store.path()), before);
        assert_eq!(block_on(load(&store)).1, Some(definitions(1)));
        fs::write(disk.0.path().join("another log"), [b'x'; 16 * 1024]).unwrap();
        assert_eq!(block_on(increment(&store)), 2, "what is short enough is published");
    }

    #[test]
    fn a_first_publish_on_a_full_disk_lets_the_next_process_fetch() {
        let Some(disk) = Disk::new("128k") else {
            println!("skipped: only root can mount a file system");
            return;
        };
        let store = open(disk.0.path(), false, 60_000);
        let lease = Lease { owner: "somebody".into(), expires_at: u64::MAX };
        let granted = State { revision: 1, fence: 1, lease: Some(lease), ..State::default() };
        assert!(block_on(store.commit(0, &granted, None)).unwrap().is_committed());
        fs::write(disk.0.path().join("log"), [b'x'; 64 * 1024]).unwrap();
        let (info, bytes) = long();
        let error = block_on(store.commit(1, &state(2, Some(info)), Some(bytes.into()))).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(block_on(store.read()).unwrap().state, State::default(), "nobody waits for it");
    }

    #[test]
    fn a_publish_makes_room_where_killed_processes_have_filled_the_disk() {
        let Some(disk) = Disk::new("128k") else {
            println!("skipped: only root can mount a file system");
            return;
        };
        let store = open(disk.0.path(), false, 60_000);
        block_on(increment(&store));
        let fill = |name: &str| {
            let _ = fs::write(store.path().join(name), [b'x'; 128 * 1024]);
        };
        for leftover in ["0123456789abcdef.tmp", "orphan.json"] {
            fill(leftover);
            assert!(fs::write(disk.0.path().join("log"), [b'x'; 64 * 1024]).is_err(), "it is full");
            fs::remove_file(disk.0.path().join("log")).unwrap();
            fill(leftover);
            block_on(increment(&store));
        }
        assert_eq!(block_on(load(&store)).1, Some(definitions(3)));
    }
}
