//! What must hold in every world, and what must be seen in some.

use posthog_flag_cache::lease::Decision;
use posthog_flag_cache::state::State;
use stateright::Property;

use super::world::{Attempt, Phase, Purpose, World, content, stored, stored_edit};
use super::{Fleet, INTERVAL, LEASE_TTL, SLACK, TICK};

fn always(name: &'static str, holds: fn(&Fleet, &World) -> bool) -> Property<Fleet> {
    Property::always(name, holds)
}

fn sometimes(name: &'static str, holds: fn(&Fleet, &World) -> bool) -> Property<Fleet> {
    Property::sometimes(name, holds)
}

/// What the rule promises, whichever ETag the requests carry.
pub fn promises() -> Vec<Property<Fleet>> {
    vec![
        always("at most one grant an interval, unless the fetch of the last one has failed", |_, world| {
            let too_early = |attempt: &Attempt| {
                attempt.purpose == Purpose::Grant
                    && world.newest.as_ref().is_some_and(|newest| attempt.at < newest.at + INTERVAL - SLACK)
            };
            world.store.snapshot.is_none()
                || world.store.failures > 0
                || world.landings().all(|(_, attempt)| !too_early(attempt))
        }),
        always(
            "a grant publishes only until a later one is answered, except into an empty cache",
            |_, world| {
                world.landings().all(|(owner, Attempt { purpose, next, .. })| match *purpose {
                    Purpose::Publish { fence, .. } if !world.is_newest(owner, fence) => {
                        let untouched = (next.fence, &next.lease) == (world.store.fence, &world.store.lease);
                        let is_empty = world.store.snapshot.is_none();
                        let counts = is_empty || fence > Some(world.store.answered);
                        (untouched && counts) || (is_empty && next.fence == world.store.fence + 1)
                    }
                    _ => true,
                })
            },
        ),
        always("the newest grant is never refused", |fleet, world| {
            world.publishers().all(|(owner, fence, edit)| {
                fence.is_none()
                    || !world.is_newest(owner, fence)
                    || world.published(&fleet.rule, owner, fence, edit).is_some()
            })
        }),
        always(
            "an older answer never replaces a newer one, unless both were under way at once",
            |_, world| {
                world.beside
                    || world
                        .landings()
                        .all(|(_, attempt)| stored_edit(&attempt.next) >= stored_edit(&world.store))
            },
        ),
        always("a snapshot never disappears", |fleet, world| {
            world.store.snapshot.is_none() || fleet.successors(world).all(|next| next.snapshot.is_some())
        }),
        always("the first poll that holds a lost snapshot puts it back", |fleet, world| {
            world.store.snapshot.is_some()
                || world
                    .pollers()
                    .filter(|&i| world.members[i].seen.is_some())
                    .all(|i| world.restore(&fleet.rule, i).is_some_and(|next| next.snapshot.is_some()))
        }),
        // Liveness as a safety property, and exact: `eventually` would ignore cycles and joined paths.
        always("a store left alone for a lease grants the next poll", |fleet, world| {
            world.now < world.committed_at + LEASE_TTL.max(INTERVAL)
                || world.pollers().all(|i| {
                    world.restore(&fleet.rule, i).is_some()
                        || matches!(world.decide(&fleet.rule, i), Decision::Grant(_))
                })
        }),
        always("a worker whose fetch has failed leaves the next one to others", |_, world| {
            world.store.snapshot.is_none()
                || world.members.iter().all(|member| match (&member.phase, member.failed) {
                    (Phase::Committing(attempt), Some(failed)) if attempt.purpose == Purpose::Grant => {
                        attempt.at >= failed.at + INTERVAL
                    }
                    _ => true,
                })
        }),
        always("revisions grow", |fleet, world| {
            fleet.successors(world).all(|next| next.revision > world.store.revision)
        }),
        always("fences grow with each grant, and never shrink", |_, world| {
            let newest = world.newest.as_ref().map_or(0, |newest| newest.fence);
            world.landings().all(|(_, Attempt { purpose, next, .. })| match purpose {
                Purpose::Grant => next.fence > newest,
                Purpose::Restore | Purpose::Publish { .. } => next.fence >= newest,
            })
        }),
        always("the time of publishing grows", |_, world| {
            let published_at = |state: &State| state.snapshot.as_ref().map(|snapshot| snapshot.published_at);
            world.landings().all(|(_, Attempt { purpose, next, .. })| {
                *purpose == Purpose::Grant || published_at(next) > published_at(&world.store)
            })
        }),
        always("nobody is granted during a pause", |_, world| {
            let paused = |at| world.store.retry_at.is_some_and(|retry_at| at < retry_at);
            world.landings().all(|(_, attempt)| attempt.purpose != Purpose::Grant || !paused(attempt.at))
        }),
    ]
}

/// That the model reaches what it is about.
pub fn sights() -> Vec<Property<Fleet>> {
    vec![
        sometimes("two workers race for one grant", |_, world| {
            world.landings().filter(|(_, attempt)| attempt.purpose == Purpose::Grant).count() > 1
        }),
        sometimes("a cold worker waits", |fleet, world| {
            world.pollers().any(|i| matches!(world.decide(&fleet.rule, i), Decision::Wait(_)))
        }),
        sometimes("a grant publishes although there is a newer one", |_, world| {
            world.landings().any(|(owner, Attempt { purpose, .. })| match *purpose {
                Purpose::Publish { fence: Some(fence), .. } => {
                    world.store.snapshot.is_some() && !world.is_newest(owner, Some(fence))
                }
                _ => false,
            })
        }),
        sometimes("a publish is superseded", |fleet, world| {
            world.publishers().any(|(owner, fence, edit)| {
                fence.is_some() && world.published(&fleet.rule, owner, fence, edit).is_none()
            })
        }),
    ]
}

