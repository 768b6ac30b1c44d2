//! The Tokio runtime: one per process, whatever Node.js environments come and go.
//!
//! napi-rs has one too, but it ends with the last worker thread that uses it, and restarts with other settings. A
//! shared connection would then be dead.

use std::future::Future;
use std::io;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Code, Error, Result};

/// Two threads are plenty: they only wait for the network.
const THREADS: usize = 2;

/// For computing that takes milliseconds. Calls that may block for ever have their own threads: see
/// [`crate::blocking`].
const COMPUTING_THREADS: usize = 8;

static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(COMPUTING_THREADS)
        .thread_name("posthog-flag-cache")
        .enable_all()
        .build()
});

pub fn spawn<F>(task: F) -> Result<JoinHandle<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    match &*RUNTIME {
        Ok(runtime) => Ok(runtime.spawn(task)),
        Err(cause) => {
            let message = format!("cannot start the threads of the cache: {cause}");
            Err(Error::new(Code::Unavailable, message).advising("Check the limit of threads (ulimit -u)."))
        }
    }
}

/// Runs computing that takes milliseconds on another thread, so that it delays nothing else.
pub async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|cause| {
        Err(Error::new(Code::Unavailable, "a computation of the cache failed")
            .caused_by(cause)
            .advising("Please report this bug."))
    })
}
