//! Definitions on their way to JavaScript: the pieces that it does not have yet, a plan to assemble the whole, and
//! its version.
//!
//! The plan is JSON in the shape of the definitions; `lib/transfer.js` executes it:
//!
//! - an object stands for an object, with a plan for each value;
//! - an array of runs `[first, count]` stands for an array. `first` is the number of a new piece, or
//!   -1 - the place of an element in the earlier array under the same key;
//! - an array of numbers `place, piece, …` stands for the earlier array with new pieces in these places;
//! - a number stands for that new piece, or (-1) for the earlier value under the same key.
//!
//! All of it is Latin-1, with other characters escaped: V8 uses one-byte text as it is, and parses it faster.

use std::cell::LazyCell;
use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use crate::definitions::json::{Name, name};
use crate::definitions::pieces::{Member, Parts, Span};
use crate::definitions::snapshot::Snapshot;

/// JavaScript parses this much text at once, in a millisecond or two. Where V8 gets copies (`binding/definitions.rs`), they
/// must stay below 128 KiB: larger ones it keeps apart from other young objects.
const SLICE_BYTES: usize = 96 * 1024;

/// An array with more runs or places counts as all new, because JavaScript joins runs in one call with one argument
/// each.
const MAX_RUNS: usize = 8192;

/// The definitions that posthog-node must use, and how JavaScript gets them.
pub enum Definitions {
    /// JavaScript has this version already.
    Unchanged(Arc<Snapshot>),
    /// This version, and how to build it.
    Changed(Arc<Snapshot>, Delivery),
    /// No definitions at all.
    Cleared,
}

impl Definitions {
    /// The whole, if there are any.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        match self {
            Definitions::Unchanged(snapshot) | Definitions::Changed(snapshot, _) => Some(snapshot),
            Definitions::Cleared => None,
        }
    }
}

/// The parts from which JavaScript builds the definitions of one version.
pub struct Delivery {
    /// The new pieces in order, the plan, and the version, in JSON arrays of about [`SLICE_BYTES`].
    pub slices: VecDeque<Vec<u8>>,
}

impl Delivery {
    /// Everything in `snapshot`, except the pieces that JavaScript has from `earlier`.
    pub fn new(snapshot: &Snapshot, earlier: Option<&Snapshot>) -> Self {
        let mut known = HashMap::new();
        if let Some(earlier) = earlier {
            for member in &earlier.pieces().members {
                known.insert(name(member.key.of(earlier.text())), (member, earlier.text()));
            }
        }
        let mut writer = Writer {
            text: snapshot.text(),
            plan: Vec::new(),
            slices: VecDeque::new(),
            slice: Vec::new(),
            pieces: 0,
        };
        let members = snapshot.pieces().members.iter().map(|member| (member.key, member));
        writer.object(members, |writer, key, member| writer.member(member, known.get(&key).copied()));
        let plan = std::mem::take(&mut writer.plan);
        writer.slice(plan.len()).extend(plan);
        let version = format!("\"{}\"", snapshot.version());
        writer.slice(version.len()).extend(version.bytes());
        writer.close();
        Delivery { slices: writer.slices }
    }
}

struct Writer<'a> {
    text: &'a str,
    plan: Vec<u8>,
    slices: VecDeque<Vec<u8>>,
    /// The last one, while it has room.
    slice: Vec<u8>,
    pieces: usize,
}

