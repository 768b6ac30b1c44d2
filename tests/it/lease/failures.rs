//! What a fleet does after a fetch that failed: who tries next, who stands back, and when all of them pause.
//! Moments are given in milliseconds after `T`, when the leader was last granted.

use std::time::Duration;

use posthog_flag_cache::lease::{Decision, FailedFetch, Failure, Worker};
use posthog_flag_cache::state::{Millis, SnapshotInfo, State};

use super::fleet_state::{
    COLD_START_WAIT, HOUR, INTERVAL, LEASE_TTL, RULE, SLACK, T, cold, fresh, granted, holding, impatient,
    lease, released, rule, sick, snapshot, warm,
};

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

fn fails(state: &State, now: Millis, owner: &str) -> State {
    RULE.fail(state, now, owner, Failure::Worker).expect("noted")
}

/// So many workers have failed in a row, each right after the one before, the last of them at `T`.
fn after_failures(count: u32, state: State) -> State {
    (0..count).fold(state, |state, number| {
        let granted = State { lease: lease(&format!("sick {number}"), T + 1), ..state };
        fails(&granted, T, &format!("sick {number}"))
    })
}

// Releasing the lease

#[test]
fn a_failure_releases_the_lease_and_counts() {
    let next = fails(&warm(), T + 300, "leader");
    assert_eq!(next, State { revision: T + 300, lease: None, failures: 1, ..warm() });
}

#[test]
fn the_next_poll_of_another_worker_fetches_at_once() {
    let failed = fails(&warm(), T + 300, "leader");
    assert_eq!(granted(RULE.decide(&failed, T + 301, fresh("other"))).fence, 4);
    let failed = fails(&cold(), T + 300, "leader");
    assert_eq!(granted(RULE.decide(&failed, T + 301, fresh("other"))).fence, 4);
}

#[test]
fn a_failure_says_nothing_while_another_worker_fetches_unless_the_cache_is_empty() {
    assert_eq!(RULE.fail(&warm(), T + LEASE_TTL - 1, "other", Failure::Worker), None);
    assert!(RULE.fail(&warm(), T + LEASE_TTL, "other", Failure::Worker).is_some());
    let next = fails(&cold(), T + 1, "other");
    assert_eq!((next.failures, next.lease), (1, cold().lease), "the lease of another stays");
}

#[test]
fn a_success_forgets_all_failures() {
    let state =
        State { failures: 5, retry_at: Some(T + 1), refused_at: Some(T), outdated_at: Some(T), ..warm() };
    let published = RULE.publish(&state, T + 300, "leader", Some(3), snapshot("v2", 0)).expect("published");
    let confirmed = RULE.confirm(&state, T + 300, "leader", Some(3), "v1").expect("confirmed");
    for next in [published, confirmed] {
        assert_eq!((next.failures, next.retry_at, next.refused_at, next.outdated_at), (0, None, None, None));
        assert_eq!(next.lease, lease("leader", T + 300 + LEASE_TTL));
    }
}

// Standing back

#[test]
fn the_worker_that_failed_leaves_the_next_polls_to_others_and_tries_again_within_two_intervals() {
    let failed = fails(&warm(), T, "leader");
    for now in [T, T + INTERVAL, T + INTERVAL + SLACK - 1] {
        assert_eq!(RULE.decide(&failed, now, sick("leader", T)), Decision::Follow, "{now}");
        granted(RULE.decide(&failed, now, fresh("other")));
    }
    granted(RULE.decide(&failed, T + INTERVAL + SLACK, sick("leader", T)));
}

#[test]
fn on_an_empty_cache_it_waits_a_moment_that_doubles_up_to_an_interval() {
    let failed = fails(&cold(), T, "leader");
    for (count, delay) in [(1, 250), (2, 500), (3, 1_000), (5, 4_000), (u32::MAX, INTERVAL)] {
        let me = Worker { failed: Some(FailedFetch { at: T, count }), ..fresh("leader") };
        let until = T + delay;
        let decision = RULE.decide(&failed, T, me);
        match delay <= COLD_START_WAIT {
            true => assert_eq!(decision, Decision::Wait(until), "{count}"),
            false => assert_eq!(decision, Decision::Follow, "longer than it waits for anything"),
        }
        assert!(!matches!(RULE.decide(&failed, until - 1, me), Decision::Grant(_)), "{count}");
        granted(RULE.decide(&failed, until, me));
    }
}

