//! States of a fleet in which `leader` was last granted, at `T`, and workers that ask.

use std::time::Duration;

use posthog_flag_cache::lease::{Decision, FailedFetch, Rule, Worker};
use posthog_flag_cache::state::{Lease, Millis, SnapshotInfo, State};

pub const T: Millis = 1_700_000_000_000;
pub const INTERVAL: Millis = 30_000;
pub const LEASE_TTL: Millis = 45_000;
pub const COLD_START_WAIT: Millis = 5_000;
pub const SLACK: Millis = 1_000;
pub const HOUR: Millis = 3_600_000;

pub const RULE: Rule = rule(INTERVAL, LEASE_TTL, COLD_START_WAIT);

pub const fn rule(refresh_interval: Millis, lease_ttl: Millis, cold_start_wait: Millis) -> Rule {
    Rule {
        refresh_interval: Duration::from_millis(refresh_interval),
        lease_ttl: Duration::from_millis(lease_ttl),
        cold_start_wait: Duration::from_millis(cold_start_wait),
    }
}

pub fn lease(owner: &str, expires_at: Millis) -> Option<Lease> {
    Some(Lease { owner: owner.into(), expires_at })
}

pub fn snapshot(version: &str, published_at: Millis) -> SnapshotInfo {
    SnapshotInfo { version: version.into(), etag: Some(format!("W/{version}")), bytes: 2, published_at }
}

/// The leader holds the lease, and its last fetch is published.
pub fn warm() -> State {
    State {
        revision: T + 1,
        fence: 3,
        answered: 3,
        lease: lease("leader", T + LEASE_TTL),
        granted_at: Some(T),
        snapshot: Some(snapshot("v1", T)),
        confirmed_at: Some(T),
        retry_at: None,
        invalidated_at: None,
        failures: 0,
        refused_at: None,
        outdated_at: None,
    }
}

/// The leader fetches for an empty cache.
pub fn cold() -> State {
    State {
        lease: lease("leader", T + COLD_START_WAIT),
        snapshot: None,
        confirmed_at: None,
        answered: 2,
        ..warm()
    }
}

/// As [`warm`], but the leader is fetching, and so is a worker with the grant before.
pub fn fetching() -> State {
    State { answered: 1, ..warm() }
}

/// As [`warm`], but the leader has departed.
pub fn released() -> State {
    State { lease: None, ..warm() }
}

pub fn fresh(owner: &str) -> Worker<'_> {
    Worker { owner, seen: None, impatient: false, failed: None }
}

pub fn holding<'a>(owner: &'a str, seen: &'a State) -> Worker<'a> {
    Worker { seen: Some(seen), ..fresh(owner) }
}

pub fn impatient(owner: &str) -> Worker<'_> {
    Worker { impatient: true, ..fresh(owner) }
}

/// A worker whose last fetch failed at that moment.
pub fn sick(owner: &str, at: Millis) -> Worker<'_> {
    Worker { failed: Some(FailedFetch { at, count: 1 }), ..fresh(owner) }
}

#[track_caller]
pub fn granted(decision: Decision) -> State {
    match decision {
        Decision::Grant(next) => next,
        other => panic!("expected a grant, not {other:?}"),
    }
}
