//! Whether a directory will do.

#[cfg(unix)]
mod trail;

use std::fs;
use std::path::{Path, PathBuf};

use super::DirectoryStore;
use super::files::Files;
#[cfg(unix)]
use super::folder::Folder;
use crate::config::options::{Options, Role};
use crate::config::target::Directory;
use crate::doctor::Finding;
use crate::error::{Code, Error};

#[cfg(unix)]
const MIB: u64 = 1024 * 1024;

/// What was found out, and the next existing directory: the project's own, or the first above it.
struct Examined {
    findings: Vec<Finding>,
    exists: bool,
    place: PathBuf,
}

/// Examines the directory, those above it, the rights in it, its lock and its file system.
pub async fn examine(directory: &Directory, options: &Options) -> Vec<Finding> {
    let store = DirectoryStore::new(directory.clone(), options);
    let is_reader = options.role == Role::Reader;
    let examined = store.run(move |files| files.examine(is_reader)).await;
    let Examined { mut findings, exists, place } = match examined {
        Ok(examined) => examined,
        Err(error) => return vec![unusable(&error)],
    };
    if exists && !is_reader {
        findings.push(lock_works(&store).await);
    }
    match store.run(move |_| Ok(filesystem(&place))).await {
        Ok(more) => findings.extend(more),
        Err(error) => findings.push(unusable(&error)),
    }
    findings
}

fn unusable(error: &Error) -> Finding {
    let (check, advice) = match error.code() {
        Code::Auth => ("owner", "name another directory with --url file:///…"),
        Code::Timeout => ("directory", "is it on a network mount that hangs? Choose a disk of this host"),
        _ => ("directory", "name a directory that this user can read and write"),
    };
    Finding::error(check, error.to_string(), advice)
}

impl Files {
    fn examine(&self, is_reader: bool) -> Result<Examined, Error> {
        let folder = self.open()?;
        let ancestors = || self.path.ancestors().skip(usize::from(folder.is_none()));
        let place = ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
        let shown = self.path.display();
        let mut findings = vec![if folder.is_some() {
            Finding::ok("directory", format!("{shown}"))
        } else {
            Finding::ok(
                "directory",
                format!("{shown} does not exist yet: the first publish makes it, in {}", place.display()),
            )
        }];
        #[cfg(unix)]
        {
            findings.push(trail::examine(&self.path));
            findings.extend(folder.as_ref().map(|folder| self.owner(folder)));
        }
        findings.push(if is_reader {
            Finding::ok("access", "a reader writes nothing")
        } else {
            access(&place)
        });
        Ok(Examined { findings, exists: folder.is_some(), place })
    }

    #[cfg(unix)]
    fn owner(&self, folder: &Folder) -> Finding {
        let user = rustix::process::geteuid().as_raw();
        let (owner, mode) = match folder.owner_and_mode() {
            Ok(found) => found,
            Err(cause) => return Finding::unchecked("owner", cause.to_string()),
        };
        if mode & 0o022 != 0 {
            let message = format!("mode {mode:04o}: other users can change what is evaluated here");
            Finding::warning("owner", message, format!("chmod 700 '{}'", self.path.display()))
        } else if owner != user {
            let message = format!("it belongs to the user {owner}, this process to {user}");
            Finding::warning("owner", message, "run all processes as one user, or give each user a directory")
        } else {
            Finding::ok("owner", format!("this user, mode {mode:04o}"))
        }
    }
}

async fn lock_works(store: &DirectoryStore) -> Finding {
    match store.locked(store.timeout, |_, _| Ok(())).await {
        Ok(Some(())) => Finding::ok("lock", "can be taken"),
        Ok(None) => {
            let advice = "find who holds it (`lsof` on the file `lock`): a process may be stopped";
            Finding::error("lock", "somebody keeps it", advice)
        }
        Err(error) => {
            let advice = "remove it, if it is not a regular file of ours; choose a disk of this host: some network \
                mounts have no locks";
            Finding::error("lock", error.to_string(), advice)
        }
    }
}

/// Makes a directory there, and removes it.
fn access(place: &Path) -> Finding {
    let probe = place.join(format!("doctor-{:016x}.tmp", fastrand::u64(..)));
    match fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)) {
        Ok(()) => Finding::ok("access", format!("{} can be written", place.display())),
        Err(cause) => {
            let message = format!("{} cannot be written: {cause}", place.display());
            Finding::error(
                "access",
                message,
                "let this user write there, or name another directory with --url file:///…",
            )
        }
    }
}

#[cfg(unix)]
fn filesystem(place: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(found) = rustix::fs::statvfs(place) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let message = format!("{} MiB free", free / MIB);
        findings.push(match free {
            free if free < MIB => Finding::error("space", message, "make room: nothing can be published"),
            free if free < 64 * MIB => Finding::warning("space", message, "make room before it is full"),
            _ => Finding::ok("space", message),
        });
    }
    findings.extend(kind(place));
    findings
}

#[cfg(not(unix))]
fn filesystem(_place: &Path) -> Vec<Finding> {
    vec![Finding::unchecked("filesystem", "not on this system")]
}

/// A network's file system may be another host's too, and its locks and renames are not what they are here.
#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_cast, reason = "the type of f_type differs between libcs")]
fn kind(place: &Path) -> Option<Finding> {
    /// Those of linux/magic.h that reach over a network: NFS, SMB, CIFS, SMB2, Ceph, AFS, 9P, FUSE.
    const REMOTE: [u32; 8] =
        [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x00C3_6400, 0x5346_414F, 0x0102_1997, 0x6573_5546];
    let found = rustix::fs::statfs(place).ok()?;
    Some(if REMOTE.contains(&(found.f_type as u32)) {
        let message = "it may reach over a network, where locks are not what they are here";
        Finding::warning("filesystem", message, "choose a disk of this host; between hosts, use Redis")
    } else {
        Finding::ok("filesystem", "of this host")
    })
}

#[cfg(all(unix, not(target_os = "linux")))]
fn kind(_place: &Path) -> Option<Finding> {
    Some(Finding::unchecked("filesystem", "not on this system"))
}
