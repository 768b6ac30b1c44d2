//! The rule by which a fleet shares one fetch: pure decisions over a small shared record.
//!
//! Nothing here does I/O or reads a clock. A caller reads the [`State`] together with the store's
//! own time, asks the [`Rule`], and commits the state it names by compare-and-set. A lost race is
//! simply asked again. Because only the store's clock counts, the clocks of the workers do not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the store's clock: milliseconds since the Unix epoch.
pub type Millis = u64;

/// What the fleet shares besides the definitions themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// Grows with every commit; 0 where nothing was ever committed.
    pub revision: u64,
    /// The number of the newest grant. It outlives the lease, so that no number comes twice.
    pub fence: u64,
    /// Who fetches. A lapsed lease stays until somebody else is granted one.
    pub lease: Option<Lease>,
    /// When the newest grant was given.
    pub granted_at: Option<Millis>,
    /// The definitions that the store holds.
    pub snapshot: Option<SnapshotInfo>,
    /// When the snapshot was last known to be PostHog's current one: a publish, or a later fetch
    /// that published nothing and of which no failure was reported.
    pub confirmed_at: Option<Millis>,
    /// Until then nobody calls PostHog: it asked for a pause, or failed.
    pub retry_at: Option<Millis>,
    /// When somebody last said that the definitions have changed.
    pub invalidated_at: Option<Millis>,
}

/// The right, and the duty, to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The id of the worker that fetches.
    pub owner: String,
    /// From then on another worker may take over.
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

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// This worker's id, unique in the fleet.
    pub owner: &'a str,
    /// The state in which this worker last saw the snapshot that it holds in memory;
    /// `None` when it holds none.
    pub seen: Option<&'a State>,
    /// Whether this worker knows that the definitions have changed, and has not loaded since.
    pub impatient: bool,
}

/// What a worker does at a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Commit this state, then fetch.
    Grant(State),
    /// Use what the cache has, or what this worker has.
    Follow,
    /// Somebody is fetching what this worker cannot do without: look again on a notice, at latest
    /// at this moment.
    Wait(Millis),
}

/// The longest pause that PostHog can ask for: a header gone wrong must not silence a fleet.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

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

impl Rule {
    /// What worker `me` does now.
    pub fn decide(&self, state: &State, now: Millis, me: Worker) -> Decision {
        if self.pause(state, now).is_some() {
            return Decision::Follow;
        }
        let invalidated = self.is_invalidated(state, now);
        if me.impatient && invalidated {
            return Decision::Grant(self.grant(state, now, me.owner));
        }
        if let Some(lease) = self.foreign_lease(state, now, me.owner) {
            let needs_it = state.snapshot.is_none()
                || (me.seen.is_none() && self.is_being_replaced(state))
                || (me.impatient && state.granted_at > state.confirmed_at);
            return if needs_it { Decision::Wait(lease.expires_at) } else { Decision::Follow };
        }
        if state.snapshot.is_none() || invalidated || self.is_due(state, now) {
            Decision::Grant(self.grant(state, now, me.owner))
        } else {
            Decision::Follow
        }
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

    /// The state in which PostHog failed `owner`, or asked for a pause: nobody calls it before that
    /// is over. `None` where somebody else fetches, whose answer will tell; an empty cache cannot wait
    /// for that, because everybody without definitions calls.
    pub fn fail(&self, state: &State, now: Millis, owner: &str, pause: Option<Duration>) -> Option<State> {
        if state.snapshot.is_some() && self.foreign_lease(state, now, owner).is_some() {
            return None;
        }
        // Not shorter than the interval: an empty cache would be tried again at every evaluation.
        let interval = millis(self.refresh_interval) - self.slack();
        let pause = millis(pause.unwrap_or_default().min(MAX_PAUSE)).max(interval);
        let so_far = state.retry_at.filter(|_| self.pause(state, now).is_some());
        Some(State { retry_at: so_far.max(Some(now.saturating_add(pause))), ..state.successor(now) })
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
        // While the cache is empty others wait for this fetch: should the fetcher die, one of them
        // takes over when their wait ends; should it be slow, nobody does before.
        let ttl = if state.snapshot.is_none() && !self.cold_start_wait.is_zero() {
            self.cold_start_wait
        } else {
            self.lease_ttl
        };
        next.lease = Some(Lease { owner: owner.to_owned(), expires_at: now.saturating_add(millis(ttl)) });
        if state.snapshot.is_some() && state.retry_at.is_none() {
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
        (pause <= MAX_PAUSE.max(self.refresh_interval)).then_some(pause)
    }

    /// Who fetches, as long as nobody may take over.
    pub fn leader<'a>(&self, state: &'a State, now: Millis) -> Option<&'a str> {
        self.live_lease(state, now).map(|lease| lease.owner.as_str())
    }

    /// The lease, while nobody may take it over.
    fn live_lease<'a>(&self, state: &'a State, now: Millis) -> Option<&'a Lease> {
        state.lease.as_ref().filter(|lease| now < lease.expires_at && !self.is_from_the_future(state, now))
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

    fn is_due(&self, state: &State, now: Millis) -> bool {
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

impl State {
    /// A copy under the next revision. Never smaller than the time, so that a store that lost its
    /// data does not reach an old revision again while somebody still holds it.
    fn successor(&self, now: Millis) -> State {
        State { revision: self.revision.saturating_add(1).max(now), ..self.clone() }
    }
}

/// A duration in the unit of the store's clock.
pub fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
