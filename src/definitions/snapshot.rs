//! The definitions as text: validated, and versioned by their hash.

use std::collections::HashMap;
use std::fmt::Write;

use ring::digest::{SHA256, digest};
use serde_json::value::RawValue;

use crate::definitions::codec::{self, Compression, Encoded, corrupt};
use crate::definitions::patch::Base;
use crate::definitions::pieces::{Fault, Parts, Pieces};
use crate::error::{Code, Error, Result};
use crate::limits::{MAX_STORED_BYTES, require};

/// The API's names, and those that older versions of posthog-node read.
const ALIASES: [(&str, &str); 3] = [
    ("group_type_mapping", "groupTypeMapping"),
    ("minimal_flag_called_events", "minimalFlagCalledEvents"),
    ("property_matching_version", "propertyMatchingVersion"),
];

/// Definitions that are known to be a JSON object with an array `flags`, and not to cost too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    text: String,
    version: String,
    pieces: Pieces,
}

impl Snapshot {
    /// Validates definitions that are to be published.
    pub fn new(text: String) -> Result<Self> {
        Self::cut(text).map_err(unpublishable)
    }

    /// The definitions as PostHog's API answers them, completed for every version of posthog-node: older ones read
    /// only the camelCase names, and take no field for granted.
    pub fn from_api(text: String) -> Result<Self> {
        let fields = Fields::of(&text)?;
        let required = |name| (!fields.has(name)).then_some((name, "{}"));
        let [group_types, others @ ..] = ALIASES.map(|(name, alias)| fields.copied(name, alias));
        let group_types = group_types.or_else(|| required("groupTypeMapping"));
        let more: Vec<_> = [required("cohorts"), group_types].into_iter().chain(others).flatten().collect();
        Self::cut(with_fields(&text, &more)).map_err(unpublishable)
    }

    /// The definitions as posthog-node gives them to its provider. Older ones leave out the API's own names, which SDKs
    /// of other languages know alone.
    pub fn from_client(text: String) -> Result<Self> {
        let longer = Fields::of(&text).ok().and_then(|fields| {
            let more: Vec<_> =
                ALIASES.iter().filter_map(|&(name, alias)| fields.copied(alias, name)).collect();
            (!more.is_empty()).then(|| with_fields(&text, &more))
        });
        // JavaScript reads some text that serde does not, for example a lone surrogate in a name.
        Self::cut(longer.unwrap_or(text)).map_err(unpublishable)
    }

    /// Validates what a store returned for the snapshot of this version: its bytes, or a patch to `base`.
    pub fn decode(bytes: &[u8], version: &str, base: Option<&Snapshot>) -> Result<Self> {
        let text = codec::decode(bytes, base.map(Snapshot::as_base))?;
        let text = String::from_utf8(text).map_err(|cause| corrupt("they are not UTF-8").caused_by(cause))?;
        let snapshot = Self::cut(text).map_err(|fault| match fault {
            Fault::Malformed(cause) => corrupt("they are not flag definitions").caused_by(cause),
            Fault::TooLarge(excess) => corrupt("they are too large").caused_by(excess),
        })?;
        if snapshot.version != version {
            return Err(corrupt("another program changed them (their hash is not their version)"));
        }
        Ok(snapshot)
    }

    /// What a store keeps, with a patch to the snapshot that it replaces.
    pub fn encode(&self, compression: Compression, replaced: Option<&Snapshot>) -> Result<Encoded> {
        let failed = |cause| Error::new(Code::Data, "cannot compress the flag definitions").caused_by(cause);
        let base = replaced.map(Snapshot::as_base);
        let encoded = codec::encode(&self.text, compression, base).map_err(failed)?;
        require(encoded.bytes.len(), MAX_STORED_BYTES as usize, "bytes after compression")
            .map_err(|excess| unpublishable(Fault::TooLarge(excess)))?;
        Ok(encoded)
    }

    /// The definitions as JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The SHA-256 of the text, in hexadecimal. So two texts cannot have the same version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The pieces of the text.
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// How many flags there are.
    pub fn flags(&self) -> usize {
        self.pieces.flags
    }

