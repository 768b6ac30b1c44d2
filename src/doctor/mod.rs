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
use crate::inspector::{Inspector, Record};

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
    if findings.iter().any(|finding| finding.verdict == Verdict::Error) {
        findings.push(Finding::unchecked("definitions", "there are errors above"));
    } else {
        findings.extend(content(inspector, options.call_limit()).await);
    }
    if let Some(copy) = inspector.copy() {
        findings.extend(local_copy::examine(copy, options).await);
    }
    findings
}

async fn content(inspector: &Inspector, limit: Duration) -> Vec<Finding> {
    match inspector.look().await {
        Ok(record) => {
            Vec::from_iter([Some(definitions(&record, limit)), fetches(&record)].into_iter().flatten())
        }
        Err(error) => vec![Finding::failed("definitions", &error)],
    }
}

fn definitions(record: &Record, limit: Duration) -> Finding {
    const CHECK: &str = "definitions";
    if let Some(damage) = &record.damage {
        return Finding::failed(CHECK, damage);
    }
    let (Some(snapshot), Some(info)) = (&record.snapshot, &record.reading.state.snapshot) else {
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

/// Why the last fetches brought no definitions, if they did not.
fn fetches(record: &Record) -> Option<Finding> {
    let state = &record.reading.state;
    let told =
        "The process that fetched reports the reason to onError(). `refresh` fetches once, and prints it.";
    let (message, advice) = if state.refused_at.is_some() {
        let advice = "Check the billing limits of the project in PostHog.";
        ("PostHog refuses the definitions (402): the quota of flag requests is used up".to_owned(), advice)
    } else if state.outdated_at.is_some() {
        let message = "the store could not take the newest definitions, so each process fetches for itself";
        (message.to_owned(), told)
    } else if state.failures > 0 {
        (format!("failed in a row: {}", state.failures), told)
    } else {
        return None;
    };
    let pause =
        record.pause.map(|pause| format!("; no process fetches for {} s", pause.as_secs_f64().ceil()));
    Some(Finding::warning("fetches", message + &pause.unwrap_or_default(), advice))
}
