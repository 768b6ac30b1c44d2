//! Definitions on their way to JavaScript.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use napi::JsStringLatin1;
use napi::bindgen_prelude::{Buffer, Either, Env, JsValue, Null, ToNapiValue};
use napi::sys;
use napi_derive::napi;

use crate::definitions::slices::{Definitions, Delivery};
use crate::definitions::snapshot::Snapshot;
use crate::worker::provider::Poll;

/// JSON in Latin-1.
pub enum Slice {
    /// V8 copies it.
    Copied(Vec<u8>),
    /// V8 reads it in place.
    External(Vec<u8>),
}

/// Slices with this many bytes in all are external: copies would take a fifth of the time. The objects of a larger text
/// fill V8's young generation. Copies among them make its collector run more often, and pause less long.
const EXTERNAL_BYTES: RangeInclusive<usize> = 16 * 1024..=8_000_000;

/// Slices that come one by one.
#[napi]
pub struct NativeSlices {
    slices: VecDeque<Slice>,
}

/// The input from which `lib/transfer.js` builds definitions. Usually one slice, without an object of a class.
pub type NativeDefinitions = Either<Slice, NativeSlices>;

/// Definitions as the API has them.
#[napi]
pub struct NativeFetched {
    delivery: Option<Delivery>,
    snapshot: Option<Arc<Snapshot>>,
}

/// Definitions; `true` if the caller has them already; `false` if there must be none.
pub type NativeFound = Either<NativeDefinitions, bool>;

pub fn found(definitions: Definitions) -> NativeFound {
    match definitions {
        Definitions::Changed(_, delivery) => Either::A(to_native(delivery)),
        Definitions::Unchanged(_) => Either::B(true),
        Definitions::Cleared => Either::B(false),
    }
}

/// The result of a poll: `null`, `undefined`, or definitions.
pub struct NativePoll(pub Poll);

impl ToNapiValue for NativePoll {
    unsafe fn to_napi_value(env: sys::napi_env, NativePoll(poll): Self) -> napi::Result<sys::napi_value> {
        // SAFETY: the caller's promise that this is the thread of `env` goes for these calls.
        unsafe {
            match poll {
                Poll::Fetch => Null::to_napi_value(env, Null),
                Poll::Follow(None) => <()>::to_napi_value(env, ()),
                Poll::Follow(Some(definitions)) => NativeFound::to_napi_value(env, found(definitions)),
            }
        }
    }
}

fn to_native(Delivery { slices }: Delivery) -> NativeDefinitions {
    let bytes: usize = slices.iter().map(Vec::len).sum();
    let slice = if EXTERNAL_BYTES.contains(&bytes) { Slice::External } else { Slice::Copied };
    let mut slices: VecDeque<_> = slices.into_iter().map(slice).collect();
    if slices.len() == 1
        && let Some(only) = slices.pop_front()
    {
        return Either::A(only);
    }
    Either::B(NativeSlices { slices })
}

#[napi]
impl NativeSlices {
    /// The next one, until there is none.
    #[napi(catch_unwind, ts_return_type = "string | null")]
    pub fn next(&mut self) -> Option<Slice> {
        self.slices.pop_front()
    }
}

#[napi]
impl NativeFetched {
    /// How to make them, once.
    #[napi(catch_unwind, ts_return_type = "string | NativeSlices | null")]
    pub fn definitions(&mut self) -> Option<NativeDefinitions> {
        self.delivery.take().map(to_native)
    }

    /// Their whole text in UTF-8, until they are published.
    #[napi(catch_unwind)]
    pub fn text(&self) -> Option<Buffer> {
        self.snapshot.as_ref().map(|snapshot| snapshot.text().as_bytes().into())
    }
}

impl NativeFetched {
    pub fn new(snapshot: Arc<Snapshot>, delivery: Delivery) -> Self {
        NativeFetched { delivery: Some(delivery), snapshot: Some(snapshot) }
    }

    /// What is to be published, once.
    pub fn take_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        self.snapshot.take()
    }
}

impl ToNapiValue for Slice {
    unsafe fn to_napi_value(env: sys::napi_env, slice: Self) -> napi::Result<sys::napi_value> {
        let env = Env::from_raw(env);
        Ok(match slice {
            Slice::Copied(text) => env.create_string_latin1(text)?.raw(),
            Slice::External(text) => JsStringLatin1::from_data(&env, text)?.into_value().raw(),
        })
    }
}
