//! Errors that a worker reports although none of its calls fails.

use tokio::time::Instant;

use super::Provider;
use crate::config::options::WhenRefused;
use crate::error::{Code, Error};
use crate::state::State;

impl Provider {
    pub(super) fn note_poll(&self) {
        let configured = self.rule.refresh_interval;
        let mismatch = self.client(|client| {
            client.asks = true;
            client.pace.poll(Instant::now());
            let mismatch = client.pace.mismatch(configured)?;
            (!std::mem::replace(&mut client.is_pace_reported, true)).then_some(mismatch)
        });
        if let Some(interval) = mismatch {
            let (actual, configured) = (interval.as_millis(), configured.as_millis());
            let message =
                format!("posthog-node polls every {actual} ms, but refreshIntervalMs is {configured}");
            let advice = format!(
                "Set refreshIntervalMs to {actual}, the value of featureFlagsPollingInterval. If several PostHog clients \
                 use this cache object, create one for each client."
            );
            self.mirror.report(Error::new(Code::Options, message).advising(advice));
        }
    }

    /// Reports once that PostHog refused any worker of the fleet.
    pub(super) fn note_refusal(&self, state: &State) {
        let is_new = self.client(|client| {
            let is_new = state.refused_at.is_some() && client.refusal_reported != state.refused_at;
            client.refusal_reported = state.refused_at;
            is_new
        });
        if is_new {
            let goes_on = match self.when_refused {
                WhenRefused::Keep => "all processes keep the definitions that they have",
                WhenRefused::Clear => "no process has definitions",
            };
            let message = format!(
                "PostHog refuses the flag definitions of this project (402, quota exceeded), so {goes_on} until PostHog \
                 sends new ones"
            );
            let advice = "Check the billing limits of the project.";
            self.mirror.report(Error::new(Code::Api, message).advising(advice));
        }
    }
}
