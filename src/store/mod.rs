//! The store: it contains the state and the snapshot of a fleet.
//!
//! A store only reads, and commits by compare-and-set. [`crate::lease`] decides what to commit. One contract suite
//! (`tests/it/store_contract/`) runs over every implementation.

pub mod directory;
pub mod local_copy;
pub mod memory;
pub mod notices;
pub mod redis;
pub mod shared;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use crate::definitions::codec::Encoded;
use crate::error::{Error, Result};
use crate::state::{Millis, State};
use crate::store::notices::Notices;

/// A shared place for one project's state and snapshot.
///
/// Every call ends when the store is silent for `commandTimeoutMs`. A slow call may take longer; the caller limits
/// the whole time.
#[async_trait]
pub trait Store: Send + Sync {
    /// The state and the store's time, in one round trip.
    ///
    /// `state.snapshot` is also `None` if its bytes are gone or have another length than in the state, because such a
    /// snapshot cannot be used.
    async fn read(&self) -> Result<Reading>;

    /// The same, with the snapshot's bytes unless its version is the `known` one. If the store has a
    /// patch for the known version, it may return the patch instead.
    async fn load(&self, known: Option<&str>) -> Result<(Reading, Option<Bytes>)>;

    /// Replaces the state if its revision is still `expected`, and if the store has the snapshot that `next` keeps.
    ///
    /// Atomic, with the snapshot if it is given; otherwise the stored one stays. Renews the expiry of everything.
    /// Notifies the watchers if a snapshot was given, or if no lease is left.
    async fn commit(&self, expected: u64, next: &State, snapshot: Option<Encoded>) -> Result<Commit>;

    /// Deletes everything at once. Returns whether there was anything. Sends no notification: a worker that holds the
    /// definitions restores them at its next read.
    async fn clear(&self) -> Result<bool>;

    /// The time until everything expires; `None` if there is nothing, or if the user lacks the permission.
    async fn expiry(&self) -> Result<Option<Duration>>;

    /// Changes whenever there may be a new snapshot. It is a hint: a notice can be lost, or can be this worker's own.
    fn watch(&self) -> watch::Receiver<Notices>;

    /// The last failure outside a call, for a store that works in the background.
    fn trouble(&self) -> Option<watch::Receiver<Option<Error>>> {
        None
    }

    /// Closes what is kept open between calls. The next call opens it again.
    fn close(&self) {}

    fn backend(&self) -> Backend;
}

/// What kind of store, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// `redis`, `directory` or `memory`.
    pub kind: &'static str,
    /// Without credentials.
    pub location: String,
    #[serde(flatten)]
    pub link: Link,
}

/// What is known about the connection to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The server's software and version.
    pub server: Option<String>,
    /// `RESP2` or `RESP3`.
    pub protocol: Option<&'static str>,
    pub notices: Option<Delivery>,
}

/// How notices arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// On the connection that takes the commands.
    Push,
    /// On a second connection.
    SecondConnection,
    /// Not at all, or not now: edits arrive at the next poll.
    None,
}

/// A state, and when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub state: State,
    /// The store's time at the reading.
    pub now: Millis,
}

/// The result of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Commit {
    /// It succeeded, at this time of the store's clock.
    Committed(Millis),
    /// It was rejected, because the store contains this instead of the expected state.
    Conflict(Reading),
}

impl Commit {
    pub fn is_committed(&self) -> bool {
        matches!(self, Commit::Committed(_))
    }
}

/// Whether the state has a snapshot of another version than the known one.
fn is_news(state: &State, known: Option<&str>) -> bool {
    state.snapshot.as_ref().is_some_and(|snapshot| Some(snapshot.version.as_str()) != known)
}

/// Whether the store has the snapshot that the next state names, so that it need not be given.
fn is_kept(found: &State, next: &State) -> bool {
    let content =
        |state: &State| state.snapshot.as_ref().map(|snapshot| (snapshot.version.clone(), snapshot.bytes));
    next.snapshot.is_none() || content(found) == content(next)
}
