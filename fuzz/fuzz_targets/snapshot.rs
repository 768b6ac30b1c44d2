//! Whatever is stored as a snapshot: refused, or what JavaScript then gets is its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::definitions::slices::Delivery;
use posthog_flag_cache::definitions::pieces::{Member, Parts};
use posthog_flag_cache::definitions::codec::Compression;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::limits::MAX_PIECES;
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    let _ = Snapshot::decode(bytes, "", None);
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = Snapshot::from_api(text.to_owned());
    let Ok(snapshot) = Snapshot::new(text.to_owned()) else { return };
    for compression in [Compression::Zstd, Compression::None] {
        let stored = snapshot.encode(compression, None).unwrap();
        assert_eq!(Snapshot::decode(&stored.bytes, snapshot.version(), None).unwrap(), snapshot);
    }
    let all = pieces(&Delivery::new(&snapshot, None));
    let leaves = |member: &Member| match &member.parts {
        Parts::Array(elements) => elements.len(),
        Parts::Object(entries) => entries.len(),
        Parts::None => 1,
    };
    assert_eq!(all, snapshot.pieces().members.iter().map(leaves).sum::<usize>());
    assert!(all <= MAX_PIECES);
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