    /// How many cohorts there are.
    pub fn cohorts(&self) -> usize {
        let cohorts = self.pieces.members.iter().find(|member| member.key.of(&self.text) == "\"cohorts\"");
        match cohorts.map(|member| &member.parts) {
            Some(Parts::Object(entries)) => entries.len(),
            Some(Parts::Array(elements)) => elements.len(),
            Some(Parts::None) | None => 0,
        }
    }

    fn as_base(&self) -> Base<'_> {
        Base { text: &self.text, version: &self.version }
    }

    fn cut(text: String) -> Result<Self, Fault> {
        let pieces = Pieces::of(&text)?;
        let hash = digest(&SHA256, text.as_bytes());
        let version = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Snapshot { text, version, pieces })
    }
}

/// The fields of an object; `null` counts as absent. Of duplicate fields the last one counts, as in JavaScript.
#[derive(serde::Deserialize)]
struct Fields<'a>(#[serde(borrow)] HashMap<String, Option<&'a RawValue>>);

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Result<Self> {
        serde_json::from_str(text).map_err(|cause| unpublishable(cause.into()))
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Option::is_some)
    }

    /// The field `from` under the name `to`, if only `from` is present.
    fn copied(&self, from: &str, to: &'static str) -> Option<(&'static str, &'a str)> {
        let value = self.0.get(from).copied().flatten()?;
        (!self.has(to)).then(|| (to, value.get()))
    }
}

/// The text of a non-empty object, with more fields added at its end.
fn with_fields(text: &str, more: &[(&str, &str)]) -> String {
    let text = text.trim_end();
    let mut longer = text[..text.len() - 1].to_owned();
    for (name, value) in more {
        let _ = write!(longer, ",\"{name}\":{value}");
    }
    longer.push('}');
    longer
}

