//! The stored form of a text: the text itself, zstd of it, or a patch.
//!
//! Stored bytes are not trusted. They expand to at most [`MAX_TEXT_BYTES`], and the caller compares the hash of the
//! text with the version that it requested.

use std::io::{self, Read};

use bytes::Bytes;

use crate::definitions::patch::{self, Base, is_patch};
use crate::error::{Code, Error, Result};
use crate::limits::{MAX_STORED_BYTES, MAX_TEXT_BYTES, require};

/// `Compression::Auto` compresses from this size on. Below it, a network packet costs the same.
pub const AUTO_COMPRESS_FROM: usize = 64 * 1024;

/// The first bytes of a zstd frame (RFC 8878, 3.1.1). JSON text never begins with them.
pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The fastest level that still finds repetitions in JSON.
const ZSTD_LEVEL: i32 = 3;

/// A patch is stored if its length is at most this fraction of the stored text.
const PATCH_PAYS_FROM: usize = 4;

/// Whether snapshots are compressed in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zstd for large ones, where bytes cross a network.
    Auto,
    /// zstd always.
    Zstd,
    /// Never: plain JSON for other programs that read the key.
    None,
}

/// A snapshot as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Its JSON, or zstd of it.
    pub bytes: Bytes,
    /// The patch from the previous version. Only stores behind a network keep it.
    pub patch: Option<Bytes>,
}

impl Encoded {
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl From<Bytes> for Encoded {
    fn from(bytes: Bytes) -> Self {
        Encoded { bytes, patch: None }
    }
}

/// Encodes `text` for a store, with a patch if it replaces `base` and the patch is short.
pub fn encode(text: &str, compression: Compression, base: Option<Base>) -> io::Result<Encoded> {
    let is_plain = match compression {
        Compression::Auto => text.len() < AUTO_COMPRESS_FROM,
        Compression::Zstd => false,
        Compression::None => text.len() as u64 <= MAX_STORED_BYTES,
    };
    let bytes = match is_plain {
        true => Bytes::copy_from_slice(text.as_bytes()),
        false => zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL)?.into(),
    };
    // With plain JSON, other programs read it, or it crosses no network.
    let base = base.filter(|_| compression != Compression::None);
    let limit = bytes.len() / PATCH_PAYS_FROM;
    // An error usually means that the patch would be longer. The whole text is enough in any case.
    let patch = base.and_then(|base| patch::make(text, base, limit).ok());
    Ok(Encoded { bytes, patch: patch.map(Bytes::from) })
}

/// The text in these stored bytes; if they are a patch to `base`, its result.
pub fn decode(bytes: &[u8], base: Option<Base>) -> Result<Vec<u8>> {
    if let (true, Some(base)) = (is_patch(bytes), base) {
        patch::apply(bytes, base, MAX_TEXT_BYTES)
            .map_err(|cause| corrupt("their patch does not match").caused_by(cause))
    } else if bytes.starts_with(&ZSTD_MAGIC) {
        decompress(bytes, MAX_TEXT_BYTES)
            .map_err(|cause| corrupt("they cannot be decompressed").caused_by(cause))
    } else {
        require(bytes.len(), MAX_TEXT_BYTES, "bytes of text")
            .map_err(|cause| corrupt("they are too large").caused_by(cause))?;
        Ok(bytes.to_vec())
    }
}

/// The error for stored bytes that do not match the state.
pub fn corrupt(what: &str) -> Error {
    Error::new(Code::Corrupt, format!("the stored definitions are corrupt: {what}")).advising(
        "At its next poll, a process restores them, or fetches them again. To fetch them now, run `npx posthog-flag-cache refresh`.",
    )
}

/// Decompresses up to `limit` bytes; more are an error.
fn decompress(bytes: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    zstd::Decoder::new(bytes)?.take(limit as u64 + 1).read_to_end(&mut text)?;
    if text.len() > limit { Err(patch::expands_too_far(limit)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1_000_000;

    /// Hexadecimal digits that hardly repeat.
    fn random(length: usize) -> String {
        let mut random = fastrand::Rng::with_seed(1);
        std::iter::repeat_with(|| format!("{:016x}", random.u64(..))).take(length / 16).collect()
    }

    #[test]
    fn a_patch_is_stored_if_it_has_at_most_a_quarter_of_the_compressed_length() {
        let old = random(100_000);
        let with_new = |length: usize| {
            let new: String = old[..length].chars().rev().collect();
            encode(
                &(old[length..].to_owned() + &new),
                Compression::Zstd,
                Some(Base { text: &old, version: "0" }),
            )
            .unwrap()
        };
        let short = with_new(20_000);
        assert!(short.patch.unwrap().len() * 4 <= short.bytes.len());
        assert_eq!(with_new(30_000).patch, None);
    }

    #[test]
    fn a_compressed_bomb_is_refused_at_the_limit() {
        let bomb = zstd::bulk::compress(&vec![b' '; LIMIT], 19).unwrap();
        assert!(bomb.len() < 200);
        assert_eq!(decompress(&bomb, LIMIT).unwrap().len(), LIMIT);
        assert!(decompress(&bomb, LIMIT - 1).is_err());
    }
}
