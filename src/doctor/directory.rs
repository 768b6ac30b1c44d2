//! Checks a directory.

#[cfg(unix)]
mod path;

use std::path::Path;
use std::{fs, io};

use super::finding::Finding;
use crate::config::options::{Options, Role};
use crate::config::target::Directory;
use crate::error::{Code, Error};
use crate::store::directory::DirectoryStore;
use crate::store::directory::files::Files;
#[cfg(unix)]
use crate::store::directory::folder::Folder;

/// Small definitions with their state and a patch need less.
const PROBE_BYTES: usize = 256 * 1024;

/// Checks the directory, those above it, the permissions and the lock.
pub async fn examine(directory: &Directory, options: &Options) -> Vec<Finding> {
    let store = DirectoryStore::new(directory.clone(), options);
    examine_store(&store, options.role == Role::Reader, "url").await
}

/// Checks them for a process that only reads, or that also writes. `option`: the one that names the directory.
pub async fn examine_store(store: &DirectoryStore, is_reader: bool, option: &'static str) -> Vec<Finding> {
    let (mut findings, exists) = match store.run(move |files| examine_files(files, is_reader, option)).await {
        Ok(examined) => examined,
        Err(error) => return vec![unusable(&error)],
    };
    if exists && !is_reader {
        findings.push(lock(store).await);
    }
    findings
}

fn unusable(error: &Error) -> Finding {
    Finding::failed(if error.code() == Code::Auth { "owner" } else { "directory" }, error)
}

/// The findings, and whether the directory exists.
fn examine_files(files: &Files, is_reader: bool, option: &str) -> Result<(Vec<Finding>, bool), Error> {
    if let Some(link) = files.path.ancestors().find(|path| path.is_symlink() && !path.exists()) {
        let message = format!("{} is a link to a directory that does not exist", link.display());
        return Ok((
            vec![Finding::error("directory", message, "Create that directory, or remove the link.")],
            false,
        ));
    }
    let folder = files.open()?;
    // Where this process would write: in the directory, or in the first one above that exists.
    let mut ancestors = files.path.ancestors().skip(usize::from(folder.is_none()));
    let place = ancestors.find(|path| path.exists()).unwrap_or(Path::new("/"));
    let shown = files.path.display();
    let mut findings = vec![if folder.is_some() {
        Finding::ok("directory", format!("{shown}"))
    } else {
        Finding::ok(
            "directory",
            format!("{shown} does not exist yet: the first publish creates it in {}", place.display()),
        )
    }];
    #[cfg(unix)]
    {
        findings.push(path::examine(&files.path, option));
        findings.extend(folder.as_ref().map(|folder| owner(folder, &files.path)));
    }
    findings.push(if is_reader {
        Finding::ok("access", "a reader does not write")
    } else {
        access(place, option)
    });
    Ok((findings, folder.is_some()))
}

#[cfg(unix)]
fn owner(folder: &Folder, path: &Path) -> Finding {
    let user = rustix::process::geteuid().as_raw();
    let (owner, mode) = match folder.owner_and_mode() {
        Ok(found) => found,
        Err(cause) => return Finding::unchecked("owner", cause.to_string()),
    };
    if mode & 0o022 != 0 {
        let message =
            format!("mode {mode:04o}: other users can change the definitions that this host evaluates");
        Finding::warning("owner", message, format!("Run: chmod 700 '{}'", path.display()))
    } else if owner != user {
        let message = format!("it belongs to user {owner}, but this process runs as user {user}");
        Finding::warning(
            "owner",
            message,
            "Run all processes as one user, or use one directory for each user.",
        )
    } else {
        Finding::ok("owner", format!("this user, mode {mode:04o}"))
    }
}

async fn lock(store: &DirectoryStore) -> Finding {
    match store.can_lock().await {
        Ok(true) => Finding::ok("lock", "can be acquired"),
        Ok(false) => {
            let advice = "Find this process with `lsof` on the file `lock`: it may be stopped or hanging.";
            Finding::error("lock", "another process keeps it locked", advice)
        }
        Err(error) => {
            let advice = "If `lock` is not a regular file, remove it. Use a disk of this host: some network mounts do not \
                support locks.";
            Finding::error("lock", error.fault(), advice)
        }
    }
}

/// Creates a directory with a file there, and removes both.
fn access(place: &Path, option: &str) -> Finding {
    let probe = place.join(format!("doctor-{:016x}.tmp", fastrand::u64(..)));
    let write = |()| {
        let written = fs::write(probe.join("space"), vec![0; PROBE_BYTES]);
        fs::remove_dir_all(&probe).and(written)
    };
    match fs::create_dir(&probe).and_then(write) {
        Ok(()) => Finding::ok("access", format!("this user can write to {}", place.display())),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            let message = format!("there is no room for {PROBE_BYTES} bytes in {}: {cause}", place.display());
            Finding::error("access", message, "Free some space on this disk.")
        }
        Err(cause) => {
            let message = format!("this user cannot write to {}: {cause}", place.display());
            let advice =
                format!("Give this user write permission, or use another directory with option '{option}'.");
            Finding::error("access", message, advice)
        }
    }
}