fn unpublishable(fault: Fault) -> Error {
    match fault {
        Fault::Malformed(cause) => {
            Error::new(Code::Data, "the flag definitions are invalid").caused_by(cause).advising(
                "They must be an object with an array `flags`, and each flag needs a string `key`, as in PostHog's answer.",
            )
        }
        Fault::TooLarge(excess) => {
            let message = "the flag definitions are too large to share, so each process fetches for itself";
            Error::new(Code::TooLarge, message)
                .caused_by(excess)
                .advising("Delete flags and cohorts that are no longer used.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::patch;
    use crate::limits::MAX_TEXT_BYTES;

    const TEXT: &str = r#"{"flags":[{"key":"ä"}],"cohorts":{},"new":1e400}"#;

    fn stored(bytes: &[u8]) -> Error {
        Snapshot::decode(bytes, Snapshot::new(TEXT.into()).unwrap().version(), None).unwrap_err()
    }

    #[test]
    fn every_compression_gives_the_text_back() {
        let snapshot = Snapshot::new(TEXT.into()).unwrap();
        for compression in [Compression::Auto, Compression::Zstd, Compression::None] {
            let bytes = snapshot.encode(compression, None).unwrap().bytes;
            assert_eq!(Snapshot::decode(&bytes, snapshot.version(), None).unwrap(), snapshot);
        }
    }

    #[test]
    fn small_text_stays_readable_and_large_text_is_compressed() {
        let small = Snapshot::new(TEXT.into()).unwrap().encode(Compression::Auto, None).unwrap().bytes;
        assert_eq!(small, TEXT.as_bytes());
        let text = format!(r#"{{"flags":[],"x":"{}"}}"#, "x".repeat(codec::AUTO_COMPRESS_FROM));
        let large = Snapshot::new(text).unwrap().encode(Compression::Auto, None).unwrap().bytes;
        assert!(large.len() < 1_000);
    }

    #[test]
    fn a_compressed_snapshot_has_a_patch_where_that_is_much_shorter() {
        let flags = |seed: usize| (0..5_000).map(move |id| (id * 7_919 + seed * 1_000_003) % 9_973);
        let snapshot = |flags: Vec<usize>| Snapshot::new(format!(r#"{{"flags":[],"x":{flags:?}}}"#)).unwrap();
        let base = snapshot(flags(1).collect());
        let edited = snapshot(flags(1).chain([1]).collect());
        let other = snapshot(flags(2).collect());
        let patch =
            |snapshot: &Snapshot, compression| snapshot.encode(compression, Some(&base)).unwrap().patch;
        let found = patch(&edited, Compression::Zstd).unwrap();
        assert_eq!(Snapshot::decode(&found, edited.version(), Some(&base)).unwrap(), edited);
        assert_eq!(patch(&other, Compression::Zstd), None);
        assert_eq!(patch(&edited, Compression::None), None);
    }

    #[test]
    fn a_patch_that_makes_another_text_than_that_of_the_version_is_corrupt() {
        let [base, other, new] = [1, 2, 3].map(|number| {
            // The number is amid text that a patch copies.
            let text: String = ('!'..='~').filter(char::is_ascii_alphanumeric).collect();
            Snapshot::new(format!(r#"{{"flags":[{{"key":"{text}"}}],"x":{number},"{text}":"{text}"}}"#))
                .unwrap()
        });
        let decode = |made_of: &Snapshot, patch_base: &Snapshot| {
            // zstd ignores a prefix in the same memory as the text.
            let text = made_of.text().to_owned();
            let patch_base = Base { text: patch_base.text(), version: base.version() };
            let patch = patch::make(&text, patch_base, 1_000).unwrap();
            Snapshot::decode(&patch, new.version(), Some(&base))
        };
        assert_eq!(decode(&new, &base).unwrap(), new);
        let error = decode(&other, &base).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.to_string().contains("their hash is not their version"), "{error}");
        let error = decode(&new, &new).unwrap_err();
        assert!(
            error.to_string().contains("their hash is not their version"),
            "it copies from another base: {error}"
        );
    }

    #[test]
    fn what_is_not_an_object_with_an_array_flags_is_not_published() {
        for text in [
            "",
            "null",
            "1",
            "[]",
            "{}",
            r#"{"flags":{}}"#,
            r#"{"flags":null}"#,
            r#"{"flags":[]"#,
            r#"{"flags":[]} x"#,
            r#"{"flags":["maintenance"]}"#,
            r#"{"flags":[null]}"#,
        ] {
            assert_eq!(Snapshot::new(text.into()).unwrap_err().code(), Code::Data, "{text}");
        }
    }

    #[test]
    fn of_several_flags_the_last_counts_as_in_javascript() {
        assert!(Snapshot::new(r#"{"flags":1,"flags":[]}"#.into()).is_ok());
        assert!(Snapshot::new(r#"{"flags":[],"fl\u0061gs":1}"#.into()).is_err());
    }

    #[test]
    fn an_answer_of_the_api_gets_the_names_that_older_clients_read() {
        let api = r#" {"flags":[{"key":"a"}], "group_type_mapping":{"0":"a"},"property_matching_version":2, "new":"ä"} "#;
        let snapshot = Snapshot::from_api(api.into()).unwrap();
        let json: serde_json::Value = serde_json::from_str(snapshot.text()).unwrap();
        assert_eq!(json["groupTypeMapping"], json["group_type_mapping"]);
        assert_eq!(json["propertyMatchingVersion"], 2);
        assert_eq!(json["cohorts"], serde_json::json!({}));
        assert_eq!(json["new"], "ä");
        assert!(json.get("minimalFlagCalledEvents").is_none());
        assert_eq!(snapshot.flags(), 1);
        assert_eq!(Snapshot::from_api(snapshot.text().into()).unwrap(), snapshot);
        let empty =
            Snapshot::from_api(r#"{"flags":[],"cohorts":null,"group_type_mapping":null}"#.into()).unwrap();
        let json: serde_json::Value = serde_json::from_str(empty.text()).unwrap();
        assert_eq!(
            (&json["cohorts"], &json["groupTypeMapping"]),
            (&serde_json::json!({}), &serde_json::json!({}))
        );
    }

    #[test]
    fn what_an_older_client_gives_gets_the_names_of_the_api() {
        let given = r#"{"flags":[{"key":"a"}],"groupTypeMapping":{"0":"a"},"cohorts":{},"propertyMatchingVersion":2}"#;
        let snapshot = Snapshot::from_client(given.into()).unwrap();
        let json: serde_json::Value = serde_json::from_str(snapshot.text()).unwrap();
        assert_eq!(json["group_type_mapping"], json["groupTypeMapping"]);
        assert_eq!(json["property_matching_version"], 2);
        assert!(json.get("minimal_flag_called_events").is_none());
        let complete = snapshot.text().to_owned();
        assert_eq!(Snapshot::from_client(complete.clone()).unwrap().text(), complete);
        assert_eq!(Snapshot::from_client("[]".into()).unwrap_err().code(), Code::Data);
    }

    #[test]
    fn lone_surrogates_pass_as_javascript_writes_them() {
        let snapshot = Snapshot::new(r#"{"\ud800":1,"flags":[{"key":"\ud800"}]}"#.into()).unwrap();
        assert!(snapshot.text().contains("\\ud800"));
    }

    #[test]
    fn a_damaged_snapshot_is_corrupt_whatever_the_damage() {
        let compressed = Snapshot::new(TEXT.into()).unwrap().encode(Compression::Zstd, None).unwrap().bytes;
        let cases: [&[u8]; 9] = [
            b"",
            &TEXT.as_bytes()[..20],
            b"{\"flags\":[\"\xff\"]}",
            b"null",
            b"7",
            b"[]",
            b"{}",
            br#"{"flags":[]}"#,
            &compressed[..compressed.len() - 3],
        ];
        for bytes in cases {
            assert_eq!(stored(bytes).code(), Code::Corrupt, "{bytes:?}");
        }
    }

    #[test]
    fn deeply_nested_text_does_not_exhaust_the_stack() {
        let deep = |depth| format!(r#"{{"flags":[],"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(Snapshot::new(deep(100_000)).is_ok());
        assert_eq!(Snapshot::new(deep(10_000_000)).unwrap_err().code(), Code::TooLarge);
    }

    #[test]
    fn the_version_is_the_sha_256_of_the_text() {
        // By `printf '{"flags":[]}' | sha256sum`.
        let version = "ccbb299897f0a6899aa1d76575c9338d15fdf0c96348f14c02712008f899f7ad";
        assert_eq!(Snapshot::new(r#"{"flags":[]}"#.into()).unwrap().version(), version);
        let other = br#"{"flags":[] }"#;
        let error = Snapshot::decode(other, version, None).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.to_string().contains("their hash is not their version"), "{error}");
    }

    #[test]
    fn a_text_that_costs_too_much_is_refused_in_every_encoding_and_when_it_is_published() {
        let text = format!(r#"{{"flags":[],"x":[{}[]]}}"#, "[],".repeat(1 << 20));
        for error in [Snapshot::new(text.clone()).unwrap_err(), Snapshot::from_api(text.clone()).unwrap_err()]
        {
            assert_eq!(error.code(), Code::TooLarge);
            let message = "the flag definitions are too large to share, so each process fetches for itself: flags, cohorts and other parts exceed the limit of 65536";
            assert_eq!(error.fault(), message);
        }
        let base = Snapshot::new(TEXT.into()).unwrap();
        let bomb = vec![b' '; MAX_TEXT_BYTES + 1];
        let patch = |frame: Vec<u8>| [patch::TAG, base.version().as_bytes(), &frame].concat();
        let compress = |text: &[u8]| zstd::bulk::compress(text, 3).unwrap();
        let encodings = [
            text.clone().into_bytes(),
            compress(text.as_bytes()),
            patch(compress(text.as_bytes())),
            compress(&bomb),
            patch(compress(&bomb)),
            bomb,
        ];
        for bytes in encodings {
            let error = Snapshot::decode(&bytes, "", Some(&base)).unwrap_err();
            assert_eq!(error.code(), Code::Corrupt);
            assert!(
                error.to_string().contains("limit") || error.to_string().contains("more than"),
                "{error}"
            );
        }
    }
}
