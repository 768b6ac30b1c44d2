//! What `index.d.ts` says of the options.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use posthog_flag_cache::config::options::{
    COLD_START_WAIT_MS, COMMAND_TIMEOUT_MS, CONNECT_TIMEOUT_MS, Given, KEY_PREFIX, MAX_AGE_MS,
    MIN_REFRESH_INTERVAL_MS, REFRESH_INTERVAL_MS,
};

use super::{NUMBERS, names_in_messages, parse};

#[test]
fn the_typings_document_exactly_the_options_that_exist() {
    let documented: BTreeSet<_> = documented_options().into_keys().collect();
    assert_eq!(documented, names_in_messages());
}

#[test]
fn the_typings_document_the_defaults_of_the_code() {
    let options = parse(&[]).unwrap();
    let word = |debug: String| format!("'{}'", debug.to_lowercase());
    let expected = [
        ("keyPrefix", format!("'{KEY_PREFIX}'")),
        ("refreshIntervalMs", grouped(REFRESH_INTERVAL_MS)),
        ("leaseTtlMs", "1.5 times `refreshIntervalMs`".into()),
        (
            "maxAgeMs",
            format!("{} (24 hours), or `refreshIntervalMs` where that is longer", grouped(MAX_AGE_MS)),
        ),
        ("coldStartWaitMs", grouped(COLD_START_WAIT_MS)),
        ("connectTimeoutMs", grouped(CONNECT_TIMEOUT_MS)),
        ("commandTimeoutMs", grouped(COMMAND_TIMEOUT_MS)),
        ("role", word(format!("{:?}", options.role))),
        ("whenUnavailable", word(format!("{:?}", options.when_unavailable))),
        ("whenRefused", word(format!("{:?}", options.when_refused))),
        ("compression", word(format!("{:?}", options.compression))),
        ("localCopy", options.local_copy.is_some().to_string()),
    ];
    let documented = documented_options();
    for (name, default) in expected {
        assert_eq!(default_of(&documented[name]), default, "@default of {name}");
    }
    for (name, text) in &documented {
        let required = name == "projectKey";
        assert_eq!(text.contains("@default"), !required, "{name} has a default, unless it is required");
        assert_eq!(text.contains("Required."), required, "{name}");
        assert_eq!(NUMBERS.contains(&name.as_str()), text.contains("Milliseconds"), "{name} states its unit");
    }
}

#[test]
fn the_typings_document_the_bounds_of_the_code() {
    let documented = documented_options();
    let interval = format!("at least {MIN_REFRESH_INTERVAL_MS}");
    assert!(documented["refreshIntervalMs"].contains(&interval));
    for name in NUMBERS {
        let zero_is_allowed = parse(&[(name, Given::Number(0.0))]).is_ok();
        let what = if zero_is_allowed { "0: " } else { "0 is not allowed" };
        assert!(documented[name].contains(what), "{name} says what 0 means");
    }
}

/// Each option of `index.d.ts` with its comment, as one line without asterisks.
fn documented_options() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("index.d.ts");
    let typings = std::fs::read_to_string(file).unwrap();
    let (_, interface) = typings.split_once("export interface FlagDefinitionCacheOptions {").unwrap();
    let (interface, _) = interface.split_once("\n}").unwrap();
    let mut options = BTreeMap::new();
    for part in interface.split("/**").skip(1) {
        let (comment, declaration) = part.split_once("*/").unwrap();
        let lines = comment.lines().map(|line| line.trim().trim_start_matches('*').trim());
        let (name, _) = declaration.trim().split_once(':').unwrap();
        let words: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        options.insert(name.trim_end_matches('?').to_owned(), words.join(" "));
    }
    assert_eq!(interface.matches("\n  /**").count(), options.len(), "each option has a comment");
    options
}

fn default_of(comment: &str) -> &str {
    comment.split_once("@default ").map_or("", |(_, default)| default)
}

/// As numbers are written in the typings: 86_400_000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join("_")
}
