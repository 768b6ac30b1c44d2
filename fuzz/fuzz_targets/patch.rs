//! Any patch for any base: it makes at most so much, and what we make ourselves it makes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::definitions::codec;
use posthog_flag_cache::definitions::snapshot::Snapshot;

const LIMIT: usize = 1 << 20;

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (base, new, steps) = input;
    let flags = |text: &str| {
        let flags: Vec<_> = text.split(';').map(|flag| format!("{flag:?}").replace("\\'", "'")).collect();
        Snapshot::new(format!(r#"{{"flags":[],"x":[{}]}}"#, flags.join(",")))
    };
    let Ok(base) = flags(base) else { return };
    let foreign = codec::of_steps(steps, &base).unwrap();
    if let Ok(text) = codec::apply(&foreign, &base, LIMIT) {
        assert!(text.len() <= LIMIT);
    }
    let Ok(new) = flags(new) else { return };
    let made = codec::make(&new, &base).unwrap();
    assert_eq!(codec::apply(&made, &base, LIMIT).unwrap(), new.text().as_bytes());
});
