//! The rule by which a fleet shares one fetch: pure decisions over a small shared record.
//!
//! Nothing here does I/O or reads a clock. A caller reads the [`State`] together with the store's
//! own time, asks the [`Rule`], and commits the state it names by compare-and-set. A lost race is
//! simply asked again. Because only the store's clock counts, the clocks of the workers do not.

use std::time::Duration;

use crate::state::{Lease, Millis, SnapshotInfo, State, millis};

/// The worker that asks.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// This worker's id, unique in the fleet.
    pub owner: &'a str,
    /// The state in which this worker last saw the snapshot that it holds in memory;
    /// `None` when it holds none.
    pub seen: Option<&'a State>,
    /// Whether this worker knows that the definitions have changed, and has not loaded since.
    pub impatient: bool,
    /// Its last fetch, if that failed.
    pub failed: Option<FailedFetch>,
}

/// A fetch that brought this worker no definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailedFetch {
    pub at: Millis,
    /// How many failed in a row, of this worker.
    pub count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Network, proxy, clock, key, or an answer without definitions: other workers may be luckier.
    Worker,
    /// PostHog asked to wait (429, `Retry-After`): every worker does, if there are definitions to go on with.
    Paused(Option<Duration>),
    /// PostHog refuses the definitions to the whole project (402, quota exceeded).
    Refused(Option<Duration>),
}

/// What a worker does at a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Decision {
    /// Commit this state, then fetch.
    Grant(State),
    /// Use what the cache has, or what this worker has.
    Follow,
    /// Definitions that this worker needs are about to come: look again on a notice, at the latest at
    /// this moment.
    Wait(Millis),
}

/// Maximum pause: a header gone wrong must not silence a fleet.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Number of failures in a row, each of another worker, from which on PostHog is to blame.
const FAILURES_UNTIL_PAUSE: u32 = 3;

/// The first pause after these, as a part of the interval. It doubles with each further failure.
const FIRST_PAUSE_PART: Millis = 256;

/// Delay before a worker whose fetch for an empty cache failed may try again. It doubles with each further
/// failure. Workers that wait look more often.
const COLD_RETRY: Millis = 250;

/// Two invalidations no further apart count as one.
const INVALIDATIONS_APART: Millis = 1_000;

/// The durations that govern the rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// At most one fetch in each.
    pub refresh_interval: Duration,
    /// How long a grant keeps others from fetching.
    pub lease_ttl: Duration,
    /// How long a worker without definitions waits for another's fetch; zero: not at all.
    pub cold_start_wait: Duration,
}

impl Failure {
    /// What an answer of this HTTP status, with this `Retry-After`, says; `None` for no answer.
    pub fn of(status: Option<u32>, pause: Option<Duration>) -> Self {
        match (status, pause) {
            (Some(402), pause) => Failure::Refused(pause),
            (Some(429), pause) | (_, pause @ Some(_)) => Failure::Paused(pause),
            _ => Failure::Worker,
        }
    }
}

