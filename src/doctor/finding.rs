//! What a check finds.

use std::time::Duration;

use serde::Serialize;

use crate::error::Error;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// Its outcome.
    pub verdict: Verdict,
    /// What the check found.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// It works, but has a disadvantage.
    Warning,
    /// It does not work.
    Error,
    /// Unknown: this user lacks the permission, or an earlier check failed.
    Unchecked,
}

impl Finding {
    pub fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Ok, message: message.into(), advice: None }
    }

    pub fn warning(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    pub fn error(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Error, message: message.into(), advice: Some(advice.into()) }
    }

    /// A check that ended with this error of the store.
    pub fn failed(check: &'static str, error: &Error) -> Self {
        let advice = error.advice().unwrap_or("Check the store, and run `doctor` again.");
        Finding::error(check, error.fault(), advice)
    }

    pub fn unchecked(check: &'static str, why: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Unchecked, message: why.into(), advice: None }
    }
}

/// `0.34 ms`
pub fn in_ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}