/// The same for what only comes of a fault.
pub fn sights_of_faults() -> Vec<Property<Fleet>> {
    vec![
        sometimes("a dead leader is replaced", |fleet, world| {
            let lives = |owner: &str| world.members.iter().any(|member| member.owner == Some(owner));
            world.store.snapshot.is_some()
                && world.store.lease.as_ref().is_some_and(|lease| !lives(&lease.owner))
                && world.pollers().any(|i| matches!(world.decide(&fleet.rule, i), Decision::Grant(_)))
        }),
        sometimes("an unheard grant is adopted", |_, world| {
            world.landings().any(|(_, Attempt { purpose, next, .. })| {
                matches!(purpose, Purpose::Publish { fence: None, .. }) && next.fence == world.store.fence
            })
        }),
        sometimes("an empty cache is filled without a grant", |_, world| {
            world.landings().any(|(_, Attempt { purpose, next, .. })| {
                matches!(purpose, Purpose::Publish { .. }) && next.fence > world.store.fence
            })
        }),
        sometimes("lost data is put back while another fetches", |_, world| {
            world.newest.is_some() && world.landings().any(|(_, attempt)| attempt.purpose == Purpose::Restore)
        }),
    ]
}

/// The same for what comes of workers that cannot reach PostHog.
pub fn sights_of_sickness() -> Vec<Property<Fleet>> {
    vec![
        sometimes("another worker fetches in the same interval after a failure", |_, world| {
            world.landings().any(|(_, attempt)| {
                let newest = world.newest.as_ref();
                attempt.purpose == Purpose::Grant
                    && newest.is_some_and(|newest| attempt.at < newest.at + INTERVAL - SLACK)
            })
        }),
        sometimes("a worker waits for the one that tries next", |fleet, world| {
            world.store.snapshot.is_some()
                && world.pollers().any(|i| matches!(world.decide(&fleet.rule, i), Decision::Wait(_)))
        }),
    ]
}

/// With the snapshot's ETag on every request.
///
/// Liveness as a safety property again: from every quiet world, without another edit or fault, everybody
/// is at PostHog's version after the longer of lease and interval and two polls, whether they poll once a
/// tick or, as posthog-node does, once an interval. A world that is not quiet becomes one that is. Those that
/// cannot reach PostHog do not matter, as long as one can.
pub fn shared_etag() -> Vec<Property<Fleet>> {
    vec![
        always("left in peace, every client and the snapshot end on PostHog's version", |fleet, world| {
            let ways = [(TICK, true), (TICK, false), (INTERVAL, true), (INTERVAL, false)];
            !world.is_quiet()
                || world.is_cut_off()
                || ways.into_iter().all(|(pace, in_order)| {
                    let polls = LEASE_TTL.max(INTERVAL).div_ceil(pace) + 2;
                    world.left_in_peace(&fleet.rule, polls, pace, in_order).is_current()
                })
        }),
        always("whoever has asked PostHog evaluates by what it answered", |_, world| {
            world.members.iter().all(|member| match member.phase {
                Phase::Publishing { edit, .. } => member.evaluates == Some(content(edit)),
                Phase::Confirming { content, .. } => member.evaluates == Some(content),
                _ => true,
            })
        }),
    ]
}

/// What a shared ETag is for.
pub fn sights_of_shared_etag() -> Vec<Property<Fleet>> {
    vec![
        sometimes("the client's own ETag would have lied", |_, world| {
            let current = Some(content(world.edit));
            world.fetchers().any(|client| client.etag == current && client.evaluates != current)
        }),
        sometimes("a rollback is published", |_, world| {
            world.landings().any(|(_, Attempt { purpose, next, .. })| {
                *purpose != Purpose::Restore
                    && (stored_edit(&world.store), stored_edit(next)) == (Some(1), Some(2))
                    && stored(next) == Some(content(0))
            })
        }),
        sometimes("a client is answered from the snapshot", |_, world| {
            let current = Some(content(world.edit));
            world.fetchers().any(|client| client.holds() == current && client.evaluates != current)
        }),
        sometimes("a client has an edit from a notice", |_, world| {
            world.members.iter().any(|member| member.announced == Some(content(world.edit)))
        }),
        sometimes("a client is told that nothing changed", |_, world| {
            let current = Some(content(world.edit));
            world.fetchers().any(|client| client.holds() == current && client.evaluates == current)
        }),
        sometimes("a confirmation is superseded", |fleet, world| {
            world.members.iter().enumerate().any(|(i, member)| {
                matches!(member.phase, Phase::Confirming { .. }) && world.reported(&fleet.rule, i).is_none()
            })
        }),
    ]
}

/// With each client's own ETag on its requests: the fleet may be stuck for good, and is seen to be.
///
/// Whoever fetched the new version but was superseded by an older answer is told ever after that nothing
/// has changed. That is why `flagCache.fetch` exists.
pub fn own_etag() -> Vec<Property<Fleet>> {
    vec![
        sometimes("an answer is unchanged", |_, world| {
            world.fetchers().any(|client| client.etag == Some(content(world.edit)))
        }),
        sometimes("a fleet is stuck on an old version", |fleet, world| {
            world.is_quiet() && !world.left_in_peace(&fleet.rule, 20, INTERVAL, true).is_current()
        }),
    ]
}

impl Fleet {
    /// Every state that the next step may commit.
    fn successors(&self, world: &World) -> impl Iterator<Item = State> {
        let owners = world.members.iter().filter_map(|member| member.owner);
        let released = owners.filter_map(|owner| self.rule.release(&world.store, world.now, owner));
        world.landings().map(|(_, attempt)| State::clone(&attempt.next)).chain(released)
    }
}
