//! What a worker knows about itself and its fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::config::options::Role;
use crate::definitions::snapshot::Snapshot;
use crate::error::Code;
use crate::store::Backend;

/// Counters since this worker was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Polls at which it was told to fetch.
    pub grants: u64,
    /// Polls at which it was told to use the cache.
    pub follows: u64,
    /// Reads that found the version it already had.
    pub unchanged: u64,
    /// Reads that brought a new version.
    pub loads: u64,
    /// Fetched definitions that it published.
    pub publishes: u64,
    /// Fetches that found the definitions unchanged.
    pub confirms: u64,
    /// Fetched definitions that were not published, because the answer to a newer grant had superseded them.
    pub superseded: u64,
    /// How often it restored what the store had lost.
    pub heals: u64,
    /// Times it waited for another worker's fetch.
    pub waits: u64,
    pub errors: BTreeMap<Code, u64>,
}

/// A worker's view, as of its last contact with the store. JavaScript gets it as JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub worker: String,
    pub role: Role,
    /// Whether it held the lease.
    pub is_leader: bool,
    /// Who held the lease.
    pub leader: Option<String>,
    /// The number of the newest grant.
    pub fence: u64,
    #[serde(rename = "definitions")]
    pub held: Option<Held>,
    /// How long ago the newest grant was given.
    #[serde(rename = "lastGrantMsAgo", serialize_with = "in_ms")]
    pub granted: Option<Duration>,
    /// How long no worker calls the API.
    #[serde(rename = "retryInMs", serialize_with = "in_ms")]
    pub pause: Option<Duration>,
    /// Fetches of this worker that failed in a row; 0 after one that succeeded.
    pub failed_fetches: u32,
    /// The same, of all workers of the fleet.
    pub fleet_failed_fetches: u32,
    pub counters: Counters,
    /// The interval to set, if posthog-node's polls do not match the configured one.
    #[serde(rename = "suggestedRefreshIntervalMs", serialize_with = "in_ms")]
    pub suggested_refresh_interval: Option<Duration>,
    /// How long the store took for its last answer to a call that wrote no definitions.
    #[serde(rename = "roundTripMs", serialize_with = "in_ms")]
    pub round_trip: Option<Duration>,
    pub backend: Backend,
}

/// Definitions held by a worker.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Hash of the text.
    pub version: String,
    pub etag: Option<String>,
    pub flags: usize,
    #[serde(rename = "bytes")]
    pub text_bytes: usize,
    pub stored_bytes: u64,
    /// How long ago PostHog last said that they are current.
    #[serde(rename = "ageMs", serialize_with = "in_ms")]
    pub age: Option<Duration>,
    /// Whether they come from the local copy, and neither the store nor PostHog has confirmed them since.
    pub is_local_copy: bool,
}

impl Held {
    /// The metadata of these definitions.
    pub fn of(snapshot: &Snapshot) -> Self {
        Held {
            version: snapshot.version().to_owned(),
            etag: None,
            flags: snapshot.flags(),
            text_bytes: snapshot.text().len(),
            stored_bytes: 0,
            age: None,
            is_local_copy: false,
        }
    }
}

fn in_ms<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(ms).serialize(serializer)
}

/// As JavaScript has it: in milliseconds, to the microsecond.
pub fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
