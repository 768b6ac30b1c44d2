//! Keeps one connection to the primary, and reconnects after every kind of failure.
//!
//! The `ConnectionManager` of redis-rs does not reconnect after every kind of failure, and cannot be made to.

mod listener;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, ServerErrorKind, Value,
    from_redis_value,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::Connection;
use super::discovery::Discovery;
use super::errors::{has_password, is_passing, is_refused, needs_new_connection};
use super::health::Health;
use super::protocol;
use crate::config::options::Options;
use crate::config::target::Endpoint;
use crate::error::{Code, Error, Result};
use crate::store::notices::Notices;
use crate::store::{Delivery, Link};

/// The backoff between attempts to connect. It starts short, because a restart or a failover takes a second or two.
/// Jitter of up to the delay itself keeps the processes of a fleet from reconnecting at the same moment.
const RETRY_FROM: Duration = Duration::from_millis(100);
const RETRY_UP_TO: Duration = Duration::from_secs(2);

/// The maximum length of a server's name, and of its version.
pub const LONGEST_NAME: usize = 64;

/// Owns the task that keeps the connection; dropping it ends both.
pub struct Supervisor {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    discovery: Discovery,
    channel: String,
    connect_timeout: Duration,
    command_timeout: Duration,
    call_limit: Duration,
    status: watch::Sender<Status>,
    notices: watch::Sender<Notices>,
    trouble: watch::Sender<Option<Error>>,
    link: Mutex<Link>,
    health: Mutex<Health>,
}

#[derive(Clone)]
enum Status {
    /// The first attempt is running.
    Connecting,
    /// The connection is ready. Its number distinguishes it from the next one.
    Up(Connection, u64),
    /// The connection was given up for this reason, and the first attempt to replace it is running.
    Lost(Error),
    /// The last attempt failed; the next one follows after the backoff.
    Down(Error),
}

impl Supervisor {
    /// Does not connect yet; the first command does.
    pub fn new(endpoint: &Endpoint, options: &Options) -> Self {
        let shared = Shared {
            discovery: Discovery::new(endpoint, options),
            channel: options.updates_channel(),
            connect_timeout: options.connect_timeout,
            command_timeout: options.command_timeout,
            call_limit: options.call_limit(),
            status: watch::Sender::new(Status::Connecting),
            notices: watch::Sender::default(),
            trouble: watch::Sender::new(None),
            link: Mutex::default(),
            health: Mutex::default(),
        };
        Supervisor { shared: Arc::new(shared), task: Mutex::default() }
    }

    /// The messages on the channel. Before a reconnect some may have been missed.
    pub fn notices(&self) -> watch::Receiver<Notices> {
        self.shared.notices.subscribe()
    }

    /// The last error of connecting, or that was reported.
    pub fn trouble(&self) -> watch::Receiver<Option<Error>> {
        self.shared.trouble.subscribe()
    }

    /// Reports an error that no call returns.
    pub fn report(&self, error: Error) {
        self.shared.trouble.send_replace(Some(error));
    }

    /// The deployment.
    pub fn endpoint(&self) -> &Endpoint {
        self.shared.discovery.endpoint()
    }

    /// What is known about the connection.
    pub fn link(&self) -> Link {
        self.shared.link().clone()
    }

    /// Closes the connection; the next command opens a new one.
    pub fn close(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        *self.shared.health() = Health::default();
        self.shared.status.send_replace(Status::Connecting);
    }

    /// Sends a command and waits for its reply. If the connection is lost, or leads to the wrong server, sends the
    /// command once more on the next connection, so every command must tolerate to be executed twice.
    ///
    /// It ends when the server is silent for `commandTimeoutMs`. The caller limits the whole time.
    pub async fn send(&self, command: &Cmd) -> Result<Value> {
        let shared = &self.shared;
        let mut is_last = false;
        // A process without definitions has more time for loading them, but not for this.
        let moves_until = Instant::now() + shared.call_limit;
        loop {
            let (connection, number) = self.established().await?;
            match connection.unless_silent(shared.command_timeout, connection.send(command)).await {
                Some(Ok(reply)) => {
                    shared.health().answered();
                    return Ok(reply);
                }
                // The slot is moving, and one of our keys has moved already; the other follows soon.
                Some(Err(cause))
                    if cause.kind() == ErrorKind::Server(ServerErrorKind::TryAgain)
                        && Instant::now() < moves_until =>
                {
                    sleep(RETRY_FROM).await;
                }
                Some(Err(cause)) => {
                    let is_lost = needs_new_connection(&cause);
                    // The server would send the same reply again.
                    is_last |= is_refused(&cause);
                    let error = shared.discovery.failed(&connection, cause);
                    // A replica still answers reads.
                    let is_replica = error.code() == Code::ReadOnly;
                    if !is_lost || is_replica {
                        shared.health().answered();
                    } else if is_last {
                        shared.health().broken();
                    }
                    // If the new connection leads to a replica as well, so would another one: the next write tries again.
                    if is_lost && !(is_replica && is_last) {
                        shared.lose(number, &error);
                    }
                    if !is_lost || is_last {
                        return Err(error);
                    }
                    is_last = true;
                }
                None => {
                    let error = shared.discovery.timed_out(shared.command_timeout);
                    tokio::spawn(shared.clone().probe(connection, number, error.clone()));
                    return Err(error);
                }
            }
        }
    }

