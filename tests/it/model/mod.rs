//! Model check of the rule: every interleaving of a small fleet on one store, within the bounds of
//! [`Fleet`]. The decisions are the real ones; the store, PostHog, and what goes wrong are modelled.

mod properties;
mod world;

use std::time::{Duration, Instant};

use posthog_flag_cache::lease::Rule;
use posthog_flag_cache::state::Millis;
use stateright::{Checker, HasDiscoveries, Model, Property};

use world::{Member, NAMES, Phase, World};

/// Many milliseconds, so that revisions stay close to the clock as they do in a real store.
const TICK: Millis = 100;
const INTERVAL: Millis = 2 * TICK;
const LEASE_TTL: Millis = 3 * TICK;
const COLD_START_WAIT: Millis = 2 * TICK;
const SLACK: Millis = INTERVAL / 10;

/// The rule, and the bounds within which it is checked.
struct Fleet {
    rule: Rule,
    /// One ETag for all, or each client its own.
    shared: bool,
    workers: usize,
    ticks: u64,
    faults: usize,
    /// Whether these are changes of health: a worker cannot reach PostHog, or can again.
    health: bool,
    edits: u8,
    fences: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Tick,
    /// A worker reads and decides; what it decided is committed later, if it needs to be.
    Poll(usize),
    Commit(usize),
    Fetch(usize),
    /// The flags were edited just before.
    FetchEdited(usize),
    /// A worker that has its answer reads the state and prepares the commit.
    Publish(usize),
    /// A worker takes the stored snapshot from a notice.
    Hear(usize),
    /// A worker tells what else it has learned from PostHog.
    Report(usize),
    Fault(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LoseData,
    /// The store is out of reach when the worker polls: it fetches all the same. (Where it goes on with what it holds
    /// instead, it takes no step: the model has every world in which a worker does not poll.)
    PollFails(usize),
    /// The commit lands or not, but the worker does not hear which.
    CommitUnheard(usize),
    FetchFails(usize),
    Crash(usize),
    ShutDown(usize),
    /// The worker can no longer reach PostHog, or can again.
    ChangesHealth(usize),
}

impl Model for Fleet {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        assert!(NAMES.len() >= self.workers + self.faults, "a name for every life");
        vec![World::new(self.shared, self.workers, self.faults)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let fault = |fault| (world.faults_left > 0 && !self.health).then_some(Action::Fault(fault));
        if self.health && world.faults_left > 0 {
            let living = (0..world.members.len()).filter(|i| world.members[*i].owner.is_some());
            actions.extend(living.map(|i| Action::Fault(Fault::ChangesHealth(i))));
        }
        // A fetch touches nothing shared: once no edit can come, its moment makes no difference.
        let fetching = |member: &Member| matches!(member.phase, Phase::Fetching(_));
        let edited = world.edit >= self.edits;
        if let Some(i) = world.members.iter().position(fetching).filter(|_| edited) {
            actions.push(Action::Fetch(i));
            actions.extend(fault(Fault::FetchFails(i)));
            return;
        }
        if world.now < self.ticks * TICK {
            actions.push(Action::Tick);
            actions
                .extend(fault(Fault::LoseData).filter(|_| world.may_lose_data && world.store.revision > 0));
        }
        if self.shared {
            actions.extend(world.listeners().map(Action::Hear));
        }
        for i in world.pollers() {
            actions.push(Action::Poll(i));
            actions.extend(fault(Fault::PollFails(i)));
        }
        for (i, member) in world.members.iter().enumerate() {
            match member.phase {
                Phase::Idle => {}
                Phase::Committing(_) => {
                    actions.push(Action::Commit(i));
                    actions.extend(fault(Fault::CommitUnheard(i)));
                }
                Phase::Fetching(_) => {
                    actions.extend([Action::Fetch(i), Action::FetchEdited(i)]);
                    actions.extend(fault(Fault::FetchFails(i)));
                }
                Phase::Publishing { .. } => actions.push(Action::Publish(i)),
                Phase::Confirming { .. } | Phase::Failing => actions.push(Action::Report(i)),
            }
            if let Some(owner) = member.owner {
                actions.extend(fault(Fault::Crash(i)));
                let leads = self.rule.release(&world.store, world.now, owner).is_some();
                actions.extend(fault(Fault::ShutDown(i)).filter(|_| leads));
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => world.now += TICK,
            Action::Poll(i) => world.poll(&self.rule, i),
            Action::Commit(i) => world.commit(i, true),
            Action::Fetch(i) => world.fetch(i),
            Action::FetchEdited(i) => {
                world.edit += 1;
                world.fetch(i);
            }
            Action::Publish(i) => world.publish(&self.rule, i),
            Action::Hear(i) => world.hear(i),
            Action::Report(i) => world.report(&self.rule, i),
            Action::Fault(fault) => {
                world.faults_left -= 1;
                match fault {
                    Fault::LoseData => world.lose_data(),
                    Fault::PollFails(i) => world.name(i).phase = Phase::Fetching(None),
                    Fault::CommitUnheard(i) => world.commit(i, false),
                    Fault::FetchFails(i) => world.fail(i),
                    Fault::Crash(i) => world.members[i] = Member::default(),
                    Fault::ShutDown(i) => world.shut_down(&self.rule, i),
                    Fault::ChangesHealth(i) => world.members[i].is_sick ^= true,
                }
            }
        }
        world.forget_what_cannot_matter();
        (world != *before).then_some(world)
    }

    /// A worker whose ETag answers 304 on an empty cache would be granted one fence after another.
    fn within_boundary(&self, world: &World) -> bool {
        world.store.fence <= self.fences
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = properties::promises();
        // Promises first: a broken one ends the search, and what it has not seen then says nothing.
        if self.shared {
            all.extend(properties::shared_etag());
        }
        if self.health {
            all.extend(properties::sights_of_sickness());
            return all;
        }
        all.extend(properties::sights());
        if self.faults > 0 {
            all.extend(properties::sights_of_faults());
        }
        if self.shared {
            all.extend(properties::sights_of_shared_etag());
        } else if self.edits > 0 {
            all.extend(properties::own_etag());
        }
        all
    }
}

const RULE: Rule = Rule {
    refresh_interval: Duration::from_millis(INTERVAL),
    lease_ttl: Duration::from_millis(LEASE_TTL),
    cold_start_wait: Duration::from_millis(COLD_START_WAIT),
};

fn check(fleet: Fleet) {
    let (workers, started) = (fleet.workers, Instant::now());
    let checker = fleet.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{workers} workers: {} unique states in {:?}", checker.unique_state_count(), started.elapsed());
    checker.assert_properties();
}

#[test]
fn three_workers_keep_every_promise_through_any_fault() {
    check(Fleet {
        rule: RULE,
        shared: false,
        workers: 3,
        ticks: 4,
        faults: 1,
        health: false,
        edits: 1,
        fences: 3,
    });
}

#[test]
fn two_workers_keep_every_promise_through_any_two_faults() {
    check(Fleet {
        rule: RULE,
        shared: false,
        workers: 2,
        ticks: 4,
        faults: 2,
        health: false,
        edits: 0,
        fences: 3,
    });
}

#[test]
fn with_a_shared_etag_three_workers_end_on_the_version_of_the_api_although_it_goes_back() {
    check(Fleet {
        rule: RULE,
        shared: true,
        workers: 3,
        ticks: 5,
        faults: 0,
        health: false,
        edits: 2,
        fences: 3,
    });
}

#[test]
fn with_a_shared_etag_two_workers_end_on_the_version_of_the_api_through_any_fault() {
    check(Fleet {
        rule: RULE,
        shared: true,
        workers: 2,
        ticks: 4,
        faults: 1,
        health: false,
        edits: 2,
        fences: 3,
    });
}

#[test]
fn with_a_shared_etag_an_edit_reaches_every_healthy_worker_while_others_cannot_reach_posthog() {
    check(Fleet {
        rule: RULE,
        shared: true,
        workers: 3,
        ticks: 3,
        faults: 2,
        health: true,
        edits: 1,
        fences: 4,
    });
}
