//! What may be changed in the shared state, and what comes of it: every public function of [`Rule`]
//! besides its decisions. Moments are given in milliseconds after `T`, when the leader was last granted.

use posthog_flag_cache::lease::Decision;
use posthog_flag_cache::state::{Millis, State};

use super::fleet_state::{
    COLD_START_WAIT, HOUR, INTERVAL, LEASE_TTL, RULE, SLACK, T, cold, fetching, fresh, granted, holding,
    impatient, lease, released, snapshot, warm,
};

/// Whether the change leaves the grant alone, is made under the worker's own, or takes a new one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Landing {
    UnderItsGrant,
    TakingTheNext,
    BesideAnothers,
    Refused,
}

use Landing::{BesideAnothers, Refused, TakingTheNext, UnderItsGrant};

fn publish(state: &State, now: Millis, owner: &str, fence: Option<u64>) -> Option<State> {
    RULE.publish(state, now, owner, fence, snapshot("v2", 0))
}

// Publishing

#[test]
fn a_publish_replaces_the_snapshot_and_confirms_it() {
    let (now, state) = (T + INTERVAL + 300, State { retry_at: Some(T), ..warm() });
    assert_eq!(
        publish(&state, now, "leader", Some(3)),
        Some(State {
            revision: now,
            lease: lease("leader", now + LEASE_TTL),
            snapshot: Some(snapshot("v2", now)),
            confirmed_at: Some(now),
            ..warm()
        })
    );
}

#[test]
fn a_publish_lands_on_an_empty_cache_or_unless_a_newer_grant_has_superseded_it() {
    let lapsed = T + 10 * LEASE_TTL;
    let end = T + COLD_START_WAIT;
    let empty = State { snapshot: None, ..released() };
    for (what, state, now, owner, fence, landing) in [
        ("the newest grant", warm(), T, "leader", Some(3), UnderItsGrant),
        ("the newest grant, lapsed but not superseded", warm(), lapsed, "leader", Some(3), UnderItsGrant),
        ("the newest grant, on an empty cache", cold(), T, "leader", Some(3), UnderItsGrant),
        ("an older grant, and the newest is not answered", fetching(), T, "other", Some(2), BesideAnothers),
        (
            "an older grant of the leader, and the newest is not answered",
            fetching(),
            T,
            "leader",
            Some(2),
            BesideAnothers,
        ),
        ("a grant that is answered already", fetching(), T, "other", Some(1), Refused),
        ("a grant that nobody was given", fetching(), T, "other", Some(4), Refused),
        ("an older grant of the leader", warm(), T, "leader", Some(2), Refused),
        ("an older grant of another", warm(), T, "other", Some(2), Refused),
        ("the newest fence in another's name", warm(), T, "other", Some(3), Refused),
        ("a lapsed grant of another", warm(), lapsed, "other", Some(2), Refused),
        ("a grant that was released", released(), T, "leader", Some(3), Refused),
        ("no fence, but the newest grant", warm(), T, "leader", None, UnderItsGrant),
        ("no fence, but the newest grant, lapsed", warm(), lapsed, "leader", None, UnderItsGrant),
        ("no fence, and another leads", warm(), T, "other", None, Refused),
        ("no fence, and another has led", warm(), lapsed, "other", None, Refused),
        ("no fence, and nobody leads", released(), T, "other", None, Refused),
        ("no fence, while another fills the empty cache", cold(), end - 1, "other", None, BesideAnothers),
        ("an old fence, while another fills the empty cache", cold(), T, "other", Some(2), BesideAnothers),
        ("no fence, when another has failed to fill it", cold(), end, "other", None, TakingTheNext),
        ("an old fence, when another has failed to fill it", cold(), end, "other", Some(2), TakingTheNext),
        ("an old fence of who fills the empty cache", cold(), T, "leader", Some(2), TakingTheNext),
        ("no fence, and nobody fills the empty cache", empty, T, "other", None, TakingTheNext),
        ("no fence, and an empty store", State::default(), T, "other", None, TakingTheNext),
    ] {
        let Some(next) = publish(&state, now, owner, fence) else {
            assert_eq!(landing, Refused, "{what}");
            continue;
        };
        let own = lease(owner, now + LEASE_TTL);
        let expected = match landing {
            UnderItsGrant => (state.fence, state.granted_at, own),
            TakingTheNext => (state.fence + 1, Some(now), own),
            BesideAnothers => (state.fence, state.granted_at, state.lease),
            Refused => panic!("{what} must not land"),
        };
        assert_eq!((next.fence, next.granted_at, next.lease), expected, "{what}");
        assert_eq!((next.confirmed_at, next.retry_at), (Some(now), None), "{what}");
        assert_eq!(next.snapshot.map(|published| published.version).as_deref(), Some("v2"), "{what}");
    }
}

