//! Detects that posthog-node's polling interval differs from `refreshIntervalMs`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::options::MIN_REFRESH_INTERVAL_MS;

/// The number of polls at the same interval from which the interval is known. A reload in between does not count.
const POLLS: usize = 6;

/// A poll that takes more than this part of the interval delays the next one.
const LONG_POLL_PART: u32 = 8;

/// Two intervals differ if one is more than this much of the other.
const TOLERANCE: f64 = 1.25;

/// The interval of this worker's polls.
#[derive(Default)]
pub struct PollPace {
    last: Option<Instant>,
    gaps: VecDeque<Duration>,
}

impl PollPace {
    pub fn poll(&mut self, now: Instant) {
        let Some(last) = self.last.replace(now) else { return };
        self.gaps.push_back(now - last);
        if self.gaps.len() > POLLS {
            self.gaps.pop_front();
        }
        if now - last < Duration::from_millis(MIN_REFRESH_INTERVAL_MS) {
            // Faster than posthog-node polls, so this is a reload.
            self.gaps.clear();
        }
    }

    /// Records that the delay after the last poll is not the interval, so that the time until the next poll is
    /// ignored.
    pub fn delay(&mut self) {
        self.last = None;
    }

    /// Notes how long the last poll, or a request that belongs to it, took.
    pub fn took(&mut self, duration: Duration, configured: Duration) {
        if duration > configured / LONG_POLL_PART {
            self.delay();
        }
    }

    /// The interval to use instead of `configured`, if the polls have steadily had another interval.
    pub fn mismatch(&self, configured: Duration) -> Option<Duration> {
        let (shortest, longest) = (self.gaps.iter().min()?, self.gaps.iter().max()?);
        let differ = |a: &Duration, b: &Duration| a.as_secs_f64() > b.as_secs_f64() * TOLERANCE;
        if self.gaps.len() < POLLS || differ(longest, shortest) {
            return None;
        }
        // A poll comes one interval after the previous load: the shortest gap is closest to it.
        let off = differ(shortest, &configured) || differ(&configured, longest);
        off.then(|| round(*shortest))
    }
}

/// Rounded to the two leading digits, which is probably what the user wrote.
fn round(duration: Duration) -> Duration {
    let millis = duration.as_millis() as u64;
    let unit = 10_u64.pow(millis.max(1).ilog10().saturating_sub(1));
    Duration::from_millis((millis + unit / 2) / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_waits_is_no_part_of_the_pace() {
        let (mut pace, mut now) = (PollPace::default(), Instant::now());
        for _ in 0..20 {
            pace.poll(now);
            pace.delay();
            now += Duration::from_secs(35);
        }
        assert_eq!(pace.mismatch(Duration::from_secs(30)), None);
        assert_eq!(pace.mismatch(Duration::from_secs(5)), None);
    }

    #[test]
    fn a_poll_that_takes_long_is_no_part_of_the_pace() {
        let configured = Duration::from_secs(8);
        let after_polls_of = |millis| {
            let (mut pace, mut now) = (PollPace::default(), Instant::now());
            for _ in 0..=POLLS {
                pace.poll(now);
                pace.took(Duration::from_millis(millis), configured);
                now += Duration::from_secs(5);
            }
            pace.mismatch(configured)
        };
        assert_eq!(after_polls_of(1_000), Some(Duration::from_secs(5)));
        assert_eq!(after_polls_of(1_001), None);
    }

    fn pace(gaps_ms: &[u64]) -> PollPace {
        let mut now = Instant::now();
        let mut pace = PollPace::default();
        pace.poll(now);
        for gap in gaps_ms {
            now += Duration::from_millis(*gap);
            pace.poll(now);
        }
        pace
    }

    fn mismatch(gaps_ms: &[u64]) -> Option<u64> {
        pace(gaps_ms).mismatch(Duration::from_secs(30)).map(|interval| interval.as_millis() as u64)
    }

    #[test]
    fn a_steady_other_pace_is_named_with_the_value_to_set() {
        assert_eq!(mismatch(&[60_012, 60_090, 60_300, 60_040, 60_021, 60_011]), Some(60_000));
        assert_eq!(mismatch(&[5_003, 5_004, 5_090, 5_010, 5_002, 5_001]), Some(5_000));
        assert_eq!(mismatch(&[59_980; 6]), Some(60_000));
    }

    #[test]
    fn the_configured_pace_is_no_mismatch_even_with_slow_loads() {
        assert_eq!(mismatch(&[30_010, 30_500, 33_000, 30_020, 30_001, 31_000]), None);
    }

    #[test]
    fn reloads_between_polls_are_no_pace() {
        assert_eq!(mismatch(&[5_000, 5_000, 700, 5_000, 5_000, 5_000]), None);
    }

    #[test]
    fn loads_one_right_after_another_are_no_pace() {
        assert_eq!(mismatch(&[1; 20]), None);
    }

    #[test]
    fn uneven_polls_are_no_pace() {
        assert_eq!(mismatch(&[2_000, 3_000, 2_000, 3_000, 2_000, 3_000]), None);
    }

    #[test]
    fn a_few_polls_are_no_pace() {
        assert_eq!(mismatch(&[5_000; 5]), None);
    }
}
