//! Who fetches, who follows and who waits: [`Rule::decide`], branch by branch. Moments are given in
//! milliseconds after `T`, when the leader was last granted.

mod changes;
mod failures;
mod fleet_state;

use std::time::Duration;

use posthog_flag_cache::lease::{Decision, FailedFetch, Failure, Rule, Worker};
use posthog_flag_cache::state::{Lease, Millis, State, millis};

use fleet_state::{
    COLD_START_WAIT, HOUR, INTERVAL, LEASE_TTL, RULE, SLACK, T, cold, fresh, granted, holding, impatient,
    lease, released, rule, snapshot, warm,
};

// Granting

#[test]
fn the_first_poll_of_an_empty_store_is_granted() {
    assert_eq!(
        RULE.decide(&State::default(), T, fresh("first")),
        Decision::Grant(State {
            revision: T,
            fence: 1,
            lease: lease("first", T + COLD_START_WAIT),
            granted_at: Some(T),
            ..State::default()
        })
    );
}

#[test]
fn a_grant_changes_the_lease_and_keeps_the_snapshot() {
    let now = T + INTERVAL;
    assert_eq!(
        granted(RULE.decide(&warm(), now, fresh("leader"))),
        State {
            revision: now,
            fence: 4,
            lease: lease("leader", now + LEASE_TTL),
            granted_at: Some(now),
            ..warm()
        }
    );
}

#[test]
fn a_fresh_worker_on_a_warm_cache_never_fetches() {
    let lapsed = State { lease: lease("leader", T), ..warm() };
    for state in [warm(), released(), lapsed] {
        for after in [0, 1, COLD_START_WAIT, INTERVAL - SLACK - 1] {
            let decision = RULE.decide(&state, T + after, fresh("other"));
            assert_eq!(decision, Decision::Follow, "{after} ms, {state:?}");
        }
    }
}

#[test]
fn a_fetch_is_due_when_the_interval_is_over_less_a_slack() {
    // A tenth of the interval, a second at most, nothing where the clock is too coarse for a tenth.
    for (interval, due) in [(30_000, 29_000), (10_000, 9_000), (5_000, 4_500), (15, 14), (9, 9), (0, 0)] {
        let rule = rule(interval, LEASE_TTL, COLD_START_WAIT);
        for after in [0, due.max(1) - 1, due, interval] {
            let grants = matches!(rule.decide(&warm(), T + after, fresh("leader")), Decision::Grant(_));
            assert_eq!(grants, after >= due, "{after} ms into an interval of {interval} ms");
        }
    }
}

#[test]
fn only_the_leader_is_granted_until_its_lease_ends() {
    for after in [INTERVAL - SLACK, INTERVAL, LEASE_TTL - 1] {
        assert_eq!(RULE.decide(&warm(), T + after, fresh("other")), Decision::Follow, "{after} ms");
        granted(RULE.decide(&warm(), T + after, fresh("leader")));
    }
}

#[test]
fn the_next_poll_takes_over_when_the_lease_has_ended() {
    let next = granted(RULE.decide(&warm(), T + LEASE_TTL, fresh("other")));
    assert_eq!((next.fence, next.lease), (4, lease("other", T + 2 * LEASE_TTL)));
}

#[test]
fn a_state_never_granted_is_due() {
    let state = State { granted_at: None, ..released() };
    granted(RULE.decide(&state, T, fresh("other")));
}

#[test]
fn after_a_departure_the_first_poll_that_is_due_fetches() {
    assert_eq!(RULE.decide(&released(), T + INTERVAL - SLACK - 1, fresh("other")), Decision::Follow);
    granted(RULE.decide(&released(), T + INTERVAL - SLACK, fresh("other")));
}

#[test]
fn a_grant_confirms_the_fetch_before_it_unless_that_is_known_to_have_failed() {
    let now = T + LEASE_TTL;
    let confirmed = |state: &State| granted(RULE.decide(state, now, fresh("leader"))).confirmed_at;
    let stale = State { confirmed_at: Some(T - INTERVAL), ..warm() };
    let failed = State { failures: 1, lease: None, ..stale.clone() };
    assert_eq!(confirmed(&stale), Some(T));
    assert_eq!(confirmed(&failed), Some(T - INTERVAL));
    assert_eq!(confirmed(&State { confirmed_at: Some(T + 1), ..warm() }), Some(T + 1));
    assert_eq!(confirmed(&cold()), None);
}

// Cold start

