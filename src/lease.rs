//! The rule by which a fleet shares one fetch: pure decisions over a small shared record.
//!
//! Nothing here does I/O or reads a clock. A caller knows the [`State`] and the store's time, asks the [`Rule`], and
//! commits the resulting state by compare-and-set. After a lost race it asks again. Each answer of the store contains
//! its time. Between two answers, a worker adds the time that has passed on its own clock.

mod changes;
mod failures;

use std::time::Duration;

pub use self::failures::{FailedFetch, Failure};
use crate::state::{Lease, Millis, State, millis};

/// The worker that asks.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// This worker's id, unique in the fleet.
    pub owner: &'a str,
    /// The state in which this worker last saw the snapshot that it holds in memory; `None` if it holds none.
    pub seen: Option<&'a State>,
    /// Whether this worker knows that the definitions have changed, and has not loaded since.
    pub impatient: bool,
    /// Its last fetch, if that failed.
    pub failed: Option<FailedFetch>,
}

/// What a worker does at a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Decision {
    /// Commit this state, then fetch.
    Grant(State),
    /// Use what the cache has, or what this worker has.
    Follow,
    /// Definitions that this worker needs will arrive soon. Read again after an update notification, at the latest at
    /// this time.
    Wait(Millis),
}

/// The durations that govern the rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The minimum time between two fetches.
    pub refresh_interval: Duration,
    /// How long a grant keeps others from fetching.
    pub lease_ttl: Duration,
    /// How long a worker without definitions waits for another worker's fetch; zero: it does not wait.
    pub cold_start_wait: Duration,
}

impl Rule {
    /// What worker `me` does now.
    pub fn decide(&self, state: &State, now: Millis, me: Worker) -> Decision {
        let is_empty = state.snapshot.is_none();
        // After a failure another worker fetches very soon, so a worker that has flags waits for it.
        let waits = is_empty || (state.failures > 0 && me.seen.is_some());
        let wait_until = |until: Millis| match waits && until - now <= millis(self.cold_start_wait) {
            true => Decision::Wait(until),
            false => Decision::Follow,
        };
        if let Some(pause) = self.pause(state, now) {
            return wait_until(now.saturating_add(millis(pause)));
        }
        let invalidated = self.is_invalidated(state, now);
        let stands_back = me.failed.and_then(|failed| self.stands_back_until(failed, state, now, me.owner));
        // Other workers learn of the change only at their next poll.
        let tries_again = me
            .failed
            .is_some_and(|failed| state.invalidated_at > Some(failed.at) && now >= self.may_retry_at(failed));
        if me.impatient && invalidated && (stands_back.is_none() || tries_again) {
            return Decision::Grant(self.grant(state, now, me.owner));
        }
        if let Some(lease) = self.foreign_lease(state, now, me.owner) {
            let needs_it = waits
                || (me.seen.is_none() && state.failures == 0 && self.is_being_replaced(state))
                || (me.impatient && state.granted_at > state.confirmed_at);
            return if needs_it { Decision::Wait(lease.expires_at) } else { Decision::Follow };
        }
        if let Some(until) = stands_back {
            return if is_empty { wait_until(until) } else { Decision::Follow };
        }
        if is_empty || invalidated || self.is_due(state, now) {
            Decision::Grant(self.grant(state, now, me.owner))
        } else {
            Decision::Follow
        }
    }

    fn grant(&self, state: &State, now: Millis, owner: &str) -> State {
        let mut next = state.successor(now);
        next.fence = next.fence.saturating_add(1);
        // Other workers wait for this fetch while the cache is empty, or after a failure. If the leader dies, one of
        // them takes over when its wait ends. If the leader is slow, none takes over earlier.
        let is_awaited = state.snapshot.is_none() || state.failures > 0;
        let ttl = match is_awaited && !self.cold_start_wait.is_zero() {
            true => self.cold_start_wait,
            false => self.lease_ttl,
        };
        next.lease = Some(Lease { owner: owner.to_owned(), expires_at: now.saturating_add(millis(ttl)) });
        if self.has_passed(state, now) {
            // If the lease still exists, no failure was reported. Otherwise every worker may fail once more before
            // all pause.
            next.failures = if state.lease.is_some() { 0 } else { state.failures.min(1) };
        }
        if state.snapshot.is_some() && state.failures == 0 {
            next.confirmed_at = state.confirmed_at.max(state.granted_at);
        }
        // Not earlier than the invalidation that it answers, which may be in the same millisecond.
        next.granted_at = Some(now).max(state.invalidated_at.filter(|_| self.is_invalidated(state, now)));
        next.retry_at = None;
        next
    }

