//! File system calls that block for ever.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tempfile::TempDir;

/// Opening this file blocks until this is dropped, whatever flags it is opened with.
pub struct BlockedFile {
    _listener: OwnedFd,
}

impl BlockedFile {
    /// `None` without the permission.
    pub fn new(file: &Path) -> Option<Self> {
        let path = c_path(file);
        // SAFETY: makes a descriptor, which nobody else has; the path ends in a zero.
        unsafe {
            let descriptor = libc::fanotify_init(libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC, 0);
            if descriptor < 0 {
                return None;
            }
            let descriptor = OwnedFd::from_raw_fd(descriptor);
            let (add, what) = (libc::FAN_MARK_ADD, libc::FAN_OPEN_PERM);
            let marked =
                libc::fanotify_mark(descriptor.as_raw_fd(), add, what, libc::AT_FDCWD, path.as_ptr());
            (marked == 0).then_some(BlockedFile { _listener: descriptor })
        }
    }
}

/// A mount whose server never answers: every call below it blocks until this is dropped.
pub struct DeadMount {
    place: TempDir,
    _server: std::fs::File,
}

impl DeadMount {
    /// `None` without the permission.
    pub fn new() -> Option<Self> {
        let server = std::fs::File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let place = TempDir::new().ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let (at, options) = (c_path(place.path()), CString::new(options).ok()?);
        let (kind, flags) = (c"fuse".as_ptr(), libc::MS_NODEV | libc::MS_NOSUID);
        // SAFETY: all strings end in a zero.
        let mounted = unsafe { libc::mount(kind, at.as_ptr(), kind, flags, options.as_ptr().cast()) == 0 };
        mounted.then_some(DeadMount { place, _server: server })
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        // SAFETY: the path ends in a zero.
        unsafe { libc::umount2(c_path(self.place.path()).as_ptr(), libc::MNT_DETACH) };
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}