#[test]
fn it_stands_back_while_others_are_trying_which_may_take_longer() {
    let failed = fails(&warm(), T, "leader");
    let trying = granted(RULE.decide(&failed, T + INTERVAL, fresh("other")));
    let stands_back = |state: &State, now| {
        RULE.stands_back_until(FailedFetch { at: T, count: 1 }, state, now, "leader").map(|until| until - T)
    };
    let now = T + INTERVAL + COLD_START_WAIT + 1;
    // Counted from the end of the other's lease.
    assert_eq!(stands_back(&trying, now), Some(2 * INTERVAL + COLD_START_WAIT + SLACK));
    assert_eq!(RULE.decide(&trying, now, sick("leader", T)), Decision::Follow);
    granted(RULE.decide(&trying, now, fresh("third")));
    let published = RULE.publish(&trying, now, "other", Some(4), snapshot("v2", 0)).expect("published");
    assert_eq!(stands_back(&published, now), None, "not after one of them has succeeded");
    let endless = State { lease: lease("other", u64::MAX), granted_at: Some(T), ..failed };
    assert_eq!(stands_back(&endless, T), Some(INTERVAL + SLACK));
}

#[test]
fn a_failure_from_the_future_holds_no_worker_back() {
    let me = |at| sick("leader", at);
    granted(RULE.decide(&released(), T + INTERVAL, me(T + INTERVAL + SLACK + 1)));
    assert_eq!(RULE.decide(&released(), T + INTERVAL, me(T + INTERVAL + SLACK)), Decision::Follow);
}

#[test]
fn it_stands_back_although_it_knows_of_a_change() {
    let failed = fails(&State { invalidated_at: Some(T + 5), ..warm() }, T + 300, "leader");
    let me = Worker { impatient: true, ..sick("leader", T + 300) };
    assert_eq!(RULE.decide(&failed, T + 301, me), Decision::Follow);
    granted(RULE.decide(&failed, T + 301, impatient("other")));
}

#[test]
fn it_tries_again_for_a_change_that_it_learned_of_since_after_a_delay_that_doubles() {
    for (count, delay) in [(1, 250), (2, 500), (4, 2_000)] {
        let failed = fails(&warm(), T, "leader");
        let told = State { invalidated_at: Some(T + 1), ..failed };
        let me = Worker { impatient: true, failed: Some(FailedFetch { at: T, count }), ..fresh("leader") };
        assert_eq!(RULE.decide(&told, T + delay - 1, me), Decision::Follow, "{count}");
        granted(RULE.decide(&told, T + delay, me));
        assert_eq!(RULE.decide(&told, T + delay, Worker { impatient: false, ..me }), Decision::Follow);
    }
}

// Waiting for the next one

#[test]
fn after_a_failure_the_others_wait_for_the_fetch_under_way() {
    let failed = fails(&warm(), T + 300, "leader");
    let trying = granted(RULE.decide(&failed, T + INTERVAL, fresh("other")));
    let end = T + INTERVAL + COLD_START_WAIT;
    assert_eq!(trying.lease, lease("other", end), "no longer than they wait");
    let sick = Worker { seen: Some(&failed), ..sick("leader", T + 300) };
    for me in [holding("third", &failed), sick] {
        assert_eq!(RULE.decide(&trying, T + INTERVAL + 1, me), Decision::Wait(end), "{me:?}");
    }
    let starting = fresh("third");
    assert_eq!(RULE.decide(&trying, T + INTERVAL + 1, starting), Decision::Follow, "has no flags yet");
    let published =
        RULE.publish(&trying, T + INTERVAL + 9, "other", Some(4), snapshot("v2", 0)).expect("published");
    assert_eq!(RULE.decide(&published, T + INTERVAL + 10, fresh("third")), Decision::Follow);
}

#[test]
fn a_worker_that_fetches_after_a_failure_gets_no_second_grant_while_its_lease_lasts() {
    let failed = fails(&warm(), T + 300, "leader");
    let trying = granted(RULE.decide(&failed, T + 301, fresh("other")));
    assert_eq!(RULE.decide(&trying, T + 302, fresh("other")), Decision::Follow);
}

#[test]
fn if_no_worker_waits_the_lease_lasts_as_usual() {
    let rule = rule(INTERVAL, LEASE_TTL, 0);
    let failed = fails(&warm(), T + 300, "leader");
    assert_eq!(
        granted(rule.decide(&failed, T + 301, fresh("other"))).lease,
        lease("other", T + 301 + LEASE_TTL)
    );
}