#[test]
fn a_cold_worker_waits_for_the_fetch_under_way_and_takes_over_when_its_lease_ends() {
    let end = T + COLD_START_WAIT;
    assert_eq!(RULE.decide(&cold(), end - 1, fresh("other")), Decision::Wait(end));
    let next = granted(RULE.decide(&cold(), end, fresh("other")));
    assert_eq!((next.fence, next.lease), (4, lease("other", end + COLD_START_WAIT)));
}

#[test]
fn the_fetcher_of_an_empty_cache_may_fetch_again_at_once() {
    assert_eq!(granted(RULE.decide(&cold(), T + 1, fresh("leader"))).fence, 4);
}

#[test]
fn the_lease_on_an_empty_cache_lasts_as_long_as_others_wait() {
    for (lease_ttl, cold_start_wait, lasts) in
        [(45_000, 5_000, 5_000), (3_000, 5_000, 5_000), (45_000, 0, 45_000)]
    {
        let rule = rule(INTERVAL, lease_ttl, cold_start_wait);
        let next = granted(rule.decide(&State::default(), T, fresh("first")));
        assert_eq!(next.lease, lease("first", T + lasts));
    }
}

#[test]
fn only_a_worker_without_definitions_waits_while_an_old_snapshot_is_replaced() {
    let confirmed =
        |ago| State { confirmed_at: Some(T - ago), snapshot: Some(snapshot("v1", T - ago)), ..warm() };
    let old = confirmed(2 * INTERVAL + 1);
    assert_eq!(RULE.decide(&old, T + 1, fresh("other")), Decision::Wait(T + LEASE_TTL));
    assert_eq!(RULE.decide(&old, T + 1, holding("other", &old)), Decision::Follow);
    assert_eq!(RULE.decide(&old, T + 1, fresh("leader")), Decision::Follow);
    assert_eq!(RULE.decide(&confirmed(2 * INTERVAL), T + 1, fresh("other")), Decision::Follow);
    assert_eq!(RULE.decide(&State { lease: None, ..old }, T + 1, fresh("other")), Decision::Follow);
    assert_eq!(RULE.decide(&State { confirmed_at: None, ..warm() }, T + 1, fresh("other")), Decision::Follow);
}

// Pauses, and a clock set back

#[test]
fn no_worker_fetches_before_the_pause_that_posthog_asked_for_is_over() {
    let retry_at = T + 10 * INTERVAL;
    for state in [warm(), released(), cold()] {
        let state = State { retry_at: Some(retry_at), ..state };
        for owner in ["leader", "other"] {
            let decision = RULE.decide(&state, retry_at - COLD_START_WAIT - 1, fresh(owner));
            assert_eq!(decision, Decision::Follow);
            assert!(!matches!(RULE.decide(&state, retry_at - 1, fresh(owner)), Decision::Grant(_)));
            assert_eq!(granted(RULE.decide(&state, retry_at, fresh(owner))).retry_at, None);
        }
    }
}

#[test]
fn a_pause_lasts_until_its_moment() {
    let paused = State { retry_at: Some(T + INTERVAL), ..warm() };
    assert_eq!(RULE.pause(&paused, T + 1), Some(Duration::from_millis(INTERVAL - 1)));
    assert_eq!(RULE.pause(&paused, T + INTERVAL - 1), Some(Duration::from_millis(1)));
    assert_eq!(RULE.pause(&paused, T + INTERVAL), None);
    assert_eq!(RULE.pause(&warm(), T), None);
}

#[test]
fn a_pause_longer_than_an_hour_is_void() {
    for interval in [INTERVAL, 2 * HOUR] {
        let rule = rule(interval, LEASE_TTL, COLD_START_WAIT);
        let paused = |pause| rule.pause(&State { retry_at: Some(T + pause), ..warm() }, T);
        assert_eq!(paused(HOUR), Some(Duration::from_millis(HOUR)));
        assert_eq!(paused(HOUR + 1), None);
    }
    let hostile = State { retry_at: Some(u64::MAX), ..warm() };
    granted(RULE.decide(&hostile, T + INTERVAL, fresh("leader")));
}

#[test]
fn a_grant_from_the_future_is_void_and_with_it_its_lease_and_pause() {
    let now = T - SLACK - 1;
    let paused = State { retry_at: Some(T + INTERVAL), ..warm() };
    assert_eq!((RULE.pause(&paused, now), RULE.leader(&paused, now)), (None, None));
    for state in [warm(), released(), cold(), paused] {
        let next = granted(RULE.decide(&state, now, fresh("other")));
        assert_eq!((next.fence, next.granted_at, next.retry_at), (4, Some(now), None));
        assert!(next.revision > state.revision, "although the clock is behind it");
    }
}