#[test]
fn definitions_in_an_empty_cache_may_be_replaced_by_the_worker_that_was_fetching_them() {
    let beside = publish(&cold(), T + 1, "other", None).expect("published");
    let next = RULE.publish(&beside, T + 2, "leader", Some(3), snapshot("v3", 0)).expect("published");
    assert_eq!(next.snapshot, Some(snapshot("v3", T + 2)));
    let taken = publish(&cold(), T + COLD_START_WAIT, "other", None).expect("published");
    assert_eq!(publish(&taken, T + COLD_START_WAIT, "leader", Some(3)), None, "it is superseded");
}

#[test]
fn the_time_of_publishing_grows_even_where_the_clock_does_not() {
    let published_at = |now| {
        let next = publish(&warm(), now, "leader", Some(3)).expect("published");
        next.snapshot.map(|published| published.published_at)
    };
    assert_eq!(published_at(T + 300), Some(T + 300));
    assert_eq!(published_at(T), Some(T + 1));
    assert_eq!(published_at(T - INTERVAL), Some(T + 1));
}

// Confirming

#[test]
fn a_confirmation_extends_the_lease_and_ends_a_pause() {
    // The second moment is after the lease has lapsed, which nobody has taken over.
    for now in [T + 300, T + 10 * LEASE_TTL] {
        let state = State { retry_at: Some(T + HOUR), ..warm() };
        let expected = State {
            revision: now,
            lease: lease("leader", now + LEASE_TTL),
            confirmed_at: Some(now),
            ..warm()
        };
        for fence in [Some(3), None] {
            assert_eq!(RULE.confirm(&state, now, "leader", fence, "v1").as_ref(), Some(&expected));
        }
    }
}

#[test]
fn only_the_stored_version_is_confirmed_and_only_by_the_newest_grant() {
    for (what, state, owner, fence, version) in [
        ("another version", warm(), "leader", Some(3), "v2"),
        ("nothing is stored", cold(), "leader", Some(3), "v1"),
        ("an older grant of the leader", warm(), "leader", Some(2), "v1"),
        ("an older grant of another", warm(), "other", Some(2), "v1"),
        ("the newest fence in another's name", warm(), "other", Some(3), "v1"),
        ("no fence, and another leads", warm(), "other", None, "v1"),
        ("a grant that was released", released(), "leader", Some(3), "v1"),
    ] {
        assert_eq!(RULE.confirm(&state, T + 300, owner, fence, version), None, "{what}");
    }
}

#[test]
fn an_answer_is_never_older_than_the_grant_that_asked_for_it() {
    let next = RULE.confirm(&warm(), T - SLACK / 2, "leader", Some(3), "v1").expect("confirmed");
    assert_eq!(next.confirmed_at, warm().granted_at);
}

// Invalidating

#[test]
fn an_invalidation_records_its_time_and_changes_nothing_else() {
    let now = T + 300;
    let expected = State { revision: now, invalidated_at: Some(now), ..warm() };
    assert_eq!(RULE.invalidate(&warm(), now), Some(expected));
    let empty = RULE.invalidate(&State::default(), T);
    assert_eq!(empty.and_then(|next| next.invalidated_at), Some(T));
}

#[test]
fn invalidations_within_a_second_count_as_one() {
    let once = RULE.invalidate(&warm(), T + 300).expect("noted");
    assert_eq!(RULE.invalidate(&once, T + 300), None);
    assert_eq!(RULE.invalidate(&once, T + 1_299), None);
    let again = RULE.invalidate(&once, T + 1_300).expect("noted");
    assert_eq!(again.invalidated_at, Some(T + 1_300));
}

#[test]
fn an_invalidation_is_later_than_every_grant_so_far() {
    for now in [T, T - SLACK] {
        let next = RULE.invalidate(&warm(), now).expect("noted");
        assert_eq!(next.invalidated_at, Some(T + 1));
        granted(RULE.decide(&next, now, impatient("other")));
    }
}

#[test]
fn an_invalidation_from_the_future_does_not_prevent_another_one() {
    let hostile = State { invalidated_at: Some(u64::MAX), ..warm() };
    let next = RULE.invalidate(&hostile, T + 300).expect("noted");
    assert_eq!(next.invalidated_at, Some(T + 300));
}

// Leading and releasing

#[test]
fn the_leader_leads_until_its_lease_ends() {
    assert_eq!(RULE.leader(&warm(), T + LEASE_TTL - 1), Some("leader"));
    assert_eq!(RULE.leader(&warm(), T + LEASE_TTL), None);
    assert_eq!(RULE.leader(&released(), T), None);
    assert_eq!(RULE.leader(&State::default(), T), None);
}

#[test]
fn a_release_ends_the_lease_and_nothing_else() {
    for now in [T + 300, T + 10 * LEASE_TTL] {
        let next = RULE.release(&warm(), now, "leader");
        assert_eq!(next, Some(State { revision: now, ..released() }), "granted_at stays");
    }
}

