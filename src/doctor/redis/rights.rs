//! Checks whether our user has the permissions that docs/redis.md lists under "Required Redis permissions (ACL)".
//!
//! Each command is sent in a form that changes nothing even if it is allowed. (`ACL DRYRUN` needs a permission of its
//! own, and Redis 7.)

use std::future::pending;
use std::time::Instant;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::timeout;

use super::Session;
use crate::config::target::Topology;
use crate::doctor::finding::{Finding, in_ms};
use crate::error::Result;
use crate::store::redis::errors::lacks_scripts;
use crate::store::redis::subscription::Subscription;

/// Stands for a key with our prefix that never exists.
const NOWHERE: &str = "<nowhere>";

/// What every process needs to run.
const READING: &[&[&str]] = &[
    &["EVALSHA", "0000000000000000000000000000000000000000", "1", NOWHERE],
    &["EVAL", "return 1", "1", NOWHERE],
    &["TYPE", NOWHERE],
    &["HGET", NOWHERE, "x"],
    &["HMGET", NOWHERE, "x"],
    &["HSTRLEN", NOWHERE, "x"],
    &["GET", NOWHERE],
    &["STRLEN", NOWHERE],
    &["TIME"],
];

/// What a process that is not a reader needs as well.
const WRITING: &[&[&str]] = &[
    // `XX`: only if the key exists.
    &["SET", NOWHERE, "x", "XX", "PX", "1"],
    // The last field has no value: Redis refuses that, but checks the permission first.
    &["HSET", NOWHERE, "x", "x", "x"],
    &["HDEL", NOWHERE, "x"],
    &["DEL", NOWHERE],
    &["PEXPIRE", NOWHERE, "1"],
];

/// Where update notifications arrive.
enum Source {
    Pushes,
    Subscription(Subscription),
}

/// How the server responds to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    /// The command is not allowed.
    NoCommand,
    /// The command is allowed, but not with this key or channel.
    NoName,
    /// The server does not know the command.
    Unknown,
}

/// Checks commands, keys and the channel.
pub async fn examine(session: &Session<'_>) -> Vec<Finding> {
    match probe_all(session).await {
        Ok(findings) => findings,
        Err(error) => {
            vec![Finding::failed("rights", &error)]
        }
    }
}

async fn probe_all(session: &Session<'_>) -> Result<Vec<Finding>> {
    let nowhere = format!("{}:doctor", session.options.data_key());
    let writing = if session.is_reader() { &[] } else { WRITING };
    let (mut allowed, mut missing, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for words in READING.iter().chain(writing) {
        let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        match probe(session, words, &nowhere).await? {
            Answer::Allowed | Answer::NoName => allowed.push(name),
            Answer::NoCommand => missing.push(name),
            Answer::Unknown => unknown.push(name),
        }
    }
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let line = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        findings.push(Finding::error(
            "rights",
            format!("this user lacks the permission to run {}", missing.join(", ")),
            format!("Run: ACL SETUSER <user> {line}"),
        ));
    }
    if !unknown.is_empty() {
        let message = format!("the server does not know {}", unknown.join(", "));
        let advice = "They are renamed or disabled there, but the cache needs them. Use another server or plan, or a directory \
            (file:///…).";
        findings.push(Finding::error("rights", message, advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "rights",
            format!("this user has the permission to run {}", allowed.join(", ")),
        ));
    }
    findings.push(keys(session).await?);
    findings.push(notices(session).await?);
    if matches!(session.discovery.endpoint().topology, Topology::Cluster { .. })
        && probe(session, &["ASKING"], &nowhere).await? != Answer::Allowed
    {
        let message = "this user lacks the permission +asking, which is needed while the cluster moves slots";
        findings.push(Finding::warning("rights", message, "Run: ACL SETUSER <user> +asking"));
    }
    Ok(findings)
}

/// Whether the user has access to the project's keys. Reads or removes a field that does not exist.
async fn keys(session: &Session<'_>) -> Result<Finding> {
    let verb = if session.is_reader() { "HGET" } else { "HDEL" };
    let options = session.options;
    for key in [options.data_key(), options.state_key()] {
        match probe(session, &[verb, NOWHERE, "posthog-flag-cache-doctor"], &key).await? {
            Answer::Allowed => {}
            Answer::NoName => {
                let advice = format!("Run: ACL SETUSER <user> ~{}:*", options.key_prefix);
                return Ok(Finding::error("keys", format!("this user has no access to {key}"), advice));
            }
            _ => {
                return Ok(Finding::unchecked(
                    "keys",
                    format!("this user lacks the permission to run {}", verb.to_ascii_lowercase()),
                ));
            }
        }
    }
    Ok(Finding::ok(
        "keys",
        format!("this user has access to {} and {}", options.data_key(), options.state_key()),
    ))
}

