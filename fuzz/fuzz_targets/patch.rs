//! Any patch for any base makes at most so much, and what we make ourselves makes the new text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::definitions::codec::{Base, PATCH_TAG, apply_patch, make_patch};

const LIMIT: usize = 1 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

// Bytes after the magic number, base, new text.
fuzz_target!(|input: (&[u8], &str, &str)| {
    let (frame, base, new) = input;
    let base = Base { text: base, version: "0" };
    let foreign = [PATCH_TAG, base.version.as_bytes(), &ZSTD_MAGIC, frame].concat();
    if let Ok(text) = apply_patch(&foreign, base, LIMIT) {
        assert!(text.len() <= LIMIT);
    }
    let made = make_patch(new, base, LIMIT).unwrap();
    assert_eq!(apply_patch(&made, base, LIMIT).unwrap(), new.as_bytes());
});
