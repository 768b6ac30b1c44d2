//! What a worker does while it cannot reach the store.

use std::sync::Arc;

use tokio::time::Instant;

use super::Provider;
use super::poll::Found;
use crate::config::options::{WhenRefused, WhenUnavailable};
use crate::definitions::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::state::millis;
use crate::store::Reading;

impl Provider {
    /// The definitions to keep using although the store failed a call that `began` at this time. Only the listeners
    /// then get the error.
    pub(super) fn without_store(&self, error: Error, began: Instant) -> Result<Found> {
        let Some(snapshot) = self.held_over(began) else { return Err(error) };
        self.count(&error);
        self.mirror.report(error);
        Ok(Found::Snapshot(snapshot))
    }

    fn held_over(&self, began: Instant) -> Option<Arc<Snapshot>> {
        if self.is_refused() && self.when_refused == WhenRefused::Clear {
            return None;
        }
        let held = || self.mirror.younger_than(self.max_age);
        match self.when_unavailable {
            WhenUnavailable::Stale => held().or_else(|| self.copied_snapshot()),
            WhenUnavailable::Fetch if self.client(|client| client.impatient) => None,
            WhenUnavailable::Fetch => {
                let Reading { state, now } = self.mirror.last_reading()?;
                let is_recent = self.rule.is_recent(&state, now.saturating_sub(millis(began.elapsed())));
                is_recent.then(held).flatten()
            }
        }
    }

    /// Whether PostHog refused the definitions to the project, as far as this worker knows.
    pub(super) fn is_refused(&self) -> bool {
        self.mirror.last_reading().is_some_and(|reading| reading.state.refused_at.is_some())
    }
}
