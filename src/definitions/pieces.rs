//! Definitions cut into pieces: the members of the top object, and the elements of each of them.
//!
//! A piece is the unit in which definitions are compared, sent and parsed: a flag, a cohort.

use std::collections::HashMap;

use serde::de::Error as _;
use serde_json::value::RawValue;

use crate::definitions::json::{Elements, Entries, Entry, Flag, Malformed, name};
use crate::limits::{
    Excess, MAX_PIECE_BYTES, MAX_PIECES, MAX_TEXT_BYTES, require, require_memory, require_values,
};

/// The word for pieces in the message about too many.
const PARTS: &str = "flags, cohorts and other parts";

/// A range of the text. (A text has less than 4 GiB.)
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

/// Why a text is not definitions.
#[derive(Debug)]
pub enum Fault {
    /// It is not an object with an array `flags` of flags.
    Malformed(Malformed),
    /// It would cost too much.
    TooLarge(Excess),
}

impl From<serde_json::Error> for Fault {
    fn from(cause: serde_json::Error) -> Self {
        Fault::Malformed(cause.into())
    }
}

impl From<Excess> for Fault {
    fn from(excess: Excess) -> Self {
        Fault::TooLarge(excess)
    }
}

impl Span {
    /// The place of `part`, which is a slice of `text`.
    fn within(text: &str, part: &str) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        Span { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// The text in this range.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start()..self.end()).unwrap_or_default()
    }

    /// Where it begins, in bytes.
    fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends, in bytes.
    fn end(self) -> usize {
        self.end as usize
    }

    fn len(self) -> usize {
        self.end() - self.start()
    }
}

impl Pieces {
    /// Validates the text, one JSON object with an array `flags`, and cuts it.
    pub fn of(text: &str) -> Result<Self, Fault> {
        require(text.len(), MAX_TEXT_BYTES, "bytes of text")?;
        let entries = serde_json::from_str::<Entries>(text)?.0;
        require_memory(text)?;
        require(entries.len(), MAX_PIECES, PARTS)?;
        let (mut flags, mut members) = (None, Vec::with_capacity(entries.len()));
        let (mut pieces, mut key_bytes) = (0, 0);
        for (key, value) in settle(entries) {
            let parts = if *name(key) == *b"flags" {
                let spans = flags_of(value, text)?;
                flags = Some(spans.len());
                Parts::Array(spans)
            } else {
                cut(value, text)?
            };
            let member = Member { key: Span::within(text, key), value: Span::within(text, value), parts };
            pieces += member.leaves().count();
            require(pieces, MAX_PIECES, PARTS)?;
            key_bytes += key.len() + member.parts.keys().map(Span::len).sum::<usize>();
            require(key_bytes, MAX_PIECE_BYTES, "bytes of keys")?;
            for leaf in member.leaves() {
                require(leaf.len(), MAX_PIECE_BYTES, "bytes of one flag, cohort or other part")?;
                require_values(leaf.of(text))?;
            }
            members.push(member);
        }
        let flags = flags.ok_or_else(|| serde_json::Error::missing_field("flags"))?;
        Ok(Pieces { members, flags })
    }
}

impl Member {
    fn leaves(&self) -> impl Iterator<Item = Span> {
        let (elements, values, whole): (&[Span], &[(Span, Span)], _) = match &self.parts {
            Parts::Array(elements) => (elements, &[], None),
            Parts::Object(entries) => (&[], entries, None),
            Parts::None => (&[], &[], Some(self.value)),
        };
        elements.iter().copied().chain(values.iter().map(|(_, value)| *value)).chain(whole)
    }
}

impl Parts {
    fn keys(&self) -> impl Iterator<Item = Span> {
        let entries: &[(Span, Span)] = match self {
            Parts::Object(entries) => entries,
            Parts::Array(_) | Parts::None => &[],
        };
        entries.iter().map(|(key, _)| *key)
    }
}

/// The parts of a value.
fn cut(value: &str, text: &str) -> Result<Parts, Fault> {
    let span = |part| Span::within(text, part);
    match value.as_bytes().first() {
        Some(b'[') => {
            let Elements(elements) = serde_json::from_str::<Elements<&RawValue>>(value)?;
            require(elements.len(), MAX_PIECES, PARTS)?;
            Ok(Parts::Array(elements.into_iter().map(|element| span(element.get())).collect()))
        }
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(value)?;
            require(entries.len(), MAX_PIECES, PARTS)?;
            let entries = settle(entries).into_iter();
            Ok(Parts::Object(entries.map(|(key, value)| (span(key), span(value))).collect()))
        }
        _ => Ok(Parts::None),
    }
}

/// The elements of `flags`, each of which must be a flag.
fn flags_of(value: &str, text: &str) -> Result<Vec<Span>, Fault> {
    if !value.starts_with('[') {
        return Err(serde_json::Error::custom("`flags` is not an array").into());
    }
    let Elements(flags) = serde_json::from_str::<Elements<Flag>>(value)?;
    require(flags.len(), MAX_PIECES, PARTS)?;
    Ok(flags.iter().map(|flag| flag_span(flag, text)).collect())
}

