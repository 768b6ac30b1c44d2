//! Any patch for any base makes at most so much, and what we make ourselves makes the new text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::definitions::patch::{Base, TAG, apply, make};

const LIMIT: usize = 1 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

// Bytes after the magic number, base, new text.
fuzz_target!(|input: (&[u8], &str, &str)| {
    let (frame, base, new) = input;
    let base = Base { text: base, version: "0" };
    let foreign = [TAG, base.version.as_bytes(), &ZSTD_MAGIC, frame].concat();
    if let Ok(text) = apply(&foreign, base, LIMIT) {
        assert!(text.len() <= LIMIT);
    }
    let made = make(new, base, LIMIT).unwrap();
    assert_eq!(apply(&made, base, LIMIT).unwrap(), new.as_bytes());
});
