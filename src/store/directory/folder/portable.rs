use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FileMode;

/// What Windows answers while another program, such as a virus scanner, has the file open, or while a file is being replaced:
/// ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION and ERROR_LOCK_VIOLATION.
const IN_USE: [i32; 3] = [5, 32, 33];

/// How often, and after what delay, an operation on such a file is tried again.
const RETRIES: u32 = 20;
const RETRY_DELAY: Duration = Duration::from_millis(5);

/// By its path: on other systems than Unix, these directories belong to the user, and creating links needs a
/// permission.
pub struct Folder(PathBuf);

impl Folder {
    /// Opens a directory; the links above it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path)?.is_dir() {
            Ok(Folder(path.to_owned()))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    pub fn open_in(&self, name: &str) -> io::Result<Self> {
        Folder::open(&self.0.join(name))
    }

    /// Makes a directory, with all above it, where there is nothing.
    pub fn make(path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    pub fn make_in(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.0.join(name))
    }

    /// The system gives the directory the permissions of the one above it: nothing to do.
    pub fn make_private(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Opens a regular file; `None` where there is none.
    pub fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        match self.length(name)? {
            Some(_) => unless_missing(while_in_use(&self.0.join(name), |path| File::open(path))),
            None => Ok(None),
        }
    }

    /// Opens the file that is locked, made where it is missing.
    /// The system gives it the permissions of the directory.
    pub fn open_lock(&self, name: &str, _: FileMode) -> io::Result<File> {
        // Windows locks no file that is open for appending alone.
        while_in_use(&self.0.join(name), |path| {
            File::options().create(true).write(true).truncate(false).open(path)
        })
    }

    /// Makes a file that was not there.
    /// The system gives it the permissions of the directory.
    pub fn create_file(&self, name: &str, _: FileMode) -> io::Result<File> {
        File::options().create_new(true).write(true).open(self.0.join(name))
    }

    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        while_in_use(&self.0.join(to), |to| fs::rename(self.0.join(from), to))
    }

    /// Removes whatever has this name and is not a directory; says whether there was anything.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let removed = while_in_use(&self.0.join(name), |path| fs::remove_file(path));
        Ok(unless_missing(removed)?.is_some())
    }

    /// Whether anything has this name.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        Ok(unless_missing(fs::symlink_metadata(self.0.join(name)))?.is_some())
    }

    pub fn is_directory(&self, name: &str) -> io::Result<bool> {
        let found = unless_missing(fs::symlink_metadata(self.0.join(name)))?;
        Ok(found.is_some_and(|found| found.is_dir()))
    }

    /// The length of a regular file; `None` where there is none.
    pub fn length(&self, name: &str) -> io::Result<Option<u64>> {
        let found = unless_missing(fs::symlink_metadata(self.0.join(name)))?;
        Ok(found.filter(|found| found.is_file()).map(|found| found.len()))
    }

    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }
}

/// Tries again as long as another program has the file open, up to a limit.
fn while_in_use<T>(path: &Path, work: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let is_in_use = |cause: &io::Error| cause.raw_os_error().is_some_and(|code| IN_USE.contains(&code));
    for _ in 0..RETRIES {
        match work(path) {
            // A directory is refused with the same error, for good.
            Err(cause) if is_in_use(&cause) && !path.is_dir() => std::thread::sleep(RETRY_DELAY),
            done => return done,
        }
    }
    work(path)
}

fn unless_missing<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}