#[test]
fn a_lease_that_was_not_released_means_that_no_failure_was_reported() {
    // The worker that took over calls without `flagCache.fetch`: what it is answered is not heard of.
    let silent = State { failures: 2, lease: lease("silent", T + COLD_START_WAIT), ..warm() };
    let next = granted(RULE.decide(&silent, T + INTERVAL, fresh("silent")));
    assert_eq!((next.failures, next.lease), (0, lease("silent", T + INTERVAL + COLD_START_WAIT)));
    let early = granted(RULE.decide(&silent, T + COLD_START_WAIT, fresh("other")));
    assert_eq!(early.failures, 2, "before the interval is over it may still be answered");
    let failed = State { lease: None, ..silent };
    assert_eq!(granted(RULE.decide(&failed, T + INTERVAL, fresh("other"))).failures, 1, "all may try again");
}

#[test]
fn a_failed_fetch_confirms_nothing() {
    let stale = State { confirmed_at: Some(T - INTERVAL), ..warm() };
    let failed = fails(&stale, T + 300, "leader");
    let next = granted(RULE.decide(&failed, T + INTERVAL, fresh("other")));
    assert_eq!(next.confirmed_at, Some(T - INTERVAL));
}

// Pausing

#[test]
fn from_the_third_failure_in_a_row_the_fleet_pauses_and_longer_with_each() {
    for state in [warm(), cold()] {
        for (count, pause) in
            [(1, None), (2, None), (3, Some(117)), (4, Some(234)), (10, Some(14_976)), (11, Some(29_952))]
        {
            let failed = after_failures(count, state.clone());
            assert_eq!(failed.failures, count);
            assert_eq!(RULE.pause(&failed, T), pause.map(Duration::from_millis), "{count} failures");
        }
        for count in [12, 80] {
            let failed = after_failures(count, state.clone());
            assert_eq!(failed.retry_at, Some(T + INTERVAL), "an interval at most");
        }
    }
}

#[test]
fn a_short_pause_is_waited_for_and_a_long_one_is_not() {
    let (short, long) = (after_failures(4, warm()), after_failures(11, warm()));
    let other = holding("other", &short);
    assert_eq!(RULE.decide(&short, T + 1, other), Decision::Wait(T + 234));
    granted(RULE.decide(&short, T + 234, other));
    assert_eq!(RULE.decide(&long, T + 1, other), Decision::Follow);
    assert_eq!(RULE.decide(&short, T + 1, fresh("other")), Decision::Follow, "has no flags yet");
}

#[test]
fn a_pause_that_posthog_asked_for_holds_for_the_fleet_if_there_are_definitions_to_go_on_with() {
    let seldom = rule(2 * HOUR, 3 * HOUR, COLD_START_WAIT);
    for (what, rule, asked, lasts) in [
        ("nothing", RULE, None, INTERVAL - SLACK),
        ("zero", RULE, Some(0), INTERVAL - SLACK),
        ("less than the interval", RULE, Some(5_000), INTERVAL - SLACK),
        ("more than the interval", RULE, Some(60_000), 60_000),
        ("an hour", RULE, Some(HOUR), HOUR),
        ("more than an hour", RULE, Some(HOUR + 1), HOUR),
        ("an eternity", RULE, Some(u64::MAX), HOUR),
        ("a minute, where the interval is longer than an hour", seldom, Some(60_000), HOUR),
    ] {
        let asked = asked.map(Duration::from_millis);
        for failure in [Failure::Paused(asked), Failure::Refused(asked)] {
            let next = rule.fail(&warm(), T, "leader", failure).expect("paused");
            assert_eq!(next.retry_at, Some(T + lasts), "{what}");
            assert!(rule.pause(&next, T).is_some(), "{what}");
            let decision = rule.decide(&next, T + 1, holding("other", &warm()));
            assert_eq!(decision, Decision::Follow, "{what}");
        }
    }
}

#[test]
fn on_an_empty_cache_there_is_nothing_to_go_on_with_meanwhile() {
    let paused = Failure::Paused(MINUTE);
    let first = RULE.fail(&cold(), T, "leader", paused).expect("noted");
    assert_eq!((first.retry_at, first.failures), (None, 1));
    let second = RULE.fail(&State { lease: lease("b", T + 9), ..first }, T, "b", paused).expect("noted");
    assert_eq!(second.retry_at, None);
    let third = RULE.fail(&State { lease: lease("c", T + 9), ..second }, T, "c", paused).expect("noted");
    assert_eq!(third.retry_at, Some(T + 117), "as after any other failure");
}

#[test]
fn a_failure_never_shortens_a_pause_but_replaces_one_that_is_void() {
    let paused = State { retry_at: Some(T + HOUR), ..warm() };
    for failure in [Failure::Worker, Failure::Paused(MINUTE)] {
        let next = RULE.fail(&paused, T + 1, "leader", failure).expect("noted");
        assert_eq!(next.retry_at, Some(T + HOUR));
    }
    let silenced = State { retry_at: Some(u64::MAX), ..warm() };
    let next = RULE.fail(&silenced, T, "leader", Failure::Paused(None)).expect("paused");
    assert!(RULE.pause(&next, T).is_some());
}

