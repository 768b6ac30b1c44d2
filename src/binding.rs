//! The engine's interface for Node.js. No other module uses the Node.js API.

mod credentials;
mod definitions;
mod inspector;
mod options;
mod promise;
mod text;

use std::sync::Arc;
use std::time::Duration;

use napi::Status as NapiStatus;
use napi::bindgen_prelude::{ClassInstance, Env, Function, Object, PromiseRaw, ToNapiValue};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::credentials::{NativeCredentials, NativeLogin};
use self::definitions::{NativeFetched, NativeFound, NativePoll, found};
use self::promise::{Coded, Promises, coded};
use self::text::NativeText;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::lease::Failure;
use crate::runtime::{off_runtime, spawn};
use crate::store::shared::SharedStore;
use crate::worker::events::{Event, observe};
use crate::worker::provider::Provider;
use crate::worker::status::ms;

/// One worker of the fleet, as `lib/cache.js` drives it.
#[napi]
pub struct NativeProvider {
    provider: Arc<Provider>,
    observer: Mutex<Option<JoinHandle<()>>>,
    promises: Promises,
    warning: Option<String>,
}

/// What the next definitions request should send.
#[napi(object)]
pub struct NativePlan {
    /// ETag of the newest definitions that this worker has.
    pub etag: Option<String>,
    /// Their version.
    pub version: Option<String>,
    /// Milliseconds for which a process without definitions should not call the API.
    pub pause_ms: Option<f64>,
    /// Whether neither this process nor the store has definitions.
    pub is_cache_empty: bool,
    /// The version of the local copy, for a process without definitions whose request fails.
    pub copied: Option<String>,
}

/// A new version or an error.
#[napi(object)]
pub struct NativeEvent {
    /// The version in the store.
    pub version: Option<String>,
    /// Code of the error.
    pub code: Option<String>,
    /// Message of the error.
    pub message: Option<String>,
}

