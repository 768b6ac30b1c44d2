//! Errors, with stable codes.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure, which JavaScript gets as `error.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// An option of the constructor is missing, unknown, of the wrong type or out of range.
    Options,
    /// The definitions to publish are not an object with an array `flags`.
    Data,
    /// Definitions exceed what a process is allowed to load.
    TooLarge,
    /// The store is unreachable, or rejected a command.
    Unavailable,
    /// The store did not answer in time.
    Timeout,
    /// The store rejected the credentials, or the user lacks a permission.
    Auth,
    /// The store contains something corrupt, or something that is not from this package.
    Corrupt,
    /// The store is a replica, or this worker is a reader.
    ReadOnly,
    /// PostHog failed, or refused the definitions.
    Api,
    /// `shutdown()` was called before.
    Closed,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Options => "ERR_FLAG_CACHE_OPTIONS",
            Code::Data => "ERR_FLAG_CACHE_DATA",
            Code::TooLarge => "ERR_FLAG_CACHE_TOO_LARGE",
            Code::Unavailable => "ERR_FLAG_CACHE_UNAVAILABLE",
            Code::Timeout => "ERR_FLAG_CACHE_TIMEOUT",
            Code::Auth => "ERR_FLAG_CACHE_AUTH",
            Code::Corrupt => "ERR_FLAG_CACHE_CORRUPT",
            Code::ReadOnly => "ERR_FLAG_CACHE_READONLY",
            Code::Api => "ERR_FLAG_CACHE_API",
            Code::Closed => "ERR_FLAG_CACHE_CLOSED",
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The maximum length of a cause: a server may answer with megabytes.
const MAX_CAUSE_BYTES: usize = 1024;

/// An error: its code, the failed operation, and the cause. Cheap to clone, because after a lost connection every
/// call fails with the same error.
#[derive(Clone, Debug)]
pub struct Error {
    code: Code,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    advice: Option<Cow<'static, str>>,
}

impl Error {
    /// An error without a cause.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), source: None, advice: None }
    }

    /// A server or a store that did not answer within this time.
    pub fn timeout(who: impl fmt::Display, limit: Duration) -> Self {
        let message = format!("{who} did not answer within {} ms", limit.as_millis());
        Error::new(Code::Timeout, message).advising(
            "Check the network and the load of the server, or raise option 'connectTimeoutMs' and option 'commandTimeoutMs'.",
        )
    }

    /// The same error with its cause, or with the beginning of the cause's message.
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let mut beginning = Beginning(String::new());
        self.source = Some(match write!(beginning, "{source}") {
            Ok(()) => Arc::new(source),
            Err(_) => Arc::new(beginning),
        });
        self
    }

    /// The same failure with what the user should do, in whole sentences.
    pub fn advising(self, advice: impl Into<Cow<'static, str>>) -> Self {
        Error { advice: Some(advice.into()), ..self }
    }

    /// The same failure without advice, as the cause of another one that has its own.
    pub fn without_advice(self) -> Self {
        Error { advice: None, ..self }
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// What failed, and why.
    pub fn fault(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.clone(),
        }
    }

    /// What the user should do.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

/// The beginning of an error's message, if the message is too long.
#[derive(Debug)]
struct Beginning(String);

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_CAUSE_BYTES - self.0.len();
        self.0.push_str(text.get(..floor_char_boundary(text, room)).unwrap_or_default());
        if text.len() <= room { Ok(()) } else { Err(fmt::Error) }
    }
}

/// `str::floor_char_boundary`, which this version of Rust lacks.
fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0)
    }
}

impl std::error::Error for Beginning {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault();
        match &self.advice {
            // Servers end their errors with a full stop, or not.
            Some(advice) => write!(f, "{}. {advice}", fault.trim_end_matches('.')),
            None => f.write_str(&fault),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_cause_only_the_beginning_is_told() {
        let told = |cause: String| {
            let error = Error::new(Code::Unavailable, "no").caused_by(std::io::Error::other(cause));
            let cause = std::error::Error::source(&error).map(|cause| format!("no: {cause}"));
            assert_eq!(cause, Some(error.to_string()));
            error.to_string()
        };
        assert_eq!(told("x".repeat(1024)), format!("no: {}", "x".repeat(1024)));
        assert_eq!(told("x".repeat(10_000_000)), format!("no: {}…", "x".repeat(1024)));
        assert_eq!(told("€".repeat(1000)), format!("no: {}…", "€".repeat(341)));
        let advised = Error::new(Code::Unavailable, "no").caused_by(std::io::Error::other("why."));
        assert_eq!(advised.advising("Do this.").to_string(), "no: why. Do this.");
        let nested = Error::new(Code::Corrupt, "x".repeat(2000));
        assert!(Error::new(Code::Corrupt, "no").caused_by(nested).to_string().len() < 1100);
    }
}
