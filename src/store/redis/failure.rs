//! What an error of a server means to us.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{Code, Error};

/// The error as it leaves the store.
pub fn described(subject: &str, cause: RedisError) -> Error {
    let (code, what) = match (cause.kind(), cause.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
        | (_, Some("NOAUTH" | "WRONGPASS")) => (Code::Auth, "refuses our credentials or rights"),
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => (Code::ReadOnly, "is a read-only replica"),
        _ if cause.is_io_error() => (Code::Unavailable, "cannot be reached"),
        _ => (Code::Unavailable, "refuses to work"),
    };
    Error::new(code, format!("{subject} {what}")).caused_by(cause)
}

/// Also where the connection as such works: after a failover it may lead to a replica, after a
/// change of password to a login that is void, and in a cluster somebody else may be in charge.
pub fn needs_new_connection(cause: &RedisError) -> bool {
    cause.is_unrecoverable_error()
        || cause.is_io_error()
        || matches!(
            cause.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::Server(
                    ServerErrorKind::ReadOnly
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::Moved
                        | ServerErrorKind::Ask
                        | ServerErrorKind::ClusterDown
                )
        )
        || cause.code() == Some("NOAUTH")
}
