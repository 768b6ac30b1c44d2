//! What is on the disk: who writes it, who can read it, and what counts as none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::error::Code;
use serde_json::json;
use tempfile::TempDir;

use super::host::{Host, Process, copied, entries, etag, now, reader, stale};
use crate::support::child::{self, NOBODY};
use crate::support::content::definitions;

const MINUTE: u64 = 60_000;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn every_kind_of_process_writes_what_it_has() {
    let leads = Host::new();
    let leader = leads.process(&[]);
    assert!(leader.provider.poll(None).await.unwrap().fetches());
    leader.provider.received(definitions(1).into(), Some(etag(1))).await.unwrap();
    let [follows, reads] = [Host::new(), Host::new()];
    for host in [&follows, &reads] {
        host.publishes(1).await;
    }
    assert!(!follows.process(&[]).provider.poll(None).await.unwrap().fetches());
    reads.process(&[reader()]).gets().await.unwrap();
    for host in [leads, follows, reads] {
        let found = host.has(1).await;
        assert_eq!((found.etag, found.is_refused), (Some(etag(1)), false));
        assert!(found.confirmed_at <= now() && found.confirmed_at > now() - MINUTE);
    }
}

#[tokio::test]
async fn this_user_alone_can_read_it_and_only_the_newest_version_is_there() {
    let host = Host::warm().await;
    host.publishes(2).await;
    host.process(&[]).gets().await.unwrap();
    host.has(2).await;
    let text = host.text_file(2);
    let name = text.file_name().unwrap().to_str().unwrap();
    let mut expected = [name, "lock", "state.json"];
    expected.sort_unstable();
    assert_eq!(entries(&host.place()), expected);
    assert_eq!(fs::read_to_string(&text).unwrap(), definitions(2).text(), "plain JSON");
    for file in [text, host.state_file(), host.place().join("lock")] {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    assert_eq!((mode(&host.place()), mode(host.place().parent().unwrap())), (0o700, 0o700));
}

#[tokio::test]
async fn of_many_that_have_a_new_version_one_writes_it() {
    let host = Host::new();
    let at = now();
    let copies: Vec<_> = (0..16).map(|_| host.copy()).collect();
    let tasks: Vec<_> =
        copies.into_iter().map(|copy| tokio::spawn(async move { copy.keep(copied(1, at)).await })).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(host.state()["revision"], 1);
    assert_eq!(host.has(1).await.confirmed_at, at);
}

#[tokio::test]
async fn while_another_process_writes_no_process_waits_for_it() {
    let host = Host::warm().await;
    let lock = fs::File::open(host.place().join("lock")).unwrap();
    lock.lock().unwrap();
    let copy = host.copy();
    copy.keep(copied(2, now() + 1)).await.unwrap();
    assert_eq!(*copy.read().await.unwrap().unwrap().snapshot, definitions(1));
    assert!(copy.is_due(&copied(2, now() + 1)), "it looks again at its next poll");
}

#[tokio::test]
async fn what_was_confirmed_earlier_does_not_replace_what_was_confirmed_later() {
    let host = Host::new();
    let at = now();
    host.copy().keep(copied(2, at)).await.unwrap();
    let behind = host.copy();
    behind.keep(copied(1, at - 1)).await.unwrap();
    host.has(2).await;
    behind.keep(copied(1, at + 1)).await.unwrap();
    host.has(1).await;
}

#[tokio::test]
async fn that_the_definitions_are_still_current_is_noted_now_and_then() {
    let host = Host::new();
    let (copy, at, hour) = (host.copy(), now() - 3 * 60 * MINUTE, 60 * MINUTE);
    copy.keep(copied(1, at)).await.unwrap();
    assert!(!copy.is_due(&copied(1, at + hour - 1)));
    host.copy().keep(copied(1, at + hour - 1)).await.unwrap();
    assert_eq!(host.has(1).await.confirmed_at, at);
    assert!(copy.is_due(&copied(1, at + hour)));
    host.copy().keep(copied(1, at + hour)).await.unwrap();
    assert_eq!(host.has(1).await.confirmed_at, at + hour);
    copy.keep(copied(1, at + hour)).await.unwrap();
    assert_eq!(host.state()["revision"], 2, "another process has noted it");
    assert!(!copy.is_due(&copied(1, at + hour)));
}

/// What somebody does to the files.
type Damage = fn(&Host);

fn truncate(host: &Host) {
    let file = fs::File::options().write(true).open(host.text_file(1)).unwrap();
    file.set_len(20).unwrap();
}

fn edit(host: &Host) {
    let text = fs::read_to_string(host.text_file(1)).unwrap();
    let edited = text.replace(r#""key":"1""#, r#""key":"9""#);
    assert_ne!(text, edited);
    fs::write(host.text_file(1), edited).unwrap();
}

fn grow(host: &Host) {
    let length = 40 * 1024 * 1024;
    fs::File::options().write(true).open(host.text_file(1)).unwrap().set_len(length).unwrap();
    let mut info = host.state()["snapshot"].clone();
    info["bytes"] = json!(length);
    host.set("snapshot", info);
}

fn link(host: &Host, file: &Path) {
    let target = host.directory.path().join("target");
    fs::rename(file, &target).unwrap();
    symlink(target, file).unwrap();
}

#[tokio::test]
async fn a_corrupt_or_foreign_file_is_ignored_and_replaced() {
    let damages: [(&str, Damage); 11] = [
        ("the text is truncated", truncate),
        ("the text is another one of the same length", edit),
        ("the text is huge", grow),
        ("the text is gone", |host| fs::remove_file(host.text_file(1)).unwrap()),
        ("the text is a link", |host| link(host, &host.text_file(1))),
        ("the state is truncated", |host| fs::write(host.state_file(), "{\"expires_at\":").unwrap()),
        ("the state is of another program", |host| fs::write(host.state_file(), "[7]").unwrap()),
        ("the state is huge", |host| fs::write(host.state_file(), " ".repeat(100_000)).unwrap()),
        ("the state is a link", |host| link(host, &host.state_file())),
        ("the state is a directory", |host| {
            fs::remove_file(host.state_file()).unwrap();
            fs::create_dir(host.state_file()).unwrap();
        }),
        ("nobody says when it was confirmed", |host| host.set("confirmed_at", json!(null))),
    ];
    for (what, damage) in damages {
        let host = Host::warm().await;
        damage(&host);
        let cut_off = host.cut_off(&[stale()]);
        assert!(cut_off.provider.poll(None).await.is_err(), "{what}");
        assert_eq!(host.cut_off(&[reader()]).gets().await.unwrap_err().code(), Code::Unavailable, "{what}");

        let process = host.process(&[]);
        assert_eq!((process.gets().await.unwrap(), process.store.loaded()), (Some(1), 1), "{what}");
        host.has(1).await;
        assert_eq!(host.cut_off(&[reader()]).gets().await.unwrap(), Some(1), "{what}");
    }
}

#[tokio::test]
async fn an_etag_that_no_request_can_carry_counts_as_none() {
    let host = Host::warm().await;
    let mut info = host.state()["snapshot"].clone();
    info["etag"] = json!("*");
    host.set("snapshot", info);
    assert_eq!(host.copy().read().await.unwrap().unwrap().etag, None);
}

/// It evaluates what the store has, and reports that it cannot keep it.
async fn reports(process: &Process, expected: Code, what: &str) {
    let mut reports = process.provider.reports();
    assert_eq!(process.gets().await.unwrap(), Some(1));
    let error = reports.recv().await.unwrap();
    assert_eq!(error.code(), expected, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[tokio::test]
async fn a_link_in_place_of_the_directory_is_not_followed() {
    let host = Host::warm().await;
    let elsewhere = TempDir::new().unwrap();
    let (prefix, moved) = (host.place().parent().unwrap().to_owned(), elsewhere.path().join("prefix"));
    fs::rename(&prefix, &moved).unwrap();
    symlink(&moved, &prefix).unwrap();
    assert!(host.cut_off(&[stale()]).provider.poll(None).await.is_err());
    reports(&host.process(&[]), Code::Unavailable, "links there are not followed").await;
}

#[tokio::test]
async fn a_directory_of_another_user_is_refused() {
    if !child::is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    for depth in [0, 1] {
        let host = Host::warm().await;
        chown(host.place().ancestors().nth(depth).unwrap(), Some(NOBODY), None).unwrap();
        assert!(host.cut_off(&[stale()]).provider.poll(None).await.is_err());
        reports(
            &host.process(&[]),
            Code::Auth,
            "belongs to another user. Use another directory, with option 'localCopy'.",
        )
        .await;
    }
    // A volume may belong to anybody.
    let host = Host::new();
    host.publishes(1).await;
    chown(host.directory.path(), Some(NOBODY), None).unwrap();
    host.process(&[]).gets().await.unwrap();
    host.has(1).await;
}

#[tokio::test]
async fn permissions_that_somebody_has_opened_are_closed_again() {
    let host = Host::warm().await;
    fs::set_permissions(host.place(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(host.process(&[]).gets().await.unwrap(), Some(1));
    assert_eq!(mode(&host.place()), 0o700);
}

#[tokio::test]
async fn if_it_cannot_be_written_the_process_goes_on() {
    let host = Host::new();
    host.publishes(1).await;
    let file = host.directory.path().join("file");
    fs::write(&file, "").unwrap();
    let below = Given::Text(file.join("below").to_str().unwrap().into());
    reports(&host.process(&[("localCopy", below)]), Code::Unavailable, "Not a directory").await;
}

#[tokio::test]
async fn a_copy_that_was_removed_is_gone() {
    let host = Host::warm().await;
    assert!(host.copy().clear().await.unwrap());
    assert_eq!(entries(&host.place()), ["lock"]);
    assert!(host.copy().read().await.unwrap().is_none());
    assert!(!host.copy().clear().await.unwrap());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_system_that_hangs_costs_a_start_its_timeout_and_no_definitions() {
    use std::time::Duration;

    use crate::support::hang::DeadMount;

    let Some(mount) = DeadMount::new() else {
        println!("skipped: no permission to mount");
        return;
    };
    let host = Host::new();
    host.publishes(1).await;
    let place = Given::Text(mount.path().join("copy").to_str().unwrap().into());
    let process = host.process(&[("localCopy", place), ("commandTimeoutMs", Given::Number(200.0))]);
    let gets = tokio::time::timeout(Duration::from_secs(30), process.gets()).await;
    assert_eq!(gets.unwrap().unwrap(), Some(1));
}