impl Rule {
    /// What worker `me` does now.
    pub fn decide(&self, state: &State, now: Millis, me: Worker) -> Decision {
        let is_empty = state.snapshot.is_none();
        // After a failure another worker fetches within moments: who has flags to go on with waits for it.
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
        if me.impatient && invalidated && stands_back.is_none() {
            return Decision::Grant(self.grant(state, now, me.owner));
        }
        if let Some(lease) = self.foreign_lease(state, now, me.owner) {
            let needs_it = waits
                || (me.seen.is_none() && self.is_being_replaced(state))
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

    /// Until when a worker whose fetch failed leaves the next one to others. Over an interval, so that each of them
    /// polls in between, and as long as others are trying, which may take longer. But while the cache is empty
    /// they are waiting, and take over at once.
    pub fn stands_back_until(
        &self,
        failed: FailedFetch,
        state: &State,
        now: Millis,
        owner: &str,
    ) -> Option<Millis> {
        let interval = millis(self.refresh_interval);
        let until = if state.snapshot.is_none() {
            let delay = doubled(COLD_RETRY, failed.count.saturating_sub(1)).min(interval);
            failed.at.saturating_add(delay)
        } else {
            let others = state.lease.as_ref().filter(|lease| lease.owner != owner);
            let tried_at = others.map(|lease| lease.expires_at.min(now)).max(state.granted_at);
            let are_trying = state.failures > 0 && !self.is_from_the_future(state, now);
            let last = failed.at.max(tried_at.filter(|_| are_trying).unwrap_or(0));
            last.saturating_add(interval).saturating_add(self.slack())
        };
        let is_from_the_future = failed.at > now.saturating_add(self.slack());
        (now < until && !is_from_the_future).then_some(until)
    }

    /// The state in which `snapshot`, fetched by `owner` under the grant `fence`, is published;
    /// `None` where a newer grant has superseded it.
    ///
    /// Without a fence (the store was out of reach when the worker asked) the worker's own newest
    /// grant counts, which it may have won without hearing of it. An empty cache takes it from
    /// anybody, and whoever is fetching may still publish over it.
    pub fn publish(
        &self,
        state: &State,
        now: Millis,
        owner: &str,
        fence: Option<u64>,
        snapshot: SnapshotInfo,
    ) -> Option<State> {
        let mut next = if self.leads(state, owner, fence) {
            state.successor(now)
        } else if state.snapshot.is_some() {
            return None;
        } else if self.foreign_lease(state, now, owner).is_some() {
            state.successor(now)
        } else {
            self.grant(state, now, owner)
        };
        let after = state.snapshot.as_ref().map_or(0, |previous| previous.published_at.saturating_add(1));
        next.snapshot = Some(SnapshotInfo { published_at: now.max(after), ..snapshot });
        self.settle(&mut next, now, owner);
        Some(next)
    }

    /// The state in which PostHog answered `owner` that the snapshot of this version is current;
    /// `None` where a newer grant has superseded that answer.
    pub fn confirm(
        &self,
        state: &State,
        now: Millis,
        owner: &str,
        fence: Option<u64>,
        version: &str,
    ) -> Option<State> {
        state.snapshot.as_ref().filter(|snapshot| snapshot.version == version)?;
        if !self.leads(state, owner, fence) {
            return None;
        }
        let mut next = state.successor(now);
        self.settle(&mut next, now, owner);
        Some(next)
    }

    /// The state in which a fetch of `owner` has failed: its lease is released, so that another worker
    /// fetches next. The fleet pauses if PostHog asked it to, or if several workers have failed in a row.
    /// `None` while another worker fetches, whose answer will tell; an empty cache cannot wait for that,
    /// because every worker without definitions calls.
    pub fn fail(&self, state: &State, now: Millis, owner: &str, failure: Failure) -> Option<State> {
        let is_empty = state.snapshot.is_none();
        if !is_empty && self.foreign_lease(state, now, owner).is_some() {
            return None;
        }
        let failures = state.failures.saturating_add(1);
        let further = failures.checked_sub(FAILURES_UNTIL_PAUSE);
        let delay = further.map(|further| {
            let interval = millis(self.refresh_interval);
            doubled((interval / FIRST_PAUSE_PART).max(1), further).min(interval)
        });
        let asked = match failure {
            Failure::Worker => None,
            // Whatever PostHog asked for, without definitions there is nothing to go on with meanwhile.
            _ if is_empty => None,
            Failure::Paused(pause) | Failure::Refused(pause) => {
                Some(millis(pause.unwrap_or_default()).max(millis(self.refresh_interval) - self.slack()))
            }
        };
        let pause = delay.max(asked).map(|pause| now.saturating_add(pause.min(millis(MAX_PAUSE))));
        let so_far = state.retry_at.filter(|_| self.pause(state, now).is_some());
        let refused = matches!(failure, Failure::Refused(_)).then_some(now);
        Some(State {
            lease: state.lease.clone().filter(|lease| lease.owner != owner),
            failures,
            retry_at: so_far.max(pause),
            refused_at: state.refused_at.or(refused),
            ..state.successor(now)
        })
    }

    /// The state in which the definitions are known to have changed, so that the next load fetches;
    /// `None` where somebody has just said so.
    pub fn invalidate(&self, state: &State, now: Millis) -> Option<State> {
        let just_now = |at: Millis| at <= now && now < at.saturating_add(INVALIDATIONS_APART);
        if state.invalidated_at.is_some_and(just_now) {
            return None;
        }
        // Later than any grant so far, of the same millisecond too.
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

    fn leads(&self, state: &State, owner: &str, fence: Option<u64>) -> bool {
        state.lease.as_ref().is_some_and(|lease| lease.owner == owner)
            && fence.is_none_or(|fence| fence == state.fence)
    }

    fn grant(&self, state: &State, now: Millis, owner: &str) -> State {
        let mut next = state.successor(now);
        next.fence = next.fence.saturating_add(1);
        // Others wait for this fetch while the cache is empty, or after a failure: should the leader die,
        // one of them takes over when their wait ends; should it be slow, no one does before.
        let is_awaited = state.snapshot.is_none() || state.failures > 0;
        let ttl = match is_awaited && !self.cold_start_wait.is_zero() {
            true => self.cold_start_wait,
            false => self.lease_ttl,
        };
        next.lease = Some(Lease { owner: owner.to_owned(), expires_at: now.saturating_add(millis(ttl)) });
        if self.has_passed(state, now) {
            // A lease that was kept means that no failure was reported. Otherwise every worker may fail
            // once more before the fleet pauses.
            next.failures = if state.lease.is_some() { 0 } else { state.failures.min(1) };
        }
        if state.snapshot.is_some() && state.failures == 0 {
            next.confirmed_at = state.confirmed_at.max(state.granted_at);
        }
        // Not before the invalidation that it answers, which may be of the same millisecond.
        next.granted_at = Some(now).max(state.invalidated_at.filter(|_| self.is_invalidated(state, now)));
        next.retry_at = None;
        next
    }

    /// How long nobody calls PostHog. A pause longer than any that is ever set is void.
    pub fn pause(&self, state: &State, now: Millis) -> Option<Duration> {
        if self.is_from_the_future(state, now) {
            return None;
        }
        let pause = Duration::from_millis(state.retry_at?.checked_sub(now).filter(|pause| *pause > 0)?);
        (pause <= MAX_PAUSE).then_some(pause)
    }

    /// Who fetches, as long as nobody may take over.
    pub fn leader<'a>(&self, state: &'a State, now: Millis) -> Option<&'a str> {
        self.live_lease(state, now).map(|lease| lease.owner.as_str())
    }

    /// The lease, while no other worker may take it over. One that lasts longer than any that this worker
    /// would grant is void.
    fn live_lease<'a>(&self, state: &'a State, now: Millis) -> Option<&'a Lease> {
        let longest = millis(self.lease_ttl.max(self.cold_start_wait)).saturating_mul(2);
        let is_live = |lease: &&Lease| now < lease.expires_at && lease.expires_at - now <= longest;
        state.lease.as_ref().filter(is_live).filter(|_| !self.is_from_the_future(state, now))
    }

    /// Whether the store's clock was set back since the newest grant. That grant, its lease and what
    /// came of it are void: waiting for the clock to catch up could take for ever.
    fn is_from_the_future(&self, state: &State, now: Millis) -> bool {
        state.granted_at.is_some_and(|at| at > now.saturating_add(self.slack()))
    }

    /// The state without its snapshot, which is damaged: whoever holds a sound one will put it back.
    pub fn discard(&self, state: &State, now: Millis) -> State {
        State { snapshot: None, ..state.successor(now) }
    }

    fn foreign_lease<'a>(&self, state: &'a State, now: Millis, owner: &str) -> Option<&'a Lease> {
        self.live_lease(state, now).filter(|lease| lease.owner != owner)
    }

    /// Whether a fetch is due: the interval is over, or the last fetch failed and no other is under way.
    fn is_due(&self, state: &State, now: Millis) -> bool {
        (state.failures > 0 && self.live_lease(state, now).is_none()) || self.has_passed(state, now)
    }

    /// Whether an interval has passed since the newest grant.
    fn has_passed(&self, state: &State, now: Millis) -> bool {
        let since =
            |at: Millis| now.saturating_add(self.slack()) >= at.saturating_add(millis(self.refresh_interval));
        state.granted_at.is_none_or(since) || self.is_from_the_future(state, now)
    }

    /// Whether no grant has answered the last invalidation yet. One from the future is void.
    fn is_invalidated(&self, state: &State, now: Millis) -> bool {
        state.invalidated_at > state.granted_at
            && state.invalidated_at <= Some(now.saturating_add(self.slack() + 1))
    }

    /// Whether the fetch under way follows a pause of the whole fleet, so that the snapshot is old.
    fn is_being_replaced(&self, state: &State) -> bool {
        match (state.granted_at, state.confirmed_at) {
            (Some(granted), Some(confirmed)) => {
                granted > confirmed.saturating_add(millis(self.refresh_interval).saturating_mul(2))
            }
            _ => false,
        }
    }

    /// How much earlier than the interval a fetch may come: a leader polls once an interval, and
    /// the jitter of its timer and of the network must not make it miss its turn.
    fn slack(&self) -> Millis {
        (millis(self.refresh_interval) / 10).min(1_000)
    }
}

fn doubled(delay: Millis, times: u32) -> Millis {
    delay.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX))
}
