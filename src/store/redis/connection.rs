//! One connection to the server that takes our writes, kept alive by a task of its own.
//!
//! redis-rs offers a `ConnectionManager`; after a failed connect it tries again only for some
//! errors, and there is no way to make it. This one replaces the connection whatever went wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, ServerErrorKind, Value,
    from_redis_value,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::failure::{is_refused, needs_new_connection};
use super::link::Link;
use super::quote::Quote;
use super::route::Route;
use super::standing::Standing;
use crate::endpoint::Endpoint;
use crate::error::{Code, Error, Result};
use crate::lock::lock;
use crate::options::Options;

/// Waits between attempts to connect: short at first, because a restart or a failover takes a
/// second or two; each is lengthened at random by up to its own length, so that a fleet does not
/// come back in step.
const RETRY_FROM: Duration = Duration::from_millis(100);
const RETRY_UP_TO: Duration = Duration::from_secs(2);

/// Maximum length of what a server calls itself, and of its version.
pub const LONGEST_NAME: usize = 64;

/// After so many timeouts in a row the connection counts as dead: a half-open one never says so.
const TIMEOUTS_UNTIL_DEAD: u32 = 2;

/// A connection that comes back by itself, for as long as this lives.
pub struct Connection {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    route: Route,
    channel: String,
    connect_timeout: Duration,
    command_timeout: Duration,
    call_limit: Duration,
    status: watch::Sender<Status>,
    notices: watch::Sender<u64>,
    trouble: watch::Sender<Option<Error>>,
    server: Mutex<Option<String>>,
    timeouts: AtomicU32,
    standing: Mutex<Standing>,
}

#[derive(Clone)]
enum Status {
    /// The first attempt is under way.
    Connecting,
    /// Ready; the number tells one connection from the next.
    Up(Link, u64),
    /// Given up, for this reason; the first attempt to replace it is under way.
    Lost(Error),
    /// The last attempt failed; others follow.
    Down(Error),
}

impl Connection {
    /// Connects to nothing: the first command does.
    pub fn new(endpoint: &Endpoint, options: &Options) -> Self {
        let shared = Shared {
            route: Route::new(endpoint, &options.project_key),
            channel: options.updates_channel(),
            connect_timeout: options.connect_timeout,
            command_timeout: options.command_timeout,
            call_limit: options.call_limit(),
            status: watch::Sender::new(Status::Connecting),
            notices: watch::Sender::new(0),
            trouble: watch::Sender::new(None),
            server: Mutex::default(),
            timeouts: AtomicU32::new(0),
            standing: Mutex::default(),
        };
        Connection { shared: Arc::new(shared), supervisor: Mutex::default() }
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
        self.shared.route.endpoint()
    }

    /// The server's software and version, once it has told.
    pub fn server(&self) -> Option<String> {
        self.shared.server().clone()
    }

    /// Ends the connection; the next command makes another one.
    pub fn close(&self) {
        if let Some(supervisor) = lock(&self.supervisor).take() {
            supervisor.abort();
        }
        *self.shared.standing() = Standing::default();
        self.shared.status.send_replace(Status::Connecting);
    }

    /// Sends a command and waits for its reply. Where the connection turns out to be lost, or to lead
    /// to the wrong server, once more on the next one: a command here must bear to be carried out
    /// twice.
    pub async fn send(&self, command: &Cmd) -> Result<Value> {
        let shared = &self.shared;
        let limit = shared.call_limit;
        timeout(limit, self.send_persistently(command)).await.unwrap_or_else(|_| Err(shared.timed_out(limit)))
    }

