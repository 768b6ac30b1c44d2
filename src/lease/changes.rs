//! How the actions and observations of a worker change the state.

use super::Rule;
use crate::state::{Lease, Millis, SnapshotInfo, State, millis};

/// Two invalidations within this time count as one.
const INVALIDATIONS_APART: Millis = 1_000;

impl Rule {
    /// The state in which `snapshot`, fetched by `owner` under the grant `fence`, is published; `None` if the answer to a
    /// newer grant has superseded it.
    ///
    /// Without a fence (the store was unreachable when the worker polled), the worker's own newest grant counts,
    /// which it may have received without knowing. An empty cache accepts it from any worker, and a worker that is
    /// fetching may still replace it.
    pub fn publish(
        &self,
        state: &State,
        now: Millis,
        owner: &str,
        fence: Option<u64>,
        snapshot: SnapshotInfo,
    ) -> Option<State> {
        let mut next = state.successor(now);
        if let Some(grant) = self.answered_grant(state, owner, fence) {
            next.answered = grant;
        } else if state.snapshot.is_some() {
            return None;
        } else if self.foreign_lease(state, now, owner).is_none() {
            next = self.grant(state, now, owner);
            next.answered = next.fence;
        }
        let after = state.snapshot.as_ref().map_or(0, |previous| previous.published_at.saturating_add(1));
        next.snapshot = Some(SnapshotInfo { published_at: now.max(after), ..snapshot });
        self.settle(&mut next, now, owner);
        Some(next)
    }

    /// The state in which PostHog answered `owner` that the snapshot of this version is current; `None` if the answer to a
    /// newer grant has superseded it.
    pub fn confirm(
        &self,
        state: &State,
        now: Millis,
        owner: &str,
        fence: Option<u64>,
        version: &str,
    ) -> Option<State> {
        state.snapshot.as_ref().filter(|snapshot| snapshot.version == version)?;
        let answered = self.answered_grant(state, owner, fence)?;
        let mut next = State { answered, ..state.successor(now) };
        self.settle(&mut next, now, owner);
        Some(next)
    }

    /// The state in which the definitions are known to have changed, so that the next load fetches; `None` if another
    /// worker has just reported this.
    pub fn invalidate(&self, state: &State, now: Millis) -> Option<State> {
        let just_now = |at: Millis| at <= now && now < at.saturating_add(INVALIDATIONS_APART);
        if state.invalidated_at.is_some_and(just_now) {
            return None;
        }
        // Later than any grant so far, also in the same millisecond.
        let after = state.granted_at.map_or(0, |granted_at| granted_at.saturating_add(1));
        Some(State { invalidated_at: Some(now.max(after)), ..state.successor(now) })
    }

    /// The state in which the stored definitions, if any, are known to be old, because the store did not take
    /// those of this version, which `owner` fetched. `None` where it has them, or another worker leads.
    pub fn outdate(&self, state: &State, now: Millis, owner: &str, version: Option<&str>) -> Option<State> {
        let stored = state.snapshot.as_ref().map(|stored| stored.version.as_str());
        let is_old = stored.is_none() || stored != version;
        let is_news = is_old && state.outdated_at.is_none() && self.leads(state, owner, None);
        is_news.then(|| State { outdated_at: Some(now), ..state.successor(now) })
    }

    /// The state without `owner`'s lease; `None` when there is none to release. `granted_at` stays:
    /// a departure does not entitle the next worker to fetch before the interval is over.
    pub fn release(&self, state: &State, now: Millis, owner: &str) -> Option<State> {
        state.lease.as_ref().filter(|lease| lease.owner == owner)?;
        Some(State { lease: None, ..state.successor(now) })
    }

    /// The state with the snapshot that a worker holds, where the store lost it or fell back to
    /// an older one (a failover to a replica that lagged behind); otherwise `None`. To be asked
    /// before [`Rule::decide`], and to be committed together with the held snapshot.
    ///
    /// `seen` is the state in which the worker last saw the snapshot that it holds.
    ///
    /// A fence under which somebody is fetching is left alone: its publish would be refused, while
    /// the ETag of that answer would keep the fetcher from ever receiving it again.
    pub fn restore(&self, state: &State, now: Millis, seen: &State) -> Option<State> {
        let held = seen.snapshot.as_ref()?;
        let lost = state.snapshot.as_ref().is_none_or(|stored| {
            stored.version != held.version
                && stored.published_at < held.published_at
                && held.published_at <= now
        });
        if !lost {
            return None;
        }
        let mut next = State {
            snapshot: Some(held.clone()),
            granted_at: state.granted_at.max(seen.granted_at),
            confirmed_at: state.confirmed_at.max(seen.confirmed_at),
            invalidated_at: state.invalidated_at.max(seen.invalidated_at),
            ..state.successor(now)
        };
        if state.lease.is_none() {
            next.fence = state.fence.max(seen.fence);
            next.answered = state.answered.max(seen.answered);
            next.retry_at = state.retry_at.max(seen.retry_at);
            next.failures = state.failures.max(seen.failures);
            next.refused_at = state.refused_at.max(seen.refused_at);
            next.lease = seen.lease.clone().map(|lease| Lease {
                // The leader's next poll is at most an interval away: it stays the leader.
                expires_at: now.saturating_add(millis(self.lease_ttl)),
                ..lease
            });
        }
        Some(next)
    }

    /// PostHog has answered `owner`: the snapshot is current, and the lease, if it is its own, anew.
    fn settle(&self, next: &mut State, now: Millis, owner: &str) {
        // A grant may be a little ahead of a clock that was set back.
        next.confirmed_at = Some(now).max(next.granted_at.filter(|_| !self.is_from_the_future(next, now)));
        next.retry_at = None;
        next.failures = 0;
        next.refused_at = None;
        next.outdated_at = None;
        if let Some(lease) = next.lease.as_mut().filter(|lease| lease.owner == owner) {
            lease.expires_at = now.saturating_add(millis(self.lease_ttl));
        }
    }

    /// The state without its snapshot, which is damaged: whoever holds a sound one will put it back.
    pub fn discard(&self, state: &State, now: Millis) -> State {
        State { snapshot: None, ..state.successor(now) }
    }

    /// The number of the grant under which `owner` has fetched; `None` if the answer counts no more. A newer grant alone
    /// does not matter: if PostHog takes longer to answer than a lease lasts, no answer would ever count.
    fn answered_grant(&self, state: &State, owner: &str, fence: Option<u64>) -> Option<u64> {
        if self.leads(state, owner, fence) {
            return Some(state.fence);
        }
        fence.filter(|&fence| state.answered < fence && fence < state.fence)
    }

    /// Whether `owner` holds the lease, under this grant if it is known.
    pub fn leads(&self, state: &State, owner: &str, fence: Option<u64>) -> bool {
        state.lease.as_ref().is_some_and(|lease| lease.owner == owner)
            && fence.is_none_or(|fence| fence == state.fence)
    }
}
