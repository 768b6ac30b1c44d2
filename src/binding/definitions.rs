//! Definitions on their way to JavaScript.

use std::sync::{Arc, Mutex};

use napi::JsString;
use napi::bindgen_prelude::{Buffer, Env};
use napi_derive::napi;

use crate::delivery::{Definitions, Delivery};
use crate::lock::lock;
use crate::snapshot::Snapshot;

/// Definitions of one version, and how to make them of what JavaScript has.
#[napi]
pub struct NativeDefinitions {
    version: String,
    delivery: Mutex<Option<Delivery>>,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
}

#[napi]
impl NativeDefinitions {
    /// Hash of their text.
    #[napi(getter, catch_unwind)]
    pub fn version(&self) -> String {
        self.version.clone()
    }

    /// A JSON array with what `lib/assemble.js` makes them of; each comes once. None when the caller has
    /// this version already.
    #[napi(catch_unwind)]
    pub fn next_slice<'env>(&self, env: &'env Env) -> napi::Result<Option<JsString<'env>>> {
        let slice = lock(&self.delivery).as_mut().and_then(|delivery| delivery.slices.pop_front());
        slice.map(|slice| env.create_string_latin1(slice)).transpose()
    }

    /// Their whole text in UTF-8.
    #[napi(catch_unwind)]
    pub fn text(&self) -> Option<Buffer> {
        lock(&self.snapshot).as_ref().map(|snapshot| snapshot.text().as_bytes().into())
    }
}

impl NativeDefinitions {
    /// To be made by the caller, unless it has them.
    pub fn found(definitions: Definitions) -> Self {
        Self::new(definitions.snapshot.version(), definitions.delivery, None)
    }

    /// To be made by the caller, who may want the text too, or have them published.
    pub fn fetched(snapshot: Arc<Snapshot>, delivery: Delivery) -> Self {
        let version = snapshot.version().to_owned();
        Self::new(&version, Some(delivery), Some(snapshot))
    }

    /// What is to be published, once.
    pub fn take_snapshot(&self) -> Option<Arc<Snapshot>> {
        lock(&self.snapshot).take()
    }

    fn new(version: &str, delivery: Option<Delivery>, snapshot: Option<Arc<Snapshot>>) -> Self {
        NativeDefinitions {
            version: version.to_owned(),
            delivery: Mutex::new(delivery),
            snapshot: Mutex::new(snapshot),
        }
    }
}
