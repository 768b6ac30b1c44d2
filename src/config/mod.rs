//! The options of `new FlagDefinitionCache(options)`, validated.

pub mod credentials;
pub mod options;
pub mod target;
pub mod tls;
mod url;

use crate::error::{Code, Error};

fn invalid(option: &str, fault: &str, allowed: &str) -> Error {
    Error::new(Code::Options, format!("option '{option}' {fault}; allowed: {allowed}"))
}