#[test]
fn a_grant_from_the_future_within_the_slack_still_counts() {
    let paused = State { retry_at: Some(T + INTERVAL), ..warm() };
    assert_eq!(RULE.pause(&paused, T - SLACK), Some(Duration::from_millis(INTERVAL + SLACK)));
    assert_eq!(RULE.leader(&warm(), T - SLACK), Some("leader"));
    assert_eq!(RULE.decide(&warm(), T - SLACK, fresh("other")), Decision::Follow);
    assert_eq!(RULE.decide(&warm(), T - SLACK, fresh("leader")), Decision::Follow);
    assert_eq!(RULE.decide(&cold(), T - SLACK, fresh("other")), Decision::Wait(T + COLD_START_WAIT));
}

// Invalidation

/// Somebody said at `T + 5` that the definitions have changed.
fn invalidated() -> State {
    State { invalidated_at: Some(T + 5), ..warm() }
}

#[test]
fn a_worker_that_knows_of_a_change_gets_a_grant_at_once_whichever_worker_leads() {
    let now = T + 6;
    let next = granted(RULE.decide(&invalidated(), now, impatient("other")));
    let expected = State {
        revision: now,
        fence: 4,
        lease: lease("other", now + LEASE_TTL),
        granted_at: Some(now),
        ..invalidated()
    };
    assert_eq!(next, expected);
}

#[test]
fn every_worker_is_due_after_an_invalidation_unless_another_one_leads() {
    assert_eq!(RULE.decide(&invalidated(), T + 6, fresh("other")), Decision::Follow);
    granted(RULE.decide(&invalidated(), T + 6, fresh("leader")));
    granted(RULE.decide(&State { lease: None, ..invalidated() }, T + 6, fresh("other")));
    granted(RULE.decide(&State { lease: lease("leader", T + 6), ..invalidated() }, T + 6, fresh("other")));
}

#[test]
fn one_grant_answers_an_invalidation() {
    // The second moment is that of a grant in the millisecond before the one that was noted.
    for now in [T + 6, T + 4] {
        let answered = granted(RULE.decide(&invalidated(), now, impatient("other")));
        assert_eq!(answered.granted_at, Some(now.max(T + 5)));
        let published =
            RULE.publish(&answered, now + 300, "other", Some(4), snapshot("v2", 0)).expect("published");
        for me in [fresh("other"), impatient("other"), fresh("leader"), impatient("leader")] {
            assert_eq!(RULE.decide(&published, now + 301, me), Decision::Follow, "{me:?}");
        }
    }
}

#[test]
fn a_worker_that_knows_of_a_change_waits_for_the_fetch_that_answers_it() {
    let (end, fetching) =
        (T + 6 + LEASE_TTL, granted(RULE.decide(&invalidated(), T + 6, impatient("other"))));
    assert_eq!(RULE.decide(&fetching, T + 7, impatient("third")), Decision::Wait(end));
    assert_eq!(RULE.decide(&fetching, T + 7, fresh("third")), Decision::Follow);
    assert_eq!(RULE.decide(&fetching, T + 7, impatient("other")), Decision::Follow);
    let confirmed = RULE.confirm(&fetching, T + 7, "other", Some(4), "v1").expect("confirmed");
    assert_eq!(RULE.decide(&confirmed, T + 8, impatient("third")), Decision::Follow);
}

#[test]
fn an_invalidation_respects_a_pause() {
    let paused = State { retry_at: Some(T + 10), ..invalidated() };
    for owner in ["leader", "other"] {
        assert_eq!(RULE.decide(&paused, T + 9, impatient(owner)), Decision::Follow);
        granted(RULE.decide(&paused, T + 10, impatient(owner)));
    }
}

#[test]
fn an_invalidation_from_the_future_is_void() {
    // One more than the slack: it may be noted just after a grant that is itself that far ahead.
    let ahead = |by| State { invalidated_at: Some(T + 5 + by), ..warm() };
    granted(RULE.decide(&ahead(SLACK + 1), T + 5, impatient("other")));
    for state in [ahead(SLACK + 2), State { invalidated_at: Some(u64::MAX), ..warm() }] {
        for me in [fresh("leader"), impatient("leader"), fresh("other"), impatient("other")] {
            assert_eq!(RULE.decide(&state, T + 5, me), Decision::Follow, "{me:?}");
        }
        let next = granted(RULE.decide(&state, T + INTERVAL, fresh("leader")));
        assert_eq!(next.granted_at, Some(T + INTERVAL));
    }
}

// Extremes

#[test]
fn a_duration_too_long_for_the_clock_is_a_very_long_one() {
    assert_eq!(millis(Duration::from_millis(5)), 5);
    assert!(millis(Duration::MAX) > T);
}

