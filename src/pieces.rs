//! Definitions cut into pieces: the members of the top object, and the elements of each of them.
//!
//! A piece is the unit in which definitions are compared, sent and parsed: a flag, a cohort.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value with more parts than this is one piece: each costs memory, and a hostile text has millions.
const MAX_PARTS: usize = 1 << 17;

/// Where in the text something stands. (A text has 256 MiB at most.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

/// A member of the top object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its key as written, quotes included.
    pub key: Span,
    /// Its value.
    pub value: Span,
    /// What the value consists of.
    pub parts: Parts,
}

/// What a value consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The elements of an array.
    Array(Vec<Span>),
    /// The keys of an object, and their values.
    Object(Vec<(Span, Span)>),
    /// Anything else.
    None,
}

/// The pieces of a text, as `JSON.parse` sees them: of several equal keys the first gives the place,
/// and the last the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// The members of the top object.
    pub members: Vec<Member>,
    /// How many flags there are.
    pub flags: usize,
}

impl Span {
    /// The place of `part`, which is a slice of `text`.
    fn within(text: &str, part: &str) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        Span { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// What stands there.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start()..self.end()).unwrap_or_default()
    }

    /// Where it begins, in bytes.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends, in bytes.
    pub fn end(self) -> usize {
        self.end as usize
    }
}

impl Pieces {
    /// Validates the text, one JSON object with an array `flags`, and cuts it.
    pub fn of(text: &str) -> serde_json::Result<Self> {
        let Entries(entries) = serde_json::from_str(text)?;
        if entries.len() > MAX_PARTS {
            return Err(serde::de::Error::custom(format!("there are more than {MAX_PARTS} members")));
        }
        let mut flags = None;
        let mut members = Vec::with_capacity(entries.len());
        for (key, value) in settle(entries) {
            let (count, parts) = cut(value, text)?;
            if *name(key) == *b"flags" {
                flags = Some(count);
            }
            members.push(Member { key: Span::within(text, key), value: Span::within(text, value), parts });
        }
        match flags {
            Some(Some(flags)) => Ok(Pieces { members, flags }),
            Some(None) => Err(serde::de::Error::custom("`flags` is not an array")),
            None => Err(serde::de::Error::missing_field("flags")),
        }
    }

    /// Every piece that has no parts.
    pub fn leaves(&self) -> impl Iterator<Item = Span> {
        self.members.iter().flat_map(|member| {
            let (elements, values, whole): (&[Span], &[(Span, Span)], _) = match &member.parts {
                Parts::Array(elements) => (elements, &[], None),
                Parts::Object(entries) => (&[], entries, None),
                Parts::None => (&[], &[], Some(member.value)),
            };
            elements.iter().copied().chain(values.iter().map(|(_, value)| *value)).chain(whole)
        })
    }
}

/// What a key means: as bytes, because it may hold a lone surrogate.
pub type Name<'a> = Cow<'a, [u8]>;

/// What a key means that is written so, quotes included.
pub fn name(key: &str) -> Name<'_> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Name<'de>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a key")
        }
        fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
            Ok(Cow::Owned(key.to_owned()))
        }
        fn visit_borrowed_bytes<E>(self, key: &'de [u8]) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(key))
        }
    }
    // It was parsed before: it is a string.
    serde_json::Deserializer::from_str(key).deserialize_bytes(Bytes).unwrap_or(Cow::Borrowed(key.as_bytes()))
}

/// The parts of a value; of an array their number too, however many they are.
fn cut(value: &str, text: &str) -> serde_json::Result<(Option<usize>, Parts)> {
    let span = |part| Span::within(text, part);
    match value.as_bytes().first() {
        Some(b'[') => {
            let Elements { count, elements } = serde_json::from_str(value)?;
            let parts = match elements {
                Some(elements) => Parts::Array(elements.into_iter().map(span).collect()),
                None => Parts::None,
            };
            Ok((Some(count), parts))
        }
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(value)?;
            if entries.len() > MAX_PARTS {
                return Ok((None, Parts::None));
            }
            let entries = settle(entries);
            Ok((
                None,
                Parts::Object(entries.into_iter().map(|(key, value)| (span(key), span(value))).collect()),
            ))
        }
        _ => Ok((None, Parts::None)),
    }
}

type Entry<'a> = (&'a str, &'a str);

/// One entry for each key.
fn settle(entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let mut places = HashMap::with_capacity(entries.len());
    let mut settled: Vec<Entry> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let place = *places.entry(name(key)).or_insert(settled.len());
        match settled.get_mut(place) {
            Some(entry) => entry.1 = value,
            None => settled.push((key, value)),
        }
    }
    settled
}

/// The entries of an object as written; one more than `MAX_PARTS` at most, the rest only checked.
struct Entries<'a>(Vec<Entry<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_map(Entries(Vec::new()))
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Entries<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while self.0.len() <= MAX_PARTS {
            let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? else { return Ok(self) };
            self.0.push((key.get(), value.get()));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

/// The elements of an array, unless they are too many.
struct Elements<'a> {
    count: usize,
    elements: Option<Vec<&'a str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_seq(Elements { count: 0, elements: Some(Vec::new()) })
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Elements<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while let Some(element) = seq.next_element::<&RawValue>()? {
            self.count += 1;
            if self.count > MAX_PARTS {
                self.elements = None;
            }
            if let Some(elements) = &mut self.elements {
                elements.push(element.get());
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str) -> Vec<&str> {
        Pieces::of(text).unwrap().leaves().map(|span| span.of(text)).collect()
    }

    #[test]
    fn flags_and_cohorts_are_pieces_without_the_whitespace_around_them() {
        let text = r#" { "flags" : [ {"key": "a"} , 2 ], "cohorts": {"1": { }, "x\"": [3]}, "n": 1e400 } "#;
        assert_eq!(leaves(text), [r#"{"key": "a"}"#, "2", "{ }", "[3]", "1e400"]);
        assert_eq!(Pieces::of(text).unwrap().flags, 2);
    }

    #[test]
    fn of_equal_keys_the_first_gives_the_place_and_the_last_the_value() {
        let text = r#"{"a":1,"flags":[1,2],"\u0061":2,"c":{"k":1,"l":2,"\u006b":3},"fl\u0061gs":[3]}"#;
        assert_eq!(leaves(text), ["2", "3", "3", "2"]);
        assert_eq!(Pieces::of(text).unwrap().flags, 1);
    }

    #[test]
    fn a_value_with_too_many_parts_is_one_piece() {
        let many = |count| "1,".repeat(count) + "1";
        let array = |count| format!(r#"{{"flags":[{}]}}"#, many(count));
        assert_eq!(leaves(&array(MAX_PARTS - 1)).len(), MAX_PARTS);
        assert_eq!(leaves(&array(MAX_PARTS)).len(), 1);
        assert_eq!(Pieces::of(&array(MAX_PARTS)).unwrap().flags, MAX_PARTS + 1);
        let entries: Vec<_> = (0..=MAX_PARTS).map(|key| format!(r#""{key}":1"#)).collect();
        let text = format!(r#"{{"flags":[],"x":{{{}}}}}"#, entries.join(","));
        assert_eq!(leaves(&text).len(), 1);
    }
}
