//! The connection on which a server without RESP3 sends messages. It does not reconnect.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{RedisConnectionInfo, RedisResult, Value};
use tokio::time::timeout;

use super::dial::{Encryption, dial};
use super::progress::Progress;
use super::protocol::FirstReply;
use super::reply_limit::Bounded;
use crate::config::target::Address;

/// How long the connection may be silent before a `PING`. Nothing else is sent on it, so a dead connection behind a
/// proxy, which TCP still considers alive, would not be noticed otherwise.
const PING_AFTER: Duration = Duration::from_secs(15);

/// Dropping it closes the connection.
pub struct Subscription {
    sink: PubSubSink,
    messages: PubSubStream,
    progress: Progress,
}

impl Subscription {
    /// Connects and logs in. Has no timeout of its own.
    pub async fn open(
        address: &Address,
        encryption: Option<&Encryption>,
        setup: &RedisConnectionInfo,
    ) -> RedisResult<Self> {
        let (stream, progress) = dial(address, encryption).await?;
        let first = FirstReply::default();
        let login = PubSub::new(setup, first.of(Bounded::new(stream))).await;
        let (sink, messages) = first.explain(login)?.split();
        Ok(Subscription { sink, messages, progress })
    }

    /// Subscribes to a channel. Has no timeout of its own.
    pub async fn subscribe(&mut self, channel: &str) -> RedisResult<()> {
        self.sink.subscribe(channel).await
    }

    /// Waits for the next message; `None` if the connection is lost, or the server is silent for this long.
    pub async fn next(&mut self, silence: Duration) -> Option<Vec<u8>> {
        loop {
            if let Ok(message) = timeout(PING_AFTER, self.messages.next()).await {
                return message.map(|message| message.get_payload_bytes().to_vec());
            }
            // Any reply is enough, even an error.
            let _: RedisResult<Value> = self.progress.unless_silent(silence, self.sink.ping()).await?;
        }
    }
}
