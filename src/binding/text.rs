//! Text on its way from JavaScript.

use napi::bindgen_prelude::Utf16String;
use napi_derive::napi;
use parking_lot::Mutex;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Text that is received in parts, so that megabytes do not block the main thread.
#[napi]
pub struct NativeText {
    text: Mutex<Text>,
}

/// Copied in JavaScript's encoding, and decoded on another thread.
pub enum Text {
    /// Parts of a string.
    Units(Vec<Utf16String>),
    /// UTF-8.
    Bytes(Vec<u8>),
}

#[napi]
impl NativeText {
    /// Empty.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default, reason = "made by JavaScript alone")]
    pub fn new() -> Self {
        NativeText { text: Mutex::default() }
    }

    /// Appends a part of a string; it may end between two surrogates.
    #[napi(catch_unwind)]
    pub fn push_string(&self, part: Utf16String) {
        match &mut *self.text.lock() {
            Text::Units(units) => units.push(part),
            text => *text = Text::Units(vec![part]),
        }
    }

    /// Appends a part of UTF-8; it may end within a character.
    #[napi(catch_unwind)]
    pub fn push_bytes(&self, part: &[u8]) {
        match &mut *self.text.lock() {
            Text::Bytes(bytes) => bytes.extend_from_slice(part),
            text => *text = Text::Bytes(part.to_vec()),
        }
    }
}

impl NativeText {
    /// Takes the appended text, and leaves it empty.
    pub fn take(&self) -> Text {
        std::mem::take(&mut *self.text.lock())
    }
}

impl Text {
    /// As `fetch` decodes text: without a byte order mark, and with what is invalid replaced.
    pub fn decode(self) -> String {
        match self {
            Text::Units(parts) => {
                let units = parts.iter().flat_map(|part| part.iter().copied());
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            Text::Bytes(mut bytes) => {
                if bytes.starts_with(BYTE_ORDER_MARK) {
                    bytes.drain(..BYTE_ORDER_MARK.len());
                }
                String::from_utf8(bytes)
                    .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned())
            }
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Text::Bytes(Vec::new())
    }
}