/// The range of a flag, without the whitespace around it.
fn flag_span(flag: &Flag, text: &str) -> Span {
    let (first, last) = (Span::within(text, flag.first_key), Span::within(text, flag.last_value));
    let before = text.get(..first.start()).and_then(|before| before.rfind('{'));
    let behind = text.get(last.end()..).and_then(|behind| behind.find('}'));
    Span {
        start: before.map_or(first.start, |at| at as u32),
        end: behind.map_or(last.end, |at| last.end + at as u32 + 1),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_PIECE_VALUES;

    fn leaves(text: &str) -> Vec<&str> {
        let members = Pieces::of(text).unwrap().members;
        members.iter().flat_map(Member::leaves).map(|span| span.of(text)).collect()
    }

    #[test]
    fn flags_and_cohorts_are_pieces_without_the_whitespace_around_them() {
        let text = r#" { "flags" : [ { "key": "{a}" } , {"x":"}","key":"b"}], "cohorts": {"1": { }, "x\"": [3]}, "n": 1e400 } "#;
        assert_eq!(leaves(text), [r#"{ "key": "{a}" }"#, r#"{"x":"}","key":"b"}"#, "{ }", "[3]", "1e400"]);
        assert_eq!(Pieces::of(text).unwrap().flags, 2);
    }

    #[test]
    fn of_equal_keys_the_first_gives_the_place_and_the_last_the_value() {
        let flags = |key: &str| format!(r#"[{{"key":"{key}"}}]"#);
        let (one, two) = (flags("1"), flags("2"));
        let text = format!(
            r#"{{"a":1,"flags":{one},"\u0061":2,"c":{{"k":1,"l":2,"\u006b":3}},"fl\u0061gs":{two}}}"#
        );
        assert_eq!(leaves(&text), ["2", r#"{"key":"2"}"#, "3", "2"]);
    }

    #[test]
    fn what_is_not_an_object_with_a_string_key_is_no_flag() {
        let is_flag = |flag: &str| {
            let text = format!(r#"{{"flags":[{{"key":"first"}},{flag}]}}"#);
            match Pieces::of(&text) {
                Ok(_) => true,
                Err(Fault::Malformed(_)) => false,
                Err(Fault::TooLarge(excess)) => panic!("{excess}"),
            }
        };
        for flag in
            [r#"{"key":""}"#, r#"{"k\u0065y":"a","id":{}}"#, r#"{"key":1,"key":"a"}"#, r#"{"key":"\ud800"}"#]
        {
            assert!(is_flag(flag), "{flag}");
        }
        for flag in [
            r#""maintenance""#,
            "null",
            "7",
            "[]",
            r#"["key"]"#,
            "{}",
            r#"{"id":1}"#,
            r#"{"key":null}"#,
            r#"{"key":["a"]}"#,
            r#"{"key":"a","key":1}"#,
            r#"{"key":"a","\u006bey":null}"#,
            r#"{"Key":"a"}"#,
            r#"{"x":{"key":"a"}}"#,
        ] {
            assert!(!is_flag(flag), "{flag}");
        }
    }

    #[test]
    fn each_limit_is_named_where_a_text_exceeds_it() {
        let excess = |text: &str| match Pieces::of(text) {
            Ok(_) => None,
            Err(Fault::TooLarge(excess)) => Some(excess.to_string()),
            Err(Fault::Malformed(cause)) => panic!("{cause}"),
        };
        let flags = |flag: &str, count: usize| {
            format!(r#"{{"flags":[{}{flag}]}}"#, format!("{flag},").repeat(count - 1))
        };
        let with = |value: &str| format!(r#"{{"flags":[],"x":{value}}}"#);
        let ones = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        let object = |keys: std::ops::Range<usize>| {
            format!("{{{}}}", keys.map(|key| format!(r#""{key}":1"#)).collect::<Vec<_>>().join(","))
        };
        let text = |bytes: usize| format!(r#""{}""#, "x".repeat(bytes - 2));
        let many = |limit: &str, what: &str| Some(format!("{what} exceed the limit of {limit}"));
        let parts = many("65536", PARTS);
        let piece = "of one flag, cohort or other part";

        assert_eq!(excess(&flags(r#"{"key":""}"#, MAX_PIECES)), None);
        assert_eq!(excess(&flags(r#"{"key":""}"#, MAX_PIECES + 1)), parts);
        assert_eq!(excess(&with(&ones(MAX_PIECES))), None);
        assert_eq!(excess(&with(&ones(MAX_PIECES + 1))), parts);
        assert_eq!(excess(&with(&object(0..MAX_PIECES + 1))), parts);
        assert_eq!(excess(&format!(r#"{{"flags":[],"a":{0},"b":{0},"c":1}}"#, ones(MAX_PIECES / 2))), parts);

        assert_eq!(excess(&with(&text(MAX_PIECE_BYTES))), None);
        assert_eq!(excess(&with(&text(MAX_PIECE_BYTES + 1))), many("8388608", &format!("bytes {piece}")));
        let values = many("100000", &format!("JSON values and keys {piece}"));
        assert_eq!(excess(&with(&format!("[{}]", ones(MAX_PIECE_VALUES - 1)))), None);
        assert_eq!(excess(&with(&format!("[{}]", ones(MAX_PIECE_VALUES)))), values);
        let all = format!("[{}[]]", format!("{},", ones(MAX_PIECE_VALUES - 1)).repeat(31));
        assert_eq!(excess(&with(&all)), many("450000000", "bytes of memory to load them"));

        let keys = format!(r#"{{{}:1,{}:1}}"#, text(MAX_PIECE_BYTES / 2), text(MAX_PIECE_BYTES / 2 + 1));
        assert_eq!(excess(&with(&keys)), many("8388608", "bytes of keys"));
        let blank = with(&format!("{}1", " ".repeat(MAX_TEXT_BYTES)));
        assert_eq!(excess(&blank), many("67108864", "bytes of text"));
    }
}
