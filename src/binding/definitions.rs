//! Definitions on their way to JavaScript.

use std::sync::Arc;

use napi::bindgen_prelude::{Buffer, Either, Env, JsValue, ToNapiValue};
use napi::sys;
use napi_derive::napi;

use crate::delivery::{Definitions, Delivery};
use crate::snapshot::Snapshot;

/// Definitions of one version, to be made by `lib/assemble.js` of their slices and of what the caller has.
#[napi(object, object_from_js = false)]
pub struct NativeDefinitions {
    /// Hash of their text.
    pub version: String,
    /// A JSON array: the first slice.
    #[napi(ts_type = "string")]
    pub slice: Slice,
    /// The others, if there are any.
    pub rest: Option<NativeSlices>,
}

/// JSON in Latin-1.
pub struct Slice(Vec<u8>);

/// Slices that come one by one.
#[napi]
pub struct NativeSlices {
    delivery: Delivery,
}

/// Definitions as the API has them.
#[napi]
pub struct NativeFetched {
    definitions: Option<NativeDefinitions>,
    snapshot: Option<Arc<Snapshot>>,
}

/// What a caller gets who may have the definitions already: that is `true`.
#[napi]
pub type NativeFound = Either<NativeDefinitions, bool>;

pub fn found(Definitions { snapshot, delivery }: Definitions) -> NativeFound {
    match delivery {
        Some(delivery) => Either::A(NativeDefinitions::new(&snapshot, delivery)),
        None => Either::B(true),
    }
}

impl NativeDefinitions {
    fn new(snapshot: &Snapshot, mut delivery: Delivery) -> Self {
        let slice = Slice(delivery.slices.pop_front().unwrap_or_default());
        // Mostly there is none: then no object of a class is made, and asked again.
        let rest = (!delivery.slices.is_empty()).then_some(NativeSlices { delivery });
        NativeDefinitions { version: snapshot.version().to_owned(), slice, rest }
    }
}

#[napi]
impl NativeSlices {
    /// The next one, until there is none.
    #[napi(catch_unwind, ts_return_type = "string | null")]
    pub fn next(&mut self) -> Option<Slice> {
        self.delivery.slices.pop_front().map(Slice)
    }
}

#[napi]
impl NativeFetched {
    /// How to make them, once.
    #[napi(catch_unwind)]
    pub fn definitions(&mut self) -> Option<NativeDefinitions> {
        self.definitions.take()
    }

    /// Their whole text in UTF-8, until they are published.
    #[napi(catch_unwind)]
    pub fn text(&self) -> Option<Buffer> {
        self.snapshot.as_ref().map(|snapshot| snapshot.text().as_bytes().into())
    }
}

impl NativeFetched {
    pub fn new(snapshot: Arc<Snapshot>, delivery: Delivery) -> Self {
        let definitions = NativeDefinitions::new(&snapshot, delivery);
        NativeFetched { definitions: Some(definitions), snapshot: Some(snapshot) }
    }

    /// What is to be published, once.
    pub fn take_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        self.snapshot.take()
    }
}

impl ToNapiValue for Slice {
    unsafe fn to_napi_value(env: sys::napi_env, slice: Self) -> napi::Result<sys::napi_value> {
        Ok(Env::from_raw(env).create_string_latin1(slice.0)?.raw())
    }
}
