use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::FileMode;

pub struct Folder(OwnedFd);

const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OPEN.union(OFlags::RDONLY).union(OFlags::DIRECTORY);

impl FileMode {
    fn bits(self) -> Mode {
        match self {
            // The mode that `File::create` uses, before the umask.
            FileMode::Shared => Mode::from_raw_mode(0o666),
            FileMode::Private => Mode::RUSR | Mode::WUSR,
        }
    }
}

impl Folder {
    /// Opens a directory; the links above it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        opened(sys::open(path, DIRECTORY, Mode::empty()))
    }

    pub fn open_in(&self, name: &str) -> io::Result<Self> {
        opened(sys::openat(&self.0, name, DIRECTORY, Mode::empty()))
    }

    /// Makes a directory for this user alone, with all above it, where there is nothing.
    pub fn make(path: &Path) -> io::Result<()> {
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            // If it exists, it is checked when it is opened.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    pub fn make_in(&self, name: &str) -> io::Result<()> {
        match sys::mkdirat(&self.0, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Removes the permissions of all other users; `false`: it belongs to another user.
    pub fn make_private(&self) -> io::Result<bool> {
        let (owner, mode) = self.owner_and_mode()?;
        if owner != rustix::process::geteuid().as_raw() {
            return Ok(false);
        }
        if mode & 0o077 != 0 {
            sys::fchmod(&self.0, Mode::RWXU)?;
        }
        Ok(true)
    }

    #[allow(clippy::useless_conversion, reason = "the mode differs in width between systems")]
    pub fn owner_and_mode(&self) -> io::Result<(u32, u32)> {
        let found = sys::fstat(&self.0)?;
        Ok((found.st_uid, u32::from(Mode::from_raw_mode(found.st_mode).bits())))
    }

    /// Opens a regular file; `None` where there is none. Never blocks, for example on a FIFO without a writer.
    pub fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        match sys::openat(&self.0, name, OPEN | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(file) => Ok(regular(file)?),
            // A link, and a socket.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::OPNOTSUPP) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Opens the file that is locked, made where it is missing.
    pub fn open_lock(&self, name: &str, mode: FileMode) -> io::Result<File> {
        let flags = OPEN | OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK;
        let file = regular(sys::openat(&self.0, name, flags, mode.bits())?)?;
        file.ok_or_else(|| io::Error::other(format!("{name} is not a regular file")))
    }

    /// Makes a file that was not there.
    pub fn create_file(&self, name: &str, mode: FileMode) -> io::Result<File> {
        let flags = OPEN | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(sys::openat(&self.0, name, flags, mode.bits())?.into())
    }

    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(sys::renameat(&self.0, from, &self.0, to)?)
    }

    /// Removes whatever has this name and is not a directory; says whether there was anything.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        match sys::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Whether anything has this name.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        Ok(self.stat(name)?.is_some())
    }

    pub fn is_directory(&self, name: &str) -> io::Result<bool> {
        Ok(self.stat(name)?.is_some_and(|found| FileType::from_raw_mode(found.st_mode).is_dir()))
    }

    /// The length of a regular file; `None` where there is none.
    pub fn length(&self, name: &str) -> io::Result<Option<u64>> {
        let found = self.stat(name)?.filter(|found| FileType::from_raw_mode(found.st_mode).is_file());
        Ok(found.and_then(|found| u64::try_from(found.st_size).ok()))
    }

    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn stat(&self, name: &str) -> io::Result<Option<sys::Stat>> {
        match sys::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }
}

fn opened(directory: rustix::io::Result<OwnedFd>) -> io::Result<Folder> {
    match directory {
        Ok(directory) => Ok(Folder(directory)),
        // The result for a link at the end of the path differs between systems.
        Err(Errno::LOOP) => Err(Errno::NOTDIR.into()),
        Err(cause) => Err(cause.into()),
    }
}

fn regular(file: OwnedFd) -> io::Result<Option<File>> {
    let found = sys::fstat(&file)?;
    Ok(FileType::from_raw_mode(found.st_mode).is_file().then(|| file.into()))
}
