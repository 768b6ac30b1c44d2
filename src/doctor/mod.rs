//! Checks whether a store can be used, and says what to do if not.
//!
//! No check leaves anything behind, or writes to a key or a file of the fleet.

mod directory;
pub mod finding;
mod local_copy;
mod redis;

use std::time::Duration;

use self::finding::{Finding, Verdict, in_ms};
use crate::config::target::Target;
use crate::error::{Code, Error};
use crate::inspector::Inspector;

/// Checks the store, its definitions, and this host's copy of them.
pub async fn examine(inspector: &Inspector) -> Vec<Finding> {
    let options = inspector.options();
    let mut findings = match &options.target {
        Target::Redis(endpoint) => redis::examine(endpoint, options).await,
        Target::Directory(directory) => directory::examine(directory, options).await,
        Target::Memory => vec![Finding::warning(
            "store",
            "memory: is this process alone, and empty at every start",
            "name a Redis server (redis://…) or a directory (file:///…) to share anything",
        )],
    };
    if let Some(warning) = options.warning() {
        findings.insert(
            0,
            Finding::warning("url", warning, "leave them out of the url, and use the options instead"),
        );
    }
    findings.push(if findings.iter().any(|finding| finding.verdict == Verdict::Error) {
        Finding::unchecked("definitions", "there are errors above")
    } else {
        definitions(inspector, options.call_limit()).await
    });
    if let Some(copy) = inspector.copy() {
        findings.extend(local_copy::examine(copy, options).await);
    }
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
    let what_to_do =
        format!("a call may take {} ms: raise commandTimeoutMs, or use a faster link", limit.as_millis());
    Finding::warning(CHECK, message, what_to_do)
}

/// What to do about an error of the store.
fn advice(error: &Error) -> &'static str {
    match error.code() {
        Code::Auth => "check user, password and the user's rights (docs/redis.md, Rights)",
        Code::Timeout => "check the network and the server's load, or raise the timeouts",
        Code::ReadOnly => "name the server that takes writes, or let Sentinel or a cluster find it",
        Code::Corrupt => "something else uses our keys: choose another keyPrefix, or `purge`",
        _ => "check that the server runs, and that nothing stands between",
    }
}
