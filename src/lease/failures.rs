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
    /// Network, proxy, clock, key, or an answer without definitions: other workers may succeed.
    Worker,
    /// PostHog asked for a pause (429, `Retry-After`): every worker pauses, if there are definitions.
    Paused(Option<Duration>),
    /// PostHog refuses the definitions to the whole project (402, quota exceeded).
    Refused(Option<Duration>),
}

/// The maximum pause, because a wrong header must not stop all fetches for long.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// From this number of failures in a row, each of another worker, PostHog itself has probably failed.
const FAILURES_UNTIL_PAUSE: u32 = 3;

/// The first pause after these, as a part of the interval. It doubles with each further failure.
const FIRST_PAUSE_PART: Millis = 256;

/// Delay before a worker whose fetch failed may try again for an empty cache, or for a change that it learned of since.
/// It doubles with each further failure. Workers that wait look more often.
const FIRST_RETRY: Millis = 250;

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
    /// The state in which a fetch of `owner` has failed: its lease is released, so that another worker fetches next.
    /// All workers pause if PostHog asked for it, or if several have failed in a row. `None` while another worker
    /// fetches, because its answer decides. An empty cache cannot wait for this, because every worker without
    /// definitions calls PostHog.
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
            // Without definitions there is no pause, even if PostHog asked for one.
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

    /// Until when a worker whose fetch failed leaves fetching to the others: for more than an interval, so that each
    /// of them polls in between, and while others are still trying, which may take longer. While the cache is empty
    /// the others are waiting, and take over at once.
    pub fn stands_back_until(
        &self,
        failed: FailedFetch,
        state: &State,
        now: Millis,
        owner: &str,
    ) -> Option<Millis> {
        let interval = millis(self.refresh_interval);
        let until = if state.snapshot.is_none() {
            self.may_retry_at(failed)
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

    /// The earliest time of the next fetch of a worker whose fetch failed.
    pub fn may_retry_at(&self, failed: FailedFetch) -> Millis {
        let delay = doubled(FIRST_RETRY, failed.count.saturating_sub(1)).min(millis(self.refresh_interval));
        failed.at.saturating_add(delay)
    }

    /// How long no worker calls PostHog. A pause longer than the maximum is void.
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
