//! The record that a fleet shares besides the definitions themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the store's clock: milliseconds since the Unix epoch.
pub type Millis = u64;

/// The smallest revision that is too large for the scripts of the Redis store to compare.
const REVISIONS: u64 = 10_u64.pow(16);

/// Maximum length of an ETag. Longer ones are not sent: servers limit the size of a request's headers.
const MAX_ETAG_BYTES: usize = 1024;

/// What the fleet shares besides the definitions themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// Grows with every commit; 0 if there was none yet.
    pub revision: u64,
    /// The number of the newest grant. It outlives the lease, so that no number is used twice.
    pub fence: u64,
    /// The number of the newest grant whose fetch PostHog has answered. An answer to an earlier one is void.
    #[serde(default)]
    pub answered: u64,
    /// The leader's lease. A lapsed one stays until another worker is granted one.
    pub lease: Option<Lease>,
    pub granted_at: Option<Millis>,
    pub snapshot: Option<SnapshotInfo>,
    /// When the snapshot was last known to be PostHog's current one: at its publish, or at a later fetch that
    /// published nothing and reported no failure.
    pub confirmed_at: Option<Millis>,
    /// Until then no worker calls PostHog.
    pub retry_at: Option<Millis>,
    /// When a worker last said that the definitions have changed.
    pub invalidated_at: Option<Millis>,
    /// Failed fetches in a row, of all workers.
    #[serde(default)]
    pub failures: u32,
    /// Since when PostHog has refused the definitions to the whole project (402, quota exceeded).
    #[serde(default)]
    pub refused_at: Option<Millis>,
    /// Since when the store has rejected the leader's definitions.
    #[serde(default)]
    pub outdated_at: Option<Millis>,
}

/// The lease: the right and the duty to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The id of the worker that fetches.
    pub owner: String,
    /// After this time another worker may take over.
    pub expires_at: Millis,
}

/// Describes a snapshot without holding it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Hash of the definitions' text, in hexadecimal.
    pub version: String,
    /// PostHog's ETag for that text, where it is known.
    pub etag: Option<String>,
    /// Length in bytes as stored (compressed or not): a cheap test for a truncated or foreign value.
    pub bytes: u64,
    /// When it was published; grows with every publish.
    pub published_at: Millis,
}

impl State {
    /// A copy under the next revision. Never smaller than the time, so that a store that lost its
    /// data does not reach an old revision again while a worker still remembers it.
    pub(crate) fn successor(&self, now: Millis) -> State {
        State { revision: self.revision.saturating_add(1).max(now), ..self.clone() }
    }

    /// The state as a store returns it. Another program can write anything there: a revision that cannot be
    /// incremented, or an ETag that is invalid in a request, counts as absent.
    pub fn sanitized(mut self) -> State {
        self.revision = countable(self.revision);
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.etag = snapshot.etag.take().filter(|etag| is_etag(etag));
        }
        self
    }
}

/// The revision as the stores compare it: 0 for one that is too large.
pub fn countable(revision: u64) -> u64 {
    if revision < REVISIONS { revision } else { 0 }
}

/// Whether it is one entity-tag (RFC 9110, 8.8.3) in visible ASCII, of a reasonable length. Anything else would
/// change what a request asks: `*` matches every version.
pub fn is_etag(etag: &str) -> bool {
    let quoted = etag.strip_prefix("W/").unwrap_or(etag);
    let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_sound = |opaque: &str| opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    etag.len() <= MAX_ETAG_BYTES && opaque.is_some_and(is_sound)
}

/// A duration in the unit of the store's clock.
pub fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
