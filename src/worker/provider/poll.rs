//! A poll: the worker reads the store, decides by the rule, and waits if necessary.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Provider;
use super::time::Time;
use crate::config::options::WhenRefused;
use crate::definitions::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::lease::{Decision, FailedFetch, Failure, Worker};
use crate::state::{Millis, State};
use crate::store::Commit;
use crate::worker::mirror::repair::Synced;

/// How often a waiting worker reads the store without a notice: after so many round trips, within these limits. If a
/// thousand workers wait, their reads slow the server down, and so they read less often.
const WAIT_ROUND_TRIPS: u32 = 10;
const WAIT_AT_LEAST: Duration = Duration::from_millis(100);
const WAIT_AT_MOST: Duration = Duration::from_secs(1);

/// By how much the store's clock may differ from what this worker expects. If it differs by more (it was set, or this
/// machine was asleep), the worker reads the store and decides again.
const CLOCK_TOLERANCE: Millis = 1_000;

/// The result of a poll.
pub(super) enum Outcome {
    /// This worker fetches.
    Fetch,
    /// It uses the shared definitions.
    Follow(Option<Found>),
}

/// The shared definitions.
pub(super) enum Found {
    Snapshot(Arc<Snapshot>),
    /// PostHog refuses the definitions, and the options say to drop them.
    Refused,
}

impl Provider {
    /// `earlier` is the grant that this worker had before this poll.
    pub(super) async fn ask(&self, time: &Time, earlier: Option<u64>) -> Result<Outcome> {
        self.mirror.publish().await?;
        // Before it reads, because a worker that has just loaded an old snapshot still waits for the new one.
        let held = self.mirror.held();
        // The leader need not read: if another worker has committed since, the leader's own commit is rejected.
        let mut led = self.mirror.led();
        let mut won = None;
        let mut is_repeated = false;
        loop {
            let is_led = led.is_some();
            let (reading, stored) = match led.take() {
                Some(reading) => (reading.clone(), reading.state.snapshot),
                None => self.mirror.sync().await.map(|synced| (synced.reading, synced.stored))?,
            };
            if self.has_failed_unobserved(&reading.state, earlier) {
                self.note_failure(reading.now);
                self.release_after(Failure::Worker).await?;
                continue;
            }
            self.note_refusal(&reading.state);
            let (impatient, failed) = self.client(|client| (client.impatient, client.failed));
            if !is_repeated && self.is_failure_lost(&reading.state, failed) {
                is_repeated = true;
                self.release_after(Failure::Worker).await?;
                continue;
            }
            let seen = held.as_ref().map(|(_, seen)| seen);
            let me = Worker { owner: &self.owner, seen, impatient, failed };
            let granted = match self.rule.decide(&reading.state, reading.now, me) {
                Decision::Grant(next) => {
                    let next = State { snapshot: stored, ..next };
                    let Commit::Committed(now) = self.mirror.commit(&reading, &next, None).await? else {
                        continue;
                    };
                    won = Some(next.fence);
                    self.memory.with(|memory| memory.counters.unchanged += u64::from(is_led));
                    if is_led && now.abs_diff(reading.now) > CLOCK_TOLERANCE {
                        continue;
                    }
                    won
                }
                _ if is_led => continue,
                // The grant is based on a wrong time, but it is valid.
                _ if won.is_some() && self.rule.leads(&reading.state, &self.owner, won) => won,
                Decision::Wait(_) | Decision::Follow if reading.state.outdated_at.is_some() => {
                    return Err(Error::new(
                        Code::Unavailable,
                        "the store could not take the newest definitions, so each process fetches for itself",
                    )
                    .advising("The process that fetched them reports the reason to onError()."));
                }
                Decision::Wait(until) if time.may_wait() && self.require_open().is_ok() => {
                    self.wait(time, until.saturating_sub(reading.now)).await;
                    continue;
                }
                Decision::Follow | Decision::Wait(_) => None,
            };
            if let Some(fence) = granted {
                let (earlier, is_closed) =
                    self.client(|client| (client.fence.replace(fence), client.in_use.is_none()));
                if earlier == granted {
                    // An overlapping call has committed the same state, and fetches.
                    won = None;
                    continue;
                }
                if is_closed {
                    // The shutdown released the lease before this grant came.
                    self.release().await?;
                    return Ok(Outcome::Follow(None));
                }
            }
            self.memory.with(|memory| {
                memory.client.impatient = false;
                let counters = &mut memory.counters;
                *(if granted.is_some() { &mut counters.grants } else { &mut counters.follows }) += 1;
            });
            return Ok(match granted {
                Some(_) => Outcome::Fetch,
                None => Outcome::Follow(self.found(&reading.state)),
            });
        }
    }

