//! How much memory and time definitions may cost the process that loads them.
//!
//! A few bytes of zstd expand to gigabytes, and three bytes of JSON to a hundred bytes of JavaScript. Within
//! these limits, whatever the text is, a process that loads it grows by less than 500 MB, and parsing never
//! blocks its main thread for more than four times as long as the first `JSON.parse` of a megabyte of empty objects
//! (`__test__/data/damage-cost.test.mjs`).

use std::fmt;

/// Bytes of a text. PostHog's largest have a few million.
pub const MAX_TEXT_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of a text as stored. Redis closes a connection that is subscribed, as ours is, when more than 32 MB wait to
/// be sent on it (`client-output-buffer-limit pubsub`).
pub const MAX_STORED_BYTES: u64 = 24 * 1024 * 1024;

/// Bytes of memory that loading a text may take, by the estimate of [`memory`]. Realistic definitions may have
/// 30 MB, six times as much as the largest that were measured.
pub const MAX_MEMORY: usize = 450_000_000;

/// At the same time, a text is in memory as received, decoded, on its way to JavaScript, and in JavaScript.
const COPIES: usize = 4;

/// On its way to JavaScript, characters outside ASCII are escaped: a letter of two bytes takes six.
const ESCAPED: usize = 3;

/// The maximum bytes of a value or a key in JavaScript. In realistic definitions it is 30 bytes, in `{"33":1}` 140.
const VALUE_BYTES: usize = 140;

/// The maximum number of pieces of a text. The plan for all of them is parsed in one call.
pub const MAX_PIECES: usize = 1 << 16;

/// Bytes of one piece, and of all keys beside the pieces. They too are parsed in one call.
pub const MAX_PIECE_BYTES: usize = 8 * 1024 * 1024;

/// Values and keys of one piece. A large flag has 400.
pub const MAX_PIECE_VALUES: usize = 100_000;

/// The limit that a text exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The unit that is limited, and its place.
    pub what: &'static str,
    pub limit: usize,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} exceed the limit of {}", self.what, self.limit)
    }
}

impl std::error::Error for Excess {}

/// Fails where `count` is more than `limit`.
pub fn require(count: usize, limit: usize, what: &'static str) -> Result<(), Excess> {
    if count > limit { Err(Excess { what, limit }) } else { Ok(()) }
}

/// Fails where `json`, which is valid, takes more than [`MAX_MEMORY`].
pub fn require_memory(json: &str) -> Result<(), Excess> {
    let memory = |values| COPIES * escaped(json) + VALUE_BYTES * values;
    require_counted(memory, json, MAX_MEMORY, "bytes of memory to load them")
}

/// Fails where `json`, which is valid, has more than [`MAX_PIECE_VALUES`].
pub fn require_values(json: &str) -> Result<(), Excess> {
    let what = "JSON values and keys of one flag, cohort or other part";
    require_counted(|values| values, json, MAX_PIECE_VALUES, what)
}

/// `of`: what is limited, by the number of values and keys.
fn require_counted(
    of: impl Fn(usize) -> usize,
    json: &str,
    limit: usize,
    what: &'static str,
) -> Result<(), Excess> {
    // Counting takes time, so first the upper bound is compared.
    if of(json.len()) <= limit || of(separators(json) + 1) <= limit {
        return Ok(());
    }
    require(of(values(json)), limit, what)
}

/// The length of `json` when it is escaped, at most.
fn escaped(json: &str) -> usize {
    json.len() + (ESCAPED - 1) * count(json, |byte| !byte.is_ascii())
}

/// Each value and each key but the first follows one of these.
fn separators(json: &str) -> usize {
    count(json, |byte| matches!(byte, b',' | b':' | b'[' | b'{'))
}

fn count(json: &str, is_counted: impl Fn(u8) -> bool) -> usize {
    // Each sum fits into a byte, so that the compiler adds up many at a time.
    let add = |sum: u8, byte: &u8| sum.wrapping_add(u8::from(is_counted(*byte)));
    json.as_bytes().chunks(128).map(|part| usize::from(part.iter().fold(0, add))).sum()
}

fn values(json: &str) -> usize {
    let mut bytes = json.bytes();
    let (mut count, mut in_scalar) = (0, false);
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                count += 1;
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => count += 1,
            b',' | b':' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r' => in_scalar = false,
            _ if in_scalar => {}
            _ => {
                count += 1;
                in_scalar = true;
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_keys_are_counted_wherever_they_stand() {
        for (json, count) in [
            ("1", 1),
            (r#""a,b:[{\"\\""#, 1),
            ("[]", 1),
            (" [ ] ", 1),
            ("{ }", 1),
            ("[[],{}]", 3),
            ("[-1.5e+3 , true,false\n,null]", 5),
            (r#"{"a":{"b\"":[1,"x"]},"c":""}"#, 9),
        ] {
            assert_eq!(values(json), count, "{json}");
            assert!(separators(json) + 1 >= count, "{json}");
        }
    }

    #[test]
    fn as_many_values_as_the_limit_are_allowed() {
        let text = |count: usize| format!("[{}1]", "1 , ".repeat(count - 2));
        assert_eq!(require_values(&text(MAX_PIECE_VALUES)), Ok(()));
        assert_eq!(require_values(&text(MAX_PIECE_VALUES + 1)).unwrap_err().limit, MAX_PIECE_VALUES);
        let separators_in_a_string = format!(r#""{}""#, ",".repeat(MAX_PIECE_VALUES + 1));
        assert_eq!(require_values(&separators_in_a_string), Ok(()));
    }

    #[test]
    fn text_and_values_together_may_take_so_much_memory() {
        let takes_too_much = |json: &str| require_memory(json).is_err();
        assert!(!takes_too_much(&format!(r#""{}""#, "x".repeat(MAX_TEXT_BYTES - 2))));
        assert!(!takes_too_much(&format!(r#""{}""#, "к".repeat(MAX_MEMORY / 6 / COPIES - 100))));
        assert!(takes_too_much(&format!(r#""{}""#, "к".repeat(MAX_MEMORY / 6 / COPIES))));
        let values = MAX_MEMORY / (VALUE_BYTES + 2 * COPIES);
        assert!(!takes_too_much(&format!("[{}1]", "1,".repeat(values - 2))));
        assert!(takes_too_much(&format!("[{}1]", "1,".repeat(values))));
        let both = |values: usize| format!(r#"["{}"{}]"#, "x".repeat(50_000_000), ",1".repeat(values));
        assert!(!takes_too_much(&both(1_600_000)));
        assert!(takes_too_much(&both(1_700_000)));
    }
}
