//! Servers without RESP3: a proxy that changes `HELLO` on its way to a real server, and its reply.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use posthog_flag_cache::config::target::Address;

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
    fn command(self) -> [&'static [u8]; 2] {
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
    rewriting(port, hello.command(), [b"HELLX", b"HELLO"])
}

/// The address of a proxy to the server at this port that replaces text in commands, and in replies, by text of the same length.
pub fn rewriting(port: u16, commands: [&'static [u8]; 2], replies: [&'static [u8]; 2]) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near?;
            // Without the server, the client finds its connection closed.
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let (client, server) = (near.try_clone()?, far.try_clone()?);
            thread::spawn(move || pass(client, server, commands));
            thread::spawn(move || pass(far, near, replies));
        }
        io::Result::Ok(())
    });
    address
}

/// No piece ends within what is replaced: it is short, and comes first.
fn pass(mut from: TcpStream, mut to: TcpStream, [old, new]: [&[u8]; 2]) -> io::Result<()> {
    to.set_nodelay(true)?;
    let mut bytes = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        let piece = &mut bytes[..length];
        while let Some(at) = piece.windows(old.len()).position(|part| part == old) {
            piece[at..at + old.len()].copy_from_slice(new);
        }
        to.write_all(piece)?;
    }
    to.shutdown(Shutdown::Both)
}