    /// The leader, while no other worker may take over.
    pub fn leader<'a>(&self, state: &'a State, now: Millis) -> Option<&'a str> {
        self.live_lease(state, now).map(|lease| lease.owner.as_str())
    }

    /// The lease, while no other worker may take it over. A lease that lasts much longer than this worker's own would
    /// is void.
    fn live_lease<'a>(&self, state: &'a State, now: Millis) -> Option<&'a Lease> {
        let longest = millis(self.lease_ttl.max(self.cold_start_wait)).saturating_mul(2);
        let is_live = |lease: &&Lease| now < lease.expires_at && lease.expires_at - now <= longest;
        state.lease.as_ref().filter(is_live).filter(|_| !self.is_from_the_future(state, now))
    }

    /// Whether the store's clock was set back since the newest grant. That grant, its lease and its result are void,
    /// because waiting for the clock to catch up could take for ever.
    fn is_from_the_future(&self, state: &State, now: Millis) -> bool {
        state.granted_at.is_some_and(|at| at > now.saturating_add(self.slack()))
    }

    fn foreign_lease<'a>(&self, state: &'a State, now: Millis, owner: &str) -> Option<&'a Lease> {
        self.live_lease(state, now).filter(|lease| lease.owner != owner)
    }

    /// Whether a fetch is due: the interval is over, or the last fetch failed and no other is running.
    fn is_due(&self, state: &State, now: Millis) -> bool {
        (state.failures > 0 && self.live_lease(state, now).is_none()) || self.has_passed(state, now)
    }

    /// Whether an interval has passed since the newest grant.
    fn has_passed(&self, state: &State, now: Millis) -> bool {
        let since =
            |at: Millis| now.saturating_add(self.slack()) >= at.saturating_add(millis(self.refresh_interval));
        state.granted_at.is_none_or(since) || self.is_from_the_future(state, now)
    }

    /// Whether the snapshot is so new that a worker which cannot reach the store keeps it and does not fetch. Its
    /// next poll is early enough for an edit to arrive within three intervals. The slack is for workers that poll at
    /// the same moment as the leader, and have seen only its confirmation from the interval before.
    pub fn is_recent(&self, state: &State, now: Millis) -> bool {
        let longest = millis(self.refresh_interval).saturating_mul(2).saturating_add(self.slack());
        let age = state.confirmed_at.map(|at| now.saturating_sub(at));
        age.is_some_and(|age| age < longest)
            && state.outdated_at.is_none()
            && !self.is_invalidated(state, now)
    }

    /// Whether no grant has answered the last invalidation yet. An invalidation from the future is void.
    fn is_invalidated(&self, state: &State, now: Millis) -> bool {
        state.invalidated_at > state.granted_at
            && state.invalidated_at <= Some(now.saturating_add(self.slack() + 1))
    }

    /// Whether the running fetch follows a pause of all workers, so that the snapshot is old.
    fn is_being_replaced(&self, state: &State) -> bool {
        match (state.granted_at, state.confirmed_at) {
            (Some(granted), Some(confirmed)) => {
                granted > confirmed.saturating_add(millis(self.refresh_interval).saturating_mul(2))
            }
            _ => false,
        }
    }

    /// How much earlier than the interval a fetch may come. A leader polls once per interval, and must not miss a
    /// grant because of the jitter of its timer and the network.
    fn slack(&self) -> Millis {
        (millis(self.refresh_interval) / 10).min(1_000)
    }
}
