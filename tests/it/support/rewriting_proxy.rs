//! A proxy that changes words on their way to a real server and back, to make it answer like another one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use posthog_flag_cache::config::target::Address;

/// What is replaced, and by which text of the same length.
pub type Change = [&'static [u8]; 2];

/// Replaces nothing.
pub const NOTHING: Change = [b"\n", b"\n"];

/// The address of a proxy to the server at this port.
pub fn rewriting_proxy(port: u16, commands: Change, replies: Change) -> Address {
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

/// What is replaced is in messages that are short, and sent at once: no piece ends within it.
fn pass(mut from: TcpStream, mut to: TcpStream, [old, new]: Change) -> io::Result<()> {
    to.set_nodelay(true)?;
    let mut bytes = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        let piece = &mut bytes[..length];
        for at in 0..=length.saturating_sub(old.len()) {
            if piece[at..].starts_with(old) {
                piece[at..at + old.len()].copy_from_slice(new);
            }
        }
        to.write_all(piece)?;
    }
    to.shutdown(Shutdown::Both)
}
