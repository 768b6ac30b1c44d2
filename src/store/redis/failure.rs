//! What an error of a server means to us.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::bounded::Refused;
use super::quote::Quote;
use crate::endpoint::Endpoint;
use crate::error::{Code, Error};

/// What Redis says of a script that it does not have.
const NO_SCRIPT: &str = "No matching script. Please use EVAL.";

const REFUSED: &str = "refuses our credentials or rights";

/// The error as it leaves the store, without the passwords of the endpoint.
pub fn described(subject: &str, endpoint: &Endpoint, cause: RedisError) -> Error {
    let (code, what) = match (cause.kind(), cause.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
        | (_, Some("NOAUTH" | "WRONGPASS")) => (Code::Auth, REFUSED),
        _ if cause.detail().is_some_and(is_missing_right) => (Code::Auth, REFUSED),
        _ if is_refused(&cause) => (Code::Unavailable, "sends a reply that nobody can need"),
        // What it says quotes the reply.
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => {
            return Error::new(
                Code::Unavailable,
                format!("{subject} sends a reply that cannot be understood"),
            );
        }
        _ if is_read_only(&cause) => (Code::ReadOnly, "is a read-only replica"),
        _ if cause.is_io_error() => (Code::Unavailable, "cannot be reached"),
        _ => (Code::Unavailable, "refuses to work"),
    };
    let error = Error::new(code, format!("{subject} {what}"));
    match Quote::of(endpoint.passwords(), &cause) {
        // A password may consist of words of Redis, which then are no quotation.
        Some(quote) if cause.detail() != Some(NO_SCRIPT) => error.caused_by(quote),
        _ => error.caused_by(cause),
    }
}

/// What a script may not call is no `NOPERM`: the first is how Redis puts it up to 7.0, the second
/// from 7.2 on (src/script.c, scriptCall).
fn is_missing_right(detail: &str) -> bool {
    detail.contains("The user executing the script can't") || detail.contains("ACL failure in script")
}

/// Whether a reply broke the connection because of what it announced, or of its size.
pub fn is_refused(cause: &RedisError) -> bool {
    let cause = cause.source().and_then(|cause| cause.downcast_ref::<Arc<dyn StdError + Send + Sync>>());
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<Refused>())
}

/// Redis 6.2 hides what a script met behind an error of its own.
fn is_read_only(cause: &RedisError) -> bool {
    cause.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || cause.detail().is_some_and(|detail| detail.contains(": -READONLY "))
}

/// Also where the connection as such works: after a failover it may lead to a replica, after a
/// change of password to a login that is void, and in a cluster somebody else may be in charge.
pub fn needs_new_connection(cause: &RedisError) -> bool {
    cause.is_unrecoverable_error()
        || cause.is_io_error()
        || is_read_only(cause)
        || matches!(
            cause.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::Server(
                    ServerErrorKind::MasterDown
                        | ServerErrorKind::Moved
                        | ServerErrorKind::Ask
                        | ServerErrorKind::ClusterDown
                )
        )
        || cause.code() == Some("NOAUTH")
}
