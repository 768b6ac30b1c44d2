//! An emergency fetch: a client without definitions requests them although it was told not to. Definitions that reach
//! the store meanwhile answer the request as well.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Poll, Provider};
use crate::definitions::slices::Definitions;
use crate::error::Result;

/// How often to read the store while no notice arrives.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Provider {
    /// Waits once more, as a poll does, for the worker that fetches.
    pub async fn poll_again(&self, known: Option<String>) -> Result<Poll> {
        let _in_use = self.require_open()?;
        self.answer_poll(known).await
    }

    /// Changes when the request that is under way has ended.
    pub fn end_of_request(&self) -> watch::Receiver<()> {
        self.request_ended.subscribe()
    }

    /// Waits for definitions in the store while a request for them is under way; `None` if that has `ended` first.
    pub async fn arrival(
        &self,
        known: Option<String>,
        mut ended: watch::Receiver<()>,
    ) -> Result<Option<Definitions>> {
        let _in_use = self.require_open()?;
        let arrive = async {
            let mut notices = self.notices();
            loop {
                let _ = timeout(LOOK_EVERY, notices.changed()).await;
                let time = self.time(Duration::ZERO);
                // If the store fails, the request still continues.
                if let Ok(Some(found)) = self.within(&time, self.look(&time)).await {
                    return self.bounded(self.definitions(found, known)).await.map(Some);
                }
            }
        };
        tokio::select! {
            definitions = arrive => definitions,
            _ = ended.changed() => Ok(None),
            () = self.closing.notified() => Ok(None),
        }
    }

    /// The request that was under way has ended.
    pub fn note_end_of_request(&self) {
        self.request_ended.send_replace(());
    }
}