    async fn send_persistently(&self, command: &Cmd) -> Result<Value> {
        let shared = &self.shared;
        let mut is_last = false;
        loop {
            let (link, number) = self.established().await?;
            match timeout(shared.command_timeout, link.send(command)).await {
                Ok(Ok(reply)) => {
                    shared.timeouts.store(0, Ordering::Relaxed);
                    shared.standing().answered();
                    return Ok(reply);
                }
                // Half of our keys have moved to another node: the rest is about to follow.
                Ok(Err(cause)) if cause.kind() == ErrorKind::Server(ServerErrorKind::TryAgain) => {
                    sleep(RETRY_FROM).await;
                }
                Ok(Err(cause)) => {
                    let is_lost = needs_new_connection(&cause);
                    // The same reply would come again.
                    is_last |= is_refused(&cause);
                    let error = shared.route.failed(&link, cause);
                    // A replica still reads.
                    if !is_lost || error.code() == Code::ReadOnly {
                        shared.standing().answered();
                    } else if is_last {
                        shared.standing().broken();
                    }
                    if is_lost {
                        shared.lose(number, &error);
                    }
                    if !is_lost || is_last {
                        return Err(error);
                    }
                    is_last = true;
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
    async fn established(&self) -> Result<(Link, u64)> {
        self.supervise();
        let mut status = self.shared.status.subscribe();
        let settled = status.wait_for(|status| matches!(status, Status::Up(..) | Status::Down(_)));
        // The attempt has a limit of its own; this one holds should its task be starved.
        match timeout(self.shared.connect_timeout * 2, settled).await {
            Ok(Ok(status)) => match &*status {
                Status::Up(link, number) => Ok((link.clone(), *number)),
                Status::Down(error) => Err(error.clone()),
                Status::Connecting | Status::Lost(_) => {
                    Err(self.shared.timed_out(self.shared.connect_timeout))
                }
            },
            _ => Err(self.shared.timed_out(self.shared.connect_timeout)),
        }
    }

    fn supervise(&self) {
        let mut supervisor = lock(&self.supervisor);
        if supervisor.as_ref().is_none_or(JoinHandle::is_finished) {
            self.shared.status.send_replace(Status::Connecting);
            *supervisor = Some(tokio::spawn(self.shared.clone().keep_connected()));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    async fn keep_connected(self: Arc<Self>) {
        let mut waits = backoff();
        for number in 1.. {
            let link = loop {
                match self.connect(number).await {
                    Ok(link) => break link,
                    Err(error) => self.wait(error, &mut waits).await,
                }
            };
            self.timeouts.store(0, Ordering::Relaxed);
            let since = Instant::now();
            self.status.send_replace(Status::Up(link, number));
            // Whatever was announced meanwhile is missed: look.
            self.notices.send_modify(|count| *count += 1);
            let loss = self.loss().await;
            if self.standing().lost(since.elapsed()) {
                waits = backoff();
            } else {
                // As good as a failed attempt: servers that send us to and fro are not asked faster.
                self.wait(loss, &mut waits).await;
            }
        }
    }

    /// Waits until the connection is given up, and tells why.
    async fn loss(&self) -> Error {
        let mut status = self.status.subscribe();
        loop {
            if let Status::Lost(error) = &*status.borrow_and_update() {
                return error.clone();
            }
            // The sender is this one's own: it lives.
            let _ = status.changed().await;
        }
    }

    async fn wait(&self, error: Error, waits: &mut ExponentialBackoff) {
        self.trouble.send_replace(Some(error.clone()));
        self.status.send_replace(Status::Down(error));
        sleep(waits.next().unwrap_or(RETRY_UP_TO)).await;
    }

    async fn connect(self: &Arc<Self>, number: u64) -> Result<Link> {
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
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(on_push);
        let attempt = async {
            let link = self.route.connect(&config).await?;
            self.introduce(&link).await;
            // Notices are hints: without the right to subscribe everything works, only later.
            match link.subscribe(&self.channel).await {
                Err(cause) if needs_new_connection(&cause) => Err(self.route.failed(&link, cause)),
                _ => Ok(link),
            }
        };
        timeout(self.connect_timeout, attempt)
            .await
            .unwrap_or_else(|_| Err(self.timed_out(self.connect_timeout)))
    }

    /// Says our name and asks for the server's. Nothing depends on either.
    async fn introduce(&self, link: &Link) {
        let mut hello = redis::cmd("HELLO");
        if let Some(name) = &self.route.endpoint().client_name {
            // `CLIENT SETNAME` would need a right of its own.
            hello.arg(3).arg("SETNAME").arg(name);
        }
        let Ok(reply) = link.send(&hello).await else { return };
        let Ok(reply) = from_redis_value::<HashMap<String, Value>>(reply) else { return };
        let text = |name| {
            let text = reply.get(name).and_then(|value| String::from_redis_value_ref(value).ok());
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            text.filter(|text| text.len() <= LONGEST_NAME && text.bytes().all(is_name))
                .filter(|text| !Quote::is_in(text, self.route.endpoint().passwords()))
        };
        if let (Some(server), Some(version)) = (text("server"), text("version")) {
            *self.server() = Some(format!("{server} {version}"));
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.server)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.standing)
    }

    /// Has the connection of this number replaced; a later one is not affected.
    fn lose(&self, number: u64, error: &Error) {
        self.status.send_if_modified(|status| {
            let is_current = matches!(status, Status::Up(_, current) if *current == number);
            if is_current {
                *status = Status::Lost(error.clone());
            }
            is_current
        });
    }

    fn disconnected(&self, number: u64) {
        let endpoint = self.route.endpoint();
        self.lose(number, &Error::new(Code::Unavailable, format!("{endpoint} closed the connection")));
    }

    fn timed_out(&self, limit: Duration) -> Error {
        let endpoint = self.route.endpoint();
        Error::new(Code::Timeout, format!("{endpoint} did not answer within {} ms", limit.as_millis()))
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
