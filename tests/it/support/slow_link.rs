//! A link between a store and its server that passes so many bytes per second.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use posthog_flag_cache::config::target::{Address, Endpoint, Topology};
use socket2::{Domain, Socket, Type};

/// What the link takes before it has passed it on. A larger buffer would hide how slow it is.
const BUFFER: usize = 16 * 1024;
const STEPS_PER_SECOND: usize = 50;

/// A proxy on a port of its own. It ends with its connections.
pub struct SlowLink {
    port: u16,
    up: Arc<AtomicUsize>,
    down: Arc<AtomicUsize>,
}

impl SlowLink {
    /// Passes everything at once until it is [`narrowed`](Self::narrow).
    pub fn start(target_port: u16) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(BUFFER).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(128).unwrap();
        let listener = TcpListener::from(socket);
        let port = listener.local_addr().unwrap().port();
        let (up, down) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(usize::MAX)));
        let rates = (up.clone(), down.clone());
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near?, TcpStream::connect(("127.0.0.1", target_port))?);
                let sent = (near.try_clone()?, far.try_clone()?, rates.0.clone());
                for (from, to, rate) in [sent, (far, near, rates.1.clone())] {
                    thread::spawn(move || pass(from, to, &rate));
                }
            }
            io::Result::Ok(())
        });
        SlowLink { port, up, down }
    }

    /// From now on, each connection passes so many bytes per second in each direction.
    pub fn narrow(&self, bytes_per_second: usize) {
        self.up.store(bytes_per_second, Ordering::Relaxed);
        self.narrow_replies(bytes_per_second);
    }

    /// The same, only for what the server sends. 0: nothing more arrives.
    pub fn narrow_replies(&self, bytes_per_second: usize) {
        self.down.store(bytes_per_second, Ordering::Relaxed);
    }

    /// The server at the other end.
    pub fn endpoint(&self, server: Endpoint) -> Endpoint {
        Endpoint { topology: Topology::Server(Address::Tcp("127.0.0.1".into(), self.port)), ..server }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, rate: &AtomicUsize) -> io::Result<()> {
    to.set_nodelay(true)?;
    let mut bytes = [0; BUFFER];
    // The link may be narrowed while it waits here.
    while from.peek(&mut bytes)? > 0 {
        let bytes_per_second = rate.load(Ordering::Relaxed);
        if bytes_per_second == 0 {
            loop {
                thread::park();
            }
        }
        let length = from.read(&mut bytes[..(bytes_per_second / STEPS_PER_SECOND).clamp(1, BUFFER)])?;
        thread::sleep(Duration::from_secs_f64(length as f64 / bytes_per_second as f64));
        to.write_all(&bytes[..length])?;
    }
    to.shutdown(Shutdown::Write)
}
