//! The store in Redis (or Valkey), version 6.2 or later.
//!
//! ```text
//! <prefix>:{<project>}            the definitions: JSON, or zstd of it
//! <prefix>:{<project>}:state      hash: the state
//! <prefix>:{<project>}:updates    channel: the new version, and the patch that makes it (`store/notices.rs`)
//! ```
//!
//! The state is one hash with the fields `revision`, `fence`, `owner` and `expires_at` (of the
//! lease), `granted_at`, `version`, `etag`, `bytes` and `published_at` (of the snapshot),
//! `confirmed_at`, `retry_at`, `invalidated_at`, `failures`, `refused_at`, `outdated_at`, `answered`, and `patch`,
//! which turns the previous snapshot into this one. Both keys expire together.

pub mod access;
pub(crate) mod connection;
pub(crate) mod dial;
pub(crate) mod discovery;
pub(crate) mod errors;
mod health;
mod progress;
pub(crate) mod protocol;
mod race;
mod reply_limit;
pub(crate) mod subscription;
pub(crate) mod supervisor;
pub(crate) mod tls_fault;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redis::{ErrorKind, ServerErrorKind, Value, from_redis_value};
use tokio::sync::watch;

use self::errors::{is_too_large, redis_error, with_size};
use self::supervisor::Supervisor;
use super::{Commit, Reading, Store};
use crate::config::options::Options;
use crate::config::target::Endpoint;
use crate::definitions::codec::Encoded;
use crate::error::{Code, Error, Result};
use crate::limits::MAX_STORED_BYTES;
use crate::state::{Lease, Millis, SnapshotInfo, State, countable, millis};
use crate::store::Backend;
use crate::store::notices::{self, Notices};

const STATE: &str = include_str!("state.lua");
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(&[STATE, include_str!("read.lua")]));
const COMMIT: &str = include_str!("commit.lua");
static COMMIT_AND_PUBLISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[STATE, include_str!("publish.lua"), COMMIT]));
/// For servers that reject every script that contains `PUBLISH`.
static COMMIT_ALONE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[STATE, "local function publish() return false end", COMMIT]));

/// A script, and the hash under which the server stores it after its first run.
struct Script {
    code: String,
    hash: String,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        // The server would receive comments over the network, and keep them in its cache.
        let lines = parts
            .iter()
            .flat_map(|part| part.lines())
            .filter(|line| !line.is_empty() && !line.trim_start().starts_with("--"));
        let code = lines.collect::<Vec<_>>().join("\n");
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Script { code, hash }
    }
}

/// The store of one project in Redis.
pub struct RedisStore {
    supervisor: Supervisor,
    data_key: String,
    state_key: String,
    channel: String,
    max_age: Duration,
    /// The server rejected the script with `PUBLISH`, and accepted the one without.
    refuses_publish: AtomicBool,
    /// A script that the server probably lacks, because it lacked the other one.
    lacking: Mutex<Option<&'static Script>>,
}

impl RedisStore {
    /// Opens no connection yet.
    pub fn new(endpoint: &Endpoint, options: &Options) -> Self {
        RedisStore {
            supervisor: Supervisor::new(endpoint, options),
            data_key: options.data_key(),
            state_key: options.state_key(),
            channel: options.updates_channel(),
            max_age: options.max_age,
            refuses_publish: AtomicBool::default(),
            lacking: Mutex::default(),
        }
    }