    pub(super) async fn look(&self, time: &Time) -> Result<Option<Found>> {
        loop {
            let Synced { reading, damage, .. } = self.mirror.sync().await?;
            self.note_refusal(&reading.state);
            if reading.state.snapshot.is_some() {
                self.client(|client| client.waited = Duration::ZERO);
                return Ok(self.found(&reading.state));
            }
            let me = Worker { owner: &self.owner, seen: None, impatient: false, failed: None };
            match self.rule.decide(&reading.state, reading.now, me) {
                Decision::Wait(until) if time.may_wait() => {
                    let began = Instant::now();
                    self.wait(time, until.saturating_sub(reading.now)).await;
                    self.client(|client| client.waited += began.elapsed());
                }
                _ => return damage.map_or(Ok(None), Err),
            }
        }
    }

    /// How long a client that only reads may still wait for its first definitions. In total, because posthog-node reads the
    /// store at each evaluation while it has none.
    pub(super) fn remaining_wait(&self) -> Duration {
        let waited = self.client(|client| client.waited);
        self.rule.cold_start_wait.saturating_sub(waited)
    }

    /// The definitions to use, for this state of the store, which was just read.
    fn found(&self, state: &State) -> Option<Found> {
        state.snapshot.as_ref()?;
        if state.refused_at.is_some() && self.when_refused == WhenRefused::Clear {
            return Some(Found::Refused);
        }
        self.mirror.newest().map(|(snapshot, _)| Found::Snapshot(snapshot))
    }

    async fn wait(&self, time: &Time, millis: u64) {
        self.memory.with(|memory| {
            memory.counters.waits += 1;
            memory.client.pace.delay();
        });
        let began = Instant::now();
        let round_trips = self.mirror.round_trip().unwrap_or_default() * WAIT_ROUND_TRIPS;
        let until = began + Duration::from_millis(millis).min(round_trips.clamp(WAIT_AT_LEAST, WAIT_AT_MOST));
        let mut notices = self.notices();
        let woken = async {
            tokio::select! {
                _ = notices.changed() => {}
                () = self.closing.notified() => {}
            }
        };
        let _ = timeout_at(until.min(time.wait_until()), woken).await;
        time.waited(began.elapsed());
    }

    /// Whether the store has the lease of this worker's failed fetch, although the worker has reported the failure. The
    /// report may not have arrived, or another worker has restored an earlier state.
    fn is_failure_lost(&self, state: &State, failed: Option<FailedFetch>) -> bool {
        self.rule.leads(state, &self.owner, None)
            && failed.is_some_and(|failed| state.granted_at <= Some(failed.at))
    }

    /// Whether the fetch of the `earlier` grant failed unnoticed: posthog-node polls again, and the cache is still
    /// empty.
    fn has_failed_unobserved(&self, state: &State, earlier: Option<u64>) -> bool {
        let leads = earlier.is_some() && self.rule.leads(state, &self.owner, earlier);
        let is_unanswered = state.snapshot.is_none() && leads;
        is_unanswered && !self.client(|client| client.is_observed)
    }
}
