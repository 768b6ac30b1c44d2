//! What a failed fetch changes: who tries next, and how long the fleet pauses.

use std::time::Duration;

use super::Rule;
use crate::state::{Millis, State, millis};

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

/// Maximum pause: a header gone wrong must not silence a fleet.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Number of failures in a row, each of another worker, from which on PostHog is to blame.
const FAILURES_UNTIL_PAUSE: u32 = 3;

/// The first pause after these, as a part of the interval. It doubles with each further failure.
const FIRST_PAUSE_PART: Millis = 256;

/// Delay before a worker whose fetch for an empty cache failed may try again. It doubles with each further
/// failure. Workers that wait look more often.
const COLD_RETRY: Millis = 250;

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

    /// How long nobody calls PostHog. A pause longer than any that is ever set is void.
    pub fn pause(&self, state: &State, now: Millis) -> Option<Duration> {
        if self.is_from_the_future(state, now) {
            return None;
        }
        let pause = Duration::from_millis(state.retry_at?.checked_sub(now).filter(|pause| *pause > 0)?);
        (pause <= MAX_PAUSE).then_some(pause)
    }
}

fn doubled(delay: Millis, times: u32) -> Millis {
    delay.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX))
}
