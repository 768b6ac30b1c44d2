//! Makes and applies patches. A patch turns the text of one version into that of the next.
//!
//! ```text
//! patch = TAG, version of the base (64 hexadecimal digits), a zstd frame whose prefix is the text of the base
//! ```

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use crate::limits::MAX_TEXT_BYTES;

/// How a patch begins. `redis/read.lua` reads the version that follows.
pub const TAG: &[u8] = b"PATCH2:";

/// Long-distance matching finds the parts that the base contains. A higher level takes longer and gains 5 %.
const LEVEL: i32 = 1;

/// The window spans a base and a text of the maximum size, so that a text can copy from all of its base.
const WINDOW_LOG: u32 = (2 * MAX_TEXT_BYTES).ilog2();

/// The earlier text that a patch starts from.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    pub text: &'a str,
    pub version: &'a str,
}

/// Whether these bytes from a store are a patch.
pub fn is_patch(bytes: &[u8]) -> bool {
    bytes.starts_with(TAG)
}

/// The patch from `base` to `text`: at most `limit` bytes.
pub fn make(text: &str, base: Base, limit: usize) -> io::Result<Vec<u8>> {
    let mut patch = [TAG, base.version.as_bytes()].concat();
    // zstd stops as soon as this is full: a text that shares little with its base costs less than compressing it again.
    let mut frame = Vec::with_capacity(limit.saturating_sub(patch.len()));
    let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(WINDOW_LOG),
        // The other match finder keeps only the end of a base of megabytes.
        CParameter::EnableLongDistanceMatching(true),
    ] {
        context.set_parameter(parameter).map_err(zstd_error)?;
    }
    context.ref_prefix(base.text.as_bytes()).map_err(zstd_error)?;
    context.compress2(&mut frame, text.as_bytes()).map_err(zstd_error)?;
    patch.append(&mut frame);
    Ok(patch)
}

/// The result of applying a patch to `base`: at most `limit` bytes.
pub fn apply(patch: &[u8], base: Base, limit: usize) -> io::Result<Vec<u8>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let frame = patch
        .strip_prefix(TAG)
        .and_then(|rest| rest.strip_prefix(base.version.as_bytes()))
        .ok_or_else(|| invalid("it is for another version"))?;
    let length = zstd_safe::get_frame_content_size(frame).ok().flatten();
    let length = length.ok_or_else(|| invalid("it does not give the length of the text"))?;
    if length > limit as u64 {
        return Err(expands_too_far(limit));
    }
    // In one call, into a buffer of the declared length, zstd needs no window, whatever size the frame asks for.
    let mut text = Vec::with_capacity(length as usize);
    let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context.ref_prefix(base.text.as_bytes()).map_err(zstd_error)?;
    context.decompress(&mut text, frame).map_err(zstd_error)?;
    Ok(text)
}

