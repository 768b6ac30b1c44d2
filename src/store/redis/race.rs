//! Tries alternatives with staggered starts.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

/// Starts the next attempt when one fails, or when none has ended within the delay, so that an attempt that
/// hangs costs only the delay. Returns the first success, or all errors.
pub async fn race<T, E, F>(attempts: impl IntoIterator<Item = F>, delay: Duration) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        running.extend(attempts.next());
        match timeout(delay, running.next()).await {
            Ok(Some(Ok(success))) => return Ok(success),
            Ok(Some(Err(error))) => errors.push(error),
            Ok(None) => return Err(errors),
            Err(_) => {}
        }
    }
}
