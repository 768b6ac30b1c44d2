//! Notices that `state.json` has changed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::files::Files;
use crate::blocking::Blocking;
use crate::store::notices::Notices;

/// How often the watcher checks the state file.
const INTERVAL: Duration = Duration::from_millis(20);

/// The task that checks the state file while there are listeners.
pub(super) struct Watcher {
    notices: watch::Sender<Notices>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Watcher {
    pub fn new() -> Self {
        Watcher { notices: watch::Sender::default(), task: Mutex::default() }
    }

    /// Changes when the file differs from the one that this process last read or checked.
    pub fn subscribe(self: &Arc<Self>, files: &Arc<Files>, blocking: &Blocking) -> watch::Receiver<Notices> {
        let mut task = self.task.lock();
        let receiver = self.notices.subscribe();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let seen = files.seen();
            *task = Some(tokio::spawn(self.clone().watch(files.clone(), blocking.clone(), seen)));
        }
        receiver
    }

    /// Checks the file until there are no more listeners. It polls, because the notification APIs differ between
    /// systems and fail on some mounts, and reading a few hundred bytes costs microseconds.
    async fn watch(self: Arc<Self>, files: Arc<Files>, blocking: Blocking, mut last: u128) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            {
                // Under the lock with which listeners are added, so that none is left without a watcher.
                let mut task = self.task.lock();
                if self.notices.receiver_count() == 0 {
                    *task = None;
                    return;
                }
            }
            let files = files.clone();
            // A file that cannot be read counts as a change. The listener then reads it and gets the error.
            let current =
                blocking.run(move || files.fingerprint().unwrap_or_default()).await.unwrap_or_default();
            if current != last {
                last = current;
                self.notices.send_modify(Notices::gap);
            }
        }
    }
}