    /// Waits for the attempt that is running, but not for the next one after it has failed.
    async fn established(&self) -> Result<(Connection, u64)> {
        self.start();
        let mut status = self.shared.status.subscribe();
        let settled = status.wait_for(|status| matches!(status, Status::Up(..) | Status::Down(_)));
        // An attempt has its own timeout; this one applies if the task does not get to run.
        match timeout(self.shared.connect_timeout * 2, settled).await {
            Ok(Ok(status)) => match &*status {
                Status::Up(connection, number) => Ok((connection.clone(), *number)),
                Status::Down(error) => Err(error.clone()),
                Status::Connecting | Status::Lost(_) => {
                    Err(self.shared.discovery.timed_out(self.shared.connect_timeout))
                }
            },
            _ => Err(self.shared.discovery.timed_out(self.shared.connect_timeout)),
        }
    }

    fn start(&self) {
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            self.shared.status.send_replace(Status::Connecting);
            *task = Some(tokio::spawn(self.shared.clone().keep_connected()));
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    async fn keep_connected(self: Arc<Self>) {
        let (mut waits, mut renewed) = (backoff(), None);
        for number in 1.. {
            let connection = match renewed.take() {
                Some(connection) => connection,
                None => loop {
                    match self.connect().await {
                        Ok(connection) => break connection,
                        Err(error) => self.wait(error, &mut waits).await,
                    }
                },
            };
            let since = Instant::now();
            let loss = match self.serve(connection, number).await {
                Ok(connection) => {
                    renewed = Some(connection);
                    continue;
                }
                Err(loss) => loss,
            };
            if self.health().lost(since.elapsed()) {
                waits = backoff();
            } else {
                // Without the backoff, two servers that redirect to each other would be asked in a tight loop.
                self.wait(loss, &mut waits).await;
            }
        }
    }

    /// Offers the connection until it is given up, and returns the reason, or the connection that replaces it because its
    /// credentials expire.
    async fn serve(self: &Arc<Self>, connection: Connection, number: u64) -> Result<Connection> {
        let (ended, renew_at) = (connection.ended(), connection.renew_at());
        let mut set_up = pin!(self.set_up(connection.clone(), number));
        // Sends its commands, without waiting for the replies. With RESP3 a notice cannot be missed after the first read:
        // the subscription precedes it.
        let _ = set_up.as_mut().now_or_never();
        self.status.send_replace(Status::Up(connection, number));
        // Messages may have been missed while there was no connection.
        self.notices.send_modify(Notices::gap);
        tokio::select! {
            loss = self.loss() => Err(loss),
            () = ended => Err(self.disconnected(number)),
            renewed = self.renewed(renew_at) => Ok(renewed),
            never = set_up => match never {},
        }
    }

    /// Sends the client name and subscribes, together with the first commands, so it costs no round trip. Ends only
    /// with the connection.
    async fn set_up(&self, connection: Connection, number: u64) -> Infallible {
        let protocol = connection.protocol();
        self.link().protocol = Some(protocol::name(protocol));
        self.link().notices = None;
        let subscribe = async || {
            if !protocol.supports_resp3() {
                return Ok(());
            }
            let outcome = connection.subscribe(&self.channel).await;
            self.link().notices = Some(if outcome.is_ok() { Delivery::Push } else { Delivery::None });
            outcome
        };
        let both = async { tokio::join!(subscribe(), self.introduce(&connection)).0 };
        let mut subscribed = connection.unless_silent(self.connect_timeout, both).await;
        let mut waits = backoff();
        while matches!(&subscribed, Some(Err(cause)) if is_passing(cause)) {
            sleep(waits.next().unwrap_or(RETRY_UP_TO)).await;
            subscribed = connection.unless_silent(self.connect_timeout, subscribe()).await;
            // Messages may have been missed until now.
            self.notices.send_modify(Notices::gap);
        }
        match subscribed {
            None => self.lose(number, &self.discovery.timed_out(self.connect_timeout)),
            // Notices are hints: without the permission to subscribe, changes arrive only with the next poll.
            Some(Err(cause)) if needs_new_connection(&cause) => {
                self.lose(number, &self.discovery.failed(&connection, cause));
            }
            Some(_) => {}
        }
        let address = connection.address().clone();
        drop(connection);
        if !protocol.supports_resp3() {
            self.listen(&address).await;
        }
        pending().await
    }

    /// Waits until this time, and connects with new credentials.
    async fn renewed(self: &Arc<Self>, at: Option<Instant>) -> Connection {
        let Some(at) = at else { return pending().await };
        sleep_until(at).await;
        let mut waits = backoff();
        loop {
            match self.connect().await {
                Ok(connection) => return connection,
                Err(error) => self.trouble.send_replace(Some(error)),
            };
            sleep(waits.next().unwrap_or(RETRY_UP_TO)).await;
        }
    }

    /// A half-open connection reports no error. After a timeout a `PING` follows at once. Otherwise only the next
    /// call, perhaps an interval later, would notice.
    async fn probe(self: Arc<Self>, connection: Connection, number: u64, error: Error) {
        let ping = redis::cmd("PING");
        // Any reply is enough, even an error.
        if connection.unless_silent(self.command_timeout, connection.send(&ping)).await.is_none() {
            self.lose(number, &error);
        }
    }

    /// Waits until the connection is given up, and returns the reason.
    async fn loss(&self) -> Error {
        let mut status = self.status.subscribe();
        loop {
            if let Status::Lost(error) = &*status.borrow_and_update() {
                return error.clone();
            }
            // Never an error: `self` owns the sender.
            let _ = status.changed().await;
        }
    }

    async fn wait(&self, error: Error, waits: &mut ExponentialBackoff) {
        self.trouble.send_replace(Some(error.clone()));
        self.status.send_replace(Status::Down(error));
        sleep(waits.next().unwrap_or(RETRY_UP_TO)).await;
    }

    async fn connect(self: &Arc<Self>) -> Result<Connection> {
        let receiver = Arc::downgrade(self);
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Message
                && let Some(shared) = receiver.upgrade()
            {
                shared.notices.send_modify(|notices| match push.data.last() {
                    Some(Value::BulkString(message)) => notices.message(message),
                    _ => notices.gap(),
                });
            }
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(on_push);
        self.discovery.connect(&config).await
    }

    /// Sends our client name, and asks for the server's name and version. Failing here has no consequences.
    async fn introduce(&self, connection: &Connection) {
        let mut hello = redis::cmd("HELLO");
        if let Some(name) = &self.discovery.endpoint().client_name {
            // `CLIENT SETNAME` would need a permission of its own.
            let version = if connection.protocol().supports_resp3() { 3 } else { 2 };
            hello.arg(version).arg("SETNAME").arg(name);
        }
        let Ok(reply) = connection.send(&hello).await else { return };
        let Ok(reply) = from_redis_value::<HashMap<String, Value>>(reply) else { return };
        let text = |name| {
            let text = reply.get(name).and_then(|value| String::from_redis_value_ref(value).ok());
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            text.filter(|text| text.len() <= LONGEST_NAME && text.bytes().all(is_name))
                .filter(|text| !has_password(text, self.discovery.passwords().iter().map(String::as_str)))
        };
        if let (Some(server), Some(version)) = (text("server"), text("version")) {
            self.link().server = Some(format!("{server} {version}"));
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock()
    }

    /// Gives up the connection of this number, unless it has been replaced already.
    fn lose(&self, number: u64, error: &Error) {
        self.status.send_if_modified(|status| {
            let is_current = matches!(status, Status::Up(_, current) if *current == number);
            if is_current {
                *status = Status::Lost(error.clone());
            }
            is_current
        });
    }

    fn disconnected(&self, number: u64) -> Error {
        let endpoint = self.discovery.endpoint();
        let error = Error::new(Code::Unavailable, format!("{endpoint} closed the connection"))
            .advising("The cache connects again. If this error persists, check the server and its log.");
        self.lose(number, &error);
        error
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(RETRY_FROM)
        .with_max_delay(RETRY_UP_TO)
        .with_jitter()
        .without_max_times()
        .build()
}
