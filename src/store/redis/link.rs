//! One connection to one server, until it breaks.

use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisResult, Value};
use tokio::task::AbortHandle;

use super::bounded::Bounded;
use super::dial::{Encryption, dial};
use crate::endpoint::{Address, Login};

/// Several callers may use it at the same time; closed when the last clone is gone.
#[derive(Clone)]
pub struct Link {
    address: Arc<Address>,
    connection: MultiplexedConnection,
    /// The server takes our commands as an exception, until the slot is its own.
    asking: bool,
    _driver: Arc<AbortOnDrop>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects and logs in. Has no limit of its own.
    pub async fn open(
        address: &Address,
        encryption: Option<&Encryption>,
        setup: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self> {
        let stream = Bounded::new(dial(address, encryption).await?);
        let (connection, driver) = MultiplexedConnection::new_with_config(setup, stream, config).await?;
        let driver = Arc::new(AbortOnDrop(tokio::spawn(driver).abort_handle()));
        Ok(Link { address: Arc::new(address.clone()), connection, asking: false, _driver: driver })
    }

    /// Announces each command by `ASKING` (redis.io/docs/reference/cluster-spec, "ASK redirection").
    pub fn with_asking(self, asking: bool) -> Self {
        Link { asking, ..self }
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a command and waits for its reply. Has no limit of its own.
    pub async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        if !self.asking {
            return command.query_async(&mut connection).await;
        }
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let replies = connection.req_packed_commands(&both, 0, 2).await?;
        replies.into_iter().try_fold(Value::Nil, |_, reply| reply.extract_error())
    }

    /// Has the messages of a channel pushed.
    pub async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        self.connection.clone().subscribe(channel).await
    }
}

/// What a server is told first.
pub fn setup(login: &Login) -> RedisConnectionInfo {
    let setup = RedisConnectionInfo::default().set_lib_name("posthog-flag-cache", env!("CARGO_PKG_VERSION"));
    match login {
        Login { username: Some(username), password } => {
            // A user without a password has the empty one.
            setup.set_username(username).set_password(password.as_deref().unwrap_or_default())
        }
        Login { username: None, password: Some(password) } => setup.set_password(password),
        Login { username: None, password: None } => setup,
    }
}
