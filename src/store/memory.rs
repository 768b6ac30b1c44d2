//! The store inside one process: for tests, and for several clients in one process.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Commit, Reading, Store, StoreFuture};
use crate::definitions::codec::Encoded;
use crate::lock::lock;
use crate::state::{Millis, State, millis};
use crate::store::Backend;

/// A state and a snapshot behind a mutex. Its clock is Tokio's, so that a test can pause it.
pub struct MemoryStore {
    epoch: Millis,
    started: Instant,
    max_age: Duration,
    content: Mutex<Content>,
    notices: watch::Sender<u64>,
}

#[derive(Default)]
struct Content {
    state: State,
    bytes: Option<Bytes>,
    expires_at: Millis,
}

impl MemoryStore {
    pub fn new(max_age: Duration) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
        MemoryStore {
            epoch,
            started: Instant::now(),
            max_age,
            content: Mutex::default(),
            notices: watch::Sender::new(0),
        }
    }

    fn now(&self) -> Millis {
        self.epoch.saturating_add(millis(self.started.elapsed()))
    }

    /// The content, emptied if it has expired.
    fn content(&self) -> MutexGuard<'_, Content> {
        let mut content = lock(&self.content);
        if self.now() >= content.expires_at {
            *content = Content::default();
        }
        content
    }

    fn reading(&self, content: &Content) -> Reading {
        let mut state = content.state.clone();
        let length = content.bytes.as_ref().map(|bytes| bytes.len() as u64);
        state.snapshot = state.snapshot.filter(|snapshot| Some(snapshot.bytes) == length);
        Reading { state, now: self.now() }
    }
}

impl Store for MemoryStore {
    fn read(&self) -> StoreFuture<'_, Reading> {
        Box::pin(async { Ok(self.reading(&self.content())) })
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> StoreFuture<'a, (Reading, Option<Bytes>)> {
        Box::pin(async move {
            let content = self.content();
            let reading = self.reading(&content);
            let bytes = super::is_news(&reading.state, known).then(|| content.bytes.clone()).flatten();
            Ok((reading, bytes))
        })
    }

    fn commit<'a>(
        &'a self,
        expected: u64,
        next: &'a State,
        snapshot: Option<Encoded>,
    ) -> StoreFuture<'a, Commit> {
        Box::pin(async move {
            let mut content = self.content();
            let reading = self.reading(&content);
            let is_given = snapshot.is_some();
            if content.state.revision != expected || !(is_given || super::is_kept(&reading.state, next)) {
                return Ok(Commit::Conflict(reading));
            }
            if snapshot.is_some() || next.lease.is_none() {
                self.notices.send_modify(|count| *count += 1);
            }
            content.state = next.clone();
            content.expires_at = self.now().saturating_add(millis(self.max_age));
            if next.snapshot.is_none() {
                content.bytes = None;
            } else if let Some(snapshot) = snapshot {
                content.bytes = Some(snapshot.bytes);
            }
            Ok(Commit::Committed(reading.now))
        })
    }

    fn clear(&self) -> StoreFuture<'_, bool> {
        Box::pin(async {
            let content = std::mem::take(&mut *self.content());
            Ok(content.expires_at > 0)
        })
    }

    fn expiry(&self) -> StoreFuture<'_, Option<Duration>> {
        Box::pin(async {
            let left = self.content().expires_at.checked_sub(self.now());
            Ok(left.map(Duration::from_millis))
        })
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.notices.subscribe()
    }

    fn backend(&self) -> Backend {
        Backend { kind: "memory", location: "memory:".to_owned(), server: None }
    }
}
