//! The store inside one process: for tests, and for several clients in one process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Commit, Reading, Store};
use crate::definitions::codec::Encoded;
use crate::error::Result;
use crate::state::{Millis, State, millis};
use crate::store::notices::Notices;
use crate::store::{Backend, Link};

/// A state and a snapshot behind a mutex. Its clock is Tokio's, so that a test can pause it.
pub struct MemoryStore {
    epoch: Millis,
    started: Instant,
    max_age: Duration,
    content: Mutex<Content>,
    notices: watch::Sender<Notices>,
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
            notices: watch::Sender::default(),
        }
    }

    fn now(&self) -> Millis {
        self.epoch.saturating_add(millis(self.started.elapsed()))
    }

    /// The content, emptied if it has expired.
    fn content(&self) -> MutexGuard<'_, Content> {
        let mut content = self.content.lock();
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

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self) -> Result<Reading> {
        Ok(self.reading(&self.content()))
    }

    async fn load(&self, known: Option<&str>) -> Result<(Reading, Option<Bytes>)> {
        let content = self.content();
        let reading = self.reading(&content);
        let bytes = super::is_news(&reading.state, known).then(|| content.bytes.clone()).flatten();
        Ok((reading, bytes))
    }

    async fn commit(&self, expected: u64, next: &State, snapshot: Option<Encoded>) -> Result<Commit> {
        let mut content = self.content();
        let reading = self.reading(&content);
        let is_given = snapshot.is_some();
        if content.state.revision != expected || !(is_given || super::is_kept(&reading.state, next)) {
            return Ok(Commit::Conflict(reading));
        }
        if snapshot.is_some() || next.lease.is_none() {
            self.notices.send_modify(Notices::gap);
        }
        content.state = next.clone();
        content.expires_at = self.now().saturating_add(millis(self.max_age));
        if next.snapshot.is_none() {
            content.bytes = None;
        } else if let Some(snapshot) = snapshot {
            content.bytes = Some(snapshot.bytes);
        }
        Ok(Commit::Committed(reading.now))
    }

    async fn clear(&self) -> Result<bool> {
        let content = std::mem::take(&mut *self.content());
        Ok(content.expires_at > 0)
    }

    async fn expiry(&self) -> Result<Option<Duration>> {
        let left = self.content().expires_at.checked_sub(self.now());
        Ok(left.map(Duration::from_millis))
    }

    fn watch(&self) -> watch::Receiver<Notices> {
        self.notices.subscribe()
    }

    fn backend(&self) -> Backend {
        Backend { kind: "memory", location: "memory:".to_owned(), link: Link::default() }
    }
}
