//! The store for the command line.

use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::{Buffer, ClassInstance, Env, Function, Object, PromiseRaw, ToNapiValue};
use napi_derive::napi;
use serde_json::{Value, json};

use super::credentials::{NativeCredentials, NativeLogin};
use super::promise::{Coded, Promises};
use super::{options, uncoded};
use crate::definitions::snapshot::Snapshot;
use crate::doctor;
use crate::error::Result;
use crate::inspector::{Inspector, Record};
use crate::worker::status::ms;

/// Reads a store for `lib/cli/`; never takes the lease.
#[napi]
pub struct NativeInspector {
    inspector: Arc<Inspector>,
    promises: Promises,
}

/// Definitions as they are stored.
#[napi(object)]
pub struct NativeStored {
    /// SHA-256 of their text, in hexadecimal.
    pub version: String,
    /// Their JSON text in UTF-8.
    pub text: Buffer,
}

#[napi]
impl NativeInspector {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: &Env,
        options: Object,
        credentials: Option<ClassInstance<NativeCredentials>>,
        call: Option<Function<NativeLogin, ()>>,
    ) -> napi::Result<Self, Coded> {
        let options = options::validated(options, credentials, call)?;
        let inspector = Arc::new(Inspector::new(options));
        Ok(NativeInspector { inspector, promises: Promises::new(env).map_err(uncoded)? })
    }

    /// The shared state, as JSON.
    #[napi(catch_unwind)]
    pub fn look<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, String>> {
        self.promise(env, async |inspector| Ok(record_json(&inspector.look().await?).to_string()))
    }

    /// The definitions, if there are any.
    #[napi(catch_unwind)]
    pub fn definitions<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Option<NativeStored>>> {
        self.promise(env, async |inspector| {
            let Record { snapshot, damage, .. } = inspector.look().await?;
            match damage {
                Some(damage) => Err(damage),
                None => Ok(snapshot.as_deref().map(NativeStored::of)),
            }
        })
    }

    /// Waits until there may be something new, but no longer than this.
    #[napi(catch_unwind)]
    pub fn changed<'env>(&self, env: &'env Env, limit_ms: u32) -> napi::Result<PromiseRaw<'env, ()>> {
        self.promise(env, async move |inspector| {
            inspector.changed(Duration::from_millis(limit_ms.into())).await;
            Ok(())
        })
    }

    /// Deletes everything. Returns whether there was anything.
    #[napi(catch_unwind)]
    pub fn purge<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, bool>> {
        self.promise(env, async |inspector| inspector.purge().await)
    }

    /// Whether the store can be used as it is: a JSON array of findings.
    #[napi(catch_unwind)]
    pub fn examine<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, String>> {
        self.promise(env, async |inspector| Ok(json!(doctor::examine(&inspector).await).to_string()))
    }

    fn promise<'env, T, F>(
        &self,
        env: &'env Env,
        work: impl FnOnce(Arc<Inspector>) -> F,
    ) -> napi::Result<PromiseRaw<'env, T>>
    where
        T: ToNapiValue + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.promises.promise(env, work(self.inspector.clone()), |_| {})
    }
}

impl NativeStored {
    fn of(snapshot: &Snapshot) -> Self {
        NativeStored { version: snapshot.version().to_owned(), text: snapshot.text().as_bytes().into() }
    }
}

/// Moments are milliseconds on the store's clock, which shows `now`.
fn record_json(record: &Record) -> Value {
    let state = &record.reading.state;
    let stored = state.snapshot.as_ref();
    json!({
        "backend": record.backend,
        "now": record.reading.now,
        "revision": state.revision,
        "fence": state.fence,
        "leader": record.leader,
        "lease": state.lease.as_ref().map(|lease| json!({ "owner": lease.owner, "expiresAt": lease.expires_at })),
        "grantedAt": state.granted_at,
        "confirmedAt": state.confirmed_at,
        "invalidatedAt": state.invalidated_at,
        "failures": state.failures,
        "refusedAt": state.refused_at,
        "outdatedAt": state.outdated_at,
        "retryInMs": record.pause.map(ms),
        "expiresInMs": record.expires_in.map(ms),
        "roundTripMs": ms(record.round_trip),
        "stored": stored.map(|info| json!({
            "version": info.version,
            "etag": info.etag,
            "bytes": info.bytes,
            "publishedAt": info.published_at,
        })),
        "definitions": record.snapshot.as_ref().map(|snapshot| json!({
            "flags": snapshot.flags(),
            "cohorts": snapshot.cohorts(),
            "bytes": snapshot.text().len(),
        })),
        "damage": record.damage.as_ref().map(|damage| format!("{}: {damage}", damage.code().as_str())),
    })
}
