//! One connection to one server. It does not reconnect.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, RedisConnectionInfo, RedisResult, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::dial::{Encryption, dial};
use super::errors::needs_new_connection;
use super::progress::Progress;
use super::protocol::FirstReply;
use super::reply_limit::Bounded;
use crate::config::target::{Address, Login};

/// Several callers may use it at the same time. Dropping the last clone closes it.
#[derive(Clone)]
pub struct Connection {
    address: Arc<Address>,
    multiplexed: MultiplexedConnection,
    progress: Progress,
    protocol: ProtocolVersion,
    /// The slot is moving to this server, which accepts commands for it only after `ASKING`.
    asking: bool,
    renew_at: Option<Instant>,
    /// Its sender is dropped when the connection ends.
    alive: watch::Receiver<()>,
    _driver: Arc<AbortOnDrop>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects and logs in. Has no timeout of its own.
    pub async fn open(
        address: &Address,
        encryption: Option<&Encryption>,
        setup: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self> {
        let (stream, progress) = dial(address, encryption).await?;
        let (first, protocol) = (FirstReply::default(), setup.protocol());
        let stream = first.of(Bounded::new(stream));
        let login = MultiplexedConnection::new_with_config(setup, stream, config).await;
        let (multiplexed, driver) = first.explain(login)?;
        if protocol.supports_resp3() {
            first.ensure_resp3()?;
        }
        let (sender, alive) = watch::channel(());
        let driver = tokio::spawn(async move {
            driver.await;
            drop(sender);
        });
        let driver = Arc::new(AbortOnDrop(driver.abort_handle()));
        let address = Arc::new(address.clone());
        Ok(Connection {
            address,
            multiplexed,
            progress,
            protocol,
            asking: false,
            renew_at: None,
            alive,
            _driver: driver,
        })
    }

    /// Fails if the server requires a password and none was given. With RESP2, the login itself does not show this.
    pub async fn ensure_login(self) -> RedisResult<Self> {
        match self.send(&redis::cmd("PING")).await {
            Err(cause) if needs_new_connection(&cause) => Err(cause),
            _ => Ok(self),
        }
    }

    /// Its credentials expire, so it must be replaced at this time.
    pub fn with_renewal(self, renew_at: Option<Instant>) -> Self {
        Connection { renew_at, ..self }
    }

    /// When to replace it; `None`: never.
    pub fn renew_at(&self) -> Option<Instant> {
        self.renew_at
    }

    /// Sends `ASKING` before each command (redis.io/docs/reference/cluster-spec, "ASK redirection").
    pub fn with_asking(self, asking: bool) -> Self {
        Connection { asking, ..self }
    }

    /// The address of the server.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// With RESP2 it must not subscribe: it would take no other commands.
    pub fn protocol(&self) -> ProtocolVersion {
        self.protocol
    }

    /// Waits until the connection ends, without keeping it open.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut alive = self.alive.clone();
        async move { while alive.changed().await.is_ok() {} }
    }

    /// Waits for `work` on this connection; `None` if the server is silent for this long.
    pub async fn unless_silent<T>(&self, silence: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.progress.unless_silent(silence, work).await
    }

    /// Sends a command and waits for its reply. Has no timeout of its own.
    pub async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let mut connection = self.multiplexed.clone();
        if !self.asking {
            return command.query_async(&mut connection).await;
        }
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let replies = connection.req_packed_commands(&both, 0, 2).await?;
        replies.into_iter().try_fold(Value::Nil, |_, reply| reply.extract_error())
    }

    /// Subscribes to a channel; its messages are pushed. Needs RESP3.
    pub async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        self.multiplexed.clone().subscribe(channel).await
    }
}

/// The credentials, and the name of this library, as a new connection sends them.
pub fn setup(login: &Login) -> RedisConnectionInfo {
    let setup = RedisConnectionInfo::default().set_lib_name("posthog-flag-cache", env!("CARGO_PKG_VERSION"));
    match login {
        Login { username: Some(username), password } => {
            // Redis gives a user without a password the empty one.
            setup.set_username(username).set_password(password.as_deref().unwrap_or_default())
        }
        Login { username: None, password: Some(password) } => setup.set_password(password),
        Login { username: None, password: None } => setup,
    }
}
