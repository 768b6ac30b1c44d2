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
use crate::inspector::Inspector;

/// Checks the store, its definitions, and this host's copy of them.
pub async fn examine(inspector: &Inspector) -> Vec<Finding> {
    let options = inspector.options();
    let mut findings = match &options.target {
        Target::Redis(endpoint) => redis::examine(endpoint, options).await,
        Target::Directory(directory) => directory::examine(directory, options).await,
        Target::Memory => vec![Finding::warning(
            "store",
            "memory: is not shared with other processes, and is empty after each start",
            "To share definitions, use Redis (redis://…) or a directory (file:///…).",
        )],
    };
    if let Some(warning) = options.warning() {
        let failed = Finding::failed("url", &warning);
        findings.insert(0, Finding { verdict: Verdict::Warning, ..failed });
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
        Err(error) => return Finding::failed(CHECK, &error),
    };
    if let Some(damage) = record.damage {
        return Finding::failed(CHECK, &damage);
    }
    let (Some(snapshot), Some(info)) = (record.snapshot, record.reading.state.snapshot) else {
        return Finding::ok(CHECK, "none yet: the first process that polls fetches them, or `refresh`");
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
    let advice = format!(
        "This is more than half of the timeout of a call ({} ms). Raise option 'commandTimeoutMs', or use a faster link.",
        limit.as_millis()
    );
    Finding::warning(CHECK, message, advice)
}
