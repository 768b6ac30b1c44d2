//! Finds out whether a server speaks RESP3, from its reply to `HELLO 3` (redis.io/docs/latest/commands/hello).
//!
//! With RESP3 the server pushes messages on the connection that takes the commands. With RESP2 a connection that has
//! subscribed takes no other commands.

use std::sync::{Arc, OnceLock};

use redis::{ErrorKind, ProtocolVersion, RedisError};
use tokio_util::io::InspectReader;

use super::dial::Stream;

/// The first byte that a server sends: the kind of its first reply.
#[derive(Clone, Default)]
pub struct FirstByte(Arc<OnceLock<u8>>);

impl FirstByte {
    /// Notes the first byte that is read from this stream.
    pub fn of(&self, stream: impl Stream + 'static) -> impl Stream + 'static {
        let FirstByte(first) = self.clone();
        InspectReader::new(stream, move |bytes: &[u8]| {
            if let Some(byte) = bytes.first() {
                first.get_or_init(|| *byte);
            }
        })
    }

    /// Fails if this is the reply to `HELLO 3` of a server that goes on with RESP2, which has no maps.
    pub fn ensure_resp3(&self) -> Result<(), RedisError> {
        let FirstByte(first) = self;
        match first.get() {
            Some(b'%') => Ok(()),
            _ => Err((ErrorKind::RESP3NotSupported, "the server answers HELLO 3 with RESP2").into()),
        }
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
