//! An open directory. Even if the path is replaced meanwhile, all operations use this directory. They follow no
//! symbolic link in it, because another user may have created it.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

use std::io::{self, Read, Write};

#[cfg(not(unix))]
pub use portable::Folder;
#[cfg(unix)]
pub use unix::Folder;

/// Who may read a new file.
#[derive(Clone, Copy)]
pub enum FileMode {
    /// As the umask allows.
    Shared,
    /// This user.
    Private,
}

impl Folder {
    /// The content of a regular file of at most this length; `None` where there is none.
    pub fn read(&self, name: &str, longest: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let length = file.metadata()?.len();
        if length > longest {
            return Ok(None);
        }
        let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        // It may grow meanwhile.
        file.take(length).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Writes a file, either completely or not at all.
    pub fn replace(&self, name: &str, content: &[u8], mode: FileMode) -> io::Result<()> {
        let temporary = format!("{:016x}.tmp", fastrand::u64(..));
        let mut file = self.create_file(&temporary, mode)?;
        let written = file.write_all(content);
        // Windows renames no file that is open.
        drop(file);
        let replaced = written.and_then(|()| match self.rename(&temporary, name) {
            // Which error that is differs between systems.
            Err(_) if self.is_directory(name)? => {
                self.move_aside(name)?;
                self.rename(&temporary, name)
            }
            renamed => renamed,
        });
        if replaced.is_err() {
            let _ = self.remove(&temporary);
        }
        replaced
    }

    /// Renames a directory that is in the place of a file.
    fn move_aside(&self, name: &str) -> io::Result<()> {
        self.rename(name, &format!("{:016x}.moved", fastrand::u64(..)))
    }

    /// Removes a file, or whatever is in its place. Returns whether there was anything.
    pub fn clear(&self, name: &str) -> io::Result<bool> {
        match self.remove(name) {
            Err(_) if self.is_directory(name)? => self.move_aside(name).map(|()| true),
            removed => removed,
        }
    }
}
