//! JSON as written: serde finds the keys, values and flags in a text without copying them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::MAX_PIECES;

/// Why serde cannot read a text, without the text that it quotes, which may be an API key.
#[derive(Debug)]
pub struct Malformed(String);

impl From<serde_json::Error> for Malformed {
    fn from(cause: serde_json::Error) -> Self {
        let text = cause.to_string();
        let quoted = text.find('"').zip(text.rfind("\", expected"));
        Malformed(match quoted {
            Some((start, end)) => {
                let around = (text.get(..=start).unwrap_or_default(), text.get(end..).unwrap_or_default());
                format!("{}…{}", around.0, around.1)
            }
            None => text,
        })
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// The decoded name of a key, as bytes, because it may contain a lone surrogate.
pub type Name<'a> = Cow<'a, [u8]>;

/// The name that a key means, which is given as written, quotes included.
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

/// A key and its value.
pub type Entry<'a> = (&'a str, &'a str);

/// The entries of an object as written: at most [`MAX_PIECES`] plus one. The rest is only validated.
pub struct Entries<'a>(pub Vec<Entry<'a>>);

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
        while self.0.len() <= MAX_PIECES {
            let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? else { return Ok(self) };
            self.0.push((key.get(), value.get()));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

/// The elements of an array: at most [`MAX_PIECES`] plus one. The rest is only validated.
pub struct Elements<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Elements<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_seq(Elements(Vec::new()))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while self.0.len() <= MAX_PIECES {
            let Some(element) = seq.next_element()? else { return Ok(self) };
            self.0.push(element);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

/// A flag: an object with a string `key`.
pub struct Flag<'a> {
    pub first_key: &'a str,
    pub last_value: &'a str,
}

impl<'de: 'a, 'a> Deserialize<'de> for Flag<'a> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Flag<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a flag, an object with a string `key`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut flag, mut has_key): (Option<Flag>, _) = (None, false);
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let (written, value) = (key.get(), value.get());
                    if written == "\"key\"" || (written.contains('\\') && *name(written) == *b"key") {
                        has_key = value.starts_with('"');
                    }
                    let first_key = flag.map_or(written, |flag| flag.first_key);
                    flag = Some(Flag { first_key, last_value: value });
                }
                flag.filter(|_| has_key).ok_or_else(|| A::Error::custom("a flag has no string `key`"))
            }
        }
        value.deserialize_map(Entries)
    }
}
