//! Turns errors of the server into errors of the store: classified, and without passwords.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::reply_limit::Refused;
use super::tls_fault::{TlsFault, tls_fault};
use crate::error::{Code, Error};

/// The error of Redis and Valkey for a script that they do not have (src/script.c).
const NO_SCRIPT: [&str; 2] = ["No matching script. Please use EVAL.", "No matching script."];

/// No service limits requests to less than this.
const LARGE_BYTES: usize = 500_000;

/// The error that the store returns; it quotes none of the passwords.
pub fn described<'a>(subject: &str, passwords: impl Iterator<Item = &'a str>, cause: RedisError) -> Error {
    let Meaning(code, what, advice) = meaning(&cause);
    let error = Error::new(code, format!("{subject} {what}")).advising(advice);
    match Redacted::of(passwords, &cause) {
        // These quote the reply.
        _ if matches!(cause.kind(), ErrorKind::Parse | ErrorKind::UnexpectedReturnType) => error,
        // A page of advice, of which the first is to switch the protection off.
        _ if cause.code() == Some("DENIED") => error,
        // A password may be a word that occurs in this message of Redis.
        Some(redacted) if !cause.detail().is_some_and(|detail| NO_SCRIPT.contains(&detail)) => {
            error.caused_by(redacted)
        }
        _ => error.caused_by(cause),
    }
}

/// The code of an error, what happened as the end of a sentence that begins with the server, and what to do.
struct Meaning(Code, &'static str, &'static str);

fn meaning(cause: &RedisError) -> Meaning {
    const INVALID_REPLY: Meaning = Meaning(
        Code::Unavailable,
        "sent an invalid reply",
        "Check that Redis or Valkey listens at this address, and not another program.",
    );
    let unavailable = |what, advice| Meaning(Code::Unavailable, what, advice);
    match (cause.kind(), cause.code()) {
        (_, Some("NOAUTH")) => Meaning(
            Code::Auth,
            "requires a password",
            "Set option 'password', or write the password into the URL.",
        ),
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS")) => {
            Meaning(Code::Auth, "rejected the login", "Check the user name and the password.")
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => DENIED,
        _ if cause.detail().is_some_and(lacks_permission) => DENIED,
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => INVALID_REPLY,
        _ if is_refused(cause) => INVALID_REPLY,
        _ if is_read_only(cause) => Meaning(
            Code::ReadOnly,
            "is a read-only replica",
            "Use the address of the primary, or redis-sentinel:// or redis-cluster:// in the URL.",
        ),
        _ if lacks_scripts(cause) => unavailable(
            "does not run Lua scripts (EVAL), which the cache needs",
            "Use another server or plan, or a directory (file:///…).",
        ),
        // How redis-rs names a refused `SELECT`.
        _ if cause.to_string().contains("refused to switch database") => {
            unavailable("does not allow this database", "Use database 0 in the URL.")
        }
        (ErrorKind::MasterNameNotFoundBySentinel, _) => {
            unavailable("cannot be used", "Check the name in ?master= in the URL.")
        }
        (_, Some("OOM")) => unavailable("has no memory left", "Give the server more memory (maxmemory)."),
        (_, Some("DENIED")) => unavailable(
            "is in protected mode, in which it accepts only connections from its own host",
            "Set a password for the server, and pass it as option 'password'.",
        ),
        _ if has_too_many_clients(cause) => unavailable(
            "has too many clients",
            "Raise its limit of connections (maxclients), or choose a plan with a higher one.",
        ),
        _ if cause.is_io_error() => match io_error(cause).and_then(tls_fault) {
            Some(TlsFault { what, advice }) => unavailable(what, advice),
            None => UNREACHABLE,
        },
        _ => unavailable("cannot be used", "If this error persists, check the server and its log."),
    }
}

const UNREACHABLE: Meaning = Meaning(
    Code::Unavailable,
    "cannot be reached",
    "Check the host and the port in the URL, and that the server runs.",
);

const DENIED: Meaning = Meaning(
    Code::Auth,
    "denied a command",
    "Grant the user the missing permission: `npx posthog-flag-cache doctor` names it.",
);

/// A script that lacks a permission fails without `NOPERM`: Redis up to 7.0 sends the first text, Redis from 7.2
/// the second (src/script.c, scriptCall).
fn lacks_permission(detail: &str) -> bool {
    detail.contains("The user executing the script can't") || detail.contains("ACL failure in script")
}

/// Whether the server has no scripts: Redis with renamed commands, or Garnet without `--lua`.
pub fn lacks_scripts(cause: &RedisError) -> bool {
    let detail = cause.detail().unwrap_or_default().to_ascii_lowercase();
    (detail.starts_with("unknown command") && detail.contains("eval"))
        || detail.contains("lua scripting support disabled")
}

/// The same error, with the size of the definitions if they may be too large for the server: it said so, or it closed
/// the connection.
pub fn with_size(error: Error, bytes: usize) -> Error {
    let is_for_size = |cause: &RedisError| is_too_large(cause) || is_cut(cause);
    if bytes < LARGE_BYTES || !redis_error(&error).is_some_and(is_for_size) {
        return error;
    }
    let message = format!("the server did not accept {bytes} bytes of definitions");
    Error::new(error.code(), message)
        .caused_by(error.without_advice())
        .advising("It may limit the size of a request: choose a plan with a higher limit, or another store.")
}

/// Whether the server says that a command is too large: Upstash, and Redis (`proto-max-bulk-len`).
pub fn is_too_large(cause: &RedisError) -> bool {
    let detail = cause.detail().unwrap_or_default();
    detail.contains("max request size exceeded") || detail.contains("invalid bulk length")
}

