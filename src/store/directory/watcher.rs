//! Notices that `state.json` has changed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::files::Files;
use crate::blocking::Blocking;
use crate::store::notices::Notices;

/// How often the watcher looks at the state file.
const INTERVAL: Duration = Duration::from_millis(20);

/// The task that looks at the state file, while somebody listens.
pub(super) struct Watcher {
    notices: watch::Sender<Notices>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Watcher {
    pub fn new() -> Self {
        Watcher { notices: watch::Sender::default(), task: Mutex::default() }
    }

    /// Changes when the file is another one than this process last read, or than at the last look.
    pub fn subscribe(self: &Arc<Self>, files: &Arc<Files>, blocking: &Blocking) -> watch::Receiver<Notices> {
        let mut task = self.task.lock();
        let receiver = self.notices.subscribe();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let seen = files.seen();
            *task = Some(tokio::spawn(self.clone().watch(files.clone(), blocking.clone(), seen)));
        }
        receiver
    }

    /// Looks at the file until nobody listens any more. A poll: what the systems offer instead differs
    /// between them and fails on some mounts, and reading a few hundred bytes costs microseconds.
    async fn watch(self: Arc<Self>, files: Arc<Files>, blocking: Blocking, mut last: u128) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            {
                // Under the lock under which listeners come: none is left without a watcher.
                let mut task = self.task.lock();
                if self.notices.receiver_count() == 0 {
                    *task = None;
                    return;
                }
            }
            let files = files.clone();
            // What cannot be read is a change too: whoever reads it learns why.
            let current =
                blocking.run(move || files.fingerprint().unwrap_or_default()).await.unwrap_or_default();
            if current != last {
                last = current;
                self.notices.send_modify(Notices::gap);
            }
        }
    }
}