    async fn run(&self, script: &'static Script, arguments: &[&[u8]]) -> Result<Value> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(2).arg(&self.data_key).arg(&self.state_key).arg(arguments);
            command
        };
        if self.lacking.lock().take_if(|lacking| lacking.hash == script.hash).is_none() {
            match self.supervisor.send(&command("EVALSHA", &script.hash)).await {
                Err(error) if is_unknown_script(&error) => {
                    let scripts: [&Script; 2] = [&READ, &COMMIT_AND_PUBLISH];
                    *self.lacking.lock() = scripts.into_iter().find(|other| other.hash != script.hash);
                }
                result => return result,
            }
        }
        self.supervisor.send(&command("EVAL", &script.code)).await
    }

    /// Runs the script with `PUBLISH`, or the one without it if the server rejects that.
    async fn run_commit(&self, arguments: &[&[u8]]) -> Result<Value> {
        if self.refuses_publish.load(Ordering::Relaxed) {
            return self.run(&COMMIT_ALONE, arguments).await;
        }
        match self.run(&COMMIT_AND_PUBLISH, arguments).await {
            Err(error) if is_refused_script(&error) => {
                let reply = self.run(&COMMIT_ALONE, arguments).await?;
                self.refuses_publish.store(true, Ordering::Relaxed);
                Ok(reply)
            }
            result => result,
        }
    }

    /// Sends a notice that the script could not send. The commit is done, so a failure is only reported.
    async fn publish(&self, notice: &[u8]) {
        let sent = self.supervisor.send(redis::cmd("PUBLISH").arg(&self.channel).arg(notice)).await;
        if let Err(error) = sent {
            let message =
                "cannot send an update notification, so other processes see this change at their next poll";
            self.supervisor.report(Error::new(error.code(), message).caused_by(error));
        }
    }

    async fn read_with(&self, what: &str, known: &str) -> Result<(Reading, Option<Bytes>)> {
        let longest = MAX_STORED_BYTES.to_string();
        let reply = self.run(&READ, &[what.as_bytes(), known.as_bytes(), longest.as_bytes()]).await?;
        decode_reading(reply).map_err(|_| garbled())
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn read(&self) -> Result<Reading> {
        Ok(self.read_with("state", "").await?.0)
    }

    async fn load(&self, known: Option<&str>) -> Result<(Reading, Option<Bytes>)> {
        let (reading, bytes) = self.read_with("load", known.unwrap_or_default()).await?;
        // A length that differs from the state's, or exceeds the limit, means that these bytes are not its snapshot.
        let bytes = bytes.filter(|_| reading.state.snapshot.is_some());
        Ok((reading, bytes))
    }

    async fn commit(&self, expected: u64, next: &State, snapshot: Option<Encoded>) -> Result<Commit> {
        let mode: &[u8] = match (&next.snapshot, &snapshot) {
            (None, _) => b"drop",
            (Some(_), None) => b"keep",
            (Some(_), Some(_)) => b"set",
        };
        let expected = countable(expected).to_string();
        let max_age = millis(self.max_age).to_string();
        let (notice, fields) = (notices::encode(next, snapshot.as_ref()), encode_state(next));
        let mut arguments: Vec<&[u8]> = vec![
            expected.as_bytes(),
            max_age.as_bytes(),
            self.channel.as_bytes(),
            mode,
            snapshot.as_ref().map_or(b"", |snapshot| &snapshot.bytes),
            &notice,
        ];
        arguments.extend(fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
        if let Some(patch) = snapshot.as_ref().and_then(|snapshot| snapshot.patch.as_deref()) {
            arguments.extend([b"patch", patch]);
        }
        let bytes = snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes.len());
        let reply = self.run_commit(&arguments).await.map_err(|error| with_size(error, bytes))?;
        let (commit, is_unsent) = decode_commit(reply).map_err(|_| garbled())?;
        if is_unsent {
            self.publish(&notice).await;
        }
        Ok(commit)
    }

    async fn clear(&self) -> Result<bool> {
        let mut command = redis::cmd("DEL");
        command.arg(&self.data_key).arg(&self.state_key);
        Ok(self.supervisor.send(&command).await? != Value::Int(0))
    }

    async fn expiry(&self) -> Result<Option<Duration>> {
        match self.supervisor.send(redis::cmd("PTTL").arg(&self.state_key)).await {
            Ok(Value::Int(left)) => Ok(u64::try_from(left).ok().map(Duration::from_millis)),
            Ok(_) => Ok(None),
            // Workers do not need this permission.
            Err(error) if error.code() == Code::Auth => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn watch(&self) -> watch::Receiver<Notices> {
        self.supervisor.notices()
    }

    fn trouble(&self) -> Option<watch::Receiver<Option<Error>>> {
        Some(self.supervisor.trouble())
    }

    fn close(&self) {
        self.supervisor.close();
    }

    fn backend(&self) -> Backend {
        Backend {
            kind: "redis",
            location: self.supervisor.endpoint().to_string(),
            link: self.supervisor.link(),
        }
    }
}

/// Omits the cause, because it quotes the reply.
fn garbled() -> Error {
    Error::new(Code::Corrupt, "the server sent an invalid reply").advising(
        "Another program may use these keys. Use another prefix (option 'keyPrefix'), or delete them with `npx \
         posthog-flag-cache purge`.",
    )
}

fn is_unknown_script(error: &Error) -> bool {
    redis_error(error).is_some_and(|cause| cause.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}

/// Whether the server rejected the whole script: the error of a script that runs names a place in it
/// (src/script_lua.c).
fn is_refused_script(error: &Error) -> bool {
    redis_error(error).is_some_and(|cause| {
        cause.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
            && !cause.detail().is_some_and(|detail| detail.contains("@user_script"))
            && !is_too_large(cause)
    })
}

fn encode_state(state: &State) -> Vec<(&'static str, String)> {
    let mut fields = Vec::with_capacity(16);
    let mut put = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let snapshot = state.snapshot.as_ref();
    put("version", snapshot.map(|snapshot| snapshot.version.clone()));
    put("bytes", number(snapshot.map(|snapshot| snapshot.bytes)));
    put("etag", snapshot.and_then(|snapshot| snapshot.etag.clone()));
    put("published_at", number(snapshot.map(|snapshot| snapshot.published_at)));
    put("revision", Some(state.revision.to_string()));
    put("fence", Some(state.fence.to_string()));
    put("owner", state.lease.as_ref().map(|lease| lease.owner.clone()));
    put("expires_at", number(state.lease.as_ref().map(|lease| lease.expires_at)));
    put("granted_at", number(state.granted_at));
    put("confirmed_at", number(state.confirmed_at));
    put("retry_at", number(state.retry_at));
    put("invalidated_at", number(state.invalidated_at));
    put("failures", (state.failures > 0).then(|| state.failures.to_string()));
    put("refused_at", number(state.refused_at));
    put("outdated_at", number(state.outdated_at));
    put("answered", (state.answered > 0).then(|| state.answered.to_string()));
    fields
}

/// A state with an unreadable field counts as empty, but keeps its revision, so that the next commit
/// can replace it.
fn decode_state(fields: Vec<Option<String>>, length: u64) -> State {
    let mut fields = fields.into_iter();
    let mut next = || fields.next().flatten();
    let revision = number(next()).flatten().map_or(0, countable);
    let mut decode = || {
        let fence = number(next())??;
        let lease = match (next(), number(next())?) {
            (Some(owner), Some(expires_at)) => Some(Lease { owner, expires_at }),
            _ => None,
        };
        let granted_at = number(next())?;
        let (version, etag, bytes, published_at) = (next(), next(), number(next())?, number(next())?);
        let snapshot = match (version, bytes, published_at) {
            // A version that is not UTF-8 could not be compared.
            (Some(version), Some(bytes), Some(published_at))
                if bytes == length
                    && length <= MAX_STORED_BYTES
                    && !version.contains(char::REPLACEMENT_CHARACTER) =>
            {
                Some(SnapshotInfo { version, etag, bytes, published_at })
            }
            _ => None,
        };
        let (confirmed_at, retry_at, invalidated_at) = (number(next())?, number(next())?, number(next())?);
        let failures = u32::try_from(number(next())?.unwrap_or_default()).unwrap_or(u32::MAX);
        let (refused_at, outdated_at) = (number(next())?, number(next())?);
        let answered = number(next())?.unwrap_or_default();
        Some(State {
            revision,
            fence,
            answered,
            lease,
            granted_at,
            snapshot,
            confirmed_at,
            retry_at,
            invalidated_at,
            failures,
            refused_at,
            outdated_at,
        })
    };
    decode().unwrap_or(State { revision, ..State::default() }).sanitized()
}

/// An absent number is `Some(None)`, an unreadable one `None`.
fn number(field: Option<String>) -> Option<Option<u64>> {
    // Rust would also accept a sign; the scripts accept only digits.
    let read =
        |field: String| field.bytes().all(|byte| byte.is_ascii_digit()).then(|| field.parse().ok()).flatten();
    field.map(read).map_or(Some(None), |value| value.map(Some))
}

/// Decodes the reply of `read.lua`.
pub fn decode_reading(reply: Value) -> redis::RedisResult<(Reading, Option<Bytes>)> {
    type Reply = (u64, u64, u64, Option<Vec<u8>>, Vec<Option<Vec<u8>>>);
    let (seconds, micros, length, bytes, fields): Reply = from_redis_value(reply)?;
    let text = |field: Vec<u8>| String::from_utf8_lossy(&field).into_owned();
    let fields = fields.into_iter().map(|field| field.map(text)).collect();
    let reading = Reading { state: decode_state(fields, length), now: moment(seconds, micros) };
    Ok((reading, bytes.map(Bytes::from)))
}

/// Decodes the reply of `commit.lua`.
pub fn decode_commit(reply: Value) -> redis::RedisResult<(Commit, bool)> {
    if matches!(&reply, Value::Array(parts) if parts.len() == 3) {
        let (seconds, micros, is_unsent) = from_redis_value(reply)?;
        return Ok((Commit::Committed(moment(seconds, micros)), is_unsent));
    }
    decode_reading(reply).map(|(reading, _)| (Commit::Conflict(reading), false))
}

fn moment(seconds: u64, micros: u64) -> Millis {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}