impl<'a> Writer<'a> {
    fn object<T>(
        &mut self,
        entries: impl Iterator<Item = (Span, T)>,
        mut value: impl FnMut(&mut Self, Name<'a>, T),
    ) {
        self.list(b'{', entries, b'}', |writer, (key, entry)| {
            let key = key.of(writer.text);
            one_byte(key, &mut writer.plan);
            writer.plan.push(b':');
            value(writer, name(key), entry);
        });
    }

    /// `earlier`: the member of the same key, and the text that it is in.
    fn member(&mut self, member: &Member, earlier: Option<(&Member, &str)>) {
        match (&member.parts, earlier) {
            (Parts::Array(elements), Some((Member { parts: Parts::Array(earlier), .. }, text))) => {
                let earlier: Vec<_> = earlier.iter().map(|element| element.of(text)).collect();
                self.array(elements, &earlier);
            }
            (Parts::Array(elements), _) => self.array(elements, &[]),
            (_, Some((earlier, text))) if member.value.of(self.text) == earlier.value.of(text) => {
                self.number(-1)
            }
            (Parts::Object(entries), earlier) => {
                let mut known = HashMap::new();
                if let Some((Member { parts: Parts::Object(earlier), .. }, text)) = earlier {
                    known.extend(earlier.iter().map(|(key, value)| (name(key.of(text)), value.of(text))));
                }
                self.object(entries.iter().copied(), |writer, key, value| {
                    let is_known = known.get(&key) == Some(&value.of(writer.text));
                    let piece = if is_known { -1 } else { writer.piece(value) };
                    writer.number(piece);
                });
            }
            (Parts::None, _) => {
                let piece = self.piece(member.value);
                self.number(piece);
            }
        }
    }

    fn array(&mut self, elements: &[Span], earlier: &[&str]) {
        let mut found = self.find(elements, earlier);
        let breaks = found.windows(2).filter(|pair| pair[1] != pair[0].map(|place| place + 1)).count();
        let new: Vec<_> = (0..found.len()).filter(|&place| found[place].is_none()).collect();
        let in_place = found.len() == earlier.len()
            && found.iter().enumerate().all(|(place, known)| known.is_none_or(|known| known == place));
        // JavaScript then copies the array only once, and does no more for each than for a run.
        if in_place && !new.is_empty() && new.len() <= breaks.min(MAX_RUNS) {
            let pairs: Vec<_> =
                new.into_iter().flat_map(|place| [place as i64, self.piece(elements[place])]).collect();
            return self.list(b'[', pairs, b']', Self::number);
        }
        if breaks >= MAX_RUNS {
            found.fill(None);
        }
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for (element, known) in elements.iter().zip(found) {
            let number = known.map_or_else(|| self.piece(*element), |place| -1 - place as i64);
            match runs.last_mut() {
                Some((first, count)) if number == *first + if *first < 0 { -*count } else { *count } => {
                    *count += 1
                }
                _ => runs.push((number, 1)),
            }
        }
        self.list(b'[', runs, b']', |writer, (first, count)| {
            // Writing to a vector cannot fail.
            let _ = write!(writer.plan, "[{first},{count}]");
        });
    }

    /// For each element its place in the earlier array, if it was there.
    fn find(&self, elements: &[Span], earlier: &[&str]) -> Vec<Option<usize>> {
        // Usually an element is at the same distance from the last one that was found.
        let mut place = 0;
        let places = LazyCell::new(|| -> HashMap<&str, usize> {
            earlier.iter().enumerate().map(|(place, element)| (*element, place)).collect()
        });
        let find = |element: &Span| {
            let text = element.of(self.text);
            let known =
                if earlier.get(place) == Some(&text) { Some(place) } else { places.get(text).copied() };
            place = known.unwrap_or(place) + 1;
            known
        };
        elements.iter().map(find).collect()
    }

    /// Appends to the plan.
    fn list<T>(
        &mut self,
        open: u8,
        items: impl IntoIterator<Item = T>,
        close: u8,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.plan.push(open);
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.plan.push(b',');
            }
            write(self, item);
        }
        self.plan.push(close);
    }

    fn number(&mut self, number: i64) {
        let _ = write!(self.plan, "{number}");
    }

    /// Adds a new piece, and returns its number.
    fn piece(&mut self, piece: Span) -> i64 {
        let text = piece.of(self.text);
        one_byte(text, self.slice(text.len()));
        self.pieces += 1;
        self.pieces as i64 - 1
    }

    /// The slice for the next element, which has this many bytes.
    fn slice(&mut self, bytes: usize) -> &mut Vec<u8> {
        // Plus a comma before it and a bracket after it.
        if !self.slice.is_empty() && self.slice.len() + bytes + 2 > SLICE_BYTES {
            self.close();
        }
        self.slice.push(if self.slice.is_empty() { b'[' } else { b',' });
        &mut self.slice
    }

    fn close(&mut self) {
        self.slice.push(b']');
        self.slices.push_back(std::mem::take(&mut self.slice));
    }
}

