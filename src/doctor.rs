//! Whether a store can be used as it is, and what to do where it cannot.
//!
//! Every check is harmless: it writes nothing that outlives it, and under no name of the fleet's.

use std::time::Duration;

use serde::Serialize;

use crate::config::options::Options;
use crate::config::target::Target;
use crate::error::{Code, Error};
use crate::inspector::Inspector;
use crate::store::{directory, redis};

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check, in a word.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// Works, but will cost something one day.
    Warning,
    /// Does not work.
    Error,
    /// Not known: this user may not ask, or an earlier check failed.
    Unchecked,
}

impl Finding {
    /// Nothing to do.
    pub fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Ok, message: message.into(), advice: None }
    }

    /// Works, but.
    pub fn warning(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    /// Does not work.
    pub fn error(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Error, message: message.into(), advice: Some(advice.into()) }
    }

    /// Not known.
    pub fn unchecked(check: &'static str, why: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Unchecked, message: why.into(), advice: None }
    }
}

/// Examines the store, and then what it holds.
pub async fn examine(inspector: &Inspector, options: &Options) -> Vec<Finding> {
    let mut findings = match &options.target {
        Target::Redis(endpoint) => redis::doctor::examine(endpoint, options).await,
        Target::Directory(directory) => directory::doctor::examine(directory, options).await,
        Target::Memory => vec![Finding::warning(
            "store",
            "memory: is this process alone, and empty at every start",
            "name a Redis server (redis://…) or a directory (file:///…) to share anything",
        )],
    };
    findings.push(if findings.iter().any(|finding| finding.verdict == Verdict::Error) {
        Finding::unchecked("definitions", "there are errors above")
    } else {
        definitions(inspector, options.command_timeout).await
    });
    findings
}

async fn definitions(inspector: &Inspector, limit: Duration) -> Finding {
    const CHECK: &str = "definitions";
    let record = match inspector.look().await {
        Ok(record) => record,
        Err(error) => return Finding::error(CHECK, error.to_string(), advice(&error)),
    };
    if let Some(damage) = record.damage {
        let what_to_do = "any worker that holds sound ones puts them back; else `refresh` fetches them anew";
        return Finding::error(CHECK, damage.to_string(), what_to_do);
    }
    let (Some(snapshot), Some(info)) = (record.snapshot, record.reading.state.snapshot) else {
        return Finding::ok(CHECK, "none yet: the first worker that polls fetches them, or `refresh`");
    };
    let message = format!(
        "flags: {}, {} bytes of JSON, {} bytes in the store, loaded in {}",
        snapshot.flags(),
        snapshot.text().len(),
        info.bytes,
        in_ms(record.round_trip),
    );
    if record.round_trip * 2 < limit {
        return Finding::ok(CHECK, message);
    }
    let what_to_do = format!("commandTimeoutMs is {}: raise it, or shorten the way", limit.as_millis());
    Finding::warning(CHECK, message, what_to_do)
}

/// What to do about a failure of the store.
pub fn advice(error: &Error) -> &'static str {
    match error.code() {
        Code::Auth => "check user, password and the user's rights (docs/redis.md, Rights)",
        Code::Timeout => "check the network and the server's load, or raise the timeouts",
        Code::ReadOnly => "name the server that takes writes, or let Sentinel or a cluster find it",
        Code::Corrupt => "something else uses our keys: choose another keyPrefix, or `purge`",
        _ => "check that the server runs, and that nothing stands between",
    }
}

/// `0.34 ms`
pub fn in_ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}
