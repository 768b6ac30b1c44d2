//! Whether a directory will do.

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{DirectoryStore, Files, LOCK_RETRY};
use crate::doctor::Finding;
use crate::options::{Directory, Options, Role};

#[cfg(unix)]
const MIB: u64 = 1024 * 1024;

/// Examines the directory, the rights in it, its lock and its file system.
pub async fn examine(directory: &Directory, options: &Options) -> Vec<Finding> {
    let store = DirectoryStore::new(directory.clone(), options);
    let (limit, is_reader) = (options.command_timeout, options.role == Role::Reader);
    let findings = store.blocking(move |files| Ok(files.examine(limit, is_reader))).await;
    findings.unwrap_or_else(|error| {
        let advice = "is it on a network mount that hangs? Choose a disk of this host";
        vec![Finding::error("directory", error.to_string(), advice)]
    })
}

impl Files {
    fn examine(&self, limit: Duration, is_reader: bool) -> Vec<Finding> {
        let exists = match fs::metadata(&self.path) {
            Ok(file) => file.is_dir(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => false,
            Err(cause) => return vec![self.unusable(&cause)],
        };
        // Where it does not exist, the first above it that does.
        let place: PathBuf =
            self.path.ancestors().find(|path| path.exists()).map_or_else(|| "/".into(), Into::into);
        let shown = self.path.display();
        let mut findings = vec![if exists {
            Finding::ok("directory", format!("{shown}"))
        } else {
            Finding::ok(
                "directory",
                format!("{shown} does not exist yet: the first publish makes it, in {}", place.display()),
            )
        }];
        findings.extend(self.owner(exists));
        findings.push(if is_reader {
            Finding::ok("access", "a reader writes nothing")
        } else {
            access(&place)
        });
        if exists && !is_reader {
            findings.push(self.lock_works(limit));
        }
        findings.extend(filesystem(&place));
        findings
    }

    fn unusable(&self, cause: &io::Error) -> Finding {
        let message = format!("{} cannot be looked at: {cause}", self.path.display());
        Finding::error("directory", message, "name a directory that this user can read and write")
    }

    #[cfg(unix)]
    fn owner(&self, exists: bool) -> Option<Finding> {
        use std::os::unix::fs::MetadataExt;
        // SAFETY: geteuid has no preconditions and cannot fail.
        let user = unsafe { libc::geteuid() };
        if self.base.is_default
            && let Ok(base) = fs::symlink_metadata(&self.base.path)
            && (!base.is_dir() || base.uid() != user)
        {
            let message = format!("{} belongs to somebody else", self.base.path.display());
            return Some(Finding::error("owner", message, "name another directory with --url file:///…"));
        }
        if !exists {
            return None;
        }
        let Ok(file) = fs::metadata(&self.path) else { return None };
        let mode = file.mode() & 0o7777;
        Some(if mode & 0o022 != 0 {
            let message = format!("mode {mode:04o}: other users can change what is evaluated here");
            Finding::warning("owner", message, format!("chmod 700 '{}'", self.path.display()))
        } else if file.uid() != user {
            let message = format!("it belongs to the user {}, this process to {user}", file.uid());
            Finding::warning("owner", message, "run all processes as one user, or give each user a directory")
        } else {
            Finding::ok("owner", format!("this user, mode {mode:04o}"))
        })
    }

    /// Elsewhere the system's own rights decide, and the next check meets them.
    #[cfg(not(unix))]
    fn owner(&self, _exists: bool) -> Option<Finding> {
        None
    }

    fn lock_works(&self, limit: Duration) -> Finding {
        let lock = match self.open_lock() {
            Ok(lock) => lock,
            Err(error) => {
                return Finding::error("lock", error.to_string(), "remove it, if it is not a file of ours");
            }
        };
        // Less than the whole limit, in which this examination must end.
        let deadline = Instant::now() + limit / 2;
        loop {
            match lock.try_lock() {
                Ok(()) => return Finding::ok("lock", "can be taken"),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => {
                    let advice = "find who holds it (`lsof` on the file `lock`): a process may be stopped";
                    return Finding::error("lock", "somebody keeps it", advice);
                }
                Err(TryLockError::Error(cause)) => {
                    let advice = "choose a disk of this host: some network mounts have no locks";
                    return Finding::error("lock", format!("cannot be taken: {cause}"), advice);
                }
            }
        }
    }
}

/// Makes a directory there, and removes it.
fn access(place: &Path) -> Finding {
    let probe = place.join(format!("doctor-{}.tmp", std::process::id()));
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
    if let Some(free) = free_bytes(place) {
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

#[cfg(unix)]
#[allow(clippy::unnecessary_cast, reason = "the fields differ in width between systems")]
fn free_bytes(place: &Path) -> Option<u64> {
    let found = statistics(place, libc::statvfs)?;
    Some((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

/// A network's file system may be another host's too, and its locks and renames are not what they are here.
#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_cast, reason = "the type of f_type differs between libcs")]
fn kind(place: &Path) -> Option<Finding> {
    /// Those of linux/magic.h that reach over a network: NFS, SMB, CIFS, SMB2, Ceph, AFS, 9P, FUSE.
    const REMOTE: [u32; 8] =
        [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x00C3_6400, 0x5346_414F, 0x0102_1997, 0x6573_5546];
    let found = statistics(place, libc::statfs)?;
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

/// What `statvfs`, or `statfs`, knows of the place.
#[cfg(unix)]
fn statistics<T>(
    place: &Path,
    call: unsafe extern "C" fn(*const libc::c_char, *mut T) -> libc::c_int,
) -> Option<T> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(place.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::uninit();
    // SAFETY: the path ends in a zero, and both calls fill the struct where they return 0.
    unsafe { (call(path.as_ptr(), found.as_mut_ptr()) == 0).then(|| found.assume_init()) }
}
