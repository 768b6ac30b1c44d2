//! Work off the main thread, as promises.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::{Env, Function, PromiseRaw, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeCallContext, ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{JsError, Status as NapiStatus, check_status, sys};
use parking_lot::Mutex;

use crate::error::{Code, Error, Result};
use crate::runtime::spawn;

/// The promises of one object of JavaScript. One threadsafe function settles them all. napi-rs would create one for
/// each promise, which costs the main thread time in each call.
pub struct Promises {
    wake: Arc<ThreadsafeFunction<(), (), (), NapiStatus, false, true>>,
    /// Not queued in Node.js: values that it has not delivered when a worker thread ends are never freed.
    outcomes: Arc<Mutex<VecDeque<Settle>>>,
    pending: Rc<Pending>,
}

/// Settles one promise, on the main thread.
type Settle = Box<dyn FnOnce(&Env) + Send>;

/// How many promises are to be settled. While there are any, the threadsafe function keeps the process alive.
#[derive(Default)]
struct Pending {
    count: Cell<usize>,
    wake: Cell<sys::napi_threadsafe_function>,
}

/// The other end of a promise.
#[derive(Clone, Copy)]
struct Deferred(sys::napi_deferred);

// SAFETY: on other threads it is only passed on.
unsafe impl Send for Deferred {}

impl Promises {
    /// None yet.
    pub fn new(env: &Env) -> napi::Result<Self> {
        let outcomes = Arc::<Mutex<VecDeque<Settle>>>::default();
        let pending = Rc::<Pending>::default();
        // A threadsafe function must call a JavaScript function in the end.
        let nothing: Function<(), ()> = env.create_function_from_closure("settled", |_| Ok(()))?;
        let (arrived, waiting) = (outcomes.clone(), pending.clone());
        let settle_next = move |ThreadsafeCallContext { env, .. }| {
            let settle = arrived.lock().pop_front();
            if let Some(settle) = settle {
                waiting.remove(&env);
                settle(&env);
            }
            Ok(())
        };
        let wake = nothing
            .build_threadsafe_function()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(settle_next)?;
        pending.wake.set(wake.raw());
        Ok(Promises { wake: Arc::new(wake), outcomes, pending })
    }

    /// A promise of `work`; `on_failure` hears why it is rejected.
    pub fn promise<'env, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'env Env,
        work: impl Future<Output = Result<T>> + Send + 'static,
        on_failure: impl FnOnce(&Error) + Send + 'static,
    ) -> napi::Result<PromiseRaw<'env, T>> {
        let (deferred, promise) = Deferred::new(env)?;
        let (wake, outcomes) = (self.wake.clone(), self.outcomes.clone());
        let task = async move {
            // A task of its own, so that a panic is an error like any other.
            let outcome = tokio::spawn(work).await.unwrap_or_else(|cause| {
                Err(Error::new(Code::Unavailable, "a task of the cache failed")
                    .caused_by(cause)
                    .advising("Please report this bug."))
            });
            if let Err(error) = &outcome {
                on_failure(error);
            }
            outcomes.lock().push_back(Box::new(move |env| deferred.settle(env, outcome)));
            // Fails if JavaScript has ended. Then nothing waits for it.
            let _: NapiStatus = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        };
        match spawn(task) {
            Ok(_) => self.pending.add(env),
            Err(error) => deferred.settle::<T>(env, Err(error)),
        }
        Ok(promise)
    }
}

impl Pending {
    fn add(&self, env: &Env) {
        if self.count.replace(self.count.get() + 1) == 0 {
            // SAFETY: JavaScript is calling, so that `Promises` lives, and holds the function.
            unsafe { sys::napi_ref_threadsafe_function(env.raw(), self.wake.get()) };
        }
    }

    fn remove(&self, env: &Env) {
        if self.count.replace(self.count.get() - 1) == 1 {
            // SAFETY: the function is just being called.
            unsafe { sys::napi_unref_threadsafe_function(env.raw(), self.wake.get()) };
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

    fn settle<T: ToNapiValue>(self, env: &Env, outcome: Result<T>) {
        let env = env.raw();
        // SAFETY: this is the thread of `env`, whose promise is settled once. It fails only where JavaScript
        // is being ended.
        unsafe {
            match outcome.map(|value| T::to_napi_value(env, value)) {
                Ok(Ok(value)) => sys::napi_resolve_deferred(env, self.0, value),
                Ok(Err(error)) => {
                    sys::napi_reject_deferred(env, self.0, JsError::from(error).into_value(env))
                }
                Err(error) => {
                    sys::napi_reject_deferred(env, self.0, JsError::from(coded(&error)).into_value(env))
                }
            };
        }
    }
}

/// The property `code` of an error.
pub type Coded = &'static str;

/// An error with its code, as JavaScript gets it.
pub fn coded(error: &Error) -> napi::Error<Coded> {
    napi::Error::new(error.code().as_str(), error.to_string())
}
