//! Another user of the host puts things of their own in place.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::state::State;
use posthog_flag_cache::store::Store;
use tempfile::TempDir;

use super::handle::{block_on, entries, increment, load, open};
use crate::support::child::{self, Child, NOBODY};
use crate::support::content::{definitions, published, state};

/// No honest process publishes these.
const FORGED: u64 = 666;

const STARTS: usize = 3_000;

/// In the child, as another user: puts a directory with forged definitions where others make theirs, and a link to a place that
/// is not the attacker's, in turn.
pub fn swap_for_ever(place: &Path) -> ! {
    child::as_nobody(|| {
        let (base, own, trap) = (place.join("base"), place.join("own"), place.join("trap"));
        plant(&own);
        child::say("ready");
        loop {
            let _ = fs::rename(&own, &base);
            if fs::rename(&base, &own).is_err() && !own.exists() {
                plant(&own);
            }
            let _ = symlink(&trap, &base);
            let _ = fs::remove_file(&base);
            // Or nobody else would ever come first.
            std::thread::yield_now();
        }
    })
}

fn plant(own: &Path) {
    block_on(async {
        let store = open(own, false, 60_000);
        let (info, bytes) = published(FORGED);
        store.commit(0, &state(FORGED, Some(info)), Some(bytes.into())).await.unwrap();
    });
    for path in [own.to_owned(), own.join("posthog%3Aflags"), own.join("posthog%3Aflags/phc_test")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn replacing_the_default_directory_while_processes_start_injects_and_redirects_nothing() {
    if !child::is_root() {
        println!("skipped: only root can be another user");
        return;
    }
    let place = TempDir::new().unwrap();
    // As the system's temporary directory is.
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let (base, trap) = (place.path().join("base"), place.path().join("trap"));
    fs::create_dir(&trap).unwrap();
    let mut attacker = Child::start("swap the directory", place.path());
    assert_eq!(attacker.line(), "ready");

    let (mut injected, mut refused, mut served) = (0, 0, 0);
    for _ in 0..STARTS {
        let outcome = block_on(async {
            let store = open(&base, true, 60_000);
            let first = store.load(None).await?.0.state;
            let (info, bytes) = published(1);
            let is_forged = first.revision == FORGED
                || !store.commit(0, &state(1, Some(info)), Some(bytes.into())).await?.is_committed()
                || store.load(None).await?.0.state.revision == FORGED;
            Ok::<_, Error>(is_forged)
        });
        match outcome {
            Ok(true) => injected += 1,
            Ok(false) => served += 1,
            Err(error) => {
                // Or it was gone again before it could be opened.
                assert!([Code::Auth, Code::Unavailable].contains(&error.code()), "{error}");
                refused += usize::from(error.code() == Code::Auth);
            }
        }
        // What is root's stays until root removes it.
        if fs::symlink_metadata(&base).is_ok_and(|found| found.is_dir() && found.uid() == 0) {
            fs::remove_dir_all(&base).unwrap();
        }
    }
    attacker.kill();
    println!("{injected} injected, {refused} refused, {served} served");
    assert_eq!(injected, 0, "of {STARTS}");
    assert_eq!(entries(&trap), [] as [&str; 0], "nothing was made where the link leads");
    assert!(refused > 0 && served > 0, "both sides came to something: {refused} refused, {served} served");
}

#[test]
fn directories_of_others_below_the_default_one_are_refused() {
    if !child::is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    for below in ["posthog%3Aflags", "posthog%3Aflags/phc_test"] {
        let parent = TempDir::new().unwrap();
        let base = parent.path().join("base");
        block_on(increment(&open(&base, true, 60_000)));
        // Planted while the directory was open to everybody.
        chown(base.join(below), Some(NOBODY), None).unwrap();
        let error = block_on(open(&base, true, 60_000).load(None)).unwrap_err();
        assert_eq!(error.code(), Code::Auth, "{error}");
    }
}

/// A shared directory in which somebody else has put this, and a file that is not theirs.
struct Shared {
    base: TempDir,
    elsewhere: TempDir,
    precious: PathBuf,
}

const PRECIOUS: &str = "not to be written";

impl Shared {
    fn new() -> Self {
        let (base, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let precious = elsewhere.path().join("precious");
        fs::write(&precious, PRECIOUS).unwrap();
        Shared { base, elsewhere, precious }
    }

    fn project(&self) -> PathBuf {
        let project = open(self.base.path(), false, 60_000).path().to_owned();
        fs::create_dir_all(&project).unwrap();
        project
    }

    fn assert_untouched(&self) {
        assert_eq!(entries(self.elsewhere.path()), ["precious"]);
        assert_eq!(fs::read_to_string(&self.precious).unwrap(), PRECIOUS);
    }
}

#[test]
fn no_link_in_a_shared_directory_is_written_through() {
    let shared = Shared::new();
    let project = shared.project();
    let version = published(1).0.version;
    for name in ["state.json", "state.tmp", &format!("{version}.json"), &format!("{version}.tmp")] {
        symlink(&shared.precious, project.join(name)).unwrap();
    }
    assert_eq!(block_on(increment(&open(shared.base.path(), false, 60_000))), 1);
    shared.assert_untouched();
    assert_eq!(block_on(load(&open(shared.base.path(), false, 60_000))).1, Some(definitions(1)));
}

#[test]
fn a_directory_in_the_place_of_a_file_is_moved_aside() {
    let shared = Shared::new();
    let store = open(shared.base.path(), false, 60_000);
    let names = ["state.json".to_owned(), format!("{}.json", published(1).0.version)];
    let put =
        || names.iter().for_each(|name| fs::create_dir_all(store.path().join(name).join("below")).unwrap());
    put();
    assert_eq!(block_on(increment(&store)), 1);
    assert_eq!(block_on(load(&store)).1, Some(definitions(1)));
    assert!(block_on(store.clear()).unwrap());
    put();
    assert!(block_on(store.clear()).unwrap());
    assert!(!store.path().join("state.json").exists());
}

#[test]
fn no_link_in_a_shared_directory_is_read_through() {
    let shared = Shared::new();
    let store = open(shared.base.path(), false, 60_000);
    block_on(increment(&store));
    for name in ["state.json".to_owned(), format!("{}.json", published(1).0.version)] {
        let file = store.path().join(name);
        let sound = shared.base.path().join("sound");
        fs::rename(&file, &sound).unwrap();
        symlink(&sound, &file).unwrap();
        let (reading, bytes) = block_on(store.load(None)).unwrap();
        assert_eq!((reading.state.snapshot, bytes), (None, None), "{}", file.display());
        assert_eq!(block_on(store.read()).unwrap().state.snapshot, None);
        fs::rename(&sound, &file).unwrap();
    }
    assert_eq!(block_on(load(&store)).1, Some(definitions(1)));
}

#[test]
fn a_lock_that_is_a_link_makes_no_file_where_it_leads() {
    let shared = Shared::new();
    symlink(shared.elsewhere.path().join("made"), shared.project().join("lock")).unwrap();
    let error =
        block_on(open(shared.base.path(), false, 60_000).commit(0, &state(1, None), None)).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    shared.assert_untouched();
}

#[test]
fn a_directory_within_a_shared_one_that_is_a_link_is_not_entered() {
    for name in ["posthog%3Aflags", "posthog%3Aflags/phc_test"] {
        let shared = Shared::new();
        let link = shared.base.path().join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(shared.elsewhere.path(), &link).unwrap();
        let store = open(shared.base.path(), false, 60_000);
        let read = block_on(store.load(None)).map(|_| ()).unwrap_err();
        let committed = block_on(store.commit(0, &state(1, None), None)).unwrap_err();
        for error in [read, committed] {
            assert_eq!(error.code(), Code::Unavailable, "{error}");
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
        shared.assert_untouched();
    }
}

#[test]
fn a_state_that_is_no_regular_file_counts_as_empty_and_is_replaced() {
    let fifo = |path: &Path| {
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path ends in a zero.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    };
    let socket = |path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    let link = |path: &Path| symlink("/dev/zero", path).unwrap();
    type Make = fn(&Path);
    for (kind, make) in [("a FIFO", fifo as Make), ("a socket", socket), ("a link to a device", link)] {
        let directory = TempDir::new().unwrap();
        let store = open(directory.path(), false, 10_000);
        fs::create_dir_all(store.path()).unwrap();
        make(&store.path().join("state.json"));
        assert_eq!(block_on(store.read()).unwrap().state, State::default(), "{kind}");
        assert_eq!(block_on(increment(&store)), 1, "{kind}");
        assert_eq!(block_on(load(&store)).1, Some(definitions(1)), "{kind}");
    }
}

#[test]
fn a_file_as_long_as_its_writer_likes_costs_no_memory_and_is_replaced() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path(), false, 10_000);
    block_on(increment(&store));
    let state_file = store.path().join("state.json");
    let sound = fs::read_to_string(&state_file).unwrap();
    // Sparse: longer than any memory.
    let endless = |path: &Path| {
        let mut file = fs::File::create(path).unwrap();
        io::copy(&mut sound.as_bytes(), &mut file).unwrap();
        file.flush().unwrap();
        file.set_len(1 << 42).unwrap();
    };
    endless(&state_file);
    assert_eq!(block_on(store.read()).unwrap().state, State::default());
    assert_eq!(block_on(increment(&store)), 1);

    let (info, _) = published(1);
    endless(&store.path().join(format!("{}.json", info.version)));
    let length = format!("\"bytes\": {}", info.bytes);
    let lying =
        fs::read_to_string(&state_file).unwrap().replace(&length, &format!("\"bytes\": {}", 1_u64 << 42));
    assert!(lying.contains("4398046511104"));
    fs::write(&state_file, lying).unwrap();
    let (reading, bytes) = block_on(store.load(None)).unwrap();
    assert_eq!((reading.state.snapshot, bytes), (None, None));
}
