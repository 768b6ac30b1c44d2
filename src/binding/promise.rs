//! Work off the main thread, as promises.

use std::cell::Cell;
use std::future::Future;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::{Env, Function, PromiseRaw, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeCallContext, ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{JsError, Status as NapiStatus, check_status, sys};

use crate::error::{Code, Error, Result};
use crate::runtime::spawn;

/// The promises of one object of JavaScript. One threadsafe function settles them all: making one costs
/// the main thread more than most calls do, and napi-rs makes one for each promise of its own.
pub struct Promises {
    door: Arc<Door>,
    pending: Rc<Pending>,
}

type Door = ThreadsafeFunction<Settle, (), (), NapiStatus, false, true>;

/// Runs on the main thread.
type Settle = Box<dyn FnOnce(&Env) + Send>;

/// How many promises keep the process alive.
#[derive(Default)]
struct Pending {
    count: Cell<usize>,
    door: Cell<sys::napi_threadsafe_function>,
}

/// What settles one promise.
struct Deferred(sys::napi_deferred);

// SAFETY: on other threads it is only passed on.
unsafe impl Send for Deferred {}

impl Promises {
    /// None yet.
    pub fn new(env: &Env) -> napi::Result<Self> {
        let pending = Rc::new(Pending::default());
        let done = pending.clone();
        // A threadsafe function calls one of JavaScript, in the end.
        let nothing: Function<(), ()> = env.create_function_from_closure("settled", |_| Ok(()))?;
        let door = nothing
            .build_threadsafe_function::<Settle>()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(move |ThreadsafeCallContext { env, value: settle }| {
                done.remove(&env);
                settle(&env);
                Ok(())
            })?;
        pending.door.set(door.raw());
        Ok(Promises { door: Arc::new(door), pending })
    }

    /// A promise of `work`; `on_failure` hears why it is rejected.
    pub fn promise<'env, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'env Env,
        work: impl Future<Output = Result<T>> + Send + 'static,
        on_failure: impl FnOnce(&Error) + Send + 'static,
    ) -> napi::Result<PromiseRaw<'env, T>> {
        let (deferred, promise) = Deferred::new(env)?;
        let door = self.door.clone();
        let settle = async move {
            // A task of its own, so that a panic is an error like any other.
            let outcome = tokio::spawn(work).await.unwrap_or_else(|cause| {
                Err(Error::new(Code::Unavailable, "the cache failed").caused_by(cause))
            });
            if let Err(error) = &outcome {
                on_failure(error);
            }
            // Nobody waits any more where this fails: Node.js has left that thread.
            let _: NapiStatus = door.call(
                Box::new(move |env| deferred.settle(env, outcome.map_err(rejection))),
                ThreadsafeFunctionCallMode::NonBlocking,
            );
        };
        spawn(settle).map_err(rejection)?;
        self.pending.add(env);
        Ok(promise)
    }
}

impl Pending {
    fn add(&self, env: &Env) {
        if self.count.replace(self.count.get() + 1) == 0 {
            // SAFETY: `Promises` is alive, and with it the function.
            unsafe { sys::napi_ref_threadsafe_function(env.raw(), self.door.get()) };
        }
    }

    fn remove(&self, env: &Env) {
        if self.count.replace(self.count.get() - 1) == 1 {
            // SAFETY: the function is just being called.
            unsafe { sys::napi_unref_threadsafe_function(env.raw(), self.door.get()) };
        }
    }
}

impl Deferred {
    fn new<'env, T>(env: &'env Env) -> napi::Result<(Self, PromiseRaw<'env, T>)> {
        let (mut deferred, mut promise) = (null_mut(), null_mut());
        // SAFETY: this is the thread of `env`, and both places are ours.
        check_status!(unsafe { sys::napi_create_promise(env.raw(), &mut deferred, &mut promise) })?;
        Ok((Deferred(deferred), PromiseRaw::new(env.raw(), promise)))
    }

    fn settle<T: ToNapiValue>(self, env: &Env, outcome: napi::Result<T>) {
        // SAFETY: this is the thread of `env`, which made the promise; it is settled once. That fails only
        // where JavaScript is being ended.
        unsafe {
            match outcome.and_then(|value| T::to_napi_value(env.raw(), value)) {
                Ok(value) => sys::napi_resolve_deferred(env.raw(), self.0, value),
                Err(error) => {
                    sys::napi_reject_deferred(env.raw(), self.0, JsError::from(error).into_value(env.raw()))
                }
            };
        }
    }
}

/// The code goes into the message: an asynchronous rejection has no other place for it.
pub fn rejection(error: Error) -> napi::Error {
    napi::Error::from_reason(coded(&error))
}

/// `CODE: message`
pub fn coded(error: &Error) -> String {
    format!("{}: {error}", error.code().as_str())
}
