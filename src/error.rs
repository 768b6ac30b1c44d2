//! What can go wrong, under codes that stay the same.

use std::fmt;
use std::sync::Arc;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure, as JavaScript sees it in `error.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// An option of the constructor is missing, unknown, ill-typed or out of range.
    Options,
    /// What was to be published is not an object with an array `flags`.
    Data,
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
    /// The code as JavaScript sees it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Options => "ERR_FLAG_CACHE_OPTIONS",
            Code::Data => "ERR_FLAG_CACHE_DATA",
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

    /// The same failure with what caused it.
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What kind of failure this is.
    pub fn code(&self) -> Code {
        self.code
    }
}

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