#[test]
fn no_worker_releases_the_lease_of_another_one() {
    assert_eq!(RULE.release(&warm(), T, "other"), None);
    assert_eq!(RULE.release(&released(), T, "leader"), None);
    assert_eq!(RULE.release(&State::default(), T, "leader"), None);
}

#[test]
fn a_revision_is_never_behind_the_clock_and_always_grows() {
    for (revision, now, next) in [(0, T, T), (T - 1, T, T), (T, T, T + 1), (T + 9, T, T + 10)] {
        let state = State { revision, ..warm() };
        assert_eq!(RULE.release(&state, now, "leader").map(|next| next.revision), Some(next));
    }
}

// Restoring

#[test]
fn a_store_that_lost_everything_is_as_before_and_its_leader_still_leads() {
    let now = T + 2 * INTERVAL;
    let seen = State { retry_at: Some(T + 1), invalidated_at: Some(T - 1), ..warm() };
    let next = RULE.restore(&State::default(), now, &seen).expect("restored");
    assert_eq!(next, State { revision: now, lease: lease("leader", now + LEASE_TTL), ..seen });
    assert_eq!(RULE.decide(&next, now, holding("other", &next)), Decision::Follow);
    granted(RULE.decide(&next, now, fresh("leader")));
}

#[test]
fn a_restore_does_not_restore_a_leader_that_had_departed() {
    let next = RULE.restore(&State::default(), T + 1, &released());
    assert_eq!(next, Some(State { revision: T + 1, ..released() }));
}

#[test]
fn a_restore_leaves_alone_the_grant_under_which_another_fetches() {
    let seen = State { fence: 9, granted_at: Some(T - 1), retry_at: Some(T + INTERVAL), ..warm() };
    let fetching = State { lease: lease("third", T + COLD_START_WAIT), fence: 1, revision: 1, ..cold() };
    let next = RULE.restore(&fetching, T + 1, &seen).expect("restored");
    let expected =
        State { revision: T + 1, snapshot: seen.snapshot.clone(), confirmed_at: Some(T), ..fetching };
    assert_eq!(next, expected);
    assert!(publish(&next, T + 2, "third", Some(1)).is_some());
}

#[test]
fn a_restore_never_makes_the_next_fetch_come_sooner() {
    let seen = State { granted_at: Some(T + 5), confirmed_at: Some(T + 5), ..warm() };
    let lost = State { snapshot: None, granted_at: Some(T), confirmed_at: Some(T + 9), ..released() };
    let next = RULE.restore(&lost, T + 10, &seen).expect("restored");
    assert_eq!((next.granted_at, next.confirmed_at), (Some(T + 5), Some(T + 9)));
}

#[test]
fn a_restore_forgets_no_invalidation() {
    let seen = State { invalidated_at: Some(T + 5), ..warm() };
    let next = RULE.restore(&State::default(), T + 6, &seen).expect("restored");
    granted(RULE.decide(&next, T + 6, impatient("other")));
    let newer = State { invalidated_at: Some(T + 9), ..State::default() };
    let next = RULE.restore(&newer, T + 10, &seen).expect("restored");
    assert_eq!(next.invalidated_at, Some(T + 9));
}

#[test]
fn only_a_newer_version_replaces_what_the_store_holds() {
    let now = T + 10;
    for (what, stored, held, restores) in [
        ("older", snapshot("v1", T), snapshot("v2", T + 1), true),
        ("older, held since this very moment", snapshot("v1", T), snapshot("v2", now), true),
        ("older, but held from the future", snapshot("v1", T), snapshot("v2", now + 1), false),
        ("published at the same time", snapshot("v1", T), snapshot("v2", T), false),
        ("newer", snapshot("v2", T + 1), snapshot("v1", T), false),
        ("the same version, published earlier", snapshot("v1", T), snapshot("v1", T + 1), false),
    ] {
        let seen = State { snapshot: Some(held), ..warm() };
        let state = State { snapshot: Some(stored), ..warm() };
        assert_eq!(RULE.restore(&state, now, &seen).is_some(), restores, "{what}");
    }
}

#[test]
fn a_worker_that_holds_nothing_restores_nothing() {
    assert_eq!(RULE.restore(&State::default(), T, &cold()), None);
    assert_eq!(RULE.restore(&warm(), T, &cold()), None);
}

#[test]
fn a_corrupt_snapshot_is_deleted_and_restored_by_a_holder() {
    let paused = State { retry_at: Some(T + INTERVAL), ..warm() };
    for state in [warm(), paused, released()] {
        let damaged = RULE.discard(&state, T + 1);
        assert_eq!(damaged, State { revision: T + 2, snapshot: None, ..state.clone() });
        let healed = RULE.restore(&damaged, T + 2, &state).expect("restored");
        let lease = state.lease.clone();
        assert_eq!(healed, State { revision: T + 3, lease, ..state });
    }
    let damaged = RULE.discard(&warm(), T + 1);
    assert_eq!(RULE.decide(&damaged, T + 2, fresh("other")), Decision::Wait(T + LEASE_TTL));
}