pub(super) fn expands_too_far(limit: usize) -> io::Error {
    io::Error::other(format!("it expands to more than {limit} bytes"))
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::codec::ZSTD_MAGIC;

    const LIMIT: usize = 1_000_000;

    fn base(text: &str) -> Base<'_> {
        Base { text, version: "0" }
    }

    /// A patch of this frame for [`base`].
    fn patch_of(frame: &[u8]) -> Vec<u8> {
        [TAG, b"0", frame].concat()
    }

    fn flags() -> Vec<String> {
        (0..500).map(|id| format!(r#"{{"id":{id},"key":"flag {id}","seed":{}}}"#, id * 7919 % 1000)).collect()
    }

    /// Hexadecimal digits that hardly repeat.
    fn random(length: usize) -> String {
        let mut random = fastrand::Rng::with_seed(1);
        std::iter::repeat_with(|| format!("{:016x}", random.u64(..))).take(length / 16).collect()
    }

    /// The length of the patch, whose outcome is the new text.
    fn patched(old: &[String], new: &[String]) -> usize {
        let (old, new) = (old.join(", "), new.join(", "));
        let patch = make(&new, base(&old), LIMIT).unwrap();
        assert_eq!(apply(&patch, base(&old), LIMIT).unwrap(), new.as_bytes());
        patch.len()
    }

    #[test]
    fn a_patch_makes_the_new_text_whatever_changed() {
        let (old, mut new) = (flags(), flags());
        assert!(patched(&old, &new) < 50, "nothing changed");
        new[250] = r#"{"new":"flag"}"#.to_owned();
        assert!(patched(&old, &new) < 100, "one flag changed");
        new.insert(100, r#"{"id":-1}"#.to_owned());
        new.remove(400);
        new.swap(10, 490);
        assert!(patched(&old, &new) < 200, "some were added, removed and moved");
        new.reverse();
        patched(&old, &new);
        patched(&old, &[]);
        patched(&[], &old);
        patched(&vec!["1".to_owned(); 400], &vec!["1".to_owned(); 500]);
    }

    #[test]
    fn a_patch_for_one_edited_flag_is_small_whatever_the_size_of_the_definitions() {
        let definitions = |bytes: usize, version: usize| {
            let values = random(bytes);
            let flag = |(id, value): (usize, &[u8])| {
                let version = if id == 100 { version } else { 1 };
                format!(r#"{{"id":{id},"version":{version},"value":"{}"}}"#, String::from_utf8_lossy(value))
            };
            let flags: Vec<_> = values.as_bytes().chunks(2_000).enumerate().map(flag).collect();
            flags.join(",")
        };
        for (bytes, limit) in [(500_000, 150), (5_000_000, 1_000)] {
            let (old, new) = (definitions(bytes, 1), definitions(bytes, 2));
            let patch = make(&new, base(&old), LIMIT).unwrap();
            assert!(patch.len() < limit, "{} of {bytes} bytes", patch.len());
            assert_eq!(apply(&patch, base(&old), MAX_TEXT_BYTES).unwrap(), new.as_bytes());
        }
    }

    #[test]
    fn a_patch_copies_from_the_start_and_the_end_of_the_largest_base() {
        let old = random(MAX_TEXT_BYTES);
        let (head, tail) = old.split_at(MAX_TEXT_BYTES / 2);
        let new = format!("{tail}{}", &head[..head.len() - 1]);
        let patch = make(&new, base(&old), LIMIT).unwrap();
        assert!(patch.len() < 20_000, "{} bytes", patch.len());
        assert!(apply(&patch, base(&old), MAX_TEXT_BYTES).unwrap() == new.as_bytes());
    }

    #[test]
    fn a_patch_is_made_only_up_to_the_limit() {
        let (old, new) = (flags().join(","), random(1_000));
        let length = make(&new, base(&old), LIMIT).unwrap().len();
        assert!(make(&new, base(&old), length / 2).is_err());
        assert!(make(&new, base(&old), 0).is_err());
        assert!(make(&new, base(&old), 2 * length).unwrap().len() <= 2 * length);
    }

    #[test]
    fn a_patch_for_another_version_is_refused() {
        let text = flags().join(",");
        let patch = make(&text, base(&text), LIMIT).unwrap();
        let other = Base { text: &text, version: "1" };
        assert!(apply(&patch, other, LIMIT).unwrap_err().to_string().contains("another version"));
    }

    #[test]
    fn a_damaged_patch_is_refused_or_makes_something_else_but_never_more_than_the_limit() {
        let (old, mut new) = (flags(), flags());
        new.reverse();
        let (old, new) = (old.join(","), new.join(","));
        let patch = make(&new, base(&old), LIMIT).unwrap();
        for length in 0..patch.len() {
            assert!(apply(&patch[..length], base(&old), LIMIT).is_err(), "the first {length} bytes");
        }
        for at in 0..patch.len() {
            for bit in 0..8 {
                let mut damaged = patch.clone();
                damaged[at] ^= 1 << bit;
                let outcome = apply(&damaged, base(&old), LIMIT);
                assert!(
                    outcome.is_err() || outcome.is_ok_and(|text| text.len() <= LIMIT),
                    "bit {bit} of {at}"
                );
            }
        }
        let shorter = &old[..old.len() / 2];
        let outcome = apply(&patch, base(shorter), LIMIT);
        assert!(outcome.is_err() || outcome.is_ok_and(|text| text != new.as_bytes()), "of another base");
    }

    #[test]
    fn a_patch_that_expands_too_far_is_refused_before_it_expands() {
        let frame = zstd::bulk::compress(&vec![b' '; LIMIT], 3).unwrap();
        assert!(frame.len() < 100);
        assert_eq!(apply(&patch_of(&frame), base(""), LIMIT).unwrap().len(), LIMIT);
        let error = apply(&patch_of(&frame), base(""), LIMIT - 1).unwrap_err();
        assert_eq!(error.to_string(), "it expands to more than 999999 bytes");
    }

    #[test]
    fn a_patch_whose_text_is_not_as_long_as_it_says_is_refused() {
        // A single segment with two bytes of content size, less 256 (RFC 8878, 3.1.1.1).
        let frame = zstd::bulk::compress(&[b' '; 1_000], 3).unwrap();
        assert_eq!(frame[4..7], [0x60, 0xE8, 0x02]);
        for (low, high) in [(0xE7, 0x02), (0xE9, 0x02), (0, 0), (0xFF, 0xFF)] {
            let mut lying = frame.clone();
            lying[5..7].copy_from_slice(&[low, high]);
            assert!(apply(&patch_of(&lying), base(""), LIMIT).is_err(), "{low} {high}");
        }
        assert!(apply(&patch_of(&frame.repeat(2)), base(""), LIMIT).is_err(), "two frames");
    }

    #[test]
    fn a_patch_that_does_not_say_how_long_its_text_is_is_refused() {
        // No content size, a window of 2 GiB; then one block of 131,071 blanks.
        let frame = [&ZSTD_MAGIC[..], &[0x00, 0xA8], &[0xFB, 0xFF, 0x0F, b' ']].concat();
        let error = apply(&patch_of(&frame), base(""), LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "it does not give the length of the text");
    }

    #[test]
    fn a_patch_is_applied_without_the_window_that_its_frame_asks_for() {
        // A window of 2 GiB, and a content size of 131,071 bytes; then one block of that many blanks.
        let frame =
            [&ZSTD_MAGIC[..], &[0x80, 0xA8], &[0xFF, 0xFF, 0x01, 0], &[0xFB, 0xFF, 0x0F, b' ']].concat();
        assert_eq!(apply(&patch_of(&frame), base(""), LIMIT).unwrap(), [b' '; 0x1_FFFF]);
    }
}