#[test]
fn a_refusal_is_remembered_since_the_first() {
    let first = RULE.fail(&warm(), T + 1, "leader", Failure::Refused(None)).expect("noted");
    assert_eq!(first.refused_at, Some(T + 1));
    let later = RULE.fail(&first, T + INTERVAL, "other", Failure::Refused(None)).expect("noted");
    assert_eq!(later.refused_at, Some(T + 1));
    assert_eq!(fails(&warm(), T, "leader").refused_at, None);
}

#[test]
fn answers_are_read_as_what_they_mean_for_the_fleet() {
    let pause = Some(Duration::from_secs(9));
    for (status, asked, failure) in [
        (None, None, Failure::Worker),
        (Some(200), None, Failure::Worker),
        (Some(401), None, Failure::Worker),
        (Some(403), None, Failure::Worker),
        (Some(500), None, Failure::Worker),
        (Some(402), None, Failure::Refused(None)),
        (Some(402), pause, Failure::Refused(pause)),
        (Some(429), None, Failure::Paused(None)),
        (Some(429), pause, Failure::Paused(pause)),
        (Some(503), pause, Failure::Paused(pause)),
    ] {
        assert_eq!(Failure::of(status, asked), failure, "{status:?}");
    }
}

// What others write

#[test]
fn a_lease_longer_than_any_that_this_worker_would_grant_is_void() {
    for (lease_ttl, wait) in [(LEASE_TTL, COLD_START_WAIT), (INTERVAL, 60_000)] {
        let rule = rule(INTERVAL, lease_ttl, wait);
        let longest = 2 * lease_ttl.max(wait);
        for (lasts, leader) in [(longest, Some("other")), (longest + 1, None), (u64::MAX - T, None)] {
            let state = State { lease: lease("other", T + lasts), ..warm() };
            assert_eq!(rule.leader(&state, T), leader, "{lasts}");
            let takes_over = matches!(rule.decide(&state, T + INTERVAL, fresh("me")), Decision::Grant(_));
            // By then that of the longest has a remaining time that counts as well.
            assert_eq!(takes_over, lasts > longest + INTERVAL, "{lasts}");
        }
    }
}

#[test]
fn a_store_hands_out_no_etag_that_a_request_cannot_carry_and_no_revision_that_cannot_grow() {
    let etag = |etag: &str| {
        let snapshot = SnapshotInfo { etag: Some(etag.into()), ..snapshot("v1", T) };
        State { snapshot: Some(snapshot), ..warm() }.sanitized().snapshot.unwrap().etag
    };
    assert_eq!(etag("W/\"abc\"").as_deref(), Some("W/\"abc\""));
    assert!(etag("\"\"").is_some());
    assert!(etag(&format!("\"{}\"", "x".repeat(1022))).is_some());
    let long = format!("\"{}\"", "x".repeat(1023));
    for broken in [
        "",
        "*",
        "W/",
        "W/*",
        "a",
        "\"",
        "\"a",
        "\"a\",\"b\"",
        "\"a b\"",
        "\"a\r\nx: y\"",
        "\"ä\"",
        "\"\u{7f}\"",
        &long,
    ] {
        assert_eq!(etag(broken), None, "{broken:?}");
    }
    let revision = |revision| State { revision, ..warm() }.sanitized().revision;
    assert_eq!(
        (revision(9_999_999_999_999_999), revision(10_000_000_000_000_000), revision(u64::MAX)),
        (9_999_999_999_999_999, 0, 0)
    );
}

#[test]
fn a_fleet_with_only_one_healthy_worker_finds_it_within_its_next_poll() {
    // They poll at the same moment; those that wait look again when the one before has failed.
    let held = warm();
    let (mut state, mut now) = (fails(&held, T, "leader"), T + INTERVAL);
    for owner in ["2", "3", "4", "5", "6", "7", "healthy"] {
        let me = holding(owner, &held);
        if let Decision::Wait(until) = RULE.decide(&state, now, me) {
            now = until;
        }
        let next = granted(RULE.decide(&state, now, me));
        assert_eq!(next.lease.as_ref().map(|lease| lease.owner.as_str()), Some(owner));
        state = fails(&next, now, owner);
    }
    assert!(now - T - INTERVAL < COLD_START_WAIT, "after {} ms", now - T - INTERVAL);
}
