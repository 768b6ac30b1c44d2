//! The Tokio runtime: one per process, whatever Node.js environments come and go.
//!
//! napi-rs has one too, but it ends with the last worker thread that uses it, and restarts with other settings. A
//! shared connection would then be dead.

use std::future::Future;
use std::panic::catch_unwind;
use std::sync::{Arc, OnceLock};
use std::{io, thread};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Code, Error, Result};

/// Two threads are plenty: they only wait for the network.
const THREADS: usize = 2;

/// For computing that takes milliseconds. Calls that may block for ever have their own threads: see
/// [`crate::blocking`].
const COMPUTING_THREADS: usize = 8;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

pub fn spawn<F>(task: F) -> Result<JoinHandle<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let runtime = runtime().map_err(|cause| {
        Error::new(Code::Unavailable, "cannot start the threads of the cache")
            .caused_by(cause)
            .advising("Check the limits of threads (ulimit -u) and of open files (ulimit -n).")
    })?;
    Ok(runtime.spawn(task))
}

/// The runtime. If the system refuses what it needs, the next call tries again.
fn runtime() -> io::Result<&'static Runtime> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _turn = STARTING.lock();
    match RUNTIME.get() {
        Some(runtime) => Ok(runtime),
        None => {
            let started = start()?;
            Ok(RUNTIME.get_or_init(|| started))
        }
    }
}

fn start() -> io::Result<Runtime> {
    require_threads()?;
    let build = || {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(COMPUTING_THREADS)
            .thread_name("posthog-flag-cache")
            .enable_all()
            .build()
    };
    catch_unwind(build).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
}

/// Fails if the system refuses so many threads. Tokio would panic.
fn require_threads() -> io::Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let wait = || {
        let gate = gate.clone();
        thread::Builder::new().spawn(move || drop(gate.lock()))
    };
    // One more, for computing.
    let threads = (0..=THREADS).map(|_| wait()).collect::<io::Result<Vec<_>>>();
    drop(closed);
    for thread in threads? {
        let _ = thread.join();
    }
    Ok(())
}

/// Runs computing that takes milliseconds on another thread, so that it delays nothing else.
pub async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|cause| {
        Err(Error::new(Code::Unavailable, "a computation of the cache failed")
            .caused_by(cause)
            .advising("Please report this bug."))
    })
}
