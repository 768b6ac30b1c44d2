//! Distinguishes a slow server from a silent one, by the bytes that arrive and leave.
//!
//! It counts on the socket, below TLS, so that a part of an encrypted record is progress too. Bytes leave when the peer
//! acknowledges them. Only Linux tells when. Elsewhere a full send buffer that drains is progress, and the last of a
//! command, which the buffer holds, must leave within the timeout.

use std::future::Future;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

/// How often a wait checks for progress within one timeout.
const LOOKS: u32 = 8;

/// The progress of one connection; clones share it.
#[derive(Clone)]
pub struct Progress(Arc<Counts>);

struct Counts {
    arrived: AtomicU64,
    written: AtomicU64,
    /// The send buffer was full at the last write.
    is_full: AtomicBool,
    /// A separate descriptor, because the stream may be closed while another task still checks it.
    #[cfg(target_os = "linux")]
    socket: OwnedFd,
}

/// The progress of a connection at one moment.
struct Look {
    arrived: u64,
    left: u64,
    is_sending: bool,
}

impl Look {
    /// A small command leaves at once, even to a server that hangs. So only bytes that had to wait count.
    fn is_progress_since(&self, earlier: &Look) -> bool {
        self.arrived > earlier.arrived || (earlier.is_sending && self.left > earlier.left)
    }
}

impl Progress {
    /// Waits for `work`; `None` if nothing arrives or leaves for as long as `silence`. Has no timeout for the whole.
    pub async fn unless_silent<T>(&self, silence: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let (mut earlier, mut silent_since) = (self.look(), Instant::now());
        while silent_since.elapsed() < silence {
            if let Ok(output) = timeout(silence / LOOKS, &mut work).await {
                return Some(output);
            }
            let now = self.look();
            if now.is_progress_since(&earlier) {
                silent_since = Instant::now();
            }
            earlier = now;
        }
        None
    }

    fn look(&self) -> Look {
        let Progress(counts) = self;
        let written = counts.written.load(Ordering::Relaxed);
        let queued = counts.queued();
        Look {
            arrived: counts.arrived.load(Ordering::Relaxed),
            left: written.saturating_sub(queued),
            is_sending: queued > 0 || counts.is_full.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    /// The number of bytes that the kernel has taken and the peer has not acknowledged.
    #[cfg(target_os = "linux")]
    fn queued(&self) -> u64 {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is open as long as `self`, and the kernel writes one `int`.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if result == 0 { u64::try_from(bytes).unwrap_or_default() } else { 0 }
    }

    #[cfg(not(target_os = "linux"))]
    fn queued(&self) -> u64 {
        0
    }
}

/// A stream with a descriptor, where that is needed.
#[cfg(target_os = "linux")]
pub trait Socket: AsFd {}
#[cfg(not(target_os = "linux"))]
pub trait Socket {}

#[cfg(target_os = "linux")]
impl<S: AsFd> Socket for S {}
#[cfg(not(target_os = "linux"))]
impl<S> Socket for S {}

/// A socket whose bytes are counted.
pub struct Counted<S> {
    stream: S,
    progress: Progress,
}

impl<S: Socket> Counted<S> {
    pub fn new(stream: S) -> io::Result<Self> {
        let counts = Counts {
            arrived: AtomicU64::default(),
            written: AtomicU64::default(),
            is_full: AtomicBool::default(),
            #[cfg(target_os = "linux")]
            socket: stream.as_fd().try_clone_to_owned()?,
        };
        Ok(Counted { stream, progress: Progress(Arc::new(counts)) })
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let arrived = (buffer.filled().len() - before) as u64;
        self.progress.0.arrived.fetch_add(arrived, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        let Progress(counts) = &self.progress;
        counts.is_full.store(outcome.is_pending(), Ordering::Relaxed);
        let written = ready!(outcome)?;
        counts.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
