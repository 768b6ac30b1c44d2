//! Checks whether another user can replace a directory above the store's, and so plant definitions.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::doctor::finding::Finding;

const CHECK: &str = "path";

/// The number of links that Linux follows in one path.
const MAX_LINKS: usize = 40;

/// In a sticky directory, only the owner of an entry, the owner of the directory and root can replace it.
const STICKY: u32 = 0o1000;

/// Checks every directory and link on the path. `option`: the one that names the directory.
pub(super) fn examine(path: &Path, option: &str) -> Finding {
    let entries = match visited(path) {
        Ok(entries) => entries,
        Err(cause) => return Finding::unchecked(CHECK, format!("cannot be checked: {cause}")),
    };
    let faults: Vec<_> = entries.iter().filter_map(|(path, found)| fault(path, found)).collect();
    if faults.is_empty() {
        return Finding::ok(CHECK, "no other user can replace a directory on the path");
    }
    let (messages, advice): (Vec<_>, Vec<_>) = faults.into_iter().unzip();
    let message = format!("{}, so another user can replace the definitions", messages.join("; "));
    let advice = format!("Use another directory, with option '{option}', or run: {}", advice.join("; "));
    Finding::warning(CHECK, message, advice)
}

/// The fault of an entry, and what to do.
fn fault(path: &Path, found: &Metadata) -> Option<(String, String)> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let shown = path.display();
    if ![0, rustix::process::geteuid().as_raw()].contains(&owner) {
        let option = if found.is_symlink() { "-h " } else { "" };
        return Some((format!("{shown} belongs to user {owner}"), format!("chown {option}root '{shown}'")));
    }
    // The mode of a link has no meaning.
    let is_open = mode & 0o022 != 0 && mode & STICKY == 0 && !found.is_symlink();
    is_open.then(|| (format!("{shown} has mode {mode:04o}"), format!("chmod go-w '{shown}'")))
}

/// Every existing directory and link that the system visits before the last part of the path.
fn visited(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let mut entries = Vec::new();
    let mut links = 0;
    let mut place = PathBuf::new();
    let path = std::path::absolute(path)?;
    let mut ahead = parts(path.parent().unwrap_or(&path));
    while let Some(part) = ahead.pop() {
        if part == ".." {
            place.pop();
            continue;
        }
        place.push(part);
        let found = match fs::symlink_metadata(&place) {
            Ok(found) => found,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => break,
            Err(cause) => return Err(cause),
        };
        let is_link = found.is_symlink();
        entries.push((place.clone(), found));
        if is_link {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            ahead.extend(parts(&fs::read_link(&place)?));
            place.pop();
        }
    }
    Ok(entries)
}

/// The parts of a path in reverse order. The root is one: pushing it replaces a whole path.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.rev().map(|part| part.as_os_str().to_owned()).collect()
}
