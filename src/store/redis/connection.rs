//! One connection to a Redis server, kept alive by a task of its own.
//!
//! redis-rs offers a `ConnectionManager`; after a failed connect it tries again only for some
//! errors, and there is no way to make it. This one replaces the connection whatever went wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, ServerErrorKind, Value,
};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::quote::Quote;
use crate::error::{Code, Error, Result};
use crate::options::{Endpoint, Options};

/// Waits between attempts to connect: short at first, because a restart or a failover takes a
/// second or two; each is lengthened at random by up to its own length, so that a fleet does not
/// come back in step.
const RETRY_FROM: Duration = Duration::from_millis(100);
const RETRY_UP_TO: Duration = Duration::from_secs(2);

/// After so many timeouts in a row the connection counts as dead: a half-open one never says so.
const TIMEOUTS_UNTIL_DEAD: u32 = 2;

/// A connection that comes back by itself, for as long as this lives.
pub struct Connection {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    endpoint: Endpoint,
    channel: String,
    connect_timeout: Duration,
    command_timeout: Duration,
    status: watch::Sender<Status>,
    notices: watch::Sender<u64>,
    trouble: watch::Sender<Option<Error>>,
    server: StdMutex<Option<String>>,
    timeouts: AtomicU32,
    /// Whether the connection has been of any use.
    is_proven: AtomicBool,
    /// Why the last connection was given up.
    loss: StdMutex<Option<Error>>,
}

#[derive(Clone)]
enum Status {
    /// The first attempt, or the first one after a loss, is under way.
    Connecting,
    /// Ready; the number tells one connection from the next.
    Up(MultiplexedConnection, u64),
    /// The last attempt failed; others follow.
    Down(Error),
}

impl Connection {
    /// Connects to nothing: the first command does.
    pub fn new(endpoint: &Endpoint, channel: String, options: &Options) -> Self {
        let shared = Shared {
            endpoint: endpoint.clone(),
            channel,
            connect_timeout: options.connect_timeout,
            command_timeout: options.command_timeout,
            status: watch::Sender::new(Status::Connecting),
            notices: watch::Sender::new(0),
            trouble: watch::Sender::new(None),
            server: StdMutex::default(),
            timeouts: AtomicU32::new(0),
            is_proven: AtomicBool::new(false),
            loss: StdMutex::default(),
        };
        Connection { shared: Arc::new(shared), supervisor: Mutex::new(None) }
    }