/// Every combination of small, usual and extreme values of what the rule reads.
fn sweep() -> impl Iterator<Item = (State, Rule, Millis)> {
    const MOMENTS: [Option<Millis>; 4] = [None, Some(0), Some(T), Some(u64::MAX)];
    let states = (0..4_usize.pow(7)).map(|combination| {
        let digit = |place| combination / 4_usize.pow(place) % 4;
        let (owner, number) = [("me", 3), ("me", u64::MAX), ("other", 3), ("other", u64::MAX)][digit(0)];
        State {
            revision: number,
            fence: number,
            answered: [0, 2, 3, u64::MAX][digit(6)],
            lease: MOMENTS[digit(1)].and_then(|expires_at| lease(owner, expires_at)),
            granted_at: MOMENTS[digit(2)],
            snapshot: MOMENTS[digit(3)].map(|published_at| snapshot("v1", published_at)),
            confirmed_at: MOMENTS[digit(4)],
            retry_at: MOMENTS[digit(5)],
            invalidated_at: MOMENTS[digit(6)],
            failures: [0, 1, 3, u32::MAX][digit(4)],
            refused_at: MOMENTS[digit(6)],
            outdated_at: MOMENTS[digit(5)],
        }
    });
    let rules = [rule(0, 0, 0), RULE, rule(u64::MAX, u64::MAX, u64::MAX)];
    let times = rules.map(|rule| [0, T, u64::MAX].map(|now| (rule, now))).concat();
    states.flat_map(move |state| times.clone().into_iter().map(move |(rule, now)| (state.clone(), rule, now)))
}

fn grows(before: u64, after: u64) -> bool {
    after > before || before == u64::MAX
}

#[test]
fn no_value_however_hostile_breaks_a_decision() {
    let held = warm();
    for (state, rule, now) in sweep() {
        let failed = Some(FailedFetch { at: now, count: u32::MAX });
        for (seen, impatient, failed) in
            [(None, false, None), (None, true, None), (Some(&held), false, None), (None, true, failed)]
        {
            match rule.decide(&state, now, Worker { owner: "me", seen, impatient, failed }) {
                Decision::Grant(next) => {
                    assert!(grows(state.revision, next.revision) && grows(state.fence, next.fence));
                    assert!(
                        next.granted_at >= Some(now)
                            && next.granted_at <= Some(now.saturating_add(SLACK + 1))
                    );
                    assert_eq!((&next.snapshot, next.retry_at), (&state.snapshot, None));
                    assert!(next.lease.is_some_and(|lease| lease.owner == "me" && lease.expires_at >= now));
                }
                Decision::Wait(until) => assert!(until > now),
                Decision::Follow => {
                    let is_paused = rule.pause(&state, now).is_some();
                    assert!(state.snapshot.is_some() || is_paused || failed.is_some());
                }
            }
        }
    }
}

#[test]
fn no_value_however_hostile_breaks_a_change() {
    let held = State { snapshot: Some(snapshot("v2", T)), ..warm() };
    let hostile = State {
        revision: u64::MAX,
        fence: u64::MAX,
        answered: u64::MAX,
        lease: Some(Lease { owner: "other".into(), expires_at: u64::MAX }),
        granted_at: Some(u64::MAX),
        snapshot: Some(snapshot("v2", u64::MAX)),
        confirmed_at: Some(u64::MAX),
        retry_at: Some(u64::MAX),
        invalidated_at: Some(u64::MAX),
        failures: u32::MAX,
        refused_at: Some(u64::MAX),
        outdated_at: Some(u64::MAX),
    };
    let published_at = |state: &State| state.snapshot.as_ref().map(|snapshot| snapshot.published_at);
    for (state, rule, now) in sweep() {
        for fence in [None, Some(state.fence)] {
            let published = rule.publish(&state, now, "me", fence, snapshot("v3", 0));
            if let (Some(before), Some(next)) = (published_at(&state), &published) {
                assert!(grows(before, published_at(next).unwrap()));
            }
            let changes = [
                published,
                rule.confirm(&state, now, "me", fence, "v1"),
                rule.fail(&state, now, "me", Failure::Worker),
                rule.fail(&state, now, "me", Failure::Paused(fence.map(|_| Duration::MAX))),
                rule.invalidate(&state, now),
                rule.release(&state, now, "me"),
                rule.restore(&state, now, &held),
                rule.restore(&state, now, &hostile),
                Some(rule.discard(&state, now)),
            ];
            for next in changes.into_iter().flatten() {
                assert!(grows(state.revision, next.revision) && next.fence >= state.fence);
            }
        }
    }
}
