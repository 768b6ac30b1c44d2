//! Servers without RESP3: a proxy that changes `HELLO` on its way to a real server, and its reply.

use posthog_flag_cache::config::target::Address;

use super::rewriting_proxy::{Change, rewriting_proxy};

/// How a server answers `HELLO 3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// `-NOPROTO`, as Redis answers to a version that it does not know.
    NoProto,
    /// `-ERR unknown command 'HELLO'`, to every version.
    Unknown,
    /// It accepts the command, and goes on with RESP2.
    Proto2,
}

impl Hello {
    pub const ALL: [Hello; 3] = [Hello::NoProto, Hello::Unknown, Hello::Proto2];

    /// What is replaced in commands by text of the same length.
    pub fn command(self) -> Change {
        match self {
            Hello::NoProto => [b"HELLO\r\n$1\r\n3\r\n", b"HELLO\r\n$1\r\n4\r\n"],
            Hello::Unknown => [b"\r\nHELLO\r\n", b"\r\nHELLX\r\n"],
            Hello::Proto2 => [b"HELLO\r\n$1\r\n3\r\n", b"HELLO\r\n$1\r\n2\r\n"],
        }
    }
}

/// The arguments of a real server that does not know `HELLO`, for where no proxy can be.
pub const WITHOUT_HELLO: [&str; 3] = ["--rename-command", "HELLO", ""];

/// The address of a proxy to the server at this port.
pub fn server_without_resp3(port: u16, hello: Hello) -> Address {
    rewriting_proxy(port, hello.command(), [b"HELLX", b"HELLO"])
}
