//! The distance between a store and its servers: counts the round trips that a store waits for.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use posthog_flag_cache::config::target::Address;

/// How long bytes take one way. What the client sends within a round trip belongs together, so that a slow machine
/// does not change the count.
const ONE_WAY: Duration = Duration::from_millis(150);

/// Proxies to all servers of a deployment share one count.
///
/// Each byte has a depth: the number of round trips before it. What the client sends is one deeper than
/// everything that it has received by then; a reply is as deep as its request.
#[derive(Clone, Default)]
pub struct Distance(Arc<AtomicUsize>);

impl Distance {
    /// How many round trips the client has waited for so far.
    pub fn round_trips(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// The address of a proxy to this port.
    pub fn to(&self, target_port: u16) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        self.forward(listener, target_port);
        Address::Tcp("127.0.0.1".into(), port)
    }

    /// Forwards what is sent to this listener.
    pub fn forward(&self, listener: TcpListener, target_port: u16) {
        let received = self.0.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near?, TcpStream::connect(("127.0.0.1", target_port))?);
                // On loopback, the handshake of TCP takes no time.
                let connected = received.load(Ordering::SeqCst) + 1;
                let sent = Arc::new(AtomicUsize::new(connected));
                let (to_server, depth, seen) = (far.try_clone()?, sent.clone(), received.clone());
                carry(near.try_clone()?, to_server, move || {
                    let deeper = seen.load(Ordering::SeqCst).max(connected) + 1;
                    (deeper, depth.clone())
                });
                let seen = received.clone();
                carry(far, near, move || (sent.load(Ordering::SeqCst), seen.clone()));
            }
            io::Result::Ok(())
        });
    }
}

/// Passes each piece on after [`ONE_WAY`], and then raises a count to its depth.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    depth: impl Fn() -> (usize, Arc<AtomicUsize>) + Send + 'static,
) {
    let (pieces, arriving) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            let (depth, count) = depth();
            let at = std::time::Instant::now() + ONE_WAY;
            if pieces.send((at, bytes[..length].to_vec(), depth, count)).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (at, bytes, depth, count) in arriving {
            thread::sleep(at.saturating_duration_since(std::time::Instant::now()));
            count.fetch_max(depth, Ordering::SeqCst);
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write)
    });
}
