//! The directory store where a file that is open cannot be replaced at will, and where some names are those of devices.

use std::fs::{self, File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::config::target::Directory;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::directory::DirectoryStore;
use tempfile::TempDir;

use crate::support::content::{self, published, state};

/// Lets other programs read the file, but not replace it.
const FILE_SHARE_READ: u32 = 1;

fn open(path: &Path) -> DirectoryStore {
    let options = content::options(&[("commandTimeoutMs", Given::Number(300.0))]);
    DirectoryStore::new(Directory { path: path.to_owned(), is_default: false }, &options)
}

async fn commit(store: &DirectoryStore, number: u64) -> Result<bool, Code> {
    let (info, bytes) = published(number);
    let committed = store.commit(number - 1, &state(number, Some(info)), Some(bytes.into())).await;
    committed.map(|commit| commit.is_committed()).map_err(|error| error.code())
}

async fn published_in(store: &DirectoryStore) -> Option<Bytes> {
    store.load(None).await.unwrap().1
}

/// As a virus scanner does.
fn keep_open(path: &Path) -> File {
    OpenOptions::new().read(true).share_mode(FILE_SHARE_READ).open(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_program_has_open_for_a_moment_is_replaced() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    assert_eq!(commit(&store, 1).await, Ok(true));
    let file = keep_open(&store.path().join("state.json"));
    let scanner = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(40));
        drop(file);
    });
    assert_eq!(commit(&store, 2).await, Ok(true));
    scanner.join().unwrap();
    assert_eq!(published_in(&store).await, Some(published(2).1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_program_keeps_open_costs_the_commit_and_no_definitions() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    assert_eq!(commit(&store, 1).await, Ok(true));
    let file = keep_open(&store.path().join("state.json"));
    assert_eq!(commit(&store, 2).await, Err(Code::Unavailable));
    assert_eq!(published_in(&store).await, Some(published(1).1));
    drop(file);
    assert_eq!(commit(&store, 2).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_lock_keeps_others_out_until_it_closes_the_file() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    assert_eq!(commit(&store, 1).await, Ok(true));
    let lock = OpenOptions::new().write(true).open(store.path().join("lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(commit(&store, 2).await, Err(Code::Timeout));
    assert_eq!(published_in(&store).await, Some(published(1).1), "reading takes no lock");
    drop(lock);
    assert_eq!(commit(&store, 2).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_the_place_of_a_file_is_moved_aside() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    for name in ["state.json".to_owned(), format!("{}.json", published(1).0.version)] {
        fs::create_dir_all(store.path().join(name).join("below")).unwrap();
    }
    assert_eq!(commit(&store, 1).await, Ok(true));
    assert_eq!(published_in(&store).await, Some(published(1).1));
}

#[test]
fn the_default_directory_is_in_the_users_own() {
    let local = std::env::var_os("LOCALAPPDATA").unwrap();
    assert!(Directory::default_of_this_user().path.starts_with(local));
}

#[test]
fn no_file_has_the_name_of_a_device() {
    let path = |name: &str| {
        let given = |option| (option, Given::Text(name.into()));
        let options = content::options(&[given("keyPrefix"), given("projectKey")]);
        DirectoryStore::new(Directory { path: "/base".into(), is_default: false }, &options).path().to_owned()
    };
    for name in ["CON", "nul", "Com1", "lpt9"] {
        let names = path(name);
        let names: Vec<_> = names.iter().skip(2).map(|part| part.to_str().unwrap()).collect();
        assert!(names.iter().all(|part| part.starts_with(&format!("{name}~"))), "{names:?}");
    }
    for name in ["cons", "com", "com10", "phc_con"] {
        assert_eq!(path(name), Path::new(&format!("/base/{name}/{name}")));
    }
}
