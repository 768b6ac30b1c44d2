//! What can go wrong, under codes that stay the same.

use std::fmt::{self, Write};
use std::sync::Arc;

use serde::{Serialize, Serializer};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure, as JavaScript sees it in `error.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// An option of the constructor is missing, unknown, ill-typed or out of range.
    Options,
    /// What was to be published is not an object with an array `flags`.
    Data,
    /// Definitions exceed what a process is allowed to load.
    TooLarge,
    /// The store cannot be reached, or refuses to work.
    Unavailable,
    /// The store did not answer in time.
    Timeout,
    /// The store refuses our credentials or rights.
    Auth,
    /// The store holds something that is not ours to read.
    Corrupt,
    /// The store, or this worker's role, allows no writes.
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

/// How much of a cause is kept and told: a server may answer megabytes.
const MAX_CAUSE_BYTES: usize = 1024;

/// A failure: its code, what was being done, and the cause. Cheap to clone, because a lost
/// connection fails every call with the same error.
#[derive(Clone, Debug)]
pub struct Error {
    code: Code,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure with no cause beneath it.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), source: None }
    }

    /// The same failure with what caused it, or with the beginning of what that says.
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let mut beginning = Beginning(String::new());
        self.source = Some(match write!(beginning, "{source}") {
            Ok(()) => Arc::new(source),
            Err(_) => Arc::new(beginning),
        });
        self
    }

    pub fn code(&self) -> Code {
        self.code
    }
}

/// What an error says first, where that is more than is told.
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
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
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
        let nested = Error::new(Code::Corrupt, "x".repeat(2000));
        assert!(Error::new(Code::Corrupt, "no").caused_by(nested).to_string().len() < 1100);
    }
}
