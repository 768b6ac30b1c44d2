//! What Node.js sees of the engine. Nothing else here knows of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use napi::ValueType;
use napi::bindgen_prelude::{JsObjectValue, JsValue, Object, Unknown, create_custom_tokio_runtime};
use napi_derive::{module_init, napi};

use crate::error::Error;
use crate::options::{Given, Options};
use crate::provider::Provider;
use crate::store;

/// Two threads are plenty: they only wait for the network. A failure leaves napi-rs's default.
#[module_init]
fn start_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("posthog-flag-cache")
        .enable_all()
        .build();
    if let Ok(runtime) = runtime {
        create_custom_tokio_runtime(runtime);
    }
}

/// One worker of the fleet, as `index.js` drives it.
#[napi]
pub struct NativeProvider {
    provider: Arc<Provider>,
}

/// Definitions on their way to JavaScript.
#[napi(object)]
pub struct NativeDefinitions {
    /// Hash of the text.
    pub version: String,
    /// JSON; absent when the caller has this version already.
    pub text: Option<String>,
}

#[napi]
impl NativeProvider {
    /// Validates the options; throws `CODE: message`.
    #[napi(constructor, catch_unwind)]
    pub fn new(options: Object) -> napi::Result<Self> {
        let options = Options::from_given(given(options)?).map_err(rejection)?;
        let store = store::open(&options);
        Ok(NativeProvider { provider: Arc::new(Provider::new(&options, store)) })
    }

    /// Whether posthog-node shall fetch.
    #[napi]
    pub async fn should_fetch(&self) -> napi::Result<bool> {
        self.provider.should_fetch().await.map_err(rejection)
    }

    /// The fleet's definitions, without their text if their version is the known one.
    #[napi]
    pub async fn get(&self, known: Option<String>) -> napi::Result<Option<NativeDefinitions>> {
        let snapshot = self.provider.get().await.map_err(rejection)?;
        Ok(snapshot.map(|snapshot| NativeDefinitions {
            version: snapshot.version().to_owned(),
            text: (known.as_deref() != Some(snapshot.version())).then(|| snapshot.text().to_owned()),
        }))
    }

    /// Publishes fetched definitions and returns their version.
    #[napi]
    pub async fn received(&self, text: String) -> napi::Result<String> {
        self.provider.received(text).await.map_err(rejection)
    }

    /// Releases the lease.
    #[napi]
    pub async fn shutdown(&self) -> napi::Result<()> {
        self.provider.shutdown().await;
        Ok(())
    }
}

/// The code goes into the message: an asynchronous rejection has no other place for it.
fn rejection(error: Error) -> napi::Error {
    napi::Error::from_reason(format!("{}: {error}", error.code().as_str()))
}

/// The options as they were given, those that are `undefined` left out.
fn given(options: Object) -> napi::Result<BTreeMap<String, Given>> {
    let mut given = BTreeMap::new();
    for name in Object::keys(&options)? {
        let value: Unknown = options.get_named_property_unchecked(&name)?;
        let value = match value.get_type()? {
            ValueType::Undefined => continue,
            ValueType::String => Given::Text(value.coerce_to_string()?.into_utf8()?.into_owned()?),
            ValueType::Number => Given::Number(value.coerce_to_number()?.get_double()?),
            ValueType::Boolean => Given::Other("a boolean"),
            ValueType::Null => Given::Other("null"),
            ValueType::Function => Given::Other("a function"),
            ValueType::Symbol => Given::Other("a symbol"),
            ValueType::BigInt => Given::Other("a bigint"),
            _ => Given::Other("an object"),
        };
        given.insert(name, value);
    }
    Ok(given)
}
