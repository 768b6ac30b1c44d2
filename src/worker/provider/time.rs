//! The time that a call of posthog-node may take as a whole.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When a call must end. A process without definitions has the wait for loading them too. One that has some has it only
/// for waiting.
pub(super) struct Time {
    began: Instant,
    wait_until: Instant,
    end: Mutex<Instant>,
    most: Instant,
}

impl Time {
    /// Of a call that begins now.
    pub fn new(limit: Duration, wait: Duration, has_definitions: bool) -> Self {
        let began = Instant::now();
        let most = began + limit + wait;
        let end = Mutex::new(if has_definitions { began + limit } else { most });
        Time { began, wait_until: began + wait, end, most }
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    /// Whether it may still wait for another process.
    pub fn may_wait(&self) -> bool {
        Instant::now() < self.wait_until
    }

    pub fn wait_until(&self) -> Instant {
        self.wait_until
    }

    /// Adds the time for which the call waited for another process.
    pub fn waited(&self, passed: Duration) {
        let mut end = self.end.lock();
        *end = (*end + passed).min(self.most);
    }

    pub fn end(&self) -> Instant {
        *self.end.lock()
    }
}