#[napi]
impl NativeProvider {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: &Env,
        options: Object,
        credentials: Option<ClassInstance<NativeCredentials>>,
        call: Option<Function<NativeLogin, ()>>,
    ) -> napi::Result<Self, Coded> {
        let options = options::validated(options, credentials, call)?;
        let promises = Promises::new(env).map_err(uncoded)?;
        let provider = Provider::new(&options, SharedStore::open(&options));
        let (provider, warning) = (Arc::new(provider), options.warning().map(|warning| warning.to_string()));
        Ok(NativeProvider { provider, observer: Mutex::default(), promises, warning })
    }

    /// Warnings about the options.
    #[napi(getter, catch_unwind)]
    pub fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    /// The option `refreshIntervalMs`.
    #[napi(getter, catch_unwind)]
    pub fn refresh_interval_ms(&self) -> f64 {
        ms(self.provider.refresh_interval())
    }

    /// Tells posthog-node what to do at this poll. The caller has the definitions of the `known` version. `null`:
    /// fetch. `undefined`: call `get()` for the definitions. Any other value: use these definitions.
    #[napi(catch_unwind, ts_return_type = "Promise<string | NativeSlices | boolean | null | undefined>")]
    pub fn poll<'env>(
        &self,
        env: &'env Env,
        known: Option<String>,
    ) -> napi::Result<PromiseRaw<'env, NativePoll>> {
        self.promise(env, async move |provider: Arc<Provider>| provider.poll(known).await.map(NativePoll))
    }

    /// The same for a request that posthog-node makes although it was told not to fetch.
    #[napi(catch_unwind, ts_return_type = "Promise<string | NativeSlices | boolean | null | undefined>")]
    pub fn poll_again<'env>(
        &self,
        env: &'env Env,
        known: Option<String>,
    ) -> napi::Result<PromiseRaw<'env, NativePoll>> {
        self.promise(env, async move |provider: Arc<Provider>| {
            provider.poll_again(known).await.map(NativePoll)
        })
    }

    /// Definitions that reach the store before `request_ended()` is called; `null` if there are none.
    #[napi(catch_unwind, ts_return_type = "Promise<string | NativeSlices | boolean | null>")]
    pub fn arrival<'env>(
        &self,
        env: &'env Env,
        known: Option<String>,
    ) -> napi::Result<PromiseRaw<'env, Option<NativeFound>>> {
        // Subscribed here: the request may end before the promise's work begins.
        let ended = self.provider.end_of_request();
        self.promise(env, async move |provider: Arc<Provider>| {
            Ok(provider.arrival(known, ended).await?.map(found))
        })
    }

    /// Ends the wait of `arrival()`.
    #[napi(catch_unwind)]
    pub fn request_ended(&self) {
        self.provider.note_end_of_request();
    }

    /// The shared definitions; `true` if the caller has them already (the `known` version); `false` if there must be
    /// none.
    #[napi(catch_unwind, ts_return_type = "Promise<string | NativeSlices | boolean | null>")]
    pub fn get<'env>(
        &self,
        env: &'env Env,
        known: Option<String>,
    ) -> napi::Result<PromiseRaw<'env, Option<NativeFound>>> {
        self.promise(env, async move |provider: Arc<Provider>| Ok(provider.get(known).await?.map(found)))
    }

    /// Publishes definitions as posthog-node gives them, and returns their version.
    #[napi(catch_unwind)]
    pub fn received<'env>(
        &self,
        env: &'env Env,
        text: &NativeText,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let text = text.take();
        self.promise(env, async move |provider: Arc<Provider>| {
            let parse = off_runtime(move || Snapshot::from_client(text.decode()).map(Arc::new));
            let parsed = provider.bounded(parse).await;
            if let Err(error) = &parsed {
                provider.note_unusable(error).await;
            }
            let snapshot = parsed?;
            let version = snapshot.version().to_owned();
            provider.received(snapshot, None).await.map(|()| version)
        })
    }

    /// Reads definitions as the API answered them, for a caller who has those of the `known` version.
    #[napi(catch_unwind)]
    pub fn decode<'env>(
        &self,
        env: &'env Env,
        text: &NativeText,
        known: Option<String>,
    ) -> napi::Result<PromiseRaw<'env, NativeFetched>> {
        let text = text.take();
        self.promise(env, async move |provider: Arc<Provider>| {
            let decode = async {
                let snapshot = off_runtime(move || Snapshot::from_api(text.decode()).map(Arc::new)).await?;
                let delivery = provider.deliver(snapshot.clone(), known).await?;
                Ok(NativeFetched::new(snapshot, delivery))
            };
            provider.bounded(decode).await
        })
    }

    /// Publishes what was decoded, under the API's ETag.
    #[napi(catch_unwind)]
    pub fn publish<'env>(
        &self,
        env: &'env Env,
        fetched: &mut NativeFetched,
        etag: Option<String>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let snapshot = fetched.take_snapshot();
        self.promise(env, async move |provider: Arc<Provider>| match snapshot {
            Some(snapshot) => provider.received(snapshot, etag).await,
            None => Ok(()),
        })
    }

    /// What the next definitions request should send.
    #[napi(catch_unwind)]
    pub fn plan(&self) -> NativePlan {
        let plan = self.provider.plan();
        NativePlan {
            etag: plan.etag,
            version: plan.version,
            pause_ms: plan.pause.map(ms),
            is_cache_empty: plan.is_cache_empty,
            copied: plan.copied,
        }
    }

    /// The newest definitions, if they are of this version, for a caller who has those of the `known` one.
    #[napi(catch_unwind)]
    pub fn newest<'env>(
        &self,
        env: &'env Env,
        version: String,
        known: Option<String>,
    ) -> napi::Result<PromiseRaw<'env, Option<NativeFetched>>> {
        self.promise(env, async move |provider: Arc<Provider>| {
            let Some(snapshot) = provider.newest(&version) else { return Ok(None) };
            let delivery = provider.bounded(provider.deliver(snapshot.clone(), known)).await?;
            Ok(Some(NativeFetched::new(snapshot, delivery)))
        })
    }

    /// The API answered 304 to the ETag of this version.
    #[napi(catch_unwind)]
    pub fn confirmed<'env>(&self, env: &'env Env, version: String) -> napi::Result<PromiseRaw<'env, ()>> {
        self.promise(env, async move |provider: Arc<Provider>| provider.confirmed(&version).await)
    }

    /// The API answered 304 to posthog-node's own ETag.
    #[napi(catch_unwind)]
    pub fn received_is_current<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        self.promise(env, async move |provider: Arc<Provider>| provider.received_is_current().await)
    }

    /// A fetch failed: `status` is that of the API's answer, if there was one, `pause_ms` its `Retry-After`. Returns for how
    /// many milliseconds no process fetches.
    #[napi(catch_unwind)]
    pub fn failed<'env>(
        &self,
        env: &'env Env,
        status: Option<u32>,
        pause_ms: Option<f64>,
    ) -> napi::Result<PromiseRaw<'env, Option<f64>>> {
        let pause = pause_ms.and_then(|pause| Duration::try_from_secs_f64(pause / 1000.0).ok());
        let failure = Failure::of(status, pause);
        self.promise(env, async move |provider: Arc<Provider>| Ok(provider.failed(failure).await?.map(ms)))
    }

    /// The API answered with definitions that are too large to share.
    #[napi(catch_unwind)]
    pub fn unshareable<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        self.promise(env, async move |provider: Arc<Provider>| provider.unshareable().await)
    }

    /// Makes the next load fetch.
    #[napi(catch_unwind)]
    pub fn invalidate<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        self.promise(env, async move |provider: Arc<Provider>| provider.invalidate().await)
    }

    /// Calls the callback for each event outside a call, until `unobserve` or `shutdown`.
    #[napi(catch_unwind)]
    pub fn observe(&self, callback: Function<NativeEvent, ()>) -> napi::Result<(), Coded> {
        // Weak: a listener does not keep the process alive. A full queue may drop events, because they are only
        // hints.
        let callback = callback
            .build_threadsafe_function()
            .callee_handled::<false>()
            .weak::<true>()
            .max_queue_size::<64>()
            .build()
            .map_err(uncoded)?;
        let emit = move |event| {
            let event = match event {
                Event::Update(version) => NativeEvent { version: Some(version), code: None, message: None },
                Event::Trouble(error) => NativeEvent {
                    version: None,
                    code: Some(error.code().as_str().to_owned()),
                    message: Some(error.to_string()),
                },
            };
            let _: NapiStatus = callback.call(event, ThreadsafeFunctionCallMode::NonBlocking);
        };
        // Subscribed here: a poll may report something before the task runs.
        let reports = self.provider.reports();
        let observer =
            spawn(observe(Arc::downgrade(&self.provider), reports, emit)).map_err(|error| coded(&error))?;
        self.replace_observer(Some(observer));
        Ok(())
    }

    /// Ends the callbacks.
    #[napi(catch_unwind)]
    pub fn unobserve(&self) {
        self.replace_observer(None);
    }

    /// What this worker knows, as JSON.
    #[napi(catch_unwind)]
    pub fn status(&self) -> String {
        serde_json::json!(self.provider.status()).to_string()
    }

    /// Releases the lease.
    #[napi(catch_unwind)]
    pub fn shutdown<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        self.replace_observer(None);
        self.promise(env, async move |provider: Arc<Provider>| {
            provider.shutdown().await;
            Ok(())
        })
    }

    /// A promise of work that owns its data: a worker thread that is terminated frees this object, while its futures
    /// continue. (An `async` method would borrow it.)
    fn promise<'env, T, F>(
        &self,
        env: &'env Env,
        work: impl FnOnce(Arc<Provider>) -> F,
    ) -> napi::Result<PromiseRaw<'env, T>>
    where
        T: ToNapiValue + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let provider = self.provider.clone();
        self.promises.promise(env, work(provider.clone()), move |error| provider.count(error))
    }

    fn replace_observer(&self, observer: Option<JoinHandle<()>>) {
        let mut current = self.observer.lock();
        if let Some(previous) = std::mem::replace(&mut *current, observer) {
            previous.abort();
        }
    }
}

impl Drop for NativeProvider {
    fn drop(&mut self) {
        self.replace_observer(None);
    }
}

fn uncoded(error: napi::Error) -> napi::Error<Coded> {
    coded(&Error::new(Code::Unavailable, error.reason.clone()))
}
