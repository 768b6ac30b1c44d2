//! Several ways to one end.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

/// Tries one after another, each as soon as the one before has failed or is slow: one that hangs
/// costs a moment, not all the time there is. The first success ends it; otherwise the errors.
pub async fn race<T, E, F>(attempts: impl IntoIterator<Item = F>, moment: Duration) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        running.extend(attempts.next());
        match timeout(moment, running.next()).await {
            Ok(Some(Ok(success))) => return Ok(success),
            Ok(Some(Err(error))) => errors.push(error),
            Ok(None) => return Err(errors),
            Err(_) => {}
        }
    }
}
