//! Keeps a second connection for notices to a server without RESP3, and replaces it after every kind of failure.

use tokio::time::{Instant, sleep};

use super::{RETRY_FROM, RETRY_UP_TO, Shared, backoff};
use crate::config::target::Address;
use crate::store::Delivery;
use crate::store::notices::Notices;

impl Shared {
    /// Receives notices until the connection for commands is lost. Ends where the server refuses to subscribe.
    pub(super) async fn listen(&self, address: &Address) {
        let (mut waits, mut is_told) = (backoff(), false);
        loop {
            match self.discovery.subscribe(address, &self.channel).await {
                Ok(Some(mut subscription)) => {
                    let since = Instant::now();
                    is_told = false;
                    self.link().notices = Some(Delivery::SecondConnection);
                    // Messages may have been missed until now.
                    self.notices.send_modify(Notices::gap);
                    while let Some(message) = subscription.next(self.command_timeout).await {
                        self.notices.send_modify(|notices| notices.message(&message));
                    }
                    self.link().notices = Some(Delivery::None);
                    // A connection that was lost at once may be lost at once again.
                    if since.elapsed() > RETRY_FROM {
                        waits = backoff();
                        continue;
                    }
                }
                Ok(None) => return self.link().notices = Some(Delivery::None),
                Err(error) => {
                    // Once is enough: calls go on as before.
                    if !is_told {
                        self.trouble.send_replace(Some(error));
                    }
                    is_told = true;
                }
            }
            self.link().notices = Some(Delivery::None);
            sleep(waits.next().unwrap_or(RETRY_UP_TO)).await;
        }
    }
}
