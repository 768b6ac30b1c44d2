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
use crate::config::target::{Endpoint, Topology};
use crate::error::{Code, Error, Result};
use crate::store::redis::access::Access;
use crate::store::redis::connection::Connection;
use crate::store::redis::discovery::Discovery;
use crate::store::redis::errors::{is_denied, is_unreachable};
use crate::store::redis::protocol;
use crate::store::redis::tls_fault::CLIENT_CERTIFICATE;

/// A connection to the primary, for the checks.
struct Session<'a> {
    discovery: &'a Discovery,
    connection: Connection,
    options: &'a Options,
    /// Notified of each message on our channel.
    messages: Arc<Notify>,
}

/// Checks the network, then the server, then the permissions.
pub async fn examine(endpoint: &Endpoint, options: &Options) -> Vec<Finding> {
    let discovery = Discovery::new(endpoint, options);
    let asked_at = Instant::now();
    let access = match discovery.access().await {
        Ok(access) => access,
        Err(error) => {
            let advice = "Check the file of --password-file.";
            return vec![Finding::error("credentials", error.fault(), advice)];
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
    findings.push(Finding::ok("login", format!("accepted with {protocol}, in {took}")));
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
            format!("logs in again after {} s", at.saturating_duration_since(Instant::now().into()).as_secs())
        }
        None => "does not expire".into(),
    };
    format!("returned in {took}; {renewal}")
}

/// Says more than the error where the whole deployment is known.
fn refused(error: &Error, endpoint: &Endpoint) -> Finding {
    let tls = endpoint.tls.as_ref();
    let advice = match error.code() {
        _ if is_denied(error) => {
            "Grant the permissions that docs/redis.md lists. With Sentinel, the user also needs +role; in a cluster, \
             +cluster|slots; in a database other than 0, +select."
        }
        Code::Auth if endpoint.credentials.is_some() => {
            "The password comes from --password-file. Check that it is for this user and this server."
        }
        _ if is_unreachable(error) && tls.is_none() => {
            "If the server requires TLS, use rediss:// in the URL. A proxy without HELLO (twemproxy) may also close the \
             connection: use the server behind it."
        }
        // With TLS 1.3 a server asks for a certificate only after the handshake.
        _ if is_unreachable(error) && tls.is_some_and(|tls| tls.identity.is_none()) => CLIENT_CERTIFICATE,
        _ => return Finding::failed("login", error),
    };
    Finding::error("login", error.fault(), advice)
}

impl Session<'_> {
    /// Sends a command. The outer error is one of the connection, after which no other check can work.
    async fn ask(&self, command: &redis::Cmd) -> Result<redis::RedisResult<Value>> {
        let limit = self.options.command_timeout;
        match timeout(limit, self.connection.send(command)).await {
            Ok(Err(cause)) if cause.is_io_error() => Err(self.discovery.failed(&self.connection, cause)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(Error::timeout("the server", limit)),
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
