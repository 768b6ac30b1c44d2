//! Checks this host's copy of the definitions.

use super::directory;
use super::finding::{Finding, Verdict};
use crate::config::options::Options;
use crate::error::Code;
use crate::store::local_copy::LocalCopy;

const CHECK: &str = "local copy";

/// Checks its directory, and then the definitions in it.
pub async fn examine(copy: &LocalCopy, options: &Options) -> Vec<Finding> {
    // A reader writes the copy too.
    let checks = directory::examine_store(copy.directory(), false, "localCopy").await;
    let faults: Vec<_> = checks.into_iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    let is_unusable = faults.iter().any(|finding| finding.verdict == Verdict::Error);
    let mut findings: Vec<_> = faults.into_iter().map(|fault| Finding { check: CHECK, ..fault }).collect();
    if !is_unusable {
        findings.push(content(copy, options).await);
    }
    findings
}

async fn content(copy: &LocalCopy, options: &Options) -> Finding {
    const ADVICE: &str = "You need not do anything: the next process that has the definitions replaces it.";
    let place = copy.directory().path().display();
    let copied = match copy.read().await {
        Ok(Some(copied)) => copied,
        Ok(None) => {
            return Finding::ok(
                CHECK,
                format!("none in {place}: the next process that has the definitions writes it"),
            );
        }
        Err(error) if error.code() == Code::Corrupt => {
            return Finding::warning(CHECK, format!("not usable: {} (in {place})", error.fault()), ADVICE);
        }
        Err(error) => {
            return Finding::failed(CHECK, &error);
        }
    };
    let Some(age) = copied.age() else {
        let message = format!("its time is in the future, so no process evaluates it (in {place})");
        return Finding::warning(CHECK, message, "Check the clock of this host.");
    };
    let message =
        format!("flags: {}, confirmed {} s ago, in {place}", copied.snapshot.flags(), age.as_secs());
    if age < options.max_age {
        return Finding::ok(CHECK, message);
    }
    Finding::warning(CHECK, format!("{message}: older than maxAgeMs, so no process evaluates it"), ADVICE)
}