/// Whether a notification that this process publishes arrives. Processes read the state after it, and find nothing new.
async fn notices(session: &Session<'_>) -> Result<Finding> {
    const LATE: &str = "new definitions arrive only at the next poll";
    let channel = session.options.updates_channel();
    let limit = session.options.command_timeout;
    let pattern = format!("&{}:*", session.options.key_prefix);
    let subscribing = async {
        if session.connection.protocol().supports_resp3() {
            return match session.connection.subscribe(&channel).await {
                Ok(()) => Ok(Some(Source::Pushes)),
                Err(cause) if cause.is_io_error() => {
                    Err(session.discovery.failed(&session.connection, cause))
                }
                Err(_) => Ok(None),
            };
        }
        let subscribed = session.discovery.subscribe(session.connection.address(), &channel).await?;
        Ok(subscribed.map(Source::Subscription))
    };
    let mut source = match timeout(limit, subscribing).await {
        Ok(Ok(Some(source))) => source,
        Ok(Ok(None)) => {
            let message = format!("this user lacks the permission to subscribe to {channel}: {LATE}");
            let advice = format!(
                "If this is not a proxy without SUBSCRIBE (such as Envoy), run: ACL SETUSER <user> +subscribe {pattern}"
            );
            return Ok(Finding::warning("notices", message, advice));
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            return Ok(Finding::warning(
                "notices",
                "the server did not answer SUBSCRIBE in time",
                "Check the load of the server.",
            ));
        }
    };
    let way = match &source {
        Source::Pushes => "on the main connection",
        Source::Subscription(_) => "on a second connection (the server lacks RESP3)",
    };
    if session.is_reader() {
        return Ok(Finding::ok(
            "notices",
            format!("this user has the permission to subscribe to {channel}; notifications arrive {way}"),
        ));
    }
    let asked_at = Instant::now();
    let in_script = session.ask(&publish_in_script(session, &channel)).await?;
    let sent = match &in_script {
        Ok(_) => "",
        Err(_) => match probe(session, &["PUBLISH", NOWHERE, "doctor"], &channel).await? {
            Answer::Allowed if answer(in_script.as_ref()) == Answer::Allowed => {
                ", sent with a separate command (the server rejects PUBLISH in scripts)"
            }
            Answer::Allowed => "",
            _ => {
                let message = format!(
                    "this user lacks the permission to publish to {channel}: other processes see new definitions only at their next poll"
                );
                let advice = format!("Run: ACL SETUSER <user> +publish {pattern}");
                return Ok(Finding::warning("notices", message, advice));
            }
        },
    };
    let arrived = async {
        match &mut source {
            Source::Pushes => session.messages.notified().await,
            Source::Subscription(subscription) => {
                if subscription.next(limit).await.is_none() {
                    pending().await
                }
            }
        }
    };
    Ok(match timeout(limit, arrived).await {
        Ok(()) => Finding::ok(
            "notices",
            format!("a notification arrived in {}, {way}{sent}", in_ms(asked_at.elapsed())),
        ),
        Err(_) => {
            let message = format!("no notification arrived within {} ms: {LATE}", limit.as_millis());
            Finding::warning("notices", message, "Check whether a proxy before the server supports pub/sub.")
        }
    })
}

/// Publishes as a commit does. Names a key, because some proxies refuse scripts without one.
fn publish_in_script(session: &Session<'_>, channel: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg("return redis.call('PUBLISH', ARGV[1], 'doctor')").arg(1);
    command.arg(session.options.data_key()).arg(channel);
    command
}

async fn probe(session: &Session<'_>, words: &[&str], name: &str) -> Result<Answer> {
    let mut command = Cmd::new();
    for &word in words {
        command.arg(if word == NOWHERE { name } else { word });
    }
    let reply = session.ask(&command).await?;
    Ok(answer(reply.as_ref()))
}

/// Any other error means that the command is allowed: the server checks the permission first.
fn answer(reply: std::result::Result<&Value, &RedisError>) -> Answer {
    let Err(cause) = reply else { return Answer::Allowed };
    let detail = cause.detail().unwrap_or_default();
    if cause.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) {
        // Redis 6.2 says "to run the 'get' command or its subcommand" or "one of the keys"; later versions are similar.
        return if detail.contains("to run the '") { Answer::NoCommand } else { Answer::NoName };
    }
    let is_unknown = detail.starts_with("unknown command") || lacks_scripts(cause);
    if is_unknown { Answer::Unknown } else { Answer::Allowed }
}
