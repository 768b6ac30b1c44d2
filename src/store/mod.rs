//! Where a fleet keeps its state and its snapshot.
//!
//! A store is dumb: it reads, and it commits by compare-and-set. What to commit is decided by
//! [`crate::lease`]. One contract suite (`tests/it/store_contract/`) runs over every implementation.

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
/// Every call ends when the store is silent for `commandTimeoutMs`. A slow one may take longer: the caller bounds the
/// whole.
#[async_trait]
pub trait Store: Send + Sync {
    /// The state and the store's time, in one round trip.
    ///
    /// `state.snapshot` is `None` also where its bytes are gone or have another length than the
    /// state says: a state that nobody can use is no better than none.
    async fn read(&self) -> Result<Reading>;

    /// The same, with the snapshot's bytes unless its version is the `known` one. If the store has a
    /// patch for the known version, it may return the patch instead.
    async fn load(&self, known: Option<&str>) -> Result<(Reading, Option<Bytes>)>;

    /// Replaces the state if its revision is still `expected`, and if the store has the snapshot that `next` keeps.
    ///
    /// Atomic, with the snapshot where given (otherwise that in the store stays). Renews the expiry of
    /// everything, and notifies the watchers where a snapshot was given, or no lease is left.
    async fn commit(&self, expected: u64, next: &State, snapshot: Option<Encoded>) -> Result<Commit>;

    /// Forgets everything at once; says whether there was anything. Notifies nobody: who holds the
    /// definitions puts them back when it looks.
    async fn clear(&self) -> Result<bool>;

    /// How long until everything expires; `None` where there is nothing, or where this user may not ask.
    async fn expiry(&self) -> Result<Option<Duration>>;

    /// Changes whenever a new snapshot may be there. A hint: a notice can be lost, or be our own.
    fn watch(&self) -> watch::Receiver<Notices>;

    /// The last failure outside a call, for a store that does something there.
    fn trouble(&self) -> Option<watch::Receiver<Option<Error>>> {
        None
    }

    /// Ends what is kept open between calls; the next one opens it again.
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

/// What is known of the connection to a server.
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
    /// On a connection of their own.
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

/// What came of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Commit {
    /// The store has it, since this moment on its clock.
    Committed(Millis),
    /// The store holds something else than was expected, namely this.
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
