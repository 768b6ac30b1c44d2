//! Events outside a call: new versions, and errors in the background.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::sleep;

use crate::error::{Code, Error, Result};
use crate::store::notices::Notices;
use crate::worker::mirror::announcements::Announcement;
use crate::worker::provider::Provider;

/// Minimum delay between two reads of the store after notices.
const NOTICES_APART: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub enum Event {
    /// The store has this version, and the worker another one or none.
    Update(String),
    /// Something failed outside a call.
    Trouble(Error),
}

/// Emits events until the provider is gone or closed. Notices are coalesced, because only the current state counts.
/// `reports` are those of the provider from now on.
pub async fn observe(
    provider: Weak<Provider>,
    mut reports: broadcast::Receiver<Error>,
    emit: impl Fn(Event),
) {
    let Some((mut notices, mut trouble)) =
        provider.upgrade().map(|provider| (provider.notices(), provider.trouble()))
    else {
        return;
    };
    // The first read also connects. Without it, there would be no events before the first call.
    notices.mark_changed();
    let mut seen = None;
    loop {
        tokio::select! {
            changed = notices.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = notices.borrow_and_update().clone();
                match news(&provider, seen.as_ref(), &now).await {
                    Ok(Some(version)) => emit(Event::Update(version)),
                    Ok(None) => {}
                    Err(error) if error.code() == Code::Closed => return,
                    Err(error) => emit(Event::Trouble(error)),
                }
                seen = Some(now);
                // Of many notices in a row, only the last one counts.
                sleep(NOTICES_APART).await;
            }
            report = reports.recv() => match report {
                Ok(error) => emit(Event::Trouble(error)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            error = next_trouble(&mut trouble) => emit(Event::Trouble(error)),
        }
    }
}

/// The version that the worker did not have, if the notices since those that it has `seen` tell of one.
async fn news(provider: &Weak<Provider>, seen: Option<&Notices>, now: &Notices) -> Result<Option<String>> {
    if let Some(seen) = seen {
        if seen.gaps == now.gaps {
            let Some(published) = now.published.as_ref().filter(|_| is_another(seen, now)) else {
                return Ok(None);
            };
            match open(provider)?.announce(published).await? {
                Announcement::Known => return Ok(None),
                Announcement::Taken => return Ok(Some(published.info.version.clone())),
                Announcement::Unusable => {}
            }
        }
        let delay = open(provider)?.look_delay();
        sleep(delay).await;
    }
    open(provider)?.news().await
}

fn is_another(seen: &Notices, now: &Notices) -> bool {
    match (&seen.published, &now.published) {
        (Some(seen), Some(now)) => !Arc::ptr_eq(seen, now),
        _ => true,
    }
}

/// The provider, unless it is gone.
fn open(provider: &Weak<Provider>) -> Result<Arc<Provider>> {
    provider.upgrade().ok_or_else(|| {
        Error::new(Code::Closed, "this FlagDefinitionCache no longer exists").advising("Create a new one.")
    })
}

/// The store's next failure in the background. Never resolves for a store without background work.
async fn next_trouble(trouble: &mut Option<watch::Receiver<Option<Error>>>) -> Error {
    if let Some(trouble) = trouble {
        while trouble.changed().await.is_ok() {
            if let Some(error) = trouble.borrow_and_update().clone() {
                return error;
            }
        }
    }
    std::future::pending().await
}
