//! Whatever is stored as a snapshot: refused, or what JavaScript then gets is its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::definitions::delivery::Delivery;
use posthog_flag_cache::limits::{MAX_PIECE_BYTES, MAX_PIECES};
use posthog_flag_cache::definitions::snapshot::{Compression, Snapshot};
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    let _ = Snapshot::decode(bytes, "", None);
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = Snapshot::from_api(text.to_owned());
    let Ok(snapshot) = Snapshot::new(text.to_owned()) else { return };
    assert!(snapshot.pieces().leaves().count() <= MAX_PIECES);
    assert!(snapshot.pieces().leaves().all(|piece| piece.of(text).len() <= MAX_PIECE_BYTES));
    for compression in [Compression::Zstd, Compression::None] {
        let stored = snapshot.encode(compression, None).unwrap();
        assert_eq!(Snapshot::decode(&stored.bytes, snapshot.version(), None).unwrap(), snapshot);
    }
    assert_eq!(pieces(&Delivery::new(&snapshot, None)), snapshot.pieces().leaves().count());
    let nothing = pieces(&Delivery::new(&snapshot, Some(&snapshot)));
    assert_eq!(nothing, 0, "of an unchanged version nothing is new");
});

/// How many there are, before the plan and the version.
fn pieces(delivery: &Delivery) -> usize {
    let elements = |slice: &Vec<u8>| {
        let text: String = slice.iter().copied().map(char::from).collect();
        serde_json::from_str::<Vec<&RawValue>>(&text).unwrap().len()
    };
    delivery.slices.iter().map(elements).sum::<usize>() - 2
}
