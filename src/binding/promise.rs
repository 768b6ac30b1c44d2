//! Work off the main thread, as a promise.

use std::future::Future;

use napi::JsDeferred;
use napi::bindgen_prelude::{Env, JsValue, PromiseRaw, ToNapiValue};

use crate::error::{Code, Error, Result};
use crate::runtime::spawn;

/// Makes the value of a promise, on the main thread.
type Settle<T> = Box<dyn FnOnce(Env) -> napi::Result<T> + Send>;

/// A promise of `work`; `on_failure` hears why it is rejected.
pub fn promise<'env, T: ToNapiValue + Send + 'static>(
    env: &'env Env,
    work: impl Future<Output = Result<T>> + Send + 'static,
    on_failure: impl FnOnce(&Error) + Send + 'static,
) -> napi::Result<PromiseRaw<'env, T>> {
    let (deferred, promise): (JsDeferred<T, Settle<T>>, _) = env.create_deferred()?;
    let settle = async move {
        // A task of its own, so that a panic is an error like any other.
        let outcome = tokio::spawn(work)
            .await
            .unwrap_or_else(|cause| Err(Error::new(Code::Unavailable, "the cache failed").caused_by(cause)));
        match outcome {
            Ok(value) => deferred.resolve(Box::new(|_| Ok(value))),
            Err(error) => {
                on_failure(&error);
                deferred.reject(rejection(error));
            }
        }
    };
    spawn(settle).map_err(rejection)?;
    Ok(PromiseRaw::new(env.raw(), promise.raw()))
}

/// The code goes into the message: an asynchronous rejection has no other place for it.
pub fn rejection(error: Error) -> napi::Error {
    napi::Error::from_reason(coded(&error))
}

/// `CODE: message`
pub fn coded(error: &Error) -> String {
    format!("{}: {error}", error.code().as_str())
}
