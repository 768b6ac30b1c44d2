//! A snapshot told as its difference from another one, which the receiver has.
//!
//! ```text
//! patch = MAGIC, version of the base (64 hexadecimal digits), zstd of the steps
//! step  = length of new text (u32), that text, start (u32) and length (u32) of what to copy of the base
//! ```
//!
//! Numbers are little-endian. Nothing here is trusted: whoever applies a patch holds the outcome
//! against the version that it wanted.

use std::collections::HashMap;
use std::io;

use crate::definitions::snapshot::{Snapshot, ZSTD_LEVEL, decompress};

/// How a patch begins. (`redis/read.lua` reads the version behind it.)
pub const MAGIC: &[u8] = b"PATCH1:";

/// A shorter copy costs more than its text.
const SHORTEST_COPY: usize = 32;

/// The patch that makes `snapshot` of `base`.
pub fn make(snapshot: &Snapshot, base: &Snapshot) -> io::Result<Vec<u8>> {
    of_steps(&steps(snapshot, base), base)
}

/// The patch of these steps, whatever they are.
pub fn of_steps(steps: &[u8], base: &Snapshot) -> io::Result<Vec<u8>> {
    let mut patch = [MAGIC, base.version().as_bytes()].concat();
    patch.extend(zstd::bulk::compress(steps, ZSTD_LEVEL)?);
    Ok(patch)
}

/// The text that a patch makes of `base`: at most `limit` bytes.
pub fn apply(patch: &[u8], base: &Snapshot, limit: usize) -> io::Result<Vec<u8>> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let steps = patch
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.strip_prefix(base.version().as_bytes()))
        .ok_or_else(|| invalid("it is for another version"))?;
    let steps = decompress(steps, limit)?;
    let (mut rest, mut text) = (steps.as_slice(), Vec::with_capacity(base.text().len()));
    while !rest.is_empty() {
        let length = take_number(&mut rest).ok_or_else(|| invalid("it is cut off"))?;
        let (new, behind) = rest.split_at_checked(length).ok_or_else(|| invalid("it is cut off"))?;
        rest = behind;
        let numbers = take_number(&mut rest).zip(take_number(&mut rest));
        let (start, length) = numbers.ok_or_else(|| invalid("it is cut off"))?;
        let copied = base.text().as_bytes().get(start..).and_then(|text| text.get(..length));
        let copied = copied.ok_or_else(|| invalid("it copies what is not there"))?;
        if text.len() + new.len() + length > limit {
            return Err(invalid("its outcome is too large"));
        }
        text.extend_from_slice(new);
        text.extend_from_slice(copied);
    }
    Ok(text)
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_le_bytes(*number) as usize)
}

/// Copies the pieces that both have, with what is alike around them.
fn steps(snapshot: &Snapshot, base: &Snapshot) -> Vec<u8> {
    let (new, old) = (snapshot.text().as_bytes(), base.text().as_bytes());
    let places: HashMap<&str, usize> =
        base.pieces().leaves().map(|piece| (piece.of(base.text()), piece.start())).collect();
    let pieces = snapshot.pieces().leaves().filter_map(|piece| {
        let place = places.get(piece.of(snapshot.text()))?;
        Some((piece.start(), *place))
    });
    let mut steps = Vec::new();
    let mut step = |text: &[u8], start: usize, length: usize| {
        steps.extend((text.len() as u32).to_le_bytes());
        steps.extend(text);
        steps.extend((start as u32).to_le_bytes());
        steps.extend((length as u32).to_le_bytes());
    };
    // How much of the new text is told.
    let mut told = 0;
    for (at, place) in [(0, 0)].into_iter().chain(pieces).chain([(new.len(), old.len())]) {
        if at < told {
            continue;
        }
        let back = alike(new[told..at].iter().rev(), old[..place].iter().rev());
        let ahead = alike(new[at..].iter(), old[place..].iter());
        if back + ahead >= SHORTEST_COPY {
            step(&new[told..at - back], place - back, back + ahead);
            told = at + ahead;
        }
    }
    step(&new[told..], 0, 0);
    steps
}

/// How many of the first items are the same.
fn alike<'a>(a: impl Iterator<Item = &'a u8>, b: impl Iterator<Item = &'a u8>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1_000_000;

    fn snapshot(flags: &[String]) -> Snapshot {
        Snapshot::new(format!(r#"{{"flags":[],"x":[{}],"cohorts":{{"ä":1}}}}"#, flags.join(", "))).unwrap()
    }

    fn flags() -> Vec<String> {
        (0..500).map(|id| format!(r#"{{"id":{id},"key":"flag {id}","seed":{}}}"#, id * 7919 % 1000)).collect()
    }

    /// The length of the patch, having held its outcome against the new text.
    fn patched(base: &[String], new: &[String]) -> usize {
        let (base, new) = (snapshot(base), snapshot(new));
        let patch = make(&new, &base).unwrap();
        assert_eq!(apply(&patch, &base, LIMIT).unwrap(), new.text().as_bytes());
        patch.len()
    }

    #[test]
    fn a_patch_makes_the_new_text_whatever_changed() {
        let (base, mut new) = (flags(), flags());
        assert!(patched(&base, &new) < 112, "nothing changed");
        new[250] = r#"{"new":"flag"}"#.to_owned();
        assert!(patched(&base, &new) < 172, "one flag changed");
        new.insert(100, r#"{"id":-1}"#.to_owned());
        new.remove(400);
        new.swap(10, 490);
        assert!(patched(&base, &new) < 432, "some were added, removed and moved");
        new.reverse();
        patched(&base, &new);
        patched(&base, &[]);
        patched(&[], &base);
        patched(&vec!["1".to_owned(); 400], &vec!["1".to_owned(); 500]);
    }

    #[test]
    fn a_patch_for_another_version_is_refused() {
        let patch = make(&snapshot(&flags()), &snapshot(&[])).unwrap();
        assert!(apply(&patch, &snapshot(&["1".to_owned()]), LIMIT).is_err());
    }

    #[test]
    fn a_damaged_patch_is_refused_or_makes_something_else_but_harms_nobody() {
        let (base, new) = (snapshot(&[]), snapshot(&flags()));
        let steps = steps(&new, &base);
        let patch = |steps: &[u8]| of_steps(steps, &base).unwrap();
        assert_eq!(apply(&patch(&steps), &base, LIMIT).unwrap(), new.text().as_bytes());
        for length in 0..steps.len().min(300) {
            let _ = apply(&patch(&steps[..length]), &base, LIMIT);
        }
        let numbers =
            |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        for broken in [[u32::MAX, 0, 0], [0, u32::MAX, 1], [0, 0, u32::MAX], [1, 0, 0], [0, 20, 20]] {
            assert!(apply(&patch(&numbers(&broken)), &base, LIMIT).is_err(), "{broken:?}");
        }
        assert!(apply(&patch(&steps[..steps.len() - 1]), &base, LIMIT).is_err());
    }

    #[test]
    fn a_patch_cannot_make_more_than_the_limit() {
        let base = snapshot(&flags());
        let copies = |count| [0, 0, 1_000_u32].map(u32::to_le_bytes).concat().repeat(count);
        let patch = |count| of_steps(&copies(count), &base).unwrap();
        assert_eq!(apply(&patch(1_000), &base, LIMIT).unwrap().len(), 1_000_000);
        assert!(apply(&patch(1_001), &base, LIMIT).is_err());
    }
}
