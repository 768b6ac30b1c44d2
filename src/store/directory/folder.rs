//! A directory that is open. Whatever takes its place in the path meanwhile, everything happens in this one; and no
//! symbolic link in it is followed, because another user may have put it there.

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
    /// Whoever the umask lets.
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

    /// Puts a file in this place, whole or not at all.
    pub fn replace(&self, name: &str, content: &[u8], mode: FileMode) -> io::Result<()> {
        let temporary = format!("{:016x}.tmp", fastrand::u64(..));
        let mut file = self.create_file(&temporary, mode)?;
        let written = file.write_all(content);
        // Windows renames no file that is open.
        drop(file);
        let replaced = written.and_then(|()| match self.rename(&temporary, name) {
            Err(cause) if cause.kind() == io::ErrorKind::IsADirectory => {
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

    /// Gives a directory that somebody has put in the place of a file another name.
    fn move_aside(&self, name: &str) -> io::Result<()> {
        self.rename(name, &format!("{:016x}.moved", fastrand::u64(..)))
    }

    /// Removes a file, or what is in its place; says whether there was anything.
    pub fn clear(&self, name: &str) -> io::Result<bool> {
        match self.remove(name) {
            Err(cause) if cause.kind() == io::ErrorKind::IsADirectory => self.move_aside(name).map(|()| true),
            removed => removed,
        }
    }
}
