//! Checks a deployment of Redis, and the permissions of our user.

mod reach;
mod rights;
mod server;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value, from_redis_value};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::finding::{Finding, Verdict, in_ms};
use crate::config::options::{Options, Role};
use crate::config::target::{Endpoint, Login, Topology};
use crate::error::{Code, Error, Result};
use crate::store::redis::access::Access;
use crate::store::redis::connection::Connection;
use crate::store::redis::discovery::Discovery;
use crate::store::redis::protocol;

/// A connection to the primary, for the checks.
struct Session<'a> {
    discovery: &'a Discovery,
    connection: Connection,
    options: &'a Options,
    /// Notified of each message on our channel.
    messages: Arc<Notify>,
}

/// Checks the way to the server, then the server, then our permissions.
pub async fn examine(endpoint: &Endpoint, options: &Options) -> Vec<Finding> {
    let discovery = Discovery::new(endpoint, options);
    let asked_at = Instant::now();
    let access = match discovery.access().await {
        Ok(access) => access,
        Err(error) => {
            let advice = "call the function by itself; with --password-file, look into the file";
            return vec![Finding::error("credentials", error.to_string(), advice)];
        }
    };
    let took = in_ms(asked_at.elapsed());
    let given =
        endpoint.credentials.as_ref().map(|_| Finding::ok("credentials", credentials(&access, &took)));
    let mut findings = Vec::from_iter(given);
    findings.extend(match &endpoint.topology {
        Topology::Server(address) => {
            reach::server(address, &discovery, &access, options.connect_timeout).await
        }
        Topology::Sentinel { sentinels, .. } => {
            reach::seeds("sentinels", sentinels, &discovery, &access, options.connect_timeout).await
        }
        Topology::Cluster { seeds } => {
            reach::seeds("nodes", seeds, &discovery, &access, options.connect_timeout).await
        }
    });
    if findings.iter().any(|finding| finding.verdict == Verdict::Error) {
        findings.push(Finding::unchecked("login", "the server cannot be reached"));
        return findings;
    }
    let messages = Arc::new(Notify::new());
    let asked_at = Instant::now();
    let connection = match connect(&discovery, messages.clone()).await {
        Ok(connection) => connection,
        Err(error) => {
            findings.push(refused(&error, endpoint));
            return findings;
        }
    };
    let took = in_ms(asked_at.elapsed());
    if !matches!(endpoint.topology, Topology::Server(_)) {
        let address = connection.address().clone();
        findings.extend(reach::server(&address, &discovery, &access, options.connect_timeout).await);
    }
    let protocol = protocol::name(connection.protocol());
    findings.push(Finding::ok("login", format!("accepted with {protocol}, {took} with connecting")));
    let session = Session { discovery: &discovery, connection, options, messages };
    findings.extend(server::identity(&session).await);
    findings.extend(rights::examine(&session).await);
    findings.push(server::eviction(&session).await);
    findings.push(server::latency(&session).await);
    findings
}

async fn connect(discovery: &Discovery, messages: Arc<Notify>) -> Result<Connection> {
    let on_push = move |push: PushInfo| {
        if push.kind == PushKind::Message {
            messages.notify_one();
        }
        Ok::<(), std::convert::Infallible>(())
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(on_push);
    discovery.connect(&config).await
}

fn credentials(access: &Access, took: &str) -> String {
    let renewal = match access.renew_at {
        Some(at) => {
            format!("logs in anew after {} s", at.saturating_duration_since(Instant::now().into()).as_secs())
        }
        None => "they do not expire".into(),
    };
    format!("given in {took}; {renewal}")
}

fn refused(error: &Error, endpoint: &Endpoint) -> Finding {
    let message = error.to_string();
    let advice = match error.code() {
        Code::Auth if endpoint.credentials.is_some() && !message.contains("no permissions") => {
            "the server refuses what the function 'credentials', or --password-file, says: is it for this user and server?"
        }
        Code::Auth if message.contains("NOAUTH") && endpoint.login == Login::default() => {
            "the server wants a password: give it by POSTHOG_FLAG_CACHE_PASSWORD, or in the url"
        }
        Code::Auth if message.contains("no permissions") => {
            "grant what docs/redis.md says under Rights: with Sentinel also +role, in a cluster \
             +cluster|slots, in a database other than 0 +select"
        }
        Code::Auth => {
            "check user and password: POSTHOG_FLAG_CACHE_PASSWORD and --username, or percent-encoded in the url"
        }
        _ if message.contains("give database 0") => "the url ends in /0, or in no number",
        Code::Timeout => "the server takes connections but does not answer: is it hung, or busy?",
        _ if endpoint.tls.is_none() => {
            "if the server takes TLS only, the url begins with rediss://; a proxy without HELLO may close the connection too \
             (twemproxy): name the server behind it"
        }
        // With TLS 1.3 a server asks for a certificate only after the handshake.
        _ if endpoint.tls.as_ref().is_some_and(|tls| tls.identity.is_none()) => {
            "if the server wants a certificate of ours, give one with --tls-cert and --tls-key"
        }
        _ => "check that a Redis 6.2 or later, or a Valkey, answers there",
    };
    Finding::error("login", message, advice)
}

impl Session<'_> {
    /// Sends a command. The outer error is one of the connection, after which no other check can work.
    async fn ask(&self, command: &redis::Cmd) -> Result<redis::RedisResult<Value>> {
        let limit = self.options.command_timeout;
        match timeout(limit, self.connection.send(command)).await {
            Ok(Err(cause)) if cause.is_io_error() => Err(self.discovery.failed(&self.connection, cause)),
            Ok(reply) => Ok(reply),
            Err(_) => {
                let message = format!("no answer within {} ms", limit.as_millis());
                Err(Error::new(Code::Timeout, message))
            }
        }
    }

    /// What the server says about itself. `HELLO` needs no permission.
    async fn hello(&self) -> Option<HashMap<String, Value>> {
        let reply = self.ask(&redis::cmd("HELLO")).await.ok()?.ok()?;
        from_redis_value(reply).ok()
    }

    fn is_reader(&self) -> bool {
        self.options.role == Role::Reader
    }
}