    /// Counts the messages on the channel, and the moments at which some may have been missed.
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.shared.notices.subscribe()
    }

    /// The last failure to connect.
    pub fn trouble(&self) -> watch::Receiver<Option<Error>> {
        self.shared.trouble.subscribe()
    }

    /// Where this leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// The server's software and version, once it has told.
    pub fn server(&self) -> Option<String> {
        self.shared.server().clone()
    }

    /// Sends a command and waits for its reply. Where the connection turns out to be lost, once more
    /// on the next one: a command here must bear to be carried out twice.
    pub async fn send(&self, command: &Cmd) -> Result<Value> {
        let shared = &self.shared;
        let mut attempts = 2;
        loop {
            attempts -= 1;
            let (mut connection, number) = self.established().await?;
            match timeout(shared.command_timeout, command.query_async::<Value>(&mut connection)).await {
                Ok(Ok(reply)) => {
                    shared.timeouts.store(0, Ordering::Relaxed);
                    shared.is_proven.store(true, Ordering::Relaxed);
                    return Ok(reply);
                }
                Ok(Err(cause)) => {
                    let is_lost = needs_new_connection(&cause);
                    let error = shared.refused(cause);
                    // A replica still reads.
                    if !is_lost || error.code() == Code::ReadOnly {
                        shared.is_proven.store(true, Ordering::Relaxed);
                    }
                    if !is_lost {
                        return Err(error);
                    }
                    shared.lose(number, &error);
                    if attempts == 0 {
                        return Err(error);
                    }
                }
                Err(_) => {
                    let error = shared.timed_out(shared.command_timeout);
                    if shared.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_UNTIL_DEAD {
                        shared.lose(number, &error);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The connection. Waits while an attempt is under way, but not for another after a failed one.
    async fn established(&self) -> Result<(MultiplexedConnection, u64)> {
        self.supervise().await;
        let mut status = self.shared.status.subscribe();
        let settled = status.wait_for(|status| !matches!(status, Status::Connecting));
        // The attempt has a limit of its own; this one holds should its task be starved.
        match timeout(self.shared.connect_timeout * 2, settled).await {
            Ok(Ok(status)) => match &*status {
                Status::Up(connection, number) => Ok((connection.clone(), *number)),
                Status::Down(error) => Err(error.clone()),
                Status::Connecting => Err(self.shared.timed_out(self.shared.connect_timeout)),
            },
            _ => Err(self.shared.timed_out(self.shared.connect_timeout)),
        }
    }

    async fn supervise(&self) {
        let mut supervisor = self.supervisor.lock().await;
        if supervisor.as_ref().is_none_or(JoinHandle::is_finished) {
            self.shared.status.send_replace(Status::Connecting);
            *supervisor = Some(tokio::spawn(self.shared.clone().keep_connected()));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.get_mut() {
            supervisor.abort();
        }
    }
}

impl Shared {
    async fn keep_connected(self: Arc<Self>) {
        let mut waits = backoff();
        for number in 1.. {
            let connection = loop {
                match self.connect(number).await {
                    Ok(connection) => break connection,
                    Err(error) => self.wait(error, &mut waits).await,
                }
            };
            self.timeouts.store(0, Ordering::Relaxed);
            self.is_proven.store(false, Ordering::Relaxed);
            let mut status = self.status.subscribe();
            self.status.send_replace(Status::Up(connection, number));
            // Whatever was announced meanwhile is missed: look.
            self.notices.send_modify(|count| *count += 1);
            let _ = status.wait_for(|status| matches!(status, Status::Connecting)).await;
            let loss = self.loss().take();
            if self.is_proven.load(Ordering::Relaxed) {
                waits = backoff();
            } else if let Some(error) = loss {
                // As good as a failed attempt: a server that sends us away is not asked faster.
                self.wait(error, &mut waits).await;
            }
        }
    }

    async fn wait(&self, error: Error, waits: &mut ExponentialBackoff) {
        self.trouble.send_replace(Some(error.clone()));
        self.status.send_replace(Status::Down(error));
        tokio::time::sleep(waits.next().unwrap_or(RETRY_UP_TO)).await;
    }

    async fn connect(self: &Arc<Self>, number: u64) -> Result<MultiplexedConnection> {
        let receiver = Arc::downgrade(self);
        let on_push = move |push: PushInfo| {
            if let Some(shared) = receiver.upgrade() {
                match push.kind {
                    PushKind::Message => shared.notices.send_modify(|count| *count += 1),
                    PushKind::Disconnection => shared.disconnected(number),
                    _ => {}
                }
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let attempt = async {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None)
                .set_push_sender(on_push);
            let client = Client::open(self.connection_info()?)?;
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            if let Some(name) = &self.endpoint.client_name {
                redis::cmd("CLIENT").arg("SETNAME").arg(name).exec_async(&mut connection).await?;
            }
            if let Ok(hello) =
                redis::cmd("HELLO").query_async::<HashMap<String, Value>>(&mut connection).await
            {
                let text = |name| hello.get(name).and_then(|value| String::from_redis_value_ref(value).ok());
                if let (Some(server), Some(version)) = (text("server"), text("version")) {
                    *self.server() = Some(format!("{server} {version}"));
                }
            }
            // Notices are hints: without the right to subscribe everything works, only later.
            match connection.subscribe(&self.channel).await {
                Err(cause) if needs_new_connection(&cause) => Err(cause),
                _ => Ok(connection),
            }
        };
        match timeout(self.connect_timeout, attempt).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(cause)) => Err(self.refused(cause)),
            Err(_) => Err(self.timed_out(self.connect_timeout)),
        }
    }

    fn connection_info(&self) -> redis::RedisResult<redis::ConnectionInfo> {
        let endpoint = &self.endpoint;
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(endpoint.database)
            .set_lib_name("posthog-flag-cache", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &endpoint.username {
            login = login.set_username(username);
        }
        if let Some(password) = &endpoint.password {
            login = login.set_password(password);
        }
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(TcpKeepalive::new().with_time(Duration::from_secs(15)));
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(Duration::from_secs(15));
        let address = ConnectionAddr::Tcp(endpoint.host.clone(), endpoint.port);
        Ok(address.into_connection_info()?.set_tcp_settings(tcp).set_redis_settings(login))
    }

    fn server(&self) -> MutexGuard<'_, Option<String>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loss(&self) -> MutexGuard<'_, Option<Error>> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the connection of this number replaced; a later one is not affected.
    fn lose(&self, number: u64, error: &Error) {
        self.status.send_if_modified(|status| {
            let is_current = matches!(status, Status::Up(_, current) if *current == number);
            if is_current {
                *self.loss() = Some(error.clone());
                *status = Status::Connecting;
            }
            is_current
        });
    }

    fn disconnected(&self, number: u64) {
        let endpoint = &self.endpoint;
        self.lose(number, &Error::new(Code::Unavailable, format!("{endpoint} closed the connection")));
    }

    fn refused(&self, cause: RedisError) -> Error {
        let endpoint = &self.endpoint;
        let (code, what) = match (cause.kind(), cause.code()) {
            (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
            | (_, Some("NOAUTH" | "WRONGPASS")) => (Code::Auth, "refuses our credentials or rights"),
            (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => (Code::ReadOnly, "is a read-only replica"),
            _ if cause.is_io_error() => (Code::Unavailable, "cannot be reached"),
            _ => (Code::Unavailable, "refuses to work"),
        };
        let error = Error::new(code, format!("{endpoint} {what}"));
        match endpoint.password.as_deref().and_then(|password| Quote::of(password, &cause)) {
            Some(quote) => error.caused_by(quote),
            None => error.caused_by(cause),
        }
    }

    fn timed_out(&self, limit: Duration) -> Error {
        let endpoint = &self.endpoint;
        Error::new(Code::Timeout, format!("{endpoint} did not answer within {} ms", limit.as_millis()))
    }
}

/// Also where the connection as such works: after a failover it may lead to a replica, after a
/// change of password to a login that is void.
fn needs_new_connection(cause: &RedisError) -> bool {
    cause.is_unrecoverable_error()
        || cause.is_io_error()
        || matches!(
            cause.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
        || cause.code() == Some("NOAUTH")
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(RETRY_FROM)
        .with_max_delay(RETRY_UP_TO)
        .with_jitter()
        .without_max_times()
        .build()
}