/// Appends JSON text as Latin-1. Characters outside ASCII are only in strings, so they may be escaped.
fn one_byte(text: &str, to: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !byte.is_ascii()) {
        let (ascii, other) = rest.split_at(at);
        to.extend_from_slice(ascii.as_bytes());
        let mut others = other.chars();
        match others.next().map(|character| (character, u8::try_from(character))) {
            Some((_, Ok(byte))) => to.push(byte),
            Some((character, Err(_))) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(to, "\\u{unit:04x}");
                }
            }
            None => {}
        }
        rest = others.as_str();
    }
    to.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slices, as texts, without the version.
    fn slices(text: &str, earlier: Option<&str>) -> Vec<String> {
        let snapshot = |text: &str| Snapshot::new(text.to_owned()).unwrap();
        let later = snapshot(text);
        let delivery = Delivery::new(&later, earlier.map(snapshot).as_ref());
        let text = |slice: &Vec<u8>| slice.iter().copied().map(char::from).collect();
        let mut slices: Vec<String> = delivery.slices.iter().map(text).collect();
        let last = slices.pop().unwrap();
        let others = last.strip_suffix(&format!(r#","{}"]"#, later.version())).unwrap();
        slices.push(format!("{others}]"));
        slices
    }

    fn array(elements: &str) -> String {
        format!(r#"{{"x":[{elements}],"flags":[]}}"#)
    }

    /// Of `0,1,2,3`, for each: the elements now, the new pieces, and the plan.
    fn assert_plans<const N: usize>(cases: [(&str, &str, &str); N]) {
        for (later, new, plan) in cases {
            let expected = format!(r#"[{new}{{"x":{plan},"flags":[]}}]"#);
            assert_eq!(slices(&array(later), Some(&array("0,1,2,3"))), [expected], "{later}");
        }
    }

    #[test]
    fn the_first_version_is_all_new() {
        let text = r#"{"flags":[{"key":"a"}],"x":[2],"cohorts":{"7":[3]},"n":null,"e":[],"o":{}}"#;
        let plan = r#"{"flags":[[0,1]],"x":[[1,1]],"cohorts":{"7":2},"n":3,"e":[],"o":{}}"#;
        assert_eq!(slices(text, None), [format!(r#"[{{"key":"a"}},2,[3],null,{plan}]"#)]);
    }

    #[test]
    fn of_a_later_version_only_what_changed_is_new() {
        let earlier = r#"{"flags":[],"x":[0,1,2,3],"cohorts":{"a":1,"b":2},"n":null,"same":{"x":1}}"#;
        let later = r#"{"flags":[],"x":[0,1,9,3],"cohorts":{"b":3,"a":1},"n":null,"same":{"x":1}}"#;
        let plan = r#"{"flags":[],"x":[2,0],"cohorts":{"b":1,"a":-1},"n":-1,"same":-1}"#;
        assert_eq!(slices(later, Some(earlier)), [format!("[9,3,{plan}]")]);
    }

    #[test]
    fn elements_are_found_wherever_they_stand_now() {
        assert_plans([
            ("9,0,1,2,3", "9,", "[[0,1],[-1,4]]"),
            ("1,2,3", "", "[[-2,3]]"),
            ("3,2,1,0", "", "[[-4,1],[-3,1],[-2,1],[-1,1]]"),
            ("0,0,1", "", "[[-1,1],[-1,2]]"),
            ("0,1,8,9,2", "8,9,", "[[-1,2],[0,2],[-3,1]]"),
            ("0,1,2,3", "", "[[-1,4]]"),
        ]);
    }

    #[test]
    fn elements_that_are_edited_where_they_stand_are_new_in_these_places() {
        assert_plans([
            ("9,1,2,3", "9,", "[0,0]"),
            ("0,8,2,9", "8,9,", "[1,0,3,1]"),
            ("0,8,9,3", "8,9,", "[1,0,2,1]"),
            ("0,7,8,9", "7,8,9,", "[[-1,1],[0,3]]"),
            ("1,9,2,3", "9,", "[[-2,1],[0,1],[-3,2]]"),
            ("7,8,9,6", "7,8,9,6,", "[[0,4]]"),
        ]);
    }

    #[test]
    fn an_array_of_too_many_runs_is_all_new() {
        let numbers: Vec<_> = (0..=MAX_RUNS).map(|id| id.to_string()).collect();
        let reversed: Vec<_> = numbers.iter().rev().cloned().collect();
        let slices = slices(&array(&reversed.join(",")), Some(&array(&numbers.join(","))));
        assert!(slices.last().unwrap().ends_with(&format!(r#"{{"x":[[0,{}]],"flags":[]}}]"#, MAX_RUNS + 1)));
    }

    #[test]
    fn an_array_with_too_many_new_places_is_all_new() {
        let count = 2 * MAX_RUNS + 2;
        let edited = |by: usize| {
            let numbers: Vec<_> = (0..count).map(|id| (id + id % 2 * by).to_string()).collect();
            array(&numbers.join(","))
        };
        let slices = slices(&edited(count), Some(&edited(0)));
        assert!(slices.last().unwrap().ends_with(&format!(r#"{{"x":[[0,{count}]],"flags":[]}}]"#)));
    }

    #[test]
    fn a_value_of_another_kind_than_before_is_new() {
        let slices =
            slices(r#"{"flags":[{"key":""}],"x":[1]}"#, Some(r#"{"flags":[{"key":""}],"x":{"0":1}}"#));
        assert_eq!(slices, [r#"[1,{"flags":[[-1,1]],"x":[[0,1]]}]"#]);
    }

    #[test]
    fn text_is_latin1_and_the_rest_of_unicode_escaped() {
        let plan = r#"{"flags":[],"x":[[0,1]],"\u043a\u043b\u044e\u0447":1}"#;
        let expected = format!(r#"["é\u20ac\ud83d\ude00\n",1,{plan}]"#);
        assert_eq!(slices(r#"{"flags":[],"x":["é€😀\n"],"ключ":1}"#, None), [expected]);
    }

    #[test]
    fn many_pieces_come_in_slices() {
        let piece = format!(r#""{}""#, "x".repeat(SLICE_BYTES / 4));
        let text = array(&[piece.as_str(); 10].join(","));
        let slices = slices(&text, None);
        assert_eq!(slices.len(), 4);
        assert!(slices.iter().all(|slice| slice.len() <= SLICE_BYTES));
        assert!(slices.last().unwrap().ends_with(r#",{"x":[[0,10]],"flags":[]}]"#));
    }
}
