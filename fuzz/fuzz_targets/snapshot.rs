//! Whatever is stored as a snapshot: refused, or what JavaScript then gets is its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::delivery::Delivery;
use posthog_flag_cache::snapshot::{Compression, Snapshot};

fuzz_target!(|bytes: &[u8]| {
    let _ = Snapshot::decode(bytes, "", None);
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = Snapshot::from_api(text.to_owned());
    let Ok(snapshot) = Snapshot::new(text.to_owned()) else { return };
    for compression in [Compression::Zstd, Compression::None] {
        let stored = snapshot.encode(compression, None).unwrap();
        assert_eq!(Snapshot::decode(&stored.bytes, snapshot.version(), None).unwrap(), snapshot);
    }
    let all = Delivery::new(&snapshot, None);
    let nothing = Delivery::new(&snapshot, Some(&snapshot));
    assert!(nothing.slices.is_empty(), "of an unchanged version nothing is new");
    assert_eq!(all.slices.is_empty(), snapshot.pieces().leaves().next().is_none());
});
