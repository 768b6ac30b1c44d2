//! What a server says first: whether it speaks RESP3, from its reply to `HELLO 3` (redis.io/docs/latest/commands/hello),
//! or why it refuses the client.
//!
//! With RESP3 the server pushes messages on the connection that takes the commands. With RESP2 a connection that has
//! subscribed takes no other commands.

use std::sync::{Arc, OnceLock};

use redis::{ErrorKind, ProtocolVersion, RedisError, RedisResult, Value, parse_redis_value};
use tokio_util::io::InspectReader;

use super::dial::Stream;

/// Longer than any error with which a server refuses a client.
const MAX_BYTES: usize = 2048;

/// The first bytes that a server sends.
#[derive(Clone, Default)]
pub struct FirstReply(Arc<OnceLock<Vec<u8>>>);

impl FirstReply {
    /// Notes the first bytes that are read from this stream.
    pub fn of(&self, stream: impl Stream + 'static) -> impl Stream + 'static {
        let FirstReply(first) = self.clone();
        InspectReader::new(stream, move |bytes: &[u8]| {
            if !bytes.is_empty() {
                first.get_or_init(|| bytes.iter().copied().take(MAX_BYTES).collect());
            }
        })
    }

    /// Fails if this is the reply to `HELLO 3` of a server that goes on with RESP2, which has no maps.
    pub fn ensure_resp3(&self) -> RedisResult<()> {
        match self.bytes().first() {
            Some(b'%') => Ok(()),
            _ => Err((ErrorKind::RESP3NotSupported, "the server answers HELLO 3 with RESP2").into()),
        }
    }

    /// The outcome of the login. A server that refuses a client says why, and closes the connection. redis-rs often knows
    /// only of the latter.
    pub fn explain<T>(&self, login: RedisResult<T>) -> RedisResult<T> {
        login.map_err(|cause| match parse_redis_value(self.bytes()) {
            Ok(Value::ServerError(refusal)) if cause.is_io_error() => refusal.into(),
            _ => cause,
        })
    }

    fn bytes(&self) -> &[u8] {
        let FirstReply(first) = self;
        first.get().map_or(&[], Vec::as_slice)
    }
}

/// Whether logging in failed only because the server lacks RESP3.
pub fn lacks_resp3(cause: &RedisError) -> bool {
    let detail = cause.detail().unwrap_or_default().to_ascii_lowercase();
    cause.kind() == ErrorKind::RESP3NotSupported
        || cause.code() == Some("NOPROTO")
        || (["unknown command", "unsupported command"].iter().any(|text| detail.starts_with(text))
            && detail.contains("hello"))
        // Valkey 9.1 answers so to a command that it does not know before a login. `HELLO` itself needs no login.
        || (cause.code() == Some("NOAUTH") && detail.starts_with("authentication required"))
}

/// The name that `status()` and `doctor` give a protocol.
pub fn name(protocol: ProtocolVersion) -> &'static str {
    if protocol.supports_resp3() { "RESP3" } else { "RESP2" }
}