/// Whether the server broke a connection that it had accepted.
fn is_cut(cause: &RedisError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    io_error(cause).is_some_and(|cause| kinds.contains(&cause.kind()))
}

/// Whether the user lacks a permission.
pub fn is_denied(error: &Error) -> bool {
    error.advice() == Some(DENIED.2)
}

/// Whether the connection failed or broke, for another reason than TLS.
pub fn is_unreachable(error: &Error) -> bool {
    error.advice() == Some(UNREACHABLE.2)
}

/// What to do if an error of the store is about TLS.
pub fn tls_advice(error: &Error) -> Option<&'static str> {
    let fault = tls_fault(io_error(redis_error(error)?)?)?;
    Some(fault.advice)
}

/// The error of Redis that an error of the store has as its cause.
pub fn redis_error(error: &Error) -> Option<&RedisError> {
    error.source()?.downcast_ref()
}

/// The error of the stream.
fn io_error(cause: &RedisError) -> Option<&io::Error> {
    cause.source()?.downcast_ref::<Arc<dyn StdError + Send + Sync>>()?.downcast_ref()
}

/// Whether the connection broke because `Bounded` refused a reply.
pub fn is_refused(cause: &RedisError) -> bool {
    io_error(cause).and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<Refused>())
}

/// Redis 6.2 wraps an error within a script into one of its own.
fn is_read_only(cause: &RedisError) -> bool {
    cause.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || cause.detail().is_some_and(|detail| detail.contains(": -READONLY "))
}

/// Includes errors on a working connection: after a failover it may lead to a replica, after a change of the
/// password its credentials may be void, and in a cluster another node may have the slot.
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

/// Whether the server will take the same command later: it is busy, full, or loads its data.
pub fn is_passing(cause: &RedisError) -> bool {
    matches!(cause.code(), Some("BUSY" | "LOADING" | "TRYAGAIN" | "OOM")) || has_too_many_clients(cause)
}

fn has_too_many_clients(cause: &RedisError) -> bool {
    cause.detail().is_some_and(|detail| detail.contains("max number of clients"))
}

/// This many characters of a password in a row are no coincidence. A quotation may be cut off, or escaped in part.
const QUOTED_CHARACTERS: usize = 6;

/// The text of an error up to the password that it quotes.
///
/// Redis quotes the arguments of an unknown command. `HELLO`, whose arguments include the password, is unknown to
/// old servers, to proxies, and where it has been renamed.
#[derive(Debug)]
pub struct Redacted(String);

impl Redacted {
    /// `None` if the error quotes no password.
    pub fn of<'a>(passwords: impl Iterator<Item = &'a str>, cause: &dyn StdError) -> Option<Self> {
        let text = cause.to_string();
        let at = passwords.filter_map(|password| first_form(&text, password)).min()?;
        Some(Redacted(format!("{}…", text.get(..at)?)))
    }
}

/// Whether the text quotes one of the passwords.
pub fn has_password<'a>(text: &str, mut passwords: impl Iterator<Item = &'a str>) -> bool {
    passwords.any(|password| first_form(text, password).is_some())
}

/// Where a part of the password first occurs in the text: verbatim, in another case, percent-encoded, or escaped as
/// Rust does.
fn first_form(text: &str, password: &str) -> Option<usize> {
    // This keeps the length of each character, and so all positions.
    let text = text.to_ascii_lowercase();
    let encoded = utf8_percent_encode(password, NON_ALPHANUMERIC).to_string();
    let forms = [password, &encoded, &password.escape_debug().to_string()].map(str::to_ascii_lowercase);
    forms.iter().filter_map(|form| first_part(&text, form)).min()
}

fn first_part(text: &str, password: &str) -> Option<usize> {
    let characters: Vec<char> = password.chars().collect();
    let parts = characters.windows(QUOTED_CHARACTERS.min(characters.len()).max(1));
    parts.filter_map(|part| text.find(&String::from_iter(part))).min()
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Redacted {}

#[cfg(test)]
mod tests {
    use super::Redacted;

    fn shown(password: &str, text: &str) -> Option<String> {
        Redacted::of(["unused", password].into_iter(), &std::io::Error::other(text))
            .map(|redacted| redacted.to_string())
    }

    #[test]
    fn an_error_that_quotes_the_password_ends_before_it() {
        let text =
            "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 's3cr3t pass word' ";
        let told = "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' '…";
        for password in ["s3cr3t pass word", "s3cr3t pass word, of which we see a part"] {
            assert_eq!(shown(password, text).as_deref(), Some(told));
        }
        assert_eq!(shown("pässwörd", "cannot AUTH pässwörd").as_deref(), Some("cannot AUTH …"));
        assert_eq!(shown("\"s3cr3t", "cannot AUTH \\\"s3cr3t").as_deref(), Some("cannot AUTH …"));
        assert_eq!(shown("s3cr\"et pw", "S3CR\\\"ET PW: no").as_deref(), Some("…"));
        assert_eq!(shown("s3cr\"et", "cannot AUTH s3cr%22et").as_deref(), Some("cannot AUTH …"));
        assert_eq!(shown("pw", "cannot AUTH pw").as_deref(), Some("cannot AUTH …"));
    }

    #[test]
    fn any_other_is_left_as_it_is() {
        for password in ["s3cr3t", "default user", ""] {
            assert_eq!(
                shown(password, "WRONGPASS invalid username-password pair or user is disabled."),
                None
            );
        }
    }
}
